/* SPDX-License-Identifier: Apache-2.0
 * This host's part of a fence: fence(host, incarnation) → proof (design.md D4, facts/ha.md 3.4). One lane
 * with one thread runs all that changes the table, in the order that the core asked for it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "adapters/fence/fence_brick.h"
#include "adapters/fence/fence_cut.h"
#include "adapters/fence/fence_drain.h"
#include "adapters/fence/fence_record.h"
#include "adapters/fence/fence_spare.h"
#include "adapters/guard/guard_link.h"
#include "adapters/systemd/systemd.h"
#include "agent/brick_dir.h"
#include "agent/brick_index.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/lab_unsafe.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define FENCE_UNIT "mortar-fence.service"
#define GUARD_UNIT "mortar-guard.service"
#define CUT_US (3 * USEC_PER_SEC) /* measured: some tens of milliseconds */
#define WARN_AGAIN_US (10 * USEC_PER_SEC)
#define END_US (10 * USEC_PER_SEC)
#define BRICKS_MAX 8 /* beside one, of a pool; there are two */
#define SPARE_AGAIN_MS 500
#define DRAIN_US (3 * USEC_PER_SEC) /* facts/ha.md 3.9 case 19; then it is asked for again */

/* The table for all hosts of the cluster, @open: {host: inc}. */
static void fill_table(const json_t *args, const json_t *open, struct fence_table *t)
{
    const char *host;
    json_t *addrs;
    json_object_foreach(json_object_get(args, "peers"), host, addrs) {
        const char *storage = json_text_of(addrs, "storage");
        const char *mgmt = json_text_of(addrs, "mgmt");
        bool is_self = str_eq(host, json_text_of(args, "self"));
        strv_add(&t->cluster, storage);
        t->single_network = t->single_network || str_eq(storage, mgmt);
        if (is_self) {
            strv_add(&t->own, storage);
            strv_add(&t->own, mgmt);
        }
        if (json_object_get(open, host)) {
            strv_add(&t->open, storage);
        }
    }
}

static const struct fence_record *record_of(const struct fence_records *all, const char *host)
{
    for (size_t i = 0; i < all->n; i++) {
        if (str_eq(all->v[i].host, host)) {
            return &all->v[i];
        }
    }
    return NULL;
}

/* A host with a record comes in under a newer incarnation only; then the record has done its work. */
static int check_records(const json_t *open, struct err *e)
{
    _cleanup_fence_records_ struct fence_records all = {0};
    const char *host;
    json_t *inc;
    int r = fence_record_load_all(FENCE_DIR, &all, e);
    json_object_foreach((json_t *)open, host, inc) {
        const struct fence_record *rec = r < 0 ? NULL : record_of(&all, host);
        if (rec && rec->inc >= (uint64_t)json_integer_value(inc)) {
            r = ERR_SET(e, STATE, "host '%s' is fenced here as incarnation %llu", host,
                        (unsigned long long)rec->inc);
        }
    }
    json_object_foreach((json_t *)open, host, inc) {
        r = r < 0 || !record_of(&all, host) ? r : fence_record_remove(FENCE_DIR, host, e);
    }
    return r;
}

/* Our own attempts to reach those that let us in again have backed off; anew they succeed at once, and
 * mounts, glusterd and heal are back in seconds instead of a minute and a half (docs/fence.md). */
static void try_again(const struct fence_table *t)
{
    for (size_t i = 0; i < t->open.n; i++) {
        (void)cmd_check(CMD("ss", "-K", "-H", "-n", "-t", "state", "syn-sent", "dst", t->open.v[i]), NULL,
                        NULL, NULL); /* none is fine */
    }
}

/* By another hand; or by ours, when a host has left or has another address. One that goes on is told of now and then. */
static void warn_of_change(void)
{
    static uint64_t told_us; /* this lane has one thread */
    uint64_t now_us = clock_boottime_us();
    if (!told_us || now_us - told_us >= WARN_AGAIN_US) {
        told_us = now_us;
        log_warning("the fence's table was not as it was left, it stands again", "table=%s", FENCE_TABLE);
    }
}

int act_fence_table(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    json_t *open = json_object_get(args, "open");
    _cleanup_fence_table_ struct fence_table t = {0};
    if (lab_unsafe_has("fence")) {
        *ret = json_pack("{s:O}", "open", open);
        return 0;
    }
    fill_table(args, open, &t);
    int r = file_mkdirs(FENCE_DIR, 0700, e);
    r = r < 0 ? r : check_records(open, e);
    if (r == 0 && file_exists(FENCE_BOOT_FILE) && fence_table_check(&t, NULL) == 0) {
        *ret = json_pack("{s:O}", "open", open);
        return 0;
    }
    r = r < 0 ? r : fence_table_boot(FENCE_BOOT_FILE, &t, e);
    r = r < 0 ? r : unit_enable(FENCE_UNIT, e);
    bool changed = false;
    r = r < 0 ? r : fence_table_apply(&t, &changed, e);
    if (r == 0) {
        try_again(&t);
    }
    if (r == 0 && changed && json_bool_of(args, "is_known", false)) {
        warn_of_change();
    }
    *ret = r == 0 ? json_pack("{s:O,s:b}", "open", open, "changed", changed) : NULL;
    return r;
}

int act_fence_cut(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                  struct err *e)
{
    const char *host = json_text_of(args, "host");
    const json_t *addrs = json_object_get(json_object_get(args, "peers"), host);
    _cleanup_fence_table_ struct fence_table t = {0};
    _cleanup_fence_record_ struct fence_record rec = {.host = str_dup(host),
                                                      .inc = json_u64_of(args, "inc", 0)};
    struct fence_cut_seen seen = {0};
    if (lab_unsafe_has("fence")) {
        *ret = json_object();
        return 0;
    }
    fill_table(args, json_object_get(args, "open"), &t);
    strv_add(&rec.addrs, json_text_of(addrs, "storage"));
    int r = fence_record_save(FENCE_DIR, &rec, e);
    r = r < 0 ? r : fence_cut(&t, &rec.addrs, clock_boottime_us() + CUT_US, &seen, e);
    if (r < 0) {
        return r;
    }
    log_notice("a host is cut off", "host=%s inc=%llu filtered_us=%llu took_us=%llu", host,
               (unsigned long long)rec.inc, (unsigned long long)seen.filtered_us,
               (unsigned long long)seen.took_us);
    *ret = json_pack("{s:I,s:I,s:b}", "filtered_us", (json_int_t)seen.filtered_us, "took_us",
                     (json_int_t)seen.took_us, "changed", seen.changed);
    return 0;
}

/* A brick that does not run holds nothing, and one that starts later starts behind the closed table. */
static int drain_one(const json_t *volume, const char *host, json_t *proofs, struct err *e)
{
    const char *name = json_text_of(volume, "volume");
    _cleanup_free_ char *dir = brick_dir_of(json_object_get(volume, "brick"), false);
    struct fence_proof proof = {0};
    struct err why = {0};
    int r = fence_drain(FENCE_RUN_DIR, name, dir, host, clock_boottime_us() + DRAIN_US, &proof, &why);
    if (r < 0 && r != -ERR_NOT_FOUND) {
        return err_copy(e, &why);
    }
    json_array_append_new(proofs, json_pack("{s:s,s:b,s:I,s:I}", "volume", name, "running", r == 0, "polls",
                                            (json_int_t)proof.polls, "waited_us",
                                            (json_int_t)proof.waited_us));
    return 0;
}

int act_fence_drain(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    json_t *proofs = json_array();
    size_t i;
    json_t *volume;
    int r = 0;
    bool is_off = lab_unsafe_has("fence") || lab_unsafe_has("drain");
    json_array_foreach(json_object_get(args, "volumes"), i, volume) {
        r = r < 0 || is_off ? r : drain_one(volume, json_text_of(args, "host"), proofs, e);
    }
    if (r < 0) {
        json_decref(proofs);
        return r;
    }
    *ret = proofs;
    return 0;
}

/* What the core was told may be a minute old: all other bricks are asked now, and who does not answer may be dead. */
static int check_spare(const struct env *env, const json_t *args, struct err *e)
{
    struct fence_look looks[BRICKS_MAX] = {0};
    const json_t *others = json_object_get(args, "others");
    size_t n = json_array_size(others);
    int r = n <= BRICKS_MAX ? 0 : ERR_SET(e, LIMIT, "a volume of more than %d bricks", BRICKS_MAX + 1);
    for (size_t i = 0; i < n && r == 0; i++) {
        const json_t *brick = json_array_get(others, i);
        looks[i].host = json_text_of(brick, "host");
        looks[i].is_arbiter = str_eq(json_text_of(json_object_get(brick, "brick"), "role"), "arbiter");
        r = brick_index(env, json_text_of(args, "volume"), brick, &looks[i].index, e);
    }
    r = r < 0 ? r : fence_spare(looks, n, (unsigned)json_u64_of(args, "index", UINT_MAX), e);
    for (size_t i = 0; i < n && i < BRICKS_MAX; i++) {
        json_decref(looks[i].index);
    }
    return r;
}

/* Guests write all the time: two that are asked one after the other may differ for a moment. */
static int await_spare(const struct env *env, const json_t *args, struct err *e)
{
    for (;;) {
        struct err said = {0};
        int r = check_spare(env, args, &said);
        if (r == 0) {
            return 0;
        }
        if (r != -ERR_BUSY || clock_left_ms(json_u64_of(args, "until_us", 0)) <= SPARE_AGAIN_MS) {
            return ERR_SET(e, BUSY, "%s", said.msg); /* whatever the cause: nothing was ended, and the record is taken back */
        }
        clock_sleep_ms(SPARE_AGAIN_MS);
    }
}

/* It is asked once more, as long as before: of several bricks here only one may be in the way. What no longer runs has
 * ended, whoever did it. A thread that is within a write to a hung disk keeps the process, and there is no proof. */
int act_brick_end(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    const char *name = json_text_of(args, "volume");
    _cleanup_json_ json_t *proofs = json_array();
    _cleanup_free_ char *dir = brick_dir_of(json_object_get(args, "brick"), false);
    unsigned killed = 0;
    if (drain_one(args, json_text_of(args, "host"), proofs, NULL) == 0) {
        bool runs = json_bool_of(json_array_get(proofs, 0), "running", true);
        *ret = json_pack("{s:b,s:i}", "ended", !runs, "killed", 0);
        return 0;
    }
    int r = await_spare(env, args, e);
    if (r < 0) {
        return r;
    }
    if (clock_boottime_us() > json_u64_of(args, "until_us", 0)) {
        return ERR_SET(e, BUSY, "brick %s was to be ended earlier", dir);
    }
    log_warning("a brick cannot prove that nothing of a fenced host is left in it; the others do without it: it is ended",
                "pool=%s brick=%s host=%s", name, dir, json_text_of(args, "host"));
    r = fence_kill_brick(name, dir, clock_boottime_us() + END_US, &killed, e);
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:b,s:I}", "ended", 1, "killed", (json_int_t)killed);
    return 0;
}

/* Failover is off in this cluster: nothing of it stays. */
int act_ha_off(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    int r = 0;
    if (file_exists(GUARD_CONFIG)) {
        r = unit_stop(GUARD_UNIT, 0, e);
        r = r < 0 ? r : unit_disable(GUARD_UNIT, e);
        (void)unlink(GUARD_CONFIG);
    }
    if (r == 0 && file_exists(FENCE_BOOT_FILE)) {
        r = unit_disable(FENCE_UNIT, e);
        r = r < 0 ? r : fence_table_remove(e);
        r = r < 0 ? r : cmd_check(CMD("rm", "-rf", "--", FENCE_DIR), NULL, NULL, e);
    }
    return r;
}
