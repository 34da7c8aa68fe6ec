/* SPDX-License-Identifier: Apache-2.0
 * T4: the machines of a fenced host get new owners. A migration that the host took part in is over with
 * it, whichever end it was; a copy on a target is never promoted (facts/ha.md 3.9 case 23). */
#include <stdio.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/history.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/vm.h"
#include "core/place/place.h"

#define BATCH_MAX 30 /* machines: three compares each, and one for each host; etcd takes 128 operations of a kind */

static void guard_once(struct core *c, struct commit *t, json_t *guarded, const char *host)
{
    if (!json_object_get(guarded, host)) {
        json_object_set_new(guarded, host, json_true());
        commit_guard(c, t, KEY_NODE, host);
        commit_use(t, "node", host);
    }
}

/* Nobody starts one whose policy is 'none'. What is left of its instance is dead by the new epoch (A5),
 * and its user can start it on any host at once. */
static void let_down(struct core *c, struct commit *t, const char *vm, const char *lost)
{
    uint64_t epoch = vm_next_epoch(c, vm_own(c, vm));
    json_t *spec = json_deep_copy(vm_spec(c, vm));
    json_t *act = vm_new_act(c, "stopped", epoch);
    _cleanup_free_ char *why = str_printf("%s was fenced; with the policy 'none' it stays down", lost);
    json_object_set_new(spec, "desired", json_string("stopped"));
    json_object_set_new(act, "host", json_string(lost));
    json_object_set_new(act, "error", json_pack("{s:s,s:s}", "name", "host.unreachable", "message", why));
    vm_put_spec(c, t, vm, spec);
    vm_put_act(c, t, vm, act);
    vm_put_own(c, t, vm, vm_new_own(c, lost, epoch));
}

static void take_over(struct core *c, struct commit *t, const char *vm, const char *lost, const char *to)
{
    json_t *own = vm_new_own(c, to, vm_next_epoch(c, vm_own(c, vm)));
    json_object_set_new(own, "taken_from", json_string(lost));
    vm_put_own(c, t, vm, own);
    /* Policy and wish, and whether its instance was born where the guard freezes it: what this rests on (I7). */
    _cleanup_free_ char *spec = str_printf("%s/spec", vm);
    _cleanup_free_ char *act = str_printf("%s/act", vm);
    commit_guard(c, t, KEY_VM, spec);
    commit_guard(c, t, KEY_VM, act);
}

/* The most important first: they get the room, and the first commit. Those that are let down come last, one by
 * one: their records are as large as a user's cloud-init. For 'mortar vm why' one host tells why others wait.
 * Return: machines decided on */
static size_t decide(struct core *c, struct commit *t, const char *lost, const struct smap *order)
{
    _cleanup_json_ json_t *rooms = place_rooms(c, NULL);
    _cleanup_json_ json_t *guarded = json_object();
    bool is_teller = node_is_first(c, node_is_online);
    const char *down = NULL;
    size_t n = 0;
    for (size_t i = 0; n < BATCH_MAX && i < order->n; i++) {
        const char *vm = VM_ORDER_NAME(order->items[i].key);
        if (policy_of(vm_spec(c, vm)) == POLICY_NONE) {
            down = down ? down : vm;
            continue;
        }
        struct err why = {0};
        const char *to = ha_seat(c, vm, lost, rooms, is_teller ? &why : NULL);
        if (to || is_teller) {
            history_wait(c, vm, to ? NULL : why.msg);
        }
        if (to) {
            guard_once(c, t, guarded, to);
            take_over(c, t, vm, lost, to);
            n++;
        }
    }
    if (n == 0 && down) {
        let_down(c, t, down, lost);
        n++;
    }
    return n;
}

static void take_all(struct core *c, const char *lost, uint64_t inc)
{
    _cleanup_(smap_done) struct smap order = {0};
    _cleanup_free_ char *id = str_printf("ha/t4/%s", lost);
    _cleanup_free_ char *what = str_printf("t4/%s", lost);
    struct commit t = commit_new();
    ha_find_lost(c, lost, inc, &order);
    commit_guard(c, &t, KEY_NODE, lost);
    /* Nothing is due while all wait for room. */
    if (order.n && decide(c, &t, lost, &order) && ha_is_my_turn(c, what)) {
        (void)commit_try(c, id, &t);
    } else {
        commit_drop(&t);
    }
}

void ha_plan_take(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (str_eq(json_text_of(it.value, "state"), "fenced") && !str_eq(it.name, c->host)) {
            take_all(c, it.name, json_u64_of(it.value, "inc", 0));
        }
    }
}
