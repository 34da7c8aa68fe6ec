/* SPDX-License-Identifier: Apache-2.0
 * Statedumps of a brick, and what they prove. Pure. Source: GlusterFS 10.3, libglusterfs/src/stack.c
 * (gf_proc_dump_pending_frames), client_t.c (gf_client_dump_fdtables), statedump.c; measured in
 * docs/fence.md. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define FENCE_DUMP_LIMIT_BYTES (64 * MIB)
#define FENCE_DUMP_OPS_MAX 1000000 /* 64 requests per connection and the heal daemon's: thousands at most */
#define FENCE_DUMP_CONNS_MAX 100000

/* One operation that may change data or marks on the brick's disk */
struct fence_op {
    uint64_t unique; /* a counter of the brick's process: what came later has a larger one */
    char name[24];   /* "WRITE" */
};

struct fence_dump {
    bool has_ops;        /* false: the brick could not lock its list; look again */
    struct fence_op *ops; /* modifying and unknown ones, in the order of the dump */
    size_t n_ops;
    struct strv conns;   /* ids of all clients that the brick still holds something of */
};
void fence_dump_done(struct fence_dump *d);
#define _cleanup_fence_dump_ _cleanup_(fence_dump_done)

/**
 * parse_fence_dump - a whole statedump with the options callpool and fd
 * @ret: zero-initialised; set on success; fence_dump_done() frees
 * Return: 0, -ERR_PARSE (also when its end is missing), -ERR_LIMIT
 */
int parse_fence_dump(const char *text, size_t len, struct fence_dump *ret, struct err *e);

/* What a drain knows so far. Zero-initialise; fence_drain_state_done() frees. */
struct fence_drain_state {
    bool has_first;
    uint64_t *waits; /* sorted: operations of the first dump that must end */
    size_t n_waits;
    bool is_proven;
    size_t left;     /* of them in the last dump */
    size_t conns;    /* connections of the host in the last dump */
    char examples[160]; /* some of what is left, for people: "WRITE, FXATTROP" */
};
void fence_drain_state_done(struct fence_drain_state *s);
#define _cleanup_fence_drain_state_ _cleanup_(fence_drain_state_done)

/**
 * fence_drain_step - one more dump, all of them begun after the cut
 *
 * Proven when no operation of the first dump is left, and no connection of @client_host. The second
 * covers requests that are read but not yet begun (10.3 queues them before they get a frame, so that
 * no dump lists them): each holds its connection, and the brick's record of a client goes only after
 * the last holder.
 * @client_host: host name of the fenced host, as in "-HOST:name-"; NULL leaves the second out
 */
void fence_drain_step(struct fence_drain_state *s, const struct fence_dump *d, const char *client_host);

/** fence_conn_is_of - is connection @id of host @name, or of @name.some.domain? */
bool fence_conn_is_of(const char *id, const char *name);

/**
 * fence_cmdline_is_brick - is /proc/PID/cmdline that of the brick's process?
 * @cmdline: NUL-separated, @len bytes and a NUL after them
 */
bool fence_cmdline_is_brick(const char *cmdline, size_t len, const char *volume, const char *brick);

/**
 * fence_status_takes - does /proc/PID/status say that @signal is blocked, caught or ignored?
 * A brick that just starts would be ended by a signal it does not wait for yet.
 */
bool fence_status_takes(const char *status, int signal);
