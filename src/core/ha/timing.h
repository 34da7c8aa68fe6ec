/* SPDX-License-Identifier: Apache-2.0
 * All intervals of failover, derived in one place (facts/ha.md 4.1). The guard gets them with its
 * configuration and checks the inequalities again: it does not trust this file. */
#pragma once

#include <stdint.h>

struct ha_timing {
    const char *profile;
    uint64_t beat_us;     /* H_b: a host asks for promises and shows that it lives */
    uint64_t silent_us;   /* T_det: nothing heard for so long, on all networks */
    uint64_t freeze_us;   /* from the moment a promise was asked for: then guests stand still */
    uint64_t watchdog_us; /* T_wd, from the last renewal */
    uint64_t promise_us;  /* P, at the fencer, from the moment it was given */
};

/* Ranks take turns, so that one coordinator usually acts alone. Safety does not rest on it. */
#define HA_RANK_US (UINT64_C(300) * 1000)
/* A8: a brick host that does not see the arbiter's cut does not wait longer. */
#define HA_CUT_WAIT_US (UINT64_C(300) * 1000)
/* Storm guard (3.8, A10): more than a third of all hosts silent. */
#define HA_STORM_WAIT_US (UINT64_C(15) * 1000000)
/* Never fence hosts faster than this one after the other (4.3). */
#define HA_FENCE_PAUSE_US (UINT64_C(5) * 1000000)

/* A host that is heard, but does not reach its guests' disks for so long, gives them away (3.9 case 7). */
#define HA_STRANDED_US (UINT64_C(20) * 1000000)

/* T11: while a host that was let in waits for the heal of its bricks, brick hosts look so often at what is left, and
 * nothing is left when none has seen anything for a look and what AFR keeps to itself (a blame is on disk 1 s after its
 * write, docs/evidence/flip.md 2"), a commit and a watch. */
#define HA_RETURN_LOOK_US (UINT64_C(2) * 1000000)
#define HA_HEALED_US (HA_RETURN_LOOK_US + UINT64_C(3) * 1000000)

/* A brick that has not drained so long after a cut may be ended, where the rest has quorum (3.9 case 19). */
#define HA_ACK_US (UINT64_C(3) * 1000000)

/* Flapping guard (4.3): fenced so often, it stays out until its administrator lets it in. An hour as a
 * full member without a reboot is the burn-in that clears the count. */
#define HA_FLAP_FENCES 2
#define HA_FLAP_CLEAR_US (UINT64_C(3600) * 1000000)

/** ha_timing_find - "fast", "standard" or "relaxed"; NULL means standard. Return: NULL when unknown */
const struct ha_timing *ha_timing_find(const char *profile);
