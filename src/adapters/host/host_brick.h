/* SPDX-License-Identifier: Apache-2.0
 * A brick: a disk with XFS of our making, or a directory, with the subdirectory "brick" that
 * GlusterFS gets. The subdirectory is what keeps a brick from writing to the root file system when
 * its disk is not mounted. Every call may be killed at any point and run again. */
#pragma once

#include "adapters/host/brick_plan.h"

struct brick_opts {
    const char *name;   /* of the pool */
    const char *uuid;   /* of this brick, 36 characters, lower case; the same in each retry. Becomes the XFS uuid */
    const char *path;   /* mount point or directory; NULL means /data/gluster/NAME */
    const char *device; /* "/dev/sdb"; NULL: use the directory itself */
    bool wipe;          /* the user agreed to lose what is on @device */
    bool force;         /* a directory on the root file system is accepted */
    bool mount_only;    /* no units: the mount does not come back at boot */
    const char *state_dir; /* our records; NULL means /var/lib/mortar */
    /* Called before each step with its name: "format", "mount", "mark". May be NULL. */
    void (*on_step)(void *arg, const char *step);
    void *on_step_arg;
};

struct brick_result {
    char *dir;             /* what `gluster volume create` gets: PATH/brick */
    uint64_t sector_bytes; /* smallest O_DIRECT write the file system takes: 512 or 4096, 0 = none */
    uint64_t size_bytes;   /* of the file system */
    bool formatted;        /* this call has formatted the disk */
};
void brick_result_done(struct brick_result *r);
#define _cleanup_brick_result_ _cleanup_(brick_result_done)

/**
 * brick_prepare - make the brick, or finish what an earlier call began; takes up to a minute
 * @ret: zero-initialised; caller ends it with brick_result_done()
 * Under systemd the mount is a unit that comes back at boot: a .mount by uuid where udev knows the
 * disk, else (containers) the service mortar-brick-NAME. Without systemd it is only mounted.
 * Return: 0; -ERR_DISK_NOT_EMPTY, -ERR_STATE, -ERR_INVALID, -ERR_NOT_FOUND (no such device),
 *         -ERR_POOL_POLICY (root file system, no extended attributes), -ERR_COMMAND, -ERR_IO,
 *         -ERR_TIMEOUT
 */
int brick_prepare(const struct brick_opts *opts, struct brick_result *ret, struct err *e);

/**
 * brick_observe_device - what is on a disk, without changing it; opens it for reading only
 * @opts: device, uuid and state_dir are used (uuid may be NULL)        @ret: zero-initialised
 */
int brick_observe_device(const struct brick_opts *opts, struct brick_seen *ret, struct err *e);

/**
 * brick_remove - unmount it and take its units away; the data stays unless @opts->wipe
 * With wipe the signatures of the disk, or the subdirectory "brick", are deleted, if and only if
 * the brick's marker or file system carries @opts->uuid; such a disk counts as empty from then on. What is gone already is fine.
 */
int brick_remove(const struct brick_opts *opts, struct err *e);
