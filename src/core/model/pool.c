/* SPDX-License-Identifier: Apache-2.0 */
#include "core/model/pool.h"

#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"

/* Listed for longer than the moments in which a healthy brick lists what guests write: facts/gluster.md 2.8 */
#define HEAL_STAYS_US (5 * USEC_PER_SEC)

const json_t *pool_get(const struct core *c, const char *name)
{
    return name ? world_get(&c->world, KEY_POOL, name) : NULL;
}

bool pool_is_dir(const json_t *pool)
{
    return str_eq(json_text_of(pool, "kind"), "dir");
}

char *pool_mount_path(const json_t *pool, const char *name)
{
    const json_t *brick = json_array_get(json_object_get(pool, "bricks"), 0);
    return pool_is_dir(pool) ? str_dup(json_text_of(brick, "path")) : str_printf("/mnt/%s", name);
}

const json_t *pool_brick_of(const json_t *pool, const char *host)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        if (str_eq(json_text_of(brick, "host"), host)) {
            return brick;
        }
    }
    return NULL;
}

bool pool_brick_is_ready(const json_t *pool, const json_t *seen)
{
    const json_t *brick = json_object_get(seen, "brick");
    return str_eq(json_text_of(brick, "state"), "ready") &&
           str_eq(json_text_of(brick, "pool_uuid"), json_text_of(pool, "uuid"));
}

static const json_t *seen_of(const struct core *c, const char *name, const char *host)
{
    _cleanup_free_ char *what = str_printf("pool/%s", name);
    return node_seen_now(c, host, what);
}

bool pool_is_usable_on(const struct core *c, const char *name, const char *host)
{
    const json_t *mount = json_object_get(seen_of(c, name, host), "mount");
    return str_eq(json_text_of(mount, "state"), "mounted") && json_bool_of(mount, "quorum", false);
}

bool pool_is_cut_off(const struct core *c, const char *name)
{
    const json_t *mount = json_object_get(seen_of(c, name, c->host), "mount");
    return str_eq(json_text_of(mount, "state"), "mounted") && !json_bool_of(mount, "quorum", true);
}

bool pool_is_unknown_here(const struct core *c, const char *name, const json_t *pool)
{
    const json_t *gluster = smap_get(&c->seen, "gluster");
    return !pool_is_dir(pool) && pool_brick_of(pool, c->host) && str_eq(json_text_of(pool, "state"), "ready") &&
           json_bool_of(gluster, "ready", false) && !json_object_get(json_object_get(gluster, "bricks"), name);
}

enum sight { SIGHT_NONE, SIGHT_DOWN, SIGHT_UP };

/* Is the mount on @host connected to brick @index? A mount without quorum may not be able to tell. */
static enum sight sight_of(const struct core *c, const char *name, const char *host, size_t index)
{
    const json_t *mount = json_object_get(seen_of(c, name, host), "mount");
    uint64_t up = json_u64_of(mount, "bricks_up", 0);
    bool can_tell = str_eq(json_text_of(mount, "state"), "mounted") && index < 64 &&
                    json_object_get(mount, "bricks_up") &&
                    (up || json_bool_of(mount, "quorum", false));
    return !can_tell ? SIGHT_NONE : up >> index & 1 ? SIGHT_UP : SIGHT_DOWN;
}

/* This host's own mount, else those of other hosts that are not silent: one connection is enough. */
static enum sight sight_of_any(const struct core *c, const char *name, size_t index)
{
    enum sight best = sight_of(c, name, c->host, index);
    bool has_own = best != SIGHT_NONE;
    for (struct world_iter it = {0}; !has_own && world_next(&c->world, KEY_NODE, &it);) {
        enum sight s = sight_of(c, name, it.name, index);
        if (s > best && !node_is_silent(c, it.name)) {
            best = s;
        }
    }
    return best;
}

static size_t index_of(const json_t *pool, const char *host)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        if (str_eq(json_text_of(brick, "host"), host)) {
            return i;
        }
    }
    return SIZE_MAX;
}

bool pool_brick_is_online(const struct core *c, const char *name, const char *host)
{
    bool is_own = str_eq(host, c->host);
    const json_t *gluster = is_own ? smap_get(&c->seen, "gluster") : node_seen(c, host, "gluster");
    bool is_reported = json_bool_of(json_object_get(gluster, "bricks"), name, false);
    if (is_own || !is_reported || node_is_cut_off(c, host)) {
        return is_own && is_reported;
    }
    enum sight s = sight_of_any(c, name, index_of(pool_get(c, name), host));
    return node_is_silent(c, host) ? s == SIGHT_UP : s != SIGHT_DOWN;
}

bool pool_quorum(const struct core *c, const char *name, unsigned *ret_online)
{
    const json_t *pool = pool_get(c, name);
    unsigned online = 0;
    bool first = false;
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        bool is_up = pool_brick_is_online(c, name, json_text_of(brick, "host"));
        online += is_up;
        first = first || (i == 0 && is_up);
    }
    if (ret_online) {
        *ret_online = online;
    }
    size_t total = json_array_size(json_object_get(pool, "bricks"));
    return total && (online * 2 > total || (online * 2 == total && first));
}

bool pool_brick_has_no_port(const struct core *c, const char *name, const char *host)
{
    bool is_own = str_eq(host, c->host);
    const json_t *gluster = is_own ? smap_get(&c->seen, "gluster") : node_seen_now(c, host, "gluster");
    return json_bool_of(json_object_get(gluster, "portless"), name, false);
}

const json_t *pool_ended_brick(const struct core *c, const char *name)
{
    const json_t *ended = world_get(&c->world, KEY_ENDED, name);
    return ended && str_eq(json_text_of(ended, "uuid"), json_text_of(pool_get(c, name), "uuid")) ? ended : NULL;
}

bool pool_brick_is_ended(const struct core *c, const char *name, const char *host)
{
    const json_t *ended = pool_ended_brick(c, name);
    return json_bool_of(ended, "ended", false) && str_eq(json_text_of(ended, "host"), host);
}

json_t *pool_brick_to_ask(const struct core *c, json_t *brick, size_t index)
{
    const json_t *node = node_get(c, json_text_of(brick, "host"));
    return json_pack("{s:O,s:O,s:I,s:O}", "host", json_object_get(brick, "host"), "mgmt", json_object_get(node, "mgmt"),
                     "index", (json_int_t)index, "brick", brick);
}

/* Is the mount on @host as it should be, and connected to all bricks but @index? */
static bool mount_does_without(const struct core *c, const char *name, const char *host, size_t index)
{
    size_t n = json_array_size(json_object_get(pool_get(c, name), "bricks"));
    bool is_well = !node_is_silent(c, host) && pool_is_usable_on(c, name, host);
    for (size_t i = 0; is_well && i < n; i++) {
        is_well = i == index || sight_of(c, name, host, i) != SIGHT_DOWN;
    }
    return is_well;
}

bool pool_misses(const struct core *c, const char *name, const char *host)
{
    size_t index = index_of(pool_get(c, name), host);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const json_t *brick = json_object_get(seen_of(c, name, it.name), "brick");
        bool lists = !str_eq(it.name, host) && json_bool_of(brick, "heal_stays", false);
        if (!node_is_silent(c, it.name) && (lists || sight_of(c, name, it.name, index) == SIGHT_DOWN)) {
            return true;
        }
    }
    return false;
}

bool pool_does_without(const struct core *c, const char *name, const char *host)
{
    const json_t *pool = pool_get(c, name);
    const json_t *own = json_object_get(seen_of(c, name, host), "brick");
    size_t index = index_of(pool, host);
    bool does = json_u64_of(own, "heal_pending_files", 1) == 0;
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const char *other = json_text_of(brick, "host");
        does = does && (i == index || (!node_is_silent(c, other) && pool_brick_is_online(c, name, other)));
    }
    for (struct world_iter it = {0}; does && world_next(&c->world, KEY_NODE, &it);) {
        does = node_is_out(it.value) || !pool_wants_mount(c, pool, it.name) ||
               mount_does_without(c, name, it.name, index);
    }
    return does;
}

const char *pool_guard(const struct core *c, const json_t *pool)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        if (node_may_run_vms(node_get(c, host)) && !node_is_silent(c, host)) {
            return host;
        }
    }
    return NULL;
}

const json_t *pool_drift(const struct core *c, const char *name)
{
    const char *host = pool_guard(c, pool_get(c, name));
    _cleanup_free_ char *what = str_printf("guard/%s", name);
    return host ? json_object_get(node_seen(c, host, what), "drift") : NULL;
}

bool pool_wants_mount(const struct core *c, const json_t *pool, const char *host)
{
    const json_t *node = node_get(c, host);
    return !pool_is_dir(pool) && str_eq(json_text_of(pool, "state"), "ready") && node_has_vms(node) &&
           !str_eq(json_text_of(node, "state"), "leaving");
}

json_t *pool_heal_noted(json_t *seen, const json_t *before, uint64_t at_us)
{
    if (!json_u64_of(json_object_get(seen, "brick"), "heal_pending_files", 0)) {
        return json_incref(seen);
    }
    json_t *noted = json_deep_copy(seen);
    json_t *brick = json_object_get(noted, "brick");
    uint64_t since_us = json_u64_of(json_object_get(before, "brick"), "heal_since_us", at_us);
    json_object_set_new(brick, "heal_since_us", json_integer((json_int_t)since_us));
    json_object_set_new(brick, "heal_stays", json_boolean(at_us >= since_us + HEAL_STAYS_US));
    return noted;
}

static const char *const prefixes[] = {"pool/",        "guard/",        "freed/",         "failed/brick/",
                                       "failed/mount/", "failed/unmount/", "failed/freed/"};

void pool_reads_seen(const struct core *c)
{
    for (size_t i = 0; i < ELEMENTS(prefixes); i++) {
        basis_reads(&c->seen, prefixes[i]);
    }
}

const char *pool_of_seen(const char *what)
{
    for (size_t i = 0; i < ELEMENTS(prefixes); i++) {
        if (str_starts(what, prefixes[i])) {
            return what + strlen(prefixes[i]);
        }
    }
    return NULL;
}
