/* SPDX-License-Identifier: Apache-2.0
 * init, join and leave. They are local tasks: kept in a file on this host, because the store comes
 * up in the middle of them. */
#include "base/str.h"
#include "core/ha/ha.h"
#include "core/ha/ha_request.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/op/op_uplink.h"
#include "core/op/ops.h"

#define MINUTES(n) ((n) * 60 * USEC_PER_SEC)

static enum op_verdict run_simple(struct op *o, const char *action)
{
    return op_do(o, "", action, json_pack("{s:O,s:O}", "args", o->args, "data", o->data), NULL);
}

/* Keeps the action's result in the task's data, for later phases. */
static enum op_verdict run_into_data(struct op *o, const char *action)
{
    const json_t *result = NULL;
    enum op_verdict v = op_do(o, "", action,
                              json_pack("{s:O,s:O}", "args", o->args, "data", o->data), &result);
    if (v == OP_NEXT && json_is_object(result)) {
        json_object_update(o->data, (json_t *)result);
    }
    return v;
}

static enum op_verdict preflight(struct op *o)
{
    return run_into_data(o, "host.preflight");
}

static enum op_verdict make_identity(struct op *o)
{
    return run_into_data(o, "pki.init");
}

static enum op_verdict start_store(struct op *o)
{
    return run_simple(o, "etcd.first");
}

static enum op_verdict connect_store(struct op *o)
{
    enum op_verdict v = run_simple(o, "store.connect");
    if (v == OP_NEXT && (!o->c->world.is_listed || !o->c->host)) {
        op_note(o, "waiting for the cluster's store");
        return OP_WAIT;
    }
    return v;
}

static enum op_verdict setup_gluster(struct op *o)
{
    const char *role = json_text_of(o->data, "role");
    if (str_eq(role, "compute")) {
        return OP_NEXT;
    }
    return run_simple(o, "gluster.setup");
}

static enum op_verdict setup_virt(struct op *o)
{
    const char *role = json_text_of(o->data, "role");
    if (str_eq(role, "storage") || str_eq(role, "witness")) {
        return OP_NEXT;
    }
    return run_simple(o, "virt.setup");
}

/* The highest INC of the marks HOST/INC/BY of this kind, or 0. */
static uint64_t highest_mark(const struct core *c, const char *kind)
{
    uint64_t highest = 0;
    _cleanup_free_ char *prefix = str_printf("%s%s/", kind, c->host);
    for (struct world_iter it = {0}; world_next(&c->world, prefix, &it);) {
        _cleanup_free_ char *number = str_printf("%.*s", (int)strcspn(it.name, "/"), it.name);
        uint64_t inc = 0;
        if (str_parse_u64(number, INT64_MAX - 1, &inc, NULL) == 0 && inc > highest) {
            highest = inc;
        }
    }
    return highest;
}

/* What failover knows to be cut, drained and washed it knows by name and incarnation, and keeps: whoever was here under
 * this name before must not have left proofs for the next one. */
static json_int_t first_inc(const struct core *c)
{
    uint64_t highest = json_u64_of(world_get(&c->world, KEY_LEFT, c->host), "inc", 0);
    const char *const kinds[] = {KEY_CUT, KEY_ACK, KEY_WASHED}; /* of a host that left before KEY_LEFT was written */
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        uint64_t mark = highest_mark(c, kinds[i]);
        highest = mark > highest ? mark : highest;
    }
    return (json_int_t)highest + 1;
}

static json_t *node_record(const struct op *o, const char *state)
{
    return json_pack("{s:s,s:I,s:O,s:O,s:s,s:I,s:O,s:O,s:O}", "name", o->c->host, "joined_ms",
                     (json_int_t)(o->c->wall_us / USEC_PER_MSEC), "uuid",
                     json_object_get(o->c->self, "uuid"), "role", json_object_get(o->data, "role"),
                     "state", state, "inc", first_inc(o->c), "boot_id", json_object_get(o->c->self, "boot_id"),
                     "mgmt", json_object_get(o->data, "mgmt"), "storage",
                     json_object_get(o->data, "storage"));
}

static enum op_verdict register_cluster(struct op *o)
{
    struct core *c = o->c;
    if (node_is_online(node_get(c, c->host))) {
        return OP_NEXT;
    }
    struct commit t = commit_new();
    commit_put(c, &t, KEY_ROOT, "cluster",
               json_pack("{s:O,s:O,s:b,s:I}", "name", json_object_get(o->args, "name"), "uuid",
                         json_object_get(o->data, "cluster_uuid"), "emulation",
                         json_bool_of(o->args, "allow_emulation", false), "created_ms",
                         (json_int_t)(c->wall_us / USEC_PER_MSEC)));
    commit_put(c, &t, KEY_NODE, c->host, node_record(o, "online"));
    commit_put(c, &t, KEY_NETWORK, "default",
               json_pack("{s:s,s:s,s:i}", "name", "default", "bridge", NETWORK_BRIDGE, "vni", 4201));
    return op_commit(o, "", &t);
}

static const struct op_phase init_phases[] = {
    {"preflight", "Check this host", preflight, MINUTES(2)},
    {"identity", "Make the cluster's certificates", make_identity, MINUTES(1)},
    {"etcd", "Start the cluster's store", start_store, MINUTES(2)},
    {"store", "Connect to the store", connect_store, MINUTES(1)},
    {"gluster", "Start GlusterFS", setup_gluster, MINUTES(2)},
    {"libvirt", "Set up libvirt", setup_virt, MINUTES(2)},
    {"register", "Register the cluster", register_cluster, MINUTES(1)},
    {"uplink", "Give guests the way out", op_uplink_take, MINUTES(1)},
    {0},
};

const struct op_kind op_init = {"init", init_phases, NULL, false};

static enum op_verdict enrol(struct op *o)
{
    return run_into_data(o, "join.enrol");
}

static enum op_verdict become_online(struct op *o)
{
    struct core *c = o->c;
    const json_t *me = node_get(c, c->host);
    if (node_is_online(me)) {
        return OP_NEXT;
    }
    if (!me) {
        return op_fail(o, STATE, "the cluster has no record of this host");
    }
    struct commit t = commit_new();
    commit_put(c, &t, KEY_NODE, c->host, node_record(o, "online"));
    commit_guard(c, &t, KEY_LEFT, c->host);
    return op_commit(o, "", &t);
}

static bool is_connected(const struct core *c, const json_t *node)
{
    return json_bool_of(node_find_peer(smap_get(&c->seen, "gluster"), node), "connected", false);
}

static enum op_verdict wait_peers(struct op *o)
{
    const struct core *c = o->c;
    if (!node_has_bricks(node_get(c, c->host))) {
        return OP_NEXT;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && node_has_bricks(it.value) && node_is_online(it.value) &&
            !is_connected(c, it.value)) {
            op_note(o, "waiting for glusterd on %s", it.name);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

/* The change of the membership that this host's arrival led to is over. */
static enum op_verdict wait_members(struct op *o)
{
    const json_t *seen = smap_get(&o->c->seen, "etcd");
    if (!etcd_is_settled(o->c)) {
        op_note(o, "the store has %zu members and gains one",
                json_array_size(json_object_get(seen, "list")));
        return OP_WAIT;
    }
    return OP_NEXT;
}

static const struct op_phase join_phases[] = {
    {"preflight", "Check this host", preflight, MINUTES(2)},
    {"enrol", "Ask the cluster for a certificate", enrol, MINUTES(1)},
    {"store", "Connect to the store", connect_store, MINUTES(1)},
    {"gluster", "Start GlusterFS", setup_gluster, MINUTES(2)},
    {"libvirt", "Set up libvirt", setup_virt, MINUTES(2)},
    {"online", "Enter the cluster", become_online, MINUTES(1)},
    {"peers", "Meet the storage peers", wait_peers, MINUTES(2)},
    {"members", "Join the cluster's store", wait_members, MINUTES(3)},
    {"uplink", "Give guests the way out", op_uplink_take, MINUTES(1)},
    {0},
};

const struct op_kind op_join = {"join", join_phases, NULL, false};

/* --- leaving ------------------------------------------------------------------------------- */

/* The others see the state and take this host out of the trusted pool and the store: a member cannot
 * safely remove itself, and a glusterd cannot detach itself. */
static enum op_verdict retire(struct op *o)
{
    struct core *c = o->c;
    const json_t *me = c->host ? node_get(c, c->host) : NULL;
    if (!me) {
        return OP_NEXT;
    }
    json_t *bridges = json_array(); /* for the last phase, when the records are gone */
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NETWORK, &it);) {
        json_array_append(bridges, json_object_get(it.value, "bridge"));
    }
    json_object_set_new(o->data, "bridges", bridges);
    if (str_eq(json_text_of(me, "state"), "leaving")) {
        return OP_NEXT;
    }
    char why[128];
    if (node_is_needed(c, c->host, why, sizeof(why))) {
        return op_fail(o, STATE, "this host cannot leave: %s", why);
    }
    if (ha_request_leave(c, &o->err) < 0) {
        return OP_FAIL;
    }
    json_t *next = json_deep_copy(me);
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string("leaving"));
    (void)ha_unsettled(c, &t); /* only its compares, of what was just seen */
    commit_put(c, &t, KEY_NODE, c->host, next);
    commit_guard(c, &t, KEY_USE "node/", c->host);
    return op_commit(o, "", &t);
}

static enum op_verdict wait_unused(struct op *o)
{
    const struct core *c = o->c;
    basis_reads(&c->seen, "pool/");
    for (size_t i = 0; c->host && i < c->seen.n; i++) {
        const json_t *mount = json_object_get(c->seen.items[i].value, "mount");
        if (str_starts(c->seen.items[i].key, "pool/") &&
            str_eq(json_text_of(mount, "state"), "mounted")) {
            op_note(o, "waiting for the end of mount %s", c->seen.items[i].key);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

static enum op_verdict wait_detached(struct op *o)
{
    const struct core *c = o->c;
    const json_t *me = node_get(c, c->host);
    for (struct world_iter it = {0}; me && world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && node_find_peer(node_seen(c, it.name, "gluster"), me)) {
            op_note(o, "%s still has this host as storage peer", it.name);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

/* The last host takes the store with it. */
static enum op_verdict wait_removed(struct op *o)
{
    const struct core *c = o->c;
    const json_t *me = c->host ? node_get(c, c->host) : NULL;
    const json_t *seen = smap_get(&c->seen, "etcd");
    if (!me || !node_has_others(c)) {
        return OP_NEXT;
    }
    if (!json_array_size(json_object_get(seen, "list")) || etcd_find_member(c, me)) {
        op_note(o, "the store still has a member on this host");
        return OP_WAIT;
    }
    return OP_NEXT;
}

static enum op_verdict forget_host(struct op *o)
{
    struct core *c = o->c;
    if (!c->host || !node_get(c, c->host)) {
        return OP_NEXT;
    }
    struct commit t = commit_new();
    _cleanup_free_ char *prefix = str_printf("%s%s/", KEY_SEEN, c->host);
    for (struct world_iter it = {0}; world_next(&c->world, prefix, &it);) {
        commit_del(c, &t, prefix, it.name);
    }
    commit_put(c, &t, KEY_LEFT, c->host,
               json_pack("{s:I}", "inc", (json_int_t)json_u64_of(node_get(c, c->host), "inc", 0)));
    commit_del(c, &t, KEY_NODE, c->host);
    commit_del(c, &t, KEY_USE "node/", c->host);
    return op_commit(o, "", &t);
}

static enum op_verdict restore_host(struct op *o)
{
    return run_simple(o, "host.restore");
}

/* Nothing of the old cluster may stay in memory: when this phase is saved the agent ends and is
 * started anew, as that of a host without a cluster. */
static enum op_verdict start_anew(struct op *o)
{
    return o->c->host ? OP_WAIT : OP_NEXT;
}

static const struct op_phase leave_phases[] = {
    {"retire", "Announce the leave", retire, MINUTES(1)},
    {"mounts", "Unmount the pools", wait_unused, MINUTES(2)},
    {"peers", "Leave the trusted pool", wait_detached, MINUTES(3)},
    {"members", "Leave the cluster's store", wait_removed, MINUTES(3)},
    {"forget", "Remove this host's records", forget_host, MINUTES(1)},
    {"restore", "Give this host back", restore_host, MINUTES(2)},
    {"restart", "Start the agent anew", start_anew, MINUTES(1)},
    {0},
};

const struct op_kind op_leave = {"leave", leave_phases, NULL, false};
