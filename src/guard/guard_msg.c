/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_msg.h"

#include <assert.h>
#include <nettle/memops.h>
#include <string.h>

#include "base/str.h"

/* Bytes: magic 4, version, kind, zero 2, numbers 7 × 8, names 2 × 64, HMAC 32. */
#define MAGIC "MGRD"
#define VERSION 1
#define AT_NUMBERS 8
#define NUMBERS_N 7
#define AT_FROM (AT_NUMBERS + NUMBERS_N * 8)
#define AT_TO (AT_FROM + GUARD_NAME_SIZE)
#define AT_HMAC (AT_TO + GUARD_NAME_SIZE)
_Static_assert(AT_HMAC + SHA256_DIGEST_SIZE == GUARD_MSG_BYTES, "the layout fills the datagram");

void guard_key_set(struct guard_key *k, const uint8_t key[GUARD_KEY_BYTES])
{
    hmac_sha256_set_key(&k->hmac, GUARD_KEY_BYTES, key);
}

static void put_u64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (56 - 8 * i));
    }
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

static bool get_name(const uint8_t *p, char *ret)
{
    memcpy(ret, p, GUARD_NAME_SIZE);
    return memchr(ret, '\0', GUARD_NAME_SIZE) && str_is_name(ret);
}

void guard_msg_format(const struct guard_msg *m, struct guard_key *k, uint8_t ret[GUARD_MSG_BYTES])
{
    const uint64_t numbers[NUMBERS_N] = {m->inc,           m->instance,    m->seq_us,
                                         m->echo_instance, m->echo_seq_us, m->echo_inc,
                                         m->promise_us};
    assert(m->instance && m->kind >= GUARD_REQUEST && m->kind <= GUARD_HELLO);
    memset(ret, 0, GUARD_MSG_BYTES);
    memcpy(ret, MAGIC, 4);
    ret[4] = VERSION;
    ret[5] = (uint8_t)m->kind;
    for (unsigned i = 0; i < NUMBERS_N; i++) {
        put_u64(ret + AT_NUMBERS + (size_t)8 * i, numbers[i]);
    }
    memcpy(ret + AT_FROM, m->from, strnlen(m->from, GUARD_NAME_SIZE - 1));
    memcpy(ret + AT_TO, m->to, strnlen(m->to, GUARD_NAME_SIZE - 1));
    hmac_sha256_update(&k->hmac, AT_HMAC, ret);
    hmac_sha256_digest(&k->hmac, SHA256_DIGEST_SIZE, ret + AT_HMAC); /* and begins anew */
}

bool guard_msg_parse(const uint8_t *data, size_t len, struct guard_key *k, struct guard_msg *ret)
{
    uint8_t hmac[SHA256_DIGEST_SIZE];
    uint64_t *const numbers[NUMBERS_N] = {&ret->inc,           &ret->instance,    &ret->seq_us,
                                          &ret->echo_instance, &ret->echo_seq_us, &ret->echo_inc,
                                          &ret->promise_us};
    if (len != GUARD_MSG_BYTES || memcmp(data, MAGIC, 4) != 0 || data[4] != VERSION ||
        data[5] < GUARD_REQUEST || data[5] > GUARD_HELLO || data[6] || data[7]) {
        return false;
    }
    hmac_sha256_update(&k->hmac, AT_HMAC, data);
    hmac_sha256_digest(&k->hmac, sizeof(hmac), hmac);
    if (!memeql_sec(hmac, data + AT_HMAC, sizeof(hmac))) {
        return false;
    }
    ret->kind = (enum guard_kind)data[5];
    for (unsigned i = 0; i < NUMBERS_N; i++) {
        *numbers[i] = get_u64(data + AT_NUMBERS + (size_t)8 * i);
    }
    return ret->instance && get_name(data + AT_FROM, ret->from) && get_name(data + AT_TO, ret->to);
}
