/* SPDX-License-Identifier: Apache-2.0
 * A binary heap; events are used again, since most are small and live for milliseconds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim_impl.h"

struct sim_event *sim_queue_new(struct sim_queue *q)
{
    struct sim_event *n = q->spare;
    if (!n) {
        return xcalloc(1, sizeof(*n));
    }
    q->spare = n->next_spare;
    memset(n, 0, offsetof(struct sim_event, payload));
    return n;
}

static bool is_before(const struct sim_slot *a, const struct sim_slot *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sim_queue_add(struct sim_queue *q, struct sim_event *n)
{
    const struct sim_slot new = {n->at_us, q->order++, n};
    if (q->n == q->cap) {
        q->cap = q->cap ? 2 * q->cap : 256;
        q->heap = reallocarray(q->heap, q->cap, sizeof(*q->heap));
        assert(q->heap);
    }
    size_t i = q->n++;
    for (; i > 0 && is_before(&new, &q->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        q->heap[i] = q->heap[(i - 1) / 2];
    }
    q->heap[i] = new;
}

struct sim_event *sim_queue_take(struct sim_queue *q)
{
    if (!q->n) {
        return NULL;
    }
    struct sim_event *first = q->heap[0].event;
    const struct sim_slot last = q->heap[--q->n];
    size_t i = 0;
    for (size_t child = 1; child < q->n; child = 2 * i + 1) {
        child += child + 1 < q->n && is_before(&q->heap[child + 1], &q->heap[child]);
        if (!is_before(&q->heap[child], &last)) {
            break;
        }
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = last;
    return first;
}

void sim_queue_drop(struct sim_queue *q, struct sim_event *n)
{
    json_decref(n->event);
    json_decref(n->action);
    n->next_spare = q->spare;
    q->spare = n;
}

void sim_queue_done(struct sim_queue *q)
{
    struct sim_event *n;
    while ((n = sim_queue_take(q))) {
        sim_queue_drop(q, n);
    }
    while ((n = q->spare)) {
        q->spare = n->next_spare;
        free(n);
    }
    free(q->heap);
    *q = (struct sim_queue){0};
}
