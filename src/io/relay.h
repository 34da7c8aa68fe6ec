/* SPDX-License-Identifier: Apache-2.0
 * Carries bytes between two streams, both ways, in the loop: at most one buffer per direction is
 * held, so who reads slowly slows down who writes. An end of one stream is passed on behind the
 * last byte; a stream that broke or was closed wholly lets what it sent before still arrive. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "io/loop.h"

#define RELAY_BUFFER_BYTES (32 * KIB)
#define RELAY_DRAIN_US (30 * USEC_PER_SEC) /* for one side to take what a closed one has left */
#define RELAY_LINGER_US (2 * USEC_PER_SEC) /* for one side to end when it has taken all of that */

struct relay;

/* How to use a stream that is not a plain socket. None may block. */
struct relay_ops {
    /* Return: bytes; 0 at the end; -EAGAIN; another -errno when broken */
    ssize_t (*recv)(void *stream, void *data, size_t len);
    /* Return: bytes; -EAGAIN, then it is called again with the same bytes; -errno when broken */
    ssize_t (*send)(void *stream, const void *data, size_t len);
    /* Nothing more will be sent. Return: 0; -EAGAIN to be called again; -errno when broken */
    int (*end)(void *stream);
};

struct relay_side {
    int fd;                      /* non-blocking; owned by the relay */
    const struct relay_ops *ops; /* NULL: a plain socket */
    void *stream;                /* for @ops; stays the caller's, used until relay_free() */
    const void *early;           /* bytes of this side that were read already; copied */
    size_t early_len;            /* at most RELAY_BUFFER_BYTES */
};

typedef void (*relay_end_fn)(void *arg);

/**
 * relay_new - start to carry
 * @on_end: called once, from the loop, when nothing more can be carried; it may free the relay
 * Return: the relay, owned by the caller, who ends it with relay_free() also after @on_end
 */
struct relay *relay_new(struct loop *l, const struct relay_side *a, const struct relay_side *b,
                        relay_end_fn on_end, void *arg);
/** relay_free - close both sockets at once */
void relay_free(struct relay *r);
DEFINE_FREEP(struct relay, relay_free)
