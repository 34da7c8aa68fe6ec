/* SPDX-License-Identifier: Apache-2.0
 * Transitions of other hosts, made by whoever's turn it is (facts/ha.md 3.7, 3.8): T1 when two fencers
 * hear nothing of a host, T3 when every fencer that lives has acknowledged. There is no way back from
 * T1: it removes a whole class of races. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/drill.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"

#define REPORTS_NEEDED 2 /* of three fencers: any two overlap any two that still give promises */

static bool reports(const struct core *c, const char *fencer, const char *host)
{
    const json_t *said = world_get(&c->world, KEY_SILENT, fencer);
    const json_t *node = node_get(c, fencer);
    /* What an earlier life of it said does not count. */
    return json_has_text(json_object_get(said, "hosts"), host) && node_is_online(node) &&
           json_equal(json_object_get(said, "inc"), json_object_get(node, "inc"));
}

/* @ret: the fencers that hear nothing of @host */
static size_t reporters(const struct core *c, const char *host, const char *ret[HA_FENCERS_MAX])
{
    const char *fencers[HA_FENCERS_MAX];
    size_t total = ha_fencers(c, fencers);
    size_t n = 0;
    for (size_t i = 0; i < total; i++) {
        if (!str_eq(fencers[i], host) && reports(c, fencers[i], host)) {
            ret[n++] = fencers[i];
        }
    }
    return n;
}

bool ha_is_reported(const struct core *c, const char *host)
{
    const char *by[HA_FENCERS_MAX];
    return reporters(c, host, by) >= REPORTS_NEEDED;
}

bool ha_is_doubted(const struct core *c, const char *host)
{
    const char *by[HA_FENCERS_MAX];
    return reporters(c, host, by) > 0;
}

bool ha_node_may_be_fenced(const json_t *node)
{
    return node_may_run_vms(node) || ha_node_is_rejoining(node);
}

static bool is_out_since(const struct core *c, const char *host, const json_t *node, uint64_t us)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", host);
    return ha_node_is_out(node) && !core_is_past(c, world_record(&c->world, key)->changed_us + us);
}

/* Strictly more than a third of the hosts: a switch, a firewall or our own mistake (A10). They fall silent
 * within a beat, not at once: the first one is fenced before the others are missed, and counts on. */
static bool is_storm(const struct core *c)
{
    size_t all = 0;
    size_t silent = 0;
    const char *by[HA_FENCERS_MAX];
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        bool is_just_out = is_out_since(c, it.name, it.value, HA_STORM_WAIT_US);
        all += ha_node_may_be_fenced(it.value) || is_just_out;
        silent += is_just_out ||
                  (ha_node_may_be_fenced(it.value) && reporters(c, it.name, by) >= REPORTS_NEEDED);
    }
    return silent * 3 > all && silent > 1;
}

/* One host after the other, never two at once in the first seconds (facts/ha.md 4.3). */
static bool was_fenced_just_now(const struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (is_out_since(c, it.name, it.value, HA_FENCE_PAUSE_US)) {
            return true;
        }
    }
    return false;
}

/* A fence that a user asked for says nothing of the host's health. */
static bool is_rehearsed(const struct core *c, const char *host, const json_t *node)
{
    const json_t *drill = drill_active(c);
    return str_eq(json_text_of(drill, "host"), host) && str_eq(json_text_of(drill, "state"), "struck") &&
           json_u64_of(drill, "inc", 0) == json_u64_of(node, "inc", 0);
}

void ha_put_fencing(struct core *c, struct commit *t, const char *host, const char *why, bool is_fault)
{
    const json_t *node = node_get(c, host);
    json_t *next = json_deep_copy(node);
    json_object_set_new(next, "state", json_string("fencing"));
    json_object_del(next, "flush"); /* the fence drains both lives */
    json_object_set_new(next, "why", json_string(why));
    json_object_set_new(next, "fenced_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
    json_object_set_new(next, "by", json_string(c->host));
    if (is_fault && !is_rehearsed(c, host, node)) {
        json_object_set_new(next, "fences", json_integer((json_int_t)json_u64_of(node, "fences", 0) + 1));
    }
    commit_put(c, t, KEY_NODE, host, next);
    /* Switched off meanwhile, nobody would let it in again: op_ha.c compares the hosts. */
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (ha_pool_is_on(c, it.name)) {
            commit_guard(c, t, KEY_POOL, it.name);
        }
    }
}

const char *ha_unfit(struct core *c, const char *host, struct commit *t)
{
    const char *fencers[HA_FENCERS_MAX];
    const char *fenced = NULL;
    size_t total = ha_fencers(c, fencers);
    size_t fit = 0;
    for (size_t i = 0; i < total; i++) {
        const json_t *node = node_get(c, fencers[i]);
        if (str_eq(fencers[i], host)) {
            continue;
        }
        commit_guard(c, t, KEY_NODE, fencers[i]);
        if (node_may_run_vms(node) && !ha_node_is_flushing(node) && !ha_is_reported(c, fencers[i])) {
            fit++;
        } else if (str_eq(json_text_of(node, "state"), "fenced")) {
            fenced = fencers[i]; /* nobody waits for its acknowledgement */
        } else {
            return fencers[i];
        }
    }
    return fit >= REPORTS_NEEDED ? NULL : fenced;
}

bool ha_may_fence_now(const struct core *c)
{
    return !was_fenced_just_now(c) && !is_storm(c);
}

static void fence(struct core *c, const char *host, const char *const *by, size_t n)
{
    _cleanup_free_ char *id = str_printf("ha/t1/%s", host);
    _cleanup_sbuf_ struct sbuf why = {0};
    struct commit t = commit_new();
    for (size_t i = 0; i < n; i++) {
        sbuf_printf(&why, "%s%s", i ? " and " : "", by[i]);
        commit_guard(c, &t, KEY_SILENT, by[i]);
        commit_guard(c, &t, KEY_NODE, by[i]);
    }
    sbuf_printf(&why, " heard nothing of it on any network");
    ha_put_fencing(c, &t, host, why.data, true);
    commit_guard(c, &t, KEY_NODE, c->host);
    (void)commit_try(c, id, &t);
}

static void consider(struct core *c, const char *host, const json_t *node) /* T1 */
{
    const char *by[HA_FENCERS_MAX];
    if (!ha_node_may_be_fenced(node) || str_eq(host, c->host)) {
        return;
    }
    size_t n = reporters(c, host, by);
    if (n < REPORTS_NEEDED) {
        return;
    }
    _cleanup_free_ char *what = str_printf("t1/%s", host);
    bool is_storm_now = is_storm(c);
    if (ha_is_my_turn(c, what) && !was_fenced_just_now(c) &&
        (!is_storm_now || ha_since_us(c, what) >= HA_STORM_WAIT_US)) {
        fence(c, host, by, n);
    }
}

/* I3: all fencers but the host itself and those that are fenced themselves, and never fewer than @least.
 * Return: false while one is missing */
static bool add_acks(struct core *c, struct commit *t, const char *host, uint64_t inc, size_t least)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t total = ha_fencers(c, fencers);
    size_t acks = 0;
    for (size_t i = 0; i < total; i++) {
        const json_t *node = node_get(c, fencers[i]);
        _cleanup_free_ char *mark = str_printf("%s/%llu/%s", host, (unsigned long long)inc, fencers[i]);
        if (str_eq(fencers[i], host)) {
            continue;
        }
        commit_guard(c, t, KEY_NODE, fencers[i]);
        if (str_eq(json_text_of(node, "state"), "fenced")) {
            continue;
        }
        if (ha_node_is_out(node) || !world_get(&c->world, KEY_ACK, mark)) {
            return false;
        }
        commit_guard(c, t, KEY_ACK, mark);
        acks++;
    }
    return acks >= least;
}

/* Every brick that lives has drained what the former life of @host had sent. */
static void end_flush(struct core *c, const char *host, const json_t *node)
{
    if (!ha_node_is_flushing(node) || !node_may_run_vms(node)) {
        return;
    }
    _cleanup_free_ char *what = str_printf("flush/%s", host);
    _cleanup_free_ char *id = str_printf("ha/flush/%s", host);
    struct commit t = commit_new();
    if (!add_acks(c, &t, host, json_u64_of(node, "inc", 0) - 1, 1) || !ha_is_my_turn(c, what)) {
        commit_drop(&t);
        return;
    }
    json_t *next = json_deep_copy(node);
    json_object_del(next, "flush");
    commit_put(c, &t, KEY_NODE, host, next);
    (void)commit_try(c, id, &t);
}

static void complete(struct core *c, const char *host, const json_t *node) /* T3 */
{
    if (!str_eq(json_text_of(node, "state"), "fencing") || str_eq(host, c->host)) {
        return;
    }
    _cleanup_free_ char *what = str_printf("t3/%s", host);
    _cleanup_free_ char *id = str_printf("ha/t3/%s", host);
    struct commit t = commit_new();
    if (!add_acks(c, &t, host, json_u64_of(node, "inc", 0), REPORTS_NEEDED) || !ha_is_my_turn(c, what)) {
        commit_drop(&t);
        return;
    }
    json_t *next = json_deep_copy(node);
    json_object_set_new(next, "state", json_string("fenced"));
    commit_put(c, &t, KEY_NODE, host, next);
    (void)commit_try(c, id, &t);
}

void ha_plan_nodes(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        consider(c, it.name, it.value);
        complete(c, it.name, it.value);
        end_flush(c, it.name, it.value);
    }
}
