/* SPDX-License-Identifier: Apache-2.0
 * How planners ask for something to be done: by id, so that asking again while it runs, or before
 * its back-off is over, does nothing. */
#pragma once

#include "core/core.h"

#define ACT_PAUSE_US (2 * USEC_PER_SEC)   /* after success: time for the effect to be observed */
#define ACT_BACKOFF_MAX_US (60 * USEC_PER_SEC)

/** act_find - the attempt of @id or NULL. Borrowed. */
struct attempt *act_find(const struct core *c, const char *id);

/**
 * act_try - ask for "@name" under @id unless it runs or waits. For level-triggered planners: it
 * may be asked for again as soon as the pause (after success) or back-off (after failure) is over.
 * @args: stolen        @pause_us: least time between a success and the next try
 * Return: true when the action was emitted now
 */
bool act_try(struct core *c, const char *id, const char *name, json_t *args, uint64_t pause_us);

/**
 * act_seldom - like act_try(), but at most once in @pause_us whatever came of it: a failure is not tried again sooner
 * @args: stolen        Return: true when the action was emitted now
 */
bool act_seldom(struct core *c, const char *id, const char *name, json_t *args, uint64_t pause_us);

/**
 * act_is_due - would act_try() emit now? Asked first where arguments take long to put together
 */
bool act_is_due(const struct core *c, const char *id, uint64_t pause_us);

/**
 * act_once - ask for "@name" under @id once, and keep its outcome until act_forget()
 * @args: stolen
 * Return: the attempt; look at in_flight, has_ended and result
 */
struct attempt *act_once(struct core *c, const char *id, const char *name, json_t *args);

/** act_has_succeeded - has the action of @id ended well, and was its outcome not forgotten since? */
bool act_has_succeeded(const struct core *c, const char *id);

/** act_has_any - is there an attempt whose id starts with @prefix? */
bool act_has_any(const struct core *c, const char *prefix);
/** act_forget - drop the outcomes of all ids that start with @prefix and are not in flight */
void act_forget(struct core *c, const char *prefix);
/** act_forget_one - drop the outcome of @id alone: below "claim/vms" is that of "claim/vms2", too */
void act_forget_one(struct core *c, const char *id);
/**
 * act_end_backoffs - what failed with @code below @prefix may be tried again now: the cause has gone
 * Without it a commit that failed through a minute without the store waits for up to another one (ACT_BACKOFF_MAX_US).
 */
void act_end_backoffs(struct core *c, const char *prefix, int code);
/**
 * act_limit_backoff - what failed under @id may be tried again @us after its last try began, however long its back-off is
 * For what others stand still for.
 */
void act_limit_backoff(struct core *c, const char *id, uint64_t us);
/** act_forget_others - like act_forget(), but ids that start with @keep stay; @keep may be NULL */
void act_forget_others(struct core *c, const char *prefix, const char *keep);

/**
 * act_forget_names - drop what is kept below @prefix for names that are not wanted any more
 * @map: c->attempts, of which those in flight stay, or another of the core's. A name ends at '/', or with the key
 */
void act_forget_names(struct core *c, struct smap *map, const char *prefix,
                      bool (*is_wanted)(const struct core *c, const char *name));

/** core_wake_in - have a step in @us at the latest, although nothing happens */
void core_wake_in(struct core *c, uint64_t us);

/* A commit under construction: compares and puts of one transaction. */
struct commit {
    json_t *compares; /* [[key, mod], …]: 0 = the key must not exist */
    json_t *puts;     /* {key: value} */
    json_t *dels;     /* [key, …] */
};
struct commit commit_new(void);
/**
 * commit_put - compare that @prefix@name is as this world has it, and put @value
 * @value: stolen. Also for new keys: then the compare is "does not exist".
 */
void commit_put(struct core *c, struct commit *t, const char *prefix, const char *name, json_t *value);
/** commit_del - compare that @prefix@name is as this world has it, and delete it */
void commit_del(struct core *c, struct commit *t, const char *prefix, const char *name);
/** commit_guard - only compare */
void commit_guard(struct core *c, struct commit *t, const char *prefix, const char *name);
/**
 * commit_use - state that this commit makes something stand on a pool, a host or an image
 * @kind: "pool", "node" or "image"
 *
 * Writes without a compare: users do not get into each other's way. Who takes it away compares
 * the same key with commit_guard(), and so cannot miss a user that it has not heard of yet.
 */
void commit_use(struct commit *t, const char *kind, const char *name);
/** commit_try - emit as action "store.commit" by act_try() with no pause. Ends the commit. */
bool commit_try(struct core *c, const char *id, struct commit *t);
/** commit_once - emit by act_once(). Ends the commit. */
struct attempt *commit_once(struct core *c, const char *id, struct commit *t);
/**
 * commit_confirms - has a commit with just the compares of @t succeeded under @id? Asks for it until then. Ends @t
 * For what must not rest on something old that was read (I7). It writes a use of this host: a commit changes something.
 */
bool commit_confirms(struct core *c, const char *id, struct commit *t);
/** commit_drop - end a commit that is not needed after all */
void commit_drop(struct commit *t);
