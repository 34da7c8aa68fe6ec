/* SPDX-License-Identifier: Apache-2.0
 * After a restore: who owns which machine. Hosts in good standing do not run two instances of one (S3 held before the
 * restore, and nothing was started since they reported), and a copy of a migration stands still until its source's QEMU
 * has gone (I9). So what executes on one of them is the machine, whatever the store says; what stands still beside it is
 * a copy, and ends. What stands still alone may be a copy of which nobody knows whether its source went on: it ends, and
 * the machine starts anew there. What nobody has starts anew, when all that have not reported are fenced. */
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/vm.h"
#include "core/restore.h"

#define BATCH_MAX 30 /* machines: three compares and puts each; etcd takes 128 operations of a kind */
#define TASKS_MAX 60

/* What hosts have reported of one machine. */
struct sight {
    const char *vm;
    const char *runs_on;  /* in good standing, executes or was paused by an I/O error; NULL: nowhere */
    const char *other;    /* and there as well */
    const char *still_on; /* in good standing, stands still: the newest of them */
    const char *other_still;
    const char *away_on;  /* reported by a host that is not in good standing */
    bool is_away_free;    /* and no guard can freeze it there */
    bool has_namesake;    /* another machine of this name, made after the snapshot, has its files */
    const char *mute;     /* a host that could have it and has reported nothing */
    const char *other_mute;
    const json_t *run;    /* what runs */
    const json_t *still;  /* what stands still on still_on */
};

/* What QEMU of this very machine is on @host by its report, or NULL; another one of its name has another uuid. */
static const json_t *dom_on(const struct core *c, const char *host, const char *vm)
{
    const json_t *dom = json_object_get(json_object_get(restore_report(c, host), "domains"), vm);
    return dom && str_eq(json_text_of(dom, "uuid"), json_text_of(vm_spec(c, vm), "uuid")) ? dom : NULL;
}

static bool executes(const json_t *dom)
{
    return str_eq(json_text_of(dom, "state"), "running") || str_eq(json_text_of(dom, "reason"), "ioerror");
}

static void see_there(struct sight *s, const char *host, const json_t *dom)
{
    if (executes(dom)) {
        s->other = s->runs_on;
        s->runs_on = host;
        s->run = dom;
        return;
    }
    bool is_newer = !s->still || vm_epoch(dom) > vm_epoch(s->still);
    s->other_still = is_newer ? s->still_on : host;
    s->still_on = is_newer ? host : s->still_on;
    s->still = is_newer ? dom : s->still;
}

static struct sight look_for(const struct core *c, const char *vm)
{
    struct sight s = {.vm = vm};
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const json_t *said = restore_report(c, it.name);
        const json_t *dom = dom_on(c, it.name, vm);
        s.has_namesake = s.has_namesake || (!dom && json_object_get(json_object_get(said, "domains"), vm));
        s.is_away_free = s.is_away_free || (dom && !node_may_run_vms(it.value) && !json_bool_of(dom, "freezable", false));
        if (!node_may_run_vms(it.value)) {
            bool is_mute = node_has_vms(it.value) && (!said || json_bool_of(said, "dead", false));
            s.away_on = dom ? it.name : s.away_on;
            s.other_mute = is_mute ? s.mute : s.other_mute;
            s.mute = is_mute ? it.name : s.mute;
        } else if (dom) {
            see_there(&s, it.name, dom);
        }
    }
    return s;
}

/* Is it cut off with its host, and stands still there, when that is fenced? Else it may still run on it. */
static bool is_covered(const struct core *c, const struct sight *s)
{
    return !s->is_away_free && ha_pool_is_on(c, json_text_of(vm_spec(c, s->vm), "pool")) &&
           ha_was_freezable(vm_own(c, s->vm), vm_act(c, s->vm));
}

/* Why nobody can say yet who owns it. New string, or NULL */
static char *unclear(const struct core *c, const struct sight *s)
{
    if (s->other) {
        return str_printf("%s runs on %s and on %s: end the wrong one with 'virsh destroy %s' there", s->vm, s->runs_on,
                          s->other, s->vm);
    }
    if (!s->runs_on && s->other_still) {
        return str_printf("%s stands still on %s and on %s: if that stays so, end one with 'virsh destroy %s' there", s->vm,
                          s->still_on, s->other_still, s->vm);
    }
    if (!s->runs_on && !s->still_on && !s->away_on && s->other_mute && !is_covered(c, s)) {
        return str_printf("%s may run on %s or on %s, which have not reported, and failover does not cover it", s->vm,
                          s->mute, s->other_mute);
    }
    return NULL;
}

static bool is_known(const struct core *c, const char *vm)
{
    return json_u64_of(vm_own(c, vm), "restored", 0) == restore_gen(c);
}

char *restore_vms_wait(const struct core *c)
{
    char *name = NULL;
    char *why = restore_stranger(c);
    for (struct world_iter it = {0}; !why && world_next(&c->world, KEY_NODE, &it);) {
        if (str_eq(json_text_of(it.value, "state"), "fencing")) {
            return str_printf("%s is being fenced: %s", it.name, json_text_of(it.value, "why"));
        }
        if (ha_node_is_flushing(it.value)) { /* it may have run any of them before */
            return str_printf("what %s had sent before its boot may still lie in bricks", it.name);
        }
        if (node_may_run_vms(it.value) && !restore_report(c, it.name)) { /* a watch has lost it: it was compared before */
            return str_printf("%s has not heard yet what %s reports", c->host, it.name);
        }
    }
    for (struct world_iter it = {0}; !why && (name = vm_next(c, &it));) {
        struct sight s = look_for(c, name);
        why = is_known(c, name) ? NULL : unclear(c, &s);
        free(name);
    }
    return why;
}

const char *restore_is_listed(const struct core *c, const char *host)
{
    const char *vm;
    json_t *dom;
    json_object_foreach(json_object_get(restore_report(c, host), "domains"), vm, dom) {
        if (vm_spec(c, vm) && dom_on(c, host, vm)) {
            return vm;
        }
    }
    return NULL;
}

/* --- decisions ----------------------------------------------------------------------------- */

static json_t *new_own(const struct core *c, const char *host, uint64_t epoch)
{
    json_t *own = vm_new_own(c, host, epoch);
    json_object_set_new(own, "restored", json_integer((json_int_t)restore_gen(c)));
    return own;
}

static json_t *new_act(const struct core *c, const char *state, const char *host, uint64_t epoch)
{
    json_t *act = vm_new_act(c, state, epoch);
    json_object_set_new(act, "host", json_string(host));
    return act;
}

/* Failover takes it from a fenced host only when the guard there can freeze what it has. */
static void say_freezable(json_t *act, const json_t *dom)
{
    if (json_bool_of(dom, "freezable", false)) {
        json_object_set_new(act, "ha", json_true());
    }
}

/* It goes on as it runs. Copies that stand still are over: older ones by their epochs, newer ones as of a migration that
 * was undone (T8). */
static void keep(struct core *c, struct commit *t, const struct sight *s, json_t *spec)
{
    uint64_t epoch = vm_epoch(s->run);
    bool is_well = str_eq(json_text_of(s->run, "state"), "running");
    json_t *own = new_own(c, s->runs_on, epoch);
    json_t *act = new_act(c, is_well ? "running" : "ioerror", s->runs_on, epoch);
    if (vm_epoch(s->still) > epoch) {
        json_object_set_new(own, "mig", json_pack("{s:s,s:s,s:I,s:s}", "id", "restore", "dst", s->still_on, "epoch",
                                                  (json_int_t)vm_epoch(s->still), "phase", "aborted"));
    }
    say_freezable(act, s->run);
    json_object_set_new(spec, "desired", json_string("running"));
    vm_put_own(c, t, s->vm, own);
    vm_put_act(c, t, s->vm, act);
}

/* Who starts it next, if it shall run: whoever has to end what stands still; whoever may still run what no fence covers;
 * else its owner of before, from which failover takes it when that is fenced. */
static const char *next_owner(const struct core *c, const struct sight *s)
{
    const char *before = json_text_of(vm_own(c, s->vm), "owner");
    if (s->still_on) {
        return s->still_on;
    }
    if (!is_covered(c, s) && (s->away_on || s->mute)) {
        return s->away_on ? s->away_on : s->mute;
    }
    for (struct world_iter it = {0}; !node_get(c, before) && world_next(&c->world, KEY_NODE, &it);) {
        before = node_has_vms(it.value) && node_may_run_vms(it.value) ? it.name : before;
    }
    return before;
}

/* "stopped" lets it start on any host (I2). Where a copy stands still only its host can say that, when it has ended that. */
static json_t *act_before_start(const struct core *c, const struct sight *s, const char *host, uint64_t epoch)
{
    bool may_run = !is_covered(c, s) && !node_may_run_vms(node_get(c, host));
    json_t *act = new_act(c, may_run ? "running" : s->still ? VM_RESUMING : "stopped", host, epoch);
    say_freezable(act, s->still);
    return act;
}

/* @spec: gets what is to be changed. Its epoch is above all that any host has begun, since the number of the store is. */
static void begin_anew(struct core *c, struct commit *t, const struct sight *s, json_t *spec)
{
    const char *host = next_owner(c, s);
    uint64_t epoch = vm_next_epoch(c, vm_own(c, s->vm));
    if (json_text_of(spec, "making") || s->has_namesake) {
        json_object_set_new(spec, "desired", json_string("stopped"));
    }
    vm_put_own(c, t, s->vm, new_own(c, host, epoch));
    vm_put_act(c, t, s->vm, act_before_start(c, s, host, epoch));
}

/* Return: its weight in a batch: a spec is as large as a user's cloud-init, so few of them are written at a time */
static size_t settle(struct core *c, struct commit *t, const struct sight *s)
{
    json_t *spec = json_deep_copy(vm_spec(c, s->vm));
    if (s->runs_on) {
        keep(c, t, s, spec);
    } else {
        begin_anew(c, t, s, spec);
    }
    json_object_del(spec, "making"); /* its task has ended with the store that knew of it */
    if (!json_equal(spec, vm_spec(c, s->vm))) {
        vm_put_spec(c, t, s->vm, spec);
        return BATCH_MAX / 3;
    }
    _cleanup_free_ char *key = str_printf("%s/spec", s->vm);
    commit_guard(c, t, KEY_VM, key);
    json_decref(spec);
    return 1;
}

/* What was under way when the snapshot was made has ended since, or will never: nothing of it is repeated or undone,
 * for that could be done to what has been made or taken away since. */
static size_t end_tasks(struct core *c, struct commit *t)
{
    size_t n = 0;
    for (struct world_iter it = {0}; n < TASKS_MAX && world_next(&c->world, KEY_TASK, &it);) {
        if (!str_eq(json_text_of(it.value, "state"), "running")) {
            continue;
        }
        struct err e = {0};
        (void)ERR_SET(&e, CANCELLED, "the store was restored from a snapshot of before this ended");
        err_hint(&e, "look at what has become of it, and do it again if need be");
        json_t *next = json_deep_copy(it.value);
        json_object_set_new(next, "state", json_string("failed"));
        json_object_set_new(next, "error", err_to_json(&e));
        json_object_set_new(next, "ended_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
        json_object_del(next, "progress");
        json_object_del(next, "note");
        commit_put(c, t, KEY_TASK, it.name, next);
        n++;
    }
    return n;
}

/* Return: how many were added */
static size_t settle_some(struct core *c, struct commit *t)
{
    size_t n = 0;
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        _cleanup_free_ char *vm = name;
        struct sight s = look_for(c, vm);
        if (n < BATCH_MAX && !is_known(c, vm)) {
            n += settle(c, t, &s);
        }
    }
    return n;
}

static void end_stage(struct core *c, struct commit *t)
{
    json_t *next = json_deep_copy(world_get(&c->world, KEY_RESTORE_GEN, ""));
    json_object_set_new(next, "settled", json_true());
    commit_put(c, t, KEY_RESTORE_GEN, "", next);
}

void restore_plan_vms(struct core *c)
{
    _cleanup_free_ char *waits = restore_vms_wait(c);
    bool may_act = node_may_run_vms(node_get(c, c->host)); /* also in maintenance: there may be nobody else */
    if (waits || !may_act || !restore_is_my_turn(c, "restore/vms")) {
        return;
    }
    struct commit t = commit_new();
    if (!settle_some(c, &t) && !end_tasks(c, &t)) {
        end_stage(c, &t);
    }
    (void)commit_try(c, "restore/vms", &t);
}
