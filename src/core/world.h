/* SPDX-License-Identifier: Apache-2.0
 * The core's copy of all records in the store. It may be old: nothing is decided on it, every
 * decision it leads to is a commit that compares the mod revisions seen here (I7). */
#pragma once

#include "base/json.h"
#include "base/smap.h"

struct record {
    json_t *value;
    uint64_t mod; /* mod revision; 0 never occurs */
    uint64_t changed_us; /* when this agent learnt of it, CLOCK_BOOTTIME */
    uint64_t listed; /* number of the newest list that it was in */
};

struct world {
    struct smap records; /* key → struct record */
    uint64_t revision;   /* of the newest change applied */
    bool is_listed;      /* false until the first full list arrived */
    uint64_t lists;      /* how many have arrived */
};

/** world_init - empty and not listed; world_done() frees what it holds */
void world_init(struct world *w);
void world_done(struct world *w);

/**
 * world_put - a record as the store has it; older revisions than the one held are ignored, since
 * watches of etcd 3.4 may go back in time (facts/ha.md 2.2)
 * @value: referenced, not stolen
 */
void world_put(struct world *w, const char *key, json_t *value, uint64_t mod, uint64_t now_us);
/** world_del - forget @key, unless what is held is newer than @revision */
void world_del(struct world *w, const char *key, uint64_t revision);
/**
 * world_relist - replace everything by a full list: [[key, mod, value], ...] read at @revision.
 * Records not in the list and not newer than @revision are forgotten.
 */
void world_relist(struct world *w, const json_t *list, uint64_t revision, uint64_t now_us);

/** world_get - the value below "@prefix@name", or NULL. Borrowed. */
const json_t *world_get(const struct world *w, const char *prefix, const char *name);
/** world_mod - the mod revision of "@prefix@name", 0 when there is none */
uint64_t world_mod(const struct world *w, const char *prefix, const char *name);
/** world_part - the whole record of "@prefix@name/@part", or NULL. Borrowed. */
const struct record *world_part(const struct world *w, const char *prefix, const char *name,
                                const char *part);
/** world_record - the whole record of a full key, or NULL. Borrowed. */
const struct record *world_record(const struct world *w, const char *key);

/* Iteration over the keys below a prefix, in order. */
struct world_iter {
    size_t i;
    const char *name; /* the key without the prefix */
    const json_t *value;
    uint64_t mod;
};
/**
 * world_next - for (struct world_iter it = {0}; world_next(w, KEY_POOL, &it);)
 * The world must not change during the loop. Return: false at the end
 */
bool world_next(const struct world *w, const char *prefix, struct world_iter *it);
