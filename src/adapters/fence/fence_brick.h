/* SPDX-License-Identifier: Apache-2.0
 * Processes of bricks on this host: which it is, signals to it, its end. No pid file is believed and
 * no glusterd is asked: /proc is what is. */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct fence_brick {
    pid_t pid;
    int pidfd;            /* caller closes */
    uint64_t start_ticks; /* since boot, /proc/PID/stat: with @pid it names one process */
};

/**
 * fence_brick_find - the process of a brick
 * @volume, @brick: as GlusterFS has them; @brick is the directory
 * @ret: set on success
 * Return: 0; -ERR_NOT_FOUND when there is surely none; -ERR_BUSY when one that may be it is just
 *         ending or there are two; -ERR_IO
 */
int fence_brick_find(const char *volume, const char *brick, struct fence_brick *ret, struct err *e);

/**
 * fence_brick_dump - ask the process for a statedump
 * Return: 0; -ERR_BUSY when it does not take the signal yet (it has just been started);
 *         -ERR_NOT_FOUND when it is gone; -ERR_IO
 */
int fence_brick_dump(const struct fence_brick *b, struct err *e);

/**
 * fence_kill_brick - SIGKILL, and wait until the whole process is gone, or all if there are more: then
 * nothing of it can reach the disk any more. No such process: success. glusterd does not start it again by itself; who
 * revives bricks must know that this one is to stay down.
 * @deadline_us: CLOCK_BOOTTIME        @ret_killed: may be NULL; 0 when there was none
 * Return: 0; -ERR_TIMEOUT when it still is there at the deadline (a hung disk); -ERR_IO
 */
int fence_kill_brick(const char *volume, const char *brick, uint64_t deadline_us, unsigned *ret_killed,
                     struct err *e);
