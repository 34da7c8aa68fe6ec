/* SPDX-License-Identifier: Apache-2.0
 * What this host does for virtual machines. Starting follows T4/T5 of facts/ha.md 3.7: the owner
 * claims an epoch by CAS, and only the process that saw its claim succeed starts QEMU for it, once;
 * after anything unclear the epoch is raised and claimed again (I1). Killing follows amendment A5:
 * only a record of this cluster that positively says so ends a QEMU. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/plan/plan.h"

#define SWEEP_FILES_US (600 * USEC_PER_SEC)
#define START_RULE_WAKE_US (100 * USEC_PER_MSEC)
#define SHUTDOWN_ASK_US (10 * USEC_PER_SEC) /* guests overlook a power button */

/* One virtual machine during a step. */
struct vm {
    struct core *c;
    const char *name;
    const json_t *spec;
    const json_t *own;
    const json_t *act;
    const json_t *dom;
};

static void id_of(const struct vm *v, const char *what, char *buf, size_t size)
{
    (void)snprintf(buf, size, "vm/%s/%s", v->name, what);
}

/* Names come again, uuids do not: a machine is not held up by one that had its name before. */
static char *epoch_id(const struct vm *v, const char *what)
{
    return str_printf("vm/%s/%s/%s/%llu", v->name, what, json_text_of(v->spec, "uuid"),
                      (unsigned long long)vm_epoch(v->own));
}

static bool dom_is(const struct vm *v, const char *state)
{
    return str_eq(json_text_of(v->dom, "state"), state);
}

/* Was this epoch's QEMU born where the guard can freeze it? Then it may be taken over (A7). */
static bool is_freezable(const struct vm *v)
{
    return v->dom ? json_bool_of(v->dom, "freezable", false)
                  : ha_pool_is_on(v->c, json_text_of(v->spec, "pool"));
}

static void commit_act_and(struct vm *v, const char *id, json_t *act, json_t *spec)
{
    struct commit t = commit_new();
    if (is_freezable(v)) {
        json_object_set_new(act, "ha", json_true());
    }
    vm_put_act(v->c, &t, v->name, act);
    if (spec) {
        vm_put_spec(v->c, &t, v->name, spec);
    }
    _cleanup_free_ char *own_key = str_printf("%s/own", v->name);
    commit_guard(v->c, &t, KEY_VM, own_key);
    (void)commit_try(v->c, id, &t);
}

static void commit_act_as(struct vm *v, const char *id, json_t *act)
{
    commit_act_and(v, id, act, NULL);
}

static void commit_act(struct vm *v, const char *what, json_t *act)
{
    char id[96];
    id_of(v, what, id, sizeof(id));
    commit_act_as(v, id, act);
}

/* The owner stays, the epoch grows: before every cold start that is not the first of its epoch. */
static void raise_epoch(struct vm *v, unsigned fails, const json_t *error)
{
    char id[96];
    struct commit t = commit_new();
    json_t *act = vm_new_act(v->c, "stopped", vm_epoch(v->own));
    json_object_set_new(act, "fails", json_integer((json_int_t)fails));
    if (error) {
        json_object_set(act, "error", (json_t *)error);
    }
    id_of(v, "raise", id, sizeof(id));
    vm_put_own(v->c, &t, v->name, vm_new_own(v->c, v->c->host, vm_next_epoch(v->own)));
    vm_put_act(v->c, &t, v->name, act);
    (void)commit_try(v->c, id, &t);
}

static uint64_t backoff_us(const struct vm *v)
{
    uint64_t fails = json_u64_of(v->act, "fails", 0);
    uint64_t us = fails ? USEC_PER_SEC << (fails > 6 ? 6 : fails - 1) : 0;
    return us > ACT_BACKOFF_MAX_US ? ACT_BACKOFF_MAX_US : us;
}

static bool is_backing_off(const struct vm *v)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/act", v->name);
    const struct record *r = world_record(&v->c->world, key);
    return r && v->c->now_us < r->changed_us + backoff_us(v);
}

/* Is the epoch being written to disk? Nobody may write a newer one before that has ended. */
static bool is_keeping_epoch(const struct vm *v)
{
    char id[96];
    id_of(v, "epoch", id, sizeof(id));
    const struct attempt *a = act_find(v->c, id);
    return a && a->in_flight;
}

/* T5. The claim's attempt stays while the epoch is current: it is this process's right to start. */
static void plan_claim(struct vm *v)
{
    const char *pool = json_text_of(v->spec, "pool");
    if (!pool_is_usable_on(v->c, pool, v->c->host) || is_backing_off(v) || is_keeping_epoch(v)) {
        return;
    }
    _cleanup_free_ char *id = epoch_id(v, "claim");
    const struct attempt *a = act_find(v->c, id);
    if (a && !a->error.code) {
        return; /* under way; when it has succeeded, act says starting */
    }
    json_t *act = vm_new_act(v->c, "starting", vm_epoch(v->own));
    json_object_set_new(act, "fails", json_integer((json_int_t)json_u64_of(v->act, "fails", 0)));
    json_object_set_new(act, "instance", json_incref(json_object_get(v->c->self, "instance")));
    /* What was set while it ran becomes true with the start, in the same commit. */
    commit_act_and(v, id, act, json_object_get(v->spec, "next") ? vm_next_spec(v->spec) : NULL);
}

/* The bridge, and the MTU that fits through the tunnel between hosts: a guest that does not know it
 * sends frames which the bridge drops. */
static json_t *nic_on(const struct core *c, const char *network)
{
    const json_t *record = world_get(&c->world, KEY_NETWORK, network);
    _cleanup_free_ char *applied = str_printf("net/%s", network);
    return json_pack("{s:O,s:I}", "bridge", json_object_get(record, "bridge"), "mtu",
                     (json_int_t)json_u64_of(smap_get(&c->seen, applied), "mtu", 0));
}

/* The spec with the bridges of its networks. */
static json_t *create_args(const struct vm *v)
{
    json_t *spec = json_deep_copy(v->spec);
    json_t *nics = json_array();
    size_t i;
    json_t *net;
    json_array_foreach(json_object_get(v->spec, "networks"), i, net) {
        json_array_append_new(nics, nic_on(v->c, json_string_value(net)));
    }
    json_object_set_new(spec, "nics", nics);
    const json_t *cluster = world_get(&v->c->world, KEY_ROOT, "cluster");
    return json_pack("{s:s,s:o,s:O,s:b,s:b,s:b}", "name", v->name, "spec", spec, "own", v->own, "kvm",
                     json_bool_of(smap_get(&v->c->seen, "host"), "kvm", false), "emulation",
                     json_bool_of(cluster, "emulation", false), "freezable",
                     ha_pool_is_on(v->c, json_text_of(v->spec, "pool")));
}

static void plan_gone(struct vm *v);

/* Start rule A2, and I5: nothing that an older instance wrote may still turn up under this one, and this
 * host must hold the right to let guests run. */
static bool may_start(struct vm *v)
{
    if (!ha_pool_is_on(v->c, json_text_of(v->spec, "pool"))) {
        return true;
    }
    if (ha_node_is_flushing(node_get(v->c, v->c->host))) {
        return false;
    }
    _cleanup_free_ char *id = epoch_id(v, "clean");
    (void)act_try(v->c, id, "vm.clean", vm_clean_args(v->c, v->name), UINT64_MAX / 2);
    core_wake_in(v->c, START_RULE_WAKE_US);
    return act_has_succeeded(v->c, id) && ha_run_right(v->c);
}

static void plan_start_claimed(struct vm *v)
{
    bool is_mine = str_eq(json_text_of(v->act, "instance"), json_text_of(v->c->self, "instance"));
    unsigned fails = (unsigned)json_u64_of(v->act, "fails", 0);
    if (!is_mine) {
        raise_epoch(v, fails, NULL); /* an agent before us claimed it; what it did is not known */
        return;
    }
    _cleanup_free_ char *id = epoch_id(v, "create");
    if (!act_find(v->c, id) && !may_start(v)) {
        return;
    }
    const struct attempt *a = act_once(v->c, id, "vm.create", create_args(v));
    if (a->has_ended && a->error.code) {
        _cleanup_json_ json_t *error = err_to_json(&a->error);
        raise_epoch(v, fails + 1, error);
    } else if (a->has_ended && v->c->domains_at_us > a->not_before_us) {
        plan_gone(v); /* it was born, and is missing in a list asked for after that */
    } else if (a->has_ended) {
        v->c->domains_stale = true;
    }
}

/* QEMU of the current epoch has gone: did the guest power off, or did it fall? */
static void plan_gone(struct vm *v)
{
    _cleanup_free_ char *gone_name = str_printf("gone/%s", v->name);
    const json_t *gone = smap_get(&v->c->seen, gone_name);
    bool is_current = gone && vm_epoch(gone) == vm_epoch(v->own);
    if (is_current && str_eq(json_text_of(gone, "reason"), "shutdown")) {
        char id[96];
        struct commit t = commit_new();
        json_t *spec = json_deep_copy(v->spec);
        json_object_set_new(spec, "desired", json_string("stopped"));
        id_of(v, "poweroff", id, sizeof(id));
        vm_put_spec(v->c, &t, v->name, spec);
        vm_put_act(v->c, &t, v->name, vm_new_act(v->c, "stopped", vm_epoch(v->own)));
        (void)commit_try(v->c, id, &t);
        return;
    }
    _cleanup_json_ json_t *error =
        json_pack("{s:s,s:s}", "name", "virt.failed", "message", "QEMU ended by itself");
    raise_epoch(v, (unsigned)json_u64_of(v->act, "fails", 0) + 1, error);
}

static void plan_running_wanted(struct vm *v)
{
    const char *state = json_text_of(v->act, "state");
    bool is_current = vm_epoch(v->act) == vm_epoch(v->own);
    if (vm_is_given_up(v->c, v->name)) {
        return; /* the next vm start begins anew */
    }
    if (json_u64_of(v->own, "inc", 0) != json_u64_of(node_get(v->c, v->c->host), "inc", 0)) {
        raise_epoch(v, 0, NULL); /* T10: lost in a reboot, which is no failure of its own */
        return;
    }
    if (!is_current || str_eq(state, "stopped")) {
        if (is_current) {
            raise_epoch(v, (unsigned)json_u64_of(v->act, "fails", 0), NULL);
        } else {
            plan_claim(v);
        }
    } else if (str_eq(state, "starting")) {
        plan_start_claimed(v);
    } else {
        plan_gone(v);
    }
}

static json_t *epoch_args(const struct vm *v)
{
    return json_pack("{s:s,s:O,s:I}", "name", v->name, "uuid", json_object_get(v->spec, "uuid"),
                     "epoch", (json_int_t)vm_epoch(v->own));
}

/* The copy that a migration left here is ours now. The epoch is persisted (I5) while the claim is
 * under way: it must be on disk before the guest runs, and the guest waits for both. */
static void plan_handover(struct vm *v)
{
    char id[96];
    commit_act(v, "handover", vm_new_act(v->c, "starting", vm_epoch(v->own)));
    id_of(v, "epoch", id, sizeof(id));
    (void)act_try(v->c, id, "vm.keep_epoch", epoch_args(v), USEC_PER_SEC);
}

static void resume(struct vm *v)
{
    char id[96];
    if (!is_keeping_epoch(v) &&
        pool_is_usable_on(v->c, json_text_of(v->spec, "pool"), v->c->host)) {
        id_of(v, "resume", id, sizeof(id));
        (void)act_try(v->c, id, "vm.resume", epoch_args(v), USEC_PER_SEC);
    }
}

/* A domain of the current epoch is here. */
static void plan_present(struct vm *v)
{
    const char *state = json_text_of(v->act, "state");
    bool is_claimed = vm_epoch(v->act) == vm_epoch(v->own);
    if (dom_is(v, "running")) {
        if (!is_claimed || !str_eq(state, "running")) {
            commit_act(v, "running", vm_new_act(v->c, "running", vm_epoch(v->own)));
        }
    } else if (dom_is(v, "paused") && !is_claimed) {
        plan_handover(v);
    } else if (dom_is(v, "paused") && str_eq(json_text_of(v->dom, "reason"), "ioerror") &&
               !str_eq(state, "ioerror")) {
        commit_act(v, "ioerror", vm_new_act(v->c, "ioerror", vm_epoch(v->own)));
    } else if (dom_is(v, "paused")) {
        resume(v);
    }
}

/* Watches may lose an event: a guest is ended only when the store has confirmed that this is what
 * the user wants now. */
static bool stop_is_confirmed(struct vm *v)
{
    char id[96];
    if (str_eq(json_text_of(v->act, "state"), "stopping") && vm_epoch(v->act) == vm_epoch(v->own)) {
        return true;
    }
    struct commit t = commit_new();
    _cleanup_free_ char *own_key = str_printf("%s/own", v->name);
    _cleanup_free_ char *spec_key = str_printf("%s/spec", v->name);
    id_of(v, "stopping", id, sizeof(id));
    vm_put_act(v->c, &t, v->name, vm_new_act(v->c, "stopping", vm_epoch(v->own)));
    commit_guard(v->c, &t, KEY_VM, own_key);
    commit_guard(v->c, &t, KEY_VM, spec_key);
    (void)commit_try(v->c, id, &t);
    return false;
}

/* Compared with the spec, too: who missed that the user wants it to run learns it now, and not at the next list. */
static void commit_stopped(struct vm *v)
{
    char id[96];
    struct commit t = commit_new();
    json_t *act = vm_new_act(v->c, "stopped", vm_epoch(v->own));
    _cleanup_free_ char *own_key = str_printf("%s/own", v->name);
    _cleanup_free_ char *spec_key = str_printf("%s/spec", v->name);
    if (is_freezable(v)) {
        json_object_set_new(act, "ha", json_true());
    }
    id_of(v, "stopped", id, sizeof(id));
    vm_put_act(v->c, &t, v->name, act);
    commit_guard(v->c, &t, KEY_VM, own_key);
    commit_guard(v->c, &t, KEY_VM, spec_key);
    (void)commit_try(v->c, id, &t);
}

static void plan_stopped_wanted(struct vm *v)
{
    char id[96];
    bool is_forced = str_eq(json_text_of(v->spec, "stop"), "force");
    if (v->dom && !stop_is_confirmed(v)) {
        return;
    }
    if (v->dom && !is_forced && dom_is(v, "paused")) {
        resume(v); /* a guest that stands still does not hear a power button */
    } else if (v->dom) {
        id_of(v, is_forced ? "destroy" : "shutdown", id, sizeof(id));
        (void)act_try(v->c, id, is_forced ? "vm.destroy" : "vm.shutdown",
                      json_pack("{s:s,s:I}", "name", v->name, "epoch", (json_int_t)vm_epoch(v->dom)),
                      is_forced ? ACT_PAUSE_US : SHUTDOWN_ASK_US);
    } else if (v->act && (!str_eq(json_text_of(v->act, "state"), "stopped") ||
                vm_epoch(v->act) != vm_epoch(v->own))) {
        _cleanup_free_ char *create = epoch_id(v, "create");
        const struct attempt *a = act_find(v->c, create);
        if (!a || !a->in_flight) {
            commit_stopped(v);
        }
    }
}

/* Amendment A5: kill on a positive record only. What is older than the owner's epoch must go, and on
 * other hosts what is older than the migration under way, or belongs to one that was undone. */
static bool must_die(const struct vm *v)
{
    const json_t *mig = json_object_get(v->own, "mig");
    bool is_owner = str_eq(json_text_of(v->own, "owner"), v->c->host);
    bool is_outdated = vm_epoch(v->own) > vm_epoch(v->dom);
    bool is_undone = str_eq(json_text_of(mig, "phase"), "aborted") &&
                     vm_epoch(v->dom) == vm_epoch(mig);
    bool is_left_over = !is_owner && (vm_epoch(v->dom) < vm_epoch(mig) || is_undone);
    return v->own && v->dom && (is_outdated || is_left_over);
}

static uint64_t changed_us(const struct vm *v, const char *which)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/%s", v->name, which);
    const struct record *r = world_record(&v->c->world, key);
    return r ? r->changed_us : 0;
}

/* Absence counts only in a list that was asked for after the newest records were known: a guest
 * that has just arrived by migration must not be started a second time. */
static bool absence_is_proven(const struct vm *v)
{
    uint64_t at = v->c->domains_at_us;
    return at && at > changed_us(v, "own") && at > changed_us(v, "act");
}

/* Outcomes that concern epochs of the past. */
static void forget_old(struct vm *v)
{
    static const char *const kinds[] = {"claim", "clean", "create"};
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        char prefix[96];
        _cleanup_free_ char *keep = epoch_id(v, kinds[i]);
        id_of(v, kinds[i], prefix, sizeof(prefix));
        act_forget_others(v->c, prefix, keep);
    }
}

static void plan_vm(struct vm *v)
{
    char id[96];
    if (!v->own || json_text_of(v->spec, "making")) {
        return; /* its disk is being made or removed: the task has it */
    }
    forget_old(v);
    if (must_die(v)) {
        id_of(v, "kill", id, sizeof(id));
        (void)act_try(v->c, id, "vm.destroy",
                      json_pack("{s:s,s:I}", "name", v->name, "epoch", (json_int_t)vm_epoch(v->dom)),
                      ACT_PAUSE_US);
        return;
    }
    if (!str_eq(json_text_of(v->own, "owner"), v->c->host) || vm_mig_is_active(v->own) ||
        str_eq(json_text_of(v->act, "state"), "washing")) {
        return; /* ha_self.c ends a washing */
    }
    if (!v->dom && !absence_is_proven(v)) {
        v->c->domains_stale = true;
        return;
    }
    if (str_eq(json_text_of(v->spec, "desired"), "running")) {
        if (v->dom) {
            plan_present(v);
        } else {
            plan_running_wanted(v);
        }
    } else {
        plan_stopped_wanted(v);
    }
}

/* What is remembered of machines that are no more. @map: their names follow @prefix */
static void forget_removed(struct core *c, struct smap *map, const char *prefix)
{
    for (size_t i = smap_lower(map, prefix); i < map->n && str_starts(map->items[i].key, prefix);) {
        const char *rest = map->items[i].key + strlen(prefix);
        _cleanup_free_ char *name = str_printf("%.*s", (int)strcspn(rest, "/"), rest);
        bool is_busy = map == &c->attempts && ((struct attempt *)map->items[i].value)->in_flight;
        if (is_busy || vm_spec(c, name)) {
            i++;
        } else {
            (void)smap_del(map, map->items[i].key);
        }
    }
}

/* What a removed machine left on this host. Names and uuids of all that are not removed yet. Not soon
 * after the agent's start: there is no hurry, and what it knows shall have settled. */
static void plan_files(struct core *c)
{
    c->files_at_us = c->files_at_us ? c->files_at_us : c->now_us + SWEEP_FILES_US;
    if (c->store_is_lost || c->now_us < c->files_at_us || !node_has_vms(node_get(c, c->host))) {
        return;
    }
    c->files_at_us = c->now_us + SWEEP_FILES_US;
    json_t *names = json_array();
    json_t *uuids = json_array();
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        json_array_append_new(names, json_string(name));
        json_array_append(uuids, json_object_get(vm_spec(c, name), "uuid"));
        free(name);
    }
    (void)act_try(c, "sweep-files", "host.sweep", json_pack("{s:o,s:o}", "names", names, "uuids", uuids),
                  SWEEP_FILES_US);
}

void plan_vms(struct core *c)
{
    const json_t *me = node_get(c, c->host);
    bool is_this_boot = str_eq(json_text_of(me, "boot_id"), json_text_of(c->self, "boot_id"));
    if (!node_may_run_vms(me) || !is_this_boot) {
        return; /* T10 comes first */
    }
    forget_removed(c, &c->attempts, "vm/");
    forget_removed(c, &c->seen, "gone/");
    forget_removed(c, &c->seen, "suspended/");
    plan_files(c);
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        struct vm v = {
            .c = c,
            .name = name,
            .spec = vm_spec(c, name),
            .own = vm_own(c, name),
            .act = vm_act(c, name),
            .dom = vm_domain(c, name),
        };
        plan_vm(&v);
        free(name);
    }
}
