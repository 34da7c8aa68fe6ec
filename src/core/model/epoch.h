/* SPDX-License-Identifier: Apache-2.0
 * The epoch of a virtual machine is the pair (restore_gen, n) of facts/ha.md I1: n grows at every cold
 * start and change of owner, restore_gen when the store is restored from a snapshot and all n go back in
 * time (2.7). It is kept as one number, restore_gen in the upper bits, so that '<' orders pairs wherever
 * epochs are compared. JSON integers are exact up to 2^53 for every reader: 8191 restores, 10^12 starts. */
#pragma once

#include <stdint.h>

#define EPOCH_N_BITS 40
#define EPOCH_N_MAX ((UINT64_C(1) << EPOCH_N_BITS) - 1)

/** epoch_of - the number of the pair (@restore_gen, @n); @n at most EPOCH_N_MAX */
static inline uint64_t epoch_of(uint64_t restore_gen, uint64_t n)
{
    return restore_gen << EPOCH_N_BITS | (n & EPOCH_N_MAX);
}

/** epoch_restore_gen, epoch_n - the pair's parts */
static inline uint64_t epoch_restore_gen(uint64_t epoch)
{
    return epoch >> EPOCH_N_BITS;
}

static inline uint64_t epoch_n(uint64_t epoch)
{
    return epoch & EPOCH_N_MAX;
}
