/* SPDX-License-Identifier: Apache-2.0
 * How fast something goes, from what was seen of it, and when it will end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RATE_UNKNOWN UINT64_MAX

/* Zero-initialise. */
struct rate {
    uint64_t at_us; /* of the sample that the next one is compared with */
    uint64_t done;
    uint64_t total;
    uint64_t per_s;
    bool has_sample;
    bool has_rate;
};

/**
 * rate_take - a sample: @done of @total at @now_us
 * Two samples at least a second apart make a rate; later ones are averaged in, so that it does not
 * flicker. Another total, or less done than before, is something new and begins anew.
 * Return: units per second, or RATE_UNKNOWN
 */
uint64_t rate_take(struct rate *r, uint64_t now_us, uint64_t done, uint64_t total);

/**
 * rate_eta_s - seconds until @left is done at @per_s, while @against_per_s more comes to be done
 * Return: rounded up; RATE_UNKNOWN when it will never end so, or @per_s is not known
 */
uint64_t rate_eta_s(uint64_t left, uint64_t per_s, uint64_t against_per_s);

/**
 * rate_eta_by_share_s - seconds until the rest is done at the mean speed so far: for what is counted in
 * steps too coarse for a rate
 * Return: rounded up; RATE_UNKNOWN in the first second, or before the first step
 */
uint64_t rate_eta_by_share_s(uint64_t elapsed_us, uint64_t done, uint64_t total);
