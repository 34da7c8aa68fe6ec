/* SPDX-License-Identifier: Apache-2.0
 * The control group of the VMs: freeze, thaw, and see what still runs. Files are opened when the
 * slice appears and kept; no allocation, no disk. `frozen` of cgroup.events may stay 0 while an
 * I/O thread hangs (facts/ha.md 3.1), so stillness is read from the states of threads.
 *
 * After the write of 1 each thread below the slice is bound to stop before it executes another
 * instruction of the guest or of its program; one in state R may not have got there yet, one in S
 * or D has nothing left to execute. */
#pragma once

#include "guard/guard_conf.h"

#define FREEZE_DEPTH_MAX 6
#define FREEZE_DIRENTS_BYTES 2048

enum freeze_seen {
    FREEZE_EMPTY, /* no slice, or nobody in it */
    FREEZE_STILL,
    FREEZE_RUNNING, /* or it could not be read */
};

/* Zero-initialise with freeze_init(). Holds the buffers, so that the stack stays small. */
struct freeze {
    char path[GUARD_PATH_SIZE];
    int freeze_fd; /* -1: there is no slice, as far as we know */
    int events_fd;
    struct {
        int fd;
        long len;
        long at;
        _Alignas(8) char entries[FREEZE_DIRENTS_BYTES];
    } levels[FREEZE_DEPTH_MAX + 1]; /* the last for /proc/PID/task */
};

/** freeze_init - a slice by its path, which need not exist */
void freeze_init(struct freeze *f, const char *path);
/** freeze_done - let the slice be as it is */
void freeze_done(struct freeze *f);

/**
 * freeze_refresh - notice that the slice came, went or was made anew. Return: whether it is there
 */
bool freeze_refresh(struct freeze *f);

/**
 * freeze_apply - freeze or thaw
 * Return: 0, also when there is no slice; else -ERR_IO
 */
int freeze_apply(struct freeze *f, bool on, struct err *e);

/** freeze_is_set - is the slice there, and was it ordered to freeze (by whomever)? */
bool freeze_is_set(const struct freeze *f);

/** freeze_observe - what runs below the slice; bounded by its processes and threads */
enum freeze_seen freeze_observe(struct freeze *f);
