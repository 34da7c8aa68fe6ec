/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load: writes numbered records into the ring, several in flight, and flushes now and then.
 *
 * Lock order: only writer.lock. Disk calls are made without it; a thread that is stuck in one
 * (a frozen or fenced pool) holds up its own record and, through WRITE_WINDOW, soon all others.
 */
#pragma once

#include <pthread.h>

#include "bootopts.h"
#include "ringcheck.h"

enum history_verdict {
    HISTORY_NO_DISK,      /* no disk, or one without our header: never written to */
    HISTORY_OK,
    HISTORY_BROKEN,       /* the writer stays off, so that the evidence survives */
};

struct writer_stats {
    enum history_verdict verdict;
    bool writing;
    uint64_t epoch;
    uint64_t ring_blocks;
    uint64_t first_seq;        /* first number of this epoch */
    uint64_t issued_seq;
    uint64_t acked_seq;        /* everything up to here was acknowledged */
    uint64_t flushed_seq;
    uint64_t writes_per_s;
    uint64_t write_errors;
    uint64_t slowest_write_us; /* by the guest's clock, which stands still in a migration's blackout */
};

struct blockwriter {
    int fd;
    struct boot_options opts;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ring_super super __attribute__((aligned(BLOCK_BYTES)));   /* for O_DIRECT */
    struct writer_stats stats;
    uint64_t acked_mask;       /* bit i: acked_seq + 1 + i was acknowledged out of turn */
    uint64_t next_due_ns;
    unsigned in_flight;
    bool flushing;
};

/**
 * blockwriter_open - look for the disk, judge its history, begin an epoch, start the threads
 * @w: zeroed; lives as long as the process
 * @path: block device    @opts: copied
 * @key_port: where to ask for the epoch's key when @opts say so, or -1; returns only when there is an answer
 * @boot_id: random per boot
 * @ret_report: the history as found; violations are in it
 * Return: 0 with w->stats.verdict set, or a negative errno when the disk failed
 */
int blockwriter_open(struct blockwriter *w, const char *path, const struct boot_options *opts, int key_port,
                     const uint8_t boot_id[BOOT_ID_BYTES], struct ring_report *ret_report);

/**
 * blockwriter_set_rate - writes per second from now on
 * @w: opened writer    @per_s: 0 = off
 * Return: false when the verdict forbids writing
 */
bool blockwriter_set_rate(struct blockwriter *w, uint64_t per_s);

/**
 * blockwriter_recheck - stop, flush, judge the ring again, go on
 * @w: opened writer
 * @ret_report: what was found
 * Return: 0, or a negative errno
 */
int blockwriter_recheck(struct blockwriter *w, struct ring_report *ret_report);

/**
 * blockwriter_stop - wait for all writes, flush, note a clean stop in the superblock
 * @w: opened writer; nothing happens when it may not write
 */
void blockwriter_stop(struct blockwriter *w);

/**
 * blockwriter_get_stats - a consistent copy of the numbers
 * @w: opened writer
 * @ret_stats: set
 */
void blockwriter_get_stats(struct blockwriter *w, struct writer_stats *ret_stats);

/**
 * blockwriter_reset_stats - forget the slowest write
 * @w: opened writer
 */
void blockwriter_reset_stats(struct blockwriter *w);

/**
 * clock_ns - a clock in nanoseconds
 * @clock: CLOCK_MONOTONIC or CLOCK_REALTIME
 * Return: its value
 */
uint64_t clock_ns(clockid_t clock);
