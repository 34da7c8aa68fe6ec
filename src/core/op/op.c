/* SPDX-License-Identifier: Apache-2.0 */
#include "core/op/op.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/vm.h"
#include "core/op/ops.h"

#define RETRY_MAX 3
#define PROGRESS_SAVE_US USEC_PER_SEC /* etcd sees progress at most this often */

const struct op_kind *op_kind_find(const char *kind)
{
    static const struct op_kind *const kinds[] = {
        &op_init,      &op_join,     &op_leave,   &op_pool_create, &op_pool_remove,
        &op_vm_create, &op_vm_start, &op_vm_stop, &op_vm_reset,    &op_vm_remove,
        &op_vm_migrate, &op_image_import, &op_image_remove, &op_image_export, &op_evacuate,
        &op_pool_ha, &op_uplink_set, &op_uplink_confirm, &op_uplink_remove,
        &op_drill,
    };
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        if (str_eq(kinds[i]->kind, kind)) {
            return kinds[i];
        }
    }
    return NULL;
}

json_t *op_new_task(struct core *c, const char *id, const char *kind, const char *object,
                    const char *runner, const json_t *args)
{
    const struct op_kind *k = op_kind_find(kind);
    assert(k);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:O,s:{},s:I}", "id", id, "kind", kind, "object",
                     object, "runner", runner, "state", "running", "phase", k->phases[0].name,
                     "args", args, "data", "started_ms", (json_int_t)(c->wall_us / USEC_PER_MSEC));
}

static int phase_index(const struct op_kind *k, const char *name)
{
    for (int i = 0; k->phases[i].name; i++) {
        if (str_eq(k->phases[i].name, name)) {
            return i;
        }
    }
    return -1;
}

static bool is_undoing(const json_t *task)
{
    return json_bool_of(task, "undo", false);
}

bool op_is_cancelled(const struct op *o)
{
    return json_bool_of(o->task, "cancel", false);
}

static bool is_forced(const json_t *task)
{
    return json_bool_of(task, "force", false);
}

bool op_is_forced(const struct op *o)
{
    return is_forced(o->task);
}

void op_note(struct op *o, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* may be cut */
    va_end(ap);
    json_object_set_new(o->task, "note", json_string(text));
}

/* @until_known: nothing may follow while it is not known what became of the action; once known, its
 * failure is the user's to judge */
static bool is_worth_another_try(const struct attempt *a, bool until_known)
{
    if (!a || a->in_flight || !a->error.code) {
        return false;
    }
    enum err_class class = err_class(a->error.code);
    return until_known ? class == ERR_CLASS_UNKNOWN
                       : a->fails <= RETRY_MAX && class == ERR_CLASS_TRANSIENT;
}

static void save(struct op *o)
{
    _cleanup_free_ char *id = str_printf("save/%s", o->id);
    if (o->is_local) {
        json_decref(o->c->local_task);
        o->c->local_task = json_incref(o->task);
        (void)act_try(o->c, id, "local.save", json_pack("{s:O}", "task", o->task), 0);
        return;
    }
    struct commit t = commit_new();
    commit_put(o->c, &t, KEY_TASK, o->id, json_incref(o->task));
    (void)commit_try(o->c, id, &t);
}

/* What an agent that starts reads of a task may be long past (I7): the dead one before it may have failed it, and undone it.
 * So nothing is asked for before a save of it, in this life, has told that it stands as it was read. One that
 * fails later takes nothing back: a conflict brings the newest record along, and a cancel must not wait for the store. */
static bool is_known_to_stand(const struct op *o)
{
    _cleanup_free_ char *id = str_printf("save/%s", o->id);
    const struct attempt *a = act_find(o->c, id);
    return o->is_local || (a && a->was_good);
}

static enum op_verdict do_action(struct op *o, const char *sub, const char *name, json_t *args,
                                 bool until_known, const json_t **ret)
{
    _cleanup_free_ char *id = str_printf("task/%s/%s/%s", o->id, o->phase, sub);
    struct attempt *a = act_find(o->c, id);
    if (!a && !is_known_to_stand(o)) {
        json_decref(args);
        save(o);
        o->is_committing = true;
        return OP_WAIT;
    }
    if (is_worth_another_try(a, until_known)) {
        op_note(o, "trying again: %.150s", a->error.msg);
        (void)act_try(o->c, id, name, args, 0);
        return OP_WAIT;
    }
    a = act_once(o->c, id, name, args);
    if (a->in_flight) {
        if (a->progress) {
            json_object_set(o->task, "progress", a->progress);
        }
        return OP_WAIT;
    }
    if (a->error.code) {
        (void)err_copy(&o->err, &a->error);
        return OP_FAIL;
    }
    if (ret) {
        *ret = a->result;
    }
    return OP_NEXT;
}

enum op_verdict op_do(struct op *o, const char *sub, const char *name, json_t *args,
                      const json_t **ret)
{
    return do_action(o, sub, name, args, false, ret);
}

bool op_has_asked(const struct op *o, const char *sub)
{
    _cleanup_free_ char *id = str_printf("task/%s/%s/%s", o->id, o->phase, sub);
    return act_find(o->c, id) != NULL;
}

enum op_verdict op_do_until_known(struct op *o, const char *sub, const char *name, json_t *args)
{
    return do_action(o, sub, name, args, true, NULL);
}

enum op_verdict op_commit(struct op *o, const char *sub, struct commit *t)
{
    _cleanup_free_ char *id = str_printf("task/%s/%s/%s", o->id, o->phase, sub);
    struct attempt *a = act_find(o->c, id);
    if (a && a->in_flight) {
        commit_drop(t);
        return OP_WAIT;
    }
    if (a && a->has_ended && !a->error.code) {
        commit_drop(t);
        return OP_NEXT;
    }
    if (!o->is_local) {
        commit_guard(o->c, t, KEY_TASK, o->id); /* it runs on, here: an agent that starts may read of long ago */
    }
    o->is_committing = commit_try(o->c, id, t);
    return OP_WAIT;
}

static bool is_saving(const struct op *o)
{
    _cleanup_free_ char *id = str_printf("save/%s", o->id);
    const struct attempt *a = act_find(o->c, id);
    return a && a->in_flight;
}

/* A local task is ahead of its file when that could not be written. */
static bool is_unsaved(const struct op *o)
{
    _cleanup_free_ char *id = str_printf("save/%s", o->id);
    const struct attempt *a = act_find(o->c, id);
    return o->is_local && a && a->has_ended && a->error.code;
}

/* What a phase has done is remembered until the store knows of the next one: while that cannot be
 * saved the phase runs again, and must find its outcomes instead of acting a second time. */
static void forget_other_phases(struct op *o)
{
    const char *phase = is_undoing(o->task) ? "undo" : json_text_of(o->task, "phase");
    _cleanup_free_ char *prefix = str_printf("task/%s/", o->id);
    _cleanup_free_ char *keep = str_printf("%s%s/", prefix, phase);
    act_forget_others(o->c, prefix, keep);
}

static void set_end(const struct core *c, json_t *task, const char *state)
{
    json_object_set_new(task, "state", json_string(state));
    json_object_set_new(task, "ended_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
    json_object_del(task, "progress");
    json_object_del(task, "note");
}

static void end(struct op *o, const char *state)
{
    set_end(o->c, o->task, state);
    save(o);
}

static void begin_phase(struct op *o, const char *name)
{
    json_object_set_new(o->task, "phase", json_string(name));
    json_object_del(o->task, "progress");
    json_object_del(o->task, "note");
    save(o);
}

static void on_failure(struct op *o, const struct op_kind *k)
{
    if (!json_object_get(o->task, "error")) {
        err_hint(&o->err, "see 'mortar task show %s'", o->id); /* when nobody knew better */
        json_object_set_new(o->task, "error", err_to_json(&o->err));
    }
    if (k->undo && !is_undoing(o->task)) {
        json_object_set_new(o->task, "undo", json_true());
        save(o);
        return;
    }
    struct err why = {0};
    err_from_json(&why, json_object_get(o->task, "error"));
    end(o, why.code == ERR_CANCELLED ? "cancelled" : "failed");
}

/* A phase's clock: an attempt that is never in flight and is forgotten with the phase. */
bool op_has_lasted(struct op *o, uint64_t us)
{
    _cleanup_free_ char *id = str_printf("task/%s/%s/#since", o->id, o->phase);
    struct attempt *a = act_find(o->c, id);
    if (!a) {
        a = xcalloc(1, sizeof(*a));
        a->started_us = o->c->now_us;
        smap_put(&o->c->attempts, id, a);
    }
    return core_is_past(o->c, a->started_us + us);
}

static bool is_overdue(struct op *o, const struct op_phase *p)
{
    return p->limit_us && op_has_lasted(o, p->limit_us + 1);
}

static void save_progress(struct op *o, const json_t *before)
{
    _cleanup_free_ char *id = str_printf("save/%s", o->id);
    const struct attempt *a = act_find(o->c, id);
    if (json_equal(before, o->task) || vm_is_switching_over(o->c) || (a && !core_is_past(o->c, a->started_us + PROGRESS_SAVE_US))) {
        return;
    }
    save(o);
}

static void run_phase(struct op *o, const struct op_kind *k, const json_t *before)
{
    int i = phase_index(k, json_text_of(o->task, "phase"));
    assert(i >= 0);
    const struct op_phase *p = &k->phases[i];
    o->phase = p->name;
    enum op_verdict v = OP_WAIT;
    if (k->can_cancel && !p->cancels_itself && op_is_cancelled(o)) {
        v = op_fail(o, CANCELLED, "cancelled by request");
    } else {
        v = p->run(o);
    }
    if (v == OP_WAIT && is_overdue(o, p)) {
        const char *note = json_text_of(o->task, "note");
        v = op_fail(o, TIMEOUT, "'%s' did not finish in %llu s%s%s", p->title,
                    (unsigned long long)(p->limit_us / USEC_PER_SEC), note ? ": " : "",
                    note ? note : "");
    }
    switch (v) {
    case OP_WAIT:
        if (!o->is_committing) { /* else one of the two would meet a conflict */
            save_progress(o, before);
        }
        break;
    case OP_NEXT:
        if (k->phases[i + 1].name) {
            begin_phase(o, k->phases[i + 1].name);
        } else {
            end(o, "done");
        }
        break;
    case OP_FAIL:
        assert(o->err.code);
        on_failure(o, k);
        break;
    }
}

static void run_task(struct core *c, const char *id, const json_t *task, bool is_local)
{
    const struct op_kind *k = op_kind_find(json_text_of(task, "kind"));
    struct op o = {.c = c, .id = id, .is_local = is_local};
    if (!k || is_saving(&o)) {
        return; /* an unknown kind belongs to a newer version: left for it */
    }
    _cleanup_json_ json_t *copy = json_deep_copy(task);
    o.task = copy;
    o.args = json_object_get(copy, "args");
    o.data = json_object_get(copy, "data");
    if (is_unsaved(&o)) {
        save(&o);
        return;
    }
    forget_other_phases(&o);
    if (phase_index(k, json_text_of(copy, "phase")) < 0) {
        (void)ERR_SET(&o.err, BUG, "the task is in an unknown phase");
        on_failure(&o, k);
        return;
    }
    if (is_undoing(copy)) {
        o.phase = "undo";
        if (k->undo(&o) != OP_WAIT) {
            on_failure(&o, k);
        }
        return;
    }
    run_phase(&o, k, task);
}

static bool is_run_here(const struct core *c, const char *id)
{
    const json_t *task = world_get(&c->world, KEY_TASK, id);
    if (!task && str_eq(json_text_of(c->local_task, "id"), id)) {
        return str_eq(json_text_of(c->local_task, "state"), "running");
    }
    return str_eq(json_text_of(task, "state"), "running") &&
           str_eq(json_text_of(task, "runner"), c->host);
}

static bool is_run_anywhere(const struct core *c, const char *id)
{
    return str_eq(json_text_of(world_get(&c->world, KEY_TASK, id), "state"), "running");
}


static bool is_old(const struct core *c, const json_t *task)
{
    _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, json_text_of(task, "id"));
    return core_is_past(c, world_record(&c->world, key)->changed_us + NODE_SILENT_US + 1);
}

/* Return: may this host run @task in place of its silent runner? */
static bool may_take_over(const struct core *c, const json_t *task)
{
    const struct op_kind *k = op_kind_find(json_text_of(task, "kind"));
    const char *runner = json_text_of(task, "runner");
    int i = k ? phase_index(k, json_text_of(task, "phase")) : -1;
    if (i < 0 || c->store_is_lost || !node_is_online(node_get(c, c->host)) ||
        (k->needs_glusterd && !node_has_bricks(node_get(c, c->host)))) {
        return false;
    }
    if (!node_get(c, runner)) {
        return true;
    }
    bool is_silent = !node_was_heard(c, runner, NODE_SILENT_US + 1);
    if (is_forced(task)) { /* to undo it needs the pool: a VM host has all, who works on pools needs none */
        return is_silent && (k->needs_glusterd || node_has_vms(node_get(c, c->host)));
    }
    return !k->phases[i].is_bound && !is_undoing(task) && is_silent && is_old(c, task);
}

static void take_over(struct core *c, const char *id, const json_t *task)
{
    const char *runner = json_text_of(task, "runner");
    const struct op_kind *k = op_kind_find(json_text_of(task, "kind"));
    _cleanup_free_ char *attempt = str_printf("takeover/%s", id);
    json_t *next = json_deep_copy(task);
    struct commit t = commit_new();
    if (k->phases[phase_index(k, json_text_of(task, "phase"))].is_bound && !is_undoing(task)) {
        struct err e = {0};
        (void)(is_forced(task)
                   ? ERR_SET(&e, CANCELLED, "cancelled by force while host '%s' is silent", runner)
                   : ERR_SET(&e, UNAVAILABLE, "host '%s', which worked on this, has left the cluster", runner));
        json_object_set_new(next, "error", err_to_json(&e));
        if (k->undo) {
            json_object_set_new(next, "undo", json_true());
        } else {
            set_end(c, next, is_forced(task) ? "cancelled" : "failed");
        }
    }
    json_object_set_new(next, "runner", json_string(c->host));
    commit_put(c, &t, KEY_TASK, id, next);
    /* What this agent has not heard of is no proof: the store compares that it has left, or is silent. */
    _cleanup_free_ char *said = str_printf("%s/host", runner);
    commit_guard(c, &t, KEY_NODE, runner);
    commit_guard(c, &t, KEY_SEEN, said);
    (void)commit_try(c, attempt, &t);
}

/* Most tasks have ended. */
static json_t *find_running(const struct core *c)
{
    json_t *running = json_object();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_TASK, &it);) {
        if (str_eq(json_text_of(it.value, "state"), "running")) {
            json_object_set(running, it.name, (json_t *)it.value);
        }
    }
    return running;
}

json_t *op_running(const struct core *c)
{
    return basis_memo(c, MEMO_RUNNING, find_running);
}

static void take_over_all(struct core *c)
{
    json_t *running = c->host ? op_running(c) : NULL;
    const char *id;
    json_t *task;
    json_object_foreach(running, id, task) {
        if (!str_eq(json_text_of(task, "runner"), c->host) && may_take_over(c, task)) {
            take_over(c, id, task);
        }
    }
}

void op_run_all(struct core *c)
{
    _cleanup_strv_ struct strv mine = {0};
    json_t *running = c->world.is_listed ? op_running(c) : NULL;
    const char *id;
    json_t *one;
    if (c->world.is_listed) {
        take_over_all(c);
    }
    json_object_foreach(running, id, one) {
        if (str_eq(json_text_of(one, "runner"), c->host)) {
            strv_add(&mine, id);
        }
    }
    for (size_t i = 0; i < mine.n; i++) {
        const json_t *task = world_get(&c->world, KEY_TASK, mine.v[i]);
        if (task) {
            run_task(c, mine.v[i], task, false);
        }
    }
    if (c->local_task && str_eq(json_text_of(c->local_task, "state"), "running")) {
        _cleanup_json_ json_t *task = json_incref(c->local_task);
        run_task(c, json_text_of(task, "id"), task, true);
    }
    act_forget_names(c, &c->attempts, "task/", is_run_here);
    act_forget_names(c, &c->attempts, "save/", is_run_here);
    act_forget_names(c, &c->attempts, "takeover/", is_run_anywhere);
}

static const char *phase_state(const json_t *task, int i, int current)
{
    const char *state = json_text_of(task, "state");
    if (i < current || str_eq(state, "done")) {
        return "done";
    }
    if (i > current) {
        return "todo";
    }
    return str_eq(state, "running") && !is_undoing(task) ? "running" : "failed";
}

json_t *op_task_view(const struct core *c, const json_t *task)
{
    static const char *const copied[] = {"id",    "kind",   "object",     "state",    "phase",
                                         "progress", "note", "error", "result", "runner"};
    const struct op_kind *k = op_kind_find(json_text_of(task, "kind"));
    json_t *view = json_object();
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        json_t *v = json_object_get(task, copied[i]);
        json_object_set_new(view, copied[i], v ? json_incref(v) : json_null());
    }
    json_t *why = json_object_get(json_object_get(task, "data"), "why"); /* of the host, in words */
    json_object_set_new(view, "why", json_is_string(why) ? json_incref(why) : json_null());
    const char *runner = json_text_of(task, "runner");
    bool is_elsewhere = runner && *runner; /* a task that is saved on its host alone names none */
    if (str_eq(json_text_of(task, "state"), "running") && is_elsewhere && c->host &&
        !str_eq(runner, c->host) && !node_was_heard(c, runner, NODE_SILENT_US + 1)) {
        json_object_set_new(view, "note",
                            json_sprintf("host '%s', which works on this, is silent", runner));
    }
    json_object_set_new(view, "started", json_integer((json_int_t)json_u64_of(task, "started_ms", 0)));
    json_object_set_new(view, "ended", json_integer((json_int_t)json_u64_of(task, "ended_ms", 0)));
    json_t *phases = json_array();
    int current = k ? phase_index(k, json_text_of(task, "phase")) : 0;
    for (int i = 0; k && k->phases[i].name; i++) {
        json_array_append_new(phases, json_pack("{s:s,s:s,s:s}", "name", k->phases[i].name, "title",
                                                k->phases[i].title, "state",
                                                phase_state(task, i, current)));
    }
    json_object_set_new(view, "phases", phases);
    return view;
}

static bool is_kind(const char *kind, const char *wanted)
{
    return str_ends(wanted, ".") ? str_starts(kind, wanted) : str_eq(kind, wanted);
}

bool op_is_running(const struct core *c, const char *kind, const char *object)
{
    json_t *running = op_running(c);
    const char *id;
    json_t *task;
    json_object_foreach(running, id, task) {
        if (str_eq(json_text_of(task, "object"), object) && is_kind(json_text_of(task, "kind"), kind)) {
            return true;
        }
    }
    return false;
}
