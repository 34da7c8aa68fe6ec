/* SPDX-License-Identifier: Apache-2.0 */
/* Ticks, the RTC's edge, and the lines on the channel; see heartbeat.h for what they mean. */
#include "heartbeat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <time.h>
#include <unistd.h>

#define EDGE_POLL_NS 1000000
#define EDGE_SLEEP_NS 980000000
#define DAY_S 86400

/* MC146818A: registers and the two I/O ports every PC has */
#define CMOS_INDEX_PORT 0x70
#define CMOS_DATA_PORT 0x71
#define CMOS_SECONDS 0x00
#define CMOS_MINUTES 0x02
#define CMOS_HOURS 0x04
#define CMOS_STATUS_B 0x0b
#define CMOS_B_BINARY 0x04

static void sleep_ns(long ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {
    }
}

static uint8_t cmos_read(uint8_t reg)
{
    outb(reg, CMOS_INDEX_PORT);
    return inb(CMOS_DATA_PORT);
}

static int cmos_number(uint8_t reg)
{
    uint8_t raw = cmos_read(reg);

    return cmos_read(CMOS_STATUS_B) & CMOS_B_BINARY ? raw : (raw >> 4) * 10 + (raw & 15);
}

static int cmos_second_of_day(void)
{
    return (cmos_number(CMOS_HOURS) * 60 + cmos_number(CMOS_MINUTES)) * 60 +
           cmos_number(CMOS_SECONDS);
}

static void note_step(struct heartbeat *h, int64_t step_us)
{
    pthread_mutex_lock(&h->lock);
    h->stats.rtc_edges++;
    h->stats.rtc_ahead_us += step_us;
    if (step_us > h->stats.rtc_step_us) {
        h->stats.rtc_step_us = step_us;
    }
    pthread_mutex_unlock(&h->lock);
}

/** Times each edge of the RTC; an edge that was slept through only makes the next step longer. */
static void *time_rtc_edges(void *arg)
{
    struct heartbeat *h = arg;
    uint64_t edge_ns = 0;
    int edge_s = 0;

    if (ioperm(CMOS_INDEX_PORT, 2, 1) < 0) {
        return NULL; /* rtc_edges stays 0 and says so */
    }
    for (;;) {
        uint8_t before = cmos_read(CMOS_SECONDS);
        uint64_t now_ns = 0;
        int now_s = 0;

        while (cmos_read(CMOS_SECONDS) == before) {
            sleep_ns(EDGE_POLL_NS);
        }
        now_ns = clock_ns(CLOCK_MONOTONIC);
        now_s = cmos_second_of_day();
        if (edge_ns > 0) {
            int64_t rtc_s = (now_s - edge_s + DAY_S) % DAY_S;

            note_step(h, rtc_s * 1000000 - (int64_t)((now_ns - edge_ns) / 1000));
        }
        edge_ns = now_ns;
        edge_s = now_s;
        sleep_ns(EDGE_SLEEP_NS);
    }
}

static void emit_line(struct heartbeat *h, uint64_t now_ns)
{
    struct writer_stats w;
    struct heartbeat_stats s;
    char line[256];
    int length;
    bool sent;

    blockwriter_get_stats(h->writer, &w);
    heartbeat_get_stats(h, &s);
    length = snprintf(line, sizeof(line),
                      "tick %" PRIu64 " mono_ns=%" PRIu64 " wall_ns=%" PRIu64 " epoch=%" PRIu64
                      " issued=%" PRIu64 " acked=%" PRIu64 " flushed=%" PRIu64
                      " rtc_ahead_us=%" PRId64 "\n",
                      s.ticks, now_ns, clock_ns(CLOCK_REALTIME), w.epoch, w.issued_seq,
                      w.acked_seq, w.flushed_seq, s.rtc_ahead_us);
    assert(length > 0 && (size_t)length < sizeof(line));
    sent = write(h->port, line, (size_t)length) == length;
    pthread_mutex_lock(&h->lock);
    h->stats.emitted += sent;
    h->stats.dropped += !sent;
    pthread_mutex_unlock(&h->lock);
}

static void *tick(void *arg)
{
    struct heartbeat *h = arg;
    uint64_t last_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t emit_due_ns = last_ns;

    for (;;) {
        uint64_t now_ns = 0;

        sleep_ns((long)h->tick_ns);
        now_ns = clock_ns(CLOCK_MONOTONIC);
        pthread_mutex_lock(&h->lock);
        h->stats.ticks++;
        if ((now_ns - last_ns) / 1000 > h->stats.wake_gap_us) {
            h->stats.wake_gap_us = (now_ns - last_ns) / 1000;
        }
        pthread_mutex_unlock(&h->lock);
        last_ns = now_ns;
        if (h->port >= 0 && h->emit_ns > 0 && now_ns >= emit_due_ns) {
            emit_line(h, now_ns);
            /* half a tick early, or a late tick would cost the line a whole one */
            emit_due_ns = now_ns + h->emit_ns - h->tick_ns / 2;
        }
    }
    return NULL; /* not reached; gcc 12 asks for it */
}

int heartbeat_start(struct heartbeat *h, struct blockwriter *writer, int port,
                    const struct boot_options *opts)
{
    pthread_t thread;
    int r;

    h->writer = writer;
    h->port = port;
    h->tick_ns = opts->tick_ms * 1000000;
    h->emit_ns = opts->emit_ms * 1000000;
    pthread_mutex_init(&h->lock, NULL);
    r = pthread_create(&thread, NULL, tick, h);
    if (r == 0) {
        r = pthread_create(&thread, NULL, time_rtc_edges, h);
    }
    return -r;
}

void heartbeat_get_stats(struct heartbeat *h, struct heartbeat_stats *ret_stats)
{
    pthread_mutex_lock(&h->lock);
    *ret_stats = h->stats;
    pthread_mutex_unlock(&h->lock);
}

void heartbeat_reset_stats(struct heartbeat *h)
{
    pthread_mutex_lock(&h->lock);
    h->stats.wake_gap_us = 0;
    h->stats.rtc_step_us = 0;
    pthread_mutex_unlock(&h->lock);
}
