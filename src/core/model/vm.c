/* SPDX-License-Identifier: Apache-2.0 */
#include "core/model/vm.h"

#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/restore.h"

static const json_t *part(const struct core *c, const char *name, const char *which)
{
    const struct record *r = world_part(&c->world, KEY_VM, name, which);
    return r ? r->value : NULL;
}

const json_t *vm_spec(const struct core *c, const char *name)
{
    return part(c, name, "spec");
}

const json_t *vm_own(const struct core *c, const char *name)
{
    return part(c, name, "own");
}

const json_t *vm_act(const struct core *c, const char *name)
{
    return part(c, name, "act");
}

json_t *vm_next_spec(const json_t *spec)
{
    json_t *next = json_deep_copy(spec);
    json_object_update(next, json_object_get(spec, "next"));
    json_object_del(next, "next");
    return next;
}

json_t *vm_changed_spec(const json_t *spec, const json_t *set, bool is_running)
{
    static const char *const fields[] = {"cpus", "memory_bytes"};
    static const char *const rules[] = {"ha", "priority"}; /* not of the guest: they hold at once */
    json_t *changed = is_running ? json_deep_copy(spec) : vm_next_spec(spec);
    json_t *into = changed;
    for (size_t i = 0; i < ELEMENTS(rules); i++) {
        if (json_text_of(set, rules[i])) {
            json_object_set(changed, rules[i], json_object_get(set, rules[i]));
        }
    }
    if (is_running) {
        json_t *next = json_object_get(changed, "next");
        into = next ? json_incref(next) : json_object();
        json_object_set_new(changed, "next", into);
    }
    for (size_t i = 0; i < ELEMENTS(fields); i++) {
        json_t *value = json_object_get(set, fields[i]);
        if (value) {
            json_object_set(into, fields[i], value);
        }
        if (is_running && json_equal(json_object_get(into, fields[i]), json_object_get(spec, fields[i]))) {
            json_object_del(into, fields[i]); /* back to what it has */
        }
    }
    if (is_running && json_object_size(into) == 0) {
        json_object_del(changed, "next");
    }
    return changed;
}

uint64_t vm_next_u64(const json_t *spec, const char *field)
{
    return json_u64_of(json_object_get(spec, "next"), field, json_u64_of(spec, field, 0));
}

char *vm_next(const struct core *c, struct world_iter *it)
{
    while (world_next(&c->world, KEY_VM, it)) {
        if (str_ends(it->name, "/spec")) {
            return str_printf("%.*s", (int)(strlen(it->name) - strlen("/spec")), it->name);
        }
    }
    return NULL;
}

char *vm_order(const struct core *c, const char *name)
{
    return str_printf("%u/%s", priority_of(vm_spec(c, name)), name);
}

uint64_t vm_epoch(const json_t *record)
{
    return json_u64_of(record, "epoch", 0);
}

uint64_t vm_next_epoch(const struct core *c, const json_t *own)
{
    uint64_t taken = vm_epoch(json_object_get(own, "mig"));
    uint64_t epoch = vm_epoch(own);
    uint64_t first = epoch_of(restore_gen(c), 1);
    uint64_t next = (taken > epoch ? taken : epoch) + 1;
    return next > first ? next : first;
}

bool vm_is_of_former_store(const struct core *c, const json_t *own)
{
    return epoch_restore_gen(vm_epoch(own)) < restore_gen(c);
}

bool vm_mig_is_active(const json_t *own)
{
    return str_eq(json_text_of(json_object_get(own, "mig"), "phase"), "active");
}

#define SWITCH_OVER_MAX_US (2 * USEC_PER_SEC)
#define WARM_UP_US (250 * USEC_PER_MSEC) /* a guest that was resumed faults its memory in, or is translated anew */

static bool stands_still(const struct core *c, const char *name)
{
    _cleanup_free_ char *act_key = str_printf(KEY_VM "%s/act", name);
    const struct record *act = world_record(&c->world, act_key);
    bool is_cold = act && !core_is_past(c, act->changed_us + WARM_UP_US);
    const json_t *own = vm_own(c, name);
    bool is_done = str_eq(json_text_of(json_object_get(own, "mig"), "phase"), "done");
    bool runs = str_eq(json_text_of(vm_act(c, name), "state"), "running") &&
                vm_epoch(vm_act(c, name)) == vm_epoch(own);
    return vm_mig_is_active(own) || (is_done && (!runs || is_cold));
}

/* Of an entry of c->seen below "suspended/". Borrowed: its machine when that stands still, or NULL */
static const char *name_if_still(const struct core *c, const struct smap_item *seen)
{
    const char *name = seen->key + strlen("suspended/");
    uint64_t at_us = json_u64_of(seen->value, "at_us", 0);
    return !core_is_past(c, at_us + SWITCH_OVER_MAX_US) && stands_still(c, name) ? name : NULL;
}

bool vm_is_switching_over(const struct core *c)
{
    for (size_t i = smap_lower(&c->seen, "suspended/");
         i < c->seen.n && str_starts(c->seen.items[i].key, "suspended/"); i++) {
        if (name_if_still(c, &c->seen.items[i])) {
            return true;
        }
    }
    return false;
}

bool vm_is_leaving(const struct core *c, const char *name)
{
    _cleanup_free_ char *what = str_printf("suspended/%s", name);
    const json_t *seen = smap_get(&c->seen, what);
    const char *phase = json_text_of(json_object_get(vm_own(c, name), "mig"), "phase");
    return str_eq(json_text_of(seen, "reason"), "migrated") && str_eq(phase, "done") &&
           !core_is_past(c, json_u64_of(seen, "at_us", 0) + SWITCH_OVER_MAX_US);
}

/* The source needs no list: its QEMU's end is watched. The target does until it knows the copy. */
static bool is_all_known(const struct core *c, const char *name, const char *reason)
{
    const json_t *own = vm_own(c, name);
    uint64_t taken = vm_epoch(json_object_get(own, "mig"));
    uint64_t epoch = taken > vm_epoch(own) ? taken : vm_epoch(own);
    _cleanup_free_ char *resume = str_printf("vm/%s/resume", name);
    const struct attempt *a = act_find(c, resume);
    return str_eq(reason, "migrated") || (vm_epoch(vm_domain(c, name)) == epoch && !(a && a->error.code));
}

bool vm_list_may_wait(const struct core *c)
{
    bool may_wait = false;
    for (size_t i = smap_lower(&c->seen, "suspended/");
         i < c->seen.n && str_starts(c->seen.items[i].key, "suspended/"); i++) {
        const char *name = name_if_still(c, &c->seen.items[i]);
        if (name && !is_all_known(c, name, json_text_of(c->seen.items[i].value, "reason"))) {
            return false;
        }
        may_wait = may_wait || name;
    }
    return may_wait;
}

uint64_t vm_crashes(const json_t *act)
{
    return json_u64_of(json_object_get(act, "crashes"), "count", 0);
}

bool vm_has_failed_too_often(const json_t *act)
{
    return json_u64_of(act, "fails", 0) >= VM_START_FAILS_MAX || vm_crashes(act) >= VM_CRASHES_MAX;
}

bool vm_is_given_up(const struct core *c, const char *name)
{
    const json_t *act = vm_act(c, name);
    return str_eq(json_text_of(vm_spec(c, name), "desired"), "running") &&
           vm_has_failed_too_often(act) &&
           vm_epoch(act) != vm_epoch(vm_own(c, name));
}

const json_t *vm_domain(const struct core *c, const char *name)
{
    const json_t *domains = smap_get(&c->seen, "domains");
    const json_t *dom = json_object_get(domains, name);
    const char *uuid = json_text_of(dom, "uuid");
    return uuid && !str_eq(uuid, json_text_of(vm_spec(c, name), "uuid")) ? NULL : dom; /* of another one that had its name */
}

static void put(struct core *c, struct commit *t, const char *name, const char *which, json_t *value)
{
    _cleanup_free_ char *key = str_printf("%s/%s", name, which);
    commit_put(c, t, KEY_VM, key, value);
}

void vm_put_spec(struct core *c, struct commit *t, const char *name, json_t *value)
{
    put(c, t, name, "spec", value);
}

void vm_put_own(struct core *c, struct commit *t, const char *name, json_t *value)
{
    put(c, t, name, "own", value);
}

void vm_put_act(struct core *c, struct commit *t, const char *name, json_t *value)
{
    put(c, t, name, "act", value);
}

json_t *vm_new_own(const struct core *c, const char *host, uint64_t epoch)
{
    return json_pack("{s:s,s:I,s:I,s:n}", "owner", host, "inc",
                     (json_int_t)json_u64_of(node_get(c, host), "inc", 0), "epoch",
                     (json_int_t)epoch, "mig");
}

json_t *vm_new_act(const struct core *c, const char *state, uint64_t epoch)
{
    return json_pack("{s:s,s:s,s:I,s:I}", "state", state, "host", c->host, "epoch",
                     (json_int_t)epoch, "since_ms", (json_int_t)(c->wall_us / USEC_PER_MSEC));
}

/* Its host was cut off, or booted again and has not started it yet. */
static bool has_lost_host(const struct core *c, const json_t *own)
{
    const json_t *node = node_get(c, json_text_of(own, "owner"));
    return node_is_out(node) || json_u64_of(own, "inc", 0) < json_u64_of(node, "inc", 0);
}

/* Of one that has run, or whose copy waits to be resumed, and that shall run: under another epoch it was taken
 * over, or moved by an agent of before VM_RESUMING. */
static const char *running_state(const struct core *c, const json_t *own, const json_t *act)
{
    const char *phase = json_text_of(json_object_get(own, "mig"), "phase");
    if (has_lost_host(c, own)) {
        return "lost";
    }
    if (vm_epoch(act) == vm_epoch(own)) {
        return json_text_of(act, "state");
    }
    return str_eq(phase, "done") ? VM_RESUMING : "starting";
}

const char *vm_state(const struct core *c, const char *name)
{
    const json_t *spec = vm_spec(c, name);
    const json_t *own = vm_own(c, name);
    const json_t *act = vm_act(c, name);
    const char *state = json_text_of(act, "state");
    bool wants_running = str_eq(json_text_of(spec, "desired"), "running");
    if (json_text_of(spec, "making")) {
        return json_text_of(spec, "making"); /* creating or removing */
    }
    if (vm_mig_is_active(own)) {
        return "migrating";
    }
    if (str_eq(state, "running") || str_eq(state, VM_RESUMING)) {
        return wants_running ? running_state(c, own, act) : "stopping";
    }
    if (vm_is_given_up(c, name)) {
        return "failed";
    }
    if (wants_running && (!state || str_eq(state, "stopped"))) {
        return "starting";
    }
    return state ? state : "stopped";
}

/* A fenced host's brick is cut off, and that of one that comes back is no good copy yet (A9): neither is
 * asked. One that does not answer is waited for. */
json_t *vm_clean_args(const struct core *c, const char *name)
{
    const json_t *spec = vm_spec(c, name);
    const json_t *pool = pool_get(c, json_text_of(spec, "pool"));
    json_t *bricks = json_array();
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        const json_t *node = node_get(c, json_text_of(brick, "host"));
        /* One that was ended has nothing that none of the others lists: a write follows its marks on a quorum of bricks, and
         * two of three have one in common. Its disk may hang, and who asks it would wait. Then it comes back: it counts. */
        const char *host = json_text_of(brick, "host");
        const char *name_of_pool = json_text_of(pool, "name");
        bool is_back = json_bool_of(pool_ended_brick(c, name_of_pool), "back", false) ||
                       pool_brick_is_online(c, name_of_pool, host);
        if (node_may_run_vms(node) && (is_back || !pool_brick_is_ended(c, name_of_pool, host))) {
            json_array_append_new(bricks, pool_brick_to_ask(c, brick, i));
        }
    }
    return json_pack("{s:s,s:O,s:O,s:o}", "name", name, "spec", spec, "volume",
                     json_object_get(spec, "pool"), "bricks", bricks);
}
