/* SPDX-License-Identifier: Apache-2.0
 * The start rule (A1, A2): before a machine starts, its owner sees to it that no piece of its disks may
 * still change by itself: no write of an earlier instance that only some copies have. */
#include <stdio.h>
#include <string.h>

#include "adapters/fence/fence_brick.h"
#include "adapters/fence/fence_index.h"
#include "adapters/fence/fence_pieces.h"
#include "adapters/gluster/gluster_drive.h"
#include "adapters/gluster/gluster_unit.h"
#include "adapters/systemd/systemd.h"
#include "agent/act_vm.h"
#include "agent/brick_dir.h"
#include "agent/brick_index.h"
#include "agent/env.h"
#include "agent/lab_unsafe.h"
#include "agent/remote.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"

#define SHARD_BYTES (64 * MIB) /* features.shard-block-size of the option profile */
#define ASK_US (2 * USEC_PER_SEC)
#define LAUNDER_US (60 * USEC_PER_SEC)
#define LAUNDER_PIECE_US (20 * USEC_PER_MSEC) /* more for each: an O_DIRECT write through two bricks on slow disks */
#define LAUNDER_BYTES_PER_US 20               /* and for what is written whole: 20 MB/s */
#define GFID_US (10 * USEC_PER_SEC)
#define HA_BRICKS 3
#define LEFT_POLL_MS 200
#define GLUSTERD_UNIT "glusterd.service"
#define END_US (10 * USEC_PER_SEC) /* then it is told what does not end, and tried again */

/* --- indices ------------------------------------------------------------------------------- */

int act_fence_index(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    _cleanup_fence_index_ struct fence_index index = {0};
    _cleanup_free_ char *dir = brick_dir_of(json_object_get(args, "brick"), false);
    int r = fence_index_list(dir, FENCE_INDEX_MAX, &index, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *text = format_fence_index(&index);
    return json_parse(text, strlen(text), ret, e);
}

int brick_index(const struct env *env, const char *volume, const json_t *brick, json_t **ret, struct err *e)
{
    const char *host = json_text_of(brick, "host");
    if (str_eq(host, json_text_of(env->config, "host"))) {
        return act_fence_index(env, brick, NULL, ret, e);
    }
    _cleanup_free_ char *path = str_printf("/v1/local/index/%s", volume);
    int r = remote_get(json_text_of(brick, "mgmt"), path, ASK_US, ret, e);
    err_prepend(e, "the brick on %s", host);
    return r;
}

/* --- one image ----------------------------------------------------------------------------- */

static int look(const struct env *env, const json_t *args, const char *gfid, uint32_t counting,
                struct fence_pieces *ret, struct err *e)
{
    size_t i;
    json_t *brick;
    ret->n = 0;
    ret->is_cut = false;
    ret->healing[0] = ret->open[0] = '\0';
    json_array_foreach(json_object_get(args, "bricks"), i, brick) {
        _cleanup_json_ json_t *index = NULL;
        int r = brick_index(env, json_text_of(args, "volume"), brick, &index, e);
        if (r < 0) {
            return r;
        }
        if (json_bool_of(index, "truncated", false)) {
            return ERR_SET(e, UNAVAILABLE, "the brick on %s has more to heal than can be looked through",
                           json_text_of(brick, "host"));
        }
        fence_pieces_add(ret, index, gfid, counting, json_text_of(brick, "host"));
    }
    if (ret->is_cut) {
        return ERR_SET(e, UNAVAILABLE, "more than %zu pieces of its disk are listed for heal", ret->n);
    }
    return 0;
}

/* A1: a child that hangs in the mount holds requests which may still be done. This machine is not started
 * here before it is gone, however long that takes. */
static void wait_for_left(const struct fence_left *left, const char *vm)
{
    if (!fence_left_is_gone(left)) {
        log_warning("laundering hangs in the mount; the machine waits", "vm=%s pid=%d", vm, (int)left->pid);
    }
    while (!fence_left_is_gone(left)) {
        clock_sleep_ms(LEFT_POLL_MS);
    }
}

/* Two data bricks may differ anywhere within a piece. So may a brick that does not count, and it would not
 * even be blamed, if our mount reached it: a host that is no fencer may be late with its own cut. */
static bool has_one_copy(const json_t *args, uint32_t counting)
{
    const char *volume = json_text_of(args, "volume");
    _cleanup_free_ char *mount = gluster_mount_path(volume);
    struct gluster_quorum q = {0};
    size_t data = 0;
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(args, "bricks"), i, brick) {
        data += str_eq(json_text_of(json_object_get(brick, "brick"), "role"), "data");
    }
    return data == 1 && gluster_mount_quorum(mount, volume, clock_boottime_us() + ASK_US, &q, NULL) == 0 &&
           q.children > 0 && q.children_up == counting;
}

static int launder_pieces(const json_t *args, const char *path, uint64_t length, const struct fence_pieces *p,
                          struct err *e)
{
    struct fence_left left = {0};
    uint64_t allowed_us = LAUNDER_US + p->n * (LAUNDER_PIECE_US + length / LAUNDER_BYTES_PER_US);
    int r = fence_launder(FENCE_LAUNDER_PROGRAM, path, SHARD_BYTES, length, p->shards, p->n,
                          clock_boottime_us() + allowed_us, &left, e);
    wait_for_left(&left, json_text_of(args, "name"));
    return r;
}

/* One block of each piece is enough only if the second copy stayed away until the last was written. */
static int launder(const json_t *args, const char *path, uint32_t counting, const struct fence_pieces *p,
                   struct err *e)
{
    if (has_one_copy(args, counting)) {
        int r = launder_pieces(args, path, FENCE_LAUNDER_BLOCK_BYTES, p, e);
        if (r < 0 || has_one_copy(args, counting)) {
            return r;
        }
        log_notice("a copy came while pieces were laundered; they are written whole", "vm=%s",
                   json_text_of(args, "name"));
    }
    return launder_pieces(args, path, SHARD_BYTES, p, e);
}

static uint32_t counting_bricks(const json_t *args)
{
    uint32_t mask = 0;
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(args, "bricks"), i, brick) {
        mask |= UINT32_C(1) << (json_u64_of(brick, "index", 0) & 31);
    }
    return mask;
}

/* Once: marks cannot say whether a piece was laundered, and the dead writer's stay until a heal with all
 * copies (docs/design/failover.md, start rule). With all bricks there such a heal needs no help; with one
 * of them cut off there is none, and what AFR then reads is a copy that nobody accuses. */
static int clean_image(const struct env *env, const json_t *args, const char *path, uint64_t *laundered,
                       struct err *e)
{
    char gfid[FENCE_GFID_LEN + 1];
    uint32_t counting = counting_bricks(args);
    struct fence_pieces *p = xcalloc(1, sizeof(*p));
    _cleanup_free_ void *held = p;
    int r = fence_image_gfid(FENCE_LAUNDER_PROGRAM, path, clock_boottime_us() + GFID_US, gfid, e);
    r = r < 0 ? r : look(env, args, gfid, counting, p, e);
    if (r < 0 || !p->n) {
        return r;
    }
    if (p->healing[0] && json_array_size(json_object_get(args, "bricks")) == HA_BRICKS) {
        return ERR_SET(e, UNAVAILABLE, "its disk is being healed: %s", p->healing);
    }
    r = launder(args, path, counting, p, e);
    *laundered += p->n;
    return r;
}

int act_vm_clean(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                 struct err *e)
{
    uint64_t began_us = clock_boottime_us();
    uint64_t laundered = 0;
    size_t i;
    json_t *disk;
    struct err why = {0};
    int r = act_vm_check_files(json_object_get(args, "spec"), &why);
    if (r == -ERR_FOREIGN) { /* they may be in use, and are its owner's to launder: of this machine there is nothing, and it starts nowhere */
        *ret = json_pack("{s:i,s:i}", "laundered", 0, "took_ms", 0);
        return 0;
    }
    r = r < 0 ? err_copy(e, &why) : 0;
    bool is_off = lab_unsafe_has("launder");
    json_array_foreach(json_object_get(json_object_get(args, "spec"), "disks"), i, disk) {
        r = r < 0 || is_off ? r : clean_image(env, args, json_text_of(disk, "path"), &laundered, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:I,s:I}", "laundered", (json_int_t)laundered, "took_ms",
                     (json_int_t)((clock_boottime_us() - began_us) / USEC_PER_MSEC));
    if (laundered) {
        log_notice("pieces of a disk were written anew", "vm=%s pieces=%llu",
                   json_text_of(args, "name"), (unsigned long long)laundered);
    }
    return 0;
}

int act_launder_left(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    pid_t pid = 0;
    int r = fence_launder_find(&pid, e);
    if (r == 0 && pid) {
        r = ERR_SET(e, BUSY, "process %d, of an agent before this one, may still write to a disk: its mount hangs", (int)pid);
    }
    if (r == 0) {
        *ret = json_object();
    }
    return r;
}

/* Who only reads a machine's disk owns nothing and rewrites nothing (A1): it waits until there is nothing to rewrite. What
 * only copies that are cut off lack does not matter, and while such a one is away that stays listed. */
static int look_at_image(const struct env *env, const json_t *args, const char *path, struct err *e)
{
    char gfid[FENCE_GFID_LEN + 1];
    struct fence_pieces *p = xcalloc(1, sizeof(*p));
    _cleanup_free_ void *held = p;
    int r = fence_image_gfid(FENCE_LAUNDER_PROGRAM, path, clock_boottime_us() + GFID_US, gfid, e);
    r = r < 0 ? r : look(env, args, gfid, counting_bricks(args), p, e);
    if (r < 0 || !(p->healing[0] || p->open[0])) {
        return r;
    }
    (void)ERR_SET(e, UNAVAILABLE, "its copies may differ: %s", p->healing[0] ? p->healing : p->open);
    err_hint(e, "wait until nothing is left to heal: 'mortar pool show %s'", json_text_of(args, "volume"));
    return -ERR_UNAVAILABLE;
}

int act_vm_look(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                struct err *e)
{
    size_t i;
    json_t *disk;
    int r = 0;
    json_array_foreach(json_object_get(json_object_get(args, "spec"), "disks"), i, disk) {
        r = r < 0 ? r : look_at_image(env, args, json_text_of(disk, "path"), e);
    }
    if (r == 0) {
        *ret = json_object();
    }
    return r;
}

/* --- after guests that were ended by force ------------------------------------------------- */

int act_host_clean(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    size_t i;
    json_t *pool;
    int r = 0;
    json_array_foreach(json_object_get(args, "pools"), i, pool) {
        _cleanup_free_ char *unit = gluster_mount_unit(json_string_value(pool));
        /* Not made anew here: this host is cut off, so that a mount would find no brick. */
        r = r < 0 ? r : unit_kill(unit, false, e);
        r = r < 0 ? r : unit_stop(unit, 0, e);
        r = r < 0 ? r : unit_reset_failed(unit, e);
    }
    return r;
}

/* --- own bricks of before a fence ---------------------------------------------------------- */

/* glusterd first, so that nobody starts a brick again before the core says so. Its unit ends with it alone:
 * KillMode=process of our drop-in. */
int act_host_end_bricks(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    uint64_t deadline_us = clock_boottime_us() + END_US;
    unsigned ended = 0;
    size_t i;
    json_t *volume;
    int r = unit_stop(GLUSTERD_UNIT, 0, e);
    json_array_foreach(json_object_get(args, "volumes"), i, volume) {
        _cleanup_free_ char *dir = brick_dir_of(json_object_get(volume, "brick"), false);
        unsigned killed = 0;
        r = r < 0 ? r : fence_kill_brick(json_text_of(volume, "volume"), dir, deadline_us, &killed, e);
        ended += killed;
    }
    if (r < 0) {
        return r;
    }
    log_notice("this host's own bricks have ended, with all that they had received before it was fenced",
               "bricks=%u", ended);
    *ret = json_pack("{s:I}", "ended", (json_int_t)ended);
    return 0;
}

int act_host_start_bricks(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                          struct err *e)
{
    return unit_start(GLUSTERD_UNIT, 0, e);
}

int act_gluster_restart(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    log_warning("glusterd has forgotten a volume whose files it has; it is started anew", "unit=%s", GLUSTERD_UNIT);
    return unit_restart(GLUSTERD_UNIT, 0, e);
}
