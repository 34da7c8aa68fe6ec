/* SPDX-License-Identifier: Apache-2.0
 * The lines of a demo guest's channel (docs/guest.md) in one window of listening. Pure: the caller stamps.
 * That a guest beats does not say that its disk answers: only the count of its acknowledged writes does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEATS_LINE_MAX 255 /* of a line; the rest is not looked at */

struct beats {
    uint64_t first_ms;       /* of the first line; 0: none */
    uint64_t last_ms;
    bool knows_acked;        /* from the first line on */
    uint64_t acked;
    uint64_t wrote_first_ms; /* when the count had grown for the first time; 0: it has not */
    uint64_t wrote_last_ms;
    uint64_t stall_ms;       /* the longest time between two lines with a grown count */
    char line[BEATS_LINE_MAX + 1];
    size_t len;              /* of the line under way */
};

/** beats_take - bytes that came at @now_ms, in pieces of any length; lines other than ticks do not count */
void beats_take(struct beats *b, const char *piece, size_t len, uint64_t now_ms);
