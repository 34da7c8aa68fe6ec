/* SPDX-License-Identifier: Apache-2.0
 * The drain proof (facts/gluster.md 4.4, step 4): everything that a brick had received from a host
 * before the cut is over. Never through glusterd, which may hang with a dead peer. */
#pragma once

#include "adapters/fence/fence_brick.h"

#define FENCE_RUN_DIR "/var/run/gluster" /* DEFAULT_VAR_RUN_DIRECTORY of Debian's 10.3 */

struct fence_proof {
    pid_t pid;
    uint64_t start_ticks; /* another process of this brick later proves nothing about this one */
    unsigned polls;       /* statedumps read */
    size_t waited_for;    /* operations of the first one */
    uint64_t waited_us;
};

/**
 * fence_drain - prove, after fence_cut(), that nothing of the host is left in a brick. One at a time
 * for one brick.
 * @run_dir: FENCE_RUN_DIR        @volume, @brick: as GlusterFS has them
 * @client_host: host name of the fenced host, as its mounts tell the bricks (its gethostname()).
 *      NULL proves too little: a write that was read but not begun landed behind such a proof
 *      (docs/fence.md). Only to show that
 * @deadline_us: CLOCK_BOOTTIME   @ret: set on success
 * Return: 0; -ERR_TIMEOUT naming brick and what is left; -ERR_NOT_FOUND when the brick does not run
 *         (nothing is left in it; it has to be looked at again, since it may come back);
 *         -ERR_STATE when the process changed meanwhile; -ERR_IO, -ERR_LIMIT
 */
int fence_drain(const char *run_dir, const char *volume, const char *brick, const char *client_host,
                uint64_t deadline_us, struct fence_proof *ret, struct err *e);

/** format_fence_proof - {"brick":B,"pid":N,"polls":N,"start":N,"waited_for":N,"waited_us":N}. Free it. */
char *format_fence_proof(const char *brick, const struct fence_proof *p);
