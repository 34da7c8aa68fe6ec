/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/op.h"
#include "core/plan/plan.h"
#include "core/restore.h"

/* How often this host looks at itself without being told of a change. */
#define OBSERVE_HOST_US (30 * USEC_PER_SEC)
#define OBSERVE_DOMAINS_US (10 * USEC_PER_SEC)
#define OBSERVE_GLUSTER_US (60 * USEC_PER_SEC) /* 0.1 s of CPU; the glance says when it is due */
#define OBSERVE_GLUSTER_UNWELL_US (10 * USEC_PER_SEC)
#define OBSERVE_GLUSTER_FAST_US (1 * USEC_PER_SEC)
#define GLANCE_US (5 * USEC_PER_SEC)
#define OBSERVE_REACH_US (5 * USEC_PER_SEC)
#define OBSERVE_POOL_US (10 * USEC_PER_SEC)
#define OBSERVE_POOL_AWAY_US (2 * USEC_PER_SEC) /* its mount has no quorum: the end of that is to be noticed */
#define JUST_LET_IN_US (10 * USEC_PER_SEC)
#define FEW_TO_HEAL 1000
#define OBSERVE_ETCD_US (20 * USEC_PER_SEC)
#define NET_APPLY_US (60 * USEC_PER_SEC)
#define OBSERVE_UPLINK_US (5 * USEC_PER_SEC)
#define OBSERVE_TRIAL_US (1 * USEC_PER_SEC)
#define FAST_US (500 * USEC_PER_MSEC) /* while something is being brought up */

/* Is storage being brought up here? Tasks of machines and images do not change it, and a migration
 * must not compete with looks at it. */
static bool is_settling(const struct core *c)
{
    json_t *running = op_running(c);
    const char *id;
    json_t *task;
    json_object_foreach(running, id, task) {
        if (str_starts(json_text_of(task, "kind"), "pool.")) {
            return true;
        }
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (str_eq(json_text_of(it.value, "state"), "leaving")) {
            return true;
        }
    }
    return c->local_task && str_eq(json_text_of(c->local_task, "state"), "running");
}

/* A host looks at the pools it has a brick of, must mount, or still has mounted. */
static bool is_concerned(const struct core *c, const char *name, const json_t *pool)
{
    _cleanup_free_ char *what = str_printf("pool/%s", name);
    const json_t *mount = json_object_get(smap_get(&c->seen, what), "mount");
    return pool_brick_of(pool, c->host) || pool_wants_mount(c, pool, c->host) ||
           str_eq(json_text_of(mount, "state"), "mounted");
}

static bool look(struct core *c, const char *id, const char *name, uint64_t pause_us)
{
    return act_is_due(c, id, pause_us) && act_try(c, id, name, json_object(), pause_us);
}

/* Often while the membership changes, or when it was planned for other hosts than there are now. */
static void plan_observe_etcd(struct core *c)
{
    if (!act_is_due(c, "observe/etcd", FAST_US)) {
        return;
    }
    json_t *hosts = node_list(c);
    size_t staying = node_count_staying(hosts);
    const json_t *planned_for = json_object_get(smap_get(&c->seen, "etcd"), "planned_for");
    bool is_current = etcd_is_settled(c) &&
                      json_integer_value(planned_for) == (json_int_t)staying;
    (void)act_try(c, "observe/etcd", "observe.etcd", json_pack("{s:o}", "hosts", hosts),
                  is_current ? OBSERVE_ETCD_US : FAST_US);
}

/* Only where there is one: a look at the host, the task that made it, or this host's word of before
 * a reboot has told. */
static void plan_observe_uplink(struct core *c)
{
    const json_t *now = smap_get(&c->seen, "uplink");
    const json_t *seen = now ? now : node_seen(c, c->host, "uplink");
    bool is_trial = str_eq(json_text_of(seen, "state"), "trial");
    if (json_object_size(seen) || json_bool_of(smap_get(&c->seen, "host"), "uplink", false)) {
        (void)look(c, "observe/uplink", "observe.uplink",
                   is_trial ? OBSERVE_TRIAL_US : OBSERVE_UPLINK_US);
    }
}

static bool gluster_is_well(const struct core *c)
{
    const json_t *seen = smap_get(&c->seen, "gluster");
    size_t i;
    json_t *peer;
    const char *volume;
    json_t *is_online;
    bool is_well = json_bool_of(seen, "ready", false);
    json_array_foreach(json_object_get(seen, "peers"), i, peer) {
        is_well = is_well && json_bool_of(peer, "connected", false);
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) { /* plan_known() waits for what is missing */
        is_well = is_well && !pool_is_unknown_here(c, it.name, it.value);
    }
    json_object_foreach(json_object_get(seen, "bricks"), volume, is_online) {
        is_well = is_well && json_is_true(is_online);
    }
    return is_well && !json_object_get(seen, "portless");
}

/* A glance at glusterd's files is cheap and finds most changes; asking glusterd finds the rest. */
static void plan_observe_gluster(struct core *c, bool fast)
{
    bool is_well = gluster_is_well(c);
    bool is_rejoining = ha_node_is_rejoining(node_get(c, c->host));
    uint64_t pause_us = is_rejoining && !ha_knows_bricks(c) ? 0 : is_well ? OBSERVE_GLUSTER_US : OBSERVE_GLUSTER_UNWELL_US;
    (void)look(c, "observe/glance", "observe.glance", fast ? FAST_US : GLANCE_US);
    (void)look(c, "observe/gluster", "observe.gluster", fast ? OBSERVE_GLUSTER_FAST_US : pause_us);
}

/* What etcd tells of a host that has lost its power is old by up to NODE_SILENT_US: ask it. */
static void plan_observe_reach(struct core *c)
{
    if (!act_is_due(c, "observe/reach", OBSERVE_REACH_US)) {
        return;
    }
    json_t *others = node_addresses(c);
    json_object_del(others, c->host);
    (void)act_try(c, "observe/reach", "observe.reach", json_pack("{s:o}", "hosts", others),
                  OBSERVE_REACH_US);
}

static void plan_observe_host(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    if (act_is_due(c, "observe/host", OBSERVE_HOST_US)) {
        json_t *args = json_pack("{s:O*,s:O*,s:b}", "last", smap_get(&c->seen, "host"), "storage",
                                 json_object_get(me, "storage"), "has_vms", node_has_vms(me));
        (void)act_try(c, "observe/host", "observe.host", args, OBSERVE_HOST_US);
    }
}

static void plan_observe_domains(struct core *c)
{
    if (node_has_vms(node_get(c, c->host)) && !vm_list_may_wait(c) &&
        look(c, "observe/domains", "observe.domains", c->domains_stale ? 0 : OBSERVE_DOMAINS_US)) {
        c->domains_stale = false;
    }
}

/* A host that was let in waits for the heal of its bricks (T11), so those that have bricks there tell often what is
 * left. A look reads three directories of the own brick and, by two short children, asks the mount for its state and
 * its space: a lookup and a statfs at each brick, nothing of glusterd or a heal daemon. Those directories are as long as what
 * is left: where that is much, it is looked at as always until it is little. */
static bool is_heal_awaited(const struct core *c, const char *name, const json_t *pool)
{
    _cleanup_free_ char *what = str_printf("pool/%s", name);
    const json_t *brick = json_object_get(smap_get(&c->seen, what), "brick");
    bool is_mine = pool_brick_of(pool, c->host) || ha_node_is_rejoining(node_get(c, c->host));
    if (!is_mine || !ha_pool_is_on(c, name) || json_u64_of(brick, "heal_pending_files", 0) > FEW_TO_HEAL) {
        return false;
    }
    _cleanup_json_ json_t *let_in = ha_let_in(c);
    return let_in != NULL;
}

/* What T11 of another or of this host asks for, and nobody else: most looks carry nothing. */
static json_t *proved_by_look(const struct core *c, const char *name, const json_t *pool)
{
    bool is_asked = pool_brick_of(pool, c->host) || ha_node_is_rejoining(node_get(c, c->host));
    return is_asked && ha_pool_is_on(c, name) ? ha_let_in(c) : NULL;
}

/* Others open their filters to this host within moments: its T11 waits for a look that finds its mount's quorum there. */
static bool is_just_let_in(const struct core *c)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", c->host);
    const struct record *me = world_record(&c->world, key);
    return me && ha_node_is_rejoining(me->value) && ha_node_is_open(me->value) &&
           !core_is_past(c, me->changed_us + JUST_LET_IN_US);
}

static uint64_t pool_pause_us(const struct core *c, const char *name, const json_t *pool, bool fast)
{
    if (fast) {
        return FAST_US;
    }
    if (pool_is_cut_off(c, name)) {
        return is_just_let_in(c) ? FAST_US : OBSERVE_POOL_AWAY_US;
    }
    return is_heal_awaited(c, name, pool) ? HA_RETURN_LOOK_US : OBSERVE_POOL_US;
}

static void plan_observe_storage(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    bool fast = is_settling(c);
    if (vm_is_switching_over(c)) {
        return;
    }
    if (node_has_bricks(me)) {
        plan_observe_gluster(c, fast);
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (is_concerned(c, it.name, it.value)) {
            _cleanup_free_ char *id = str_printf("observe/pool/%s", it.name);
            uint64_t pause_us = pool_pause_us(c, it.name, it.value, fast);
            if (act_is_due(c, id, pause_us)) {
                (void)act_try(c, id, "observe.pool", json_pack("{s:O,s:o*}", "pool", it.value, "let_in",
                                                               proved_by_look(c, it.name, it.value)), pause_us);
            }
        }
    }
}

void plan_observe(struct core *c)
{
    basis_run(c, PLAN_LOOK_HOST, plan_observe_host);
    if (node_get(c, c->host)) {
        basis_run(c, PLAN_LOOK_ETCD, plan_observe_etcd);
        basis_run(c, PLAN_LOOK_REACH, plan_observe_reach);
        basis_run(c, PLAN_LOOK_UPLINK, plan_observe_uplink);
        basis_run(c, PLAN_LOOK_DOMAINS, plan_observe_domains);
        basis_run(c, PLAN_LOOK_STORAGE, plan_observe_storage);
    }
}

/* What this host said of pools that are gone, also in an earlier life of its agent, and failures
 * that were followed by a success. */
static void take_back(struct core *c, struct commit *t)
{
    _cleanup_free_ char *prefix = str_printf("%s%s/", KEY_SEEN, c->host);
    for (struct world_iter it = {0}; world_next(&c->world, prefix, &it);) {
        const char *pool = pool_of_seen(it.name);
        /* Nobody may fail of it any more; and who begins anew has not met a mute libvirtd yet. */
        bool is_over = str_starts(it.name, "failed/") || str_eq(it.name, "libvirt");
        if ((is_over || (pool && !pool_get(c, pool))) && !smap_get(&c->seen, it.name)) {
            commit_del(c, t, prefix, it.name);
        }
    }
}

void plan_publish(struct core *c)
{
    if (!act_is_due(c, "publish", 0) || vm_is_switching_over(c)) {
        return;
    }
    struct commit t = commit_new();
    basis_reads_public(c);
    for (size_t i = 0; i < c->seen.n; i++) {
        if (basis_is_private(c->seen.items[i].key)) {
            continue;
        }
        json_t *value = c->seen.items[i].value;
        if (!json_equal(value, node_seen(c, c->host, c->seen.items[i].key))) {
            _cleanup_free_ char *name = str_printf("%s/%s", c->host, c->seen.items[i].key);
            commit_put(c, &t, KEY_SEEN, name, json_incref(value));
        }
    }
    take_back(c, &t);
    if (json_object_size(t.puts) || json_array_size(t.dels)) {
        (void)commit_try(c, "publish", &t);
        return;
    }
    commit_drop(&t);
}

/* By the record `ha` alone, which the commits below compare: pools may be of long ago, or unheard of (op_ha.c). */
static bool is_ha_used(const struct core *c)
{
    const json_t *ha = world_get(&c->world, KEY_ROOT, "ha");
    return ha ? json_object_size(ha) > 0 : ha_is_on(c);
}

/* It booted while failover was being prepared, and that was given up: nobody will end the flush. */
static void end_vain_flush(struct core *c, const json_t *me)
{
    if (!ha_node_is_flushing(me) || is_ha_used(c)) {
        return;
    }
    json_t *next = json_deep_copy(me);
    struct commit t = commit_new();
    json_object_del(next, "flush");
    commit_guard(c, &t, KEY_ROOT, "ha");
    commit_put(c, &t, KEY_NODE, c->host, next);
    (void)commit_try(c, "node/flushed", &t);
}

/* T10 and the end of joining: the node record follows what this host's agent knows of itself. */
static void plan_node(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    const char *boot_id = json_text_of(c->self, "boot_id");
    bool is_rebooted = !str_eq(json_text_of(me, "boot_id"), boot_id);
    if (!node_may_run_vms(me) || !is_rebooted) {
        end_vain_flush(c, me);
        return;
    }
    json_t *next = json_deep_copy(me);
    struct commit t = commit_new();
    json_object_set_new(next, "boot_id", json_string(boot_id));
    json_object_set_new(next, "inc", json_integer((json_int_t)json_u64_of(me, "inc", 0) + 1));
    if (is_ha_used(c)) {
        json_object_set_new(next, "flush", json_true());
    } else {
        json_object_del(next, "flush");
    }
    commit_guard(c, &t, KEY_ROOT, "ha");
    commit_put(c, &t, KEY_NODE, c->host, next);
    (void)commit_try(c, "node/reboot", &t);
}

static void plan_peer(struct core *c, const char *host, const json_t *node)
{
    const char *addr = json_text_of(node, "storage");
    bool is_leaving = str_eq(json_text_of(node, "state"), "leaving");
    bool is_peer = node_find_peer(smap_get(&c->seen, "gluster"), node) != NULL;
    _cleanup_free_ char *id = str_printf("peer/%s", host);
    if (!act_is_due(c, id, ACT_PAUSE_US)) {
        return;
    }
    if (is_leaving && is_peer) {
        (void)act_try(c, id, "gluster.detach", json_pack("{s:s}", "addr", addr), ACT_PAUSE_US);
    } else if (!is_leaving && !is_peer &&
               json_bool_of(node_seen(c, host, "gluster"), "ready", false)) {
        (void)act_try(c, id, "gluster.probe", json_pack("{s:s}", "addr", addr), ACT_PAUSE_US);
    }
}

/* The first host of the trusted pool lets the others in and out; doing so again is harmless. */
static void plan_peers(struct core *c)
{
    if (!json_bool_of(smap_get(&c->seen, "gluster"), "ready", false) ||
        !node_is_first(c, node_has_bricks)) {
        return;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && node_has_bricks(it.value)) {
            plan_peer(c, it.name, it.value);
        }
    }
}

static bool has_any_role(const json_t *node)
{
    return true;
}

/* One host drives the etcd membership, one step at a time; the one that was added starts itself. */
static void plan_members(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    const json_t *own = etcd_find_member(c, me);
    if (own && etcd_must_start(c) && !str_eq(json_text_of(me, "state"), "leaving")) {
        (void)act_try(c, "etcd/start", "etcd.setup",
                      json_pack("{s:s,s:O,s:O}", "name", c->host, "address",
                                json_object_get(me, "mgmt"), "member", own),
                      ACT_PAUSE_US);
    }
    json_t *step = json_object_get(smap_get(&c->seen, "etcd"), "step");
    if (step && node_is_first(c, has_any_role)) {
        (void)act_try(c, "etcd/member", "etcd.member", json_incref(step), USEC_PER_SEC);
    }
}

static void plan_networks(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    if (!node_has_vms(me) || str_eq(json_text_of(me, "state"), "leaving")) {
        return;
    }
    json_t *peers = json_array();
    const char *nic = node_uplink(c, c->host);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        /* A host with an uplink has no tunnel, or there would be a loop: docs/adr/0007. */
        if (!str_eq(it.name, c->host) && node_has_vms(it.value) && !node_uplink(c, it.name)) {
            json_array_append(peers, json_object_get(it.value, "storage"));
        }
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NETWORK, &it);) {
        _cleanup_free_ char *what = str_printf("net/%s", it.name);
        const json_t *seen = smap_get(&c->seen, what);
        bool is_current = json_equal(json_object_get(seen, "peers"), peers) &&
                          str_eq(json_text_of(seen, "uplink"), nic);
        uint64_t pause_us = is_current ? NET_APPLY_US : ACT_PAUSE_US;
        if (act_is_due(c, what, pause_us)) {
            json_t *args = json_pack("{s:O,s:O,s:O,s:s*}", "network", it.value, "local",
                                     json_object_get(me, "storage"), "peers", peers, "uplink", nic);
            (void)act_try(c, what, "net.apply", args, pause_us);
        }
    }
    json_decref(peers);
}

void plan_host(struct core *c)
{
    if (!node_get(c, c->host)) {
        return;
    }
    if (restore_stage(c) != RESTORE_HOSTS) { /* T10 is for a record that is true */
        basis_run(c, PLAN_NODE, plan_node);
        basis_run(c, PLAN_PEERS, plan_peers);
    }
    basis_run(c, PLAN_MEMBERS, plan_members);
    basis_run(c, PLAN_NETWORKS, plan_networks);
}
