/* SPDX-License-Identifier: Apache-2.0
 * The guard's loop: datagrams, the agent's socket and the clock go into promise.h; its orders go
 * to freeze, egress and watchdog. One thread, no allocation and no file of a disk once
 * guard_start() has returned. */
#pragma once

#include "guard/egress.h"
#include "guard/freeze.h"
#include "guard/guard_status.h"
#include "guard/watchdog.h"

#define GUARD_PORT 8844
#define GUARD_CLIENTS_MAX 8

struct guard_opts {
    const char *config;
    const char *socket;
    const char *key;
    uint16_t port; /* own and that of all others */
};

struct guard {
    uint16_t port;
    int epoll_fd;
    int udp_fd;
    int listen_fd;
    int timer_fd;
    int signal_fd;
    int notify_fd; /* systemd; -1 without */
    int clients[GUARD_CLIENTS_MAX];
    struct guard_key key;
    struct guard_conf conf;  /* in force; generation 0 and no hosts: none yet */
    struct guard_conf heard; /* scratch */
    struct promise promise;
    struct freeze freeze;
    struct egress egress;
    struct watchdog dog;
    bool can_cut;
    bool is_frozen;
    bool is_still;
    bool is_failing; /* freeze, thaw or cut failed and was logged */
    bool fresh;
    bool is_over; /* a signal ended it */
    uint64_t freezes;
    uint64_t frozen_us;
    uint64_t still_due_us; /* look again whether all stands still */
    uint64_t beat_due_us;
    uint64_t status_due_us;
    uint64_t edge;
    int64_t suspended_us; /* BOOTTIME − MONOTONIC */
    struct err refused;   /* of the last command or file */
    char text[GUARD_CONF_MAX_BYTES + 64];
    char status[GUARD_STATUS_SIZE];
};

/**
 * guard_start - open all that is needed, read the key and the configuration
 * @g: zeroed
 * Without a usable configuration it starts all the same and waits for the agent's.
 * Return: 0, -ERR_IO, or -ERR_PARSE for a bad key
 */
int guard_start(struct guard *g, const struct guard_opts *opts, struct err *e);

/**
 * guard_run - until SIGTERM or SIGINT. The slice, the cut and the watchdog stay as they are for the
 * next guard
 */
void guard_run(struct guard *g);

/** guard_log - one line to stderr, dropped when nobody takes it; @level: as syslog's */
void guard_log(int level, const char *fmt, ...) _printf_(2, 3);
