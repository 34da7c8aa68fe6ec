/* SPDX-License-Identifier: Apache-2.0 */
/* Judge superblocks and ring; the rules stand in blockrec.h, their reasons in docs/guest.md. */
#include "ringcheck.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** What the later passes need of a slot; the block itself is not kept. */
struct slot_seen {
    enum block_state state;
    uint64_t epoch;
    uint64_t seq;
    uint64_t mono_ns;
    bool ours;               /* whole, in its place, of this VM, tag not wrong */
};

struct judge {
    const struct ring_expect *expect;
    struct ring_report *report;
    struct slot_seen *slots;
    uint64_t slot_count;
};

static void accuse(struct judge *j, const char *kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void accuse(struct judge *j, const char *kind, const char *fmt, ...)
{
    struct ring_report *r = j->report;
    va_list ap;

    if (r->violation_count < VIOLATIONS_MAX) {
        struct violation *v = &r->violations[r->violation_count];

        v->kind = kind;
        va_start(ap, fmt);
        (void)vsnprintf(v->text, sizeof(v->text), fmt, ap); /* cut text still accuses */
        va_end(ap);
    }
    r->violation_count++;
}

enum tag_fit ring_tag_fit(const struct ring_expect *expect, uint64_t epoch, const uint8_t digest[SHA256_BYTES],
                          const uint8_t tag[SHA256_BYTES], uint64_t *ret_epoch)
{
    enum tag_fit fit = TAG_UNKNOWN;

    *ret_epoch = epoch;
    for (size_t i = 0; i < expect->key_count; i++) {
        const struct epoch_key *key = &expect->keys[i];

        if (key->epoch == epoch && key->bytes > 0) {
            if (tag_is_right(digest, tag, key)) {
                return TAG_RIGHT;
            }
            fit = TAG_WRONG;
        }
    }
    for (size_t i = 0; i < expect->key_count; i++) {
        const struct epoch_key *key = &expect->keys[i];

        if (key->epoch != epoch && key->bytes > 0 && tag_is_right(digest, tag, key)) {
            *ret_epoch = key->epoch;
            return TAG_OTHER;
        }
    }
    return fit;
}

/** Accuses a block whose tag is not its epoch's. */
static bool judge_tag(struct judge *j, const char *what, uint64_t number, uint64_t epoch,
                      const uint8_t digest[SHA256_BYTES], const uint8_t tag[SHA256_BYTES])
{
    uint64_t writer = 0;
    enum tag_fit fit = ring_tag_fit(j->expect, epoch, digest, tag, &writer);

    if (fit == TAG_OTHER) {
        accuse(j, "other-key", "%s %" PRIu64 " of epoch %" PRIu64 " has a tag made with the key of epoch %" PRIu64,
               what, number, epoch, writer);
    } else if (fit == TAG_WRONG) {
        accuse(j, "forged", "%s %" PRIu64 " has a wrong tag for epoch %" PRIu64, what, number, epoch);
    }
    return fit == TAG_RIGHT || fit == TAG_UNKNOWN;
}

/** The entry of the newest epoch that began at or before @seq; NULL when the history is too short. */
static const struct ring_epoch *find_epoch_of(const struct ring_super *s, uint64_t seq)
{
    for (uint64_t i = s->epochs_used; i > 0; i--) {
        if (s->epochs[i - 1].first_seq <= seq) {
            return &s->epochs[i - 1];
        }
    }
    return NULL;
}

/** True when @seq was in flight when its epoch ended and was not on disk at the next start. */
static bool seq_is_excused(const struct ring_super *s, uint64_t seq)
{
    for (uint64_t i = 0; i < s->epochs_used; i++) {
        const struct ring_epoch *e = &s->epochs[i];

        if (seq >= e->gap_first && seq < e->first_seq) {
            return !(e->seen_mask >> (seq - e->gap_first) & 1);
        }
    }
    return false;
}

static int judge_supers(struct judge *j, const struct ring_source *src)
{
    struct ring_super found[SUPER_SLOTS] __attribute__((aligned(BLOCK_BYTES)));
    enum block_state states[SUPER_SLOTS];
    const struct ring_super *best = NULL;

    for (uint64_t i = 0; i < SUPER_SLOTS; i++) {
        int r = src->read(src->ctx, i, &found[i]);

        if (r < 0) {
            return r;
        }
        states[i] = super_state(&found[i]);
        if (states[i] == BLOCK_WHOLE &&
            (!best || found[i].epoch > best->epoch ||
             (found[i].epoch == best->epoch && found[i].generation > best->generation))) {
            best = &found[i];
        }
    }
    if (!best) {
        return -EMEDIUMTYPE;
    }
    for (uint64_t i = 0; i < SUPER_SLOTS; i++) {
        if (states[i] != BLOCK_WHOLE) {
            if (best->clean && best->generation > 1) {
                accuse(j, "torn", "superblock %" PRIu64 " is broken after a clean stop", i);
            }
            continue;
        }
        if (found[i].epoch < best->epoch && found[i].generation > best->generation) {
            accuse(j, "stale-epoch",
                   "superblock of epoch %" PRIu64 " was written after epoch %" PRIu64 " began",
                   found[i].epoch, best->epoch);
        }
        (void)judge_tag(j, "superblock", i, found[i].epoch, found[i].digest, found[i].tag); /* it has accused */
    }
    j->report->super = *best;
    if (j->expect->vm && best->vm[0] && strcmp(j->expect->vm, best->vm) != 0) {
        accuse(j, "foreign", "the disk belongs to VM '%s'", best->vm);
    }
    return 0;
}

/** Belongs this whole record to this disk and place? Only then its numbers may be used. */
static bool judge_record(struct judge *j, const struct block_record *r, uint64_t slot)
{
    const struct ring_super *s = &j->report->super;
    uint64_t block = s->ring_start + slot;

    if (r->block != block || ring_slot(r->seq, s->ring_blocks) != slot) {
        accuse(j, "misplaced", "block %" PRIu64 " holds seq %" PRIu64 " made for block %" PRIu64,
               block, r->seq, r->block);
        return false;
    }
    if (strcmp(r->vm, s->vm) != 0) {
        accuse(j, "foreign", "block %" PRIu64 " was written by VM '%s'", block, r->vm);
        return false;
    }
    return judge_tag(j, "seq", r->seq, r->epoch, r->digest, r->tag);
}

static int read_slots(struct judge *j, const struct ring_source *src)
{
    struct block_record r __attribute__((aligned(BLOCK_BYTES)));
    struct ring_report *report = j->report;

    for (uint64_t i = 0; i < j->slot_count; i++) {
        struct slot_seen *slot = &j->slots[i];
        int error = src->read(src->ctx, report->super.ring_start + i, &r);

        if (error < 0) {
            return error;
        }
        slot->state = record_state(&r);
        if (slot->state != BLOCK_WHOLE || !judge_record(j, &r, i)) {
            continue;
        }
        slot->ours = true;
        slot->epoch = r.epoch;
        slot->seq = r.seq;
        slot->mono_ns = r.mono_ns;
        if (r.seq > report->last_seq) {
            report->last_seq = r.seq;
        }
        if (r.flushed_seq > report->flushed_seq) {
            report->flushed_seq = r.flushed_seq;
        }
    }
    return 0;
}

/** The number that slot @i must hold: the newest flushed one that is not excused; 0 = none. */
static uint64_t demanded_seq(const struct ring_report *r, uint64_t i, bool *ret_may_be_torn)
{
    uint64_t ring = r->super.ring_blocks;
    uint64_t seq = i + 1;
    bool torn = false;

    /* what was excused in epochs that fell out of the history is forgotten: demand nothing there */
    if (seq <= r->flushed_seq) {
        seq += (r->flushed_seq - seq) / ring * ring;
        torn = !r->super.clean && seq + ring <= r->flushed_seq + WRITE_WINDOW;
        while (seq != 0 && seq_is_excused(&r->super, seq)) {
            seq = seq > ring ? seq - ring : 0;
            torn = true;
        }
        if (r->super.epochs[0].epoch > 1 && seq < r->super.epochs[0].gap_first) {
            seq = 0;
            torn = true;
        }
    } else {
        torn = seq <= r->flushed_seq + WRITE_WINDOW;
        seq = 0;
    }
    *ret_may_be_torn = torn;
    return seq;
}

static void judge_whole_slot(struct judge *j, const struct slot_seen *slot, uint64_t demanded)
{
    const struct ring_report *r = j->report;
    const struct ring_epoch *e = find_epoch_of(&r->super, slot->seq);

    if (slot->epoch > r->super.epoch) {
        accuse(j, "rolled-back", "seq %" PRIu64 " is of epoch %" PRIu64
               ", the superblock only knows %" PRIu64, slot->seq, slot->epoch, r->super.epoch);
    } else if (e && slot->epoch != e->epoch) {
        accuse(j, "stale-epoch", "seq %" PRIu64 " belongs to epoch %" PRIu64
               " but was written by epoch %" PRIu64, slot->seq, e->epoch, slot->epoch);
    } else if (!e && r->super.epochs_used > 0 && slot->epoch >= r->super.epochs[0].epoch) {
        accuse(j, "stale-epoch", "seq %" PRIu64 " is older than its epoch %" PRIu64, slot->seq,
               slot->epoch);
    }
    if (slot->seq < demanded) {
        accuse(j, "lost", "seq %" PRIu64 " was flushed, its block holds the older seq %" PRIu64,
               demanded, slot->seq);
    } else if (slot->seq > r->flushed_seq + (r->super.clean ? 0 : WRITE_WINDOW)) {
        accuse(j, "impossible", "seq %" PRIu64 " was written while only %" PRIu64
               " was flushed", slot->seq, r->flushed_seq);
    }
}

static void judge_slots(struct judge *j)
{
    struct ring_report *r = j->report;

    for (uint64_t i = 0; i < j->slot_count; i++) {
        const struct slot_seen *slot = &j->slots[i];
        bool may_be_torn = false;
        uint64_t demanded = demanded_seq(r, i, &may_be_torn);

        if (demanded > 0) {
            r->checked_blocks++;
            if (r->checked_first == 0 || demanded < r->checked_first) {
                r->checked_first = demanded;
            }
        }
        if (slot->ours) {
            judge_whole_slot(j, slot, demanded);
        } else if (slot->state == BLOCK_ZERO && demanded > 0) {
            accuse(j, "lost", "seq %" PRIu64 " was flushed, its block is empty", demanded);
        } else if (slot->state == BLOCK_BROKEN && !may_be_torn) {
            accuse(j, "torn", "block %" PRIu64 " (seq %" PRIu64 ") is damaged",
                   r->super.ring_start + i, demanded);
        } else if (slot->state == BLOCK_WHOLE && demanded > 0) {
            accuse(j, "lost", "seq %" PRIu64 " was flushed, its block was overwritten", demanded);
        }
    }
}

/** Numbers are handed out under one lock together with the clock: both must rise together. */
static void judge_order(struct judge *j)
{
    const struct ring_report *r = j->report;
    const struct slot_seen *before = NULL;
    uint64_t first = r->last_seq > j->slot_count ? r->last_seq - j->slot_count + 1 : 1;

    for (uint64_t seq = first; r->last_seq > 0 && seq <= r->last_seq; seq++) {
        const struct slot_seen *slot = &j->slots[ring_slot(seq, j->slot_count)];

        if (!slot->ours || slot->seq != seq) {
            continue;
        }
        if (before && before->epoch == slot->epoch && before->mono_ns > slot->mono_ns) {
            accuse(j, "reordered", "seq %" PRIu64 " was issued before seq %" PRIu64, slot->seq,
                   before->seq);
        }
        before = slot;
    }
}

static void note_seen(struct judge *j)
{
    struct ring_report *r = j->report;

    for (uint64_t i = 0; i < WRITE_WINDOW; i++) {
        uint64_t seq = r->flushed_seq + 1 + i;
        const struct slot_seen *slot = &j->slots[ring_slot(seq, j->slot_count)];

        if (slot->ours && slot->seq == seq) {
            r->seen_mask |= 1ULL << i;
        }
    }
}

static void judge_expectations(struct judge *j)
{
    const struct ring_report *r = j->report;

    if (r->flushed_seq < j->expect->flushed_seq) {
        accuse(j, "lost", "seq %" PRIu64 " was reported as flushed, the disk only knows %" PRIu64,
               j->expect->flushed_seq, r->flushed_seq);
    }
    if (r->super.epoch < j->expect->epoch) {
        accuse(j, "rolled-back", "epoch %" PRIu64 " was reported, the disk only knows %" PRIu64,
               j->expect->epoch, r->super.epoch);
    }
}

int ring_check(const struct ring_source *src, const struct ring_expect *expect,
               struct ring_report *ret_report)
{
    struct judge j = {.expect = expect, .report = ret_report};
    int r;

    memset(ret_report, 0, sizeof(*ret_report));
    r = judge_supers(&j, src);
    if (r < 0) {
        return r;
    }
    ret_report->flushed_seq = ret_report->super.flushed_seq;
    if (ret_report->super.epoch == 0) {
        judge_expectations(&j);
        return 0;
    }
    j.slot_count = ret_report->super.ring_blocks;
    if (ret_report->super.ring_start + j.slot_count > src->blocks) {
        accuse(&j, "truncated", "the ring ends behind the end of the disk");
        return 0;
    }
    j.slots = calloc(j.slot_count, sizeof(*j.slots));
    if (!j.slots) {
        return -ENOMEM;
    }
    r = read_slots(&j, src);
    if (r == 0) {
        judge_slots(&j);
        judge_order(&j);
        note_seen(&j);
        judge_expectations(&j);
    }
    free(j.slots);
    return r;
}

void plan_next_epoch(const struct ring_report *report, uint64_t epoch, uint64_t ring_blocks, uint64_t wall_ns,
                     struct ring_super *ret_super)
{
    struct ring_super *s = ret_super;
    struct ring_epoch *e;
    uint64_t top = report->last_seq > report->flushed_seq ? report->last_seq : report->flushed_seq;

    assert(report->violation_count == 0);
    assert(epoch == 0 || epoch > report->super.epoch);
    assert(top - report->flushed_seq <= WRITE_WINDOW);
    *s = report->super;
    s->generation++;
    s->epoch = epoch > 0 ? epoch : s->epoch + 1;
    s->clean = 0;
    s->flushed_seq = top;
    if (s->ring_blocks == 0) {
        s->ring_blocks = ring_blocks;
    }
    if (s->epochs_used == EPOCH_HISTORY) {
        memmove(s->epochs, s->epochs + 1, (EPOCH_HISTORY - 1) * sizeof(s->epochs[0]));
        s->epochs_used--;
    }
    e = &s->epochs[s->epochs_used++];
    *e = (struct ring_epoch){
        .epoch = s->epoch,
        .first_seq = top + 1,
        .gap_first = report->flushed_seq + 1,
        .seen_mask = report->seen_mask,
        .start_wall_ns = wall_ns,
    };
}
