/* SPDX-License-Identifier: Apache-2.0
 * One request to the agent's unix socket, in the loop. */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#define UPSTREAM_ANSWER_LIMIT_BYTES (16 * MIB)
#define UPSTREAM_TIMEOUT_US (120 * USEC_PER_SEC) /* above any long-poll of the agent */

struct upstream;

/* Strings must be checked (gate_decide()): they are sent as they are. Borrowed for the call. */
struct upstream_request {
    const char *method;
    const char *target;
    const char *caller;       /* value of CALLER_HEADER */
    const char *content_type; /* may be NULL */
    const char *upgrade;      /* protocol wished, or NULL */
    const char *request_id;   /* may be NULL */
    const char *body;
    size_t body_len;
};

struct upstream_answer {
    unsigned status;
    const char *content_type; /* may be NULL */
    const char *body;         /* with status 101: what the agent sent already on the raw stream */
    size_t body_len;
    const char *upgrade; /* with status 101 */
    int fd;              /* with status 101: the raw stream, owned by the callee; else -1 */
};

/* Exactly one of @a and @e is not NULL; borrowed. The upstream may be freed from here. */
typedef void (*upstream_fn)(void *arg, const struct upstream_answer *a, const struct err *e);

/**
 * upstream_start - connect and send
 * @fn: called once, from the loop: with an answer; or with ERR_NO_AGENT when nothing was sent,
 *      ERR_TIMEOUT when it was sent and no whole answer came, ERR_LIMIT, ERR_PARSE
 * Return: the call, owned by the caller, to be ended with upstream_free() also after @fn
 */
struct upstream *upstream_start(struct loop *l, const char *socket_path,
                                const struct upstream_request *q, upstream_fn fn, void *arg);
/** upstream_free - give up when it is still under way */
void upstream_free(struct upstream *u);
DEFINE_FREEP(struct upstream, upstream_free)
