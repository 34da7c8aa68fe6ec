/* SPDX-License-Identifier: Apache-2.0
 * What a live migration may take of the network, and how long it may try (facts/ha.md 6.2). */
#pragma once

#include "base/err.h"

struct move_limits {
    uint64_t bandwidth_mib_per_s; /* 0 = no limit: the links' speed is not known */
    uint64_t limit_s;             /* for the copy; then it is given up */
};

/**
 * move_limits_of - limits by the links and the guest
 * @from_mbit, @to_mbit: speed of the two hosts' storage links; 0 = not known
 *
 * The bandwidth is 60 % of the slower link, so that the guests' own writes keep the rest. The time is
 * five times what the whole memory takes at that bandwidth (at 60 % of 1 Gbit/s when no speed is known), and
 * never less than MOVE_LIMIT_LEAST_S: a small guest on a busy host is not given up for starting late.
 */
void move_limits_of(uint64_t from_mbit, uint64_t to_mbit, uint64_t memory_bytes, struct move_limits *ret);
#define MOVE_LIMIT_LEAST_S 120

/* What a migration that is given up had come to. */
struct move_state {
    const char *vm;
    uint64_t limit_s;
    uint64_t copied_bytes;
    uint64_t left_bytes;
    uint64_t rate;       /* bytes per second; 0 = not known */
    uint64_t dirty_rate;
};

/** move_give_up - say why, and what to do next. Return: -ERR_STATE */
int move_give_up(const struct move_state *s, struct err *e);
