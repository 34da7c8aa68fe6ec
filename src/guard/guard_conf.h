/* SPDX-License-Identifier: Apache-2.0
 * What mortar-guard is told by the agent: names, addresses, times, denials. Pure and without
 * allocation; the file and the command `config` hold the same text (docs/design/failover.md). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define GUARD_HOSTS_MAX 64
#define GUARD_ADDRS_MAX 4
#define GUARD_DENIALS_MAX 64
#define GUARD_NAME_SIZE 64 /* str_is_name() and its zero byte */
#define GUARD_PATH_SIZE 256
#define GUARD_CONF_MAX_BYTES (16 * KIB) /* 64 hosts with long names and four addresses need 9 KiB */
#define GUARD_VERIFY_US (200 * USEC_PER_MSEC) /* from the order to freeze until all stands still */
#define GUARD_FENCERS 3                       /* the HA triple, A7 */
#define GUARD_QUORUM 2

struct guard_times {
    uint64_t beat_us;
    uint64_t silent_us;
    uint64_t freeze_us;
    uint64_t watchdog_us;
    uint64_t promise_us;
};

struct guard_host {
    char name[GUARD_NAME_SIZE];
    bool is_fencer;
    unsigned addrs_n;
    uint32_t addrs[GUARD_ADDRS_MAX]; /* IPv4, network order */
};

struct guard_denial {
    char name[GUARD_NAME_SIZE]; /* may be a host that is no longer configured */
    uint64_t inc;
};

struct guard_conf {
    uint64_t generation;
    char self[GUARD_NAME_SIZE]; /* always one of hosts */
    uint64_t inc;
    bool enforce;
    struct guard_times times;
    char slice[GUARD_PATH_SIZE];
    unsigned hosts_n;
    struct guard_host hosts[GUARD_HOSTS_MAX];
    unsigned denials_n;
    struct guard_denial denials[GUARD_DENIALS_MAX];
};

/**
 * guard_conf_parse - the whole configuration, strict
 * @text: @len bytes, need not end with a zero byte
 * @ret: filled on success; after a failure its content means nothing. Nothing is allocated.
 * Return: 0, -ERR_LIMIT (more than GUARD_CONF_MAX_BYTES), or -ERR_PARSE with "line N: …"
 */
int guard_conf_parse(const char *text, size_t len, struct guard_conf *ret, struct err *e);

/**
 * guard_times_check - do the times leave room for each other (facts/ha.md 4.1)?
 * @watchdog_us: what bites: the driver's real timeout, or @t->watchdog_us when there is none
 * Return: 0 or -ERR_INVALID
 */
int guard_times_check(const struct guard_times *t, uint64_t watchdog_us, struct err *e);

/**
 * guard_words - cut a line into words at single spaces
 * @line: @len bytes, printable ASCII and no space at an end, else refused
 * @buf: takes the words, @size bytes        @words: points into @buf, at most @max
 * Return: number of words, or 0 when the line is not of that form
 */
unsigned guard_words(const char *line, size_t len, char *buf, size_t size, char **words,
                     unsigned max);
