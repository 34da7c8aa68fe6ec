/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the ring that blockrec.h describes; several threads, one record each in flight. */
#include "blockwriter.h"

#include "keyask.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define RETRY_NS 1000000000ULL

uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t); /* cannot fail for a clock that exists */
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t mono_ns)
{
    struct timespec t = {
        .tv_sec = (time_t)(mono_ns / 1000000000ULL),
        .tv_nsec = (long)(mono_ns % 1000000000ULL),
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static int read_block(void *ctx, uint64_t block, void *ret_block)
{
    const struct blockwriter *w = ctx;
    ssize_t n = pread(w->fd, ret_block, BLOCK_BYTES, (off_t)(block * BLOCK_BYTES));

    if (n < 0) {
        return -errno;
    }
    return n == BLOCK_BYTES ? 0 : -EIO;
}

/** Writes one block, again and again until the disk takes it: its fate is never left unknown. */
static void write_block(struct blockwriter *w, uint64_t block, const void *data)
{
    while (pwrite(w->fd, data, BLOCK_BYTES, (off_t)(block * BLOCK_BYTES)) != BLOCK_BYTES) {
        pthread_mutex_lock(&w->lock);
        w->stats.write_errors++;
        pthread_mutex_unlock(&w->lock);
        sleep_until(clock_ns(CLOCK_MONOTONIC) + RETRY_NS);
    }
}

static void flush_disk(struct blockwriter *w)
{
    while (fdatasync(w->fd) < 0) {
        pthread_mutex_lock(&w->lock);
        w->stats.write_errors++;
        pthread_mutex_unlock(&w->lock);
        sleep_until(clock_ns(CLOCK_MONOTONIC) + RETRY_NS);
    }
}

/** Seals and writes the superblock into the slot that does not hold the newest one. */
static void write_super(struct blockwriter *w)
{
    struct ring_super *s = &w->super;

    s->generation++;
    super_seal(s, &w->opts.key);
    write_block(w, s->generation % SUPER_SLOTS, s);
}

/** Called with the lock held and nobody else flushing; drops the lock while the disk works. */
static void flush_and_note(struct blockwriter *w, bool clean)
{
    uint64_t acked = w->stats.acked_seq;

    assert(!w->flushing);
    w->flushing = true;
    pthread_mutex_unlock(&w->lock);
    flush_disk(w);
    w->super.flushed_seq = acked;
    w->super.clean = clean;
    write_super(w);
    if (clean) {
        flush_disk(w);
    }
    pthread_mutex_lock(&w->lock);
    w->stats.flushed_seq = acked;
    w->flushing = false;
    pthread_cond_broadcast(&w->changed);
}

static bool may_issue(const struct blockwriter *w)
{
    return w->stats.writing && w->stats.issued_seq < w->stats.flushed_seq + WRITE_WINDOW;
}

/** Waits for its turn, then takes the next number and the clocks, all under one lock. */
static void take_number(struct blockwriter *w, struct block_record *r)
{
    uint64_t ring_blocks = w->super.ring_blocks;

    pthread_mutex_lock(&w->lock);
    do {
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        uint64_t due_ns = 0;

        while (!may_issue(w)) {
            pthread_cond_wait(&w->changed, &w->lock);
        }
        due_ns = w->next_due_ns > now_ns ? w->next_due_ns : now_ns;
        w->next_due_ns = due_ns + 1000000000ULL / w->stats.writes_per_s;
        pthread_mutex_unlock(&w->lock);
        sleep_until(due_ns);
        pthread_mutex_lock(&w->lock);
    } while (!may_issue(w));
    r->seq = ++w->stats.issued_seq;
    r->flushed_seq = w->stats.flushed_seq;
    r->mono_ns = clock_ns(CLOCK_MONOTONIC);
    r->wall_ns = clock_ns(CLOCK_REALTIME);
    w->in_flight++;
    pthread_mutex_unlock(&w->lock);
    r->block = w->super.ring_start + ring_slot(r->seq, ring_blocks);
}

static void note_acknowledged(struct blockwriter *w, const struct block_record *r)
{
    uint64_t took_us = (clock_ns(CLOCK_MONOTONIC) - r->mono_ns) / 1000;

    pthread_mutex_lock(&w->lock);
    assert(r->seq > w->stats.acked_seq && r->seq - w->stats.acked_seq <= WRITE_WINDOW);
    w->acked_mask |= 1ULL << (r->seq - w->stats.acked_seq - 1);
    while (w->acked_mask & 1) {
        w->acked_mask >>= 1;
        w->stats.acked_seq++;
    }
    w->in_flight--;
    if (took_us > w->stats.slowest_write_us) {
        w->stats.slowest_write_us = took_us;
    }
    if (!w->flushing && w->stats.acked_seq - w->stats.flushed_seq >= w->opts.flush_every) {
        flush_and_note(w, false);
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void *write_records(void *arg)
{
    struct blockwriter *w = arg;
    struct block_record *r = NULL;

    if (posix_memalign((void **)&r, BLOCK_BYTES, sizeof(*r)) != 0) {
        abort();
    }
    memset(r, 0, sizeof(*r));
    r->epoch = w->super.epoch;
    memcpy(r->vm, w->super.vm, sizeof(r->vm));
    memcpy(r->boot_id, w->super.boot_id, sizeof(r->boot_id));
    for (;;) {
        take_number(w, r);
        record_seal(r, &w->opts.key);
        write_block(w, r->block, r);
        note_acknowledged(w, r);
    }
}

static int judge(struct blockwriter *w, struct ring_report *ret_report)
{
    uint64_t bytes = 0;
    struct ring_expect expect = {.vm = w->opts.vm};

    if (ioctl(w->fd, BLKGETSIZE64, &bytes) < 0) {
        return -errno;
    }
    /* what is read below must be on disk for good before anything is concluded from it */
    if (fdatasync(w->fd) < 0) {
        return -errno;
    }
    return ring_check(&(struct ring_source){read_block, w, bytes / BLOCK_BYTES}, &expect,
                      ret_report);
}

/** From the judged past to the first superblock of this start. */
static void begin_epoch(struct blockwriter *w, struct ring_report *report,
                        const uint8_t boot_id[BOOT_ID_BYTES])
{
    plan_next_epoch(report, w->opts.asks_key ? w->opts.key.epoch : 0, w->opts.ring_blocks, clock_ns(CLOCK_REALTIME), &w->super);
    memcpy(w->super.vm, w->opts.vm, sizeof(w->super.vm));
    memcpy(w->super.boot_id, boot_id, BOOT_ID_BYTES);
    w->opts.key.epoch = w->super.epoch;
    w->super.generation--; /* write_super() counts it */
    write_super(w);
    flush_disk(w);
    w->stats.epoch = w->super.epoch;
    w->stats.ring_blocks = w->super.ring_blocks;
    w->stats.first_seq = w->super.flushed_seq + 1;
    w->stats.issued_seq = w->super.flushed_seq;
    w->stats.acked_seq = w->super.flushed_seq;
    w->stats.flushed_seq = w->super.flushed_seq;
}

static int start_threads(struct blockwriter *w)
{
    for (uint64_t i = 0; i < w->opts.depth; i++) {
        pthread_t thread;
        int r = pthread_create(&thread, NULL, write_records, w);

        if (r != 0) {
            return -r;
        }
    }
    return 0;
}

int blockwriter_open(struct blockwriter *w, const char *path, const struct boot_options *opts, int key_port,
                     const uint8_t boot_id[BOOT_ID_BYTES], struct ring_report *ret_report)
{
    int r;

    w->opts = *opts;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->stats.verdict = HISTORY_NO_DISK;
    memset(ret_report, 0, sizeof(*ret_report));
    w->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (w->fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    r = judge(w, ret_report);
    if (r < 0) {
        return r == -EMEDIUMTYPE ? 0 : r;
    }
    if (ret_report->violation_count > 0) {
        w->stats.verdict = HISTORY_BROKEN;
        w->stats.epoch = ret_report->super.epoch;
        return 0;
    }
    if (opts->asks_key) {
        if (key_port < 0) {
            return -ENOTCONN;
        }
        keyask_wait(key_port, boot_id, ret_report->super.epoch, &w->opts.key);
    }
    begin_epoch(w, ret_report, boot_id);
    w->stats.verdict = HISTORY_OK;
    (void)blockwriter_set_rate(w, opts->writes_per_s); /* allowed: the verdict is ok */
    return start_threads(w);
}

bool blockwriter_set_rate(struct blockwriter *w, uint64_t per_s)
{
    if (w->stats.verdict != HISTORY_OK) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    w->stats.writing = per_s > 0;
    if (per_s > 0) {
        w->stats.writes_per_s = per_s;
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return true;
}

/** Called with the lock held: no new writes, none in flight, all flushed. Returns if it was writing. */
static bool quiesce(struct blockwriter *w, bool clean)
{
    bool was_writing = w->stats.writing;

    w->stats.writing = false;
    while (w->in_flight > 0 || w->flushing) {
        pthread_cond_wait(&w->changed, &w->lock);
    }
    flush_and_note(w, clean);
    return was_writing;
}

int blockwriter_recheck(struct blockwriter *w, struct ring_report *ret_report)
{
    bool was_writing;
    int r;

    if (w->stats.verdict == HISTORY_NO_DISK) {
        return -ENODEV;
    }
    if (w->stats.verdict == HISTORY_BROKEN) {
        return judge(w, ret_report);
    }
    pthread_mutex_lock(&w->lock);
    was_writing = quiesce(w, false);
    pthread_mutex_unlock(&w->lock);
    r = judge(w, ret_report);
    pthread_mutex_lock(&w->lock);
    w->stats.writing = was_writing;
    if (r == 0 && ret_report->violation_count > 0) {
        w->stats.verdict = HISTORY_BROKEN;
        w->stats.writing = false;
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return r;
}

void blockwriter_stop(struct blockwriter *w)
{
    if (w->stats.verdict != HISTORY_OK) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    (void)quiesce(w, true); /* it will not go on */
    pthread_mutex_unlock(&w->lock);
}

void blockwriter_get_stats(struct blockwriter *w, struct writer_stats *ret_stats)
{
    pthread_mutex_lock(&w->lock);
    *ret_stats = w->stats;
    pthread_mutex_unlock(&w->lock);
}

void blockwriter_reset_stats(struct blockwriter *w)
{
    pthread_mutex_lock(&w->lock);
    w->stats.slowest_write_us = 0;
    pthread_mutex_unlock(&w->lock);
}
