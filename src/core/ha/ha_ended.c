/* SPDX-License-Identifier: Apache-2.0
 * A brick here that cannot prove a fence (facts/ha.md 3.9 case 19): while its drain fails, no machine of the fenced host is
 * started. So its process ends, where the rest of its pool does without it; then there is nothing in flight. Which brick
 * of a pool ends is decided by a commit that creates ended/POOL and compares what it rests on (I7), so that two never end at
 * once: what all hosts see of the pool, and the acknowledgements of all other fencers, who say that their bricks run and have
 * drained. What the others list for heal the action asks again before it ends anything. In a cluster of three whose dead host
 * had a brick nothing is ended.
 *
 * That a brick has ended the next drain says, whichever agent ended it; the record is told so before the fence is acknowledged.
 * When the fence is over its host says so in the record, starts it again, and takes the record away when all bricks are online and nothing was
 * left to heal for a while. Until it is to come back, or is online, a start does not ask it what is to be laundered (vm_clean_args()).
 *
 * Not handled: a process that does not end, a thread of it being within a write to a disk that hangs; a second brick that
 * comes to hang after it has acknowledged. There is no proof then, or no quorum, and everything waits. */
#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"

#define ACT_WITHIN_US (10 * USEC_PER_SEC) /* since the commit was asked for: later nothing is ended, what it compared is old */
#define USE_US (15 * USEC_PER_SEC)        /* plan_port.c ends a brick so long after its claim at most */
#define REST_US (10 * USEC_PER_SEC)       /* starts have laundered, and the blame of this copy is on the others' disks */
#define START_AGAIN_US (30 * USEC_PER_SEC)
#define WHOLE_US (30 * USEC_PER_SEC)      /* three looks of others, OBSERVE_POOL_US */
#define BRICKS_MIN 3                      /* another one of them has the data */
#define ONCE (UINT64_MAX / 2)

/* A brick of this host that holds up the fence of a host. */
struct stuck {
    struct core *c;
    const char *foe;
    uint64_t inc;
    const char *pool;
    const json_t *record; /* of the pool */
};

static char *id_of(const struct stuck *s, const char *what, const char *pool)
{
    return str_printf("ha/fence/%s/%llu/%s%s", s->foe, (unsigned long long)s->inc, what, pool);
}

static char *mark_of(const struct stuck *s, const char *by)
{
    return str_printf("%s/%llu/%s", s->foe, (unsigned long long)s->inc, by);
}

static const json_t *brick_seen(const struct core *c, const char *pool, const char *host)
{
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    return json_object_get(node_seen_now(c, host, what), "brick");
}

static bool lists_nothing(const struct core *c, const char *pool, const char *host)
{
    return json_u64_of(brick_seen(c, pool, host), "heal_pending_files", 1) == 0;
}

/* Nothing of what was read is old, or the commit fails. */
static void compare_bricks(struct core *c, struct commit *t, const char *pool, const json_t *record)
{
    size_t i;
    json_t *brick;
    commit_guard(c, t, KEY_POOL, pool);
    json_array_foreach(json_object_get(record, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        _cleanup_free_ char *listed = str_printf("%s/pool/%s", host, pool);
        _cleanup_free_ char *online = str_printf("%s/gluster", host);
        commit_guard(c, t, KEY_NODE, host);
        commit_guard(c, t, KEY_SEEN, listed);
        commit_guard(c, t, KEY_SEEN, online);
    }
}

/* The claim rests on more: on who has proved it, whom nobody hears, and what all mounts see that shall do without it. */
static void compare_all(const struct stuck *s, struct commit *t)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_fencers(s->c, fencers);
    compare_bricks(s->c, t, s->pool, s->record);
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *mark = mark_of(s, fencers[i]);
        commit_guard(s->c, t, KEY_ACK, mark);
        commit_guard(s->c, t, KEY_SILENT, fencers[i]);
    }
    for (struct world_iter it = {0}; world_next(&s->c->world, KEY_NODE, &it);) {
        _cleanup_free_ char *seen = str_printf("%s/pool/%s", it.name, s->pool);
        if (!pool_brick_of(s->record, it.name) && !node_is_out(it.value)) {
            commit_guard(s->c, t, KEY_SEEN, seen);
        }
    }
}

/* Cut off, and not drained: since HA_ACK_US, and a whole try has failed that began after the cut, which may have been made
 * once more. While one runs nothing is ended: it may succeed. */
static bool cannot_prove(const struct stuck *s)
{
    _cleanup_free_ char *cut = id_of(s, "cut", "");
    _cleanup_free_ char *id = id_of(s, "drain", "");
    _cleanup_free_ char *clock = str_printf("undrained/%s/%llu", s->foe, (unsigned long long)s->inc);
    const struct attempt *drain = act_find(s->c, id);
    if (!act_has_succeeded(s->c, cut) || act_has_succeeded(s->c, id)) {
        return false;
    }
    return ha_since_us(s->c, clock) >= HA_ACK_US && drain && drain->fails && !drain->in_flight &&
           drain->started_us >= act_find(s->c, cut)->started_us;
}

/* Does a proof say of the brick of @pool that it @runs? An agent of before may have said nothing. */
static bool is_told(const json_t *drained, const char *pool, bool runs)
{
    size_t i;
    json_t *volume;
    json_array_foreach(drained, i, volume) {
        if (str_eq(json_text_of(volume, "volume"), pool)) {
            return json_bool_of(volume, "running", !runs) == runs;
        }
    }
    return false;
}

/* A brick that works has drained; one that hangs, or another that was ended, looks well for as long as a look is old. */
static bool have_others_proved_it(const struct stuck *s)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_fencers(s->c, fencers);
    bool have = n == HA_FENCERS_MAX;
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *mark = mark_of(s, fencers[i]);
        const json_t *ack = world_get(&s->c->world, KEY_ACK, mark);
        have = have && (str_eq(fencers[i], s->c->host) || is_told(json_object_get(ack, "drained"), s->pool, true));
    }
    return have;
}

static bool is_good(struct core *c, const char *pool, const char *host)
{
    const json_t *node = node_get(c, host);
    bool is_own = str_eq(host, c->host);
    bool stands = node_is_online(node) && !ha_node_is_flushing(node) && !ha_is_doubted(c, host) &&
                  (is_own || (!node_is_silent(c, host) && pool_brick_is_online(c, pool, host)));
    return stands && lists_nothing(c, pool, host);
}

/* Would the pool keep its quorum and a whole copy without the brick here? */
static bool does_without(const struct stuck *s)
{
    _cleanup_free_ char *use = str_printf(KEY_USE "pool/%s", s->pool);
    const struct record *used = world_record(&s->c->world, use);
    const json_t *bricks = json_object_get(s->record, "bricks");
    size_t i;
    json_t *brick;
    bool does = json_array_size(bricks) >= BRICKS_MIN && str_eq(json_text_of(s->record, "state"), "ready") &&
                (!used || core_is_past(s->c, used->changed_us + USE_US)) && pool_does_without(s->c, s->pool, s->c->host) &&
                have_others_proved_it(s);
    json_array_foreach(bricks, i, brick) {
        does = does && is_good(s->c, s->pool, json_text_of(brick, "host"));
    }
    return does;
}

/* The record of the pool, if this host made it for this fence; else NULL. */
static const json_t *own_record(const struct stuck *s)
{
    const json_t *ended = pool_ended_brick(s->c, s->pool);
    bool is_own = str_eq(json_text_of(ended, "host"), s->c->host) && str_eq(json_text_of(ended, "foe"), s->foe) &&
                  json_u64_of(ended, "inc", 0) == s->inc;
    return is_own ? ended : NULL;
}

/* Until when may be done what the commit allows? Counted from the question: what it compared may be as old as that. */
static uint64_t claimed_until_us(const struct core *c, const char *id)
{
    return act_find(c, id)->started_us + ACT_WITHIN_US;
}

static bool is_claimed(struct stuck *s, const char *id)
{
    struct core *c = s->c;
    if (act_has_succeeded(c, id) && !core_is_past(c, claimed_until_us(c, id))) {
        return own_record(s);
    }
    struct commit t = commit_new();
    compare_all(s, &t);
    commit_guard(c, &t, KEY_NODE, s->foe);
    commit_guard(c, &t, KEY_USE "pool/", s->pool);
    commit_put(c, &t, KEY_ENDED, s->pool,
               json_pack("{s:s,s:s,s:I,s:O,s:I}", "host", c->host, "foe", s->foe, "inc", (json_int_t)s->inc, "uuid",
                         json_object_get(s->record, "uuid"), "at_ms", (json_int_t)(c->wall_us / USEC_PER_MSEC)));
    (void)commit_try(c, id, &t);
    return false;
}

static void forget_ended(struct core *c, const char *pool, struct commit *t)
{
    _cleanup_free_ char *id = str_printf("ha/unend/%s", pool);
    commit_del(c, t, KEY_ENDED, pool);
    (void)commit_try(c, id, t);
}

/* From here on starts leave it out, and the fence is acknowledged. */
static void put_ended(struct stuck *s)
{
    struct core *c = s->c;
    _cleanup_free_ char *id = str_printf("ha/put-ended/%s", s->pool);
    json_t *next = json_deep_copy(own_record(s));
    struct commit t = commit_new();
    json_object_set_new(next, "ended", json_true());
    commit_put(c, &t, KEY_ENDED, s->pool, next);
    (void)commit_try(c, id, &t);
}

/* The other bricks' own lists refused the last try, and there is no claim for another one. */
static bool was_refused(const struct stuck *s)
{
    _cleanup_free_ char *claim = id_of(s, "claim/", s->pool);
    _cleanup_free_ char *kill = id_of(s, "kill/", s->pool);
    const struct attempt *last = act_find(s->c, kill);
    return last && !last->in_flight && last->error.code == ERR_BUSY && !act_find(s->c, claim);
}

/* What has become of it the drain says, whoever ended it: the agent that was to may be no more. */
static void settle(struct stuck *s)
{
    const json_t *record = own_record(s);
    const json_t *drained = ha_drained(s->c, s->foe, s->inc);
    if (!record || json_bool_of(record, "ended", false)) {
        return;
    }
    if (is_told(drained, s->pool, false)) {
        put_ended(s);
    } else if (is_told(drained, s->pool, true) || was_refused(s)) { /* or it has proved it: another pool's brick was in the way */
        struct commit t = commit_new();
        forget_ended(s->c, s->pool, &t);
    }
}

/* What has just been ended, or has proved it at the second look, lets the drain succeed now. */
static void drain_now(struct stuck *s, const struct attempt *kill)
{
    _cleanup_free_ char *id = id_of(s, "drain", "");
    const struct attempt *last = act_find(s->c, id);
    if (last && last->fails && last->started_us <= kill->started_us) {
        act_end_backoffs(s->c, id, last->error.code);
    }
}

static json_t *end_args(const struct stuck *s, uint64_t until_us)
{
    json_t *args = json_pack("{s:s,s:s,s:I}", "host", s->foe, "volume", s->pool, "until_us", (json_int_t)until_us);
    json_t *others = json_array();
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(s->record, "bricks"), i, brick) {
        if (str_eq(json_text_of(brick, "host"), s->c->host)) {
            json_object_set(args, "brick", brick);
            json_object_set_new(args, "index", json_integer((json_int_t)i));
        } else {
            json_array_append_new(others, pool_brick_to_ask(s->c, brick, i));
        }
    }
    json_object_set_new(args, "others", others);
    return args;
}

/* A fence does not wait for a back-off of a minute. But first the drain is tried once more, and a record that is being taken
 * back has gone. */
static bool may_try(const struct stuck *s, const char *kill)
{
    _cleanup_free_ char *back = str_printf("ha/unend/%s", s->pool);
    _cleanup_free_ char *id = id_of(s, "drain", "");
    const struct attempt *going = act_find(s->c, back);
    const struct attempt *drain = act_find(s->c, id);
    const struct attempt *last = act_find(s->c, kill);
    act_limit_backoff(s->c, kill, ACT_WITHIN_US);
    bool has_drained_since = !last || (drain && drain->started_us > last->started_us);
    return has_drained_since && act_is_due(s->c, kill, ONCE) && !(going && going->in_flight);
}

/* This fence was cut again: who had proved it at the last look has to prove it once more, and what was compared before does
 * not count. What has ended stays so. */
static void forget_before_cut(struct stuck *s, const char *claim, const char *kill)
{
    struct core *c = s->c;
    _cleanup_free_ char *id = id_of(s, "cut", "");
    const struct attempt *cut = act_find(c, id);
    const struct attempt *claimed = act_find(c, claim);
    const struct attempt *tried = act_find(c, kill);
    if (cut && claimed && claimed->started_us < cut->started_us) {
        act_forget_one(c, claim);
    }
    if (cut && act_has_succeeded(c, kill) && !json_bool_of(tried->result, "ended", true) &&
        tried->started_us < cut->started_us) {
        act_forget_one(c, kill);
    }
}

/* It had proved it at the second look, or had ended: and does not prove it now. It hangs again, or is another process, which
 * glusterd started when it was started anew itself. */
static bool hangs_again(const struct stuck *s, const char *kill)
{
    _cleanup_free_ char *id = id_of(s, "drain", "");
    const struct attempt *drain = act_find(s->c, id);
    return act_has_succeeded(s->c, kill) && drain && drain->fails && !drain->in_flight &&
           drain->started_us > act_find(s->c, kill)->started_us;
}

static void end_brick(struct stuck *s)
{
    struct core *c = s->c;
    _cleanup_free_ char *claim = id_of(s, "claim/", s->pool);
    _cleanup_free_ char *kill = id_of(s, "kill/", s->pool);
    bool is_stuck = cannot_prove(s); /* asked for in each step: a clock */
    settle(s);
    forget_before_cut(s, claim, kill);
    if (hangs_again(s, kill)) {
        act_forget_one(c, kill);
    }
    if (act_has_succeeded(c, kill)) {
        drain_now(s, act_find(c, kill));
        return;
    }
    if (!may_try(s, kill)) {
        return;
    }
    bool is_free = own_record(s) || !pool_ended_brick(c, s->pool);
    if (!is_stuck || c->store_is_lost || !is_free || !does_without(s)) {
        act_forget_one(c, claim); /* what it compared is old by the time that this comes again */
        return;
    }
    if (is_claimed(s, claim)) {
        (void)act_try(c, kill, "brick.end", end_args(s, claimed_until_us(c, claim)), ONCE);
        act_forget_one(c, claim);
    }
}

bool ha_is_ending(const struct core *c, const char *foe, uint64_t inc)
{
    static const char *const steps[] = {"claim", "kill"};
    bool is_ending = false;
    for (struct world_iter it = {0}; !is_ending && world_next(&c->world, KEY_POOL, &it);) {
        for (size_t i = 0; i < ELEMENTS(steps) && !is_ending; i++) {
            _cleanup_free_ char *id = str_printf("ha/fence/%s/%llu/%s/%s", foe, (unsigned long long)inc, steps[i], it.name);
            const struct attempt *a = act_find(c, id);
            is_ending = a && a->in_flight;
        }
    }
    return is_ending;
}

bool ha_is_untold(struct core *c, const char *foe, uint64_t inc)
{
    const json_t *drained = ha_drained(c, foe, inc);
    bool is_untold = false;
    for (struct world_iter it = {0}; !is_untold && world_next(&c->world, KEY_ENDED, &it);) {
        const struct stuck s = {c, foe, inc, it.name, NULL};
        const json_t *record = own_record(&s);
        is_untold = record && !json_bool_of(record, "ended", false) && is_told(drained, it.name, false);
    }
    return is_untold;
}

/* --- and back ------------------------------------------------------------------------------- */

static bool is_fence_over(const struct core *c, const json_t *ended)
{
    const json_t *foe = node_get(c, json_text_of(ended, "foe"));
    return !str_eq(json_text_of(foe, "state"), "fencing") || json_u64_of(foe, "inc", 0) != json_u64_of(ended, "inc", 0);
}

/* By a look at glusterd that began after the start: one of before saw another process, or none. */
/* From now on starts ask it again: it comes back while a machine of the fenced host may still wait for its start, and what it
 * has more than the others would be healed to them after the pieces were written anew (docs/evidence/flip.md). */
static bool is_said_to_come_back(struct core *c, const char *pool)
{
    const json_t *ended = pool_ended_brick(c, pool);
    _cleanup_free_ char *id = str_printf("ha/put-back/%s", pool);
    if (json_bool_of(ended, "back", false)) {
        return true;
    }
    json_t *next = json_deep_copy(ended);
    struct commit t = commit_new();
    json_object_set_new(next, "back", json_true());
    commit_put(c, &t, KEY_ENDED, pool, next);
    (void)commit_try(c, id, &t);
    return false;
}

static bool is_started(struct core *c, const char *id, const char *pool)
{
    const json_t *look = smap_get(&c->seen, HA_BRICKS_LOOK);
    return act_has_succeeded(c, id) && json_u64_of(look, "asked_us", 0) >= act_find(c, id)->started_us &&
           pool_brick_is_online(c, pool, c->host);
}

static void bring_back(struct core *c, const char *pool, const json_t *record)
{
    _cleanup_free_ char *id = str_printf("ha/ended/%s", pool);
    _cleanup_free_ char *rest = str_printf("ended/%s", pool);
    _cleanup_free_ char *whole = str_printf("whole/%s", pool);
    size_t i;
    json_t *brick;
    bool is_whole = true;
    if (ha_since_us(c, rest) < REST_US || !is_said_to_come_back(c, pool)) {
        return;
    }
    if (!is_started(c, id, pool)) {
        (void)act_try(c, id, "gluster.start", json_pack("{s:O}", "pool", record), START_AGAIN_US);
        return;
    }
    json_array_foreach(json_object_get(record, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        is_whole = is_whole && lists_nothing(c, pool, host) && pool_brick_is_online(c, pool, host);
    }
    if (is_whole && ha_since_us(c, whole) >= WHOLE_US) {
        struct commit t = commit_new();
        compare_bricks(c, &t, pool, record);
        forget_ended(c, pool, &t);
    }
}

static void plan_back(struct core *c, const char *pool, const json_t *ended)
{
    const json_t *record = pool_get(c, pool);
    struct commit t = commit_new();
    if (!str_eq(json_text_of(ended, "host"), c->host) || c->store_is_lost) {
        commit_drop(&t);
    } else if (!pool_ended_brick(c, pool)) { /* of a pool that is gone */
        forget_ended(c, pool, &t);
    } else {
        commit_drop(&t);
        if (is_fence_over(c, ended) && node_is_online(node_get(c, c->host)) &&
            str_eq(json_text_of(record, "state"), "ready")) {
            bring_back(c, pool, record);
        }
    }
}

void ha_plan_ended(struct core *c)
{
    bool may_end = ha_is_fencer(c, c->host);
    for (struct world_iter foe = {0}; may_end && world_next(&c->world, KEY_NODE, &foe);) {
        for (struct world_iter it = {0}; str_eq(json_text_of(foe.value, "state"), "fencing") &&
                                         world_next(&c->world, KEY_POOL, &it);) {
            struct stuck s = {c, foe.name, json_u64_of(foe.value, "inc", 0), it.name, it.value};
            if (!str_eq(foe.name, c->host) && ha_pool_is_on(c, it.name) && pool_brick_of(it.value, c->host)) {
                end_brick(&s);
            }
        }
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_ENDED, &it);) {
        plan_back(c, it.name, it.value);
    }
}
