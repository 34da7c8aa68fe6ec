/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/once.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "io/digest.h"

#define REQUEST_ID_MIN 8
#define REQUEST_ID_MAX 64

static bool is_request_id(const char *s)
{
    size_t n = strlen(s);
    return n >= REQUEST_ID_MIN && n <= REQUEST_ID_MAX &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")] == '\0';
}

int once_name(const struct once_request *q, char *ret, struct err *e)
{
    char hex[DIGEST_HEX_LEN + 1];
    _cleanup_(digest_freep) struct digest *d = digest_new();
    if (!is_request_id(q->request_id)) {
        return ERR_SET(e, USAGE, "a request id is a word of %d to %d letters and digits",
                       REQUEST_ID_MIN, REQUEST_ID_MAX);
    }
    const char *const parts[] = {q->caller, q->method, q->path, q->request_id};
    for (size_t i = 0; i < ELEMENTS(parts); i++) {
        digest_add(d, parts[i], strlen(parts[i]) + 1); /* the zero keeps the parts apart */
    }
    digest_add(d, q->body_len ? q->body : "", q->body_len);
    digest_finish(d, hex);
    /* RFC 9562, version 8: bits of our own making */
    (void)snprintf(ret, ONCE_ID_LEN + 1, "%.8s-%.4s-8%.3s-a%.3s-%.12s", hex, hex + 8, hex + 12,
                   hex + 15, hex + 18);
    return 0;
}

void once_keep(struct once_answers *a, const char *id, unsigned status, json_t *reply)
{
    struct once_answer *slot = &a->v[a->next];
    assert(strlen(id) == ONCE_ID_LEN);
    assert(!once_find(a, id));
    json_decref(slot->reply);
    (void)snprintf(slot->id, sizeof(slot->id), "%s", id);
    slot->status = status;
    slot->reply = json_incref(reply);
    a->next = (a->next + 1) % ONCE_ANSWERS_MAX;
}

const struct once_answer *once_find(const struct once_answers *a, const char *id)
{
    for (size_t i = 0; i < ONCE_ANSWERS_MAX; i++) {
        if (a->v[i].id[0] && str_eq(a->v[i].id, id)) {
            return &a->v[i];
        }
    }
    return NULL;
}

void once_answers_done(struct once_answers *a)
{
    for (size_t i = 0; i < ONCE_ANSWERS_MAX; i++) {
        json_decref(a->v[i].reply);
    }
}
