/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/place/place.h"

static int check_answers(const struct core *c, const char *host, struct err *e)
{
    char buf[96];
    if (!node_is_silent(c, host)) {
        return 0;
    }
    (void)ERR_SET(e, STATE, "host '%s' %s", host, node_silence(c, host, buf, sizeof(buf)));
    err_hint(e, "see 'mortar host ls'");
    return -ERR_STATE;
}

static int check_host(const struct core *c, const char *host, bool is_data, struct err *e)
{
    const json_t *node = host ? node_get(c, host) : NULL;
    if (!node) {
        return ERR_SET(e, NOT_FOUND, "there is no host '%s'", host ? host : "");
    }
    if (!node_is_online(node)) {
        return ERR_SET(e, STATE, "host '%s' is %s, not online", host, json_text_of(node, "state"));
    }
    if (is_data ? !node_has_data(node) : !node_has_bricks(node)) {
        return ERR_SET(e, POOL_POLICY, "host '%s' is a %s host and holds no %s bricks", host,
                       json_text_of(node, "role"), is_data ? "data" : "arbiter");
    }
    return check_answers(c, host, e);
}

static bool has_brick(const json_t *bricks, const char *host)
{
    size_t i;
    json_t *brick;
    json_array_foreach(bricks, i, brick) {
        if (str_eq(json_text_of(brick, "host"), host)) {
            return true;
        }
    }
    return false;
}

static bool is_free(const struct core *c, const char *host, const json_t *node, const json_t *bricks)
{
    return node_is_online(node) && !node_is_silent(c, host) && !has_brick(bricks, host);
}

char *place_device_of(const char *devices, const char *host)
{
    if (!devices || devices[0] == '/') {
        return devices ? str_dup(devices) : NULL;
    }
    for (const char *part = devices; *part;) {
        size_t len = strcspn(part, ",");
        if (str_starts(part, host) && part[strlen(host)] == '=') {
            size_t name = strlen(host) + 1;
            return str_printf("%.*s", (int)(len - name), part + name);
        }
        part += len + (part[len] == ',');
    }
    return NULL;
}

/* Each data brick has a device, and each device that is named is used. */
static int check_devices(const char *devices, const json_t *bricks, struct err *e)
{
    size_t used = 0;
    size_t named = 1;
    size_t i;
    json_t *brick;
    for (const char *p = devices ? devices : ""; *p; p++) {
        named += *p == ',';
    }
    json_array_foreach(bricks, i, brick) {
        bool is_data = str_eq(json_text_of(brick, "role"), "data");
        if (devices && is_data && !json_text_of(brick, "device")) {
            return ERR_SET(e, INVALID, "no device is named for host '%s'", json_text_of(brick, "host"));
        }
        used += is_data;
    }
    if (devices && devices[0] != '/' && named != used) {
        return ERR_SET(e, INVALID, "devices are named for %zu hosts, and %zu hold data of this pool", named, used);
    }
    return 0;
}

static void add_brick(json_t *bricks, const char *host, const char *role, const json_t *args)
{
    const char *name = json_text_of(args, "name");
    _cleanup_free_ char *device = place_device_of(json_text_of(args, "device"), host);
    const char *path = json_text_of(args, "path");
    bool is_data = str_eq(role, "data");
    _cleanup_free_ char *standard = str_printf("/data/gluster/%s", name);
    json_t *brick = json_pack("{s:s,s:s,s:s}", "host", host, "role", role, "path",
                              path ? path : standard);
    if (device && is_data) {
        json_object_set_new(brick, "device", json_string(device));
    }
    json_array_append_new(bricks, brick);
}

static int take_named(const struct core *c, const json_t *args, size_t copies, json_t *bricks,
                      struct err *e)
{
    size_t i;
    json_t *host;
    json_array_foreach(json_object_get(args, "hosts"), i, host) {
        const char *name = json_string_value(host);
        bool is_data = i < copies;
        if (i > copies) {
            return ERR_SET(e, INVALID, "%zu copies need at most %zu hosts", copies, copies + 1);
        }
        int r = check_host(c, name, is_data, e);
        if (r < 0) {
            return r;
        }
        if (has_brick(bricks, name)) {
            return ERR_SET(e, INVALID, "host '%s' is named twice", name);
        }
        add_brick(bricks, name, is_data ? "data" : "arbiter", args);
    }
    return 0;
}

static void take_data(const struct core *c, const json_t *args, size_t copies, json_t *bricks)
{
    const char *devices = json_text_of(args, "device");
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        _cleanup_free_ char *device = place_device_of(devices, it.name);
        if (json_array_size(bricks) < copies && node_has_data(it.value) && (!devices || device) &&
            is_free(c, it.name, it.value, bricks)) {
            add_brick(bricks, it.name, "data", args);
        }
    }
}

/* A witness first: it exists for this. Else any brick host that has no data brick of the pool. */
static void take_arbiter(const struct core *c, const json_t *args, json_t *bricks)
{
    const char *best = NULL;
    bool is_witness = false;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        bool fits = node_has_bricks(it.value) && is_free(c, it.name, it.value, bricks);
        if (fits && (!best || (!is_witness && !node_has_data(it.value)))) {
            best = it.name;
            is_witness = !node_has_data(it.value);
        }
    }
    if (best) {
        add_brick(bricks, best, "arbiter", args);
    }
}

static int place_dir(const struct core *c, const json_t *args, json_t *bricks, struct err *e)
{
    const char *host = json_string_value(json_array_get(json_object_get(args, "hosts"), 0));
    const char *path = json_text_of(args, "path");
    const json_t *node = node_get(c, host ? host : c->host);
    host = host ? host : c->host;
    if (!node) {
        return ERR_SET(e, NOT_FOUND, "there is no host '%s'", host ? host : "");
    }
    if (!node_has_vms(node)) {
        return ERR_SET(e, POOL_POLICY, "host '%s' runs no virtual machines, so a local pool is of no "
                       "use there", host);
    }
    if (json_array_size(json_object_get(args, "hosts")) > 1) {
        return ERR_SET(e, INVALID, "a pool of type dir is on exactly one host");
    }
    int r = check_answers(c, host, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *standard =
        str_printf("/var/lib/mortar/pools/%s", json_text_of(args, "name"));
    json_array_append_new(bricks, json_pack("{s:s,s:s,s:s}", "host", host, "role", "data", "path",
                                            path ? path : standard));
    return 0;
}

int place_bricks(const struct core *c, const json_t *args, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *bricks = json_array();
    size_t copies = json_u64_of(args, "copies", 2);
    bool no_ha = json_bool_of(args, "no_ha", false);
    const json_t *arbiter = json_object_get(args, "arbiter");
    if (str_eq(json_text_of(args, "kind"), "dir")) {
        int r = place_dir(c, args, bricks, e);
        *ret = r == 0 ? json_incref(bricks) : *ret;
        return r;
    }
    if (copies != 2 && copies != 3) {
        return ERR_SET(e, INVALID, "a pool has 2 or 3 copies, not %zu", copies);
    }
    int r = take_named(c, args, copies, bricks, e);
    if (r < 0) {
        return r;
    }
    take_data(c, args, copies, bricks);
    size_t n = json_array_size(bricks);
    if (n < copies) {
        (void)ERR_SET(e, POOL_POLICY, "%zu copies need %zu storage hosts that are online and answer, there %s %zu",
                      copies, copies, n == 1 ? "is" : "are", n);
        err_hint(e, "add a host with 'mortar join', see 'mortar host ls'");
        return -ERR_POOL_POLICY;
    }
    if (copies == 2 && n == 2 && json_is_string(arbiter)) {
        const char *host = json_string_value(arbiter);
        r = check_host(c, host, false, e);
        if (r < 0) {
            return r;
        }
        if (has_brick(bricks, host)) {
            return ERR_SET(e, POOL_POLICY, "host '%s' cannot be data host and arbiter", host);
        }
        add_brick(bricks, host, "arbiter", args);
    } else if (copies == 2 && n == 2 && !no_ha) {
        take_arbiter(c, args, bricks);
    }
    if (copies == 2 && !no_ha && json_array_size(bricks) < 3) {
        (void)ERR_SET(e, POOL_POLICY, "two copies without an arbiter cannot survive the loss of the "
                      "first host and have no failover");
        err_hint(e, "add a third host, a small witness is enough, or bring it online ('mortar host ls'), or "
                    "accept this with --no-ha");
        return -ERR_POOL_POLICY;
    }
    r = check_devices(json_text_of(args, "device"), bricks, e);
    *ret = r == 0 ? json_incref(bricks) : *ret;
    return r;
}
