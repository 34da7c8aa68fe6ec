/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/alarms.h"
#include "core/drill.h"
#include "core/events.h"
#include "core/ha/ha.h"
#include "core/history.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/op.h"
#include "core/plan/plan.h"
#include "core/request.h"
#include "core/restore.h"

#define BACKOFF_FIRST_US (500 * USEC_PER_MSEC)
#define CONFLICTS_FREE 3 /* in a row: a commit that never fits must not turn into a busy loop */

static void attempt_free(void *p)
{
    struct attempt *a = p;
    json_decref(a->result);
    json_decref(a->progress);
    free(a);
}

static void value_free(void *p)
{
    json_decref(p);
}

struct core *core_new(void)
{
    struct core *c = xcalloc(1, sizeof(*c));
    world_init(&c->world);
    c->events = json_array();
    c->seen.free_value = value_free;
    c->attempts.free_value = attempt_free;
    c->alarms.free_value = value_free;
    c->noted.free_value = value_free;
    c->ledger = ledger_new(c);
    c->ha = ha_view_new(c);
    return c;
}

void core_free(struct core *c)
{
    if (!c) {
        return;
    }
    world_done(&c->world);
    smap_done(&c->seen);
    smap_done(&c->attempts);
    smap_done(&c->alarms);
    ha_view_free(c->ha);
    smap_done(&c->noted);
    ledger_free(c->ledger);
    free(c->host);
    json_decref(c->self);
    json_decref(c->local_task);
    json_decref(c->events);
    json_decref(c->actions);
    json_decref(c->facts);
    free(c);
}

static void on_start(struct core *c, const json_t *event)
{
    json_decref(c->self);
    c->self = json_deep_copy(event);
    basis_forget(c);
    free(c->host);
    c->host = str_dup(json_text_of(event, "host"));
    json_t *task = json_object_get(event, "local_task");
    if (json_is_object(task)) {
        json_decref(c->local_task);
        c->local_task = json_deep_copy(task);
    }
    history_start(c);
}

static json_t *value_of(const struct core *c, const char *key)
{
    const struct record *r = world_record(&c->world, key);
    return r ? json_incref(r->value) : NULL;
}

static void take_put(struct core *c, const json_t *row)
{
    const char *key = json_string_value(json_array_get(row, 0));
    uint64_t mod = (uint64_t)json_integer_value(json_array_get(row, 1));
    _cleanup_json_ json_t *old = value_of(c, key);
    world_put(&c->world, key, json_array_get(row, 2), mod, c->now_us);
    _cleanup_json_ json_t *now = value_of(c, key);
    if (now != old) {
        events_note(c, key, old, now, mod);
        history_record(c, key, old, now, mod);
    }
}

static void on_watch(struct core *c, const json_t *event)
{
    size_t i;
    json_t *row;
    uint64_t revision = json_u64_of(event, "revision", 0);
    json_array_foreach(json_object_get(event, "puts"), i, row) {
        take_put(c, row);
    }
    json_array_foreach(json_object_get(event, "dels"), i, row) {
        _cleanup_json_ json_t *old = value_of(c, json_string_value(row));
        world_del(&c->world, json_string_value(row), revision);
        if (old && !world_record(&c->world, json_string_value(row))) {
            events_note(c, json_string_value(row), old, NULL, revision);
            history_record(c, json_string_value(row), old, NULL, revision);
        }
    }
}

/* What is seen again changes nothing. */
static void remember(struct core *c, const char *name, json_t *value)
{
    if (!json_equal(smap_get(&c->seen, name), value)) {
        smap_put(&c->seen, name, json_incref(value));
    }
}

/* One look at libvirt tells of our domains, by name, and of the others, which are no VM's name. */
static void learn_domains(struct core *c, const json_t *result)
{
    json_t *ours = json_copy((json_t *)result);
    json_t *others = json_object_get(result, DOMAINS_OTHERS);
    if (others) {
        remember(c, "others", others);
        json_object_del(ours, DOMAINS_OTHERS);
    }
    remember(c, "domains", ours);
    json_decref(ours);
}

/* Whom the filter lets in. T11 of who came back asks for a look of after that: look at once. */
static void learn_table(struct core *c, const json_t *result)
{
    _cleanup_json_ json_t *table = json_copy((json_t *)result);
    _cleanup_json_ json_t *before = ha_let_in(c);
    json_object_del(table, "changed");
    if (json_bool_of(result, "changed", false) && smap_get(&c->seen, "ha/table")) {
        ha_forget_cuts(c, NULL);
    }
    remember(c, "ha/table", table);
    _cleanup_json_ json_t *now = ha_let_in(c);
    if (now && !json_equal(before, now)) {
        act_forget(c, "observe/pool/");
    }
}

/* For all to see until it succeeds. */
static void remember_failure(struct core *c, const char *what, const struct attempt *a)
{
    _cleanup_free_ char *key = str_printf("failed/%s", what);
    if (!a->error.code) {
        (void)smap_del(&c->seen, key);
        return;
    }
    json_t *error = err_to_json(&a->error);
    json_object_set_new(error, "at_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
    smap_put(&c->seen, key, error); /* the time makes each failure a new record */
}

/* What the attempt's outcome tells about this host. */
static void learn(struct core *c, const char *id, const struct attempt *a, bool is_commit)
{
    if (str_starts(id, "observe/") && a->result) {
        const char *name = id + strlen("observe/");
        if (str_eq(name, "glance") && !json_equal(a->result, smap_get(&c->seen, name))) {
            act_forget(c, "observe/gluster"); /* look at once; the option guard does so too (plan_pool.c) */
            smap_put(&c->seen, POOL_FILES_CHANGED, json_pack("{s:I}", "at_us", (json_int_t)c->now_us));
        }
        if (str_eq(name, "reach") && !json_equal(a->result, smap_get(&c->seen, name))) {
            act_forget(c, "observe/gluster"); /* a host came or went: look at once */
            act_forget(c, "observe/pool/");
        }
        if (str_eq(name, "domains")) {
            learn_domains(c, a->result);
            c->domains_at_us = a->started_us;
        } else if (str_starts(name, "pool/")) {
            _cleanup_json_ json_t *seen = pool_heal_noted(a->result, smap_get(&c->seen, name), a->started_us);
            remember(c, name, seen);
        } else {
            remember(c, name, a->result);
        }
        if (str_eq(name, "gluster")) {
            smap_put(&c->seen, HA_BRICKS_LOOK, json_pack("{s:I}", "asked_us", (json_int_t)a->started_us));
        }
    }
    if (str_eq(id, "ha/table") && a->result) {
        learn_table(c, a->result);
    }
    if (str_starts(id, "ha/fence/") && str_ends(id, "/cut") && json_bool_of(a->result, "changed", false)) {
        ha_forget_cuts(c, id);
    }
    if ((str_starts(id, "net/") || str_starts(id, "guard/") || str_starts(id, "freed/") ||
         str_eq(id, "ha/config")) && a->result) {
        remember(c, id, a->result);
    }
    if (str_eq(id, "restore/look") && a->result) {
        remember(c, RESTORE_LOOK, a->result);
    }
    if (str_eq(id, DRILL_LISTEN) && a->result) {
        drill_heard(c, a->result);
    }
    if (str_starts(id, "etcd/")) {
        act_forget(c, "observe/etcd"); /* look at once */
    }
    if (str_starts(id, "peer/")) {
        act_forget(c, "observe/gluster"); /* look at once */
    }
    if (str_starts(id, "vm/") && !is_commit) { /* a commit changes no domain */
        c->domains_stale = true;
    }
    if (str_starts(id, "mount/") || str_starts(id, "brick/") || str_starts(id, "unmount/") ||
        str_starts(id, "freed/")) {
        _cleanup_free_ char *again = str_printf("observe/pool/%s", strchr(id, '/') + 1);
        act_forget_one(c, again); /* look at once */
        remember_failure(c, id, a);
    }
    if (str_starts(id, "ha/ended/") || (str_starts(id, "ha/fence/") && strstr(id, "/kill/"))) {
        act_forget(c, "observe/gluster"); /* look at once */
    }
    if (str_eq(id, "ha/start") || str_starts(id, "ha/clean/") ||
        (str_starts(id, "ha/fence/") && str_ends(id, "/end"))) {
        act_forget(c, "observe/gluster"); /* look at once */
        remember_failure(c, HA_RETURN, a);
    }
}

/* A conflict has brought the newest records along: to try again at once is right, a few times. */
static uint64_t backoff_us(const struct attempt *a)
{
    bool is_conflict = a->error.code == ERR_CONFLICT;
    if (is_conflict && a->fails < CONFLICTS_FREE) {
        return 0;
    }
    unsigned shift = is_conflict ? a->fails - CONFLICTS_FREE : a->fails;
    uint64_t wait = BACKOFF_FIRST_US << (shift < 7 ? shift : 7);
    return wait > ACT_BACKOFF_MAX_US ? ACT_BACKOFF_MAX_US : wait;
}

static void on_done(struct core *c, const json_t *event)
{
    const char *id = json_text_of(event, "id");
    struct attempt *a = id ? act_find(c, id) : NULL;
    if (!a || !a->in_flight) {
        return; /* of an earlier life */
    }
    json_t *error = json_object_get(event, "error");
    const json_t *store = json_object_get(event, "store");
    smap_touch(&c->attempts, id);
    a->in_flight = false;
    a->has_ended = true;
    a->not_before_us = c->now_us;
    if (error) {
        err_from_json(&a->error, error);
        a->not_before_us += backoff_us(a);
        a->fails++;
    } else {
        a->result = json_incref(json_object_get(event, "result"));
        a->was_good = true;
        a->fails = 0;
    }
    if (store) {
        on_watch(c, store); /* what a commit wrote, or met */
    }
    history_done(c, id, a);
    learn(c, id, a, store != NULL);
}

static void on_progress(struct core *c, const json_t *event)
{
    const char *id = json_text_of(event, "id");
    struct attempt *a = id ? act_find(c, id) : NULL;
    if (a && a->in_flight) {
        smap_touch(&c->attempts, id);
        json_decref(a->progress);
        a->progress = json_incref(json_object_get(event, "progress"));
    }
}

/* libvirt told of a domain: remember why it went, and list again. */
static void on_domain(struct core *c, const json_t *event)
{
    const char *name = json_text_of(event, "name");
    if (!name || !vm_spec(c, name)) {
        return; /* the user's own domains are no concern of ours */
    }
    history_domain(c, event);
    if (str_eq(json_text_of(event, "kind"), "gone")) {
        _cleanup_free_ char *what = str_printf("gone/%s", name);
        json_t *value = json_deep_copy(event);
        const json_t *dom = json_object_get(smap_get(&c->seen, "domains"), name);
        json_object_set_new(value, "epoch", json_integer((json_int_t)json_u64_of(dom, "epoch", 0)));
        smap_put(&c->seen, what, value);
    }
    if (str_eq(json_text_of(event, "kind"), "suspended")) {
        _cleanup_free_ char *what = str_printf("suspended/%s", name);
        smap_put(&c->seen, what, json_deep_copy(event));
    }
    c->domains_stale = true;
}

static int dispatch(struct core *c, const json_t *event, struct err *e)
{
    const char *kind = json_text_of(event, "ev");
    if (str_eq(kind, "list") && restore_is_former(c, event)) {
        return 0;
    }
    if (str_eq(kind, "list")) {
        history_store(c, false);
        history_list(c, json_object_get(event, "rows"));
        world_relist(&c->world, json_object_get(event, "rows"), json_u64_of(event, "revision", 0),
                     c->now_us);
        if (c->store_is_lost) { /* failover keeps its own pace: who was cut off is to be heard before it is judged */
            act_end_backoffs(c, "vm/", ERR_UNAVAILABLE);
            act_end_backoffs(c, "publish", ERR_UNAVAILABLE);
            act_end_backoffs(c, "save/", ERR_UNAVAILABLE);
        }
        c->store_is_lost = false;
    } else if (str_eq(kind, "lost")) {
        history_store(c, true);
        c->store_is_lost = true;
    } else if (str_eq(kind, "watch")) {
        on_watch(c, event);
    } else if (str_eq(kind, "done")) {
        on_done(c, event);
    } else if (str_eq(kind, "progress")) {
        on_progress(c, event);
    } else if (str_eq(kind, "domain")) {
        on_domain(c, event);
    } else if (str_eq(kind, "guard")) {
        history_guard(c, smap_get(&c->seen, "ha/guard"), json_object_get(event, "status"));
        remember(c, "ha/guard", json_object_get(event, "status"));
    } else if (str_eq(kind, "table")) {
        smap_put(&c->seen, HA_TABLE_TOUCHED, json_pack("{s:I}", "at_us", (json_int_t)c->now_us));
    } else if (str_eq(kind, "start")) {
        on_start(c, event);
    } else if (str_eq(kind, "request")) {
        return request_take(c, event, e);
    } else {
        assert(str_eq(kind, "tick"));
    }
    return 0;
}

/* What may run while it is not known what runs where: looks, the membership of the store, fences that are due. */
static void plan_restored(struct core *c)
{
    if (c->host && c->world.is_listed) {
        plan_host(c);
        restore_plan(c);
        ha_plan(c);
    }
}

static void plan_all(struct core *c)
{
    basis_run(c, PLAN_OPS, op_run_all);
    if (c->host && c->world.is_listed) {
        plan_host(c);
        basis_run(c, PLAN_POOLS, plan_pools);
        ha_plan(c);
        basis_run(c, PLAN_VMS, plan_vms);
        basis_run(c, PLAN_DRILL, plan_drill);
        basis_run(c, PLAN_SWEEP, plan_sweep);
    }
}

/* All that this core knows is of a store that is no more: its agent ends, and begins anew. */
static int step_superseded(struct core *c, const json_t *event, json_t **ret_actions, struct err *e)
{
    c->is_superseded = true;
    (void)act_once(c, "restart", "agent.restart", json_object());
    *ret_actions = TAKE(c->actions);
    return str_eq(json_text_of(event, "ev"), "request") ? request_refuse_without_store(e) : 0;
}

int core_step(struct core *c, const json_t *event, uint64_t now_us, uint64_t wall_us,
              json_t **ret_actions, struct err *e)
{
    assert(now_us >= c->now_us);
    c->now_us = now_us;
    c->wall_us = wall_us;
    c->wake_us = 0;
    c->actions = json_array();
    json_decref(c->facts);
    c->facts = json_array();
    if (c->is_superseded || restore_supersedes(c, event)) {
        return step_superseded(c, event, ret_actions, e);
    }
    int r = dispatch(c, event, e);
    basis_look(c);
    if (restore_stage(c) == RESTORE_NONE) {
        plan_all(c);
    } else {
        plan_restored(c);
    }
    if (c->host && str_eq(json_text_of(event, "ev"), "tick")) {
        basis_run(c, PLAN_ALARMS, alarms_note);
    }
    plan_observe(c);
    basis_run(c, PLAN_LIBVIRT, plan_libvirt);
    if (c->host && c->world.is_listed && node_get(c, c->host)) {
        basis_run(c, PLAN_PUBLISH, plan_publish);
    }
    *ret_actions = TAKE(c->actions);
    return r;
}
