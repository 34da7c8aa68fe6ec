/* SPDX-License-Identifier: Apache-2.0
 * T4: the machines of a fenced host get new owners. A migration that the host took part in is over with
 * it, whichever end it was; a copy on a target is never promoted (facts/ha.md 3.9 case 23). */
#include <stdio.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/vm.h"
#include "core/place/place.h"

#define BATCH_MAX 40 /* puts: each is a compare, too, and so is each host; etcd takes 128 operations of a kind */

static bool is_wanted(const json_t *spec)
{
    return str_eq(json_text_of(spec, "desired"), "running") && !json_text_of(spec, "making");
}

/* An instance that was born outside the slice which the guard freezes may still execute somewhere: its
 * writes are cut off, but it could answer the network. It waits for its host. */
static bool was_freezable(const json_t *own, const json_t *act)
{
    bool may_have_run = vm_epoch(act) == vm_epoch(own) && !str_eq(json_text_of(act, "state"), "stopped");
    return !may_have_run || json_bool_of(act, "ha", false);
}

static bool is_lost_with(const struct core *c, const char *vm, const char *host, uint64_t inc)
{
    const json_t *own = vm_own(c, vm);
    const json_t *spec = vm_spec(c, vm);
    return own && str_eq(json_text_of(own, "owner"), host) && json_u64_of(own, "inc", 0) <= inc &&
           is_wanted(spec) && policy_of(spec) != POLICY_STAY &&
           ha_pool_is_on(c, json_text_of(spec, "pool")) && was_freezable(own, vm_act(c, vm));
}

/* Memory that this very batch has given away already is not seen in the records yet: hosts take turns. */
static const char *target_for(struct core *c, const char *vm, const char *lost, json_t *given, char *why,
                              size_t size)
{
    const json_t *spec = vm_spec(c, vm);
    const char *best = NULL;
    json_int_t best_given = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const char *host = NULL;
        json_int_t has = json_integer_value(json_object_get(given, it.name));
        const struct place_need need = {
            .vm = vm,
            .pool = json_text_of(spec, "pool"),
            .memory_bytes = vm_next_u64(spec, "memory_bytes") + (uint64_t)has,
            .cpus = vm_next_u64(spec, "cpus"),
            .exclude = lost,
            .only = it.name,
        };
        if (place_vm(c, &need, &host, why, size, NULL) == 0 && (!best || has < best_given)) {
            best = host;
            best_given = has;
        }
    }
    if (best) {
        json_int_t more = (json_int_t)vm_next_u64(spec, "memory_bytes");
        json_object_set_new(given, best, json_integer(best_given + more));
    }
    return best;
}

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

/* The most important first: they get the room, and the first commit. */
static void find_lost(const struct core *c, const char *lost, uint64_t inc, struct smap *ret)
{
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        _cleanup_free_ char *key = vm_order(c, vm);
        if (is_lost_with(c, vm, lost, inc)) {
            smap_put(ret, key, NULL);
        }
    }
}

static void take_all(struct core *c, const char *lost, uint64_t inc)
{
    _cleanup_json_ json_t *given = json_object();
    _cleanup_json_ json_t *guarded = json_object();
    _cleanup_free_ char *id = str_printf("ha/t4/%s", lost);
    _cleanup_(smap_done) struct smap order = {0};
    struct commit t = commit_new();
    size_t n = 0;
    find_lost(c, lost, inc, &order);
    for (size_t i = 0; n < BATCH_MAX && i < order.n; i++) {
        const char *vm = VM_ORDER_NAME(order.items[i].key);
        char why[160];
        if (policy_of(vm_spec(c, vm)) == POLICY_NONE) {
            let_down(c, &t, vm, lost);
            n += 3;
            continue;
        }
        const char *to = target_for(c, vm, lost, given, why, sizeof(why));
        if (!to) {
            continue;
        }
        guard_once(c, &t, guarded, to);
        json_t *own = vm_new_own(c, to, vm_next_epoch(c, vm_own(c, vm)));
        json_object_set_new(own, "taken_from", json_string(lost));
        vm_put_own(c, &t, vm, own);
        n++;
    }
    commit_guard(c, &t, KEY_NODE, lost);
    if (n) {
        (void)commit_try(c, id, &t);
    } else {
        commit_drop(&t);
    }
}

static bool has_lost(struct core *c, const char *host, uint64_t inc)
{
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        if (is_lost_with(c, vm, host, inc)) {
            return true;
        }
    }
    return false;
}

void ha_plan_take(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        uint64_t inc = json_u64_of(it.value, "inc", 0);
        _cleanup_free_ char *what = str_printf("t4/%s", it.name);
        if (str_eq(json_text_of(it.value, "state"), "fenced") && !str_eq(it.name, c->host) &&
            has_lost(c, it.name, inc) && ha_is_my_turn(c, what)) {
            take_all(c, it.name, inc);
        }
    }
}
