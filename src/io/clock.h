/* SPDX-License-Identifier: Apache-2.0
 * The only place that reads clocks. Deadlines everywhere are CLOCK_BOOTTIME microseconds, because
 * MONOTONIC stops in suspend (amendment A13). */
#pragma once

#include <stdint.h>

/** clock_boottime_us - now, CLOCK_BOOTTIME, microseconds */
uint64_t clock_boottime_us(void);
/** clock_wall_us - wall time in microseconds since 1970; for display only, never compared with boottime */
uint64_t clock_wall_us(void);
/** clock_left_ms - milliseconds until @deadline_us, 0 when it has passed, at most INT_MAX */
int clock_left_ms(uint64_t deadline_us);
/** clock_sleep_ms - for worker threads only; the loop's thread never sleeps */
void clock_sleep_ms(int ms);
