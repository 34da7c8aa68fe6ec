/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/plan/plan.h"

#define UNKNOWN_US (30 * USEC_PER_SEC)        /* a new volume is seen within seconds of its making */
#define RESTART_AGAIN_US (600 * USEC_PER_SEC)
#define GUARD_US (60 * USEC_PER_SEC) /* the option guard looks every minute (issue 2 point 4) */

static const json_t *seen_pool(const struct core *c, const char *name)
{
    _cleanup_free_ char *what = str_printf("pool/%s", name);
    return smap_get(&c->seen, what);
}

static void plan_brick(struct core *c, const char *name, const json_t *pool)
{
    const json_t *brick = pool_brick_of(pool, c->host);
    if (!brick || pool_brick_is_ready(pool, seen_pool(c, name))) {
        return;
    }
    _cleanup_free_ char *id = str_printf("brick/%s", name);
    (void)act_try(c, id, "brick.prepare", json_pack("{s:O,s:O}", "pool", pool, "brick", brick),
                  ACT_PAUSE_US);
}

static void plan_free(struct core *c, const char *name, const json_t *pool)
{
    const json_t *brick = pool_brick_of(pool, c->host);
    _cleanup_free_ char *id = str_printf("freed/%s", name);
    const json_t *freed = smap_get(&c->seen, id);
    if (!brick || !json_bool_of(pool, "deleted", false) ||
        str_eq(json_text_of(freed, "uuid"), json_text_of(pool, "uuid"))) {
        return;
    }
    (void)act_try(c, id, "brick.remove", json_pack("{s:O,s:O}", "pool", pool, "brick", brick),
                  ACT_PAUSE_US);
}

/* Volfile servers for a mount: this host first when it has a brick, then the others in order. */
static json_t *servers_of(const struct core *c, const json_t *pool)
{
    json_t *servers = json_array();
    const json_t *own = pool_brick_of(pool, c->host);
    if (own) {
        json_array_append(servers, json_object_get(node_get(c, c->host), "storage"));
    }
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        if (brick != own) {
            json_array_append(servers, json_object_get(
                                           node_get(c, json_text_of(brick, "host")), "storage"));
        }
    }
    return servers;
}

static void plan_mount(struct core *c, const char *name, const json_t *pool)
{
    const json_t *mount = json_object_get(seen_pool(c, name), "mount");
    _cleanup_free_ char *id = str_printf("mount/%s", name);
    if (!pool_wants_mount(c, pool, c->host) || str_eq(json_text_of(mount, "state"), "mounted")) {
        return;
    }
    if (!ha_node_is_open(node_get(c, c->host))) {
        act_forget_one(c, id); /* no brick lets it in; when one does, nothing is to wait for a back-off */
        return;
    }
    (void)act_try(c, id, "mount.ensure",
                  json_pack("{s:s,s:o}", "pool", name, "servers", servers_of(c, pool)), ACT_PAUSE_US);
}

/* A look at the options of before glusterd's files changed shows nothing: it started anew, an option was set, a brick or
 * a peer came. One that was under way then is one of before. */
static void end_old_look(struct core *c, const char *id)
{
    const struct attempt *last = act_find(c, id);
    const json_t *changed = smap_get(&c->seen, POOL_FILES_CHANGED);
    if (last && !last->in_flight && last->started_us < json_u64_of(changed, "at_us", 0)) {
        act_forget_one(c, id);
    }
}

/* One host repairs drift of the option profile; what another one found when it did so is old. */
static void plan_guard(struct core *c, const char *name, const json_t *pool)
{
    _cleanup_free_ char *id = str_printf("guard/%s", name);
    end_old_look(c, id);
    if (!act_is_due(c, id, GUARD_US) || pool_is_dir(pool) || !str_eq(json_text_of(pool, "state"), "ready") ||
        !str_eq(pool_guard(c, pool), c->host)) {
        return;
    }
    (void)act_try(c, id, "gluster.guard",
                  json_pack("{s:O,s:o}", "pool", pool, "addrs", node_addresses(c)), GUARD_US);
}

/* glusterd 10.3 can lose a volume from its memory when it starts and two peers tell it of a newer version of it at the
 * same moment: its files are there, its brick runs, and it says "no volumes" (docs/bugs.md B5). Only a new start helps,
 * and costs no brick (KillMode=process). */
static void plan_known(struct core *c, const char *name, const json_t *pool)
{
    if (!pool_is_unknown_here(c, name, pool)) {
        return;
    }
    _cleanup_free_ char *clock = str_printf("unknown/%s", name);
    if (ha_since_us(c, clock) >= UNKNOWN_US) {
        (void)act_seldom(c, "gluster/restart", "gluster.restart", json_object(), RESTART_AGAIN_US);
    }
}

/* A pool that is gone, or going, is unmounted. */
static void plan_unmount(struct core *c, const char *name)
{
    const json_t *pool = pool_get(c, name);
    const json_t *mount = json_object_get(seen_pool(c, name), "mount");
    bool is_wanted = pool && pool_wants_mount(c, pool, c->host);
    if (is_wanted || (pool && pool_is_dir(pool)) || !str_eq(json_text_of(mount, "state"), "mounted")) {
        return;
    }
    _cleanup_free_ char *id = str_printf("unmount/%s", name);
    (void)act_try(c, id, "mount.remove", json_pack("{s:s}", "pool", name), ACT_PAUSE_US);
}

/* What was seen of a pool that is gone says nothing of a later one with its name. */
static void forget_gone(struct core *c)
{
    pool_reads_seen(c);
    for (size_t i = 0; i < c->seen.n;) {
        const char *what = c->seen.items[i].key;
        const char *name = pool_of_seen(what);
        const json_t *mount = json_object_get(c->seen.items[i].value, "mount");
        if (name && !pool_get(c, name) && !str_eq(json_text_of(mount, "state"), "mounted")) {
            (void)smap_del(&c->seen, what);
        } else {
            i++;
        }
    }
}

void plan_pools(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (!str_eq(json_text_of(it.value, "state"), "removing")) {
            plan_brick(c, it.name, it.value);
            plan_mount(c, it.name, it.value);
            plan_guard(c, it.name, it.value);
            plan_known(c, it.name, it.value);
            plan_port(c, it.name, it.value);
        } else {
            plan_free(c, it.name, it.value);
        }
    }
    forget_gone(c);
    for (size_t i = 0; i < c->seen.n; i++) {
        if (str_starts(c->seen.items[i].key, "pool/")) {
            plan_unmount(c, c->seen.items[i].key + sizeof("pool/") - 1);
        }
    }
}
