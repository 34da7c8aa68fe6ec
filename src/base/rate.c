/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rate.h"

#include "base/util.h"

#define SAMPLE_US USEC_PER_SEC /* what is closer together says more of buffers than of speed */
#define OLD_WEIGHT 3           /* of four: a burst moves the rate by a quarter */
#define ETA_MAX_S (UINT64_C(100) * 24 * 3600)

static void begin(struct rate *r, uint64_t now_us, uint64_t done, uint64_t total)
{
    *r = (struct rate){.at_us = now_us, .done = done, .total = total, .has_sample = true};
}

uint64_t rate_take(struct rate *r, uint64_t now_us, uint64_t done, uint64_t total)
{
    if (!r->has_sample || done < r->done || total != r->total || now_us < r->at_us) {
        begin(r, now_us, done, total);
        return RATE_UNKNOWN;
    }
    if (now_us - r->at_us >= SAMPLE_US) {
        /* In floating point: bytes times a million do not fit. */
        double per_s = (double)(done - r->done) * (double)USEC_PER_SEC / (double)(now_us - r->at_us);
        double mean = r->has_rate ? ((double)r->per_s * OLD_WEIGHT + per_s) / (OLD_WEIGHT + 1) : per_s;
        r->per_s = mean < (double)INT64_MAX ? (uint64_t)mean : INT64_MAX;
        r->has_rate = true;
        r->at_us = now_us;
        r->done = done;
    }
    return r->has_rate ? r->per_s : RATE_UNKNOWN;
}

uint64_t rate_eta_s(uint64_t left, uint64_t per_s, uint64_t against_per_s)
{
    if (per_s == RATE_UNKNOWN || per_s <= against_per_s) {
        return RATE_UNKNOWN;
    }
    uint64_t net = per_s - against_per_s;
    uint64_t eta_s = left / net + (left % net ? 1 : 0);
    return eta_s > ETA_MAX_S ? RATE_UNKNOWN : eta_s;
}

uint64_t rate_eta_by_share_s(uint64_t elapsed_us, uint64_t done, uint64_t total)
{
    if (elapsed_us < SAMPLE_US || !done) {
        return RATE_UNKNOWN;
    }
    double left = done < total ? (double)(total - done) : 0;
    double eta_s = left * (double)elapsed_us / (double)done / (double)USEC_PER_SEC;
    return eta_s > (double)ETA_MAX_S ? RATE_UNKNOWN : (uint64_t)(eta_s + 0.999);
}
