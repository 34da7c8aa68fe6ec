/* SPDX-License-Identifier: Apache-2.0
 * A small seeded generator for tests, the simulator and jitter; never for secrets.
 * splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
#pragma once

#include <stdint.h>

struct prng {
    uint64_t state;
};

/** prng_next - 64 bits; the same seed gives the same row on every machine */
uint64_t prng_next(struct prng *p);
/** prng_below - uniform in [0, @n), @n > 0 */
uint64_t prng_below(struct prng *p, uint64_t n);
