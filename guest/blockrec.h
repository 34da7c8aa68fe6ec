/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the demo guest writes to its disk: two superblocks and a ring of numbered records.
 *
 * Everything is 4 KiB, little-endian. Blocks 0 and 1 are superblocks, written in turn, so that one is
 * whole at any moment. Blocks ring_start … ring_start + ring_blocks - 1 are the ring: sequence s
 * (1, 2, …, never reused, not even over restarts) lives in slot (s - 1) mod ring_blocks.
 *
 * Invariants the writer keeps and ringcheck.c judges by:
 *  - a record is issued only when its number is at most flushed_seq + WRITE_WINDOW;
 *  - flushed_seq is raised only after every record up to it was acknowledged and then fdatasync()ed;
 *  - each record carries the flushed_seq known when it was issued, so the ring proves itself even
 *    when the superblock is older.
 * The digest guards against torn and rotten blocks, the tag (HMAC with a key that the starter of the
 * guest gives per epoch) against an old instance that goes on writing.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

#define BLOCK_BYTES 4096
#define SUPER_SLOTS 2
#define RING_START_BLOCK 16
#define RING_BLOCKS_MIN 256
#define RING_BLOCKS_DEFAULT 1024
#define RING_BLOCKS_MAX (1U << 20)
#define WRITE_WINDOW 64
#define SEQ_MAX (1ULL << 62) /* far from overflow in any sum below */
#define EPOCH_HISTORY 64
#define VM_NAME_BYTES 32
#define BOOT_ID_BYTES 16
#define KEY_BYTES_MAX SHA256_BLOCK_BYTES

static_assert(WRITE_WINDOW <= 64, "ring_epoch.seen_mask has one bit per unflushed record");
static_assert(RING_BLOCKS_MIN >= 2 * WRITE_WINDOW, "a slot has at most one record in flight");

/** One start of the guest, as its superblocks remember it. */
struct ring_epoch {
    uint64_t epoch;
    uint64_t first_seq;      /* first number of this epoch; the one before gets no new ones */
    uint64_t gap_first;      /* gap_first … first_seq - 1 were never flushed by the epoch before */
    uint64_t seen_mask;      /* bit i: gap_first + i was on disk at the start; it must stay there */
    uint64_t start_wall_ns;
};

struct ring_super {
    char magic[8];
    uint64_t generation;     /* grows with each superblock written, over all epochs */
    uint64_t epoch;          /* start count; 0 = formatted, never started */
    uint64_t ring_start;
    uint64_t ring_blocks;    /* 0 until the first start decides */
    uint64_t flushed_seq;
    uint64_t clean;          /* 1: the writer stopped; nothing above flushed_seq was issued */
    char vm[VM_NAME_BYTES];
    uint8_t boot_id[BOOT_ID_BYTES];
    uint64_t epochs_used;
    struct ring_epoch epochs[EPOCH_HISTORY];   /* ascending; the oldest fall out */
    uint8_t unused[BLOCK_BYTES - 7 * 8 - VM_NAME_BYTES - BOOT_ID_BYTES - 8 -
                   EPOCH_HISTORY * 40 - 2 * SHA256_BYTES];
    uint8_t digest[SHA256_BYTES];
    uint8_t tag[SHA256_BYTES];
};

struct block_record {
    char magic[8];
    uint64_t epoch;
    uint64_t seq;
    uint64_t block;          /* where on the disk this record belongs */
    uint64_t flushed_seq;
    uint64_t mono_ns;        /* guest CLOCK_MONOTONIC at issue */
    uint64_t wall_ns;        /* guest CLOCK_REALTIME at issue */
    char vm[VM_NAME_BYTES];
    uint8_t boot_id[BOOT_ID_BYTES];
    uint8_t fill[BLOCK_BYTES - 7 * 8 - VM_NAME_BYTES - BOOT_ID_BYTES - 2 * SHA256_BYTES];
    uint8_t digest[SHA256_BYTES];
    uint8_t tag[SHA256_BYTES];
};

static_assert(sizeof(struct ring_super) == BLOCK_BYTES, "one block");
static_assert(sizeof(struct block_record) == BLOCK_BYTES, "one block");

/** Key of one epoch; bytes = 0: none, tags are zero. */
struct epoch_key {
    uint64_t epoch;
    size_t bytes;
    uint8_t data[KEY_BYTES_MAX];
};

enum block_state {
    BLOCK_ZERO,      /* nothing but zeroes: never written */
    BLOCK_BROKEN,    /* neither zero nor whole */
    BLOCK_WHOLE,
};

/**
 * ring_slot - where in the ring a record lives
 * @seq: number, >= 1    @ring_blocks: length of the ring, > 0
 * Return: slot, 0 … ring_blocks - 1
 */
uint64_t ring_slot(uint64_t seq, uint64_t ring_blocks);

/**
 * super_format - superblock of a disk that was never started
 * @ret_super: set and sealed
 */
void super_format(struct ring_super *ret_super);

/**
 * super_seal - compute digest and tag of a superblock
 * @s: superblock, its digest and tag are set
 * @key: key of its epoch, or NULL
 */
void super_seal(struct ring_super *s, const struct epoch_key *key);

/**
 * super_state - is this block a superblock?
 * @s: block as read; not trusted
 * Return: BLOCK_WHOLE only when digest and ranges are right
 */
enum block_state super_state(const struct ring_super *s);

/**
 * record_seal - fill the body and compute digest and tag of a record
 * @r: record with all fields above `fill` set
 * @key: key of its epoch, or NULL
 */
void record_seal(struct block_record *r, const struct epoch_key *key);

/**
 * record_state - is this block a record?
 * @r: block as read; not trusted
 * Return: BLOCK_WHOLE only when the digest is right and the number is not 0
 */
enum block_state record_state(const struct block_record *r);

/**
 * tag_is_right - was a whole block written by a holder of the key?
 * @digest: digest field of the block    @tag: tag field of the block
 * @key: key of the block's epoch
 * Return: true when the tag is the HMAC of the digest
 */
bool tag_is_right(const uint8_t digest[SHA256_BYTES], const uint8_t tag[SHA256_BYTES],
                  const struct epoch_key *key);
