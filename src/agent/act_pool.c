/* SPDX-License-Identifier: Apache-2.0
 * Bricks, volumes, mounts and networks of this host. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "adapters/fence/fence_brick.h"
#include "adapters/gluster/gluster_drive.h"
#include "adapters/gluster/gluster_unit.h"
#include "adapters/host/host_brick.h"
#include "adapters/host/host_net.h"
#include "adapters/systemd/systemd.h"
#include "agent/brick_dir.h"
#include "agent/config.h"
#include "agent/env.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"

#define CALL_TIMEOUT_US (120 * USEC_PER_SEC)
#define MOUNT_TIMEOUT_US (40 * USEC_PER_SEC)
#define LOOK_US (3 * USEC_PER_SEC)
#define END_US (10 * USEC_PER_SEC)
#define START_US (20 * USEC_PER_SEC)
#define START_TRIES 15
#define START_AGAIN_MS 2000
#define SPARE_AGAIN_MS 200
#define PATH_BRICKS PATH_STATE "/brick"

/* --- bricks -------------------------------------------------------------------------------- */

char *brick_dir_of(const json_t *brick, bool is_local)
{
    const char *path = json_text_of(brick, "path");
    return is_local ? str_dup(path) : str_printf("%s/brick", path);
}

char *brick_uuid_of(const char *pool_uuid, size_t index)
{
    return str_printf("%.32s%04zx", pool_uuid, index);
}

static char *record_path(const char *pool)
{
    return str_printf("%s/%s.ready", PATH_BRICKS, pool);
}

json_t *brick_seen_record(const char *pool)
{
    _cleanup_free_ char *path = record_path(pool);
    json_t *j = NULL;
    if (json_file_load(path, &j, NULL) < 0 || !j) {
        return json_pack("{s:s}", "state", "absent");
    }
    return j;
}

int brick_save_record(const char *pool, const char *pool_uuid, uint64_t sector_bytes, struct err *e)
{
    _cleanup_free_ char *path = record_path(pool);
    _cleanup_json_ json_t *j = json_pack("{s:s,s:I,s:s}", "state", "ready", "sector_bytes",
                                         (json_int_t)sector_bytes, "pool_uuid", pool_uuid);
    int r = file_mkdirs(PATH_BRICKS, 0700, e);
    return r < 0 ? r : json_file_save(path, j, 0600, e);
}

void brick_drop_record(const char *pool)
{
    _cleanup_free_ char *path = record_path(pool);
    (void)unlink(path); /* absent is what we want */
}

static size_t index_of(const json_t *pool, const json_t *brick)
{
    size_t i;
    json_t *b;
    json_array_foreach(json_object_get(pool, "bricks"), i, b) {
        if (json_equal(b, brick)) {
            return i;
        }
    }
    return 0;
}

static int prepare_dir(const json_t *brick, struct err *e)
{
    const char *path = json_text_of(brick, "path");
    _cleanup_free_ char *vms = str_printf("%s/vms", path);
    _cleanup_free_ char *images = str_printf("%s/images", path);
    int r = file_mkdirs(vms, 0711, e);
    return r < 0 ? r : file_mkdirs(images, 0711, e);
}

int act_brick_prepare(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    const json_t *brick = json_object_get(args, "brick");
    const char *name = json_text_of(pool, "name");
    _cleanup_brick_result_ struct brick_result res = {0};
    const char *pool_uuid = json_text_of(pool, "uuid");
    _cleanup_free_ char *uuid = brick_uuid_of(pool_uuid, index_of(pool, brick));
    if (str_eq(json_text_of(pool, "kind"), "dir")) {
        int r = prepare_dir(brick, e);
        return r < 0 ? r : brick_save_record(name, pool_uuid, 512, e);
    }
    const struct brick_opts opts = {
        .name = name,
        .uuid = uuid,
        .path = json_text_of(brick, "path"),
        .device = json_text_of(brick, "device"),
        .wipe = str_eq(json_text_of(pool, "state"), "creating") && json_bool_of(pool, "wipe", false),
        /* An arbiter holds names only and cannot fill the root file system with data. */
        .force = json_bool_of(pool, "force", false) ||
                 str_eq(json_text_of(brick, "role"), "arbiter"),
    };
    int r = brick_prepare(&opts, &res, e);
    return r < 0 ? r : brick_save_record(name, pool_uuid, res.sector_bytes, e);
}

static void remove_dir(const char *path)
{
    _cleanup_free_ char *vms = str_printf("%s/vms", path);
    _cleanup_free_ char *images = str_printf("%s/images", path);
    (void)rmdir(vms); /* each only when it is empty: other files are the user's */
    (void)rmdir(images);
    (void)rmdir(path);
}

int act_brick_remove(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    const json_t *brick = json_object_get(args, "brick");
    const char *name = json_text_of(pool, "name");
    _cleanup_free_ char *uuid = brick_uuid_of(json_text_of(pool, "uuid"), index_of(pool, brick));
    const struct brick_opts opts = {
        .name = name,
        .uuid = uuid,
        .path = json_text_of(brick, "path"),
        .device = json_text_of(brick, "device"),
        .wipe = true,
    };
    int r = 0;
    if (str_eq(json_text_of(pool, "kind"), "dir")) {
        remove_dir(opts.path);
    } else {
        r = brick_remove(&opts, e);
    }
    if (r < 0) {
        return r;
    }
    brick_drop_record(name);
    *ret = json_pack("{s:O}", "uuid", json_object_get(pool, "uuid"));
    return 0;
}

/* --- volumes ------------------------------------------------------------------------------- */

static uint64_t deadline(void)
{
    return clock_boottime_us() + CALL_TIMEOUT_US;
}

int act_gluster_probe(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    return gluster_peer_probe(json_text_of(args, "addr"), deadline(), e);
}

int act_gluster_detach(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                       struct err *e)
{
    return gluster_peer_detach(json_text_of(args, "addr"), deadline(), e);
}

int act_gluster_create(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                       struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    const json_t *addrs = json_object_get(args, "addrs");
    _cleanup_strv_ struct strv bricks = {0};
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        _cleanup_free_ char *dir = brick_dir_of(brick, false);
        const char *addr = json_text_of(addrs, json_text_of(brick, "host"));
        if (!addr) {
            return ERR_SET(e, NOT_FOUND, "host '%s' is gone", json_text_of(brick, "host"));
        }
        strv_addf(&bricks, "%s:%s", addr, dir);
    }
    const struct gluster_volume_spec spec = {
        .name = json_text_of(pool, "name"),
        .copies = (unsigned)json_u64_of(pool, "copies", 2),
        .arbiter = json_bool_of(pool, "arbiter", false),
        .bricks = &bricks,
        .force = true, /* brick_prepare() has made, or refused, each directory */
    };
    return gluster_volume_create(&spec, deadline(), e);
}

/* Owner of the files: QEMU's user where there is libvirt; the same ids on all Debian hosts of a
 * cluster is what preflight checks. A storage host without libvirt has Debian's usual ones. */
static void fill_owner(struct gluster_profile_params *p)
{
    const struct passwd *pw = getpwnam("libvirt-qemu");
    const struct group *gr = getgrnam("kvm");
    p->owner_uid = pw ? pw->pw_uid : 64055; /* fixed in Debian's libvirt-daemon-system.postinst */
    p->owner_gid = gr ? gr->gr_gid : 0;
}

static int apply_profile(const json_t *args, struct gluster_drift *ret_drift, struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    _cleanup_strv_ struct strv addrs = {0};
    const char *host;
    json_t *addr;
    json_object_foreach(json_object_get(args, "addrs"), host, addr) {
        strv_add(&addrs, json_string_value(addr));
    }
    struct gluster_profile_params p = {
        .storage_addresses = &addrs,
        .no_ha = json_u64_of(pool, "copies", 2) == 2 && !json_bool_of(pool, "arbiter", false),
    };
    fill_owner(&p);
    return gluster_volume_apply_profile(json_text_of(pool, "name"), &p, ret_drift, deadline(), e);
}

int act_gluster_profile(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    return apply_profile(args, NULL, e);
}

int act_gluster_start(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    return gluster_volume_start(json_text_of(json_object_get(args, "pool"), "name"), true, deadline(),
                                e);
}

/* @ret: this host's brick of @name as its glusterd has it: does it live, and has it no port? */
static int look_at_port(const char *name, struct gluster_brick *ret, struct err *e)
{
    _cleanup_gluster_state_ struct gluster_state state = {0};
    *ret = (struct gluster_brick){0};
    int r = gluster_state_local(&state, clock_boottime_us() + LOOK_US, e);
    const struct gluster_volume *v = r < 0 ? NULL : find_gluster_volume(&state.volumes, name);
    for (size_t i = 0; v && i < v->n_bricks; i++) {
        if (v->bricks[i].seen != GLUSTER_BRICK_UNKNOWN) { /* others' bricks are, so this is the one */
            ret->seen = v->bricks[i].seen;
            ret->no_port = v->bricks[i].no_port;
        }
    }
    return r;
}

/* Nobody else starts it: brick.offline would stand. A glusterd that has not noticed yet that it ended does nothing. */
static int start_ended(const char *name, struct err *e)
{
    for (int try = 1;; try++) {
        struct gluster_brick now;
        struct err said = {0};
        int r = gluster_volume_start(name, true, clock_boottime_us() + START_US, &said);
        r = r < 0 ? r : look_at_port(name, &now, &said);
        if (r == 0 && now.seen == GLUSTER_BRICK_ONLINE && !now.no_port) {
            return 0;
        }
        if (try == START_TRIES) {
            return r < 0 ? err_copy(e, &said) : ERR_SET(e, GLUSTER, "the brick of '%s' was started, and did not come", name);
        }
        clock_sleep_ms(START_AGAIN_MS);
    }
}

/* What the core has seen may be seconds old: nothing may be left to heal from here now, and the mount here, if there
 * is to be one, must reach all other bricks. */
static int check_spare(const json_t *args, const char *name, const char *dir, size_t index, struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    struct gluster_heal_pending heal = {0};
    struct gluster_quorum q = {0};
    _cleanup_free_ char *mount = gluster_mount_path(name);
    size_t n = json_array_size(json_object_get(pool, "bricks"));
    int r = gluster_heal_pending_local(dir, &heal, e);
    if (r == 0 && heal.xattrop + heal.entry_changes > 0) {
        return ERR_SET(e, BUSY, "brick %s has something that others lack", dir);
    }
    if (r == 0 && json_bool_of(args, "mount", true)) {
        r = gluster_mount_quorum(mount, name, clock_boottime_us() + LOOK_US, &q, e);
        uint64_t up = q.children_up | UINT64_C(1) << (index & 63);
        if (r == 0 && (q.children != n || up != (UINT64_C(1) << n) - 1)) {
            return ERR_SET(e, BUSY, "the mount of '%s' does not reach all other bricks", name);
        }
    }
    return r;
}

/* What guests write is listed for moments. */
static int await_spare(const json_t *args, const char *name, const char *dir, size_t index, struct err *e)
{
    for (;;) {
        struct err said = {0};
        int r = check_spare(args, name, dir, index, &said);
        if (r != -ERR_BUSY || clock_left_ms(json_u64_of(args, "until_us", 0)) <= SPARE_AGAIN_MS) {
            return r < 0 ? err_copy(e, &said) : 0;
        }
        clock_sleep_ms(SPARE_AGAIN_MS);
    }
}

/* Its brick has lost its port for good (docs/bugs.md B6): glusterd gives one only to a brick that it starts. */
int act_brick_restart(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    const json_t *brick = json_object_get(args, "brick");
    const char *name = json_text_of(pool, "name");
    _cleanup_free_ char *dir = brick_dir_of(brick, false);
    struct gluster_brick now;
    int r = look_at_port(name, &now, e);
    if (r < 0 || now.seen != GLUSTER_BRICK_ONLINE || !now.no_port) {
        return r;
    }
    r = await_spare(args, name, dir, index_of(pool, brick), e);
    if (r < 0) {
        return r;
    }
    /* While it runs this changes nothing, and shows that glusterd and its peers would start it: it must not stay ended. */
    r = gluster_volume_start(name, true, clock_boottime_us() + START_US, e);
    if (r < 0) {
        return r;
    }
    if (clock_boottime_us() > json_u64_of(args, "until_us", 0)) {
        return ERR_SET(e, TIMEOUT, "brick %s was to be ended earlier", dir);
    }
    log_warning("glusterd has lost the port of a brick; the brick is started anew", "pool=%s brick=%s", name, dir);
    struct err unended = {0};
    if (fence_kill_brick(name, dir, clock_boottime_us() + END_US, NULL, &unended) < 0) {
        log_warning("it has not ended yet", "brick=%s error=%s", dir, unended.msg); /* it will, and is started then */
    }
    return start_ended(name, e);
}

int act_gluster_delete(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                       struct err *e)
{
    const char *name = json_text_of(json_object_get(args, "pool"), "name");
    int r = gluster_volume_stop(name, deadline(), e);
    if (r == -ERR_NOT_FOUND) {
        return 0;
    }
    return r < 0 ? r : gluster_volume_delete(name, deadline(), e);
}

int act_gluster_guard(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    _cleanup_gluster_drift_ struct gluster_drift drift = {0};
    int r = apply_profile(args, &drift, e);
    if (r < 0) {
        return r;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < drift.n; i++) {
        const struct gluster_drift_item *d = &drift.v[i];
        log_warning("volume option was changed by hand; repaired", "pool=%s option=%s had=%s",
                    json_text_of(json_object_get(args, "pool"), "name"), d->key,
                    d->have ? d->have : "unset");
        json_array_append_new(list, json_pack("{s:s,s:s?,s:s?}", "option", d->key, "want", d->want,
                                              "had", d->have));
    }
    *ret = json_pack("{s:o}", "drift", list);
    return 0;
}

/* --- mounts -------------------------------------------------------------------------------- */

int act_mount_ensure(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    const char *pool = json_text_of(args, "pool");
    _cleanup_strv_ struct strv servers = {0};
    _cleanup_free_ char *unit = gluster_mount_unit(pool);
    bool is_changed = false;
    size_t i;
    json_t *server;
    json_array_foreach(json_object_get(args, "servers"), i, server) {
        strv_add(&servers, json_string_value(server));
    }
    _cleanup_free_ char *text = format_gluster_mount_unit(pool, &servers);
    _cleanup_free_ char *path = gluster_mount_path(pool);
    int r = unit_write("", unit, text, &is_changed, e);
    r = r < 0 || !is_changed ? r : systemd_reload(e);
    r = r < 0 ? r : unit_enable(unit, e);
    r = r < 0 ? r : unit_start(unit, MOUNT_TIMEOUT_US, e);
    _cleanup_free_ char *vms = str_printf("%s/vms", path);
    _cleanup_free_ char *images = str_printf("%s/images", path);
    r = r < 0 ? r : file_mkdirs(vms, 0711, e);
    return r < 0 ? r : file_mkdirs(images, 0711, e);
}

int act_mount_remove(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    _cleanup_free_ char *unit = gluster_mount_unit(json_text_of(args, "pool"));
    int r = unit_stop(unit, MOUNT_TIMEOUT_US, e);
    r = r < 0 ? r : unit_disable(unit, e);
    r = r < 0 ? r : unit_reset_failed(unit, e); /* glusterfs ends with a failure when unmounted */
    r = r < 0 ? r : unit_remove("", unit, NULL, e);
    r = r < 0 ? r : systemd_reload(e);
    _cleanup_free_ char *path = gluster_mount_path(json_text_of(args, "pool"));
    (void)rmdir(path); /* stays when somebody put files under the mount */
    return r;
}

/* --- networks ------------------------------------------------------------------------------ */

int act_net_apply(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                  struct err *e)
{
    const json_t *network = json_object_get(args, "network");
    _cleanup_strv_ struct strv peers = {0};
    size_t i;
    json_t *peer;
    json_array_foreach(json_object_get(args, "peers"), i, peer) {
        strv_add(&peers, json_string_value(peer));
    }
    const struct net_spec spec = {
        .bridge = json_text_of(network, "bridge"),
        .vni = json_u64_of(network, "vni", 0),
        .local_addr = json_text_of(args, "local"),
        .peers = (const char *const *)peers.v,
        .peers_n = peers.n,
    };
    uint64_t mtu = 0;
    int r = net_apply(&spec, &mtu, NULL, e);
    if (r == 0) {
        *ret = json_pack("{s:O,s:s*,s:I}", "peers", json_object_get(args, "peers"), "uplink",
                         json_text_of(args, "uplink"), "mtu", (json_int_t)mtu);
    }
    return r;
}
