/* SPDX-License-Identifier: Apache-2.0
 * What users ask of virtual machines. */
#include "base/limits.h"
#include "base/str.h"
#include "base/units.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/op.h"
#include "core/place/place.h"
#include "core/request_parts.h"

static int check_range(struct req *q, const char *field, uint64_t min, uint64_t max, const char *what)
{
    uint64_t v = json_u64_of(q->args, field, 0);
    char lo[24];
    char hi[24];
    if (v >= min && v <= max) {
        return 0;
    }
    if (max <= 1024) {
        return ERR_SET(q->e, INVALID, "%s must be %llu to %llu", what, (unsigned long long)min,
                       (unsigned long long)max);
    }
    return ERR_SET(q->e, INVALID, "%s must be %s to %s", what,
                   units_format_size(min, lo, sizeof(lo)), units_format_size(max, hi, sizeof(hi)));
}

static int check_rules(struct req *q)
{
    const char *ha = json_text_of(q->args, "ha");
    const char *priority = json_text_of(q->args, "priority");
    if (ha && !policy_is_known(ha)) {
        return ERR_SET(q->e, INVALID, "'%.40s' is no policy; there are restart, stay and none", ha);
    }
    if (priority && !priority_is_known(priority)) {
        return ERR_SET(q->e, INVALID, "'%.40s' is no priority; there are high, normal and low", priority);
    }
    return 0;
}

static int check_new_vm(struct req *q, const char *name, const char **ret_pool)
{
    const char *image = json_text_of(q->args, "image");
    int r = check_range(q, "cpus", 1, LIMIT_VM_CPUS, "the number of CPUs");
    r = r < 0 ? r : check_range(q, "memory_bytes", LIMIT_VM_MEMORY_MIN_BYTES, LIMIT_VM_MEMORY_MAX_BYTES, "the memory");
    r = r < 0 ? r : check_rules(q);
    r = r < 0 ? r : req_need_pool(q, ret_pool);
    if (r < 0) {
        return r;
    }
    if (vm_spec(q->c, name)) {
        return ERR_SET(q->e, EXISTS, "there is a vm '%s' already", name);
    }
    if (json_object_get(q->args, "disk_bytes") || !image) {
        r = check_range(q, "disk_bytes", LIMIT_VM_DISK_MIN_BYTES, LIMIT_VM_DISK_MAX_BYTES, "the disk's size");
    }
    if (r < 0 || !image) {
        return r;
    }
    const json_t *record = world_get(&q->c->world, KEY_IMAGE, image);
    if (!record) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no image '%.64s'", image);
        err_hint(q->e, "see 'mortar image ls'");
        return -ERR_NOT_FOUND;
    }
    if (!str_eq(json_text_of(record, "state"), "ready")) {
        return ERR_SET(q->e, STATE, "image '%s' is %s", image, json_text_of(record, "state"));
    }
    uint64_t least = json_u64_of(record, "virtual_bytes", 0);
    uint64_t asked = json_u64_of(q->args, "disk_bytes", least);
    char need[24];
    if (asked < least) {
        return ERR_SET(q->e, INVALID, "the disk must be at least %s, as large as the image",
                       units_format_size(least, need, sizeof(need)));
    }
    return 0;
}

static int check_networks(struct req *q, json_t **ret)
{
    json_t *given = json_object_get(q->args, "networks");
    size_t i;
    json_t *net;
    if (!json_array_size(given)) {
        *ret = json_pack("[s]", "default");
        return 0;
    }
    json_array_foreach(given, i, net) {
        const char *name = json_string_value(net);
        if (!name || !world_get(&q->c->world, KEY_NETWORK, name)) {
            (void)ERR_SET(q->e, NOT_FOUND, "there is no network '%.64s'", name ? name : "");
            err_hint(q->e, "see 'mortar network ls'");
            return -ERR_NOT_FOUND;
        }
    }
    *ret = json_incref(given);
    return 0;
}

/* A task that goes to a chosen host keeps what placement said. Takes @task. */
static void put_placed(struct req *q, struct commit *t, json_t *task, const char *why)
{
    json_object_set_new(json_object_get(task, "data"), "why", json_string(why));
    commit_put(q->c, t, KEY_TASK, q->id, task);
}

int req_vm_create(struct req *q)
{
    static const char *const copied[] = {"image",   "cpus",     "memory_bytes", "disk_bytes",
                                         "pool",    "ssh_keys", "cloud_init",   "kernel",
                                         "initrd",  "cmdline",  "demo_channel", "ha",
                                         "priority"};
    const char *name = NULL;
    const char *pool = NULL;
    const char *host = NULL;
    json_t *networks = NULL;
    char why[128];
    int r = req_need_name(q, &name);
    r = r < 0 ? r : check_new_vm(q, name, &pool);
    r = r < 0 ? r : check_networks(q, &networks);
    if (r < 0) {
        return r;
    }
    json_t *spec = json_pack("{s:s,s:s,s:s,s:s,s:I,s:o}", "name", name, "uuid", q->id, "desired",
                             "stopped", "making", "creating", "created_ms",
                             (json_int_t)(q->c->wall_us / USEC_PER_MSEC), "networks", networks);
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        json_t *v = json_object_get(q->args, copied[i]);
        if (v && !json_is_null(v)) {
            json_object_set(spec, copied[i], v);
        }
    }
    /* Kernel, initrd and seed files are read here, so the disks are made here, if this can be. */
    bool is_local = json_text_of(q->args, "kernel") || json_text_of(q->args, "initrd");
    struct place_need need = {
        .vm = name,
        .pool = pool,
        .memory_bytes = json_u64_of(spec, "memory_bytes", 0),
        .cpus = json_u64_of(spec, "cpus", 1),
        .only = json_text_of(q->args, "host"),
    };
    r = req_need_quorum(q, pool);
    r = r < 0 || !is_local ? r : req_need_mount(q, pool);
    r = r < 0 ? r : place_vm(q->c, &need, &host, why, sizeof(why), q->e);
    if (r < 0) {
        json_decref(spec);
        return r;
    }
    _cleanup_json_ json_t *args = json_pack("{s:s,s:s,s:b}", "name", name, "host", host, "start",
                                            json_bool_of(q->args, "start", true));
    struct commit t = commit_new();
    vm_put_spec(q->c, &t, name, spec);
    vm_put_own(q->c, &t, name, vm_new_own(q->c, host, 0));
    commit_guard(q->c, &t, KEY_POOL, pool);
    commit_use(&t, "pool", pool);
    if (json_text_of(spec, "image")) {
        commit_guard(q->c, &t, KEY_IMAGE, json_text_of(spec, "image"));
        commit_use(&t, "image", json_text_of(spec, "image"));
    }
    put_placed(q, &t, op_new_task(q->c, q->id, "vm.create", name, is_local ? q->c->host : host, args), why);
    return req_finish(q, &t);
}

static int need_known_vm(struct req *q, const char **ret_name)
{
    int r = req_need_name(q, ret_name);
    if (r < 0) {
        return r;
    }
    if (!vm_spec(q->c, *ret_name)) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no vm '%s'", *ret_name);
        err_hint(q->e, "see 'mortar vm ls'");
        return -ERR_NOT_FOUND;
    }
    if (!json_text_of(vm_own(q->c, *ret_name), "owner")) { /* heard of in part, until the next list */
        return ERR_SET(q->e, UNAVAILABLE, "the records of vm '%s' are not all here yet", *ret_name);
    }
    return 0;
}

static int need_vm(struct req *q, const char **ret_name)
{
    int r = need_known_vm(q, ret_name);
    if (r < 0) {
        return r;
    }
    if (op_is_running(q->c, "vm.", *ret_name)) {
        (void)ERR_SET(q->e, BUSY, "vm '%s' is being worked on", *ret_name);
        err_hint(q->e, "see 'mortar task ls'");
        return -ERR_BUSY;
    }
    return 0;
}

static bool is_running(const struct core *c, const char *name)
{
    const char *state = json_text_of(vm_act(c, name), "state");
    return state && !str_eq(state, "stopped");
}

int req_vm_start(struct req *q)
{
    const char *name = NULL;
    const char *host = NULL;
    char why[128] = "it runs there already";
    int r = need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    const json_t *spec = vm_spec(q->c, name);
    struct place_need need = {
        .vm = name,
        .pool = json_text_of(spec, "pool"),
        .memory_bytes = vm_next_u64(spec, "memory_bytes"),
        .cpus = vm_next_u64(spec, "cpus"),
        .only = json_text_of(q->args, "host"),
    };
    if (is_running(q->c, name)) {
        host = json_text_of(vm_own(q->c, name), "owner"); /* already there: the task ends at once */
    } else {
        r = req_need_quorum(q, need.pool);
        r = r < 0 ? r : place_vm(q->c, &need, &host, why, sizeof(why), q->e);
    }
    if (r < 0) {
        return r;
    }
    _cleanup_json_ json_t *args = json_pack("{s:s,s:s}", "name", name, "host", host);
    struct commit t = commit_new();
    put_placed(q, &t, op_new_task(q->c, q->id, "vm.start", name, host, args), why);
    return req_finish(q, &t);
}

/* For what the owner does. A polite stop that waits may be overtaken by a forced one. */
static int on_owner(struct req *q, const char *kind, bool needs_running)
{
    const char *name = NULL;
    bool is_overtaking = str_eq(kind, "vm.stop") && json_bool_of(q->args, "force", false);
    int r = is_overtaking ? need_known_vm(q, &name) : need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    if (needs_running && !is_running(q->c, name)) {
        return ERR_SET(q->e, STATE, "vm '%s' is not running", name);
    }
    struct commit t = commit_new();
    const char *owner = json_text_of(vm_own(q->c, name), "owner");
    req_put_task(q, &t, kind, name, node_get(q->c, owner) ? owner : q->c->host); /* it may have left */
    return req_finish(q, &t);
}

int req_vm_stop(struct req *q)
{
    return on_owner(q, "vm.stop", false);
}

int req_vm_reset(struct req *q)
{
    return on_owner(q, "vm.reset", true);
}

int req_vm_migrate(struct req *q)
{
    const char *name = NULL;
    int r = need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    const char *pool = json_text_of(vm_spec(q->c, name), "pool");
    const char *to = json_text_of(q->args, "to");
    if (pool_is_dir(pool_get(q->c, pool))) {
        return ERR_SET(q->e, STATE, "vm '%s' cannot move: its disk is in pool '%s', which is local "
                       "storage of one host", name, pool);
    }
    if (to && !node_get(q->c, to)) {
        (void)ERR_SET(q->e, NOT_FOUND, "there is no host '%.64s'", to);
        err_hint(q->e, "see 'mortar host ls'");
        return -ERR_NOT_FOUND;
    }
    if (!str_eq(vm_state(q->c, name), "running")) {
        return ERR_SET(q->e, STATE, "vm '%s' is %s; only a running one can move live", name,
                       vm_state(q->c, name));
    }
    if (to && str_eq(to, json_text_of(vm_own(q->c, name), "owner"))) {
        return ERR_SET(q->e, STATE, "vm '%s' runs on %s already", name, to);
    }
    const char *host = NULL;
    char why[128];
    r = req_need_quorum(q, pool);
    r = r < 0 ? r : place_move(q->c, name, to, &host, why, sizeof(why), q->e);
    return r < 0 ? r : on_owner(q, "vm.migrate", true);
}

int req_vm_remove(struct req *q)
{
    const char *name = NULL;
    int r = need_vm(q, &name);
    if (r < 0) {
        return r;
    }
    if (is_running(q->c, name) || str_eq(json_text_of(vm_spec(q->c, name), "desired"), "running")) {
        (void)ERR_SET(q->e, STATE, "vm '%s' is %s", name, vm_state(q->c, name));
        err_hint(q->e, "stop it first: mortar vm stop %s", name);
        return -ERR_STATE;
    }
    return on_owner(q, "vm.remove", false);
}

int req_vm_set(struct req *q)
{
    const char *name = NULL;
    int r = need_vm(q, &name);
    bool has_cpus = json_object_get(q->args, "cpus") != NULL;
    bool has_memory = json_object_get(q->args, "memory_bytes") != NULL;
    r = r < 0 || !has_cpus ? r : check_range(q, "cpus", 1, LIMIT_VM_CPUS, "the number of CPUs");
    r = r < 0 || !has_memory
            ? r
            : check_range(q, "memory_bytes", LIMIT_VM_MEMORY_MIN_BYTES, LIMIT_VM_MEMORY_MAX_BYTES, "the memory");
    r = r < 0 ? r : check_rules(q);
    if (r < 0) {
        return r;
    }
    if (!has_cpus && !has_memory && !json_text_of(q->args, "ha") && !json_text_of(q->args, "priority")) {
        return ERR_SET(q->e, USAGE, "nothing to set: give cpus, memory, ha or priority");
    }
    struct commit t = commit_new();
    vm_put_spec(q->c, &t, name, vm_changed_spec(vm_spec(q->c, name), q->args, is_running(q->c, name)));
    return req_finish(q, &t);
}
