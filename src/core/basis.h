/* SPDX-License-Identifier: Apache-2.0
 * What a result rests on, so that it is not worked out again while that stands. The maps of the core note
 * classes of keys that are looked up and changed (base/smap.h); looks at the clock are noted by
 * core_is_past(), and the core's plain fields belong to one class more. A planner that has run is left out
 * until something of a class that it has read was changed, by itself or others, or a time has come that it
 * looked at: to run it would come to nothing. Classes are few and may be shared: then it runs for nothing. */
#pragma once

#include "base/json.h"
#include "base/smap.h"

struct core;

struct basis {
    smap_classes read;    /* of what was looked at */
    smap_classes changed; /* classes in which something has changed since it was begun */
    uint64_t until_us;    /* it may come out otherwise from then on; 0: not worked out yet */
};

/* Planners that are left out one by one. */
enum plan_part {
    PLAN_OPS, PLAN_NODE, PLAN_PEERS, PLAN_MEMBERS, PLAN_NETWORKS, PLAN_POOLS,
    PLAN_HA_GUARD, PLAN_HA_FENCE, PLAN_HA_NODES, PLAN_HA_STRANDED, PLAN_HA_TAKE, PLAN_HA_SELF, PLAN_HA_OFF, PLAN_HA_ENDED,
    PLAN_VMS, PLAN_DRILL, PLAN_SWEEP, PLAN_ALARMS,
    PLAN_LOOK_HOST, PLAN_LOOK_ETCD, PLAN_LOOK_REACH, PLAN_LOOK_UPLINK, PLAN_LOOK_DOMAINS, PLAN_LOOK_STORAGE,
    PLAN_LIBVIRT, PLAN_PUBLISH, PLAN_PARTS,
};

/* What several ask for is kept until it may be another. */
enum memo_of { MEMO_ME, MEMO_NODE_LIST, MEMO_RUNNING, MEMO_NO_SPARE, MEMO_OPEN, MEMOS };

struct memo {
    struct basis basis;
    json_t *value;
};

/* The core's fields that planners read and that are in no map. */
struct basis_fields {
    const void *host;
    const void *self;
    const void *local_task;
    uint64_t domains_at_us;
    bool domains_stale;
    bool store_is_lost;
    bool is_listed;
};

#define BASES_MAX (PLAN_PARTS + MEMOS + 2) /* and those of the view of failover, ha/ha.h */

/* All that is noted. */
struct ledger {
    struct smap_marks marks;
    uint64_t until_us;
    struct basis_fields fields; /* as they were when they were looked at last */
    struct basis *all[BASES_MAX];
    size_t n;
    struct basis plans[PLAN_PARTS];
    struct memo memos[MEMOS];
    uint64_t wakes_us[PLAN_PARTS]; /* a planner wants a step so much later each time that it is asked; 0: none */
    bool is_off; /* nothing is left out; for tests */
};

/** ledger_new - for the maps of @c, which are empty */
struct ledger *ledger_new(struct core *c);
void ledger_free(struct ledger *l);

/** basis_add - @b is told of changes from now on; it lives as long as @c does */
void basis_add(struct core *c, struct basis *b);
/** basis_holds - does what was worked out still stand? Then who asks rests on the same */
bool basis_holds(const struct core *c, const struct basis *b);
/**
 * basis_begin - it is worked out anew, until basis_end()
 * Return: what is noted for whoever asks, for basis_end(). May be nested
 */
struct basis basis_begin(const struct core *c, struct basis *b);
void basis_end(const struct core *c, struct basis *b, const struct basis *asker);

/** basis_look - fields of the core may have changed, other than by a planner */
void basis_look(const struct core *c);

/** basis_run - run a planner, unless that would come to nothing */
void basis_run(struct core *c, enum plan_part part, void (*plan)(struct core *c));

/** basis_forget - nothing stands any more */
void basis_forget(struct core *c);
/**
 * basis_memo - what @work_out gave, or gives now when it may be something else
 * @work_out: gives a new reference, or NULL        Return: borrowed; nobody changes it
 */
json_t *basis_memo(const struct core *c, enum memo_of what, json_t *(*work_out)(const struct core *c));

/** basis_reads - all keys of @m that begin with @prefix are looked at, by index; "" for all of them */
void basis_reads(const struct smap *m, const char *prefix);
/**
 * basis_is_private - is this something seen that only this host needs? Then it is not published: a commit would
 * delay the one of a migration
 */
bool basis_is_private(const char *what);
/** basis_reads_public - all that is seen and published is looked at, by index */
void basis_reads_public(const struct core *c);

/** core_is_past - has @at_us come? Whatever is worked out holds until then at most */
bool core_is_past(const struct core *c, uint64_t at_us);
/** core_time_us - the time of this step, for what differs at each moment */
uint64_t core_time_us(const struct core *c);
