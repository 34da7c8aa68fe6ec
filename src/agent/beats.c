/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/beats.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define ACKED " acked="

static void count(struct beats *b, uint64_t acked, uint64_t now_ms)
{
    bool has_grown = b->knows_acked && acked > b->acked;
    b->acked = acked;
    b->knows_acked = true;
    if (!has_grown) {
        return;
    }
    uint64_t stall = b->wrote_last_ms && now_ms > b->wrote_last_ms ? now_ms - b->wrote_last_ms : 0;
    b->stall_ms = stall > b->stall_ms ? stall : b->stall_ms;
    b->wrote_first_ms = b->wrote_first_ms ? b->wrote_first_ms : now_ms;
    b->wrote_last_ms = now_ms;
}

static void end_line(struct beats *b, uint64_t now_ms)
{
    unsigned long long acked = 0;
    b->line[b->len] = '\0';
    b->len = 0;
    const char *field = strstr(b->line, ACKED);
    if (!str_starts(b->line, "tick ")) {
        return;
    }
    b->first_ms = b->first_ms ? b->first_ms : now_ms;
    b->last_ms = now_ms;
    if (field && sscanf(field + strlen(ACKED), "%llu", &acked) == 1) {
        count(b, acked, now_ms);
    }
}

void beats_take(struct beats *b, const char *piece, size_t len, uint64_t now_ms)
{
    for (size_t i = 0; i < len; i++) {
        if (piece[i] == '\n') {
            end_line(b, now_ms);
        } else if (b->len < BEATS_LINE_MAX) {
            b->line[b->len++] = piece[i];
        }
    }
}
