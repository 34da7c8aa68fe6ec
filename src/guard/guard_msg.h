/* SPDX-License-Identifier: Apache-2.0
 * The datagram between guards: fixed size, big endian, HMAC-SHA256 by libnettle over all of it.
 * Pure: no socket, no clock. The sequence number of a datagram is the sender's own clock at the
 * moment of sending (microseconds, strictly growing within an instance); only the sender ever
 * compares it with a clock, when it comes back as echo.
 *
 * Replays: within an instance, promise.c refuses a number it has seen or that is too old. A
 * recording of an older instance is refused because a change of instance must echo a number that
 * the receiver sent after it took up the present one. What is not covered: who holds the key
 * (every host) can forge all, and who can drop datagrams can have a host frozen. */
#pragma once

#include <nettle/hmac.h>
#include <stdbool.h>

#include "guard/guard_conf.h"

#define GUARD_KEY_BYTES 32
#define GUARD_MSG_BYTES 224

enum guard_kind {
    GUARD_REQUEST = 1, /* promise me, inc; also the sign of life */
    GUARD_PROMISE = 2,
    GUARD_GRACE = 3,  /* a promise by a fencer that started less than promise_us ago */
    GUARD_DENIED = 4, /* never again for this incarnation */
    GUARD_HELLO = 5,  /* I do not know your instance: ask again, with this echo */
};

struct guard_msg {
    enum guard_kind kind;
    char from[GUARD_NAME_SIZE];
    char to[GUARD_NAME_SIZE];
    uint64_t inc;           /* of the sender */
    uint64_t instance;      /* of the sender: random at each start, not 0 */
    uint64_t seq_us;        /* of the sender's clock, see above */
    uint64_t echo_instance; /* answers: of the request; requests: newest heard from `to`, or 0 */
    uint64_t echo_seq_us;
    uint64_t echo_inc;   /* answers: the incarnation that was asked for */
    uint64_t promise_us; /* promise, grace: how long the fencer is bound from receipt */
};

/* The key, ready for use; zero-initialise, then guard_key_set(). */
struct guard_key {
    struct hmac_sha256_ctx hmac;
};

/** guard_key_set - take the cluster's key; the only step that depends on its bytes being secret */
void guard_key_set(struct guard_key *k, const uint8_t key[GUARD_KEY_BYTES]);

/** guard_msg_format - @m, whose names fit, as the bytes of a datagram */
void guard_msg_format(const struct guard_msg *m, struct guard_key *k, uint8_t ret[GUARD_MSG_BYTES]);

/**
 * guard_msg_parse - a datagram of somebody who has the key
 * @data: @len bytes from the network        @ret: set on success, names terminated and legal
 * Return: whether it is of our size, version and key, and well formed. Who sent it, to whom, and
 * whether it is a replay is for promise_on_msg().
 */
bool guard_msg_parse(const uint8_t *data, size_t len, struct guard_key *k, struct guard_msg *ret);
