/* SPDX-License-Identifier: Apache-2.0
 * The status datagram for the agent: JSON by snprintf into a fixed buffer
 * (docs/design/failover.md). Pure. */
#pragma once

#include "guard/promise.h"

#define GUARD_STATUS_SIZE (24 * KIB)

/* What is beside the promises. */
struct guard_view {
    uint64_t generation;
    bool is_frozen;
    bool is_still;
    uint64_t freezes;
    const char *watchdog; /* "hardware", "softdog", "none" */
    uint64_t would_fire;
    bool can_cut; /* the last order to the packet filter was confirmed; false when there was none */
    const char *refused; /* why the last command was refused; "" when it was not */
};

/**
 * guard_status_format - the status as text
 * @ret: GUARD_STATUS_SIZE bytes, enough for the most hosts with the longest names; terminated
 * Return: bytes without the terminating one
 */
size_t guard_status_format(const struct promise *p, const struct guard_view *v, uint64_t now_us,
                           char *ret);

/**
 * guard_status_edge - a number that changes when something changes that the agent must hear of at
 * once
 */
uint64_t guard_status_edge(const struct promise *p, const struct guard_view *v, uint64_t now_us);
