/* SPDX-License-Identifier: Apache-2.0 */
#include "core/request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "core/act.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/op.h"
#include "core/place/place.h"
#include "core/request_hint.h"

#define VM_CPUS_MAX 128
#define VM_MEMORY_MIN (64 * MIB)
#define VM_MEMORY_MAX (4 * TIB)
#define VM_DISK_MIN MIB
#define VM_DISK_MAX (64 * TIB)
#define TOKEN_VALID_S 3600

/* A request during a step. */
struct req {
    struct core *c;
    const char *id;       /* fresh id: of the task, if one is made */
    const json_t *args;
    char commit_id[96];   /* "req/ID" */
    struct err *e;
};

static int finish(struct req *q, struct commit *t)
{
    (void)commit_try(q->c, q->commit_id, t);
    return 0;
}

static void put_task(struct req *q, struct commit *t, const char *kind, const char *object,
                     const char *runner)
{
    commit_put(q->c, t, KEY_TASK, q->id, op_new_task(q->c, q->id, kind, object, runner, q->args));
}

static int need_name(struct req *q, const char **ret)
{
    int r = json_need_text(q->args, "name", ret, q->e);
    if (r == 0 && !str_is_name(*ret)) {
        r = ERR_SET(q->e, INVALID, "'%.64s' is not a name", *ret);
        err_hint(q->e, "1 to 63 of a-z, 0-9 and '-', beginning with a letter");
    }
    return r;
}

/* --- this host ----------------------------------------------------------------------------- */

static int start_local(struct req *q, const char *kind)
{
    struct core *c = q->c;
    if (c->local_task && str_eq(json_text_of(c->local_task, "state"), "running")) {
        return ERR_SET(q->e, BUSY, "'%s' is under way on this host",
                       json_text_of(c->local_task, "kind"));
    }
    json_t *task = op_new_task(c, q->id, kind, "host", c->host ? c->host : "", q->args);
    json_decref(c->local_task);
    c->local_task = task;
    (void)act_try(c, q->commit_id, "local.save", json_pack("{s:O}", "task", task), 0);
    return 0;
}

const char *request_under_way(const struct core *c, const char *verb, const json_t *args)
{
    const json_t *task = c->local_task;
    bool is_same = str_eq(json_text_of(task, "state"), "running") &&
                   str_eq(json_text_of(task, "kind"), verb) &&
                   json_equal(json_object_get(task, "args"), args);
    return is_same ? json_text_of(task, "id") : NULL;
}

static bool is_resumable(const struct core *c, const char *kind)
{
    return c->local_task && str_eq(json_text_of(c->local_task, "kind"), kind) &&
           !str_eq(json_text_of(c->local_task, "state"), "done");
}

static int req_init(struct req *q)
{
    const char *name = NULL;
    const char *role = json_text_of(q->args, "role");
    int r = need_name(q, &name);
    if (r < 0) {
        return r;
    }
    if (role && (!node_is_role(role) || str_eq(role, "compute") || str_eq(role, "witness"))) {
        return ERR_SET(q->e, INVALID, "the first host is converged or storage, not '%s'", role);
    }
    if (json_text_of(q->args, "uplink")) {
        (void)ERR_SET(q->e, INVALID, "this version cannot put a network card under the cluster network");
        err_hint(q->e, "leave --uplink out: guests then reach each other on all hosts, not the outside");
        return -ERR_INVALID;
    }
    if (q->c->host && !is_resumable(q->c, "init")) {
        (void)ERR_SET(q->e, IN_CLUSTER, "this host is part of a cluster already");
        err_hint(q->e, "see 'mortar status'");
        return -ERR_IN_CLUSTER;
    }
    return start_local(q, "init");
}

static int req_join(struct req *q)
{
    const char *text = NULL;
    const char *role = json_text_of(q->args, "role");
    if (role && !node_is_role(role)) {
        return ERR_SET(q->e, INVALID, "'%s' is no role; there are converged, storage, compute and "
                       "witness", role);
    }
    if (q->c->host && !is_resumable(q->c, "join")) {
        (void)ERR_SET(q->e, IN_CLUSTER, "this host is part of a cluster already");
        err_hint(q->e, "see 'mortar status'");
        return -ERR_IN_CLUSTER;
    }
    int r = json_need_text(q->args, "address", &text, q->e);
    r = r < 0 ? r : json_need_text(q->args, "token", &text, q->e);
    return r < 0 ? r : start_local(q, "join");
}

static int check_keeps_ca(struct req *q)
{
    bool has_ca = json_bool_of(smap_get(&q->c->seen, "host"), "ca", false);
    if (has_ca && node_has_others(q->c)) {
        (void)ERR_SET(q->e, STATE, "this host cannot leave: it alone can let other hosts in");
        err_hint(q->e, "it holds the cluster's CA; it can leave as the last one");
        return -ERR_STATE;
    }
    return 0;
}

static int req_leave(struct req *q)
{
    char why[128];
    if (!q->c->host && !is_resumable(q->c, "leave")) {
        return ERR_SET(q->e, NO_CLUSTER, "this host is not part of a cluster");
    }
    if (q->c->host && node_is_needed(q->c, q->c->host, why, sizeof(why))) {
        (void)ERR_SET(q->e, STATE, "this host cannot leave: %s", why);
        err_hint(q->e, "move or remove it first: 'mortar host evacuate', 'mortar pool rm'");
        return -ERR_STATE;
    }
    int r = q->c->host ? check_keeps_ca(q) : 0;
    return r < 0 ? r : start_local(q, "leave");
}

/* --- hosts --------------------------------------------------------------------------------- */

static int req_token(struct req *q)
{
    const char *hash = NULL;
    const char *role = json_text_of(q->args, "role");
    uint64_t valid_s = json_u64_of(q->args, "valid_s", TOKEN_VALID_S);
    int r = json_need_text(q->args, "hash", &hash, q->e);
    if (r < 0) {
        return r;
    }
    if (role && !node_is_role(role)) {
        return ERR_SET(q->e, INVALID, "'%s' is no role", role);
    }
    if (valid_s < 60 || valid_s > 86400) {
        return ERR_SET(q->e, INVALID, "a token is valid for 60 s to one day, not %llu s",
                       (unsigned long long)valid_s);
    }
    struct commit t = commit_new();
    commit_put(q->c, &t, KEY_TOKEN, hash,
               json_pack("{s:s*,s:I}", "role", role, "expires_ms",
                         (json_int_t)(q->c->wall_us / USEC_PER_MSEC + valid_s * 1000)));
    return finish(q, &t);
}

static int check_token(struct req *q, const json_t *token, const char *uuid)
{
    const char *used_by = json_text_of(token, "used_by");
    if (!token || (used_by && !str_eq(used_by, uuid)) ||
        json_u64_of(token, "expires_ms", 0) < q->c->wall_us / USEC_PER_MSEC) {
        (void)ERR_SET(q->e, TOKEN, "the join token is unknown, used or expired");
        err_hint(q->e, "make a new one on a host of the cluster: mortar token create");
        return -ERR_TOKEN;
    }
    return 0;
}

static int check_newcomer(struct req *q, const char *host, const char *uuid)
{
    for (struct world_iter it = {0}; world_next(&q->c->world, KEY_NODE, &it);) {
        bool is_same = str_eq(json_text_of(it.value, "uuid"), uuid);
        if (is_same && str_eq(it.name, host)) {
            continue; /* it asks again */
        }
        if (is_same) {
            return ERR_SET(q->e, EXISTS, "this host is in the cluster as '%s'", it.name);
        }
        if (str_eq(it.name, host)) {
            return ERR_SET(q->e, EXISTS, "the cluster has a host called '%s' already", host);
        }
        if (str_eq(json_text_of(it.value, "storage"), json_text_of(q->args, "storage")) ||
            str_eq(json_text_of(it.value, "mgmt"), json_text_of(q->args, "mgmt"))) {
            return ERR_SET(q->e, EXISTS, "host '%s' has the same address", it.name);
        }
    }
    return 0;
}

/* An address becomes an argument of commands and part of URLs, so it is nothing but one. */
static int check_address(struct req *q, const char *field)
{
    const char *text = NULL;
    int r = json_need_text(q->args, field, &text, q->e);
    if (r == 0 && (!*text || strlen(text) > 45 || text[strspn(text, "0123456789abcdef.:")])) {
        r = ERR_SET(q->e, INVALID, "'%.64s' is not an IP address", text);
    }
    return r;
}

/* A new host asks to be let in. The agent signs its certificate when this commit has succeeded. */
static int req_admit(struct req *q)
{
    struct core *c = q->c;
    const char *hash = NULL;
    const char *host = NULL;
    const char *uuid = NULL;
    int r = need_name(q, &host);
    r = r < 0 ? r : json_need_text(q->args, "uuid", &uuid, q->e);
    r = r < 0 ? r : check_address(q, "storage");
    r = r < 0 ? r : check_address(q, "mgmt");
    r = r < 0 ? r : json_need_text(q->args, "hash", &hash, q->e);
    const json_t *token = r < 0 ? NULL : world_get(&c->world, KEY_TOKEN, hash);
    r = r < 0 ? r : check_token(q, token, uuid);
    r = r < 0 ? r : check_newcomer(q, host, uuid);
    if (r < 0) {
        return r;
    }
    const char *role = json_text_of(token, "role");
    role = role ? role : json_text_of(q->args, "role");
    role = role ? role : "converged";
    if (!node_is_role(role)) {
        return ERR_SET(q->e, INVALID, "'%.40s' is no role", role);
    }
    struct commit t = commit_new();
    json_t *used = json_deep_copy(token);
    json_object_set_new(used, "used_by", json_string(uuid));
    commit_put(c, &t, KEY_TOKEN, hash, used);
    if (!node_may_run_vms(node_get(c, host))) {
        commit_put(c, &t, KEY_NODE, host,
                   json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:O,s:O}", "name", host, "uuid", uuid, "role",
                             role, "state", "joining", "inc", 0, "boot_id", "", "mgmt",
                             json_object_get(q->args, "mgmt"), "storage",
                             json_object_get(q->args, "storage")));
    }
    return finish(q, &t);
}

static int req_evacuate(struct req *q)
{
    const char *host = NULL;
    int r = json_need_text(q->args, "name", &host, q->e);
    const json_t *node = r < 0 ? NULL : node_get(q->c, host);
    if (r < 0) {
        return r;
    }
    if (!node) {
        return ERR_SET(q->e, NOT_FOUND, "there is no host '%s'", host);
    }
    if (!node_may_run_vms(node)) {
        return ERR_SET(q->e, STATE, "host '%s' is %s", host, json_text_of(node, "state"));
    }
    if (op_is_running(q->c, "host.evacuate", host)) {
        return ERR_SET(q->e, BUSY, "host '%s' is being evacuated already", host);
    }
    struct commit t = commit_new();
    put_task(q, &t, "host.evacuate", host, host);
    return finish(q, &t);
}

static int req_activate(struct req *q)
{
    const char *host = NULL;
    int r = json_need_text(q->args, "name", &host, q->e);
    const json_t *node = r < 0 ? NULL : node_get(q->c, host);
    if (r < 0) {
        return r;
    }
    if (!str_eq(json_text_of(node, "state"), "maintenance")) {
        return node ? ERR_SET(q->e, STATE, "host '%s' is %s, not in maintenance", host,
                              json_text_of(node, "state"))
                    : ERR_SET(q->e, NOT_FOUND, "there is no host '%s'", host);
    }
    json_t *next = json_deep_copy(node);
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string("online"));
    commit_put(q->c, &t, KEY_NODE, host, next);
    return finish(q, &t);
}

/* --- pools --------------------------------------------------------------------------------- */

static bool is_path(const char *s)
{
    return !s || (s[0] == '/' && strlen(s) < 256 && !strstr(s, "/../") && !str_ends(s, "/.."));
}

static void get_hosts(const json_t *pool, json_t *ret)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        json_array_append(ret, json_object_get(brick, "host"));
    }
}

/* A half-made pool is finished by the same command: its bricks are known by its uuid, its volume may
 * be there already, so it stays on its hosts. */
static int take_over(struct req *q, const json_t *old, json_t *pool)
{
    _cleanup_json_ json_t *had = json_array();
    _cleanup_json_ json_t *has = json_array();
    get_hosts(old, had);
    get_hosts(pool, has);
    if (!json_equal(had, has)) {
        _cleanup_free_ char *text = json_format(had);
        (void)ERR_SET(q->e, POOL_POLICY, "pool '%s' is half-made on %s", json_text_of(old, "name"), text);
        err_hint(q->e, "to put it elsewhere, remove it first: mortar pool rm %s",
                 json_text_of(old, "name"));
        return -ERR_POOL_POLICY;
    }
    json_object_set(pool, "uuid", json_object_get(old, "uuid"));
    return 0;
}

/* What place_bricks() shall go by: the hosts of a half-made pool, unless the user names others. */
static json_t *placement_args(struct req *q, const json_t *old)
{
    json_t *args = json_copy((json_t *)q->args);
    if (old && !json_array_size(json_object_get(args, "hosts"))) {
        json_t *hosts = json_array();
        get_hosts(old, hosts);
        json_object_set_new(args, "hosts", hosts);
    }
    return args;
}

/* None of them may leave in the moment in which it gets a brick. */
static void use_hosts(struct req *q, struct commit *t, const json_t *pool)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        commit_guard(q->c, t, KEY_NODE, json_text_of(brick, "host"));
        commit_use(t, "node", json_text_of(brick, "host"));
    }
}

/* @old: the half-made pool of this name, or NULL */
static int new_pool(struct req *q, const char *name, const json_t *old, json_t **ret)
{
    json_t *bricks = NULL;
    const char *kind = json_text_of(q->args, "kind");
    if (kind && !str_eq(kind, "gluster") && !str_eq(kind, "dir")) {
        return ERR_SET(q->e, INVALID, "a pool is of type gluster or dir, not '%.40s'", kind);
    }
    if (!is_path(json_text_of(q->args, "device")) || !is_path(json_text_of(q->args, "path"))) {
        return ERR_SET(q->e, INVALID, "devices and paths of bricks are absolute");
    }
    _cleanup_json_ json_t *args = placement_args(q, old);
    int r = place_bricks(q->c, args, &bricks, q->e);
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:s,s:s,s:s,s:s,s:I,s:b,s:b,s:b,s:b,s:o}", "name", name, "uuid", q->id, "kind",
                     kind ? kind : "gluster", "state", "creating", "copies",
                     (json_int_t)(str_eq(kind, "dir") ? 1 : json_u64_of(q->args, "copies", 2)),
                     "arbiter", str_eq(json_text_of(json_array_get(bricks, 2), "role"), "arbiter"),
                     "no_ha", json_bool_of(q->args, "no_ha", false), "wipe",
                     json_bool_of(q->args, "wipe", false), "force",
                     json_bool_of(q->args, "force", false), "bricks", bricks);
    r = old ? take_over(q, old, *ret) : 0;
    if (r < 0) {
        json_decref(*ret);
    }
    return r;
}

static int req_pool_create(struct req *q)
{
    const char *name = NULL;
    int r = need_name(q, &name);
    if (r < 0) {
        return r;
    }
    const json_t *old = pool_get(q->c, name);
    if (op_is_running(q->c, NULL, name)) {
        return ERR_SET(q->e, BUSY, "pool '%s' is being worked on; see 'mortar task ls'", name);
    }
    if (old && !str_eq(json_text_of(old, "state"), "creating")) {
        return ERR_SET(q->e, EXISTS, "there is a pool '%s' already", name);
    }
    json_t *pool = NULL;
    r = new_pool(q, name, old, &pool);
    if (r < 0) {
        return r;
    }
    struct commit t = commit_new();
    use_hosts(q, &t, pool);
    const json_t *first = json_array_get(json_object_get(pool, "bricks"), 0);
    put_task(q, &t, "pool.create", name, json_text_of(first, "host"));
    commit_put(q->c, &t, KEY_POOL, name, pool);
    return finish(q, &t);
}

static int req_pool_remove(struct req *q)
{
    const char *name = NULL;
    int r = need_name(q, &name);
    const json_t *pool = r < 0 ? NULL : pool_get(q->c, name);
    if (r < 0) {
        return r;
    }
    if (!pool) {
        return ERR_SET(q->e, NOT_FOUND, "there is no pool '%s'", name);
    }
    if (op_is_running(q->c, NULL, name)) {
        return ERR_SET(q->e, BUSY, "pool '%s' is being worked on; see 'mortar task ls'", name);
    }
    for (struct world_iter it = {0}; world_next(&q->c->world, KEY_IMAGE, &it);) {
        if (str_eq(json_text_of(it.value, "pool"), name)) {
            return ERR_SET(q->e, STATE, "pool '%s' still holds image '%s'", name, it.name);
        }
    }
    char *vm = NULL;
    for (struct world_iter it = {0}; (vm = vm_next(q->c, &it));) {
        _cleanup_free_ char *held = vm;
        if (str_eq(json_text_of(vm_spec(q->c, held), "pool"), name)) {
            return ERR_SET(q->e, STATE, "pool '%s' still holds the disks of vm '%s'", name, held);
        }
    }
    if (op_is_running(q->c, NULL, name)) {
        return ERR_SET(q->e, BUSY, "pool '%s' is being worked on; see 'mortar task ls'", name);
    }
    struct commit t = commit_new();
    const json_t *first = json_array_get(json_object_get(pool, "bricks"), 0);
    json_t *next = json_deep_copy(pool);
    json_object_set_new(next, "state", json_string("removing"));
    put_task(q, &t, "pool.remove", name, json_text_of(first, "host"));
    commit_put(q->c, &t, KEY_POOL, name, next);
    commit_guard(q->c, &t, KEY_USE "pool/", name); /* no image or VM came upon it meanwhile */
    return finish(q, &t);
}

/* --- images -------------------------------------------------------------------------------- */

static int need_pool(struct req *q, const char **ret)
{
    int r = json_need_text(q->args, "pool", ret, q->e);
    const json_t *pool = r < 0 ? NULL : pool_get(q->c, *ret);
    if (r < 0) {
        return r;
    }
    if (!pool) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no pool '%.64s'", *ret);
        err_hint(q->e, "see 'mortar pool ls'");
        return -ERR_NOT_FOUND;
    }
    if (!str_eq(json_text_of(pool, "state"), "ready")) {
        return ERR_SET(q->e, STATE, "pool '%s' is %s", *ret, json_text_of(pool, "state"));
    }
    return 0;
}

static int need_quorum(struct req *q, const char *pool)
{
    unsigned online = 0;
    const json_t *record = pool_get(q->c, pool);
    if (pool_is_dir(record) || pool_quorum(q->c, pool, &online)) {
        return 0;
    }
    (void)ERR_SET(q->e, NO_QUORUM, "pool '%s' has no quorum: %u of its %zu bricks are online", pool,
                  online, json_array_size(json_object_get(record, "bricks")));
    err_hint(q->e, "see 'mortar pool show %s'", pool);
    return -ERR_NO_QUORUM;
}

static int need_mount_here(struct req *q, const char *pool)
{
    if (!node_has_vms(node_get(q->c, q->c->host))) {
        (void)ERR_SET(q->e, STATE, "host '%s' is a %s host and has no pool mounted", q->c->host,
                      json_text_of(node_get(q->c, q->c->host), "role"));
        err_hint(q->e, "files are read on the host where the command runs: use a VM host");
        return -ERR_STATE;
    }
    if (!pool_is_usable_on(q->c, pool, q->c->host)) {
        (void)ERR_SET(q->e, NO_QUORUM, "pool '%s' is not mounted with quorum on %s", pool,
                      q->c->host);
        err_hint(q->e, "see 'mortar pool show %s'", pool);
        return -ERR_NO_QUORUM;
    }
    return 0;
}

static int req_image_import(struct req *q)
{
    const char *name = NULL;
    const char *pool = NULL;
    const char *source = NULL;
    int r = need_name(q, &name);
    r = r < 0 ? r : json_need_text(q->args, "source", &source, q->e);
    r = r < 0 ? r : need_pool(q, &pool);
    r = r < 0 ? r : need_mount_here(q, pool);
    if (r < 0) {
        return r;
    }
    if (world_get(&q->c->world, KEY_IMAGE, name)) {
        return ERR_SET(q->e, EXISTS, "there is an image '%s' already", name);
    }
    struct commit t = commit_new();
    commit_put(q->c, &t, KEY_IMAGE, name,
               json_pack("{s:s,s:s,s:s,s:s,s:I}", "name", name, "uuid", q->id, "pool", pool, "state",
                         "importing", "created_ms", (json_int_t)(q->c->wall_us / USEC_PER_MSEC)));
    put_task(q, &t, "image.import", name, q->c->host);
    commit_guard(q->c, &t, KEY_POOL, pool);
    commit_use(&t, "pool", pool);
    return finish(q, &t);
}

static int on_image(struct req *q, const char *kind)
{
    const char *name = NULL;
    int r = need_name(q, &name);
    const json_t *image = r < 0 ? NULL : world_get(&q->c->world, KEY_IMAGE, name);
    if (r < 0) {
        return r;
    }
    if (!image) {
        return ERR_SET(q->e, NOT_FOUND, "there is no image '%s'", name);
    }
    if (op_is_running(q->c, NULL, name)) {
        return ERR_SET(q->e, BUSY, "image '%s' is being worked on", name);
    }
    r = need_mount_here(q, json_text_of(image, "pool"));
    if (r < 0) {
        return r;
    }
    struct commit t = commit_new();
    put_task(q, &t, kind, name, q->c->host);
    commit_guard(q->c, &t, KEY_IMAGE, name);
    return finish(q, &t);
}

static int req_image_remove(struct req *q)
{
    return on_image(q, "image.remove");
}

static int req_image_export(struct req *q)
{
    const char *format = json_text_of(q->args, "format");
    const char *path = json_text_of(q->args, "path");
    if (format && !str_eq(format, "qcow2") && !str_eq(format, "raw") && !str_eq(format, "vmdk")) {
        return ERR_SET(q->e, INVALID, "'%.20s' is no format; there are qcow2, raw and vmdk", format);
    }
    if (!path || !is_path(path)) {
        return ERR_SET(q->e, INVALID, "the target of an export is an absolute path");
    }
    return on_image(q, "image.export");
}

/* --- virtual machines ---------------------------------------------------------------------- */

static int check_range(struct req *q, const char *field, uint64_t min, uint64_t max, const char *what)
{
    uint64_t v = json_u64_of(q->args, field, 0);
    char lo[24];
    char hi[24];
    if (v >= min && v <= max) {
        return 0;
    }
    if (max <= 1024) {
        return ERR_SET(q->e, INVALID, "%s must be %llu to %llu", what, (unsigned long long)min,
                       (unsigned long long)max);
    }
    return ERR_SET(q->e, INVALID, "%s must be %s to %s", what,
                   units_format_size(min, lo, sizeof(lo)), units_format_size(max, hi, sizeof(hi)));
}

static int check_new_vm(struct req *q, const char *name, const char **ret_pool)
{
    const char *image = json_text_of(q->args, "image");
    int r = check_range(q, "cpus", 1, VM_CPUS_MAX, "the number of CPUs");
    r = r < 0 ? r : check_range(q, "memory_bytes", VM_MEMORY_MIN, VM_MEMORY_MAX, "the memory");
    r = r < 0 ? r : need_pool(q, ret_pool);
    if (r < 0) {
        return r;
    }
    if (vm_spec(q->c, name)) {
        return ERR_SET(q->e, EXISTS, "there is a vm '%s' already", name);
    }
    if (json_object_get(q->args, "disk_bytes") || !image) {
        r = check_range(q, "disk_bytes", VM_DISK_MIN, VM_DISK_MAX, "the disk's size");
    }
    if (r < 0 || !image) {
        return r;
    }
    const json_t *record = world_get(&q->c->world, KEY_IMAGE, image);
    if (!record) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no image '%.64s'", image);
        err_hint(q->e, "see 'mortar image ls'");
        return -ERR_NOT_FOUND;
    }
    if (!str_eq(json_text_of(record, "state"), "ready")) {
        return ERR_SET(q->e, STATE, "image '%s' is %s", image, json_text_of(record, "state"));
    }
    uint64_t least = json_u64_of(record, "virtual_bytes", 0);
    uint64_t asked = json_u64_of(q->args, "disk_bytes", least);
    char need[24];
    if (asked < least) {
        return ERR_SET(q->e, INVALID, "the disk must be at least %s, as large as the image",
                       units_format_size(least, need, sizeof(need)));
    }
    return 0;
}

static int check_networks(struct req *q, json_t **ret)
{
    json_t *given = json_object_get(q->args, "networks");
    size_t i;
    json_t *net;
    if (!json_array_size(given)) {
        *ret = json_pack("[s]", "default");
        return 0;
    }
    json_array_foreach(given, i, net) {
        const char *name = json_string_value(net);
        if (!name || !world_get(&q->c->world, KEY_NETWORK, name)) {
            (void)ERR_SET(q->e, NOT_FOUND, "there is no network '%.64s'", name ? name : "");
            err_hint(q->e, "see 'mortar network ls'");
            return -ERR_NOT_FOUND;
        }
    }
    *ret = json_incref(given);
    return 0;
}

static int req_vm_create(struct req *q)
{
    static const char *const copied[] = {"image",   "cpus",     "memory_bytes", "disk_bytes",
                                         "pool",    "ssh_keys", "cloud_init",   "kernel",
                                         "initrd",  "cmdline"};
    const char *name = NULL;
    const char *pool = NULL;
    const char *host = NULL;
    json_t *networks = NULL;
    char why[128];
    int r = need_name(q, &name);
    r = r < 0 ? r : check_new_vm(q, name, &pool);
    r = r < 0 ? r : check_networks(q, &networks);
    if (r < 0) {
        return r;
    }
    json_t *spec = json_pack("{s:s,s:s,s:s,s:s,s:I,s:o}", "name", name, "uuid", q->id, "desired",
                             "stopped", "making", "creating", "created_ms",
                             (json_int_t)(q->c->wall_us / USEC_PER_MSEC), "networks", networks);
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        json_t *v = json_object_get(q->args, copied[i]);
        if (v && !json_is_null(v)) {
            json_object_set(spec, copied[i], v);
        }
    }
    /* Kernel, initrd and seed files are read here, so the disks are made here, if this can be. */
    bool is_local = json_text_of(q->args, "kernel") || json_text_of(q->args, "initrd");
    struct place_need need = {
        .vm = name,
        .pool = pool,
        .memory_bytes = json_u64_of(spec, "memory_bytes", 0),
        .cpus = json_u64_of(spec, "cpus", 1),
        .only = json_text_of(q->args, "host"),
    };
    r = need_quorum(q, pool);
    r = r < 0 || !is_local ? r : need_mount_here(q, pool);
    r = r < 0 ? r : place_vm(q->c, &need, &host, why, sizeof(why), q->e);
    if (r < 0) {
        json_decref(spec);
        return r;
    }
    _cleanup_json_ json_t *args = json_pack("{s:s,s:s,s:b}", "name", name, "host", host, "start",
                                            json_bool_of(q->args, "start", true));
    struct commit t = commit_new();
    vm_put_spec(q->c, &t, name, spec);
    vm_put_own(q->c, &t, name, vm_new_own(q->c, host, 0));
    commit_guard(q->c, &t, KEY_POOL, pool);
    commit_use(&t, "pool", pool);
    commit_put(q->c, &t, KEY_TASK, q->id,
               op_new_task(q->c, q->id, "vm.create", name, is_local ? q->c->host : host, args));
    return finish(q, &t);
}

static int need_known_vm(struct req *q, const char **ret_name)
{
    int r = need_name(q, ret_name);
    if (r < 0) {
        return r;
    }
    if (!vm_spec(q->c, *ret_name)) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no vm '%s'", *ret_name);
        err_hint(q->e, "see 'mortar vm ls'");
        return -ERR_NOT_FOUND;
    }
    if (!json_text_of(vm_own(q->c, *ret_name), "owner")) { /* heard of in part, until the next list */
        return ERR_SET(q->e, UNAVAILABLE, "the records of vm '%s' are not all here yet", *ret_name);
    }
    return 0;
}

static int need_vm(struct req *q, const char **ret_name)
{
    int r = need_known_vm(q, ret_name);
    if (r < 0) {
        return r;
    }
    if (op_is_running(q->c, NULL, *ret_name)) {
        (void)ERR_SET(q->e, BUSY, "vm '%s' is being worked on", *ret_name);
        err_hint(q->e, "see 'mortar task ls'");
        return -ERR_BUSY;
    }
    return 0;
}

static bool is_running(const struct core *c, const char *name)
{
    const char *state = json_text_of(vm_act(c, name), "state");
    return state && !str_eq(state, "stopped");
}

static int req_vm_start(struct req *q)
{
    const char *name = NULL;
    const char *host = NULL;
    char why[128];
    int r = need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    const json_t *spec = vm_spec(q->c, name);
    struct place_need need = {
        .vm = name,
        .pool = json_text_of(spec, "pool"),
        .memory_bytes = vm_next_u64(spec, "memory_bytes"),
        .cpus = vm_next_u64(spec, "cpus"),
        .only = json_text_of(q->args, "host"),
    };
    if (is_running(q->c, name)) {
        host = json_text_of(vm_own(q->c, name), "owner"); /* already there: the task ends at once */
    } else {
        r = need_quorum(q, need.pool);
        r = r < 0 ? r : place_vm(q->c, &need, &host, why, sizeof(why), q->e);
    }
    if (r < 0) {
        return r;
    }
    _cleanup_json_ json_t *args = json_pack("{s:s,s:s}", "name", name, "host", host);
    struct commit t = commit_new();
    commit_put(q->c, &t, KEY_TASK, q->id, op_new_task(q->c, q->id, "vm.start", name, host, args));
    return finish(q, &t);
}

/* For what the owner does. A polite stop that waits may be overtaken by a forced one. */
static int on_owner(struct req *q, const char *kind, bool needs_running)
{
    const char *name = NULL;
    bool is_overtaking = str_eq(kind, "vm.stop") && json_bool_of(q->args, "force", false);
    int r = is_overtaking ? need_known_vm(q, &name) : need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    if (needs_running && !is_running(q->c, name)) {
        return ERR_SET(q->e, STATE, "vm '%s' is not running", name);
    }
    struct commit t = commit_new();
    const char *owner = json_text_of(vm_own(q->c, name), "owner");
    put_task(q, &t, kind, name, node_get(q->c, owner) ? owner : q->c->host); /* it may have left */
    return finish(q, &t);
}

static int req_vm_stop(struct req *q)
{
    return on_owner(q, "vm.stop", false);
}

static int req_vm_reset(struct req *q)
{
    return on_owner(q, "vm.reset", true);
}

static int req_vm_migrate(struct req *q)
{
    const char *name = NULL;
    int r = need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    const char *pool = json_text_of(vm_spec(q->c, name), "pool");
    const char *to = json_text_of(q->args, "to");
    if (pool_is_dir(pool_get(q->c, pool))) {
        return ERR_SET(q->e, STATE, "vm '%s' cannot move: its disk is in pool '%s', which is local "
                       "storage of one host", name, pool);
    }
    if (to && !node_get(q->c, to)) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no host '%.64s'", to);
        err_hint(q->e, "see 'mortar host ls'");
        return -ERR_NOT_FOUND;
    }
    if (!str_eq(vm_state(q->c, name), "running")) {
        return ERR_SET(q->e, STATE, "vm '%s' is %s; only a running one can move live", name,
                       vm_state(q->c, name));
    }
    if (to && str_eq(to, json_text_of(vm_own(q->c, name), "owner"))) {
        return ERR_SET(q->e, STATE, "vm '%s' runs on %s already", name, to);
    }
    const char *host = NULL;
    char why[128];
    r = need_quorum(q, pool);
    r = r < 0 ? r : place_move(q->c, name, to, &host, why, sizeof(why), q->e);
    return r < 0 ? r : on_owner(q, "vm.migrate", true);
}

static int req_vm_remove(struct req *q)
{
    const char *name = NULL;
    int r = need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    if (is_running(q->c, name) || str_eq(json_text_of(vm_spec(q->c, name), "desired"), "running")) {
        (void)ERR_SET(q->e, STATE, "vm '%s' is %s", name, vm_state(q->c, name));
        err_hint(q->e, "stop it first: mortar vm stop %s", name);
        return -ERR_STATE;
    }
    return on_owner(q, "vm.remove", false);
}

static int req_vm_set(struct req *q)
{
    const char *name = NULL;
    int r = need_vm(q, &name);
    bool has_cpus = json_object_get(q->args, "cpus") != NULL;
    bool has_memory = json_object_get(q->args, "memory_bytes") != NULL;
    r = r < 0 || !has_cpus ? r : check_range(q, "cpus", 1, VM_CPUS_MAX, "the number of CPUs");
    r = r < 0 || !has_memory
            ? r
            : check_range(q, "memory_bytes", VM_MEMORY_MIN, VM_MEMORY_MAX, "the memory");
    if (r < 0) {
        return r;
    }
    if (!has_cpus && !has_memory) {
        return ERR_SET(q->e, USAGE, "nothing to set: give cpus or memory");
    }
    struct commit t = commit_new();
    vm_put_spec(q->c, &t, name, vm_changed_spec(vm_spec(q->c, name), q->args, is_running(q->c, name)));
    return finish(q, &t);
}

static int req_task_cancel(struct req *q)
{
    const char *id = NULL;
    int r = json_need_text(q->args, "id", &id, q->e);
    const json_t *task = r < 0 ? NULL : world_get(&q->c->world, KEY_TASK, id);
    if (r < 0) {
        return r;
    }
    if (!task) {
        return ERR_SET(q->e, NOT_FOUND, "there is no task '%.64s'", id);
    }
    const struct op_kind *k = op_kind_find(json_text_of(task, "kind"));
    if (!str_eq(json_text_of(task, "state"), "running")) {
        return ERR_SET(q->e, STATE, "the task has ended: %s", json_text_of(task, "state"));
    }
    if (!k || !k->can_cancel) {
        return ERR_SET(q->e, STATE, "a task of kind %s cannot be cancelled",
                       json_text_of(task, "kind"));
    }
    json_t *next = json_deep_copy(task);
    struct commit t = commit_new();
    json_object_set_new(next, "cancel", json_true());
    if (json_bool_of(q->args, "force", false)) {
        json_object_set_new(next, "force", json_true());
    }
    commit_put(q->c, &t, KEY_TASK, id, next);
    return finish(q, &t);
}

/* --- dispatch ------------------------------------------------------------------------------ */

struct verb {
    const char *name;
    int (*take)(struct req *q);
    bool needs_cluster;
};

static const struct verb verbs[] = {
    {"init", req_init, false},
    {"join", req_join, false},
    {"leave", req_leave, false},
    {"token.create", req_token, true},
    {"join.admit", req_admit, true},
    {"host.evacuate", req_evacuate, true},
    {"host.activate", req_activate, true},
    {"pool.create", req_pool_create, true},
    {"pool.remove", req_pool_remove, true},
    {"image.import", req_image_import, true},
    {"image.remove", req_image_remove, true},
    {"image.export", req_image_export, true},
    {"vm.create", req_vm_create, true},
    {"vm.start", req_vm_start, true},
    {"vm.stop", req_vm_stop, true},
    {"vm.reset", req_vm_reset, true},
    {"vm.migrate", req_vm_migrate, true},
    {"vm.remove", req_vm_remove, true},
    {"vm.set", req_vm_set, true},
    {"task.cancel", req_task_cancel, true},
};

int request_refuse_without_store(struct err *e)
{
    (void)ERR_SET(e, UNAVAILABLE, "the cluster's store does not answer");
    err_hint(e, "running virtual machines are not affected; see 'systemctl status etcd' on its hosts");
    return -ERR_UNAVAILABLE;
}

int request_take(struct core *c, const json_t *event, struct err *e)
{
    const char *name = json_text_of(event, "verb");
    struct req q = {
        .c = c,
        .id = json_text_of(event, "task"),
        .args = json_object_get(event, "args"),
        .e = e,
    };
    assert(name && q.id);
    (void)snprintf(q.commit_id, sizeof(q.commit_id), "req/%s", q.id);
    for (size_t i = 0; i < ELEMENTS(verbs); i++) {
        if (!str_eq(verbs[i].name, name)) {
            continue;
        }
        if (verbs[i].needs_cluster && c->host && (!c->world.is_listed || c->store_is_lost)) {
            return request_refuse_without_store(e);
        }
        if (verbs[i].needs_cluster && !c->host) {
            (void)ERR_SET(e, NO_CLUSTER, "this host is not part of a cluster");
            err_hint(e, "begin with 'mortar init NAME', or 'mortar join ADDRESS --token TOKEN'");
            return -ERR_NO_CLUSTER;
        }
        int r = request_check(q.args, e);
        r = r < 0 ? r : verbs[i].take(&q);
        if (r < 0) {
            request_hint(name, q.args, e);
        }
        return r;
    }
    return ERR_SET(e, USAGE, "there is no request '%.40s'", name);
}
