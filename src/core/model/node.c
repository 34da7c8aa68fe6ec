/* SPDX-License-Identifier: Apache-2.0 */
#include "core/model/node.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/pool.h"
#include "core/model/vm.h"

struct role {
    const char *name;
    bool bricks;
    bool data;
    bool vms;
};

static const struct role roles[] = {
    {"converged", true, true, true},
    {"storage", true, true, false},
    {"compute", false, false, true},
    {"witness", true, false, false},
};

static const struct role *role_of(const char *name)
{
    for (size_t i = 0; i < ELEMENTS(roles); i++) {
        if (str_eq(roles[i].name, name)) {
            return &roles[i];
        }
    }
    return NULL;
}

bool node_is_role(const char *role)
{
    return role_of(role) != NULL;
}

bool node_has_bricks(const json_t *node)
{
    const struct role *r = role_of(json_text_of(node, "role"));
    return r && r->bricks;
}

bool node_has_data(const json_t *node)
{
    const struct role *r = role_of(json_text_of(node, "role"));
    return r && r->data;
}

bool node_has_vms(const json_t *node)
{
    const struct role *r = role_of(json_text_of(node, "role"));
    return r && r->vms;
}

bool node_is_online(const json_t *node)
{
    return str_eq(json_text_of(node, "state"), "online");
}

bool node_may_run_vms(const json_t *node)
{
    return node_is_online(node) || str_eq(json_text_of(node, "state"), "maintenance");
}

bool node_is_out(const json_t *node)
{
    const char *state = json_text_of(node, "state");
    return str_eq(state, "fencing") || str_eq(state, "fenced");
}

static json_t *own_node(const struct core *c)
{
    return json_incref((json_t *)world_get(&c->world, KEY_NODE, c->host));
}

const json_t *node_get(const struct core *c, const char *host)
{
    if (host && host == c->host) { /* asked for most */
        return basis_memo(c, MEMO_ME, own_node);
    }
    return host ? world_get(&c->world, KEY_NODE, host) : NULL;
}

const json_t *node_seen(const struct core *c, const char *host, const char *what)
{
    const struct record *r = world_part(&c->world, KEY_SEEN, host, what);
    return r ? r->value : NULL;
}

const json_t *node_seen_now(const struct core *c, const char *host, const char *what)
{
    return str_eq(host, c->host) ? smap_get(&c->seen, what) : node_seen(c, host, what);
}

bool node_is_first(const struct core *c, bool (*has)(const json_t *node))
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (node_is_online(it.value) && has(it.value) && !node_is_silent(c, it.name)) {
            return str_eq(it.name, c->host);
        }
    }
    return false;
}

bool node_has_others(const struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host)) {
            return true;
        }
    }
    return false;
}

const json_t *node_find_peer(const json_t *gluster, const json_t *node)
{
    const char *storage = json_text_of(node, "storage");
    const char *name = json_text_of(node, "name");
    size_t i;
    json_t *peer;
    json_array_foreach(json_object_get(gluster, "peers"), i, peer) {
        const char *addr = json_text_of(peer, "addr");
        bool is_named = addr && name && str_starts(addr, name) &&
                        (addr[strlen(name)] == '.' || addr[strlen(name)] == '\0');
        if (addr && (str_eq(addr, storage) || is_named)) {
            return peer;
        }
    }
    return NULL;
}

const json_t *node_uplink_seen(const struct core *c, const char *host)
{
    const json_t *own = str_eq(host, c->host) ? smap_get(&c->seen, "uplink") : NULL;
    return own ? own : node_seen(c, host, "uplink");
}

const char *node_uplink(const struct core *c, const char *host)
{
    const json_t *seen = node_uplink_seen(c, host);
    const char *state = json_text_of(seen, "state");
    bool is_there = json_bool_of(seen, "attached", false);
    return is_there && (str_eq(state, "trial") || str_eq(state, "kept")) ? json_text_of(seen, "nic") : NULL;
}

bool node_some_uplink(const struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const json_t *seen = node_seen(c, it.name, "uplink");
        if (node_has_vms(it.value) && str_eq(json_text_of(seen, "state"), "kept")) {
            return true;
        }
    }
    return false;
}

json_t *node_addresses(const struct core *c)
{
    json_t *addrs = json_object();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        json_object_set(addrs, it.name, json_object_get(it.value, "storage"));
    }
    return addrs;
}

uint64_t node_seen_age_us(const struct core *c, const char *host)
{
    const struct record *r = world_part(&c->world, KEY_SEEN, host, "host");
    return r ? core_time_us(c) - r->changed_us : UINT64_MAX;
}

bool node_was_heard(const struct core *c, const char *host, uint64_t within_us)
{
    const struct record *r = world_part(&c->world, KEY_SEEN, host, "host");
    return r && !core_is_past(c, r->changed_us + within_us);
}

bool node_is_cut_off(const struct core *c, const char *host)
{
    return !str_eq(host, c->host) && json_is_false(json_object_get(smap_get(&c->seen, "reach"), host));
}

/* While the store does not answer, nobody is heard of: then age says nothing. */
bool node_is_silent(const struct core *c, const char *host)
{
    bool is_old = !c->store_is_lost && !node_was_heard(c, host, NODE_SILENT_US + 1);
    return !str_eq(host, c->host) && (is_old || node_is_cut_off(c, host));
}

const char *node_silence(const struct core *c, const char *host, char *buf, size_t size)
{
    uint64_t age = node_seen_age_us(c, host);
    if (age == UINT64_MAX) {
        (void)snprintf(buf, size, "is silent; its agent was never heard of");
    } else {
        (void)snprintf(buf, size, "is silent; its agent was last heard of %llu s ago",
                       (unsigned long long)(age / USEC_PER_SEC));
    }
    return buf;
}

static json_t *list_entry(const struct core *c, const char *name, const json_t *node)
{
    return json_pack("{s:s,s:O,s:O,s:b,s:b}", "name", name, "role", json_object_get(node, "role"),
                     "mgmt", json_object_get(node, "mgmt"), "up",
                     node_was_heard(c, name, NODE_SILENT_US) || str_eq(name, c->host), "leaving",
                     str_eq(json_text_of(node, "state"), "leaving"));
}

/* Insertion by the time of joining; a cluster has tens of hosts. */
static json_t *list_nodes(const struct core *c)
{
    json_t *list = json_array();
    json_t *times = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        json_int_t joined = (json_int_t)json_u64_of(it.value, "joined_ms", 0);
        size_t i = json_array_size(times);
        if (str_eq(json_text_of(it.value, "state"), "joining")) {
            continue;
        }
        while (i > 0 && json_integer_value(json_array_get(times, i - 1)) > joined) {
            i--;
        }
        json_array_insert_new(times, i, json_integer(joined));
        json_array_insert_new(list, i, list_entry(c, it.name, it.value));
    }
    json_decref(times);
    return list;
}

json_t *node_list(const struct core *c)
{
    return json_incref(basis_memo(c, MEMO_NODE_LIST, list_nodes));
}

size_t node_count_staying(const json_t *list)
{
    size_t n = 0;
    size_t i;
    json_t *host;
    json_array_foreach(list, i, host) {
        n += !json_bool_of(host, "leaving", false);
    }
    return n;
}

const json_t *etcd_find_member(const struct core *c, const json_t *node)
{
    _cleanup_free_ char *url = str_printf("https://%s:2380", json_text_of(node, "mgmt"));
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(smap_get(&c->seen, "etcd"), "list"), i, m) {
        if (str_eq(json_text_of(m, "peer_url"), url)) {
            return m;
        }
    }
    return NULL;
}

static bool is_needed_by(const struct core *c, const char *host, const char *vm)
{
    const json_t *own = vm_own(c, vm);
    const json_t *act = vm_act(c, vm);
    bool is_ended = !act || str_eq(json_text_of(act, "state"), "stopped");
    if (vm_mig_is_active(own) &&
        str_eq(json_text_of(json_object_get(own, "mig"), "dst"), host)) {
        return true;
    }
    return str_eq(json_text_of(own, "owner"), host) &&
           (!is_ended || str_eq(json_text_of(vm_spec(c, vm), "desired"), "running"));
}

bool node_is_needed(const struct core *c, const char *host, char *why, size_t size)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (pool_brick_of(it.value, host)) {
            (void)snprintf(why, size, "pool '%s' has a brick here", it.name);
            return true;
        }
    }
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        if (is_needed_by(c, host, vm)) {
            (void)snprintf(why, size, "vm '%s' runs here", vm);
            return true;
        }
    }
    return false;
}

static bool has_started(const json_t *member)
{
    const char *url = json_text_of(member, "client_url");
    return url && *url;
}

bool etcd_must_start(const struct core *c)
{
    const json_t *own = etcd_find_member(c, node_get(c, c->host));
    return own && !has_started(own);
}

bool etcd_is_settled(const struct core *c)
{
    const json_t *seen = smap_get(&c->seen, "etcd");
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(seen, "list"), i, m) {
        if (json_bool_of(m, "learner", false) || !has_started(m)) {
            return false;
        }
    }
    return json_array_size(json_object_get(seen, "list")) && !json_object_get(seen, "step");
}

bool etcd_is_member(const struct core *c, const json_t *node)
{
    const json_t *m = etcd_find_member(c, node);
    return m && has_started(m) && !json_bool_of(m, "learner", false);
}
