/* SPDX-License-Identifier: Apache-2.0 */
#include "core/request_uplink.h"

#include "base/str.h"
#include "core/model/node.h"

#define CONFIRM_MIN_S 10
#define CONFIRM_MAX_S 600

int request_uplink_fits(const json_t *args, const char *role, struct err *e)
{
    const char *nic = json_text_of(args, "uplink");
    uint64_t confirm_s = json_u64_of(args, "uplink_confirm_s", CONFIRM_MIN_S);
    if (!nic) {
        return 0;
    }
    if (role && (str_eq(role, "storage") || str_eq(role, "witness"))) {
        (void)ERR_SET(e, INVALID, "a %s host has no guests, so it needs no uplink", role);
        err_hint(e, "leave --uplink out");
        return -ERR_INVALID;
    }
    if (confirm_s < CONFIRM_MIN_S || confirm_s > CONFIRM_MAX_S) {
        return ERR_SET(e, INVALID, "an uplink is on trial for %d to %d s, not %llu s", CONFIRM_MIN_S,
                       CONFIRM_MAX_S, (unsigned long long)confirm_s);
    }
    return 0;
}

int request_uplink_set(const struct core *c, const json_t *args, struct err *e)
{
    const char *nic = NULL;
    const json_t *me = node_get(c, c->host);
    int r = json_need_text(args, "uplink", &nic, e);
    r = r < 0 ? r : request_uplink_fits(args, json_text_of(me, "role"), e);
    if (r == 0 && !node_may_run_vms(me)) {
        (void)ERR_SET(e, STATE, "this host is not a working member of its cluster yet");
        err_hint(e, "finish 'mortar init' or 'mortar join' first: see 'mortar host ls'");
        return -ERR_STATE;
    }
    return r;
}

int request_uplink_end(const struct core *c, struct err *e)
{
    return c->host ? 0 : ERR_SET(e, NO_CLUSTER, "this host is not part of a cluster");
}
