/* SPDX-License-Identifier: Apache-2.0
 * Pools: record pool/NAME {name, uuid, kind, state, copies, arbiter, no_ha, bricks[], …} where a
 * brick is {host, path, role: data | arbiter, device}. A pool is exactly one replica set (D8). */
#pragma once

#include "core/core.h"

/* Seen here, for nobody else: {at_us: when this host last learnt that files of its glusterd had changed} */
#define POOL_FILES_CHANGED "glance/changed"

/** pool_get - the record or NULL. Borrowed. */
const json_t *pool_get(const struct core *c, const char *name);
/** pool_is_dir - local storage of one host (D12's second implementation) */
bool pool_is_dir(const json_t *pool);
/** pool_mount_path - where VM hosts see it: /mnt/NAME, or the directory itself. Free it. */
char *pool_mount_path(const json_t *pool, const char *name);
/** pool_brick_of - the brick on @host, or NULL. Borrowed. */
const json_t *pool_brick_of(const json_t *pool, const char *host);
/** pool_brick_is_ready - does @seen, an observation of the pool, say that this very pool's brick is? */
bool pool_brick_is_ready(const json_t *pool, const json_t *seen);
/** pool_is_usable_on - is it mounted on @host, with quorum, as that host's agent says? */
bool pool_is_usable_on(const struct core *c, const char *name, const char *host);
/**
 * pool_is_cut_off - does this host's mount say itself that it has no quorum? One that does not answer in time may
 * be busy only, and so may the host be: that is no yes.
 */
bool pool_is_cut_off(const struct core *c, const char *name);
/** pool_is_unknown_here - is it ready, with a brick on this host, and does glusterd here answer without naming it? */
bool pool_is_unknown_here(const struct core *c, const char *name, const json_t *pool);
/**
 * pool_quorum - majority of bricks online (replica 2: the first), by pool_brick_is_online()
 * @ret_online: number of bricks online, may be NULL
 */
bool pool_quorum(const struct core *c, const char *name, unsigned *ret_online);
/**
 * pool_brick_is_online - does the process of the pool's brick on @host live? Its agent says so, and
 * what this host sees does not speak against it: the host answers, and mounts are connected to it.
 * Of an agent that is silent only a mount's connection counts.
 */
bool pool_brick_is_online(const struct core *c, const char *name, const char *host);
/** pool_brick_has_no_port - does the brick on @host live, while its glusterd tells nobody its port (docs/bugs.md B6)? */
bool pool_brick_has_no_port(const struct core *c, const char *name, const char *host);
/**
 * pool_ended_brick - the record of the pool's brick that was to end, since it could not prove a fence (core/ha/ha_ended.c)
 * Return: borrowed; NULL when there is none, or it is of an earlier pool of that name
 */
const json_t *pool_ended_brick(const struct core *c, const char *name);
/** pool_brick_is_ended - has the brick on @host ended for that, and is not known to be whole again? */
bool pool_brick_is_ended(const struct core *c, const char *name, const char *host);
/**
 * pool_brick_to_ask - {"host","mgmt","index","brick"}: where what @brick, the @index-th of its pool, lists is asked for
 * Return: new reference
 */
json_t *pool_brick_to_ask(const struct core *c, json_t *brick, size_t index);
/** pool_misses - has a mount lost the brick on @host, or do others list for long what may be for it? */
bool pool_misses(const struct core *c, const char *name, const char *host);
/**
 * pool_does_without - may the brick on @host end for a moment? All others are online, every mount that there shall be
 * on a host that is not out is well and connected to them, and that host's list of what is left to heal is empty: what it has, they have.
 */
bool pool_does_without(const struct core *c, const char *name, const char *host);
/**
 * pool_guard - the host that looks after the pool's options: the first that holds a brick, is online and
 * not silent; NULL when there is none. Borrowed. Two that think so do the same twice.
 */
const char *pool_guard(const struct core *c, const json_t *pool);
/** pool_drift - [{option, want, had}] that the guard found last, or NULL. Borrowed. */
const json_t *pool_drift(const struct core *c, const char *name);
/** pool_wants_mount - must @host mount it? VM hosts mount every ready gluster pool. */
bool pool_wants_mount(const struct core *c, const json_t *pool, const char *host);

/**
 * pool_heal_noted - what a look at a pool has seen, and since when every look has listed something for heal
 * @seen: what the look at @at_us (boottime) has seen        @before: what is remembered of the look before, or NULL
 * Return: @seen, whose brick has heal_since_us while files are listed, and heal_stays when they have been for
 * so long that it is not the moment of a write: files that are written to come and go there. New reference.
 */
json_t *pool_heal_noted(json_t *seen, const json_t *before, uint64_t at_us);

/** pool_reads_seen - whatever is seen of pools is looked at, by index (core/basis.h) */
void pool_reads_seen(const struct core *c);
/** pool_of_seen - the name of the pool that an observation "@what" is about, or NULL. Borrows. */
const char *pool_of_seen(const char *what);
