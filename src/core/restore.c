/* SPDX-License-Identifier: Apache-2.0
 * The stage in which hosts report. Guards, filters and promises are not touched in it: that a host was cut off after
 * the snapshot is known to them alone, and whom they let in would write. So who is cut off anywhere is fenced anew
 * although it reports, and who does not report is when two brick hosts hear nothing of it. */
#include "core/restore.h"

#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"

#define LOOK "restore/look"
#define LOOK_US (2 * USEC_PER_SEC)
#define HEAR_ALL_US (30 * USEC_PER_SEC) /* agents list the store each 20 s */
#define REPORTS_NEEDED 2 /* brick hosts: any two of three meet any two that acknowledged a fence (I3) */
#define INC_BITS 20      /* incarnations of a restored store begin above all of before, and so have no marks of before */

static const json_t *record(const struct core *c)
{
    return world_get(&c->world, KEY_RESTORE_GEN, "");
}

uint64_t restore_gen(const struct core *c)
{
    return json_u64_of(record(c), "n", 0);
}

/* Has this core heard of the commit that gave all hosts one? An answer may tell of restore_gen alone, and the nodes of the
 * snapshot beside it would be believed. */
static bool has_standings(const struct core *c)
{
    bool has = true;
    for (struct world_iter it = {0}; has && world_next(&c->world, KEY_NODE, &it);) {
        has = json_u64_of(it.value, "inc", 0) >> INC_BITS >= restore_gen(c);
    }
    return has;
}

enum restore_stage restore_stage(const struct core *c)
{
    const json_t *r = record(c);
    if (!json_u64_of(r, "n", 0) || json_bool_of(r, "settled", false)) {
        return RESTORE_NONE;
    }
    return json_bool_of(r, "hosts", false) && has_standings(c) ? RESTORE_VMS : RESTORE_HOSTS;
}

const json_t *restore_report(const struct core *c, const char *host)
{
    const json_t *said = world_get(&c->world, KEY_RESTORED, host);
    return said && json_u64_of(said, "gen", 0) == restore_gen(c) ? said : NULL;
}

/* --- another store ------------------------------------------------------------------------- */

static uint64_t gen_in(const json_t *rows)
{
    uint64_t n = 0;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (str_eq(json_string_value(json_array_get(row, 0)), KEY_RESTORE_GEN)) {
            uint64_t its = json_u64_of(json_array_get(row, 2), "n", 0);
            n = its > n ? its : n;
        }
    }
    return n;
}

bool restore_supersedes(const struct core *c, const json_t *event)
{
    const json_t *store = json_object_get(event, "store");
    const json_t *rows = json_object_get(event, "rows");
    const json_t *puts = json_object_get(store ? store : event, "puts");
    /* Also before the first list: what a watch has told is of the store of before, and its revisions may be higher. */
    bool is_known = c->world.is_listed || c->world.records.n;
    return is_known && (gen_in(rows) > restore_gen(c) || gen_in(puts) > restore_gen(c));
}

bool restore_is_former(const struct core *c, const json_t *event)
{
    return c->world.is_listed && gen_in(json_object_get(event, "rows")) < restore_gen(c);
}

/* --- what this host reports ---------------------------------------------------------------- */

/* Of whom this host's guard hears nothing. Only brick hosts are asked. */
static json_t *silent_hosts(const struct core *c)
{
    json_t *hosts = json_array();
    const json_t *peers = json_object_get(ha_guard_seen(c), "peers");
    for (struct world_iter it = {0}; ha_is_fencer(c, c->host) && world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && json_bool_of(json_object_get(peers, it.name), "silent", false)) {
            json_array_append_new(hosts, json_string(it.name));
        }
    }
    return hosts;
}

/* The action looks at what runs after it has seen to it that nothing is started any more that was asked for before. */
static void report(struct core *c)
{
    uint64_t gen = restore_gen(c);
    const json_t *me = node_get(c, c->host);
    if (!ha_old_laundering_is_over(c)) { /* what it rewrites may be given to another host next */
        return;
    }
    (void)act_try(c, LOOK, "restore.look", json_pack("{s:I,s:b}", "gen", (json_int_t)gen, "has_vms", !me || node_has_vms(me)), LOOK_US);
    const json_t *look = smap_get(&c->seen, RESTORE_LOOK);
    if (!look || json_u64_of(look, "gen", 0) != gen) {
        return;
    }
    json_t *now = json_pack("{s:I,s:O*,s:O,s:O,s:O,s:o}", "gen", (json_int_t)gen, "inc", json_object_get(look, "inc"), "boot_id",
                            json_object_get(c->self, "boot_id"), "domains", json_object_get(look, "domains"), "cut",
                            json_object_get(look, "cut"), "silent", silent_hosts(c));
    if (json_equal(now, world_get(&c->world, KEY_RESTORED, c->host))) {
        json_decref(now);
        return;
    }
    struct commit t = commit_new();
    commit_put(c, &t, KEY_RESTORED, c->host, now);
    (void)commit_try(c, "restore/report", &t);
}

/* --- the standing of hosts ----------------------------------------------------------------- */

/* A machine that failover covers is started after a drain (T10) only; what it does not cover may run before. */
static bool runs_covered(const json_t *said)
{
    const char *vm;
    json_t *dom;
    json_object_foreach(json_object_get(said, "domains"), vm, dom) {
        if (json_bool_of(dom, "freezable", false)) {
            return true;
        }
    }
    return false;
}

enum standing { STANDING_UNKNOWN, STANDING_GOOD, STANDING_LOST };

/* The life that @by has cut off of @host, or 0. */
static uint64_t cut_life(const struct core *c, const char *by, const char *host)
{
    return str_eq(by, host) ? 0 : json_u64_of(json_object_get(restore_report(c, by), "cut"), host, 0);
}

/* Lives of a restored store begin at 1, so 0 is the former life of a host that was given a good standing, and was to be
 * drained (T10) when the store was restored once more: nobody has fenced that one. */
static bool claims_cut(const struct core *c, const char *by, const char *host)
{
    uint64_t life = cut_life(c, by, host);
    return life && life % (UINT64_C(1) << INC_BITS) != 0;
}

static bool is_to_drain(const struct core *c, const char *host)
{
    bool is_cut = false;
    for (struct world_iter it = {0}; !is_cut && world_next(&c->world, KEY_NODE, &it);) {
        is_cut = cut_life(c, it.name, host) != 0;
    }
    return is_cut;
}

/* Two brick hosts that have cut a host off have been let in by all others since that one was heard last: its own word is
 * older. Of others there may be records of long ago. */
static bool is_outvoted(const struct core *c, const char *host)
{
    size_t n = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        n += ha_is_fencer(c, it.name) && claims_cut(c, it.name, host);
    }
    return n >= REPORTS_NEEDED;
}

/* Does another host have this one cut off? It was fenced since the snapshot, or has been booted and is not let in yet:
 * what it runs may be of before that. @ret_inc: the newest incarnation that was cut off */
static bool is_cut_off(const struct core *c, const char *host, uint64_t *ret_inc)
{
    bool is_cut = false;
    *ret_inc = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (claims_cut(c, it.name, host) && !is_outvoted(c, it.name)) {
            uint64_t inc = cut_life(c, it.name, host);
            *ret_inc = inc > *ret_inc ? inc : *ret_inc;
            is_cut = true;
        }
    }
    return is_cut;
}

enum cut { CUT_NOT, CUT_OFF, CUT_BACK, CUT_BACK_RUNS };

/* CUT_BACK: it has begun a later life since (T9, T10), so nothing of before runs there, but was not let in by all; with
 * CUT_BACK_RUNS it was by those that matter, for it has been given machines. */
static enum cut cut_of(const struct core *c, const char *host)
{
    uint64_t inc = 0;
    const json_t *said = restore_report(c, host);
    if (!is_cut_off(c, host, &inc)) {
        return CUT_NOT;
    }
    if (json_u64_of(said, "inc", 0) <= inc) {
        return CUT_OFF;
    }
    return runs_covered(said) ? CUT_BACK_RUNS : CUT_BACK;
}

/* Two brick hosts have to be left for a fence. */
static bool may_fence(const struct core *c)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t total = ha_fencers(c, fencers);
    size_t n = 0;
    for (size_t i = 0; i < total; i++) {
        enum cut cut = cut_of(c, fencers[i]);
        n += restore_report(c, fencers[i]) && (cut == CUT_NOT || cut == CUT_BACK_RUNS);
    }
    return n >= REPORTS_NEEDED;
}

static bool is_unheard(const struct core *c, const char *host)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t total = ha_fencers(c, fencers);
    size_t n = 0;
    for (size_t i = 0; i < total; i++) {
        bool counts = !str_eq(fencers[i], host) && cut_of(c, fencers[i]) == CUT_NOT;
        n += counts && json_has_text(json_object_get(restore_report(c, fencers[i]), "silent"), host);
    }
    return n >= REPORTS_NEEDED;
}

/* @ret_why: said of the host ("it …"); borrowed */
static enum standing standing_of(const struct core *c, const char *host, const char **ret_why)
{
    const json_t *said = restore_report(c, host);
    enum cut cut = said ? cut_of(c, host) : CUT_NOT;
    bool is_cut = cut == CUT_OFF || (cut == CUT_BACK && may_fence(c));
    if (json_bool_of(said, "dead", false)) {
        *ret_why = "a user has declared it dead after the store was restored";
        return STANDING_LOST;
    }
    if (is_cut && ha_is_on(c)) {
        *ret_why = "another host had it cut off when the store was restored";
        return STANDING_LOST;
    }
    if (cut == CUT_OFF && json_object_size(json_object_get(said, "domains"))) { /* its guard's config is kept over the reboot */
        *ret_why = "it was cut off after the snapshot, in which failover is off: reboot it";
        return STANDING_UNKNOWN;
    }
    if (!said && ha_is_on(c) && is_unheard(c, host)) {
        *ret_why = "it has not reported since the store was restored, and nothing is heard of it";
        return STANDING_LOST;
    }
    *ret_why = said ? NULL : "it has not reported what runs there";
    return said ? STANDING_GOOD : STANDING_UNKNOWN;
}

/* A host that joined after the snapshot, with a machine that the store knows. Who reports is asked; who is silent is
 * known to nobody. */
char *restore_stranger(const struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_RESTORED, &it);) {
        const char *vm = node_get(c, it.name) ? NULL : restore_is_listed(c, it.name);
        if (vm) {
            return str_printf("%s, which joined after the snapshot, runs %s: shut that down there", it.name, vm);
        }
    }
    return NULL;
}

/* In the order of names, so that one host usually acts alone. Safety does not rest on it. */
bool restore_is_my_turn(struct core *c, const char *what)
{
    uint64_t rank = 0;
    uint64_t since_us = ha_since_us(c, what);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_RESTORED, &it) && !str_eq(it.name, c->host);) {
        rank += restore_report(c, it.name) != NULL;
    }
    return since_us >= rank * HA_RANK_US;
}

/* Whose boot is another one than the snapshot's has drained since then, if it runs anything; else nobody knows (T10). The
 * same for who is not let in everywhere. */
static json_t *well(const struct core *c, const char *host, const json_t *node)
{
    const json_t *said = restore_report(c, host);
    const char *state = json_text_of(node, "state");
    bool is_half = (str_eq(state, "joining") || str_eq(state, "leaving")) && !json_object_size(json_object_get(said, "domains"));
    bool is_kept = is_half || str_eq(state, "maintenance"); /* who runs machines has joined since, or again */
    bool has_booted = !str_eq(json_text_of(node, "boot_id"), json_text_of(said, "boot_id"));
    json_t *next = json_deep_copy(node);
    json_object_set_new(next, "state", json_string(is_kept ? state : "online"));
    json_object_set(next, "boot_id", json_object_get(said, "boot_id"));
    json_object_del(next, "why");
    json_object_del(next, "clean");
    json_object_del(next, "flush");
    if ((has_booted || is_to_drain(c, host)) && ha_is_used(c) && !runs_covered(said)) {
        json_object_set_new(next, "flush", json_true());
    }
    return next;
}

/* It is not known in which boot it was in good standing last: it ends its mounts and bricks itself, whatever boot
 * it comes back in (T9). */
static json_t *lost(const struct core *c, const char *host, const json_t *node, const char *why)
{
    const char *boot = json_text_of(restore_report(c, host), "boot_id");
    json_t *next = json_deep_copy(node);
    json_object_set_new(next, "state", json_string("fencing"));
    json_object_set_new(next, "boot_id", json_string(boot ? boot : ""));
    json_object_set_new(next, "why", json_string(why));
    json_object_set_new(next, "by", json_string(c->host));
    json_object_set_new(next, "fenced_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
    json_object_del(next, "clean");
    json_object_del(next, "flush");
    return next;
}

/* All hosts in one commit. T1 of those that are lost is part of it: it compares that they have not reported after all,
 * and who said so. Of the others reports only grow. */
static void commit_hosts(struct core *c)
{
    struct commit t = commit_new();
    uint64_t inc = (restore_gen(c) << INC_BITS) + 1;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const char *why = NULL;
        bool is_good = standing_of(c, it.name, &why) == STANDING_GOOD;
        json_t *next = is_good ? well(c, it.name, it.value) : lost(c, it.name, it.value, why);
        json_object_set_new(next, "inc", json_integer((json_int_t)inc));
        commit_put(c, &t, KEY_NODE, it.name, next);
        if (!is_good || ha_is_fencer(c, it.name)) {
            commit_guard(c, &t, KEY_RESTORED, it.name);
        }
    }
    json_t *next = json_deep_copy(record(c));
    json_object_set_new(next, "hosts", json_true());
    commit_put(c, &t, KEY_RESTORE_GEN, "", next);
    (void)commit_try(c, "restore/hosts", &t);
}

/* Return: what is in the way, as a new string, or NULL: all have their standing */
static char *hosts_wait(const struct core *c)
{
    size_t fit = 0;
    size_t n_lost = 0;
    char *alien = restore_stranger(c);
    if (alien) {
        return alien;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const char *why = NULL;
        enum standing s = standing_of(c, it.name, &why);
        if (s == STANDING_UNKNOWN) {
            return str_printf("%s: %s", it.name, why);
        }
        n_lost += s == STANDING_LOST;
        fit += s == STANDING_GOOD && ha_is_fencer(c, it.name);
    }
    return n_lost && fit < REPORTS_NEEDED
               ? str_dup("two brick hosts in good standing, to fence one that does not report or was cut off")
               : NULL;
}

static void plan_hosts(struct core *c)
{
    _cleanup_free_ char *waits = hosts_wait(c);
    /* Who is only slow reports within that time, and so does a host that joined after the snapshot, which no record names. */
    bool is_sure = ha_since_us(c, "restore/heard") >= HEAR_ALL_US;
    bool is_done = json_bool_of(record(c), "hosts", false); /* and this core is about to hear of it */
    if (!waits && !is_done && node_get(c, c->host) && restore_report(c, c->host) && restore_is_my_turn(c, "restore/turn") && is_sure) {
        commit_hosts(c);
    }
}

/* They were ended when it was on its way back from a fence (T9). */
static void start_bricks(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    if (ha_is_used(c) && node_may_run_vms(me) && node_has_bricks(me)) {
        (void)act_try(c, "restore/bricks", "host.start_bricks", json_object(), UINT64_MAX / 2);
    }
}

void restore_plan(struct core *c)
{
    report(c);
    if (restore_stage(c) == RESTORE_HOSTS) {
        plan_hosts(c);
    } else {
        start_bricks(c);
        restore_plan_vms(c);
    }
}

/* --- for users ----------------------------------------------------------------------------- */

char *restore_waits(const struct core *c)
{
    enum restore_stage stage = restore_stage(c);
    if (stage == RESTORE_NONE) {
        return NULL;
    }
    char *waits = stage == RESTORE_HOSTS ? hosts_wait(c) : restore_vms_wait(c);
    return waits ? waits : str_dup("its hosts are about to agree on what runs where");
}

int restore_refuse(const struct core *c, struct err *e)
{
    _cleanup_free_ char *waits = restore_waits(c);
    if (!waits) {
        return 0;
    }
    (void)ERR_SET(e, STATE, "the store was restored from a snapshot, and it is not known yet what runs where: %.200s",
                  waits);
    err_hint(e, "what runs goes on; a host that is lost for good is given up with 'mortar host fence HOST'");
    return -ERR_STATE;
}

int restore_request_fence(struct core *c, const char *host, struct commit *t, struct err *e)
{
    if (!node_get(c, host)) {
        return ERR_SET(e, NOT_FOUND, "there is no host '%.64s'", host);
    }
    if (!ha_is_on(c)) {
        (void)ERR_SET(e, STATE, "failover is on for no pool: nobody could prove that '%s' writes no more", host);
        err_hint(e, "bring it back: it has to report what runs there");
        return -ERR_STATE;
    }
    json_t *dead = json_pack("{s:I,s:b,s:{},s:{},s:[]}", "gen", (json_int_t)restore_gen(c), "dead", 1, "domains", "cut",
                             "silent");
    commit_put(c, t, KEY_RESTORED, host, dead);
    return 0;
}
