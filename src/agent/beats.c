/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/beats.h"

#include <string.h>

#define TICK "tick "

static void count(struct beats *b, uint64_t now_ms)
{
    uint64_t gap = b->n && now_ms > b->last_ms ? now_ms - b->last_ms : 0;
    b->gap_ms = gap > b->gap_ms ? gap : b->gap_ms;
    b->first_ms = b->n ? b->first_ms : now_ms;
    b->last_ms = now_ms;
    b->n++;
}

void beats_take(struct beats *b, const char *piece, size_t len, uint64_t now_ms)
{
    for (size_t i = 0; i < len; i++) {
        if (piece[i] == '\n') {
            if (b->head_len >= strlen(TICK) && memcmp(b->head, TICK, strlen(TICK)) == 0) {
                count(b, now_ms);
            }
            b->head_len = 0;
        } else if (b->head_len < sizeof(b->head)) {
            b->head[b->head_len++] = piece[i];
        }
    }
}
