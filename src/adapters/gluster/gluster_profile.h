/* SPDX-License-Identifier: Apache-2.0
 * PURE. The fixed option profile of every pool: `group virt` of GlusterFS 10.3 (extras/
 * group-virt.example, the same in 11.1) overlaid by facts/gluster.md 10.1. There is one profile;
 * users cannot tune it, and what differs is drift, to be repaired and reported.
 * Not handled here: auth.reject and user.xlator.*, which belong to the fence. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/smap.h"
#include "base/str.h"

/* What of the profile depends on the pool. */
struct gluster_profile_params {
    const struct strv *storage_addresses; /* of all hosts that may mount; sorted in the option */
    uid_t owner_uid;                      /* libvirt-qemu */
    gid_t owner_gid;                      /* kvm */
    bool no_ha; /* two copies without a witness (D11): the first brick must be up, HA is off */
};

struct gluster_drift_item {
    char *key;
    char *want; /* NULL: the option must not be set; it is repaired by a reset */
    char *have; /* NULL: not set */
    const char *reason;
};
struct gluster_drift {
    struct gluster_drift_item *v;
    size_t n;
};
void gluster_drift_done(struct gluster_drift *d);
#define _cleanup_gluster_drift_ _cleanup_(gluster_drift_done)

/** The cluster-wide option (`volume set all`) that the profile rests on, and its value. */
#define GLUSTER_QUORUM_RATIO_KEY "cluster.server-quorum-ratio"
#define GLUSTER_QUORUM_RATIO_VALUE "51%"
/** Changed by `volume heal NAME granular-entry-heal enable` on a started volume, never by set. */
#define GLUSTER_GRANULAR_KEY "cluster.granular-entry-heal"

/**
 * plan_gluster_profile - every option of the profile with the values of this pool
 * @p: not NULL        @ret: keys to values (char *, owned), replaced; smap_done() frees
 */
void plan_gluster_profile(const struct gluster_profile_params *p, struct smap *ret);

/**
 * plan_gluster_drift - where the options of a volume differ from the profile
 * @seen: option → value (char *) as glusterd lists those that were set; values are compared after
 *        normalising ("enable" = on, "67108864" = 64MB, order of address lists)
 * @p: not NULL
 * @ret: sorted by key; gluster_drift_done() frees. Empty when nothing differs
 */
void plan_gluster_drift(const struct smap *seen, const struct gluster_profile_params *p,
                        struct gluster_drift *ret);
