/* SPDX-License-Identifier: Apache-2.0 */
#include "core/op/move_limits.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/units.h"
#include "base/util.h"

#define SHARE_PERCENT 60
#define TIMES_OF_MEMORY 5
#define MBIT_ASSUMED 1000 /* the slowest link that mortar check does not warn of */
#define MBIT_BYTES (UINT64_C(1000000) / 8)

void move_limits_of(uint64_t from_mbit, uint64_t to_mbit, uint64_t memory_bytes, struct move_limits *ret)
{
    uint64_t slower = from_mbit && to_mbit && to_mbit < from_mbit ? to_mbit : from_mbit;
    uint64_t mbit = slower ? slower : to_mbit;
    uint64_t per_s = (mbit ? mbit : MBIT_ASSUMED) * MBIT_BYTES * SHARE_PERCENT / 100;
    uint64_t limit_s = memory_bytes / per_s * TIMES_OF_MEMORY +
                       (memory_bytes % per_s * TIMES_OF_MEMORY + per_s - 1) / per_s;
    uint64_t mib = per_s / MIB ? per_s / MIB : 1;
    ret->bandwidth_mib_per_s = mbit ? mib : 0;
    ret->limit_s = limit_s > MOVE_LIMIT_LEAST_S ? limit_s : MOVE_LIMIT_LEAST_S;
}

int move_give_up(const struct move_state *s, struct err *e)
{
    char copied[24];
    char left[24];
    char rate[24];
    char dirty[24];
    (void)units_format_size(s->copied_bytes, copied, sizeof(copied));
    (void)units_format_size(s->left_bytes, left, sizeof(left));
    (void)units_format_size(s->rate, rate, sizeof(rate));
    (void)units_format_size(s->dirty_rate, dirty, sizeof(dirty));
    bool is_outrun = s->rate && s->dirty_rate >= s->rate;
    (void)ERR_SET(e, STATE, "the copy had no end within %llu s and was given up: %s copied, %s left, %s/s "
                  "copied, %s/s written anew by the guest; it stays where it was",
                  (unsigned long long)s->limit_s, copied, left, rate, dirty);
    err_hint(e, is_outrun ? "migrate when vm '%s' writes less, or stop it and start it again: it is "
                            "placed anew"
                          : "see 'mortar check' for the storage network, then migrate vm '%s' again", s->vm);
    return -ERR_STATE;
}
