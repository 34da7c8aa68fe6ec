/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long was the guest away? Two answers, and a stream for a third (docs/guest.md says which is honest):
 *  - wake gap: the longest time between two ticks (5 ms) by CLOCK_MONOTONIC. That clock stands still
 *    while a migrated guest is stopped, so this shows starvation, not the blackout;
 *  - RTC step: the emulated CMOS clock runs on the host's clock. Once per second its edge is timed
 *    by CLOCK_MONOTONIC; what the RTC is ahead is time in which the guest did not run;
 *  - lines on a virtio-serial port, stamped by whoever reads them outside.
 */
#pragma once

#include "blockwriter.h"

struct heartbeat_stats {
    uint64_t ticks;
    uint64_t wake_gap_us;       /* longest */
    int64_t rtc_step_us;        /* largest single step since the last reset */
    int64_t rtc_ahead_us;       /* sum of all steps since boot: blackouts and drift */
    uint64_t rtc_edges;
    uint64_t emitted;
    uint64_t dropped;           /* lines nobody was there to read */
};

struct heartbeat {
    pthread_mutex_t lock;
    struct heartbeat_stats stats;
    struct blockwriter *writer;
    uint64_t tick_ns;
    uint64_t emit_ns;
    int port;                   /* -1: no such port */
};

/**
 * heartbeat_start - start ticking
 * @h: zeroed; lives as long as the process
 * @writer: opened; its numbers go into the lines
 * @port: open non-blocking port for the lines, or -1
 * @opts: tick_ms and emit_ms are used
 * Return: 0, or a negative errno
 */
int heartbeat_start(struct heartbeat *h, struct blockwriter *writer, int port,
                    const struct boot_options *opts);

/**
 * heartbeat_get_stats - a consistent copy of the numbers
 * @h: started
 * @ret_stats: set
 */
void heartbeat_get_stats(struct heartbeat *h, struct heartbeat_stats *ret_stats);

/**
 * heartbeat_reset_stats - forget the longest gap and the largest step
 * @h: started
 */
void heartbeat_reset_stats(struct heartbeat *h);
