/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/place/place.h"

#define HOST_RESERVE_BYTES (256 * MIB) /* for the host's own daemons */

static void add_to(json_t *sums, const char *host, uint64_t bytes)
{
    if (host && bytes) {
        json_object_set_new(sums, host, json_integer((json_int_t)(json_u64_of(sums, host, 0) + bytes)));
    }
}

/* @due: by host, what machines will take beyond what they take now; @held: all that they may take. */
static void add_promises(const struct core *c, const char *vm, json_t *due, json_t *held)
{
    const json_t *spec = vm_spec(c, vm);
    const json_t *own = vm_own(c, vm);
    const json_t *act = vm_act(c, vm);
    const json_t *mig = json_object_get(own, "mig");
    const char *owner = json_text_of(own, "owner");
    const char *state = json_text_of(act, "state");
    uint64_t now_bytes = json_u64_of(spec, "memory_bytes", 0);
    bool is_running = str_eq(state, "running");
    if (vm_mig_is_active(own)) {
        add_to(due, json_text_of(mig, "dst"), now_bytes);
        add_to(held, json_text_of(mig, "dst"), now_bytes);
    }
    if (str_eq(json_text_of(spec, "desired"), "running") && !vm_is_given_up(c, vm)) {
        add_to(due, owner, is_running ? 0 : vm_next_u64(spec, "memory_bytes"));
        add_to(held, owner, is_running ? now_bytes : vm_next_u64(spec, "memory_bytes"));
    } else if (state && !str_eq(state, "stopped")) {
        add_to(held, owner, now_bytes);
    }
}

static uint64_t less(uint64_t bytes, uint64_t taken)
{
    return bytes > taken ? bytes - taken : 0;
}

/* Return: NULL when @host may take machines at all, else what is in the way (in @buf) */
static const char *host_obstacle(const struct core *c, const char *host, const json_t *node, char *buf,
                                 size_t size)
{
    const json_t *facts = node_seen(c, host, "host");
    const json_t *guests = json_object_get(facts, "guests");
    const char *cpu = json_text_of(guests, "cpu");
    const json_t *cluster = world_get(&c->world, KEY_ROOT, "cluster");
    if (!node_has_vms(node)) {
        return "does not run virtual machines";
    }
    if (!node_is_online(node)) {
        (void)snprintf(buf, size, "is %s", json_text_of(node, "state"));
        return buf;
    }
    if (node_is_silent(c, host)) {
        return node_silence(c, host, buf, size);
    }
    if (json_bool_of(node_seen_now(c, host, "libvirt"), "mute", false)) {
        return "has a libvirtd that does not answer";
    }
    if (node_some_uplink(c) && !node_uplink(c, host)) {
        return "has no uplink, while others have";
    }
    if (facts && !json_bool_of(facts, "kvm", false) && !json_bool_of(cluster, "emulation", false)) {
        return "has no KVM";
    }
    if (cpu && !json_has_text(json_object_get(guests, "cpus"), cpu)) {
        (void)snprintf(buf, size, "cannot give a guest the CPU model %s", cpu);
        return buf;
    }
    return NULL;
}

json_t *place_rooms(const struct core *c, const char *but)
{
    _cleanup_json_ json_t *due = json_object();
    _cleanup_json_ json_t *held = json_object();
    json_t *rooms = json_object();
    char buf[160];
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        if (!str_eq(name, but)) {
            add_promises(c, name, due, held);
        }
        free(name);
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const json_t *facts = node_seen(c, it.name, "host");
        uint64_t left = less(json_u64_of(facts, "memory_free_bytes", 0),
                             json_u64_of(due, it.name, 0) + HOST_RESERVE_BYTES);
        uint64_t most = less(json_u64_of(facts, "memory_bytes", UINT64_MAX),
                             json_u64_of(held, it.name, 0) + HOST_RESERVE_BYTES);
        if (!host_obstacle(c, it.name, it.value, buf, sizeof(buf))) {
            json_object_set_new(rooms, it.name, json_integer((json_int_t)(left < most ? left : most)));
        }
    }
    return rooms;
}

/* "7.2.22" → 7002: what QEMU promises is about these; the third number is Debian's fixes. */
static unsigned qemu_release(const json_t *facts)
{
    unsigned major = 0;
    unsigned minor = 0;
    const char *text = json_text_of(facts, "qemu");
    return text && sscanf(text, "%u.%u", &major, &minor) == 2 ? major * 1000 + minor : 0;
}

/* By what libvirt says on both hosts. Guests have a named CPU model, not that of their host: hosts with
 * different processors can exchange them as long as both offer the model. KVM does not hide the vendor. */
static const char *guests_misfit(const json_t *from, const json_t *to, char *buf, size_t size)
{
    const json_t *here = json_object_get(from, "guests");
    const json_t *there = json_object_get(to, "guests");
    const char *cpu = json_text_of(here, "cpu");
    const char *machine = json_text_of(here, "machine");
    if (!json_has_text(json_object_get(there, "cpus"), cpu)) {
        (void)snprintf(buf, size, "cannot give a guest the CPU model %s", cpu);
        return buf;
    }
    if (!json_has_text(json_object_get(there, "machines"), machine)) {
        (void)snprintf(buf, size, "does not know the machine type %s", machine);
        return buf;
    }
    if (json_bool_of(from, "kvm", false) && !str_eq(json_text_of(from, "virt"), json_text_of(to, "virt"))) {
        return "has processors of another vendor";
    }
    if (qemu_release(to) < qemu_release(from)) {
        (void)snprintf(buf, size, "has an older QEMU: %s", json_text_of(to, "qemu"));
        return buf;
    }
    return NULL;
}

/* Return: NULL when a guest that runs with @from can go on with @to, else what is in the way */
static const char *move_misfit(const json_t *from, const json_t *to, char *buf, size_t size)
{
    bool has_kvm = json_bool_of(from, "kvm", false);
    if (has_kvm != json_bool_of(to, "kvm", false)) {
        return has_kvm ? "has no KVM, with which the virtual machine runs"
                       : "has KVM, and the virtual machine is emulated";
    }
    if (json_object_get(from, "guests") && json_object_get(to, "guests")) {
        return guests_misfit(from, to, buf, size);
    }
    /* libvirt was not asked yet: only what is alike is safe. */
    if (!json_equal(json_object_get(from, "cpu_model"), json_object_get(to, "cpu_model"))) {
        return "has another CPU model";
    }
    return json_equal(json_object_get(from, "qemu"), json_object_get(to, "qemu"))
               ? NULL
               : "has another QEMU version, so machine types may differ";
}

/* Return: NULL when the host fits, else what is in the way (in @buf) */
static const char *obstacle(const struct core *c, const struct place_need *n, const char *host,
                            const json_t *node, uint64_t left, char *buf, size_t size)
{
    char need[24];
    char have[24];
    const json_t *facts = node_seen(c, host, "host");
    const char *why = json_object_get(n->rooms, host) ? NULL : host_obstacle(c, host, node, buf, size);
    if (why) {
        return why;
    }
    if (n->exclude && str_eq(n->exclude, host)) {
        return "runs it already";
    }
    if (!pool_is_usable_on(c, n->pool, host)) {
        (void)snprintf(buf, size, "cannot use pool %s now", n->pool);
        return buf;
    }
    if (left < n->memory_bytes) {
        (void)snprintf(buf, size, "has %s of memory left, %s needed",
                       units_format_size(left, have, sizeof(have)),
                       units_format_size(n->memory_bytes, need, sizeof(need)));
        return buf;
    }
    if (json_u64_of(facts, "cpus", 0) < n->cpus) {
        return "has fewer CPUs than the virtual machine";
    }
    const json_t *like = n->cpu_as ? node_seen(c, n->cpu_as, "host") : NULL;
    return like ? move_misfit(like, facts, buf, size) : NULL;
}

static int choose(const struct core *c, const struct place_need *n, const char **ret_host, uint64_t *ret_left,
                  struct err *e)
{
    _cleanup_sbuf_ struct sbuf reasons = {0};
    const char *best = NULL;
    uint64_t best_left = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        char buf[160];
        uint64_t left = json_u64_of(n->rooms, it.name, 0);
        if ((n->only && !str_eq(n->only, it.name)) || (best && left <= best_left)) {
            continue; /* reasons are asked for only when there is none */
        }
        const char *why = obstacle(c, n, it.name, it.value, left, buf, sizeof(buf));
        if (why) {
            sbuf_printf(&reasons, "%s%s %s", reasons.len ? "; " : "", it.name, why);
        } else {
            best = it.name;
            best_left = left;
        }
    }
    if (!best) {
        return ERR_SET(e, NO_ROOM, "no host can take vm '%s': %s", n->vm,
                       reasons.len ? reasons.data : "there is no such host");
    }
    *ret_host = best;
    *ret_left = best_left;
    return 0;
}

int place_vm(const struct core *c, const struct place_need *need, const char **ret_host, char *ret_why,
             size_t why_size, struct err *e)
{
    _cleanup_json_ json_t *own_rooms = need->rooms ? NULL : place_rooms(c, need->vm);
    struct place_need n = *need;
    uint64_t left = 0;
    char have[24];
    n.rooms = need->rooms ? need->rooms : own_rooms;
    int r = choose(c, &n, ret_host, &left, e);
    if (r == 0) {
        (void)snprintf(ret_why, why_size, "%s: %s of memory free%s", *ret_host,
                       units_format_size(left, have, sizeof(have)),
                       n.only ? ", as asked" : ", the most of all that fit");
    }
    return r;
}

int place_move(const struct core *c, const char *vm, const char *to, const char **ret_host,
               char *ret_why, size_t why_size, struct err *e)
{
    const json_t *spec = vm_spec(c, vm);
    const char *owner = json_text_of(vm_own(c, vm), "owner");
    const struct place_need need = {
        .vm = vm,
        .pool = json_text_of(spec, "pool"),
        .memory_bytes = json_u64_of(spec, "memory_bytes", 0),
        .cpus = json_u64_of(spec, "cpus", 1),
        .exclude = owner,
        .only = to,
        .cpu_as = owner,
    };
    int r = place_vm(c, &need, ret_host, ret_why, why_size, e);
    if (r < 0 && to) {
        err_hint(e, "leave --to out to have a host chosen, or see 'mortar host show %s'", to);
    }
    return r;
}
