/* SPDX-License-Identifier: Apache-2.0
 * Failover: who may run what when a host falls silent (facts/ha.md 3; docs/design/failover.md has the
 * records). Level-triggered like the planners: every step looks at the records and asks for what is
 * due. Every transition is one commit that compares what it rests on (I7). */
#pragma once

#include "core/core.h"
#include "core/ha/timing.h"

struct commit;

#define HA_FENCERS_MAX 3 /* HA covers pools on one triple of brick hosts (A7) */

/* What is asked for often is worked out once, and again when what it rests on has changed. Borrowed. */
struct ha_view {
    struct basis basis; /* of the first three */
    bool is_on;
    size_t fencers_n;
    const char *fencers[HA_FENCERS_MAX];
    struct basis config_basis;
    json_t *config; /* of this host's guard, see ha_guard.c; NULL: not worked out yet */
};

/** ha_view_new - nothing is worked out yet. It lives as long as @c does */
struct ha_view *ha_view_new(struct core *c);
void ha_view_free(struct ha_view *v);
/** ha_view - of the present world. The last two members are the caller's to work out */
struct ha_view *ha_view(const struct core *c);

/** ha_is_used - is failover on, or being switched on, for any pool? Else nothing here does anything */
bool ha_is_used(const struct core *c);
/** ha_is_on - is failover on, not only being prepared, for any pool? Then silent hosts are fenced */
bool ha_is_on(const struct core *c);
/** ha_pool_is_on - may VMs of this pool be taken over? */
bool ha_pool_is_on(const struct core *c, const char *pool);
/**
 * ha_fencers - the hosts of the HA triple, in the order of their names
 * @ret: borrowed names, at most HA_FENCERS_MAX        Return: how many; 0 while HA is not used
 */
size_t ha_fencers(const struct core *c, const char *ret[HA_FENCERS_MAX]);
/** ha_is_fencer - does @host hold a brick of the HA triple? */
bool ha_is_fencer(const struct core *c, const char *host);
/** ha_timing - of the cluster's profile */
const struct ha_timing *ha_timing(const struct core *c);

/** ha_run_right - does this host's guard hold promises of a majority of the fencers (I4, I5)? */
bool ha_run_right(const struct core *c);
/** ha_guard_seen - what this host's guard last said, or NULL when it does not answer. Borrowed. */
const json_t *ha_guard_seen(const struct core *c);

/** ha_node_is_out - fencing or fenced: it owns nothing that may run, and is cut off */
bool ha_node_is_out(const json_t *node);
/** ha_node_is_rejoining - fenced before and on its way back (T9 to T11); let in when it is "clean" */
bool ha_node_is_rejoining(const json_t *node);
/**
 * ha_node_is_flushing - it was booted again before anybody noticed (T10): what its former life had sent may
 * still lie in bricks. It stays closed until every brick has drained, and starts nothing until then
 */
bool ha_node_is_flushing(const json_t *node);
/** ha_is_reported - do enough fencers say that they hear nothing of @host? Then T1 is due. */
bool ha_is_reported(const struct core *c, const char *host);
/** ha_is_doubted - does any other fencer say so, be it but one? */
bool ha_is_doubted(const struct core *c, const char *host);
/**
 * ha_put_fencing - add T1 of @host to @t, which has to compare what that rests on
 * @why: for people, said of the host ("it …"). @is_fault: counts for the flapping guard, unless it is a drill's
 */
void ha_put_fencing(struct core *c, struct commit *t, const char *host, const char *why, bool is_fault);
/**
 * ha_unfit - the brick host for want of which @host cannot be fenced now, or NULL. Borrowed.
 * @t: gets the compares that a NULL rests on
 * Who declares @host out asks for it: two brick hosts that are in good standing and have drained since their boot
 * must be left. Two hosts that are being fenced would wait for each other's acknowledgement for ever; reports by
 * two that are online exclude that by themselves.
 */
const char *ha_unfit(struct core *c, const char *host, struct commit *t);
/** ha_may_fence_now - was no host fenced just now, and are not too many silent (storm guard)? */
bool ha_may_fence_now(const struct core *c);
/** ha_node_may_be_fenced - does it own what may run, or is it coming back? */
bool ha_node_may_be_fenced(const json_t *node);
/** ha_node_is_held - is it out, and was it fenced so often that only 'mortar host admit' lets it in again? */
bool ha_node_is_held(const json_t *node);
/**
 * ha_has_booted - is this host's boot another one than its record has? Then nothing of before runs here, and until
 * the record says so (T9, T10) nobody is let in: what a brick had received would be of neither life
 */
bool ha_has_booted(const struct core *c);
/**
 * ha_return_waits - what is in the way of @host's return, in the words of its agent: it is told until it succeeds
 * Return: borrowed, or NULL when nothing is known to be
 */
const char *ha_return_waits(const struct core *c, const char *host);
/**
 * ha_return_needs - a host that does not answer, without which @host, on its way back (A9), is not let in or not healed
 * Nobody can be fenced for it meanwhile, and letting @host in without it would lose writes: tests/model/README.md 2
 * Return: borrowed, or NULL
 */
const char *ha_return_needs(const struct core *c, const char *host);
/**
 * ha_knows_bricks - has a host on its way back looked at its own bricks since its record changed? Its bricks ended before
 * T9: what an earlier look has seen is gone, and whether they were started again nothing else says
 */
bool ha_knows_bricks(const struct core *c);
#define HA_TABLE_TOUCHED "ha/touched" /* seen here: {at_us: when somebody changed the fence's table} */
#define HA_BRICKS_LOOK "ha/bricks" /* seen here: {asked_us: when the last look at glusterd began} */
/**
 * ha_old_laundering_is_over - does nothing run any more that an agent before this one had begun to launder? Asks until that is
 * known, which is before this one launders anything: what was read may be written late, over what a machine has written since
 */
bool ha_old_laundering_is_over(struct core *c);

/**
 * ha_forget_cuts - the fence's table had to be written anew: another hand may have let in who was cut off, so all are cut off
 * once more, which a drain follows
 * @but: id of the attempt that has just done it, or NULL
 */
void ha_forget_cuts(struct core *c, const char *but);

/**
 * ha_let_in - {host: inc} of the hosts on their way back that this one has let in (A9): of others what its filter was told,
 * of itself what its record says. An incarnation is let in once
 * A look at what is left to heal carries what was so when it was asked for: one of before proves nothing for T11
 * Return: new reference, or NULL when there is none
 */
json_t *ha_let_in(const struct core *c);
/**
 * ha_bricks_beside - bricks of @pool that have to agree before @host is trusted again: all, when it has a copy that may be old
 * Return: borrowed; NULL when it has no brick there, for then it is as a host that was never fenced, or when failover is off
 */
const json_t *ha_bricks_beside(const struct core *c, const char *pool, const char *host);

/** ha_look_counts - was this look at a pool, as its host tells of it (may be NULL), begun with @host let in there? */
bool ha_look_counts(const struct core *c, const json_t *seen, const char *host);
/** ha_return_text - what is in the way of @host's return by either, and what to do. New string, or NULL */
char *ha_return_text(const struct core *c, const char *host);
#define HA_RETURN "return" /* published as failed/return */
/**
 * ha_unsettled - a host that failover still has to let in again, or NULL: it is out, rejoining, or coming back from a
 * boot (T10). Borrowed
 * Nobody else would let it in. And what is left of it may still write, which nothing but the filters of failover stops.
 * @t: gets the compares that a NULL rests on, or NULL
 */
const char *ha_unsettled(struct core *c, struct commit *t);
/** ha_unsettled_word - what @host is, that ha_unsettled() gave: "fenced". Borrowed */
const char *ha_unsettled_word(const struct core *c, const char *host);
/**
 * ha_is_ending - is a brick here about to be ended for want of a proof of this fence? Then no new try begins: two would
 * take each other's dumps
 */
bool ha_is_ending(const struct core *c, const char *foe, uint64_t inc);
/**
 * ha_is_untold - has a brick here ended for this fence, by the last drain, and its record does not say so yet? Then the fence
 * is not acknowledged: starts would ask that brick
 */
bool ha_is_untold(struct core *c, const char *foe, uint64_t inc);
/** ha_drained - what the drain of this fence says of each volume here, if it was begun after the last cut; else NULL. Borrowed */
const json_t *ha_drained(struct core *c, const char *foe, uint64_t inc);
/** ha_node_is_open - may other hosts exchange storage traffic with it? */
bool ha_node_is_open(const json_t *node);

/**
 * ha_find_lost - machines that @host can no longer run and somebody else may decide on: not those that wait
 * for it
 * @inc: its incarnation that is lost        @ret: gets keys of vm_order(), without values
 */
void ha_find_lost(const struct core *c, const char *host, uint64_t inc, struct smap *ret);
/**
 * ha_seat - the host that shall start @vm when @lost is lost: with room, if possible like @lost, then with the
 * most room
 * @rooms: of place_rooms(); what the machine takes is taken off
 * Return: borrowed name, or NULL when there is no room (@e says why)
 */
const char *ha_seat(const struct core *c, const char *vm, const char *lost, json_t *rooms, struct err *e);
/** ha_was_freezable - does no instance run by these records that was born where no guard freezes it? */
bool ha_was_freezable(const json_t *own, const json_t *act);
/** ha_waiting - {vm: why} of those that should run and wait, since their host is fenced. New reference. */
json_t *ha_waiting(const struct core *c);
/**
 * ha_no_spare - {host: [vm, …]}: machines with policy restart for which there would be no room if just that
 * host were lost (N+1). New reference.
 */
json_t *ha_no_spare(const struct core *c);

/** ha_plan - guard, fence, and transitions of nodes and owners; before plan_vms() */
void ha_plan(struct core *c);

/* Parts of ha_plan(), one file each. */
void ha_plan_guard(struct core *c); /* configuration and report of this host's guard */
void ha_plan_fence(struct core *c); /* what this host does about others: cut, deny, drain, T2, open */
void ha_plan_ended(struct core *c); /* a brick here that proves nothing ends, and comes back, also with failover off by then */
void ha_plan_nodes(struct core *c); /* as coordinator: T1, T3 */
void ha_plan_stranded(struct core *c); /* this host does not reach its guests' disks: it declares itself out */
void ha_plan_take(struct core *c);  /* as coordinator: T4 */
void ha_plan_off(struct core *c);   /* failover is used nowhere: neither guard nor table */
void ha_plan_self(struct core *c);  /* this host was fenced: end its guests, come back (T9, T11) */

/**
 * ha_is_my_turn - has this host's rank among the online hosts that are heard come, for a duty that began to be due?
 * @what: names the duty; asked for again while it is due, else its clock starts anew
 */
bool ha_is_my_turn(struct core *c, const char *what);
/** ha_since_us - time since @what was first due, as for ha_is_my_turn() */
uint64_t ha_since_us(struct core *c, const char *what);
