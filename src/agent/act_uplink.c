/* SPDX-License-Identifier: Apache-2.0
 * The uplink of this host, asked for by its tasks. The files of host_uplink.h are the truth; what
 * the cluster sees of them is an observation. */
#include "adapters/host/host_uplink.h"
#include "agent/env.h"

static struct uplink_wish wish_of(const json_t *args)
{
    return (struct uplink_wish){
        .nic = json_text_of(args, "nic"),
        .bridge = json_text_of(args, "bridge"),
        .mgmt = json_text_of(args, "mgmt"),
        .storage = json_text_of(args, "storage"),
    };
}

int act_uplink_take(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    const struct uplink_wish wish = wish_of(args);
    _cleanup_json_ json_t *record = NULL;
    unsigned confirm_s = (unsigned)json_u64_of(args, "confirm_s", UPLINK_CONFIRM_S);
    int r = uplink_take("", &wish, confirm_s, &record, e);
    return r < 0 ? r : uplink_observe("", ret, e);
}

int act_uplink_keep(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    int r = uplink_keep("", e);
    return r < 0 ? r : uplink_observe("", ret, e);
}

int act_uplink_drop(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    int r = uplink_drop("", e);
    return r < 0 ? r : uplink_observe("", ret, e);
}

int act_observe_uplink(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                       struct err *e)
{
    return uplink_observe("", ret, e);
}
