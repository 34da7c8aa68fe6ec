/* SPDX-License-Identifier: Apache-2.0
 * What this host does when another one is being fenced: cut it off, never promise it anything again,
 * prove that nothing of it is still on its way, and say so (T2). And the other direction: let in who
 * is in good standing, which a host that has just booted may only do after a commit of its own (3.4). */
#include <stdio.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"

#define LOOK_AGAIN_US (10 * USEC_PER_SEC) /* should a change of the table not have been told */
#define DRAIN_AGAIN_US (5 * USEC_PER_SEC) /* since it began; a try takes 3 s: a fence does not wait for a back-off of a minute */
#define TOUCHED_PAUSE_US (100 * USEC_PER_MSEC) /* another hand that takes the table away each time makes no loop */
#define TOUCHED_HOLD_US USEC_PER_SEC /* a look takes some tens of milliseconds */
#define ONCE (UINT64_MAX / 2) /* a pause that does not end: what succeeded is not done again */

/* One host that this one acts against. */
struct foe {
    struct core *c;
    const char *name;
    const json_t *node;
    uint64_t inc;
};

static char *id_of(const struct foe *f, const char *what)
{
    return str_printf("ha/fence/%s/%llu/%s", f->name, (unsigned long long)f->inc, what);
}

static char *mark_of(const struct foe *f, const char *by)
{
    return str_printf("%s/%llu/%s", f->name, (unsigned long long)f->inc, by);
}

static bool has_succeeded(const struct foe *f, const char *what)
{
    _cleanup_free_ char *id = id_of(f, what);
    return act_has_succeeded(f->c, id);
}

static const char *arbiter_host(const struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        size_t i;
        json_t *brick;
        if (!str_eq(json_text_of(it.value, "ha"), "on")) {
            continue;
        }
        json_array_foreach(json_object_get(it.value, "bricks"), i, brick) {
            if (str_eq(json_text_of(brick, "role"), "arbiter")) {
                return json_text_of(brick, "host");
            }
        }
    }
    return NULL;
}

/* A8: cut at a data brick first, the stale host would go on with its own brick and the arbiter, and
 * the arbiter would blame the good copy (facts/fence-translator.md, trap 1). */
static bool must_wait_for_arbiter(struct foe *f)
{
    struct core *c = f->c;
    const char *arbiter = arbiter_host(c);
    if (!ha_is_fencer(c, c->host) || !arbiter || str_eq(arbiter, c->host) ||
        str_eq(arbiter, f->name) || ha_node_is_out(node_get(c, arbiter))) {
        return false;
    }
    _cleanup_free_ char *mark = mark_of(f, arbiter);
    if (world_get(&c->world, KEY_CUT, mark)) {
        return false;
    }
    _cleanup_free_ char *what = str_printf("cut/%s/%llu", f->name, (unsigned long long)f->inc);
    return ha_since_us(c, what) < HA_CUT_WAIT_US;
}

static json_t *peers_of(const struct core *c)
{
    json_t *peers = json_object();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        json_object_set_new(peers, it.name,
                            json_pack("{s:O,s:O,s:O}", "storage", json_object_get(it.value, "storage"),
                                      "mgmt", json_object_get(it.value, "mgmt"), "inc",
                                      json_object_get(it.value, "inc")));
    }
    return peers;
}

static json_t *wanted_open(const struct core *c);

/* The table is written whole: who was let in before stays in, but for those that are out by now. */
static json_t *still_open(const struct core *c)
{
    json_t *hosts = json_object();
    const json_t *wanted = basis_memo(c, MEMO_OPEN, wanted_open);
    const char *host;
    json_t *inc;
    json_object_foreach(json_object_get(smap_get(&c->seen, "ha/table"), "open"), host, inc) {
        if (json_equal(json_object_get(wanted, host), inc)) {
            json_object_set(hosts, host, inc);
        }
    }
    return hosts;
}

static void cut(struct foe *f)
{
    struct core *c = f->c;
    if (must_wait_for_arbiter(f) || !smap_get(&c->seen, "ha/table")) {
        return; /* without a table nobody is let in at all, but nobody's sockets are ended either */
    }
    _cleanup_free_ char *id = id_of(f, "cut");
    if (act_is_due(c, id, ONCE)) {
        (void)act_try(c, id, "fence.cut",
                      json_pack("{s:s,s:I,s:s,s:o,s:o}", "host", f->name, "inc", (json_int_t)f->inc, "self",
                                c->host, "peers", peers_of(c), "open", still_open(c)), ONCE);
    }
}

static void mark_cut(struct foe *f)
{
    struct core *c = f->c;
    _cleanup_free_ char *mark = mark_of(f, c->host);
    if (world_get(&c->world, KEY_CUT, mark)) {
        return;
    }
    _cleanup_free_ char *id = id_of(f, "mark");
    struct commit t = commit_new();
    commit_put(c, &t, KEY_CUT, mark,
               json_pack("{s:I}", "at_ms", (json_int_t)(c->wall_us / USEC_PER_MSEC)));
    (void)commit_try(c, id, &t);
}

/* The volumes of which this host has a brick: each must prove that nothing of the fenced host is left. */
static json_t *volumes_here(const struct core *c)
{
    json_t *volumes = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (!pool_is_dir(it.value) && pool_brick_of(it.value, c->host) &&
            str_eq(json_text_of(it.value, "ha"), "on")) {
            json_array_append_new(volumes, json_pack("{s:s,s:O}", "volume", it.name, "brick",
                                                     pool_brick_of(it.value, c->host)));
        }
    }
    return volumes;
}

/* One answer of one instance of the guard: it denies, and every promise that any instance gave is over. */
static const char *denying_instance(const struct foe *f)
{
    const json_t *said = ha_guard_seen(f->c);
    const json_t *peer = json_object_get(json_object_get(said, "peers"), f->name);
    bool is_over = json_u64_of(peer, "denied_inc", 0) >= f->inc &&
                   json_bool_of(peer, "denial_over", false);
    return is_over ? json_text_of(said, "instance") : NULL;
}

/* By a drain that was begun after the cut: a cut that had to be made once more needs another one. */
static bool is_drained(const struct foe *f)
{
    _cleanup_free_ char *cut_id = id_of(f, "cut");
    _cleanup_free_ char *drain_id = id_of(f, "drain");
    return has_succeeded(f, "cut") && has_succeeded(f, "drain") &&
           act_find(f->c, drain_id)->started_us >= act_find(f->c, cut_id)->started_us;
}

const json_t *ha_drained(struct core *c, const char *foe, uint64_t inc)
{
    const struct foe f = {c, foe, NULL, inc};
    _cleanup_free_ char *id = id_of(&f, "drain");
    return is_drained(&f) ? act_find(c, id)->result : NULL;
}

static uint64_t touched_us(const struct core *c)
{
    return json_u64_of(smap_get(&c->seen, HA_TABLE_TOUCHED), "at_us", 0);
}

/* Somebody has changed the table since it was looked at last; our own writes are told, too, and cost one more look. */
static bool is_touched(const struct core *c)
{
    const struct attempt *look = act_find(c, "ha/table");
    return look && touched_us(c) > look->started_us;
}

/* Was it somebody else? An acknowledgement waits for that look, but not for long: it may be kept from being done. */
static bool is_table_in_doubt(struct core *c)
{
    const struct attempt *look = act_find(c, "ha/table");
    bool is_looked_at = look && !is_touched(c) && !look->in_flight;
    if (!touched_us(c) || is_looked_at || core_is_past(c, touched_us(c) + TOUCHED_HOLD_US)) {
        return false;
    }
    core_wake_in(c, TOUCHED_HOLD_US);
    return true;
}

static void drain(struct foe *f)
{
    _cleanup_free_ char *id = id_of(f, "drain");
    if (has_succeeded(f, "drain") && !is_drained(f)) {
        act_forget_one(f->c, id);
    }
    act_limit_backoff(f->c, id, DRAIN_AGAIN_US);
    if (act_is_due(f->c, id, ONCE) && !ha_is_ending(f->c, f->name, f->inc)) {
        (void)act_try(f->c, id, "fence.drain",
                      json_pack("{s:s,s:o}", "host", f->name, "volumes", volumes_here(f->c)), ONCE);
    }
}

/* @instance: of the guard that denies; NULL for a life that ended by itself */
static void put_ack(struct foe *f, const char *instance)
{
    struct core *c = f->c;
    _cleanup_free_ char *mark = mark_of(f, c->host);
    _cleanup_free_ char *drained = id_of(f, "drain");
    _cleanup_free_ char *id = id_of(f, "ack");
    if (world_get(&c->world, KEY_ACK, mark) || is_table_in_doubt(c) || ha_is_untold(c, f->name, f->inc)) {
        return;
    }
    struct commit t = commit_new();
    commit_put(c, &t, KEY_ACK, mark,
               json_pack("{s:s*,s:O*}", "instance", instance, "drained", act_find(c, drained)->result));
    commit_guard(c, &t, KEY_NODE, f->name);
    (void)commit_try(c, id, &t);
}

static void acknowledge(struct foe *f) /* T2 */
{
    const char *instance = denying_instance(f);
    if (instance && is_drained(f) && str_eq(json_text_of(f->node, "state"), "fencing")) {
        put_ack(f, instance);
    }
}

/* T10: what the former life of a host had sent is drained as after a fence; its promises ended with it. */
static void flush(struct foe *f)
{
    cut(f);
    if (!ha_is_fencer(f->c, f->c->host) || !has_succeeded(f, "cut")) {
        return;
    }
    drain(f);
    if (is_drained(f)) {
        put_ack(f, NULL);
    }
}

static void act_against(struct foe *f)
{
    struct core *c = f->c;
    cut(f);
    if (!ha_is_fencer(c, c->host)) {
        return;
    }
    _cleanup_free_ char *deny = id_of(f, "deny");
    (void)act_try(c, deny, "guard.deny",
                  json_pack("{s:s,s:I}", "host", f->name, "inc", (json_int_t)f->inc), ONCE);
    if (has_succeeded(f, "cut")) {
        mark_cut(f);
        drain(f);
    }
    acknowledge(f);
}

/* --- letting hosts in ---------------------------------------------------------------------- */

/* {host: inc} of all that may come through, in words of one commit. */
static json_t *wanted_open(const struct core *c)
{
    json_t *hosts = json_object();
    for (struct world_iter it = {0}; !ha_has_booted(c) && world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && ha_node_is_open(it.value)) {
            json_object_set(hosts, it.name, json_object_get(it.value, "inc"));
        }
    }
    return hosts;
}

/* What this agent read may be old (I7): the commit compares every node record, so what it opens is
 * in good standing at that revision. Closing needs no permission. */
static void ask_to_open(struct core *c, json_t *wanted)
{
    struct commit t = commit_new();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        commit_guard(c, &t, KEY_NODE, it.name);
    }
    commit_put(c, &t, KEY_OPEN, c->host,
               json_pack("{s:O,s:O}", "hosts", wanted, "instance",
                         json_object_get(c->self, "instance")));
    (void)commit_try(c, "ha/ask", &t);
}

/* A cut writes the table, too, and in the order of A8: nothing may close it to a host before, and the cut need
 * not wait behind it, for survivors stand still until it is done. */
static bool is_cut_due(const struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        struct foe f = {(struct core *)c, it.name, it.value, json_u64_of(it.value, "inc", 0)};
        if (ha_node_is_out(it.value) && !str_eq(it.name, c->host) && !has_succeeded(&f, "cut")) {
            return true;
        }
    }
    return false;
}


static void look_at_table(struct core *c, json_t *open, bool is_known)
{
    uint64_t pause_us = !is_known ? 0 : is_touched(c) ? TOUCHED_PAUSE_US : LOOK_AGAIN_US;
    if (is_known && is_touched(c)) {
        core_wake_in(c, TOUCHED_PAUSE_US);
    }
    if (act_is_due(c, "ha/table", pause_us)) {
        (void)act_try(c, "ha/table", "fence.table",
                      json_pack("{s:O,s:b,s:s,s:o}", "open", open, "is_known", is_known, "self", c->host, "peers",
                                peers_of(c)), pause_us);
    }
}

static void open_hosts(struct core *c)
{
    json_t *wanted = basis_memo(c, MEMO_OPEN, wanted_open);
    const json_t *asked = world_get(&c->world, KEY_OPEN, c->host);
    const json_t *applied = json_object_get(smap_get(&c->seen, "ha/table"), "open");
    bool is_allowed = json_equal(json_object_get(asked, "hosts"), wanted) &&
                      json_equal(json_object_get(asked, "instance"),
                                 json_object_get(c->self, "instance"));
    if (!is_allowed) {
        ask_to_open(c, wanted);
    }
    if (applied && is_cut_due(c)) {
        return;
    }
    if (is_allowed) {
        look_at_table(c, wanted, json_equal(applied, wanted));
    } else if (applied && is_touched(c)) { /* nobody new: that needs no permission, and may be long in coming */
        _cleanup_json_ json_t *known = still_open(c);
        look_at_table(c, known, true);
    }
}

void ha_forget_cuts(struct core *c, const char *but)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        uint64_t inc = json_u64_of(it.value, "inc", 0);
        struct foe f = {c, it.name, it.value, inc - (ha_node_is_flushing(it.value) ? 1 : 0)};
        _cleanup_free_ char *id = id_of(&f, "cut");
        if (!str_eq(id, but)) {
            act_forget_one(c, id);
        }
    }
}

/* Outcomes that concern incarnations of the past. */
static void forget_old(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        _cleanup_free_ char *all = str_printf("ha/fence/%s/", it.name);
        if (!act_has_any(c, all)) {
            continue;
        }
        bool is_flushing = ha_node_is_flushing(it.value);
        uint64_t inc = json_u64_of(it.value, "inc", 0) - (is_flushing ? 1 : 0);
        _cleanup_free_ char *keep = str_printf("%s%llu/", all, (unsigned long long)inc);
        act_forget_others(c, all, ha_node_is_out(it.value) || is_flushing ? keep : NULL);
    }
}

void ha_plan_fence(struct core *c)
{
    forget_old(c);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        struct foe f = {c, it.name, it.value, json_u64_of(it.value, "inc", 0)};
        if (ha_node_is_out(it.value) && !str_eq(it.name, c->host)) {
            act_against(&f);
        } else if (ha_node_is_flushing(it.value) && !str_eq(it.name, c->host)) {
            f.inc--;
            flush(&f);
        }
    }
    open_hosts(c);
}
