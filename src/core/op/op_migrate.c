/* SPDX-License-Identifier: Apache-2.0
 * Live migration by D7 and facts/ha.md 6.3. The runner is the source. T6 claims the migration, QEMU
 * copies and leaves the target's copy paused, and when the source's QEMU has gone the source
 * commits T7: owner = target, a new epoch, and in the same commit act = resuming, so that the target's
 * planner resumes it at once when it learns of that (I9, docs/adr/0008). */
#include <stdio.h>

#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/move_limits.h"
#include "core/op/ops.h"
#include "core/place/place.h"

#define MINUTES(n) ((n) * 60 * USEC_PER_SEC)
#define TARGET_ENDS_US (30 * USEC_PER_SEC) /* a destroy and a list there take a second or two; then nothing is waited for */

static const char *name_of(const struct op *o)
{
    return json_text_of(o->args, "name");
}

static const char *dst_of(const struct op *o)
{
    return json_text_of(o->data, "dst");
}

/* Does the ownership record say so of this very migration? */
static bool is_in_phase(const struct op *o, const char *phase)
{
    const json_t *mig = json_object_get(vm_own(o->c, name_of(o)), "mig");
    return str_eq(json_text_of(mig, "id"), o->id) && str_eq(json_text_of(mig, "phase"), phase);
}

static bool is_handed_over(const struct op *o)
{
    return is_in_phase(o, "done");
}

static bool is_claimed(const struct op *o)
{
    return is_in_phase(o, "active");
}

/* A machine that may be taken over executes only where the guard freezes it when it has to; a host that has
 * not heard yet that failover is on does not. */
static bool may_freeze(const struct core *c, const char *pool, const char *host)
{
    return !ha_pool_is_on(c, pool) || json_bool_of(node_seen(c, host, "failover"), "enforce", false);
}

/* The conditions of the request, looked at again: minutes may have passed in a queue. */
static enum op_verdict check(struct op *o)
{
    const struct core *c = o->c;
    const json_t *own = vm_own(c, name_of(o));
    char why[128];
    const char *host = NULL;
    if (!c->domains_at_us) {
        return OP_WAIT; /* this agent has just started and has not looked yet */
    }
    if (!str_eq(json_text_of(own, "owner"), c->host) || !vm_domain(c, name_of(o))) {
        return op_fail(o, STATE, "vm '%s' does not run on %s", name_of(o), c->host);
    }
    if (place_move(c, name_of(o), json_text_of(o->args, "to"), &host, why, sizeof(why), &o->err) < 0) {
        return OP_FAIL;
    }
    const char *pool = json_text_of(vm_spec(c, name_of(o)), "pool");
    if (!pool_quorum(c, pool, NULL)) {
        return op_fail(o, NO_QUORUM, "pool '%s' has no quorum", pool);
    }
    if (!may_freeze(c, pool, host)) {
        op_note(o, "waiting for %s to take part in failover", host);
        return OP_WAIT;
    }
    json_object_set_new(o->data, "dst", json_string(host));
    json_object_set_new(o->data, "why", json_string(why));
    return OP_NEXT;
}

static enum op_verdict claim(struct op *o) /* T6 */
{
    struct core *c = o->c;
    const json_t *own = vm_own(c, name_of(o));
    if (is_claimed(o)) {
        return OP_NEXT;
    }
    if (vm_mig_is_active(own) || !str_eq(json_text_of(own, "owner"), c->host)) {
        return op_fail(o, BUSY, "another migration of vm '%s' is under way", name_of(o));
    }
    json_t *next = json_deep_copy(own);
    struct commit t = commit_new();
    json_object_set_new(next, "mig",
                        json_pack("{s:s,s:s,s:I,s:I,s:s}", "id", o->id, "dst", dst_of(o), "dst_inc",
                                  (json_int_t)json_u64_of(node_get(c, dst_of(o)), "inc", 0), "epoch",
                                  (json_int_t)vm_next_epoch(c, own), "phase", "active"));
    vm_put_own(c, &t, name_of(o), next);
    commit_guard(c, &t, KEY_NODE, dst_of(o));
    _cleanup_free_ char *said = str_printf("%s/failover", dst_of(o));
    commit_guard(c, &t, KEY_SEEN, said);
    commit_use(&t, "node", dst_of(o));
    return op_commit(o, "", &t);
}

static json_t *copy_args(struct op *o)
{
    struct core *c = o->c;
    const json_t *spec = vm_spec(c, name_of(o));
    struct move_limits limits = {0};
    move_limits_of(json_u64_of(node_seen(c, c->host, "host"), "storage_mbit", 0),
                   json_u64_of(node_seen(c, dst_of(o), "host"), "storage_mbit", 0),
                   json_u64_of(spec, "memory_bytes", 0), &limits);
    return json_pack("{s:s,s:s,s:O,s:O?,s:s,s:O,s:I,s:I}", "name", name_of(o), "id", o->id, "own",
                     vm_own(c, name_of(o)), "node", node_get(c, dst_of(o)), "dst", dst_of(o), "spec",
                     spec, "bandwidth_mib_per_s", (json_int_t)limits.bandwidth_mib_per_s, "limit_s",
                     (json_int_t)limits.limit_s);
}

/* What the copy has cost, for the report; lost when the agent died in between. */
static void keep_figures(struct op *o)
{
    _cleanup_free_ char *id = str_printf("task/%s/copy/qemu", o->id);
    const struct attempt *a = act_find(o->c, id);
    if (a && a->result) {
        json_object_set(o->data, "copied", a->result);
    }
}

/* What the target has to do, said for it by T7. It compares act, too: what is carried over is what was there. */
static json_t *resuming(struct op *o, uint64_t epoch)
{
    static const char *const carried[] = {"ha", "crashes"}; /* its slice is in the domain's XML; see vm.h */
    const json_t *act = vm_act(o->c, name_of(o));
    json_t *next = vm_new_act(o->c, VM_RESUMING, epoch);
    json_object_set_new(next, "host", json_string(dst_of(o)));
    for (size_t i = 0; i < ELEMENTS(carried); i++) {
        json_t *value = json_object_get(act, carried[i]);
        if (value) {
            json_object_set(next, carried[i], value);
        }
    }
    return next;
}

static enum op_verdict commit_t7(struct op *o)
{
    struct core *c = o->c;
    uint64_t epoch = vm_epoch(json_object_get(vm_own(c, name_of(o)), "mig"));
    json_t *next = vm_new_own(c, dst_of(o), epoch);
    struct commit t = commit_new();
    json_object_set_new(next, "mig", json_pack("{s:s,s:s,s:s}", "id", o->id, "dst", dst_of(o),
                                               "phase", "done"));
    vm_put_own(c, &t, name_of(o), next);
    vm_put_act(c, &t, name_of(o), resuming(o, epoch));
    return op_commit(o, "own", &t);
}

/* Copy and T7 are one phase: saving the task between them would lengthen the blackout. */
static enum op_verdict copy(struct op *o)
{
    struct core *c = o->c;
    if (is_handed_over(o)) {
        keep_figures(o);
        return OP_NEXT;
    }
    if (!is_claimed(o)) {
        return op_fail(o, CONFLICT, "the ownership record was changed by somebody else");
    }
    /* T8 on a guess would end a copy that may be the only one. */
    enum op_verdict v = op_do_until_known(o, "qemu", "vm.migrate", copy_args(o));
    if (v == OP_WAIT && op_is_cancelled(o)) {
        (void)op_do(o, "cancel", "vm.migrate_abort", json_pack("{s:s}", "name", name_of(o)), NULL);
    }
    if (v == OP_WAIT && op_is_forced(o)) {
        (void)op_do(o, "cut", "vm.migrate_abort",
                    json_pack("{s:s,s:O*}", "name", name_of(o), "cut_from",
                              json_object_get(node_get(c, dst_of(o)), "storage")), NULL);
    }
    if (v == OP_FAIL && op_is_forced(o)) {
        return op_fail(o, CANCELLED, "cancelled by force");
    }
    return v == OP_NEXT ? commit_t7(o) : v; /* a cancelled copy fails by itself, or had finished before */
}

/* Both ends of the blackout are read on this host's clock: QEMU's switch-over here, and the moment
 * the target's "running" reached us. So it is never too short, by one watch hop too long. */
static json_t *last_of(struct op *o, uint64_t resumed_us)
{
    const json_t *copied = json_object_get(o->data, "copied");
    _cleanup_free_ char *what = str_printf("suspended/%s", name_of(o));
    uint64_t paused_us = json_u64_of(smap_get(&o->c->seen, what), "at_us", 0);
    json_t *last = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:O}", "from", o->c->host, "to", dst_of(o),
                             "bytes", (json_int_t)json_u64_of(copied, "bytes", 0), "total_ms",
                             (json_int_t)json_u64_of(copied, "total_ms", 0), "qemu_downtime_ms",
                             (json_int_t)json_u64_of(copied, "downtime_ms", 0), "when_ms",
                             (json_int_t)(o->c->wall_us / USEC_PER_MSEC), "reason",
                             json_object_get(o->data, "why"));
    json_t *blackout = paused_us && resumed_us > paused_us
                           ? json_integer((json_int_t)((resumed_us - paused_us) / USEC_PER_MSEC))
                           : json_null(); /* the agent restarted in between: not known */
    json_object_set_new(last, "blackout_ms", blackout);
    return last;
}

static enum op_verdict handover(struct op *o)
{
    struct core *c = o->c;
    const json_t *own = vm_own(c, name_of(o));
    const json_t *act = vm_act(c, name_of(o));
    if (!own) {
        enum op_verdict v = op_confirm_no_vm(o);
        if (v == OP_NEXT) {
            return op_fail(o, NOT_FOUND, "vm '%s' was removed", name_of(o));
        }
        return v;
    }
    bool is_running = str_eq(json_text_of(act, "state"), "running") && vm_epoch(act) == vm_epoch(own);
    if (!is_running) {
        op_note(o, "waiting for %s to resume it", json_text_of(own, "owner"));
        return OP_WAIT;
    }
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/act", name_of(o));
    _cleanup_free_ char *last_key = str_printf("%s/last", name_of(o));
    struct commit t = commit_new();
    commit_put(c, &t, KEY_VM, last_key, last_of(o, world_record(&c->world, key)->changed_us));
    return op_commit(o, "", &t);
}

/* It never ran, and its host ends it when it hears of T8. It alone can say that nothing is left, by a list of its
 * machines that is newer than T8 (plan_vm.c); what it cannot say in time is said to be unknown. */
static enum op_verdict await_target(struct op *o)
{
    const struct core *c = o->c;
    const char *dst = json_text_of(json_object_get(vm_own(c, name_of(o)), "mig"), "dst");
    json_t *error = json_object_get(o->task, "error");
    if (str_eq(json_text_of(node_seen_now(c, dst, VM_UNDONE), name_of(o)), o->id)) {
        return OP_NEXT;
    }
    bool may_tell = node_may_run_vms(node_get(c, dst)) && !node_is_silent(c, dst);
    if (!op_has_lasted(o, TARGET_ENDS_US) && may_tell) {
        return OP_WAIT;
    }
    json_object_set_new(error, "message", json_sprintf("%s; whether %s still has a copy, which never ran, is not known",
                                                       json_text_of(error, "message"), dst));
    return OP_NEXT;
}

/* T8: the record says positively that the copy on the target is dead; its planner destroys it. */
static enum op_verdict abort_migration(struct op *o)
{
    struct core *c = o->c;
    const json_t *own = vm_own(c, name_of(o));
    if (!own) {
        return op_confirm_no_vm(o); /* a claim that nobody ends is for ever */
    }
    if (is_in_phase(o, "aborted")) {
        return await_target(o);
    }
    if (!is_claimed(o)) { /* or what was read is of before the claim: nobody else would ever end it */
        struct commit t = commit_new();
        vm_put_own(c, &t, name_of(o), json_incref((json_t *)own));
        return op_commit(o, "unclaimed", &t);
    }
    enum op_verdict v = op_do(o, "abort", "vm.migrate_abort", json_pack("{s:s}", "name", name_of(o)),
                              NULL);
    if (v == OP_WAIT) {
        return v;
    }
    json_t *next = json_deep_copy(own);
    struct commit t = commit_new();
    json_object_set_new(json_object_get(next, "mig"), "phase", json_string("aborted"));
    vm_put_own(c, &t, name_of(o), next);
    return op_commit(o, "t8", &t);
}

static const struct op_phase phases[] = {
    {"check", "Check both hosts", check, MINUTES(1), .is_bound = true},
    {"claim", "Claim the migration", claim, MINUTES(1), .is_bound = true},
    {"copy", "Copy the memory", copy, 0, true, .is_bound = true}, /* limit_s, see copy_args() */
    {"handover", "Resume on the target", handover, MINUTES(2), true, .is_bound = true},
    {0},
};

const struct op_kind op_vm_migrate = {"vm.migrate", phases, abort_migration, true};

static bool set_state(struct op *o, const char *state)
{
    struct core *c = o->c;
    const json_t *node = node_get(c, c->host);
    if (str_eq(json_text_of(node, "state"), state)) {
        return true;
    }
    json_t *next = json_deep_copy(node);
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string(state));
    commit_put(c, &t, KEY_NODE, c->host, next);
    return op_commit(o, state, &t) == OP_NEXT;
}

static enum op_verdict enter_maintenance(struct op *o)
{
    return set_state(o, "maintenance") ? OP_NEXT : OP_WAIT;
}

static bool has_failed(const json_t *task)
{
    const char *state = json_text_of(task, "state");
    return str_eq(state, "failed") || str_eq(state, "cancelled");
}

static char *child_id(const struct op *o, const char *vm)
{
    return str_printf("%s-%s", o->id, vm);
}

/* Why a machine cannot be moved, as text to be freed; NULL while it still may be. */
static char *obstacle(const struct op *o, const char *vm)
{
    const struct core *c = o->c;
    _cleanup_free_ char *id = child_id(o, vm);
    const json_t *task = world_get(&c->world, KEY_TASK, id);
    if (has_failed(task)) {
        return str_dup(json_text_of(json_object_get(task, "error"), "message"));
    }
    if (str_eq(json_text_of(task, "state"), "done")) { /* a start that was asked for before the evacuation, say */
        return str_dup("it was moved away, and has come back since");
    }
    if (!task && pool_is_dir(pool_get(c, json_text_of(vm_spec(c, vm), "pool")))) {
        return str_dup("it is on local storage; stop it first");
    }
    return NULL;
}

static enum op_verdict move(struct op *o, const char *vm)
{
    struct core *c = o->c;
    _cleanup_free_ char *id = child_id(o, vm);
    op_note(o, "moving %s", vm);
    if (world_get(&c->world, KEY_TASK, id)) {
        return OP_WAIT;
    }
    _cleanup_json_ json_t *args = json_pack("{s:s}", "name", vm);
    struct commit t = commit_new();
    commit_put(c, &t, KEY_TASK, id, op_new_task(c, id, "vm.migrate", vm, c->host, args));
    return op_commit(o, vm, &t) == OP_FAIL ? OP_FAIL : OP_WAIT;
}

/* Is a commit of this phase under way? It may bring one more move. */
static bool is_committing(const struct op *o)
{
    const struct smap *all = &o->c->attempts;
    _cleanup_free_ char *prefix = str_printf("task/%s/%s/", o->id, o->phase);
    for (size_t i = smap_lower(all, prefix); i < all->n && str_starts(all->items[i].key, prefix); i++) {
        if (((const struct attempt *)all->items[i].value)->in_flight) {
            return true;
        }
    }
    return false;
}

/* The move under way is ended as its own cancel would, then this host takes work again. */
static enum op_verdict give_back(struct op *o)
{
    struct core *c = o->c;
    _cleanup_free_ char *prefix = str_printf(KEY_TASK "%s-", o->id);
    for (struct world_iter it = {0}; world_next(&c->world, prefix, &it);) {
        if (!str_eq(json_text_of(it.value, "state"), "running")) {
            continue;
        }
        op_note(o, "ending the move of %s", it.name);
        const char *how = op_is_forced(o) ? "force" : "cancel";
        if (!json_bool_of(it.value, how, false)) {
            _cleanup_free_ char *id = child_id(o, it.name);
            _cleanup_free_ char *sub = str_printf("%s-%s", how, it.name);
            json_t *next = json_deep_copy(it.value);
            struct commit t = commit_new();
            json_object_set_new(next, "cancel", json_true());
            json_object_set_new(next, how, json_true());
            commit_put(c, &t, KEY_TASK, id, next);
            (void)op_commit(o, sub, &t);
        }
        return OP_WAIT;
    }
    if (is_committing(o)) {
        return OP_WAIT;
    }
    return set_state(o, "online") ? op_fail(o, CANCELLED, "cancelled by request") : OP_WAIT;
}

/* One machine after the other: at most one outgoing migration of a host (facts/ha.md 6.2). What cannot
 * be moved is named at the end and keeps nobody else here. */
static enum op_verdict drain(struct op *o)
{
    struct core *c = o->c;
    _cleanup_sbuf_ struct sbuf left = {0};
    unsigned left_n = 0;
    char *vm = NULL;
    if (op_is_cancelled(o)) {
        return give_back(o);
    }
    for (struct world_iter it = {0}; (vm = vm_next(c, &it));) {
        _cleanup_free_ char *name = vm;
        bool is_here = str_eq(json_text_of(vm_own(c, name), "owner"), c->host) &&
                       str_eq(json_text_of(vm_spec(c, name), "desired"), "running");
        _cleanup_free_ char *why = is_here ? obstacle(o, name) : NULL;
        if (is_here && !why) {
            return move(o, name);
        }
        if (why) {
            sbuf_printf(&left, "%s%s (%s)", left_n++ ? "; " : "", name, why);
        }
    }
    if (left_n) {
        (void)ERR_SET(&o->err, STATE, "%u virtual machine%s could not be moved: %s", left_n,
                      left_n == 1 ? "" : "s", left.data);
        err_hint(&o->err, "stop or move them, then evacuate again; 'mortar host activate' ends the maintenance");
        return OP_FAIL;
    }
    return OP_NEXT;
}

static const struct op_phase evacuate_phases[] = {
    {"maintenance", "Take no new work", enter_maintenance, MINUTES(1), true, .is_bound = true},
    {"drain", "Move the virtual machines away", drain, 0, true, .is_bound = true},
    {0},
};

const struct op_kind op_evacuate = {"host.evacuate", evacuate_phases, NULL, true};
