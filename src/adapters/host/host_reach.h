/* SPDX-License-Identifier: Apache-2.0
 * Does somebody answer at an address? Any answer of its TCP counts, a refusal too: it comes from a
 * living kernel. What a host's services are worth is asked elsewhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * host_reach - ask all of @addrs at once
 * @ret: array of @n; false also for a text that is no address
 * @deadline_us: CLOCK_BOOTTIME; who has not answered until then does not answer
 */
void host_reach(const char *const *addrs, size_t n, unsigned port, uint64_t deadline_us, bool *ret);
