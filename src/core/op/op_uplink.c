/* SPDX-License-Identifier: Apache-2.0
 * The uplink of this host. Local tasks: what they change is of this host alone, and confirming or
 * undoing must work when the move has cut this host off from the store. */
#include "core/op/op_uplink.h"

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/op/ops.h"

#define MINUTE (60 * USEC_PER_SEC)

/* The action's result is what is seen now; what the network is made of is planned again at once. */
static enum op_verdict do_and_learn(struct op *o, const char *action, json_t *args)
{
    const json_t *seen = NULL;
    enum op_verdict v = op_do(o, "", action, args, &seen);
    if (v == OP_NEXT) {
        smap_put(&o->c->seen, "uplink", json_incref((json_t *)seen));
        json_object_set(o->task, "result", (json_t *)seen);
        act_forget(o->c, "net/");
    }
    return v;
}

enum op_verdict op_uplink_take(struct op *o)
{
    const json_t *me = node_get(o->c, o->c->host);
    const char *nic = json_text_of(o->args, "uplink");
    if (!nic) {
        return OP_NEXT;
    }
    if (!node_has_vms(me)) {
        return op_fail(o, INVALID, "a %s host has no guests, so it needs no uplink",
                       json_text_of(me, "role"));
    }
    json_t *args = json_pack("{s:s,s:s,s:O,s:O}", "nic", nic, "bridge", NETWORK_BRIDGE, "mgmt",
                             json_object_get(me, "mgmt"), "storage", json_object_get(me, "storage"));
    json_t *confirm_s = json_object_get(o->args, "uplink_confirm_s");
    if (json_is_integer(confirm_s)) {
        json_object_set(args, "confirm_s", confirm_s);
    }
    return do_and_learn(o, "uplink.take", args);
}

static enum op_verdict keep(struct op *o)
{
    return do_and_learn(o, "uplink.keep", json_object());
}

static enum op_verdict drop(struct op *o)
{
    return do_and_learn(o, "uplink.drop", json_object());
}

static const struct op_phase set_phases[] = {
    {"uplink", "Put the card under the guests' network", op_uplink_take, MINUTE},
    {0},
};
static const struct op_phase confirm_phases[] = {
    {"keep", "Keep the uplink", keep, MINUTE},
    {0},
};
static const struct op_phase remove_phases[] = {
    {"drop", "Give the card back", drop, MINUTE},
    {0},
};

const struct op_kind op_uplink_set = {"uplink.set", set_phases, NULL, false};
const struct op_kind op_uplink_confirm = {"uplink.confirm", confirm_phases, NULL, false};
const struct op_kind op_uplink_remove = {"uplink.remove", remove_phases, NULL, false};
