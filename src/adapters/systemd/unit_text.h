/* SPDX-License-Identifier: Apache-2.0
 * The texts of our units and drop-ins, and the names systemd gives to paths. Pure; goldens are in
 * tests/golden/host/. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/**
 * unit_name_of_path - "/data/gluster/a-b" → "data-gluster-a\x2db.mount" (systemd.unit(5))
 * @path: absolute        @suffix: "mount", "device"        Caller frees.
 */
char *unit_name_of_path(const char *path, const char *suffix);

struct unit_mount {
    const char *what;        /* "/dev/disk/by-uuid/…", "/dev/mortar-data" */
    const char *where;       /* absolute mount point */
    const char *type;        /* "xfs" */
    const char *options;     /* "noatime,inode64" */
    const char *description; /* one line */
    const char *before;      /* units that need the mount, or NULL */
};
/**
 * unit_text_mount - a .mount unit that boot does not wait for more than 30 s
 * A brick's disk that is missing must not keep the host from booting. Caller frees.
 */
char *unit_text_mount(const struct unit_mount *m);

/** unit_text_vm_slice - the slice of all QEMUs, or (@ha) of those the guard may freeze. Caller frees. */
char *unit_text_vm_slice(bool ha);
/** unit_text_etcd_dropin - priorities and restart of facts/ha.md 2.5. Static text. */
const char *unit_text_etcd_dropin(void);
/** unit_text_glusterd_dropin - keeps bricks alive when glusterd ends (facts/gluster.md fact 10). Static text. */
const char *unit_text_glusterd_dropin(void);
