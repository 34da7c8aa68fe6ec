/* SPDX-License-Identifier: Apache-2.0
 * GlusterFS through its CLI. Blocking, for one worker lane, which so guarantees one mutating call
 * at a time. Nothing here may be on the failover path (D10): a call waits for hung peers until its
 * deadline, and glusterd then refuses others for up to 3 minutes. Exceptions, which ask no peer:
 * gluster_state_local(), gluster_heal_pending_local(), gluster_mount_quorum().
 *
 * Deadlines are CLOCK_BOOTTIME microseconds. -ERR_TIMEOUT of a mutating call: it may have
 * happened; all of them may be called again until they succeed. -ERR_BUSY is retried inside. */
#pragma once

#include "adapters/gluster/gluster_parse.h"
#include "adapters/gluster/gluster_profile.h"

/* ---- peers ---- */

/**
 * gluster_peer_probe - take the glusterd at @address into the trusted pool and wait until it is
 * connected there. Done already, or this host itself: success.
 * Return: 0; -ERR_REMOTE when it does not answer; -ERR_FOREIGN when it belongs to another pool or
 *         has volumes; -ERR_TIMEOUT, -ERR_GLUSTER
 */
int gluster_peer_probe(const char *address, uint64_t deadline_us, struct err *e);
/**
 * gluster_peer_detach - the opposite. Not a peer: success.
 * Return: 0; -ERR_STATE when it holds bricks; -ERR_REMOTE, -ERR_TIMEOUT, -ERR_GLUSTER
 */
int gluster_peer_detach(const char *address, uint64_t deadline_us, struct err *e);
/** gluster_peer_list - all of the trusted pool, this host as "localhost"; gluster_peers_done() frees */
int gluster_peer_list(struct gluster_peers *ret, uint64_t deadline_us, struct err *e);

/* ---- volumes ---- */

struct gluster_volume_spec {
    const char *name;
    unsigned copies; /* of the data: 2 or 3 */
    bool arbiter;    /* with 2 copies: the third brick holds names only */
    const struct strv *bricks; /* "address:/path", copies + arbiter of them, arbiter last */
    bool force; /* also on the root file system, and on what an earlier try left behind */
};

/**
 * gluster_volume_create - exactly one replica set; not started. The same volume exists: success.
 * Return: 0; -ERR_EXISTS when one of this name has other bricks; -ERR_POOL_POLICY for a shape that
 *         does not keep data safe; -ERR_REMOTE, -ERR_NO_QUORUM, -ERR_TIMEOUT, -ERR_GLUSTER
 */
int gluster_volume_create(const struct gluster_volume_spec *spec, uint64_t deadline_us,
                          struct err *e);

/**
 * gluster_volume_apply_profile - set what differs from the profile, in one call of glusterd where
 * it can be one; nothing is called when nothing differs
 * @ret_repaired: what differed; set on success; gluster_drift_done() frees; may be NULL
 * Return: 0, -ERR_NOT_FOUND, -ERR_NO_QUORUM, -ERR_REMOTE, -ERR_TIMEOUT, -ERR_GLUSTER
 */
int gluster_volume_apply_profile(const char *name, const struct gluster_profile_params *p,
                                 struct gluster_drift *ret_repaired, uint64_t deadline_us,
                                 struct err *e);

/**
 * gluster_volume_start - started already: success
 * @revive: also start bricks of a started volume whose process is gone
 */
int gluster_volume_start(const char *name, bool revive, uint64_t deadline_us, struct err *e);
/** gluster_volume_stop - end all bricks; mounts get ENOTCONN. Not started: success. */
int gluster_volume_stop(const char *name, uint64_t deadline_us, struct err *e);
/** gluster_volume_delete - forget it; bricks keep their files. Absent: success. -ERR_STATE: started */
int gluster_volume_delete(const char *name, uint64_t deadline_us, struct err *e);

/**
 * gluster_volume_observe - one volume, with what its bricks' hosts say about them
 * @ret: one element; gluster_volumes_done() frees
 * Return: 0, -ERR_NOT_FOUND, -ERR_TIMEOUT (a hung peer), -ERR_GLUSTER
 */
int gluster_volume_observe(const char *name, struct gluster_volumes *ret, uint64_t deadline_us,
                           struct err *e);

/* ---- without asking a glusterd elsewhere: for polling ---- */

/**
 * gluster_state_local - what this host's glusterd knows: peers, volumes with options, own bricks.
 * About 0.1 s, also with a hung or dead peer.
 * @ret: gluster_state_done() frees
 * Return: 0, -ERR_TIMEOUT, -ERR_GLUSTER (glusterd is down), -ERR_IO
 */
int gluster_state_local(struct gluster_state *ret, uint64_t deadline_us, struct err *e);

/**
 * gluster_fingerprint - a text that differs when gluster_state_local() may say something new, except
 * about connections to peers: from the files of glusterd, without a child, in well under 1 ms
 * @root: "" for this host; else a directory that holds var/, run/ and proc/
 * Return: never NULL; caller frees
 */
char *gluster_fingerprint(const char *root);

struct gluster_heal_pending {
    uint64_t xattrop;       /* another copy is blamed: to be healed */
    uint64_t dirty;         /* written to just now, or left so by a crash */
    uint64_t entry_changes; /* directories whose names differ */
};

/**
 * gluster_heal_pending_local - entries in the heal indices of a brick of this host, read from its
 * directory: works while all of Gluster hangs. Busy files come and go in @xattrop and @dirty.
 * @brick_path: the brick's directory
 * Return: 0; -ERR_NOT_FOUND when that is no brick that ever ran; -ERR_IO
 */
int gluster_heal_pending_local(const char *brick_path, struct gluster_heal_pending *ret,
                               struct err *e);

/**
 * gluster_mount_quorum - may I/O on this mount go on, and which bricks does it see?
 * Asks the mount's own process, in a child: a hung mount costs the deadline, not the caller.
 * @mount_path: where @volume is mounted
 * @ret: children = 0 when the mount cannot tell more than that no I/O is possible: a second after
 *       quorum was lost, or when its process is dead (systemd knows which)
 * Return: 0; -ERR_TIMEOUT when the mount or a brick hangs; -ERR_NOT_FOUND when it is not mounted
 */
int gluster_mount_quorum(const char *mount_path, const char *volume, uint64_t deadline_us,
                         struct gluster_quorum *ret, struct err *e);
