/* SPDX-License-Identifier: Apache-2.0 */
#include "core/ha/ha.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/restore.h"

#define OLD_LAUNDERING_US USEC_PER_SEC /* it is asked for again; one that hangs may take for ever */
#define CLOCK "ha/since/"
#define CLOCK_STEP_US (100 * USEC_PER_MSEC) /* while something is due; nothing is on an idle cluster */

static bool takes_part(const json_t *pool)
{
    const char *ha = json_text_of(pool, "ha");
    return str_eq(ha, "on") || str_eq(ha, "preparing");
}

struct ha_view *ha_view_new(struct core *c)
{
    struct ha_view *v = xcalloc(1, sizeof(*v));
    basis_add(c, &v->basis);
    basis_add(c, &v->config_basis);
    return v;
}

void ha_view_free(struct ha_view *v)
{
    json_decref(v->config);
    free(v);
}

static void work_out(const struct core *c, struct ha_view *v)
{
    const json_t *pool = NULL;
    v->is_on = false;
    v->fencers_n = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        v->is_on = v->is_on || str_eq(json_text_of(it.value, "ha"), "on");
        pool = !pool && takes_part(it.value) ? it.value : pool; /* all that take part are on the same hosts */
    }
    for (struct world_iter it = {0}; pool && world_next(&c->world, KEY_NODE, &it);) {
        if (v->fencers_n < HA_FENCERS_MAX && pool_brick_of(pool, it.name)) {
            v->fencers[v->fencers_n++] = it.name;
        }
    }
}

struct ha_view *ha_view(const struct core *c)
{
    struct ha_view *v = c->ha;
    if (!basis_holds(c, &v->basis)) {
        const struct basis asker = basis_begin(c, &v->basis);
        work_out(c, v);
        basis_end(c, &v->basis, &asker);
    }
    return v;
}

bool ha_is_on(const struct core *c)
{
    return ha_view(c)->is_on;
}

bool ha_pool_is_on(const struct core *c, const char *pool)
{
    return str_eq(json_text_of(pool_get(c, pool), "ha"), "on");
}

size_t ha_fencers(const struct core *c, const char *ret[HA_FENCERS_MAX])
{
    const struct ha_view *v = ha_view(c);
    memcpy(ret, v->fencers, sizeof(v->fencers));
    return v->fencers_n;
}

bool ha_is_used(const struct core *c)
{
    return ha_view(c)->fencers_n == HA_FENCERS_MAX;
}

bool ha_is_fencer(const struct core *c, const char *host)
{
    const struct ha_view *v = ha_view(c);
    for (size_t i = 0; i < v->fencers_n; i++) {
        if (str_eq(v->fencers[i], host)) {
            return true;
        }
    }
    return false;
}

const struct ha_timing *ha_timing(const struct core *c)
{
    const struct ha_timing *t =
        ha_timing_find(json_text_of(world_get(&c->world, KEY_ROOT, "cluster"), "ha_profile"));
    return t ? t : ha_timing_find(NULL);
}

const json_t *ha_guard_seen(const struct core *c)
{
    const json_t *said = smap_get(&c->seen, "ha/guard");
    return json_is_object(said) ? said : NULL;
}

bool ha_run_right(const struct core *c)
{
    const json_t *said = ha_guard_seen(c);
    return json_bool_of(said, "run_right", false) && json_bool_of(said, "enforce", false);
}

bool ha_node_is_out(const json_t *node)
{
    return node_is_out(node);
}

bool ha_node_is_rejoining(const json_t *node)
{
    return str_eq(json_text_of(node, "state"), "rejoining");
}

bool ha_node_is_flushing(const json_t *node)
{
    return json_bool_of(node, "flush", false);
}

bool ha_node_is_held(const json_t *node)
{
    return node_is_out(node) && json_u64_of(node, "fences", 0) >= HA_FLAP_FENCES;
}

bool ha_has_booted(const struct core *c)
{
    const char *recorded = json_text_of(node_get(c, c->host), "boot_id");
    return recorded && *recorded && !str_eq(recorded, json_text_of(c->self, "boot_id")); /* "" while it joins */
}

const char *ha_return_waits(const struct core *c, const char *host)
{
    const json_t *node = node_get(c, host);
    bool is_away = ha_node_is_out(node) || ha_node_is_rejoining(node);
    return is_away ? json_text_of(node_seen_now(c, host, "failed/" HA_RETURN), "message") : NULL;
}

/* From a host that is not let in nobody answers at a storage address: then their agents' word in the store has to do. */
static bool is_missed(const struct core *c, const char *host, const char *by)
{
    return str_eq(c->host, by) ? !c->store_is_lost && !node_was_heard(c, host, NODE_SILENT_US + 1)
                               : node_is_silent(c, host);
}

const char *ha_return_needs(const struct core *c, const char *host)
{
    const json_t *node = node_get(c, host);
    if (!ha_node_is_rejoining(node)) {
        return NULL;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        _cleanup_free_ char *mark = str_printf("%s/%llu/%s", host, (unsigned long long)json_u64_of(node, "inc", 0), it.name);
        bool has_to_wash = node_has_vms(it.value) && !json_bool_of(node, "clean", false) &&
                           !world_get(&c->world, KEY_WASHED, mark);
        if (!str_eq(it.name, host) && node_may_run_vms(it.value) && (has_to_wash || ha_is_fencer(c, it.name)) &&
            is_missed(c, it.name, host)) {
            return it.name;
        }
    }
    return NULL;
}

bool ha_look_counts(const struct core *c, const json_t *seen, const char *host)
{
    return json_equal(json_object_get(json_object_get(seen, "let_in"), host), json_object_get(node_get(c, host), "inc"));
}

const json_t *ha_bricks_beside(const struct core *c, const char *pool, const char *host)
{
    const json_t *p = world_get(&c->world, KEY_POOL, pool);
    bool concerns = ha_pool_is_on(c, pool) && pool_brick_of(p, host);
    return concerns ? json_object_get(p, "bricks") : NULL;
}

/* A host that has had time to look since @host was let in, and has told of no look: borrowed, or NULL */
static const char *mute_about(const struct core *c, const char *host)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", host);
    const struct record *r = world_record(&c->world, key);
    bool is_let_in = r && ha_node_is_rejoining(r->value) && ha_node_is_open(r->value);
    if (!is_let_in || !core_is_past(c, r->changed_us + NODE_SILENT_US)) {
        return NULL;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        _cleanup_free_ char *what = str_printf("pool/%s", it.name);
        size_t i;
        json_t *brick;
        json_array_foreach(ha_bricks_beside(c, it.name, host), i, brick) {
            const char *by = json_text_of(brick, "host");
            if (!ha_look_counts(c, node_seen(c, by, what), host)) {
                return by;
            }
        }
    }
    return NULL;
}

char *ha_return_text(const struct core *c, const char *host)
{
    const char *waits = ha_return_waits(c, host);
    const char *other = waits ? NULL : ha_return_needs(c, host);
    if (waits) {
        return str_printf("%s; if that stays so, reboot it", waits);
    }
    if (other) {
        return str_printf("without %s, which does not answer, its copy of the disks cannot be made safe: bring %s back",
                          other, other);
    }
    const char *mute = mute_about(c, host);
    const json_t *its_node = mute && !str_eq(mute, host) ? node_get(c, mute) : NULL;
    if (ha_node_is_out(its_node) || ha_node_is_rejoining(its_node)) {
        return str_printf("%s, which is %s, has a copy of the disks, too, and has to tell what is left to heal: bring %s back",
                          mute, json_text_of(its_node, "state"), mute);
    }
    return mute ? str_printf("%s has not told what is left to heal since this host was let in: if that stays so, see "
                             "whether a disk hangs there, and install the same version of Mortar on all hosts", mute) : NULL;
}

const char *ha_unsettled(struct core *c, struct commit *t)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (ha_node_is_out(it.value) || ha_node_is_flushing(it.value) || ha_node_is_rejoining(it.value)) {
            return it.name;
        }
        if (t) {
            commit_guard(c, t, KEY_NODE, it.name);
        }
    }
    return NULL;
}

const char *ha_unsettled_word(const struct core *c, const char *host)
{
    const json_t *node = node_get(c, host);
    return ha_node_is_flushing(node) ? "coming back from a boot" : json_text_of(node, "state");
}

bool ha_old_laundering_is_over(struct core *c)
{
    static const char id[] = "ha/old-laundering";
    act_limit_backoff(c, id, OLD_LAUNDERING_US);
    (void)act_try(c, id, "launder.left", json_object(), UINT64_MAX / 2);
    return act_has_succeeded(c, id);
}

/* A host that comes back is let in when nothing on the survivors may still flip (A9). */
bool ha_node_is_open(const json_t *node)
{
    if (ha_node_is_rejoining(node)) {
        return json_bool_of(node, "clean", false);
    }
    return node && !ha_node_is_out(node) && !ha_node_is_flushing(node);
}

json_t *ha_let_in(const struct core *c)
{
    const json_t *open = json_object_get(smap_get(&c->seen, "ha/table"), "open");
    json_t *hosts = json_object();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        json_t *inc = json_object_get(it.value, "inc");
        bool is_in = str_eq(it.name, c->host) || json_equal(json_object_get(open, it.name), inc);
        if (ha_node_is_rejoining(it.value) && ha_node_is_open(it.value) && is_in) {
            json_object_set(hosts, it.name, inc);
        }
    }
    if (!json_object_size(hosts)) {
        json_decref(hosts);
        return NULL;
    }
    return hosts;
}

/* A clock is an attempt that is never in flight; it is forgotten when nobody asked for it in a step. */
uint64_t ha_since_us(struct core *c, const char *what)
{
    _cleanup_free_ char *id = str_printf(CLOCK "%s", what);
    struct attempt *a = act_find(c, id);
    if (!a) {
        a = xcalloc(1, sizeof(*a));
        a->started_us = c->now_us;
        smap_put(&c->attempts, id, a);
    }
    a->not_before_us = core_time_us(c); /* asked for in this step */
    core_wake_in(c, CLOCK_STEP_US);
    return c->now_us - a->started_us;
}

static void forget_clocks(struct core *c)
{
    for (size_t i = smap_lower(&c->attempts, CLOCK);
         i < c->attempts.n && str_starts(c->attempts.items[i].key, CLOCK);) {
        const struct attempt *a = c->attempts.items[i].value;
        if (a->not_before_us == c->now_us) {
            i++;
        } else {
            (void)smap_del(&c->attempts, c->attempts.items[i].key);
        }
    }
}

bool ha_is_my_turn(struct core *c, const char *what)
{
    uint64_t rank = 0;
    uint64_t since_us = ha_since_us(c, what);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (str_eq(it.name, c->host)) {
            break;
        }
        rank += node_is_online(it.value) && !ha_is_reported(c, it.name); /* a silent one does nothing in its turn */
    }
    return node_is_online(node_get(c, c->host)) && since_us >= rank * HA_RANK_US;
}

void ha_plan(struct core *c)
{
    enum restore_stage stage = restore_stage(c);
    if (stage == RESTORE_HOSTS) { /* what guards and filters do is truer than any record */
        forget_clocks(c);
        return;
    }
    basis_run(c, PLAN_HA_ENDED, ha_plan_ended); /* before the next drain is asked for */
    if (ha_is_used(c) && node_get(c, c->host)) {
        basis_run(c, PLAN_HA_GUARD, ha_plan_guard);
        basis_run(c, PLAN_HA_FENCE, ha_plan_fence);
        if (!c->store_is_lost && ha_is_on(c)) {
            basis_run(c, PLAN_HA_NODES, ha_plan_nodes);
        }
        if (!c->store_is_lost && ha_is_on(c) && stage == RESTORE_NONE) {
            basis_run(c, PLAN_HA_STRANDED, ha_plan_stranded);
            basis_run(c, PLAN_HA_TAKE, ha_plan_take);
        }
        basis_run(c, PLAN_HA_SELF, ha_plan_self);
    } else if (stage == RESTORE_NONE) {
        basis_run(c, PLAN_HA_OFF, ha_plan_off);
    }
    forget_clocks(c);
}
