/* SPDX-License-Identifier: Apache-2.0
 * This host's guard: it gets its configuration from the records, and what it hears becomes the
 * record silent/HOST, on which T1 rests. */
#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"

static json_t *addresses_of(const json_t *node)
{
    json_t *addrs = json_array();
    json_array_append(addrs, json_object_get(node, "mgmt"));
    if (!json_equal(json_object_get(node, "mgmt"), json_object_get(node, "storage"))) {
        json_array_append(addrs, json_object_get(node, "storage"));
    }
    return addrs;
}

/* That failover is off may be something old that was read (I7): what guards this host and what fences others is
 * taken away only after a commit has compared the record `ha`, which each switching on writes, and the pools that
 * it names: who learns of that record by a conflict may know the pools as they were long ago. */
static bool is_off_for_sure(struct core *c)
{
    const char *pool;
    json_t *value;
    _cleanup_free_ char *id =
        str_printf("ha/off-sure/%llu", (unsigned long long)world_mod(&c->world, KEY_ROOT, "ha"));
    struct commit t = commit_new();
    commit_guard(c, &t, KEY_ROOT, "ha");
    json_object_foreach((json_t *)world_get(&c->world, KEY_ROOT, "ha"), pool, value) {
        commit_guard(c, &t, KEY_POOL, pool);
    }
    return commit_confirms(c, id, &t);
}

static json_t *config_of(const struct core *c, bool is_on)
{
    const struct ha_timing *t = ha_timing(c);
    json_t *hosts = json_array();
    json_t *denies = json_object();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        json_array_append_new(hosts, json_pack("{s:s,s:b,s:o}", "name", it.name, "fencer",
                                               ha_is_fencer(c, it.name), "addrs",
                                               addresses_of(it.value)));
        if (ha_node_is_out(it.value)) {
            json_object_set(denies, it.name, json_object_get(it.value, "inc"));
        }
    }
    return json_pack("{s:s,s:O,s:b,s:[I,I,I,I,I],s:o,s:o}", "self", c->host, "inc",
                     json_object_get(node_get(c, c->host), "inc"), "enforce", is_on, "times",
                     (json_int_t)t->beat_us, (json_int_t)t->silent_us, (json_int_t)t->freeze_us,
                     (json_int_t)t->watchdog_us, (json_int_t)t->promise_us, "hosts", hosts, "denies",
                     denies);
}

/* The guard keeps its configuration over its own restarts; the agent's restart brings it again. */
static void configure(struct core *c)
{
    struct ha_view *v = ha_view(c);
    const json_t *said = ha_guard_seen(c);
    bool may_enforce = !said || json_bool_of(said, "enforce", false);
    bool is_unsure = !ha_is_on(c) && may_enforce && !is_off_for_sure(c);
    bool is_on = ha_is_on(c) || is_unsure;
    const json_t *has = json_object_get(smap_get(&c->seen, "ha/config"), "config");
    if (is_unsure && !said) {
        return; /* an agent that has just started: what it has not heard of yet stays as it is */
    }
    if (!basis_holds(c, &v->config_basis) || is_on != json_bool_of(v->config, "enforce", !is_on)) {
        const struct basis asker = basis_begin(c, &v->config_basis);
        json_decref(v->config);
        v->config = config_of(c, is_on);
        basis_end(c, &v->config_basis, &asker);
    }
    if (!json_equal(v->config, has)) {
        (void)act_try(c, "ha/config", "guard.configure", json_incref(v->config), 0);
    }
}

static json_t *silent_hosts(const struct core *c, const json_t *peers)
{
    json_t *hosts = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) &&
            json_bool_of(json_object_get(peers, it.name), "silent", false)) {
            json_array_append_new(hosts, json_string(it.name));
        }
    }
    return hosts;
}

/* Edge-triggered: an idle cluster writes nothing (facts/ha.md 2.4). */
static void report(struct core *c)
{
    const json_t *said = ha_guard_seen(c);
    if (!said || !ha_is_fencer(c, c->host)) {
        return;
    }
    json_t *now = json_pack("{s:o,s:O}", "hosts", silent_hosts(c, json_object_get(said, "peers")),
                            "inc", json_object_get(node_get(c, c->host), "inc"));
    const json_t *before = world_get(&c->world, KEY_SILENT, c->host);
    if (json_equal(now, before) ||
        (!before && !json_array_size(json_object_get(now, "hosts")))) {
        json_decref(now);
        return;
    }
    struct commit t = commit_new();
    commit_put(c, &t, KEY_SILENT, c->host, now);
    (void)commit_try(c, "ha/silent", &t);
}

/* What others may know of it; what changes each moment stays here. */
static void publish(struct core *c)
{
    const json_t *said = ha_guard_seen(c);
    json_t *now = said ? json_pack("{s:s,s:O,s:O,s:O*}", "guard", "up", "enforce",
                                   json_object_get(said, "enforce"), "run_right",
                                   json_object_get(said, "run_right"), "watchdog",
                                   json_object_get(said, "watchdog"))
                       : json_pack("{s:s}", "guard", "absent");
    json_object_set_new(now, "fence", json_boolean(smap_get(&c->seen, "ha/table") != NULL));
    if (json_equal(now, smap_get(&c->seen, "failover"))) {
        json_decref(now);
    } else {
        smap_put(&c->seen, "failover", now);
    }
}

/* Also what an earlier life of the agent, or of the host, left behind. */
void ha_plan_off(struct core *c)
{
    if (!is_off_for_sure(c)) {
        return;
    }
    const struct attempt *a = act_find(c, "ha/off");
    bool is_known = smap_get(&c->seen, "ha/config") || smap_get(&c->seen, "ha/table");
    if (is_known && !(a && a->in_flight)) {
        act_forget(c, "ha/");
        (void)smap_del(&c->seen, "ha/config");
        (void)smap_del(&c->seen, "ha/table");
        (void)smap_del(&c->seen, "ha/guard");
        (void)smap_del(&c->seen, "failover");
    }
    (void)act_try(c, "ha/off", "ha.off", json_object(), UINT64_MAX / 2);
}

void ha_plan_guard(struct core *c)
{
    configure(c);
    report(c);
    publish(c);
}
