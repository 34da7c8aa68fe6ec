/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104) for the demo guest.
 *
 * The guest is one small static program without libraries, so it brings its own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_BLOCK_BYTES 64

struct sha256 {
    uint32_t state[8];
    uint64_t total_bytes;
    uint8_t pending[SHA256_BLOCK_BYTES];
    size_t pending_bytes;
};

/**
 * sha256_init - start a digest
 * @s: set to the empty message
 */
void sha256_init(struct sha256 *s);

/**
 * sha256_add - append bytes to the message
 * @s: digest started with sha256_init()
 * @data: bytes to append    @bytes: how many
 */
void sha256_add(struct sha256 *s, const void *data, size_t bytes);

/**
 * sha256_finish - close the message
 * @s: digest, of no further use
 * @ret_digest: the digest of all bytes added
 */
void sha256_finish(struct sha256 *s, uint8_t ret_digest[SHA256_BYTES]);

/**
 * sha256_of - digest of one buffer
 * @data: message    @bytes: its length
 * @ret_digest: its digest
 */
void sha256_of(const void *data, size_t bytes, uint8_t ret_digest[SHA256_BYTES]);

/**
 * hmac_sha256 - keyed digest of one buffer
 * @key: secret    @key_bytes: its length, at most SHA256_BLOCK_BYTES
 * @data: message    @bytes: its length
 * @ret_tag: its tag
 */
void hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t bytes,
                 uint8_t ret_tag[SHA256_BYTES]);
