/* SPDX-License-Identifier: Apache-2.0 */
#include "core/ha/timing.h"

#include <stddef.h>

#include "base/str.h"

#define MS UINT64_C(1000)
#define FREEZE_TAKES_US (200 * MS) /* facts/ha.md 3.6: the budget of freeze, egress cut and check */

/* The dog bites only where freezing did not work, and before any promise can end (facts/ha.md 4.1). */
#define PROFILE(name, beat, silent, freeze, watchdog, promise)                                   \
    {(name), (beat) * MS, (silent) * MS, (freeze) * MS, (watchdog) * MS, (promise) * MS}
#define CHECK(beat, silent, freeze, watchdog, promise)                                           \
    _Static_assert((freeze) * MS + FREEZE_TAKES_US <= (watchdog) * MS &&                         \
                   ((watchdog) + (beat)) * 100 <= (promise) * 85 && 3 * (beat) <= (freeze) &&             \
                   (silent) < (promise), "times of failover contradict each other")

#define FAST 250, 2000, 2200, 3000, 4000
#define STANDARD 500, 3000, 3500, 4000, 6000
#define RELAXED 1000, 6000, 7000, 8000, 12000
#define APPLY(macro, ...) macro(__VA_ARGS__)

APPLY(CHECK, FAST);
APPLY(CHECK, STANDARD);
APPLY(CHECK, RELAXED);

static const struct ha_timing profiles[] = {
    APPLY(PROFILE, "standard", STANDARD),
    APPLY(PROFILE, "fast", FAST),
    APPLY(PROFILE, "relaxed", RELAXED),
};

const struct ha_timing *ha_timing_find(const char *profile)
{
    for (size_t i = 0; i < ELEMENTS(profiles); i++) {
        if (!profile || str_eq(profiles[i].profile, profile)) {
            return &profiles[i];
        }
    }
    return NULL;
}
