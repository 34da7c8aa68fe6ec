/* SPDX-License-Identifier: Apache-2.0
 * What users ask of pools and images. */
#include <string.h>

#include "base/str.h"
#include "core/ha/ha_request.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/op.h"
#include "core/place/place.h"
#include "core/request_parts.h"

static bool is_path(const char *s)
{
    return !s || (s[0] == '/' && strlen(s) < 256 && !strstr(s, "/../") && !str_ends(s, "/.."));
}

/* As place_device_of() reads them. */
static bool are_devices(const char *s)
{
    if (!s || s[0] == '/') {
        return is_path(s);
    }
    for (const char *part = s; *part;) {
        size_t len = strcspn(part, ",");
        size_t name = strcspn(part, "=,");
        _cleanup_free_ char *path = name < len ? str_printf("%.*s", (int)(len - name - 1), part + name + 1) : NULL;
        if (name == 0 || !path || !is_path(path)) {
            return false;
        }
        part += len + (part[len] == ',');
    }
    return s[0] != '\0';
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
    if (!are_devices(json_text_of(q->args, "device")) || !is_path(json_text_of(q->args, "path"))) {
        return ERR_SET(q->e, INVALID, "devices and paths of bricks are absolute; a device of each host: 'HOST=/dev/…,HOST=/dev/…'");
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

int req_pool_create(struct req *q)
{
    const char *name = NULL;
    int r = req_need_name(q, &name);
    if (r < 0) {
        return r;
    }
    const json_t *old = pool_get(q->c, name);
    if (op_is_running(q->c, "pool.", name)) {
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
    req_put_task(q, &t, "pool.create", name, json_text_of(first, "host"));
    commit_put(q->c, &t, KEY_POOL, name, pool);
    return req_finish(q, &t);
}

int req_pool_ha(struct req *q)
{
    struct commit t = commit_new();
    int r = ha_request_pool(q->c, q->args, &t, q->e);
    if (r < 0) {
        commit_drop(&t);
        return r;
    }
    req_put_task(q, &t, "pool.ha", json_text_of(q->args, "name"), q->c->host);
    return req_finish(q, &t);
}

int req_pool_remove(struct req *q)
{
    const char *name = NULL;
    int r = req_need_name(q, &name);
    const json_t *pool = r < 0 ? NULL : pool_get(q->c, name);
    if (r < 0) {
        return r;
    }
    if (!pool) {
        return ERR_SET(q->e, NOT_FOUND, "there is no pool '%s'", name);
    }
    if (op_is_running(q->c, "pool.", name)) {
        return ERR_SET(q->e, BUSY, "pool '%s' is being worked on; see 'mortar task ls'", name);
    }
    r = ha_request_off(q->c, name, q->e);
    if (r < 0) {
        return r;
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
    struct commit t = commit_new();
    const json_t *first = json_array_get(json_object_get(pool, "bricks"), 0);
    json_t *next = json_deep_copy(pool);
    json_object_set_new(next, "state", json_string("removing"));
    req_put_task(q, &t, "pool.remove", name, json_text_of(first, "host"));
    commit_put(q->c, &t, KEY_POOL, name, next);
    commit_guard(q->c, &t, KEY_USE "pool/", name); /* no image or VM came upon it meanwhile */
    return req_finish(q, &t);
}

/* --- images -------------------------------------------------------------------------------- */

int req_need_pool(struct req *q, const char **ret)
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

/* An agent that has just begun knows nothing of its own part yet, which is no lack of it: to be asked again. */
static int need_look(struct req *q, const char *pool)
{
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    const json_t *record = pool_get(q->c, pool);
    bool is_concerned = pool_brick_of(record, q->c->host) || pool_wants_mount(q->c, record, q->c->host);
    if (!is_concerned || smap_get(&q->c->seen, what)) {
        return 0;
    }
    (void)ERR_SET(q->e, UNAVAILABLE, "this host's agent has just begun, and has not looked at pool '%s' yet", pool);
    err_hint(q->e, "try again in a few seconds");
    return -ERR_UNAVAILABLE;
}

int req_need_quorum(struct req *q, const char *pool)
{
    unsigned online = 0;
    const json_t *record = pool_get(q->c, pool);
    if (pool_is_dir(record) || pool_quorum(q->c, pool, &online)) {
        return 0;
    }
    int r = need_look(q, pool);
    if (r < 0) {
        return r;
    }
    (void)ERR_SET(q->e, NO_QUORUM, "pool '%s' has no quorum: %u of its %zu bricks are online", pool,
                  online, json_array_size(json_object_get(record, "bricks")));
    err_hint(q->e, "see 'mortar pool show %s'", pool);
    return -ERR_NO_QUORUM;
}

int req_need_mount(struct req *q, const char *pool)
{
    if (!node_has_vms(node_get(q->c, q->c->host))) {
        (void)ERR_SET(q->e, STATE, "host '%s' is a %s host and has no pool mounted", q->c->host,
                      json_text_of(node_get(q->c, q->c->host), "role"));
        err_hint(q->e, "files are read on the host where the command runs: use a VM host");
        return -ERR_STATE;
    }
    int r = need_look(q, pool);
    if (r < 0) {
        return r;
    }
    if (!pool_is_usable_on(q->c, pool, q->c->host)) {
        (void)ERR_SET(q->e, NO_QUORUM, "pool '%s' is not mounted with quorum on %s", pool,
                      q->c->host);
        err_hint(q->e, "see 'mortar pool show %s'", pool);
        return -ERR_NO_QUORUM;
    }
    return 0;
}

int req_image_import(struct req *q)
{
    const char *name = NULL;
    const char *pool = NULL;
    const char *source = NULL;
    int r = req_need_name(q, &name);
    r = r < 0 ? r : json_need_text(q->args, "source", &source, q->e);
    r = r < 0 ? r : req_need_pool(q, &pool);
    r = r < 0 ? r : req_need_mount(q, pool);
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
    req_put_task(q, &t, "image.import", name, q->c->host);
    commit_guard(q->c, &t, KEY_POOL, pool);
    commit_use(&t, "pool", pool);
    return req_finish(q, &t);
}

static int need_image(struct req *q, const char **ret)
{
    int r = req_need_name(q, ret);
    const json_t *image = r < 0 ? NULL : world_get(&q->c->world, KEY_IMAGE, *ret);
    if (r < 0) {
        return r;
    }
    if (!image) {
        return ERR_SET(q->e, NOT_FOUND, "there is no image '%s'", *ret);
    }
    if (op_is_running(q->c, "image.", *ret)) {
        return ERR_SET(q->e, BUSY, "image '%s' is being worked on", *ret);
    }
    return req_need_mount(q, json_text_of(image, "pool"));
}

/* A machine whose disk is being copied from it; those that are made have a disk of their own. */
static int check_no_copy(struct req *q, const char *image)
{
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(q->c, &it));) {
        _cleanup_free_ char *vm = name;
        const json_t *spec = vm_spec(q->c, vm);
        if (str_eq(json_text_of(spec, "image"), image) &&
            str_eq(json_text_of(spec, "making"), "creating")) {
            (void)ERR_SET(q->e, BUSY, "the disk of vm '%s' is being copied from image '%s'", vm, image);
            err_hint(q->e, "wait for its end: see 'mortar task ls'");
            return -ERR_BUSY;
        }
    }
    return 0;
}

/* From here on nobody makes a machine from it, and nobody has begun to meanwhile. */
int req_image_remove(struct req *q)
{
    const char *name = NULL;
    int r = need_image(q, &name);
    r = r < 0 ? r : check_no_copy(q, name);
    if (r < 0) {
        return r;
    }
    json_t *next = json_deep_copy(world_get(&q->c->world, KEY_IMAGE, name));
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string("removing"));
    req_put_task(q, &t, "image.remove", name, q->c->host);
    commit_put(q->c, &t, KEY_IMAGE, name, next);
    commit_guard(q->c, &t, KEY_USE "image/", name);
    return req_finish(q, &t);
}

int req_image_export(struct req *q)
{
    const char *format = json_text_of(q->args, "format");
    const char *path = json_text_of(q->args, "path");
    if (format && !str_eq(format, "qcow2") && !str_eq(format, "raw") && !str_eq(format, "vmdk")) {
        return ERR_SET(q->e, INVALID, "'%.20s' is no format; there are qcow2, raw and vmdk", format);
    }
    if (!path || !is_path(path)) {
        return ERR_SET(q->e, INVALID, "the target of an export is an absolute path");
    }
    const char *name = NULL;
    int r = need_image(q, &name);
    if (r < 0) {
        return r;
    }
    struct commit t = commit_new();
    req_put_task(q, &t, "image.export", name, q->c->host);
    commit_guard(q->c, &t, KEY_IMAGE, name);
    return req_finish(q, &t);
}
