/* SPDX-License-Identifier: Apache-2.0
 * The lines of a demo guest's channel (docs/guest.md) in one window of listening. Pure: the caller stamps. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beats {
    uint64_t n;
    uint64_t first_ms; /* 0: none */
    uint64_t last_ms;
    uint64_t gap_ms;   /* the longest time between two of them */
    char head[8];      /* of the line under way */
    size_t head_len;
};

/** beats_take - bytes that came at @now_ms, in pieces of any length; lines other than ticks do not count */
void beats_take(struct beats *b, const char *piece, size_t len, uint64_t now_ms);
