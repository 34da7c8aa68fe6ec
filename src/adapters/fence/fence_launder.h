/* SPDX-License-Identifier: Apache-2.0
 * What goes through a mount, and may hang with it: done by the program mortar-launder, a grandchild
 * with a deadline. A request that the mount's process has taken cannot be interrupted, so a killed
 * child may stay; the caller is told, and a VM must not start before it is gone (A1). */
#pragma once

#include <sys/types.h>

#include "adapters/fence/fence_index.h"
#include "adapters/fence/fence_index_parse.h"

#define FENCE_LAUNDER_PROGRAM "/usr/lib/mortar/mortar-launder" /* src/adapters/fence/meson.build */
#define FENCE_LAUNDER_SHARDS_MAX (3 * FENCE_INDEX_MAX) /* all that three bricks can list */
#define FENCE_LAUNDER_BLOCK_BYTES 4096 /* what O_DIRECT takes on every disk that we accept */

/* A child that was killed at the deadline and had not ended. All zero: there is none. */
struct fence_left {
    pid_t pid; /* -1: nobody knows which */
    uint64_t start_ticks;
};

/** fence_left_is_gone - has it ended, with every request of it answered? False for pid -1. */
bool fence_left_is_gone(const struct fence_left *left);

/**
 * fence_launder - read pieces of an image and write the same bytes back, then fsync
 *
 * Only the new owner's host may, for an image that no VM has open (A1). Holes are written too, as
 * zeros: what reads as a hole here may be data on the other copy. Bytes behind the image's end are
 * not reached.
 * @program: FENCE_LAUNDER_PROGRAM        @path: absolute, below the mount; no symbolic link
 * @shard_bytes: of the volume, multiple of 4096        @shards: numbers, 0 the first piece
 * @length: how much of each piece, from its start: @shard_bytes, so that copies which differ are made
 *   equal; FENCE_LAUNDER_BLOCK_BYTES is enough when exactly one data brick is reachable, because blame is per
 *   file and there is no second copy to differ (docs/evidence/flip.md, 5′)
 * @deadline_us: CLOCK_BOOTTIME
 * @ret_left: always set
 * Return: 0; -ERR_TIMEOUT (then look at @ret_left); -ERR_IO; -ERR_INVALID, -ERR_COMMAND
 */
int fence_launder(const char *program, const char *path, uint64_t shard_bytes, uint64_t length,
                  const uint64_t *shards, size_t n_shards, uint64_t deadline_us, struct fence_left *ret_left, struct err *e);

/**
 * fence_launder_find - does a laundering run on this host that somebody else has begun, and may still write?
 * An agent asks before it launders anything itself: then it is of an agent before it, whose death has killed it,
 * but a request that its mount has taken goes on.
 * @ret: a process, or 0. Return: 0 or -ERR_IO
 */
int fence_launder_find(pid_t *ret, struct err *e);

/**
 * fence_image_gfid - the gfid of an image, asked through its mount
 * @ret: FENCE_GFID_LEN + 1 bytes, set on success
 * Return: 0; -ERR_TIMEOUT when the mount hangs; -ERR_NOT_FOUND; -ERR_IO, -ERR_PARSE, -ERR_COMMAND
 */
int fence_image_gfid(const char *program, const char *path, uint64_t deadline_us, char *ret,
                     struct err *e);
