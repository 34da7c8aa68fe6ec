/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 after FIPS 180-4 section 6.2, HMAC after RFC 2104; tested with the vectors of RFC 4231. */
#include "sha256.h"

#include <assert.h>
#include <string.h>

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, unsigned n)
{
    return (x >> n) | (x << (32 - n));
}

static uint32_t load_be32(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}

static void compress(uint32_t state[8], const uint8_t block[SHA256_BLOCK_BYTES])
{
    uint32_t w[64];
    uint32_t v[8];

    for (size_t t = 0; t < 16; t++) {
        w[t] = load_be32(block + 4 * t);
    }
    for (size_t t = 16; t < 64; t++) {
        uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ (w[t - 15] >> 3);
        uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ (w[t - 2] >> 10);

        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    memcpy(v, state, sizeof(v));
    for (size_t t = 0; t < 64; t++) {
        uint32_t s1 = rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + round_constants[t] + w[t];
        uint32_t s0 = rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (size_t i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

void sha256_init(struct sha256 *s)
{
    *s = (struct sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                  0x1f83d9ab, 0x5be0cd19},
    };
}

void sha256_add(struct sha256 *s, const void *data, size_t bytes)
{
    const uint8_t *p = data;

    s->total_bytes += bytes;
    while (bytes > 0) {
        size_t part = SHA256_BLOCK_BYTES - s->pending_bytes;

        if (part > bytes) {
            part = bytes;
        }
        memcpy(s->pending + s->pending_bytes, p, part);
        s->pending_bytes += part;
        p += part;
        bytes -= part;
        if (s->pending_bytes == SHA256_BLOCK_BYTES) {
            compress(s->state, s->pending);
            s->pending_bytes = 0;
        }
    }
}

void sha256_finish(struct sha256 *s, uint8_t ret_digest[SHA256_BYTES])
{
    static const uint8_t padding[SHA256_BLOCK_BYTES] = {0x80};
    uint64_t bits = s->total_bytes * 8;
    uint8_t length[8];
    size_t fill = (s->pending_bytes < 56 ? 56 : 120) - s->pending_bytes;

    for (size_t i = 0; i < 8; i++) {
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    }
    sha256_add(s, padding, fill);
    sha256_add(s, length, sizeof(length));
    assert(s->pending_bytes == 0);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret_digest[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256_of(const void *data, size_t bytes, uint8_t ret_digest[SHA256_BYTES])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, data, bytes);
    sha256_finish(&s, ret_digest);
}

void hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t bytes,
                 uint8_t ret_tag[SHA256_BYTES])
{
    uint8_t inner_pad[SHA256_BLOCK_BYTES] = {0};
    uint8_t outer_pad[SHA256_BLOCK_BYTES];
    struct sha256 s;

    assert(key_bytes <= SHA256_BLOCK_BYTES);
    memcpy(inner_pad, key, key_bytes);
    for (size_t i = 0; i < SHA256_BLOCK_BYTES; i++) {
        outer_pad[i] = inner_pad[i] ^ 0x5c;
        inner_pad[i] ^= 0x36;
    }
    sha256_init(&s);
    sha256_add(&s, inner_pad, sizeof(inner_pad));
    sha256_add(&s, data, bytes);
    sha256_finish(&s, ret_tag);
    sha256_init(&s);
    sha256_add(&s, outer_pad, sizeof(outer_pad));
    sha256_add(&s, ret_tag, SHA256_BYTES);
    sha256_finish(&s, ret_tag);
}
