/* SPDX-License-Identifier: Apache-2.0
 * Failover of a pool is a state that is proved before it is believed (A11): every host runs its guard and
 * its packet filter, and every host that runs machines holds the promises that it would need. Until then
 * nobody is fenced and nobody frozen. */
#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/op/ops.h"

#define MINUTES(n) ((n) * 60 * USEC_PER_SEC)

static const char *name_of(const struct op *o)
{
    return json_text_of(o->args, "name");
}

static bool is_wanted(const struct op *o)
{
    return json_bool_of(o->args, "on", true);
}

/* @ha: "on", "preparing" or NULL for off */
static enum op_verdict set_ha(struct op *o, const char *ha)
{
    struct core *c = o->c;
    const json_t *pool = pool_get(c, name_of(o));
    if (!pool) {
        return op_fail(o, NOT_FOUND, "the pool's record is gone");
    }
    if (str_eq(json_text_of(pool, "ha"), ha)) {
        return OP_NEXT;
    }
    json_t *next = json_deep_copy(pool);
    struct commit t = commit_new();
    json_t *all = json_deep_copy(world_get(&c->world, KEY_ROOT, "ha"));
    all = all ? all : json_object();
    if (ha) {
        json_object_set_new(next, "ha", json_string(ha));
        json_object_set_new(all, name_of(o), json_true());
    } else {
        json_object_del(next, "ha");
        json_object_del(all, name_of(o));
        (void)ha_unsettled(c, &t); /* only its compares, of what op_ha_end() saw; T1 compares the pool */
    }
    commit_put(c, &t, KEY_POOL, name_of(o), next);
    commit_put(c, &t, KEY_ROOT, "ha", all);
    return op_commit(o, ha ? ha : "off", &t);
}

static enum op_verdict set_profile(struct op *o)
{
    struct core *c = o->c;
    const char *profile = json_text_of(o->args, "profile");
    const json_t *cluster = world_get(&c->world, KEY_ROOT, "cluster");
    if (!profile || !is_wanted(o) || str_eq(json_text_of(cluster, "ha_profile"), profile)) {
        return OP_NEXT;
    }
    json_t *next = json_deep_copy(cluster);
    struct commit t = commit_new();
    json_object_set_new(next, "ha_profile", json_string(profile));
    commit_put(c, &t, KEY_ROOT, "cluster", next);
    return op_commit(o, "", &t);
}

static enum op_verdict prepare(struct op *o)
{
    bool is_on = str_eq(json_text_of(pool_get(o->c, name_of(o)), "ha"), "on");
    return is_on || !is_wanted(o) ? OP_NEXT : set_ha(o, "preparing");
}

const char *op_ha_missing_on(const struct core *c, const char *host, const json_t *node)
{
    const json_t *seen = node_seen(c, host, "failover");
    if (!str_eq(json_text_of(seen, "guard"), "up")) {
        return "its guard does not run";
    }
    if (!json_bool_of(seen, "fence", false)) {
        return "its packet filter is not in place";
    }
    if (node_has_vms(node) && !json_bool_of(seen, "run_right", false)) {
        return "its guard does not hold the promises of two hosts";
    }
    return NULL;
}

static enum op_verdict prove(struct op *o)
{
    for (struct world_iter it = {0}; is_wanted(o) && world_next(&o->c->world, KEY_NODE, &it);) {
        const char *missing = op_ha_missing_on(o->c, it.name, it.value);
        if (missing) {
            op_note(o, "%s: %s", it.name, missing);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

/* Where it is only prepared nobody was fenced for it. Off, the filters go, and with them what keeps the last writes of
 * a fenced host from the bricks. */
enum op_verdict op_ha_end(struct op *o)
{
    const char *host = ha_pool_is_on(o->c, name_of(o)) ? ha_unsettled(o->c, NULL) : NULL;
    if (host) {
        op_note(o, "%s is %s: only failover lets it in again", host, ha_unsettled_word(o->c, host));
        return OP_WAIT;
    }
    return set_ha(o, NULL);
}

static enum op_verdict switch_over(struct op *o)
{
    return is_wanted(o) ? set_ha(o, "on") : op_ha_end(o);
}

static enum op_verdict take_back(struct op *o)
{
    bool is_half = str_eq(json_text_of(pool_get(o->c, name_of(o)), "ha"), "preparing");
    return is_half ? set_ha(o, NULL) : OP_NEXT;
}

static const struct op_phase phases[] = {
    {"profile", "Set the times", set_profile, MINUTES(1)},
    {"prepare", "Start guard and packet filter on all hosts", prepare, MINUTES(1)},
    {"prove", "See that every host holds its promises", prove, MINUTES(2)},
    {"switch", "Switch failover", switch_over, MINUTES(1)},
    {0},
};

const struct op_kind op_pool_ha = {"pool.ha", phases, take_back, true};
