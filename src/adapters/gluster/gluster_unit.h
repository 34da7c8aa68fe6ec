/* SPDX-License-Identifier: Apache-2.0
 * PURE. The systemd service that keeps a pool mounted. A service and not a mount unit, because
 * systemd does not restart a mount whose FUSE process died. */
#pragma once

#include "base/str.h"

/** gluster_mount_path - "/mnt/NAME". Caller frees. */
char *gluster_mount_path(const char *pool);
/** gluster_mount_unit - "mortar-mount-NAME.service". Caller frees. */
char *gluster_mount_unit(const char *pool);

/**
 * format_gluster_mount_unit - text of the service that mounts a pool on this host
 * @pool: legal object name; volume and directory below /mnt are called the same
 * @servers: storage addresses to fetch the volume description from, tried in this order, at least
 *           one; put a host that is up first: each dead one costs about 3 s
 * Return: the text; caller frees. The service is active when the mount has answered; when its
 * process dies, the dead mount is detached and a new one made, but files that were open on the
 * old one stay dead: their QEMUs must be restarted.
 */
char *format_gluster_mount_unit(const char *pool, const struct strv *servers);
