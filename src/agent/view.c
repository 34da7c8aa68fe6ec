/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/view.h"

#include <string.h>

#include "adapters/virt/domxml_format.h"
#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/op.h"

static void set(json_t *to, const char *key, const json_t *value)
{
    json_object_set_new(to, key, value ? json_incref((json_t *)value) : json_null());
}

static void copy(json_t *to, const json_t *from, const char *key)
{
    set(to, key, json_object_get(from, key));
}

static json_t *items(const struct core *c, const char *prefix,
                     json_t *(*view)(const struct core *, const char *))
{
    json_t *list = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, prefix, &it);) {
        json_array_append_new(list, view(c, it.name));
    }
    return list;
}

static json_t *wrap(json_t *list)
{
    return json_pack("{s:o}", "items", list);
}

/* --- hosts --------------------------------------------------------------------------------- */

static json_t *vms_on(const struct core *c, const char *host)
{
    json_t *list = json_array();
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        if (str_eq(json_text_of(vm_own(c, name), "owner"), host) &&
            str_eq(json_text_of(vm_act(c, name), "state"), "running")) {
            json_array_append_new(list, json_string(name));
        }
        free(name);
    }
    return list;
}

json_t *view_host(const struct core *c, const char *name)
{
    static const char *const facts_copied[] = {"cpus",      "cpu_model", "memory_bytes",
                                               "memory_free_bytes", "version", "qemu",
                                               "storage_mbit"};
    const json_t *node = node_get(c, name);
    if (!node) {
        return NULL;
    }
    const json_t *facts = node_seen(c, name, "host");
    uint64_t age = node_seen_age_us(c, name);
    bool is_silent = age > NODE_SILENT_US && node_is_online(node);
    json_t *v = json_object();
    copy(v, node, "name");
    copy(v, node, "uuid");
    copy(v, node, "role");
    copy(v, node, "inc");
    json_object_set_new(v, "state", json_string(is_silent ? "silent" : json_text_of(node, "state")));
    json_object_set_new(v, "addresses", json_pack("{s:O,s:O}", "mgmt", json_object_get(node, "mgmt"),
                                                  "storage", json_object_get(node, "storage")));
    for (size_t i = 0; i < ELEMENTS(facts_copied); i++) {
        copy(v, facts, facts_copied[i]);
    }
    copy(v, facts, "capabilities");
    json_object_set_new(v, "etcd", json_string(etcd_is_member(c, node) ? "member" : "client"));
    json_object_set_new(v, "vms", vms_on(c, name));
    json_object_set_new(v, "seen_age_s", age == UINT64_MAX
                                             ? json_null()
                                             : json_integer((json_int_t)(age / USEC_PER_SEC)));
    return v;
}

json_t *view_hosts(const struct core *c)
{
    return wrap(items(c, KEY_NODE, view_host));
}

/* --- pools --------------------------------------------------------------------------------- */

static const json_t *seen_pool(const struct core *c, const char *host, const char *pool)
{
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    return node_seen(c, host, what);
}

static json_t *view_bricks(const struct core *c, const json_t *pool, const char *name)
{
    json_t *list = json_array();
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        const json_t *seen = json_object_get(seen_pool(c, host, name), "brick");
        json_t *v = json_object();
        copy(v, brick, "host");
        copy(v, brick, "path");
        copy(v, brick, "role");
        json_object_set_new(v, "online", json_boolean(pool_is_dir(pool) ||
                                                      pool_brick_is_online(c, name, host)));
        copy(v, seen, "heal_pending_files");
        copy(v, seen, "state");
        json_array_append_new(list, v);
    }
    return list;
}

static const json_t *any_mount(const struct core *c, const json_t *pool, const char *name)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const json_t *mount = json_object_get(seen_pool(c, it.name, name), "mount");
        if (str_eq(json_text_of(mount, "state"), "mounted")) {
            return mount;
        }
    }
    return NULL;
}

json_t *view_pool(const struct core *c, const char *name)
{
    const json_t *pool = pool_get(c, name);
    if (!pool) {
        return NULL;
    }
    const json_t *mount = any_mount(c, pool, name);
    const json_t *first = json_array_get(json_object_get(pool, "bricks"), 0);
    _cleanup_free_ char *guard = str_printf("guard/%s", name);
    const json_t *drift = json_object_get(node_seen(c, json_text_of(first, "host"), guard), "drift");
    _cleanup_free_ char *path = pool_mount_path(pool, name);
    json_t *v = json_object();
    copy(v, pool, "name");
    copy(v, pool, "uuid");
    copy(v, pool, "kind");
    copy(v, pool, "state");
    copy(v, pool, "copies");
    copy(v, pool, "arbiter");
    json_object_set_new(v, "bricks", view_bricks(c, pool, name));
    json_object_set_new(v, "quorum", json_boolean(pool_is_dir(pool) || pool_quorum(c, name, NULL)));
    json_object_set_new(v, "options_drift", drift ? json_incref((json_t *)drift) : json_array());
    json_object_set_new(v, "mount", json_string(path));
    copy(v, mount, "size_bytes");
    copy(v, mount, "free_bytes");
    json_object_set_new(v, "ha", json_pack("{s:b,s:s}", "on", 0, "reason",
                                           "this version has no failover yet"));
    return v;
}

json_t *view_pools(const struct core *c)
{
    return wrap(items(c, KEY_POOL, view_pool));
}

/* --- images, networks ---------------------------------------------------------------------- */

json_t *view_image(const struct core *c, const char *name)
{
    static const char *const copied[] = {"name",   "uuid",   "state", "pool",
                                         "format", "source", "path",  "created_ms"};
    const json_t *image = world_get(&c->world, KEY_IMAGE, name);
    const char *sha256 = json_text_of(image, "sha256");
    if (!image) {
        return NULL;
    }
    json_t *v = json_object();
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        copy(v, image, copied[i]);
    }
    set(v, "size_bytes", json_object_get(image, "virtual_bytes"));
    json_object_set_new(v, "checksum", sha256 ? json_sprintf("sha256:%s", sha256) : json_null());
    return v;
}

json_t *view_images(const struct core *c)
{
    return wrap(items(c, KEY_IMAGE, view_image));
}

/* The cards that join the guests of each host with the outside, in the order of the hosts. */
static json_t *view_uplinks(const struct core *c)
{
    json_t *list = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const char *nic = json_text_of(it.value, "uplink");
        if (nic) {
            json_array_append_new(list, json_pack("{s:s,s:s}", "host", it.name, "nic", nic));
        }
    }
    return list;
}

static json_t *name_uplinks(const json_t *uplinks)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    size_t i;
    json_t *up;
    json_array_foreach(uplinks, i, up) {
        sbuf_printf(&b, "%s%s %s", i ? ", " : "", json_text_of(up, "host"), json_text_of(up, "nic"));
    }
    return b.len ? json_string(b.data) : json_null();
}

json_t *view_network(const struct core *c, const char *name)
{
    const json_t *network = world_get(&c->world, KEY_NETWORK, name);
    if (!network) {
        return NULL;
    }
    bool has_uplink = json_bool_of(network, "uplink", false);
    json_t *uplinks = has_uplink ? view_uplinks(c) : json_array();
    json_t *v = json_object();
    copy(v, network, "name");
    copy(v, network, "bridge");
    json_object_set_new(v, "uplink", name_uplinks(uplinks));
    json_object_set_new(v, "uplinks", uplinks);
    json_object_set_new(v, "outside", has_uplink ? json_null()
                                                 : json_string("no uplink: guests reach each other on all "
                                                               "hosts, not the outside world"));
    return v;
}

json_t *view_networks(const struct core *c)
{
    return wrap(items(c, KEY_NETWORK, view_network));
}

/* --- virtual machines ---------------------------------------------------------------------- */

static json_t *view_nics(const json_t *spec)
{
    json_t *list = json_array();
    size_t i;
    json_t *net;
    json_array_foreach(json_object_get(spec, "networks"), i, net) {
        char mac[18];
        dom_mac_of(json_text_of(spec, "uuid"), (unsigned)i, mac);
        json_array_append_new(list, json_pack("{s:O,s:s}", "name", net, "mac", mac));
    }
    return list;
}

json_t *view_vm(const struct core *c, const char *name)
{
    static const char *const copied[] = {"name", "uuid", "desired", "pool",     "image", "cpus",
                                         "memory_bytes", "disks", "created_ms"};
    const json_t *spec = vm_spec(c, name);
    if (!spec) {
        return NULL;
    }
    const json_t *own = vm_own(c, name);
    const json_t *act = vm_act(c, name);
    _cleanup_free_ char *last = str_printf("%s/last", name);
    json_t *v = json_object();
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        copy(v, spec, copied[i]);
    }
    json_object_set_new(v, "networks", view_nics(spec));
    json_object_set_new(v, "state", json_string(vm_state(c, name)));
    set(v, "next", json_object_get(spec, "next"));
    set(v, "host", json_object_get(own, "owner"));
    set(v, "epoch", json_object_get(own, "epoch"));
    set(v, "error", json_object_get(act, "error"));
    set(v, "last_migration", world_get(&c->world, KEY_VM, last));
    return v;
}

static json_t *list_vms(const struct core *c)
{
    json_t *list = json_array();
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        json_array_append_new(list, view_vm(c, name));
        free(name);
    }
    return list;
}

json_t *view_vms(const struct core *c)
{
    return wrap(list_vms(c));
}

/* --- tasks --------------------------------------------------------------------------------- */

json_t *view_task(const struct core *c, const char *id)
{
    const json_t *task = world_get(&c->world, KEY_TASK, id);
    if (!task && str_eq(json_text_of(c->local_task, "id"), id)) {
        task = c->local_task;
    }
    if (!task) {
        return NULL;
    }
    json_t *v = op_task_view(c, task);
    json_object_set_new(v, "gen", json_integer((json_int_t)view_gen(v)));
    return v;
}

static int compare_started(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "started"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "started"));
    return (x > y) - (x < y);
}

/* In the order of time, the newest last; takes @list, whose order is that of random ids. */
static json_t *sort_by_start(json_t *list)
{
    size_t n = json_array_size(list);
    json_t **v = xcalloc(n + 1, sizeof(json_t *));
    json_t *sorted = json_array();
    for (size_t i = 0; i < n; i++) {
        v[i] = json_array_get(list, i);
    }
    qsort(v, n, sizeof(json_t *), compare_started);
    for (size_t i = 0; i < n; i++) {
        json_array_append(sorted, v[i]);
    }
    free(v);
    json_decref(list);
    return sorted;
}

json_t *view_tasks(const struct core *c)
{
    json_t *list = items(c, KEY_TASK, view_task);
    if (c->local_task) {
        json_array_append_new(list, view_task(c, json_text_of(c->local_task, "id")));
    }
    return wrap(sort_by_start(list));
}

uint64_t view_gen(const json_t *view)
{
    _cleanup_free_ char *text = json_format(view);
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a, 64 bit */
    for (const char *p = text; *p; p++) {
        h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    }
    return h >> 12 | 1; /* fits a signed 64-bit JSON number, also for readers with doubles */
}

/* --- status -------------------------------------------------------------------------------- */

static void add_alarm(json_t *list, const char *severity, const char *object, char *text)
{
    json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:n}", "severity", severity, "object",
                                          object, "text", text, "since"));
    free(text);
}

static void pool_alarms(const struct core *c, const json_t *pool, json_t *list)
{
    const char *name = json_text_of(pool, "name");
    uint64_t pending = 0;
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        if (!json_bool_of(brick, "online", false)) {
            add_alarm(list, "warning", name, str_printf("the brick on %s is offline",
                                                    json_text_of(brick, "host")));
        }
        pending += json_u64_of(brick, "heal_pending_files", 0);
    }
    if (!json_bool_of(pool, "quorum", false)) {
        add_alarm(list, "error", name, str_dup("no quorum: guests on it stand still"));
    } else if (pending) {
        add_alarm(list, "notice", name, str_printf("%llu files wait for heal",
                                               (unsigned long long)pending));
    }
    if (json_array_size(json_object_get(pool, "options_drift"))) {
        add_alarm(list, "warning", name, str_dup("volume options were changed by hand; repaired"));
    }
}

static json_t *alarms(const struct core *c, const json_t *hosts, const json_t *pools)
{
    json_t *list = json_array();
    size_t i;
    json_t *v;
    if (c->store_is_lost) {
        add_alarm(list, "error", "store", str_dup("it does not answer: what is shown here is old, and "
                                                  "nothing can be changed"));
    }
    json_array_foreach(hosts, i, v) {
        if (str_eq(json_text_of(v, "state"), "silent")) {
            add_alarm(list, "error", json_text_of(v, "name"), str_dup("its agent is silent"));
        }
    }
    json_array_foreach(pools, i, v) {
        if (str_eq(json_text_of(v, "state"), "ready") && !str_eq(json_text_of(v, "kind"), "dir")) {
            pool_alarms(c, v, list);
        }
    }
    return list;
}

json_t *view_status(const struct core *c)
{
    const json_t *cluster = world_get(&c->world, KEY_ROOT, "cluster");
    const json_t *etcd = smap_get(&c->seen, "etcd");
    json_t *hosts = items(c, KEY_NODE, view_host);
    json_t *pools = items(c, KEY_POOL, view_pool);
    json_t *head = json_object();
    copy(head, cluster, "name");
    copy(head, cluster, "uuid");
    json_object_set_new(head, "hosts", json_integer((json_int_t)json_array_size(hosts)));
    json_object_set_new(head, "etcd",
                        json_pack("{s:I,s:I}", "members",
                                  (json_int_t)json_array_size(json_object_get(etcd, "list")), "healthy",
                                  (json_int_t)json_u64_of(etcd, "healthy", 0)));
    json_t *alarm_list = alarms(c, hosts, pools);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "cluster", head, "hosts", hosts, "pools", pools,
                     "vms", list_vms(c), "networks", items(c, KEY_NETWORK, view_network), "alarms",
                     alarm_list);
}
