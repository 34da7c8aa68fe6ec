/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge of a disk's history: was a block lost, reordered, torn, misplaced or written by an old
 * instance? Used by the guest at its start and by the checker outside; pure apart from `read`.
 *
 * What it can see: every flushed record that the ring still holds, i.e. the last ring_blocks numbers.
 * Not here: writes that were overtaken before anybody looked (that needs the bricks, facts/ha.md C4),
 * and acknowledged writes nobody told us of; expect_flushed_seq is for what a recorder outside knows.
 */
#pragma once

#include "blockrec.h"

#define VIOLATIONS_MAX 32
#define VIOLATION_TEXT_BYTES 160

struct ring_source {
    /** Reads one block into the 4096-byte aligned @ret_block; returns 0, or a negative errno. */
    int (*read)(void *ctx, uint64_t block, void *ret_block);
    void *ctx;
    uint64_t blocks;                 /* length of the disk */
};

struct ring_expect {
    uint64_t flushed_seq;            /* a recorder saw this number flushed; 0 = unknown */
    uint64_t epoch;                  /* a recorder saw this epoch start; 0 = unknown */
    const char *vm;                  /* the disk's owner, NULL = any */
    const struct epoch_key *keys;    /* keys known, in any order */
    size_t key_count;
};

struct violation {
    const char *kind;                /* constant: lost, torn, misplaced, stale-epoch, other-key, … */
    char text[VIOLATION_TEXT_BYTES];
};

struct ring_report {
    struct ring_super super;         /* the newest whole superblock */
    uint64_t last_seq;               /* highest number on disk, 0 = none */
    uint64_t flushed_seq;            /* everything up to here has to be there */
    uint64_t seen_mask;              /* bit i: flushed_seq + 1 + i is there */
    uint64_t checked_first;          /* oldest number that was demanded */
    uint64_t checked_blocks;         /* how many numbers were demanded and looked at */
    uint64_t violation_count;        /* may exceed VIOLATIONS_MAX */
    struct violation violations[VIOLATIONS_MAX];
};

enum tag_fit {
    TAG_UNKNOWN,   /* no key of the block's epoch is known, and no other one fits */
    TAG_RIGHT,
    TAG_OTHER,     /* it fits the key of another epoch: not written by who the block says */
    TAG_WRONG,     /* it fits no key that is known */
};

/**
 * ring_tag_fit - whose key made the tag of this whole block?
 * @expect: the keys known
 * @epoch: the epoch that the block says it is of
 * @digest, @tag: as in the block
 * @ret_epoch: with TAG_OTHER the epoch whose key fits, else @epoch
 */
enum tag_fit ring_tag_fit(const struct ring_expect *expect, uint64_t epoch, const uint8_t digest[SHA256_BYTES],
                          const uint8_t tag[SHA256_BYTES], uint64_t *ret_epoch);

/**
 * ring_check - read superblocks and ring, and judge them
 * @src: the disk, not running or quiet
 * @expect: what is known from elsewhere
 * @ret_report: set on success
 * Return: 0 (also when violations were found), -EIO and the like when the disk cannot be read,
 *         -EMEDIUMTYPE when there is no superblock at all, -ENOMEM
 */
int ring_check(const struct ring_source *src, const struct ring_expect *expect,
               struct ring_report *ret_report);

/**
 * plan_next_epoch - the superblock with which the next start of the guest begins
 * @report: a report without violations; seen records were flushed before they were read
 * @epoch: its number, higher than the disk's; 0 = the next one
 * @ring_blocks: ring length for a disk never started; ignored otherwise
 * @wall_ns: now, only for display
 * @ret_super: set, not sealed; vm and boot_id are the caller's to set
 */
void plan_next_epoch(const struct ring_report *report, uint64_t epoch, uint64_t ring_blocks, uint64_t wall_ns,
                     struct ring_super *ret_super);
