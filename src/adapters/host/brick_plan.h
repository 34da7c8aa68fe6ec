/* SPDX-License-Identifier: Apache-2.0
 * What to do with the disk of a brick, decided from what was seen on it. Pure. The one rule: a disk
 * that holds anything but our own unfinished work is never formatted without `wipe`. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define BRICK_DISK_MIN_BYTES (300 * MIB) /* mkfs.xfs 6.1 refuses less */

struct brick_seen {
    uint64_t size_bytes;
    uint64_t sector_bytes; /* logical; must be the same for all bricks of a pool (gluster.md 1.6) */
    bool busy;             /* the kernel holds it: mounted anywhere, LVM, RAID, swap */
    char *mounted_at;      /* in this mount namespace, or NULL */
    char *fs_type;         /* what blkid found: "xfs", "LVM2_member", …, or NULL */
    char *fs_uuid;         /* or NULL */
    char *partition_table; /* "gpt", "dos" or NULL */
    bool unfinished;       /* XFS whose mkfs did not come to its end */
    bool has_bytes;        /* something other than zero was found where we looked */
    bool intent;           /* our record says that we began to format this disk for this brick */
};
void brick_seen_done(struct brick_seen *s);
#define _cleanup_brick_seen_ _cleanup_(brick_seen_done)

/** brick_parse_blkid - `blkid -p -o export` into the three texts of @ret. Pure. */
void brick_parse_blkid(const char *text, struct brick_seen *ret);

/** brick_parse_xfs_head - first sector: XFS that mkfs has not finished (sb_inprogress)? */
bool brick_parse_xfs_head(const unsigned char *sector, size_t len);

/**
 * brick_find_mount - a line of /proc/self/mountinfo by device number and, or, mount point
 * @devno: "8:17" or NULL        @path: or NULL; the last match wins, as in the kernel
 * @ret_devno: may be NULL       Both results are freed by the caller.
 * Return: true when there is one
 */
bool brick_find_mount(const char *mountinfo, const char *devno, const char *path, char **ret_devno,
                      char **ret_path);

enum brick_action {
    BRICK_FORMAT, /* then mount */
    BRICK_MOUNT,  /* our file system is there */
    BRICK_KEEP,   /* it is mounted where it belongs */
};

/**
 * brick_plan - @device: for messages   @path: mount point wanted   @uuid: of our file system
 * @wipe: the user agreed to lose what is on the disk
 * Return: 0; -ERR_DISK_NOT_EMPTY; -ERR_STATE when it is mounted or held (also with @wipe);
 *         -ERR_INVALID when it is too small
 */
int brick_plan(const struct brick_seen *seen, const char *device, const char *path,
               const char *uuid, bool wipe, enum brick_action *ret, struct err *e);
