/* SPDX-License-Identifier: Apache-2.0
 * The record of a host that is cut off here, and its stored form. Pure. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define FENCE_ADDRS_MAX 16 /* addresses of one host; the guard's configuration has at most four */

enum fence_phase {
    FENCE_PHASE_CUT,     /* decided: the cut is made, or has to be made again after a restart */
    FENCE_PHASE_DRAINED, /* and every local brick has proved that nothing of the host is left */
};

struct fence_record {
    char *host;
    uint64_t inc; /* incarnation that is denied, and all before it */
    struct strv addrs;
    enum fence_phase phase;
};
void fence_record_done(struct fence_record *r);
#define _cleanup_fence_record_ _cleanup_(fence_record_done)

/**
 * fence_addr_parse - an IPv4 or IPv6 address in its one canonical spelling
 * @ret: set on success; caller frees        @ret_is_v6: may be NULL
 * Return: 0 or -ERR_INVALID (also for addresses that are nobody's: any, loopback, multicast,
 *         link-local, IPv4 within IPv6)
 */
int fence_addr_parse(const char *text, char **ret, bool *ret_is_v6, struct err *e);

/** fence_phase_name - "cut" or "drained" */
const char *fence_phase_name(enum fence_phase p);

/** format_fence_record - {"addrs":[...],"host":H,"inc":N,"phase":P}. Caller frees. */
char *format_fence_record(const struct fence_record *r);

/**
 * parse_fence_record - the opposite; strict, because a record that we misread lets a host in
 * @ret: zero-initialised; set on success; fence_record_done() frees
 * Return: 0, -ERR_PARSE, -ERR_INVALID or -ERR_LIMIT
 */
int parse_fence_record(const char *text, size_t len, struct fence_record *ret, struct err *e);
