/* SPDX-License-Identifier: Apache-2.0
 * This host was fenced, and its agent learns of it: whatever still runs here has lost its right (A5:
 * a positive record of the cluster says so). When nothing is left it comes back under a new
 * incarnation (T9), is let in when its survivors have nothing that could still flip (A9), and is a
 * full member again when its brick is healed (T11). */
#include <stdio.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/restore.h"

#define START_AGAIN_US (10 * USEC_PER_SEC)
#define WASH "ha/wash/"

static const json_t *my_node(const struct core *c)
{
    return node_get(c, c->host);
}

static uint64_t my_node_changed_us(const struct core *c)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", c->host);
    return world_record(&c->world, key)->changed_us;
}

/* --- the end of what ran here -------------------------------------------------------------- */

/* What ends guests, mounts and bricks is not something old that was read (I7): an agent that has just begun may
 * have an old list, of when its host was fenced before. A commit has compared the record; it is changed from "fenced"
 * by this host alone. */
static bool is_sentence_sure(struct core *c)
{
    _cleanup_free_ char *id = str_printf("ha/sentence/%llu", (unsigned long long)world_mod(&c->world, KEY_NODE, c->host));
    struct commit t = commit_new();
    commit_guard(c, &t, KEY_NODE, c->host);
    return commit_confirms(c, id, &t);
}

static void end_guests(struct core *c)
{
    const char *name;
    json_t *dom;
    json_object_foreach(smap_get(&c->seen, "domains"), name, dom) {
        _cleanup_free_ char *id = str_printf("vm/%s/kill", name);
        (void)act_try(c, id, "vm.destroy",
                      json_pack("{s:s,s:I}", "name", name, "epoch", (json_int_t)vm_epoch(dom)),
                      USEC_PER_SEC);
    }
}

/* Only a list that was asked for after this host knew of its sentence can say that nothing runs. */
static bool has_no_guests(struct core *c)
{
    if (!node_has_vms(my_node(c))) {
        return true;
    }
    if (c->domains_at_us <= my_node_changed_us(c)) {
        c->domains_stale = true;
        return false;
    }
    return !json_object_size(smap_get(&c->seen, "domains"));
}

/* Without a boot the mounts may hold requests of guests that were ended: they are killed and made anew (A9).
 * At once: a QEMU with a request that is not answered does not end before its mount does. */
static bool is_empty(struct core *c)
{
    const json_t *me = my_node(c);
    bool is_quiet = has_no_guests(c);
    if (!is_quiet) {
        end_guests(c);
    }
    if (ha_has_booted(c)) {
        return is_quiet;
    }
    _cleanup_free_ char *id =
        str_printf("ha/clean/%llu", (unsigned long long)json_u64_of(me, "inc", 0));
    json_t *pools = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (pool_wants_mount(c, it.value, c->host)) {
            json_array_append_new(pools, json_string(it.name));
        }
    }
    (void)act_try(c, id, "host.clean", json_pack("{s:o}", "pools", pools), UINT64_MAX / 2);
    return is_quiet && act_has_succeeded(c, id);
}

/* All bricks here, whether failover covers their pools or not: that may have changed since a request came. */
static json_t *bricks_here(const struct core *c)
{
    json_t *volumes = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        const json_t *brick = pool_brick_of(it.value, c->host);
        if (brick && !pool_is_dir(it.value)) {
            json_array_append_new(volumes, json_pack("{s:s,s:O}", "volume", it.name, "brick", brick));
        }
    }
    return volumes;
}

/* Survivors have proved that their bricks hold nothing of before the fence; this host's own did not take part.
 * A request that it kept would land when the copy counts again, so its process ends, and to the last thread,
 * which may be within a write to a hung disk. Only when all others have cut this host off, which "fenced"
 * says: a new process would hear of them else. Its mounts have ended, so nobody here talks to it either. */
static bool has_ended_bricks(struct core *c)
{
    json_t *volumes = ha_has_booted(c) ? NULL : bricks_here(c);
    if (!json_array_size(volumes)) {
        json_decref(volumes);
        return true;
    }
    _cleanup_free_ char *id = str_printf("ha/fence/%s/%llu/end", c->host,
                                         (unsigned long long)json_u64_of(my_node(c), "inc", 0));
    (void)act_try(c, id, "host.end_bricks", json_pack("{s:o}", "volumes", volumes), UINT64_MAX / 2);
    return act_has_succeeded(c, id);
}

static void rejoin(struct core *c) /* T9 */
{
    const json_t *me = my_node(c);
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_fencers(c, fencers);
    if (ha_is_reported(c, c->host)) {
        return; /* who is still said to be silent would be fenced again at once, and count as flapping */
    }
    json_t *next = json_deep_copy(me);
    struct commit t = commit_new();
    for (size_t i = 0; i < n; i++) {
        commit_guard(c, &t, KEY_SILENT, fencers[i]);
    }
    json_object_set_new(next, "state", json_string("rejoining"));
    json_object_set_new(next, "inc", json_integer((json_int_t)json_u64_of(me, "inc", 0) + 1));
    json_object_set(next, "boot_id", json_object_get(c->self, "boot_id"));
    json_object_set_new(next, "clean", json_false());
    json_object_del(next, "why");
    commit_put(c, &t, KEY_NODE, c->host, next);
    (void)commit_try(c, "ha/t9", &t);
}

/* --- coming back --------------------------------------------------------------------------- */

/* What was ended for T9: from now on survivors blame this copy before they reach it. After a boot it runs. */
static void start_bricks(struct core *c)
{
    if (node_has_bricks(my_node(c))) {
        (void)act_try(c, "ha/start", "host.start_bricks", json_object(), START_AGAIN_US);
    }
}

bool ha_knows_bricks(const struct core *c)
{
    const json_t *look = smap_get(&c->seen, HA_BRICKS_LOOK);
    return !node_has_bricks(my_node(c)) || json_u64_of(look, "asked_us", 0) >= my_node_changed_us(c);
}

/* What a look has found that was asked for before this host was let in there is of another time: a disk that hangs, or
 * an agent that was stopped, may tell of it long after. Nothing told, as by an agent of before this rule: it waits. */
static bool has_nothing_left(const struct core *c, const json_t *seen)
{
    return json_u64_of(json_object_get(seen, "brick"), "heal_pending_files", 1) == 0 &&
           ha_look_counts(c, seen, c->host);
}

/* @t: gets the compares that this rests on: what a host has found since, and this one has not heard of, counts (I7) */
static bool is_healed(struct core *c, struct commit *t)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        size_t i;
        json_t *brick;
        _cleanup_free_ char *what = str_printf("pool/%s", it.name);
        if (!str_eq(json_text_of(it.value, "ha"), "on")) {
            continue;
        }
        bool is_seen = pool_is_usable_on(c, it.name, c->host) && ha_look_counts(c, smap_get(&c->seen, what), c->host);
        if (pool_wants_mount(c, it.value, c->host) && !is_seen) {
            return false; /* it could give nothing to its guests, or that was before; a pool that is being removed has none */
        }
        json_array_foreach(ha_bricks_beside(c, it.name, c->host), i, brick) {
            const char *host = json_text_of(brick, "host");
            _cleanup_free_ char *told = str_printf("%s/%s", host, what);
            commit_guard(c, t, KEY_SEEN, told);
            if (!has_nothing_left(c, node_seen(c, host, what)) || !pool_brick_is_online(c, it.name, host)) {
                return false;
            }
        }
    }
    return true;
}

static void become_member(struct core *c) /* T11 */
{
    const json_t *me = my_node(c);
    struct commit t = commit_new();
    if (!json_bool_of(me, "clean", false) || !ha_knows_bricks(c) || !is_healed(c, &t) ||
        ha_since_us(c, "healed") < HA_HEALED_US) {
        commit_drop(&t);
        return;
    }
    json_t *next = json_deep_copy(me);
    json_object_set_new(next, "state", json_string("online"));
    json_object_del(next, "clean");
    commit_put(c, &t, KEY_NODE, c->host, next);
    (void)commit_try(c, "ha/t11", &t);
}

/* No wall clock: this host's own clock of running time, since its record has changed for the last time. */
static void forget_fences(struct core *c)
{
    const json_t *me = my_node(c);
    if (!json_u64_of(me, "fences", 0) || !core_is_past(c, my_node_changed_us(c) + HA_FLAP_CLEAR_US)) {
        return;
    }
    json_t *next = json_deep_copy(me);
    struct commit t = commit_new();
    json_object_del(next, "fences");
    commit_put(c, &t, KEY_NODE, c->host, next);
    (void)commit_try(c, "ha/settled", &t);
}

/* --- laundering for one that comes back (A9) ------------------------------------------------- */

/* A machine that stands still and belongs to this host: its owner rewrites what is dirty, under a claim
 * that a start would collide with. Return: false while it is under way */
static bool wash(struct core *c, const char *vm, const char *mark)
{
    const json_t *act = vm_act(c, vm);
    bool is_washing = str_eq(json_text_of(act, "state"), "washing");
    _cleanup_free_ char *id = str_printf(WASH "%s/%s", mark, vm);
    if (act_has_succeeded(c, id) && !is_washing) {
        return true;
    }
    if (!is_washing) {
        struct commit t = commit_new();
        _cleanup_free_ char *claim = str_printf("vm/%s/wash", vm);
        _cleanup_free_ char *own = str_printf("%s/own", vm);
        vm_put_act(c, &t, vm, vm_new_act(c, "washing", vm_epoch(vm_own(c, vm))));
        commit_guard(c, &t, KEY_VM, own);
        (void)commit_try(c, claim, &t);
        return false;
    }
    if (!ha_old_laundering_is_over(c)) {
        return false;
    }
    (void)act_try(c, id, "vm.clean", vm_clean_args(c, vm), UINT64_MAX / 2);
    if (act_has_succeeded(c, id)) {
        struct commit t = commit_new();
        _cleanup_free_ char *claim = str_printf("vm/%s/washed", vm);
        vm_put_act(c, &t, vm, vm_new_act(c, "stopped", vm_epoch(vm_own(c, vm))));
        (void)commit_try(c, claim, &t);
    }
    return false;
}

static bool is_mine_at_rest(const struct core *c, const char *vm)
{
    const char *state = json_text_of(vm_act(c, vm), "state");
    return str_eq(json_text_of(vm_own(c, vm), "owner"), c->host) &&
           ha_pool_is_on(c, json_text_of(vm_spec(c, vm), "pool")) &&
           (str_eq(state, "washing") ||
            (str_eq(state, "stopped") && str_eq(json_text_of(vm_spec(c, vm), "desired"), "stopped")));
}

static void wash_for(struct core *c, const char *host, uint64_t inc)
{
    _cleanup_free_ char *mark = str_printf("%s/%llu/%s", host, (unsigned long long)inc, c->host);
    bool is_done = true;
    char *name = NULL;
    if (world_get(&c->world, KEY_WASHED, mark)) {
        return;
    }
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        is_done = (!is_mine_at_rest(c, vm) || wash(c, vm, mark)) && is_done;
    }
    if (is_done) {
        struct commit t = commit_new();
        commit_put(c, &t, KEY_WASHED, mark, json_object());
        commit_guard(c, &t, KEY_NODE, host);
        (void)commit_try(c, "ha/washed", &t);
    }
}

/* All that run machines have washed: the host may be let in. */
static void let_in(struct core *c, const char *host, const json_t *node)
{
    uint64_t inc = json_u64_of(node, "inc", 0);
    _cleanup_free_ char *what = str_printf("let-in/%s", host);
    struct commit t = commit_new();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        _cleanup_free_ char *mark = str_printf("%s/%llu/%s", host, (unsigned long long)inc, it.name);
        if (str_eq(it.name, host) || !node_has_vms(it.value) || !node_may_run_vms(it.value)) {
            continue;
        }
        if (!world_get(&c->world, KEY_WASHED, mark)) {
            commit_drop(&t);
            return;
        }
        commit_guard(c, &t, KEY_WASHED, mark);
    }
    if (!ha_is_my_turn(c, what)) {
        commit_drop(&t);
        return;
    }
    json_t *next = json_deep_copy(node);
    json_object_set_new(next, "clean", json_true());
    commit_put(c, &t, KEY_NODE, host, next);
    (void)commit_try(c, "ha/let-in", &t);
}

/* Is a washing of @vm, for whomever, still under way? Until it ends nobody may start the machine. */
static bool is_under_the_brush(const struct core *c, const char *vm)
{
    _cleanup_free_ char *end = str_printf("/%s", vm);
    const struct smap *all = &c->attempts;
    for (size_t i = smap_lower(all, WASH); i < all->n && str_starts(all->items[i].key, WASH); i++) {
        const struct attempt *a = act_find(c, all->items[i].key);
        if (a->in_flight && str_ends(all->items[i].key, end)) {
            return true;
        }
    }
    return false;
}

/* What a washing left behind whose host did not come back after all. */
static void end_washing(struct core *c)
{
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        if (str_eq(json_text_of(vm_own(c, vm), "owner"), c->host) && !is_under_the_brush(c, vm) &&
            str_eq(json_text_of(vm_act(c, vm), "state"), "washing") && ha_old_laundering_is_over(c)) {
            _cleanup_free_ char *id = str_printf("vm/%s/washed", vm);
            struct commit t = commit_new();
            vm_put_act(c, &t, vm, vm_new_act(c, "stopped", vm_epoch(vm_own(c, vm))));
            (void)commit_try(c, id, &t);
        }
    }
}

static void plan_others_return(struct core *c)
{
    bool is_waited_for = false;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (ha_node_is_rejoining(it.value) && !str_eq(it.name, c->host) &&
            !json_bool_of(it.value, "clean", false)) {
            is_waited_for = true;
            if (node_has_vms(my_node(c)) && node_may_run_vms(my_node(c))) {
                wash_for(c, it.name, json_u64_of(it.value, "inc", 0));
            }
            let_in(c, it.name, it.value);
        }
    }
    if (!is_waited_for) {
        end_washing(c);
    }
}

void ha_plan_self(struct core *c)
{
    const json_t *me = my_node(c);
    (void)ha_old_laundering_is_over(c); /* long before somebody waits for it */
    if (ha_node_is_out(me)) {
        bool is_fenced = str_eq(json_text_of(me, "state"), "fenced");
        bool is_over = is_sentence_sure(c) && is_empty(c);
        if (is_over && is_fenced && !ha_node_is_held(me) && has_ended_bricks(c)) {
            rejoin(c);
        }
    } else if (ha_node_is_rejoining(me)) {
        if (ha_has_booted(c)) {
            rejoin(c);
        } else {
            start_bricks(c);
            become_member(c);
        }
    } else {
        forget_fences(c);
        if (restore_stage(c) == RESTORE_NONE) { /* else whose machines are at rest is not known */
            plan_others_return(c);
        }
    }
}
