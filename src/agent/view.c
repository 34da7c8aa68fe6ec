/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/view.h"

#include <string.h>

#include "adapters/virt/domxml_format.h"
#include "base/str.h"
#include "core/alarms.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
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
    bool is_silent = node_may_run_vms(node) && node_is_silent(c, name);
    json_t *v = json_object();
    copy(v, node, "name");
    copy(v, node, "uuid");
    copy(v, node, "role");
    copy(v, node, "inc");
    json_object_set_new(v, "state", json_string(is_silent ? "silent" : json_text_of(node, "state")));
    json_object_set_new(v, "held", json_boolean(ha_node_is_held(node)));
    _cleanup_free_ char *waits = ha_return_text(c, name);
    json_object_set_new(v, "waits", waits ? json_string(waits) : json_null());
    json_object_set_new(v, "addresses", json_pack("{s:O,s:O}", "mgmt", json_object_get(node, "mgmt"),
                                                  "storage", json_object_get(node, "storage")));
    for (size_t i = 0; i < ELEMENTS(facts_copied); i++) {
        copy(v, facts, facts_copied[i]);
    }
    copy(v, facts, "capabilities");
    json_object_set_new(v, "etcd", json_string(etcd_is_member(c, node) ? "member" : "client"));
    json_object_set_new(v, "vms", vms_on(c, name));
    const json_t *foreign = json_object_get(node_seen(c, name, "others"), "foreign");
    json_object_set_new(v, "foreign_domains", foreign ? json_incref((json_t *)foreign) : json_array());
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
        if (pool_brick_has_no_port(c, name, host)) {
            json_object_set_new(v, "no_port", json_true());
        }
        set(v, "heal_pending_files", node_is_silent(c, host) ? NULL
                                     : json_object_get(seen, "heal_pending_files"));
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

static json_t *view_ha(const struct core *c, const char *name, const json_t *pool)
{
    const char *reason = NULL;
    bool is_on = ha_pool_is_on(c, name);
    if (pool_is_dir(pool)) {
        reason = "local storage: its disks die with the host";
    } else if (json_array_size(json_object_get(pool, "bricks")) < HA_FENCERS_MAX) {
        reason = "two bricks: three hosts must agree";
    } else if (str_eq(json_text_of(pool, "ha"), "preparing")) {
        reason = "being switched on";
    } else if (!is_on) {
        reason = "switch it on with 'mortar pool ha'";
    }
    json_t *v = json_pack("{s:b,s:s}", "on", is_on, "profile", ha_timing(c)->profile);
    if (reason) {
        json_object_set_new(v, "reason", json_string(reason));
    }
    return v;
}

json_t *view_pool(const struct core *c, const char *name)
{
    const json_t *pool = pool_get(c, name);
    if (!pool) {
        return NULL;
    }
    const json_t *mount = any_mount(c, pool, name);
    const json_t *drift = pool_drift(c, name);
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
    json_object_set_new(v, "ha", view_ha(c, name, pool));
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
        const char *nic = node_uplink(c, it.name);
        const char *state = json_text_of(node_uplink_seen(c, it.name), "state");
        if (nic) {
            json_array_append_new(list, json_pack("{s:s,s:s,s:b}", "host", it.name, "nic", nic,
                                                  "confirmed", str_eq(state, "kept")));
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

/* Why guests do not reach the world, or not all of them; null when they do. */
static json_t *view_outside(const struct core *c, const json_t *uplinks)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    size_t n = json_array_size(uplinks);
    if (!n) {
        return json_string("no uplink: guests reach each other on all hosts, not the outside world");
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (node_has_vms(it.value) && !node_uplink(c, it.name)) {
            sbuf_printf(&b, "%s%s", b.len ? ", " : "no uplink on ", it.name);
        }
    }
    if (b.len) {
        sbuf_printf(&b, ": guests there reach neither the outside world nor those on hosts with one");
    }
    return b.len ? json_string(b.data) : json_null();
}

json_t *view_network(const struct core *c, const char *name)
{
    const json_t *network = world_get(&c->world, KEY_NETWORK, name);
    if (!network) {
        return NULL;
    }
    json_t *uplinks = view_uplinks(c);
    json_t *v = json_object();
    copy(v, network, "name");
    copy(v, network, "bridge");
    json_object_set_new(v, "uplink", name_uplinks(uplinks));
    json_object_set(v, "uplinks", uplinks);
    json_object_set_new(v, "outside", view_outside(c, uplinks));
    json_decref(uplinks);
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

/* @waiting: of ha_waiting() */
static json_t *vm_with(const struct core *c, const char *name, const json_t *waiting)
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
    json_object_set_new(v, "ha", json_string(policy_name(policy_of(spec))));
    json_object_set_new(v, "priority", json_string(priority_name(priority_of(spec))));
    set(v, "next", json_object_get(spec, "next"));
    set(v, "host", json_object_get(own, "owner"));
    set(v, "epoch", json_object_get(own, "epoch"));
    set(v, "waiting", json_object_get(waiting, name));
    set(v, "error", json_object_get(act, "error"));
    set(v, "crashes", vm_crashes(act) ? json_object_get(act, "crashes") : NULL);
    set(v, "last_migration", world_get(&c->world, KEY_VM, last));
    return v;
}

json_t *view_vm(const struct core *c, const char *name)
{
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    return vm_with(c, name, waiting);
}

static json_t *list_vms(const struct core *c)
{
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    json_t *list = json_array();
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        json_array_append_new(list, vm_with(c, name, waiting));
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

static json_t *view_alarms(const struct core *c)
{
    json_t *list = alarms_list(c);
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        json_object_del(a, "key");
    }
    return list;
}

static json_int_t count_foreign(const json_t *hosts)
{
    size_t n = 0;
    size_t i;
    json_t *host;
    json_array_foreach(hosts, i, host) {
        n += json_array_size(json_object_get(host, "foreign_domains"));
    }
    return (json_int_t)n;
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
    json_object_set_new(head, "foreign_domains", json_integer(count_foreign(hosts)));
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "cluster", head, "hosts", hosts, "pools", pools,
                     "vms", list_vms(c), "networks", items(c, KEY_NETWORK, view_network), "alarms",
                     view_alarms(c));
}
