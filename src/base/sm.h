/* SPDX-License-Identifier: Apache-2.0
 * State machines as const tables: name, flags and allowed successors of each state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sm_state {
    const char *name; /* stored in etcd: part of the format */
    uint32_t next;    /* bit n: state n may follow; at most 32 states */
    uint32_t flags;   /* meaning belongs to the machine */
};

/** sm_may - may @to follow @from (both below @count)? A state never follows itself by default. */
bool sm_may(const struct sm_state *table, int count, int from, int to);
/** sm_by_name - index of @name or -1 */
int sm_by_name(const struct sm_state *table, int count, const char *name);
