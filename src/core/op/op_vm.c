/* SPDX-License-Identifier: Apache-2.0
 * create, start, stop, reset, rm. These tasks change what is wanted and wait; QEMU is started and
 * ended by the owner's planner (plan/plan_vm.c). */
#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/ops.h"

#define MINUTES(n) ((n) * 60 * USEC_PER_SEC)

static const char *name_of(const struct op *o)
{
    return json_text_of(o->args, "name");
}

static json_t *disk_args(struct op *o)
{
    const json_t *spec = vm_spec(o->c, name_of(o));
    const char *pool = json_text_of(spec, "pool");
    const char *image = json_text_of(spec, "image");
    _cleanup_free_ char *mount = pool_mount_path(pool_get(o->c, pool), pool);
    json_t *args = json_pack("{s:s,s:O,s:s}", "name", name_of(o), "spec", spec, "mount", mount);
    if (image) {
        const json_t *record = world_get(&o->c->world, KEY_IMAGE, image);
        const char *from = json_text_of(record, "pool");
        _cleanup_free_ char *from_mount = pool_mount_path(pool_get(o->c, from), from);
        json_object_set(args, "image", (json_t *)record);
        json_object_set_new(args, "image_mount", json_string(from_mount));
    }
    return args;
}

static enum op_verdict make_disks(struct op *o)
{
    const json_t *result = NULL;
    const json_t *spec = vm_spec(o->c, name_of(o));
    if (!spec) {
        return op_fail(o, NOT_FOUND, "the virtual machine's record is gone");
    }
    if (!json_text_of(spec, "making")) {
        return OP_NEXT;
    }
    enum op_verdict v = op_do(o, "disks", "vm.make_disks", disk_args(o), &result);
    if (v != OP_NEXT) {
        return v;
    }
    json_t *next = json_deep_copy(spec);
    struct commit t = commit_new();
    json_object_update(next, (json_t *)result);
    json_object_del(next, "making");
    vm_put_spec(o->c, &t, name_of(o), next);
    return op_commit(o, "register", &t);
}

static bool has_ended(const json_t *act)
{
    return !act || str_eq(json_text_of(act, "state"), "stopped");
}

/* What this agent has read may be old (I7), and a stop that it has not heard of would end a start that only
 * waits: the commit says that it is wanted, at its own revision. */
static enum op_verdict confirm_wanted(struct op *o, const json_t *spec)
{
    struct commit t = commit_new();
    _cleanup_free_ char *act = str_printf("%s/act", name_of(o));
    vm_put_spec(o->c, &t, name_of(o), json_incref((json_t *)spec));
    commit_guard(o->c, &t, KEY_VM, act);
    return op_commit(o, "wanted", &t);
}

enum op_verdict op_confirm_no_vm(struct op *o)
{
    struct commit t = commit_new();
    static const char *const parts[] = {"spec", "own"};
    for (size_t i = 0; i < ELEMENTS(parts); i++) {
        _cleanup_free_ char *key = str_printf("%s/%s", name_of(o), parts[i]);
        commit_guard(o->c, &t, KEY_VM, key);
    }
    commit_use(&t, "node", o->c->host);
    return op_commit(o, "absent", &t);
}

static enum op_verdict fail_without_vm(struct op *o)
{
    enum op_verdict v = op_confirm_no_vm(o);
    if (v == OP_NEXT) {
        return op_fail(o, NOT_FOUND, "there is no vm '%s'", name_of(o));
    }
    return v;
}

/* T4 for a VM that its owner has stated to be stopped: a new owner and a new epoch. */
static enum op_verdict want_running(struct op *o)
{
    struct core *c = o->c;
    const char *name = name_of(o);
    const json_t *spec = vm_spec(c, name);
    const json_t *own = vm_own(c, name);
    const json_t *act = vm_act(c, name);
    if (!spec || !own) {
        return fail_without_vm(o);
    }
    if (str_eq(json_text_of(spec, "desired"), "running") &&
        !vm_has_failed_too_often(act)) {
        /* Who has made the record a moment ago has read nothing old. */
        return str_eq(json_text_of(o->task, "kind"), "vm.create") ? OP_NEXT : confirm_wanted(o, spec);
    }
    if (str_eq(json_text_of(spec, "making"), "removing")) {
        return op_fail(o, STATE, "vm '%s' is being removed", name);
    }
    if (!has_ended(act)) {
        op_note(o, "waiting until it has stopped");
        return OP_WAIT;
    }
    json_t *next = json_deep_copy(spec);
    json_t *stopped = vm_new_act(c, "stopped", vm_epoch(own));
    struct commit t = commit_new();
    json_object_set_new(next, "desired", json_string("running"));
    json_object_del(next, "stop");
    vm_put_spec(c, &t, name, next);
    vm_put_own(c, &t, name, vm_new_own(c, json_text_of(o->args, "host"), vm_next_epoch(c, own)));
    vm_put_act(c, &t, name, stopped);
    commit_guard(c, &t, KEY_NODE, json_text_of(o->args, "host"));
    commit_use(&t, "node", json_text_of(o->args, "host"));
    return op_commit(o, "", &t);
}

static enum op_verdict give_up(struct op *o, const json_t *act)
{
    struct core *c = o->c;
    json_t *next = json_deep_copy(vm_spec(c, name_of(o)));
    struct commit t = commit_new();
    json_object_set_new(next, "desired", json_string("stopped"));
    vm_put_spec(c, &t, name_of(o), next);
    enum op_verdict v = op_commit(o, "give-up", &t);
    if (v != OP_NEXT) {
        return v;
    }
    err_from_json(&o->err, json_object_get(act, "error"));
    err_prepend(&o->err, "cannot start vm '%s' on %s", name_of(o), json_text_of(act, "host"));
    return OP_FAIL;
}

static enum op_verdict wait_running(struct op *o)
{
    const json_t *own = vm_own(o->c, name_of(o));
    const json_t *act = vm_act(o->c, name_of(o));
    if (!own) {
        return op_fail(o, NOT_FOUND, "vm '%s' was removed", name_of(o));
    }
    if (vm_has_failed_too_often(act)) {
        return give_up(o, act);
    }
    if (str_eq(json_text_of(act, "state"), "running") && vm_epoch(act) == vm_epoch(own)) {
        return OP_NEXT;
    }
    if (!str_eq(json_text_of(vm_spec(o->c, name_of(o)), "desired"), "running")) {
        return op_fail(o, STATE, "vm '%s' was stopped before it ran", name_of(o));
    }
    const json_t *error = json_object_get(act, "error");
    op_note(o, "waiting for %s%s%s", json_text_of(own, "owner"), error ? ": " : "",
            error ? json_text_of(error, "message") : "");
    return OP_WAIT;
}

static enum op_verdict start_if_wanted(struct op *o)
{
    return json_bool_of(o->args, "start", true) ? want_running(o) : OP_NEXT;
}

static enum op_verdict wait_if_wanted(struct op *o)
{
    return json_bool_of(o->args, "start", true) ? wait_running(o) : OP_NEXT;
}

/* From here on nobody starts it. What was stopped when this was asked for may run again. */
static enum op_verdict mark_removing(struct op *o, const json_t *spec)
{
    struct core *c = o->c;
    const char *name = name_of(o);
    if (!str_eq(json_text_of(spec, "desired"), "stopped") || !has_ended(vm_act(c, name))) {
        return op_fail(o, STATE, "vm '%s' is %s", name, vm_state(c, name));
    }
    json_t *next = json_deep_copy(spec);
    struct commit t = commit_new();
    json_object_set_new(next, "making", json_string("removing"));
    vm_put_spec(c, &t, name, next);
    _cleanup_free_ char *own_key = str_printf("%s/own", name);
    _cleanup_free_ char *act_key = str_printf("%s/act", name);
    commit_guard(c, &t, KEY_VM, own_key);
    commit_guard(c, &t, KEY_VM, act_key);
    return op_commit(o, "mark", &t) == OP_FAIL ? OP_FAIL : OP_WAIT;
}

static enum op_verdict remove_all(struct op *o)
{
    struct core *c = o->c;
    const char *name = name_of(o);
    const json_t *spec = vm_spec(c, name);
    if (!spec) {
        return OP_NEXT;
    }
    if (!json_text_of(spec, "making")) {
        return mark_removing(o, spec);
    }
    enum op_verdict v = op_do(o, "disks", "vm.remove_disks", disk_args(o), NULL);
    if (v != OP_NEXT) {
        return v;
    }
    struct commit t = commit_new();
    _cleanup_free_ char *prefix = str_printf("%s%s/", KEY_VM, name);
    for (struct world_iter it = {0}; world_next(&c->world, prefix, &it);) {
        commit_del(c, &t, prefix, it.name);
    }
    return op_commit(o, "forget", &t);
}

/* A disk that could not be made leaves nothing; a start that failed leaves a stopped VM. */
static enum op_verdict undo_create(struct op *o)
{
    const json_t *spec = vm_spec(o->c, name_of(o));
    return json_text_of(spec, "making") ? remove_all(o) : OP_NEXT;
}

static const struct op_phase create_phases[] = {
    {"disks", "Make the disks", make_disks, MINUTES(12 * 60), .is_bound = true},
    {"start", "Claim an epoch", start_if_wanted, MINUTES(2)},
    {"wait", "Start QEMU", wait_if_wanted, MINUTES(5)},
    {0},
};

const struct op_kind op_vm_create = {"vm.create", create_phases, undo_create, false};

static const struct op_phase start_phases[] = {
    {"start", "Claim an epoch", want_running, MINUTES(2)},
    {"wait", "Start QEMU", wait_running, MINUTES(5)},
    {0},
};

const struct op_kind op_vm_start = {"vm.start", start_phases, NULL, false};

static enum op_verdict want_stopped(struct op *o)
{
    struct core *c = o->c;
    const json_t *spec = vm_spec(c, name_of(o));
    const char *how = json_bool_of(o->args, "force", false) ? "force" : "polite";
    if (!spec) {
        return fail_without_vm(o);
    }
    if (str_eq(json_text_of(spec, "desired"), "stopped") &&
        (str_eq(json_text_of(spec, "stop"), how) || str_eq(how, "polite"))) {
        return OP_NEXT;
    }
    json_t *next = json_deep_copy(spec);
    struct commit t = commit_new();
    json_object_set_new(next, "desired", json_string("stopped"));
    json_object_set_new(next, "stop", json_string(how));
    vm_put_spec(c, &t, name_of(o), next);
    return op_commit(o, "", &t);
}

static enum op_verdict wait_stopped(struct op *o)
{
    const json_t *own = vm_own(o->c, name_of(o));
    const json_t *act = vm_act(o->c, name_of(o));
    if (!own) {
        return op_confirm_no_vm(o); /* removed meanwhile */
    }
    if (!act || (str_eq(json_text_of(act, "state"), "stopped") && vm_epoch(act) == vm_epoch(own))) {
        return OP_NEXT;
    }
    op_note(o, "the guest on %s is asked to power off", json_text_of(own, "owner"));
    return OP_WAIT;
}

static const struct op_phase stop_phases[] = {
    {"ask", "Ask for the stop", want_stopped, MINUTES(1)},
    {"wait", "Wait for the guest", wait_stopped, MINUTES(3)},
    {0},
};

const struct op_kind op_vm_stop = {"vm.stop", stop_phases, NULL, true};

static enum op_verdict reset(struct op *o)
{
    const json_t *own = vm_own(o->c, name_of(o));
    if (!str_eq(json_text_of(own, "owner"), o->c->host)) {
        return op_fail(o, STATE, "the vm has moved to another host");
    }
    return op_do(o, "", "vm.reset", json_pack("{s:s}", "name", name_of(o)), NULL);
}

static const struct op_phase reset_phases[] = {
    {"reset", "Reset the machine", reset, MINUTES(1), .is_bound = true},
    {0},
};

const struct op_kind op_vm_reset = {"vm.reset", reset_phases, NULL, false};

static const struct op_phase remove_phases[] = {
    {"remove", "Delete the disks", remove_all, MINUTES(60), .is_bound = true},
    {0},
};

const struct op_kind op_vm_remove = {"vm.remove", remove_phases, NULL, false};
