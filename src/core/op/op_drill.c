/* SPDX-License-Identifier: Apache-2.0
 * A drill's task (core/drill.h). Its runner is another host than the one that is struck. From the strike on
 * it cannot be cancelled, and it does not fail because something takes long: the report says what nobody saw. */
#include <stdio.h>

#include "base/str.h"
#include "core/drill.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/vm.h"
#include "core/op/ops.h"

#define MINUTES(n) ((n) * 60 * USEC_PER_SEC)
#define LISTEN_US (4 * USEC_PER_SEC) /* until guests are heard before the strike */
#define FENCE_US MINUTES(2)
#define RESTART_US MINUTES(4)
#define GUESTS_US MINUTES(2)
#define RETURN_US MINUTES(15)
#define LAST_WORDS_US (7 * USEC_PER_SEC) /* a window of listening (agent/act_drill.c) and its commit */

static const json_t *drill_of(const struct op *o)
{
    return world_get(&o->c->world, KEY_DRILL, o->id);
}

static const char *host_of(const struct op *o)
{
    return json_text_of(drill_of(o), "host");
}

static bool is_in(const struct op *o, const char *state)
{
    return str_eq(json_text_of(drill_of(o), "state"), state);
}

static enum op_verdict lost(struct op *o)
{
    return op_fail(o, NOT_FOUND, "the drill's record is gone");
}

/* All that the request looked at, again: then the host may strike. */
static enum op_verdict arm(struct op *o)
{
    struct core *c = o->c;
    if (!drill_of(o)) {
        return lost(o);
    }
    if (is_in(o, "armed") || is_in(o, "struck")) {
        return OP_NEXT;
    }
    if (!op_has_lasted(o, LISTEN_US)) {
        return OP_WAIT;
    }
    _cleanup_json_ json_t *plan = NULL;
    if (drill_plan(c, host_of(o), json_text_of(drill_of(o), "kind"), o->id, &plan, &o->err) < 0) {
        return OP_FAIL;
    }
    if (json_text_of(plan, "wait")) {
        op_note(o, "%s", json_text_of(plan, "wait"));
        return OP_WAIT;
    }
    json_t *next = json_deep_copy(drill_of(o));
    struct commit t = commit_new();
    json_object_set(next, "inc", json_object_get(plan, "inc"));
    json_object_set(next, "vms", json_object_get(plan, "vms"));
    json_object_set(next, "stay", json_object_get(plan, "stay"));
    json_object_set_new(next, "state", json_string("armed"));
    json_object_set_new(next, "armed_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
    commit_put(c, &t, KEY_DRILL, o->id, next);
    drill_guard(c, &t);
    return op_commit(o, "arm", &t);
}

static enum op_verdict refused(struct op *o)
{
    const char *why = json_text_of(drill_of(o), "why");
    return op_fail(o, STATE, "%s did not strike: %s", host_of(o), why ? why : "?");
}

static enum op_verdict strike(struct op *o)
{
    if (!drill_of(o)) {
        return lost(o);
    }
    if (is_in(o, "refused")) {
        return refused(o);
    }
    if (is_in(o, "armed") && op_is_cancelled(o)) {
        return op_fail(o, CANCELLED, "cancelled by request");
    }
    op_note(o, "waiting for %s to strike itself", host_of(o));
    return is_in(o, "struck") ? OP_NEXT : OP_WAIT;
}

static enum op_verdict fence(struct op *o)
{
    const json_t *node = node_get(o->c, host_of(o));
    uint64_t inc = json_u64_of(drill_of(o), "inc", 0);
    if (is_in(o, "refused")) {
        return refused(o);
    }
    op_note(o, "%s is %s", host_of(o), json_text_of(node, "state"));
    bool is_fenced = str_eq(json_text_of(node, "state"), "fenced") || json_u64_of(node, "inc", 0) > inc;
    return is_fenced || op_has_lasted(o, FENCE_US) ? OP_NEXT : OP_WAIT;
}

/* Elsewhere, or on the same host after a boot that nobody noticed in time (T10). */
static bool runs_again(const struct op *o, const char *vm)
{
    const json_t *own = vm_own(o->c, vm);
    const json_t *act = vm_act(o->c, vm);
    bool is_new = !str_eq(json_text_of(own, "owner"), host_of(o)) ||
                  json_u64_of(own, "inc", 0) > json_u64_of(drill_of(o), "inc", 0);
    return !own || (is_new && vm_epoch(own) == vm_epoch(act) && str_eq(json_text_of(act, "state"), "running"));
}

static enum op_verdict restart(struct op *o)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(drill_of(o), "vms"), i, item) {
        const char *vm = json_text_of(item, "vm");
        if (!runs_again(o, vm) && !op_has_lasted(o, RESTART_US)) {
            op_note(o, "waiting for vm '%s' to run again", vm);
            return OP_WAIT;
        }
    }
    return OP_NEXT;
}

static const json_t *beat_of(const struct op *o, const char *vm)
{
    const char *owner = json_text_of(vm_own(o->c, vm), "owner");
    const json_t *said = owner ? node_seen(o->c, owner, "beats") : NULL;
    bool is_ours = str_eq(json_text_of(said, "id"), o->id);
    return is_ours ? json_object_get(json_object_get(said, "vms"), vm) : NULL;
}

/* Demo guests beat; other guests are not asked. Then those that stayed get the time to tell of their gaps. */
static enum op_verdict guests(struct op *o)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(drill_of(o), "vms"), i, item) {
        const char *vm = json_text_of(item, "vm");
        if (json_bool_of(item, "channel", false) && !beat_of(o, vm) && !op_has_lasted(o, GUESTS_US)) {
            op_note(o, "waiting for the guest of vm '%s'", vm);
            return OP_WAIT;
        }
    }
    op_note(o, "waiting for what guests still say");
    return op_has_lasted(o, LAST_WORDS_US) ? OP_NEXT : OP_WAIT;
}

static enum op_verdict come_back(struct op *o)
{
    const json_t *node = node_get(o->c, host_of(o));
    bool is_back = node_is_online(node) && !ha_node_is_flushing(node);
    op_note(o, "waiting for %s, which is %s", host_of(o), json_text_of(node, "state"));
    return is_back || op_has_lasted(o, RETURN_US) ? OP_NEXT : OP_WAIT;
}

/* --- the report ---------------------------------------------------------------------------- */

static json_t *all_beats(const struct op *o)
{
    json_t *beats = json_object();
    for (struct world_iter it = {0}; world_next(&o->c->world, KEY_NODE, &it);) {
        const json_t *said = node_seen(o->c, it.name, "beats");
        if (str_eq(json_text_of(said, "id"), o->id)) {
            json_object_set(beats, it.name, json_object_get(said, "vms"));
        }
    }
    return beats;
}

static json_t *all_hosts(const struct core *c)
{
    json_t *hosts = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        json_array_append_new(hosts, json_pack("{s:s,s:O*,s:b}", "name", it.name, "mgmt",
                                               json_object_get(it.value, "mgmt"), "self", str_eq(it.name, c->host)));
    }
    return hosts;
}

/* The oldest of those that are ended or were left behind, beyond the newest ones. */
static void drop_old(struct core *c, struct commit *t, const char *but)
{
    size_t n = 0;
    const char *oldest = NULL;
    uint64_t oldest_ms = UINT64_MAX;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_DRILL, &it);) {
        uint64_t at = json_u64_of(it.value, "started_ms", 0);
        n++;
        if (!str_eq(it.name, but) && at < oldest_ms) {
            oldest = it.name;
            oldest_ms = at;
        }
    }
    if (n > DRILLS_KEPT && oldest) {
        commit_del(c, t, KEY_DRILL, oldest);
    }
}

static enum op_verdict report(struct op *o)
{
    struct core *c = o->c;
    const json_t *result = NULL;
    if (!drill_of(o)) {
        return lost(o);
    }
    if (is_in(o, "done")) {
        json_object_set(o->task, "result", json_object_get(drill_of(o), "report"));
        return OP_NEXT;
    }
    enum op_verdict v = op_do(o, "gather", "drill.report",
                              json_pack("{s:O,s:o,s:o}", "drill", drill_of(o), "beats", all_beats(o), "hosts",
                                        all_hosts(c)), &result);
    if (v != OP_NEXT) {
        return v;
    }
    json_t *next = json_deep_copy(drill_of(o));
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string("done"));
    json_object_set(next, "report", (json_t *)result);
    commit_put(c, &t, KEY_DRILL, o->id, next);
    drop_old(c, &t, o->id);
    v = op_commit(o, "done", &t);
    if (v == OP_NEXT) {
        json_object_set(o->task, "result", (json_t *)result);
    }
    return v;
}

/* Before the strike nothing has happened; afterwards there is nothing that could be undone. */
static enum op_verdict withdraw(struct op *o)
{
    if (!drill_of(o) || is_in(o, "struck") || is_in(o, "done")) {
        return OP_NEXT;
    }
    struct commit t = commit_new();
    commit_del(o->c, &t, KEY_DRILL, o->id);
    return op_commit(o, "withdraw", &t);
}

static const struct op_phase phases[] = {
    {"arm", "Listen to guests, and look whether all is well", arm, MINUTES(1)},
    {"strike", "Strike", strike, MINUTES(1), .cancels_itself = true},
    {"fence", "See it fenced", fence, 0, .cancels_itself = true},
    {"restart", "See its machines run again", restart, 0, .cancels_itself = true},
    {"guests", "Hear the guests", guests, 0, .cancels_itself = true},
    {"return", "See the host come back", come_back, 0, .cancels_itself = true},
    {"report", "Write the report", report, MINUTES(5), .cancels_itself = true},
    {0},
};

const struct op_kind op_drill = {"drill", phases, withdraw, true};
