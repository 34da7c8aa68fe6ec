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
#include "core/model/vm.h"
#include "core/place/place.h"

#define BATCH_MAX 40 /* each VM is a put and two compares; etcd takes 128 operations of a kind */

static bool is_restarted(const json_t *spec)
{
    const char *policy = json_text_of(spec, "ha");
    return (!policy || str_eq(policy, "restart")) && str_eq(json_text_of(spec, "desired"), "running") &&
           !json_text_of(spec, "making");
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
           is_restarted(spec) && ha_pool_is_on(c, json_text_of(spec, "pool")) &&
           was_freezable(own, vm_act(c, vm));
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

/* For 'mortar vm why': that nobody can take it, and what is in the way where. */
static void tell_target(struct core *c, const char *vm, const char *lost, const char *to)
{
    const json_t *spec = vm_spec(c, vm);
    const char *host = NULL;
    char why[160];
    struct err none = {0};
    const struct place_need need = {
        .vm = vm,
        .pool = json_text_of(spec, "pool"),
        .memory_bytes = vm_next_u64(spec, "memory_bytes"),
        .cpus = vm_next_u64(spec, "cpus"),
        .exclude = lost,
    };
    if (to) {
        history_wait(c, vm, NULL);
    } else if (place_vm(c, &need, &host, why, sizeof(why), &none) < 0) {
        history_wait(c, vm, none.msg);
    }
}

static void guard_once(struct core *c, struct commit *t, json_t *guarded, const char *host)
{
    if (!json_object_get(guarded, host)) {
        json_object_set_new(guarded, host, json_true());
        commit_guard(c, t, KEY_NODE, host);
        commit_use(t, "node", host);
    }
}

static void take_all(struct core *c, const char *lost, uint64_t inc)
{
    _cleanup_json_ json_t *given = json_object();
    _cleanup_json_ json_t *guarded = json_object();
    _cleanup_free_ char *id = str_printf("ha/t4/%s", lost);
    struct commit t = commit_new();
    size_t n = 0;
    char *name = NULL;
    for (struct world_iter it = {0}; n < BATCH_MAX && (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        char why[160];
        bool is_lost = is_lost_with(c, vm, lost, inc);
        const char *to = is_lost ? target_for(c, vm, lost, given, why, sizeof(why)) : NULL;
        if (is_lost) {
            tell_target(c, vm, lost, to);
        }
        if (!to) {
            continue;
        }
        guard_once(c, &t, guarded, to);
        json_t *own = vm_new_own(c, to, vm_next_epoch(vm_own(c, vm)));
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
