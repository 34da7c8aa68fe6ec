/* SPDX-License-Identifier: Apache-2.0
 * A brick whose glusterd has lost its port (docs/bugs.md B6) is started anew, when somebody has lost the connection to it.
 * It ends for a moment by that, so: only when this host's look says so for a while, and all else is well for that long; one
 * brick of a pool at a time, by a commit that compares what this rests on (I7); and the action looks at brick and mount again
 * before it ends anything. Once in a day: where it does not help, it shall not go on and on. */
#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/op/op.h"
#include "core/plan/plan.h"

#define LACKS_US (30 * USEC_PER_SEC)  /* three looks at glusterd (OBSERVE_GLUSTER_UNWELL_US), mounts and bricks */
#define CLAIM_US (120 * USEC_PER_SEC) /* since another's claim: its brick has come back, or is missed by then */
#define ACT_WITHIN_US (10 * USEC_PER_SEC) /* else nothing is ended: another may have claimed by the time it comes back */
#define AGAIN_US (24 * 3600 * USEC_PER_SEC)

/* Nobody is out or coming back, or about to be; and no task runs, a move least of all. */
static bool is_quiet(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (ha_is_used(c) && ha_is_reported(c, it.name)) {
            return false;
        }
    }
    return !c->store_is_lost && !ha_unsettled(c, NULL) && !json_object_size(op_running(c));
}

/* Also none in maintenance: it may be switched off the next moment. */
static bool all_are_online(const struct core *c, const json_t *pool)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        if (!node_is_online(node_get(c, json_text_of(brick, "host")))) {
            return false;
        }
    }
    return true;
}

static bool may_restart(struct core *c, const char *name, const json_t *pool)
{
    return pool_brick_has_no_port(c, name, c->host) && pool_brick_is_online(c, name, c->host) &&
           str_eq(json_text_of(pool, "state"), "ready") &&
           json_array_size(json_object_get(pool, "bricks")) >= PLAN_PORT_BRICKS && is_quiet(c) &&
           all_are_online(c, pool) && !pool_ended_brick(c, name) && pool_misses(c, name, c->host) && pool_does_without(c, name, c->host);
}

/* A use of the pool is written by whoever claims, and also for new machines, after which it waits for nothing. */
static bool is_unclaimed(const struct core *c, const char *name)
{
    _cleanup_free_ char *key = str_printf(KEY_USE "pool/%s", name);
    const struct record *claim = world_record(&c->world, key);
    return !claim || core_is_past(c, claim->changed_us + CLAIM_US);
}

static bool is_claimed(struct core *c, const char *id, const char *name, const json_t *pool)
{
    struct commit t = commit_new();
    size_t i;
    json_t *brick;
    (void)ha_unsettled(c, &t); /* only its compares */
    commit_guard(c, &t, KEY_POOL, name);
    commit_guard(c, &t, KEY_USE "pool/", name);
    commit_guard(c, &t, KEY_ENDED, name);
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        _cleanup_free_ char *told = str_printf("%s/gluster", json_text_of(brick, "host"));
        commit_guard(c, &t, KEY_SEEN, told);
    }
    commit_use(&t, "pool", name);
    return commit_confirms(c, id, &t);
}

void plan_port(struct core *c, const char *name, const json_t *pool)
{
    _cleanup_free_ char *clock = str_printf("portless/%s", name);
    _cleanup_free_ char *claim = str_printf("port/claim/%s", name);
    _cleanup_free_ char *id = str_printf("port/restart/%s", name);
    const struct attempt *last = act_find(c, id);
    bool was_just_now = last && (last->in_flight || !core_is_past(c, last->started_us + AGAIN_US));
    if (!may_restart(c, name, pool) || ha_since_us(c, clock) < LACKS_US || was_just_now) {
        act_forget_one(c, claim); /* what it compared is old by the time that this comes again */
        return;
    }
    bool is_free = act_has_succeeded(c, claim) || is_unclaimed(c, name);
    if (is_free && is_claimed(c, claim, name, pool)) {
        uint64_t until_us = core_time_us(c) + ACT_WITHIN_US;
        (void)act_seldom(c, id, "brick.restart",
                         json_pack("{s:O,s:O,s:b,s:I}", "pool", pool, "brick", pool_brick_of(pool, c->host), "mount",
                                   pool_wants_mount(c, pool, c->host), "until_us", (json_int_t)until_us), AGAIN_US);
        act_forget_one(c, claim);
    }
}
