/* SPDX-License-Identifier: Apache-2.0
 * Whether another host has room for the machines of one that is lost, or would be (N+1). The same choice
 * moves them and warns before. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/place/place.h"

#define POLICY_STAYS "its policy is 'stay'"

/* One that is given up is not carried from host to host. */
static bool is_wanted(const struct core *c, const char *vm)
{
    const json_t *spec = vm_spec(c, vm);
    return !vm_is_given_up(c, vm) && str_eq(json_text_of(spec, "desired"), "running") && !json_text_of(spec, "making");
}

/* An instance that was born outside the slice which the guard freezes may still execute somewhere: its
 * writes are cut off, but it could answer the network. It waits for its host. */
bool ha_was_freezable(const json_t *own, const json_t *act)
{
    bool may_have_run = vm_epoch(act) == vm_epoch(own) && !str_eq(json_text_of(act, "state"), "stopped");
    return !may_have_run || json_bool_of(act, "ha", false);
}

/* Why nobody takes @vm away from its host when that is fenced; NULL when somebody may. */
static const char *hindrance(const struct core *c, const char *vm)
{
    const json_t *spec = vm_spec(c, vm);
    const char *pool = json_text_of(spec, "pool");
    if (pool_is_dir(pool_get(c, pool))) {
        return "its disk is on local storage there";
    }
    if (!ha_pool_is_on(c, pool)) {
        return "failover of its pool is off";
    }
    if (!ha_was_freezable(vm_own(c, vm), vm_act(c, vm))) {
        return "it was started before failover was on, and may still run there";
    }
    return policy_of(spec) == POLICY_STAY ? POLICY_STAYS : NULL;
}

void ha_find_lost(const struct core *c, const char *host, uint64_t inc, struct smap *ret)
{
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        const json_t *own = vm_own(c, vm);
        if (str_eq(json_text_of(own, "owner"), host) && json_u64_of(own, "inc", 0) <= inc &&
            is_wanted(c, vm) && !hindrance(c, vm)) {
            _cleanup_free_ char *key = vm_order(c, vm);
            smap_put(ret, key, NULL);
        }
    }
}

const char *ha_seat(const struct core *c, const char *vm, const char *lost, json_t *rooms, struct err *e)
{
    const json_t *spec = vm_spec(c, vm);
    uint64_t bytes = vm_next_u64(spec, "memory_bytes");
    const char *host = NULL;
    char why[160];
    struct place_need need = {
        .vm = vm,
        .pool = json_text_of(spec, "pool"),
        .memory_bytes = bytes,
        .cpus = vm_next_u64(spec, "cpus"),
        .exclude = lost,
        .cpu_as = lost,
        .rooms = rooms,
    };
    /* One like its host if there is: then it can go back without a stop. A cold start needs no such. */
    if (place_vm(c, &need, &host, why, sizeof(why), NULL) < 0) {
        need.cpu_as = NULL;
        if (place_vm(c, &need, &host, why, sizeof(why), e) < 0) {
            return NULL;
        }
    }
    json_object_set_new(rooms, host, json_integer((json_int_t)(json_u64_of(rooms, host, 0) - bytes)));
    return host;
}

/* --- what waits ---------------------------------------------------------------------------- */

/* Of those that another host shall take: the reason of those that none can. */
static void add_roomless(const struct core *c, const char *lost, const json_t *node, json_t *waiting)
{
    _cleanup_(smap_done) struct smap order = {0};
    _cleanup_json_ json_t *rooms = place_rooms(c, NULL);
    ha_find_lost(c, lost, json_u64_of(node, "inc", 0), &order);
    for (size_t i = 0; i < order.n; i++) {
        struct err e = {0};
        const char *vm = VM_ORDER_NAME(order.items[i].key);
        if (policy_of(vm_spec(c, vm)) == POLICY_RESTART && !ha_seat(c, vm, lost, rooms, &e)) {
            json_object_set_new(waiting, vm, json_string(e.msg));
        }
    }
}

static void add_hindered(const struct core *c, json_t *waiting)
{
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        const char *owner = json_text_of(vm_own(c, vm), "owner");
        bool is_held = is_wanted(c, vm) &&
                       str_eq(json_text_of(node_get(c, owner), "state"), "fenced");
        const char *why = is_held ? hindrance(c, vm) : NULL;
        if (why) {
            _cleanup_free_ char *step = str_eq(why, POLICY_STAYS)
                                            ? str_printf("; 'mortar vm set %s --ha restart' moves it", vm)
                                            : str_dup("");
            json_object_set_new(waiting, vm, json_sprintf("waits for %s, which is fenced: %s%s", owner, why, step));
        }
    }
}

json_t *ha_waiting(const struct core *c)
{
    json_t *waiting = json_object();
    bool is_any = false;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (str_eq(json_text_of(it.value, "state"), "fenced")) {
            add_roomless(c, it.name, it.value, waiting);
            is_any = true;
        }
    }
    if (is_any) {
        add_hindered(c, waiting);
    }
    return waiting;
}

/* --- N+1 ----------------------------------------------------------------------------------- */

/* {host: [vm, …]} of those that would be taken over, of all hosts in one look. */
static json_t *group_by_host(const struct core *c)
{
    json_t *groups = json_object();
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        const json_t *spec = vm_spec(c, vm);
        const char *owner = json_text_of(vm_own(c, vm), "owner");
        if (!owner || !is_wanted(c, vm) || policy_of(spec) != POLICY_RESTART ||
            !ha_pool_is_on(c, json_text_of(spec, "pool"))) {
            continue;
        }
        if (!json_object_get(groups, owner)) {
            json_object_set_new(groups, owner, json_array());
        }
        json_array_append_new(json_object_get(groups, owner), json_string(vm));
    }
    return groups;
}

/* Those of @vms that nobody could take, the most important first. */
static json_t *roomless_of(const struct core *c, const char *host, const json_t *vms, json_t *rooms)
{
    _cleanup_(smap_done) struct smap order = {0};
    json_t *left = json_array();
    size_t i;
    json_t *vm;
    json_array_foreach(vms, i, vm) {
        _cleanup_free_ char *key = vm_order(c, json_string_value(vm));
        smap_put(&order, key, NULL);
    }
    for (size_t k = 0; k < order.n; k++) {
        const char *name = VM_ORDER_NAME(order.items[k].key);
        if (!ha_seat(c, name, host, rooms, NULL)) {
            json_array_append_new(left, json_string(name));
        }
    }
    return left;
}

static json_t *find_lacking(const struct core *c)
{
    json_t *lacking = json_object();
    if (!ha_is_on(c)) {
        return lacking;
    }
    _cleanup_json_ json_t *groups = group_by_host(c);
    _cleanup_json_ json_t *rooms = place_rooms(c, NULL);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const json_t *vms = json_object_get(groups, it.name);
        if (!vms || !node_may_run_vms(it.value)) {
            continue; /* what is lost already waits, or does not */
        }
        _cleanup_json_ json_t *copy = json_deep_copy(rooms);
        json_t *left = roomless_of(c, it.name, vms, copy);
        if (json_array_size(left)) {
            json_object_set(lacking, it.name, left);
        }
        json_decref(left);
    }
    return lacking;
}

json_t *ha_no_spare(const struct core *c)
{
    return json_incref(basis_memo(c, MEMO_NO_SPARE, find_lacking));
}
