/* SPDX-License-Identifier: Apache-2.0 */
#include "base/prng.h"

#include <assert.h>

uint64_t prng_next(struct prng *p)
{
    uint64_t z = (p->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t prng_below(struct prng *p, uint64_t n)
{
    assert(n > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* values above would favour small remainders */
    uint64_t value = prng_next(p);
    while (value >= limit) {
        value = prng_next(p);
    }
    return value % n;
}
