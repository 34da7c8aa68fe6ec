/* SPDX-License-Identifier: Apache-2.0
 * Making and removing pools. Each host prepares its own brick and mount when it sees the pool's
 * record (plan/plan_pool.c); the task waits for them and does what is done once, on one host. */
#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/op/ops.h"

#define MINUTES(n) ((n) * 60 * USEC_PER_SEC)

static const json_t *pool_of(struct op *o)
{
    return pool_get(o->c, json_text_of(o->args, "name"));
}

static const json_t *seen_on(const struct core *c, const char *host, const char *fmt_what,
                             const char *pool)
{
    _cleanup_free_ char *what = str_printf("%s/%s", fmt_what, pool);
    return node_seen(c, host, what);
}

/* A host's planner failed at its part: the task fails with that host's words. What was said before
 * the pool's record was last written belongs to an earlier try. */
static bool has_failed(struct op *o, const char *host, const char *what)
{
    const char *name = json_text_of(o->args, "name");
    const json_t *error = seen_on(o->c, host, what, name);
    _cleanup_free_ char *key = str_printf("%s/%s/%s", host, what, name);
    if (!error || world_mod(&o->c->world, KEY_SEEN, key) < world_mod(&o->c->world, KEY_POOL, name)) {
        return false;
    }
    struct err e = {0};
    err_from_json(&e, error);
    if (err_class(e.code) == ERR_CLASS_TRANSIENT || err_class(e.code) == ERR_CLASS_UNKNOWN) {
        op_note(o, "%s: %.150s", host, e.msg);
        return false;
    }
    (void)err_copy(&o->err, &e);
    err_prepend(&o->err, "%s", host);
    return true;
}

static enum op_verdict wait_bricks(struct op *o)
{
    const char *name = json_text_of(o->args, "name");
    const json_t *pool = pool_of(o);
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        if (has_failed(o, host, "failed/brick")) {
            return OP_FAIL;
        }
        if (!pool_brick_is_ready(pool, seen_on(o->c, host, "pool", name))) {
            op_note(o, "waiting for the brick on %s", host);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

/* A guest's small write would succeed on one brick and fail on the other, which blames a good copy
 * (facts/gluster.md 1.6). An arbiter stores no data, so its sectors do not matter. */
static enum op_verdict check_sectors(struct op *o)
{
    const char *name = json_text_of(o->args, "name");
    const char *first_host = NULL;
    uint64_t first = 0;
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool_of(o), "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        const json_t *seen = json_object_get(seen_on(o->c, host, "pool", name), "brick");
        uint64_t sector = json_u64_of(seen, "sector_bytes", 0);
        if (!sector || !str_eq(json_text_of(brick, "role"), "data")) {
            continue;
        }
        if (first && sector != first) {
            (void)ERR_SET(&o->err, POOL_POLICY,
                          "the disk on %s has sectors of %llu bytes, the one on %s of %llu", host,
                          (unsigned long long)sector, first_host, (unsigned long long)first);
            err_hint(&o->err, "free the disks with 'mortar pool rm %s', then choose hosts whose disks agree "
                     "with --hosts", name);
            return OP_FAIL;
        }
        first = sector;
        first_host = host;
    }
    return OP_NEXT;
}

static enum op_verdict bricks(struct op *o)
{
    if (!pool_of(o)) {
        return op_fail(o, NOT_FOUND, "the pool's record is gone");
    }
    enum op_verdict v = wait_bricks(o);
    return v == OP_NEXT ? check_sectors(o) : v;
}

/* The args of actions on volumes: the pool with the storage address of each brick's host. */
static json_t *volume_args(struct op *o)
{
    return json_pack("{s:O,s:o}", "pool", pool_of(o), "addrs", node_addresses(o->c));
}

static enum op_verdict on_volume(struct op *o, const char *action)
{
    if (!pool_of(o)) {
        return op_fail(o, NOT_FOUND, "the pool's record is gone");
    }
    return pool_is_dir(pool_of(o)) ? OP_NEXT : op_do(o, "", action, volume_args(o), NULL);
}

static enum op_verdict create_volume(struct op *o)
{
    return on_volume(o, "gluster.create");
}

static enum op_verdict set_profile(struct op *o)
{
    return on_volume(o, "gluster.profile");
}

static enum op_verdict start_volume(struct op *o)
{
    return on_volume(o, "gluster.start");
}

/* What the user allowed for the making of the pool ends with it: from now on its disks hold data. */
static enum op_verdict set_ready(struct op *o)
{
    const json_t *pool = pool_of(o);
    if (!pool) {
        return op_fail(o, NOT_FOUND, "the pool's record is gone");
    }
    if (str_eq(json_text_of(pool, "state"), "ready")) {
        return OP_NEXT;
    }
    json_t *next = json_deep_copy(pool);
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string("ready"));
    json_object_del(next, "wipe");
    json_object_del(next, "force");
    commit_put(o->c, &t, KEY_POOL, json_text_of(o->args, "name"), next);
    return op_commit(o, "", &t);
}

/* The brick of a host that is there and answers, but not online yet; or NULL. Quorum alone may be two of three, and
 * whoever looks at a pool that was just made would find the third one missing. */
static const char *late_brick(const struct core *c, const char *name, const json_t *pool)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        if (node_is_online(node_get(c, host)) && !node_is_silent(c, host) && !pool_brick_is_online(c, name, host)) {
            return host;
        }
    }
    return NULL;
}

static enum op_verdict wait_mounts(struct op *o)
{
    const char *name = json_text_of(o->args, "name");
    const json_t *pool = pool_of(o);
    if (!pool) {
        return op_fail(o, NOT_FOUND, "the pool's record is gone");
    }
    for (struct world_iter it = {0}; world_next(&o->c->world, KEY_NODE, &it);) {
        if (!node_is_online(it.value) || !pool_wants_mount(o->c, pool, it.name)) {
            continue;
        }
        if (has_failed(o, it.name, "failed/mount")) {
            return OP_FAIL;
        }
        if (!pool_is_usable_on(o->c, name, it.name)) {
            op_note(o, "waiting for the mount on %s", it.name);
            return OP_WAIT;
        }
    }
    const char *late = pool_is_dir(pool) ? NULL : late_brick(o->c, name, pool);
    if (late || (!pool_is_dir(pool) && !pool_quorum(o->c, name, NULL))) {
        op_note(o, "waiting for the brick%s%s to be online", late ? " of " : "s", late ? late : "");
        return OP_WAIT;
    }
    return OP_NEXT;
}

static const struct op_phase create_phases[] = {
    {"bricks", "Prepare the bricks", bricks, MINUTES(5)},
    {"volume", "Create the volume", create_volume, MINUTES(3)},
    {"options", "Set the option profile", set_profile, MINUTES(3)},
    {"start", "Start the volume", start_volume, MINUTES(3)},
    {"ready", "Announce the pool", set_ready, MINUTES(1)},
    {"mounts", "Mount it on every VM host", wait_mounts, MINUTES(3)},
    {0},
};

/* A pool that failed stays in state "creating": the same command, run again, goes on. */
const struct op_kind op_pool_create = {"pool.create", create_phases, NULL, false, .needs_glusterd = true};

static enum op_verdict wait_unmounted(struct op *o)
{
    const char *name = json_text_of(o->args, "name");
    for (struct world_iter it = {0}; world_next(&o->c->world, KEY_NODE, &it);) {
        const json_t *mount = json_object_get(seen_on(o->c, it.name, "pool", name), "mount");
        if (node_is_online(it.value) && !pool_is_dir(pool_of(o)) &&
            str_eq(json_text_of(mount, "state"), "mounted")) {
            op_note(o, "waiting for %s to unmount it", it.name);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

static enum op_verdict delete_volume(struct op *o)
{
    return pool_of(o) ? on_volume(o, "gluster.delete") : OP_NEXT;
}

/* From now on the hosts may give their bricks back: no volume uses them any more. */
static enum op_verdict free_bricks(struct op *o)
{
    const json_t *pool = pool_of(o);
    if (!pool || json_bool_of(pool, "deleted", false)) {
        return OP_NEXT;
    }
    json_t *next = json_deep_copy(pool);
    struct commit t = commit_new();
    json_object_set_new(next, "deleted", json_true());
    commit_put(o->c, &t, KEY_POOL, json_text_of(o->args, "name"), next);
    return op_commit(o, "", &t);
}

static enum op_verdict wait_freed(struct op *o)
{
    const char *name = json_text_of(o->args, "name");
    const json_t *pool = pool_of(o);
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        const json_t *freed = seen_on(o->c, host, "freed", name);
        if (!node_get(o->c, host) ||
            str_eq(json_text_of(freed, "uuid"), json_text_of(pool, "uuid"))) {
            continue;
        }
        if (has_failed(o, host, "failed/freed")) {
            return OP_FAIL;
        }
        op_note(o, "waiting for %s to give its brick back", host);
        return OP_WAIT;
    }
    return OP_NEXT;
}

static enum op_verdict forget_pool(struct op *o)
{
    const char *name = json_text_of(o->args, "name");
    if (!pool_of(o)) {
        return OP_NEXT;
    }
    struct commit t = commit_new();
    json_t *ha = json_deep_copy(world_get(&o->c->world, KEY_ROOT, "ha"));
    if (json_object_get(ha, name)) { /* a removal that an agent of before has begun is past "failover" */
        json_object_del(ha, name);
        commit_put(o->c, &t, KEY_ROOT, "ha", ha);
    } else {
        json_decref(ha);
    }
    commit_del(o->c, &t, KEY_POOL, name); /* each host takes back what it has said of it */
    commit_del(o->c, &t, KEY_USE "pool/", name);
    return op_commit(o, "", &t);
}

static const struct op_phase remove_phases[] = {
    {"failover", "Switch failover off", op_ha_end, MINUTES(1)},
    {"unmount", "Unmount it everywhere", wait_unmounted, MINUTES(2)},
    {"volume", "Delete the volume", delete_volume, MINUTES(3)},
    {"free", "Free the bricks", free_bricks, MINUTES(1)},
    {"bricks", "Give the bricks back", wait_freed, MINUTES(3)},
    {"forget", "Remove the record", forget_pool, MINUTES(1)},
    {0},
};

const struct op_kind op_pool_remove = {"pool.remove", remove_phases, NULL, false, .needs_glusterd = true};
