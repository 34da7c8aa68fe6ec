/* SPDX-License-Identifier: Apache-2.0
 * A request that is sent twice is done once. Its name is made from everything that makes it this
 * request and no other, so that a repetition, on whatever host it arrives, names the same task; for
 * requests without a task the last answers are kept, in this agent alone. */
#pragma once

#include "base/json.h"

#define ONCE_ID_LEN 36
#define ONCE_ANSWERS_MAX 64

/* What makes a request the same as another one. */
struct once_request {
    const char *caller;     /* "" is root of this host */
    const char *method;
    const char *path;
    const char *request_id; /* what the caller sent as Mortar-Request-Id */
    const void *body;
    size_t body_len;
};

/**
 * once_name - the request's name, in the form of a UUID, since objects are called by it too
 * @ret: ONCE_ID_LEN + 1 bytes
 * Return: 0, or -ERR_USAGE when the request id is no word of 8 to 64 letters, digits, '-' and '_'
 */
int once_name(const struct once_request *q, char *ret, struct err *e);

struct once_answer {
    char id[ONCE_ID_LEN + 1]; /* "": unused */
    unsigned status;
    json_t *reply;
};

/* The last answers; zero-initialise. */
struct once_answers {
    struct once_answer v[ONCE_ANSWERS_MAX];
    size_t next; /* to be replaced next: the oldest */
};

/** once_keep - remember what was answered to @id; the oldest answer is forgotten for it
 * @reply: referenced */
void once_keep(struct once_answers *a, const char *id, unsigned status, json_t *reply);
/** once_find - what was answered to @id, or NULL. Borrowed until the next once_keep(). */
const struct once_answer *once_find(const struct once_answers *a, const char *id);
void once_answers_done(struct once_answers *a);
