/* SPDX-License-Identifier: Apache-2.0
 * PURE. What glusterd, its CLI and a mount say, as values. Proved against GlusterFS 10.3
 * (tests/golden/gluster holds its real words). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/smap.h"
#include "base/str.h"

/* More of anything is refused as ERR_LIMIT: it is not a cluster of ours. */
#define GLUSTER_LIST_MAX 256

/* ---- the frame around every answer of `gluster --xml` ---- */

/**
 * check_gluster_reply - did glusterd do it?
 * @xml, @len: standard output of the CLI
 * @ret_note: what it said besides ("Host … already in peer list"), "" when nothing; may be NULL;
 *            caller frees
 * Return: 0; -ERR_EXISTS, -ERR_NOT_FOUND, -ERR_NO_QUORUM, -ERR_BUSY (another transaction, or
 *         glusterds still greet each other; nothing happened, retry),
 *         -ERR_REMOTE (a peer did not answer), -ERR_FOREIGN, -ERR_STATE, else -ERR_GLUSTER, all
 *         with glusterd's own words;
 *         -ERR_PARSE or -ERR_LIMIT when the answer cannot be read
 */
int check_gluster_reply(const char *xml, size_t len, char **ret_note, struct err *e);

/* ---- peers ---- */

struct gluster_peer {
    char *uuid;
    char *address; /* as probed; "localhost" for this host in `pool list` */
    char *others;  /* further names, apart by commas; only get-state tells them. May be NULL */
    bool connected;
    bool in_cluster; /* handshake finished: state 3, "Peer in Cluster" */
    bool local;
};
struct gluster_peers {
    struct gluster_peer *v;
    size_t n;
};
void gluster_peers_done(struct gluster_peers *p);
#define _cleanup_gluster_peers_ _cleanup_(gluster_peers_done)

/** parse_gluster_peers - `pool list --xml` or `peer status --xml`. Errors as check_gluster_reply. */
int parse_gluster_peers(const char *xml, size_t len, struct gluster_peers *ret, struct err *e);
/** find_gluster_peer - by the address it was probed with, or NULL */
const struct gluster_peer *find_gluster_peer(const struct gluster_peers *p, const char *address);

/* ---- volumes ---- */

enum gluster_volume_status { GLUSTER_CREATED, GLUSTER_STARTED, GLUSTER_STOPPED };
/** gluster_volume_status_name - "created", "started", "stopped" */
const char *gluster_volume_status_name(enum gluster_volume_status s);

enum gluster_brick_seen {
    GLUSTER_BRICK_UNKNOWN, /* nobody was asked: `volume info`, or another host's in get-state */
    GLUSTER_BRICK_OFFLINE,
    GLUSTER_BRICK_ONLINE,
};

struct gluster_brick {
    char *host;      /* address before the colon */
    char *path;
    char *host_uuid; /* peer that holds it; "" when the source does not say */
    bool arbiter;
    enum gluster_brick_seen seen;
    pid_t pid; /* 0 when not known */
    bool no_port; /* its glusterd tells nobody where it listens; only get-state tells, and of ONLINE ones it matters */
};

struct gluster_volume {
    char *name;
    char *uuid;
    enum gluster_volume_status status;
    unsigned replica; /* bricks per replica set, arbiter included; 1 when not replicated */
    unsigned arbiter; /* 0 or 1 */
    unsigned sets;    /* replica sets; a pool has 1 */
    struct gluster_brick *bricks;
    size_t n_bricks;
    struct smap options; /* set ones only: key → char *; cluster-wide ones that act on it included */
};
struct gluster_volumes {
    struct gluster_volume *v;
    size_t n;
};
void gluster_volumes_done(struct gluster_volumes *v);
#define _cleanup_gluster_volumes_ _cleanup_(gluster_volumes_done)

/** parse_gluster_volumes - `volume info [NAME] --xml`. Errors as check_gluster_reply. */
int parse_gluster_volumes(const char *xml, size_t len, struct gluster_volumes *ret, struct err *e);
/** find_gluster_volume - by name, or NULL */
struct gluster_volume *find_gluster_volume(const struct gluster_volumes *v, const char *name);

/**
 * parse_gluster_status - `volume status NAME --xml` into the bricks of @volume
 * @volume: seen and pid of its bricks are set; a brick whose host did not answer is OFFLINE.
 *          Unchanged on failure.
 * Return: as check_gluster_reply
 */
int parse_gluster_status(const char *xml, size_t len, struct gluster_volume *volume,
                         struct err *e);

/* ---- get-state: all that this host's glusterd knows, without a cluster transaction ---- */

struct gluster_state {
    char *uuid;                    /* of this host's glusterd */
    struct smap options;           /* cluster-wide, set ones only */
    struct gluster_peers peers;    /* the others */
    struct gluster_volumes volumes; /* only this host's bricks are ONLINE or OFFLINE */
};
void gluster_state_done(struct gluster_state *s);
#define _cleanup_gluster_state_ _cleanup_(gluster_state_done)

/** parse_gluster_state - the file that get-state wrote. Return: 0, -ERR_PARSE or -ERR_LIMIT */
int parse_gluster_state(const char *text, struct gluster_state *ret, struct err *e);

/* ---- a mount's own view ---- */

struct gluster_quorum {
    bool met;             /* operations on this mount may go on */
    unsigned children;    /* bricks of the replica set; 0 when the mount could not tell */
    uint64_t children_up; /* bit n: this mount is connected to brick n, in the order of creation */
};
/** parse_gluster_quorum - .meta/graphs/active/NAME-replicate-0/private. Return: 0 or -ERR_PARSE */
int parse_gluster_quorum(const char *text, struct gluster_quorum *ret, struct err *e);
