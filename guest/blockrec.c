/* SPDX-License-Identifier: Apache-2.0 */
/* Seal and recognise the guest's blocks; pure. The layout is explained in blockrec.h. */
#include "blockrec.h"

#include <string.h>

static const char super_magic[8] = {'M', 'O', 'R', 'T', 'S', 'U', 'P', '1'};
static const char record_magic[8] = {'M', 'O', 'R', 'T', 'R', 'E', 'C', '1'};

#define SEALED_BYTES (BLOCK_BYTES - 2 * SHA256_BYTES)

static_assert(offsetof(struct ring_super, digest) == SEALED_BYTES, "digest covers all before it");
static_assert(offsetof(struct block_record, digest) == SEALED_BYTES, "digest covers all before it");

uint64_t ring_slot(uint64_t seq, uint64_t ring_blocks)
{
    assert(seq >= 1);
    assert(ring_blocks > 0);
    return (seq - 1) % ring_blocks;
}

static void seal(const void *block, uint8_t digest[SHA256_BYTES], uint8_t tag[SHA256_BYTES],
                 const struct epoch_key *key)
{
    sha256_of(block, SEALED_BYTES, digest);
    memset(tag, 0, SHA256_BYTES);
    if (key && key->bytes > 0) {
        hmac_sha256(key->data, key->bytes, digest, SHA256_BYTES, tag);
    }
}

/** What the bytes alone say, before any field is believed. */
static enum block_state sealed_state(const void *block, const char magic[8],
                                     const uint8_t digest[SHA256_BYTES])
{
    const uint8_t *bytes = block;
    uint8_t wanted[SHA256_BYTES];

    if (bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_BYTES - 1) == 0) {
        return BLOCK_ZERO;
    }
    if (memcmp(block, magic, 8) != 0) {
        return BLOCK_BROKEN;
    }
    sha256_of(block, SEALED_BYTES, wanted);
    return memcmp(wanted, digest, SHA256_BYTES) == 0 ? BLOCK_WHOLE : BLOCK_BROKEN;
}

void super_format(struct ring_super *ret_super)
{
    memset(ret_super, 0, sizeof(*ret_super));
    ret_super->generation = 1;
    ret_super->ring_start = RING_START_BLOCK;
    ret_super->clean = 1;
    super_seal(ret_super, NULL);
}

void super_seal(struct ring_super *s, const struct epoch_key *key)
{
    memcpy(s->magic, super_magic, sizeof(s->magic));
    seal(s, s->digest, s->tag, key);
}

/** The ranges that the rest of the code relies on; a whole block could still be a hostile one. */
static bool super_fields_fit(const struct ring_super *s)
{
    if (s->vm[VM_NAME_BYTES - 1] != 0 || s->epochs_used > EPOCH_HISTORY ||
        s->flushed_seq > SEQ_MAX) {
        return false;
    }
    if (s->epoch == 0) {
        return s->epochs_used == 0;
    }
    if (s->ring_start < SUPER_SLOTS || s->ring_start > RING_BLOCKS_MAX || s->epochs_used == 0 ||
        s->ring_blocks < RING_BLOCKS_MIN || s->ring_blocks > RING_BLOCKS_MAX) {
        return false;
    }
    for (uint64_t i = 0; i < s->epochs_used; i++) {
        const struct ring_epoch *e = &s->epochs[i];

        if (e->gap_first == 0 || e->gap_first > e->first_seq ||
            e->first_seq - e->gap_first > WRITE_WINDOW) {
            return false;
        }
        if (i > 0 && (e->epoch <= e[-1].epoch || e->gap_first < e[-1].first_seq)) {
            return false;
        }
    }
    return s->epochs[s->epochs_used - 1].epoch == s->epoch;
}

enum block_state super_state(const struct ring_super *s)
{
    enum block_state state = sealed_state(s, super_magic, s->digest);

    return state == BLOCK_WHOLE && !super_fields_fit(s) ? BLOCK_BROKEN : state;
}

void record_seal(struct block_record *r, const struct epoch_key *key)
{
    uint64_t x = r->seq * 0x9e3779b97f4a7c15ULL + r->epoch;

    memcpy(r->magic, record_magic, sizeof(r->magic));
    for (size_t i = 0; i < sizeof(r->fill); i++) {
        /* a body of its own for each record, so that half of two records never adds up to one */
        if (i % 8 == 0) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        r->fill[i] = (uint8_t)(x >> (8 * (i % 8)));
    }
    seal(r, r->digest, r->tag, key);
}

enum block_state record_state(const struct block_record *r)
{
    enum block_state state = sealed_state(r, record_magic, r->digest);

    if (state == BLOCK_WHOLE && (r->seq == 0 || r->seq > SEQ_MAX || r->flushed_seq > SEQ_MAX ||
                                 r->vm[VM_NAME_BYTES - 1] != 0)) {
        return BLOCK_BROKEN;
    }
    return state;
}

bool tag_is_right(const uint8_t digest[SHA256_BYTES], const uint8_t tag[SHA256_BYTES],
                  const struct epoch_key *key)
{
    uint8_t wanted[SHA256_BYTES];

    hmac_sha256(key->data, key->bytes, digest, SHA256_BYTES, wanted);
    return memcmp(wanted, tag, SHA256_BYTES) == 0;
}
