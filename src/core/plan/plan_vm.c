/* SPDX-License-Identifier: Apache-2.0
 * What this host does for virtual machines. Starting follows T4/T5 of facts/ha.md 3.7: the owner
 * claims an epoch by CAS, and only the process that saw its claim succeed starts QEMU for it, once;
 * after anything unclear the epoch is raised and claimed again (I1). Killing follows amendment A5:
 * only a record of this cluster that positively says so ends a QEMU. */
#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/history.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/plan/plan.h"

#define CLEAN_HANGS_US (75 * USEC_PER_SEC) /* the start rule has a minute (act_clean.c); then its child is stuck */
#define SWEEP_FILES_US (600 * USEC_PER_SEC)
#define START_RULE_WAKE_US (100 * USEC_PER_MSEC)
#define STARTS_MAX 8 /* at a time on one host (facts/ha.md 4.2) */
#define SHUTDOWN_ASK_US (10 * USEC_PER_SEC) /* guests overlook a power button */

/* What is asked for under an id of its epoch: the actions of a start, and at last the statement that it has ended. */
static const char *const epoch_steps[] = {"burn", "claim", "clean", "create", "stopped"};
#define START_STEPS (ELEMENTS(epoch_steps) - 1)

/* One virtual machine during a step. */
struct vm {
    struct core *c;
    const char *name;
    const json_t *spec;
    const json_t *own;
    const json_t *act;
    const json_t *dom;
    bool may_start; /* no more than STARTS_MAX of this host's machines are being started */
};

static void id_of(const struct vm *v, const char *what, char *buf, size_t size)
{
    _cleanup_free_ char *id = str_printf("vm/%s/%s", v->name, what);
    assert(strlen(id) < size);
    memcpy(buf, id, strlen(id) + 1);
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

/* A machine that has crashed is not well because it runs again, here or elsewhere. */
static void keep_crashes(const struct vm *v, json_t *act)
{
    const char *state = json_text_of(act, "state");
    if (vm_crashes(v->act) && !str_eq(state, "stopped") && !str_eq(state, "stopping")) {
        json_object_set(act, "crashes", json_object_get(v->act, "crashes"));
    }
}

/* @pool: compared, too, when not NULL */
static void commit_act_and(struct vm *v, const char *id, json_t *act, json_t *spec, const char *pool)
{
    struct commit t = commit_new();
    if (pool) {
        commit_guard(v->c, &t, KEY_POOL, pool);
    }
    if (is_freezable(v)) {
        json_object_set_new(act, "ha", json_true());
    }
    keep_crashes(v, act);
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
    commit_act_and(v, id, act, NULL, NULL);
}

static void commit_act(struct vm *v, const char *what, json_t *act)
{
    char id[96];
    id_of(v, what, id, sizeof(id));
    commit_act_as(v, id, act);
}

/* The owner stays, the epoch grows: before every cold start that is not the first of its epoch.
 * @crashes: of the new act record, may be NULL */
static void raise_epoch_after(struct vm *v, unsigned fails, const json_t *error, json_t *crashes)
{
    char id[96];
    struct commit t = commit_new();
    json_t *act = vm_new_act(v->c, "stopped", vm_epoch(v->own));
    json_object_set_new(act, "fails", json_integer((json_int_t)fails));
    if (crashes) {
        json_object_set(act, "crashes", crashes);
    }
    if (error) {
        json_object_set(act, "error", (json_t *)error);
    }
    id_of(v, "raise", id, sizeof(id));
    vm_put_own(v->c, &t, v->name, vm_new_own(v->c, v->c->host, vm_next_epoch(v->c, v->own)));
    vm_put_act(v->c, &t, v->name, act);
    (void)commit_try(v->c, id, &t);
}

static void raise_epoch(struct vm *v, unsigned fails, const json_t *error)
{
    raise_epoch_after(v, fails, error, json_object_get(v->act, "crashes"));
}

static unsigned fails_of(const struct vm *v)
{
    return (unsigned)json_u64_of(v->act, "fails", 0);
}

static uint64_t backoff_us(const struct vm *v)
{
    uint64_t crashes = vm_crashes(v->act);
    uint64_t fails = fails_of(v) > crashes ? fails_of(v) : crashes;
    uint64_t us = fails ? USEC_PER_SEC << (fails > 6 ? 6 : fails - 1) : 0;
    return us > ACT_BACKOFF_MAX_US ? ACT_BACKOFF_MAX_US : us;
}

static bool is_backing_off(const struct vm *v)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/act", v->name);
    const struct record *r = world_record(&v->c->world, key);
    return r && !core_is_past(v->c, r->changed_us + backoff_us(v));
}

/* Is any epoch being written to disk? Nobody may write a newer one before that has ended. */
static bool is_keeping_epoch(const struct vm *v)
{
    const struct smap *all = &v->c->attempts;
    char prefix[96];
    id_of(v, "epoch/", prefix, sizeof(prefix));
    for (size_t i = smap_lower(all, prefix); i < all->n && str_starts(all->items[i].key, prefix); i++) {
        if (((const struct attempt *)all->items[i].value)->in_flight) {
            return true;
        }
    }
    id_of(v, "resume", prefix, sizeof(prefix)); /* it writes the epoch itself where that has failed */
    const struct attempt *resume = act_find(v->c, prefix);
    return resume && resume->in_flight;
}

/* T5. The claim's attempt stays while the epoch is current: it is this process's right to start. */
static void plan_claim(struct vm *v)
{
    const char *pool = json_text_of(v->spec, "pool");
    bool is_usable = pool_is_usable_on(v->c, pool, v->c->host);
    history_wait(v->c, v->name, is_usable ? NULL : "its pool is not mounted here, or has no quorum");
    if (!v->may_start || !is_usable || is_backing_off(v) || is_keeping_epoch(v)) {
        return;
    }
    _cleanup_free_ char *id = epoch_id(v, "claim");
    const struct attempt *a = act_find(v->c, id);
    if (a && !a->error.code) {
        return; /* under way; when it has succeeded, act says starting */
    }
    json_t *act = vm_new_act(v->c, "starting", vm_epoch(v->own));
    json_object_set_new(act, "fails", json_integer((json_int_t)fails_of(v)));
    json_object_set_new(act, "instance", json_incref(json_object_get(v->c->self, "instance")));
    /* What was set while it ran becomes true with the start, in the same commit. Whether the start rule holds
     * is said by the pool, of which an agent that has just started may have read something old. */
    commit_act_and(v, id, act, json_object_get(v->spec, "next") ? vm_next_spec(v->spec) : NULL, pool);
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
    /* The claim has told the others that it can be frozen: that stays true when failover was switched off since. */
    bool is_told = json_bool_of(v->act, "ha", false);
    return json_pack("{s:s,s:o,s:O,s:b,s:b,s:b}", "name", v->name, "spec", spec, "own", v->own, "kvm",
                     json_bool_of(smap_get(&v->c->seen, "host"), "kvm", false), "emulation",
                     json_bool_of(cluster, "emulation", false), "freezable",
                     is_told || ha_pool_is_on(v->c, json_text_of(v->spec, "pool")));
}

static json_t *args_of_epoch(const struct vm *v, uint64_t epoch)
{
    return json_pack("{s:s,s:O,s:I}", "name", v->name, "uuid", json_object_get(v->spec, "uuid"),
                     "epoch", (json_int_t)epoch);
}

static json_t *epoch_args(const struct vm *v)
{
    return args_of_epoch(v, vm_epoch(v->own));
}

/* I5: it must be on disk before the guest runs. A failure is none yet: "vm.resume" writes it itself. */
static void keep_epoch(struct vm *v, uint64_t epoch)
{
    char id[96];
    _cleanup_free_ char *what = str_printf("epoch/%llu", (unsigned long long)epoch);
    id_of(v, what, id, sizeof(id));
    (void)act_once(v->c, id, "vm.keep_epoch", args_of_epoch(v, epoch));
}

/* An agent before this one claimed the epoch, and what it asked for may still be done: a QEMU that turns up
 * after this host has stated that there is none would run beside the next one elsewhere. The epoch is
 * written to disk, after which nobody creates it here any more (I5), and only a list that was asked for
 * after that says what there is. */
static bool is_claim_dead(struct vm *v)
{
    bool may_launder = json_bool_of(v->act, "ha", false) || ha_pool_is_on(v->c, json_text_of(v->spec, "pool"));
    if (may_launder && !ha_old_laundering_is_over(v->c)) {
        return false;
    }
    _cleanup_free_ char *id = epoch_id(v, "burn");
    (void)act_try(v->c, id, "vm.keep_epoch", epoch_args(v), UINT64_MAX / 2);
    const struct attempt *a = act_find(v->c, id);
    bool is_burnt = a->has_ended && (!a->error.code || a->error.code == ERR_STATE); /* a higher one is there */
    v->c->domains_stale = v->c->domains_stale || (is_burnt && v->c->domains_at_us <= a->not_before_us);
    return is_burnt && v->c->domains_at_us > a->not_before_us;
}

static bool is_claimed_by_another(const struct vm *v)
{
    return str_eq(json_text_of(v->act, "state"), "starting") && vm_epoch(v->act) == vm_epoch(v->own) &&
           !str_eq(json_text_of(v->act, "instance"), json_text_of(v->c->self, "instance"));
}

static void plan_gone(struct vm *v);

/* Start rule A2, and I5: nothing that an older instance wrote may still turn up under this one, and this
 * host must hold the right to let guests run. */
static bool is_cleared(struct vm *v)
{
    if (!ha_pool_is_on(v->c, json_text_of(v->spec, "pool"))) {
        return true;
    }
    _cleanup_free_ char *id = epoch_id(v, "clean");
    if (ha_old_laundering_is_over(v->c)) {
        (void)act_try(v->c, id, "vm.clean", vm_clean_args(v->c, v->name), UINT64_MAX / 2);
    }
    core_wake_in(v->c, START_RULE_WAKE_US);
    if (act_has_succeeded(v->c, id)) {
        history_wait(v->c, v->name, ha_run_right(v->c) ? NULL : "this host's guard holds no right to let guests run");
    }
    return act_has_succeeded(v->c, id) && ha_run_right(v->c);
}

/* Once "stopped" has been asked for, another host may start it with the next epoch, before this one hears that, or of
 * its user's next wish: nothing is started here any more under this one, unless that commit is known to have failed. */
static const struct attempt *find_stated_end(const struct vm *v)
{
    _cleanup_free_ char *id = epoch_id(v, "stopped");
    const struct attempt *a = act_find(v->c, id);
    return a && (a->in_flight || a->error.code != ERR_CONFLICT) ? a : NULL;
}

static void plan_start_claimed(struct vm *v)
{
    unsigned fails = fails_of(v);
    if (is_claimed_by_another(v)) {
        if (is_claim_dead(v)) {
            raise_epoch(v, fails, NULL);
        }
        return;
    }
    _cleanup_free_ char *id = epoch_id(v, "create");
    const struct attempt *end = find_stated_end(v);
    bool is_asked = act_find(v->c, id) != NULL;
    if (!is_asked && end) {
        if (!end->in_flight) {
            raise_epoch(v, fails, NULL); /* compared with what it has become */
        }
        return;
    }
    if (!is_asked && (!v->may_start || !is_cleared(v))) {
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

/* It is stopped from now on, until the user starts it. @why: NULL when its guest wanted that */
static void stay_down(struct vm *v, const char *what, const char *name, const char *why)
{
    char id[96];
    struct commit t = commit_new();
    json_t *spec = json_deep_copy(v->spec);
    json_t *act = vm_new_act(v->c, "stopped", vm_epoch(v->own));
    _cleanup_free_ char *own_key = str_printf("%s/own", v->name);
    json_object_set_new(spec, "desired", json_string("stopped"));
    if (why) {
        json_object_set_new(act, "error", json_pack("{s:s,s:s}", "name", name, "message", why));
    }
    id_of(v, what, id, sizeof(id));
    vm_put_spec(v->c, &t, v->name, spec);
    vm_put_act(v->c, &t, v->name, act);
    commit_guard(v->c, &t, KEY_VM, own_key); /* whoever took it over has not asked for this */
    (void)commit_try(v->c, id, &t);
}

/* QEMU of the current epoch has gone: did the guest power off, or did it fall? */
static void plan_gone(struct vm *v)
{
    _cleanup_free_ char *gone_name = str_printf("gone/%s", v->name);
    const json_t *gone = smap_get(&v->c->seen, gone_name);
    bool is_current = gone && vm_epoch(gone) == vm_epoch(v->own);
    if (is_current && str_eq(json_text_of(gone, "reason"), "shutdown")) {
        stay_down(v, "poweroff", NULL, NULL);
        return;
    }
    /* While it is being started the user waits for it, and is told. */
    if (policy_of(v->spec) == POLICY_NONE && !str_eq(json_text_of(v->act, "state"), "starting")) {
        stay_down(v, "let-down", "virt.failed", "QEMU ended by itself; with the policy 'none' it stays down");
        return;
    }
    _cleanup_json_ json_t *error =
        json_pack("{s:s,s:s}", "name", "virt.failed", "message", "QEMU ended by itself");
    if (str_eq(json_text_of(v->act, "state"), "starting")) {
        raise_epoch(v, fails_of(v) + 1, error); /* nobody has seen it run */
        return;
    }
    _cleanup_json_ json_t *crashes =
        json_pack("{s:I,s:s,s:s,s:I}", "count", (json_int_t)vm_crashes(v->act) + 1, "message",
                  "QEMU ended by itself", "host", v->c->host, "when_ms",
                  (json_int_t)(v->c->wall_us / USEC_PER_MSEC));
    raise_epoch_after(v, fails_of(v), error, crashes);
}

static void plan_running_wanted(struct vm *v)
{
    const char *state = json_text_of(v->act, "state");
    bool is_current = vm_epoch(v->act) == vm_epoch(v->own);
    if (vm_is_given_up(v->c, v->name)) {
        return; /* the next vm start begins anew */
    }
    if (json_u64_of(v->own, "inc", 0) != json_u64_of(node_get(v->c, v->c->host), "inc", 0)) {
        if (policy_of(v->spec) == POLICY_NONE) {
            stay_down(v, "let-down", "host.unreachable",
                      "its host was lost and came back; with the policy 'none' it stays down");
        } else {
            raise_epoch(v, fails_of(v), NULL); /* T10: lost in a reboot, which is no failure of its own */
        }
        return;
    }
    bool has_run = is_current && (str_eq(state, "running") || str_eq(state, "ioerror") || str_eq(state, "stopping"));
    if (vm_is_of_former_store(v->c, v->own) && !has_run) { /* a guest that was kept ends as any other */
        raise_epoch(v, fails_of(v), NULL); /* newer epochs than this may have run before the store went back */
        return;
    }
    if (!is_current || str_eq(state, "stopped")) {
        if (is_current) {
            raise_epoch(v, fails_of(v), NULL);
        } else {
            plan_claim(v);
        }
    } else if (str_eq(state, "starting")) {
        plan_start_claimed(v);
    } else if (str_eq(state, VM_RESUMING)) {
        raise_epoch(v, fails_of(v), NULL); /* its copy has gone before it ran, with libvirtd or the host */
    } else {
        plan_gone(v);
    }
}

/* A copy is on its way to this host. Its epoch is persisted (I5) while memory is copied, for which the guest
 * does not wait: no cold start of this host may use that epoch from now on, and none would. */
static void await_copy(struct vm *v)
{
    const json_t *mig = json_object_get(v->own, "mig");
    if (vm_mig_is_active(v->own) && str_eq(json_text_of(mig, "dst"), v->c->host) && v->dom &&
        vm_epoch(v->dom) == vm_epoch(mig)) {
        keep_epoch(v, vm_epoch(mig));
    }
}

/* T7 says where failover may take it away from: not before this host has seen that its guard can freeze the
 * copy. A source of before VM_RESUMING says nothing at all. */
static bool is_act_untrue(const struct vm *v)
{
    bool is_resuming = str_eq(json_text_of(v->act, "state"), VM_RESUMING);
    return vm_epoch(v->act) != vm_epoch(v->own) ||
           (is_resuming && json_bool_of(v->act, "ha", false) && !is_freezable(v));
}

/* The copy that a migration left here is ours, and act has to say so before it runs. */
static void plan_handover(struct vm *v)
{
    commit_act(v, "handover", vm_new_act(v->c, VM_RESUMING, vm_epoch(v->own)));
    keep_epoch(v, vm_epoch(v->own));
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

/* The list that says "paused" was asked for before libvirt resumed it. */
static bool is_resumed(const struct vm *v)
{
    char id[96];
    id_of(v, "resume", id, sizeof(id));
    const struct attempt *a = act_find(v->c, id);
    return a && a->has_ended && !a->error.code && v->c->domains_at_us <= a->not_before_us;
}

static uint64_t changed_us(const struct vm *v, const char *which)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/%s", v->name, which);
    const struct record *r = world_record(&v->c->world, key);
    return r ? r->changed_us : 0;
}

/* By this host's own clock of running time, since it learnt that the guest runs. */
static void forget_crashes(struct vm *v)
{
    char id[96];
    if (!vm_crashes(v->act) || !core_is_past(v->c, changed_us(v, "act") + VM_WELL_US)) {
        return;
    }
    struct commit t = commit_new();
    json_t *act = json_deep_copy(v->act);
    _cleanup_free_ char *own_key = str_printf("%s/own", v->name);
    json_object_del(act, "crashes");
    id_of(v, "well", id, sizeof(id));
    vm_put_act(v->c, &t, v->name, act);
    commit_guard(v->c, &t, KEY_VM, own_key);
    (void)commit_try(v->c, id, &t);
}

/* A domain of the current epoch is here. */
static void plan_present(struct vm *v)
{
    const char *state = json_text_of(v->act, "state");
    bool is_claimed = vm_epoch(v->act) == vm_epoch(v->own);
    if (dom_is(v, "running") || (dom_is(v, "paused") && is_claimed && is_resumed(v))) {
        if (!is_claimed || !str_eq(state, "running")) {
            commit_act(v, "running", vm_new_act(v->c, "running", vm_epoch(v->own)));
        } else {
            forget_crashes(v);
        }
    } else if (dom_is(v, "paused") && is_act_untrue(v)) {
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
    _cleanup_free_ char *id = epoch_id(v, "stopped");
    struct commit t = commit_new();
    json_t *act = vm_new_act(v->c, "stopped", vm_epoch(v->own));
    _cleanup_free_ char *own_key = str_printf("%s/own", v->name);
    _cleanup_free_ char *spec_key = str_printf("%s/spec", v->name);
    if (is_freezable(v)) {
        json_object_set_new(act, "ha", json_true());
    }
    vm_put_act(v->c, &t, v->name, act);
    commit_guard(v->c, &t, KEY_VM, own_key);
    commit_guard(v->c, &t, KEY_VM, spec_key);
    (void)commit_try(v->c, id, &t);
}

/* It reads and writes what it has read: after "stopped" the machine may run elsewhere, and what it writes there would be
 * overwritten. The action ends when nothing of it is on its way any more (act_clean.c). */
static bool is_being_laundered(const struct vm *v)
{
    _cleanup_free_ char *id = epoch_id(v, "clean");
    const struct attempt *clean = act_find(v->c, id);
    return clean && clean->in_flight;
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
        bool is_known = !a || (a->has_ended && v->c->domains_at_us > a->not_before_us);
        v->c->domains_stale = v->c->domains_stale || (a && a->has_ended && !is_known);
        if (is_being_laundered(v)) {
            return;
        }
        if (is_known && (!is_claimed_by_another(v) || is_claim_dead(v))) {
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

/* Absence counts only in a list that was asked for after the newest records were known: a guest
 * that has just arrived by migration must not be started a second time. */
static bool absence_is_proven(const struct vm *v)
{
    uint64_t at = v->c->domains_at_us;
    return at && at > changed_us(v, "own") && at > changed_us(v, "act");
}

/* A move to this host was undone: whoever asked for it hears when nothing of it is here. */
static void note_undone(const struct vm *v, json_t *undone)
{
    const json_t *mig = json_object_get(v->own, "mig");
    if (v->dom || !str_eq(json_text_of(mig, "phase"), "aborted") || !str_eq(json_text_of(mig, "dst"), v->c->host)) {
        return;
    }
    if (v->c->domains_at_us > changed_us(v, "own")) {
        json_object_set(undone, v->name, json_object_get(mig, "id"));
    } else {
        v->c->domains_stale = true;
    }
}

static void publish_undone(struct core *c, json_t *undone)
{
    const json_t *before = smap_get(&c->seen, VM_UNDONE);
    if (json_equal(before, undone) || (!before && !json_object_size(undone))) {
        json_decref(undone);
        return;
    }
    smap_put(&c->seen, VM_UNDONE, undone);
}

/* Outcomes that concern epochs of the past. */
static void forget_old(struct vm *v)
{
    for (size_t i = 0; i < ELEMENTS(epoch_steps); i++) {
        char prefix[96];
        id_of(v, epoch_steps[i], prefix, sizeof(prefix));
        if (!act_has_any(v->c, prefix)) {
            continue;
        }
        _cleanup_free_ char *keep = epoch_id(v, epoch_steps[i]);
        act_forget_others(v->c, prefix, keep);
    }
    char epochs[96];
    id_of(v, "epoch/", epochs, sizeof(epochs));
    if (act_has_any(v->c, epochs)) {
        const json_t *mig = json_object_get(v->own, "mig");
        uint64_t newest = vm_epoch(mig) > vm_epoch(v->own) ? vm_epoch(mig) : vm_epoch(v->own);
        _cleanup_free_ char *keep = str_printf("%s%llu", epochs, (unsigned long long)newest);
        act_forget_others(v->c, epochs, keep);
    }
}

/* T10: what this host sent before its reboot may still lie in the others' bricks. Until they have proved that
 * it does not, this host starts nothing there, and does not say "stopped" either: who says that lets another
 * host start it. */
static bool is_flushing(const struct vm *v)
{
    return ha_pool_is_on(v->c, json_text_of(v->spec, "pool")) && ha_node_is_flushing(node_get(v->c, v->c->host));
}

/* @starts: gets it when it is being started; with a value when the next step may be taken
 * @undone: see VM_UNDONE */
static void plan_vm(struct vm *v, struct smap *starts, json_t *undone)
{
    char id[96];
    if (!v->own || json_text_of(v->spec, "making")) {
        return; /* its disk is being made or removed: the task has it */
    }
    forget_old(v);
    await_copy(v);
    note_undone(v, undone);
    if (must_die(v)) {
        if (vm_is_leaving(v->c, v->name)) {
            return; /* its QEMU has gone, or there were no T7; libvirtd is busy with it */
        }
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
    if (!v->dom && is_flushing(v)) {
        history_wait(v->c, v->name, "what this host had sent before its reboot may still lie in bricks");
        return;
    }
    bool is_clear = v->dom || absence_is_proven(v);
    v->c->domains_stale = v->c->domains_stale || !is_clear;
    if (vm_epoch(v->dom) > vm_epoch(v->own)) {
        return; /* what was read of it is older than what runs here: a stop of long ago ends nothing */
    }
    if (str_eq(json_text_of(v->spec, "desired"), "running")) {
        if (v->dom) {
            plan_present(v);
        } else {
            _cleanup_free_ char *key = vm_order(v->c, v->name);
            smap_put(starts, key, is_clear ? v->c : NULL);
        }
    } else if (is_clear) {
        plan_stopped_wanted(v);
    }
}

static struct vm vm_of(struct core *c, const char *name)
{
    return (struct vm){
        .c = c,
        .name = name,
        .spec = vm_spec(c, name),
        .own = vm_own(c, name),
        .act = vm_act(c, name),
        .dom = vm_domain(c, name),
    };
}

static bool is_step_in_flight(const struct vm *v)
{
    for (size_t i = 0; i < START_STEPS; i++) {
        _cleanup_free_ char *id = epoch_id(v, epoch_steps[i]);
        const struct attempt *a = act_find(v->c, id);
        if (a && a->in_flight) {
            return true;
        }
    }
    return false;
}

/* What waits, for a back-off, a brick that does not answer, a mount that hangs, or the right to run, keeps
 * nobody up. */
static bool is_being_started(const struct vm *v)
{
    _cleanup_free_ char *id = epoch_id(v, "clean");
    const struct attempt *clean = act_find(v->c, id);
    bool is_claimed = str_eq(json_text_of(v->act, "state"), "starting") &&
                      vm_epoch(v->act) == vm_epoch(v->own) &&
                      str_eq(json_text_of(v->act, "instance"), json_text_of(v->c->self, "instance"));
    bool is_waiting = ha_pool_is_on(v->c, json_text_of(v->spec, "pool")) &&
                      ((clean && clean->error.code) || !ha_run_right(v->c) ||
                       ha_node_is_flushing(node_get(v->c, v->c->host)));
    bool is_hanging = clean && clean->in_flight && core_is_past(v->c, clean->started_us + CLEAN_HANGS_US + 1);
    return !is_hanging && (is_step_in_flight(v) || (is_claimed && !is_waiting));
}

/* The most important first, and never so many at once that the first are slowed by the last. */
static void plan_starts(struct core *c, const struct smap *starts)
{
    size_t n = 0;
    for (size_t i = 0; i < starts->n; i++) {
        struct vm v = vm_of(c, VM_ORDER_NAME(starts->items[i].key));
        n += is_being_started(&v);
    }
    for (size_t i = 0; i < starts->n; i++) {
        struct vm v = vm_of(c, VM_ORDER_NAME(starts->items[i].key));
        if (!starts->items[i].value) {
            continue;
        }
        bool was = is_being_started(&v);
        v.may_start = was || n < STARTS_MAX;
        plan_running_wanted(&v);
        n += !was && is_being_started(&v);
    }
}

static bool is_there(const struct core *c, const char *name)
{
    return vm_spec(c, name) != NULL;
}

/* What a removed machine left on this host. Names and uuids of all that are not removed yet. Not soon
 * after the agent's start: there is no hurry, and what it knows shall have settled. */
static void plan_files(struct core *c)
{
    c->files_at_us = c->files_at_us ? c->files_at_us : c->now_us + SWEEP_FILES_US;
    if (c->store_is_lost || !core_is_past(c, c->files_at_us) || !node_has_vms(node_get(c, c->host))) {
        return;
    }
    c->files_at_us = core_time_us(c) + SWEEP_FILES_US;
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
    act_forget_names(c, &c->attempts, "vm/", is_there); /* what is remembered of machines that are no more */
    act_forget_names(c, &c->seen, "gone/", is_there);
    act_forget_names(c, &c->seen, "suspended/", is_there);
    act_forget_names(c, &c->noted, "wait/", is_there);
    plan_files(c);
    _cleanup_(smap_done) struct smap starts = {0};
    char *name = NULL;
    json_t *undone = json_object();
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        struct vm v = vm_of(c, name);
        plan_vm(&v, &starts, undone);
        free(name);
    }
    publish_undone(c, undone);
    plan_starts(c, &starts);
}
