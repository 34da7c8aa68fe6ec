/* SPDX-License-Identifier: Apache-2.0
 * A libvirtd that does not answer (facts/ha.md 3.9 case 6): guests go on, but nothing can be started, moved or
 * ended here. The host says so, gets no new guests, and its libvirtd is ended once; its socket starts it anew. */
#include "base/str.h"
#include "core/act.h"
#include "core/plan/plan.h"

#define MUTE_US (60 * USEC_PER_SEC) /* one look; a busy libvirtd answers in seconds */
#define MUTE_LOOKS 7                /* or so many that failed in a row: with their back-offs that is a minute, too */
#define AGAIN_US (3600 * USEC_PER_SEC)

static bool is_mute(const struct core *c)
{
    const struct attempt *a = act_find(c, "observe/domains");
    return a && (a->fails >= MUTE_LOOKS || (a->in_flight && core_is_past(c, a->started_us + MUTE_US)));
}

void plan_libvirt(struct core *c)
{
    bool is_mute_now = is_mute(c);
    bool was_told = json_bool_of(smap_get(&c->seen, "libvirt"), "mute", false);
    if (is_mute_now != was_told) { /* who was never mute says nothing */
        smap_put(&c->seen, "libvirt", json_pack("{s:b}", "mute", is_mute_now));
    }
    if (is_mute_now) {
        (void)act_seldom(c, "libvirt/restart", "libvirt.restart", json_object(), AGAIN_US);
    }
}
