/* SPDX-License-Identifier: Apache-2.0
 * The cluster's store: a linearizable map from keys to bytes (JSON text by convention) behind six
 * functions: range, commit, watch, compact, members, status. etcd_drive.c keeps it in etcd,
 * etcd_fake.c in memory; the same contract test checks both.
 *
 * Laws (design.md D2; facts/ha.md 2):
 * - Only a commit decides. A range may be stale (Debian's etcd 3.4 has such bugs), a watch is a
 *   hint and may skip or repeat. Whoever acts on what was read compares it in a commit.
 * - Every commit is one mutating transaction, so that it passes through Raft.
 *
 * How a lost answer becomes yes or no. Each handle owns a writer key /mortar/v1/writer/ID. Its
 * modification revision is the handle's *slot*. Every commit also compares that the slot is still
 * what it was and puts a fresh request id into the writer key; so at most one transaction ever uses
 * a slot, and all that were sent for a used slot fail for ever, however late they arrive. When the
 * outcome of a commit is unknown (deadline or lost connection after sending, an internal error of
 * etcd), the handle is in doubt and commits a void id for the same slot:
 *   - it succeeds: the commit has not happened and can never happen;
 *   - it fails: the writer key tells who used the slot. Our id: the commit has happened, at that
 *     revision. A void id of ours: it has not (an earlier void came through). Anyone else's:
 *     another process uses this writer id; the outcome stays unknown for good, but is final.
 *   - its own answer is lost: it is repeated; all voids of one slot exclude one another, too.
 * store_commit() does this before it returns, as far as its deadline allows. Else it returns
 * -ERR_TIMEOUT (class unknown) and the next store_commit() or store_settle() goes on.
 *
 * All functions block, with a deadline in CLOCK_BOOTTIME microseconds; calls on one handle exclude
 * one another. A watch has its own connection and no part in this. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define STORE_PREFIX "/mortar/v1/"
#define STORE_WRITER_PREFIX STORE_PREFIX "writer/"
#define STORE_OPS_MAX 120                 /* compares, and puts: etcd's 128 with room for ours */
#define STORE_TXN_LIMIT_BYTES (1 * MIB)   /* keys and values of a commit: etcd's is 1.5 MiB */
#define STORE_LIST_LIMIT_BYTES (64 * MIB) /* all values of one range */
#define STORE_ENDPOINTS_MAX 8

struct store;

struct store_kv {
    char *key;
    char *value; /* terminated by a zero byte that is not counted */
    size_t value_len;
    uint64_t mod_revision;
    uint64_t create_revision;
    uint64_t version;
};

/* Sorted by key. */
struct store_list {
    struct store_kv *kvs;
    size_t n;
    uint64_t revision; /* of the store when this was read */
};
void store_list_done(struct store_list *l);
#define _cleanup_store_list_ _cleanup_(store_list_done)
/** store_list_find - the entry of @key or NULL. Borrowed. */
const struct store_kv *store_list_find(const struct store_list *l, const char *key);

/* ---- transactions ---- */

enum store_target {
    STORE_MOD,     /* revision of the last change; 0 when absent */
    STORE_CREATE,  /* revision of the creation; 0 when absent */
    STORE_VERSION, /* number of changes since creation; 0 when absent */
    STORE_VALUE,   /* bytes; an absent key compares as failed */
};

enum store_relation { STORE_EQUAL, STORE_NOT_EQUAL, STORE_GREATER, STORE_LESS };

struct store_compare {
    char *key;
    enum store_target target;
    enum store_relation relation;
    uint64_t number; /* for all targets but VALUE */
    char *value;     /* for VALUE */
    size_t value_len;
};

struct store_op {
    bool is_delete;
    char *key;
    char *value; /* for a put */
    size_t value_len;
};

/* Zero-initialise, fill with the functions below (they copy), end with store_txn_done(). */
struct store_txn {
    struct store_compare *compares;
    size_t compares_n;
    struct store_op *ops; /* when all compares hold */
    size_t ops_n;
};
void store_txn_done(struct store_txn *t);
#define _cleanup_store_txn_ _cleanup_(store_txn_done)

/** store_if - add a compare of a number */
void store_if(struct store_txn *t, const char *key, enum store_target target,
              enum store_relation relation, uint64_t number);
/** store_if_mod - the key is as it was when @mod_revision was read; 0: it is absent */
void store_if_mod(struct store_txn *t, const char *key, uint64_t mod_revision);
/** store_if_absent - there is no such key */
void store_if_absent(struct store_txn *t, const char *key);
/** store_if_exists - there is such a key */
void store_if_exists(struct store_txn *t, const char *key);
/** store_if_value - the key's value stands in @relation to these bytes */
void store_if_value(struct store_txn *t, const char *key, enum store_relation relation,
                    const void *value, size_t len);
/** store_put - set @key; a key may be put or deleted once per transaction */
void store_put(struct store_txn *t, const char *key, const void *value, size_t len);
/** store_put_text - store_put of a string without its terminator */
void store_put_text(struct store_txn *t, const char *key, const char *text);
/** store_delete - delete @key; no error when it is absent */
void store_delete(struct store_txn *t, const char *key);

enum store_outcome {
    STORE_NONE,     /* there was nothing to settle */
    STORE_HAPPENED, /* it took effect */
    STORE_NEVER,    /* it did not and never will */
    STORE_UNKNOWN,  /* not yet known; or, when settled, not knowable any more */
};

struct store_result {
    bool succeeded;           /* all compares held and the operations took effect */
    uint64_t revision;        /* of the store after the commit; of the commit itself on success */
    struct store_list seen;   /* when not succeeded: the compared keys at that moment */
    enum store_outcome doubt; /* what became of an earlier commit that had returned -ERR_TIMEOUT */
};
void store_result_done(struct store_result *r);
#define _cleanup_store_result_ _cleanup_(store_result_done)

/* ---- members ---- */

struct store_member {
    uint64_t id;
    char *name;       /* "" until it has started for the first time */
    char *peer_url;   /* the first one; never NULL */
    char *client_url; /* the first one; "" until it has started */
    bool learner;
};

struct store_members {
    struct store_member *v;
    size_t n;
};
void store_members_done(struct store_members *m);
#define _cleanup_store_members_ _cleanup_(store_members_done)

enum store_member_verb { STORE_MEMBER_ADD_LEARNER, STORE_MEMBER_PROMOTE, STORE_MEMBER_REMOVE };

struct store_member_change {
    enum store_member_verb verb;
    const char *peer_url; /* for ADD_LEARNER */
    uint64_t id;          /* for PROMOTE and REMOVE */
};

struct store_status {
    char version[32];
    uint64_t member_id; /* who answered */
    uint64_t leader_id; /* 0 when it knows none */
    uint64_t revision;
    uint64_t db_size_bytes;
    uint64_t db_used_bytes;
    uint64_t raft_index;
    uint64_t raft_term;
    bool learner;
    bool has_errors; /* it lists errors: an alarm (no space, corrupt) or no leader */
};

/* ---- the functions ---- */

/** store_free - NULL is fine; no watch of it may be alive */
void store_free(struct store *s);
DEFINE_FREEP(struct store, store_free)

/**
 * store_range - all keys that start with @prefix, from one revision
 * @ret: zero-initialised; set on success, the caller ends it with store_list_done()
 * Return: 0, -ERR_UNAVAILABLE or -ERR_LIMIT
 */
int store_range(struct store *s, const char *prefix, uint64_t deadline_us, struct store_list *ret,
                struct err *e);

/**
 * store_commit - apply a transaction: all of it or nothing
 * @t: at least one put or delete; at most STORE_OPS_MAX compares and as many operations
 * @ret: zero-initialised; set on success, and .doubt always; end with store_result_done()
 * Return: 0: the answer is known, see @ret->succeeded;
 *         -ERR_UNAVAILABLE: it did not happen and never will;
 *         -ERR_TIMEOUT: not known yet, see the top of this file. Observe before doing anything
 *          else; the next commit or store_settle() tells;
 *         -ERR_INVALID or -ERR_LIMIT: the transaction cannot be sent (or etcd refused it)
 */
int store_commit(struct store *s, const struct store_txn *t, uint64_t deadline_us,
                 struct store_result *ret, struct err *e);

/**
 * store_settle - find out what became of a commit that returned -ERR_TIMEOUT
 * @ret: set on success and never STORE_UNKNOWN unless another process uses our writer id
 * Return: 0, or -ERR_TIMEOUT while it is still in doubt
 */
int store_settle(struct store *s, uint64_t deadline_us, enum store_outcome *ret, struct err *e);

/**
 * store_compact - forget history before @revision; already done is no error
 * Return: 0, -ERR_UNAVAILABLE, or -ERR_INVALID when @revision is in the future
 */
int store_compact(struct store *s, uint64_t revision, uint64_t deadline_us, struct err *e);

/**
 * store_members - the members that etcd counts
 * @change: what to do first, or NULL. One at a time, only when etcd_plan_members() says so
 * @ret: zero-initialised; set on success to the list (after the change)
 * Return: 0; -ERR_UNAVAILABLE; with @change also -ERR_TIMEOUT: it may have happened, list again;
 *         -ERR_NOT_FOUND: no such member; -ERR_STATE: not now (learner not in sync, unhealthy)
 */
int store_members(struct store *s, const struct store_member_change *change, uint64_t deadline_us,
                  struct store_members *ret, struct err *e);

/**
 * store_status - what one member says about itself
 * @endpoint: its client URL, or NULL for whichever answers first
 * Return: 0 or -ERR_UNAVAILABLE
 */
int store_status(struct store *s, const char *endpoint, uint64_t deadline_us,
                 struct store_status *ret, struct err *e);

/**
 * store_set_endpoints - the members' client URLs have changed
 * @urls: 1 to STORE_ENDPOINTS_MAX, copied; watches take them with their next run
 * Return: 0 or -ERR_INVALID, and nothing was changed
 */
int store_set_endpoints(struct store *s, const struct strv *urls, struct err *e);

/* ---- watch ---- */

struct store_event {
    bool deleted;       /* then only key and mod_revision are set */
    struct store_kv kv; /* borrowed until the callback returns */
};

/* All events of one transaction are in one batch. */
struct store_batch {
    uint64_t revision; /* of the store when it was sent */
    const struct store_event *events;
    size_t n;
};

typedef void (*store_batch_fn)(void *arg, const struct store_batch *batch);

struct store_watch;

/**
 * store_watch_new - a watch on all keys that start with @prefix
 * Owns: the caller frees it, after store_watch_run() returned and before the store
 */
struct store_watch *store_watch_new(struct store *s, const char *prefix);
void store_watch_free(struct store_watch *w);
DEFINE_FREEP(struct store_watch, store_watch_free)

/**
 * store_watch_run - deliver changes until something ends it; runs on a lane of its own
 * @from_revision: the first one wanted: that of the last range plus one; must be > 0
 * @deadline_us: end of this run. Take 15 to 30 s: the list that follows repairs what watches lose
 * @fn: called on this thread
 * The caller's loop is: range the prefix, run from its revision + 1, whatever this returns start
 * again; after an error wait a little first. Each run takes the next endpoint after a failure.
 * Return: 0 at the deadline; -ERR_CANCELLED after store_watch_stop(); -ERR_UNAVAILABLE for all that
 *         breaks it (compacted, cancelled by etcd, no leader, connection lost, not created in 2 s)
 */
int store_watch_run(struct store_watch *w, uint64_t from_revision, uint64_t deadline_us,
                    store_batch_fn fn, void *arg, struct err *e);

/** store_watch_stop - from any thread: the run returns at once, and so do all later ones */
void store_watch_stop(struct store_watch *w);
