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

/* Memory that the VMs which this host owns and should run will take, beyond what they take now. */
static uint64_t promised_bytes(const struct core *c, const char *host)
{
    uint64_t sum = 0;
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        bool is_due = str_eq(json_text_of(vm_own(c, name), "owner"), host) &&
                      str_eq(json_text_of(vm_spec(c, name), "desired"), "running") &&
                      !str_eq(json_text_of(vm_act(c, name), "state"), "running");
        const json_t *mig = json_object_get(vm_own(c, name), "mig");
        bool is_coming = vm_mig_is_active(vm_own(c, name)) && str_eq(json_text_of(mig, "dst"), host);
        sum += is_coming ? json_u64_of(vm_spec(c, name), "memory_bytes", 0)
               : is_due  ? vm_next_u64(vm_spec(c, name), "memory_bytes")
                         : 0;
        free(name);
    }
    return sum;
}

static bool has_word(const json_t *list, const char *word)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        if (str_eq(json_string_value(v), word)) {
            return true;
        }
    }
    return false;
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
    if (!has_word(json_object_get(there, "cpus"), cpu)) {
        (void)snprintf(buf, size, "cannot give a guest the CPU model %s", cpu);
        return buf;
    }
    if (!has_word(json_object_get(there, "machines"), machine)) {
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
                            const json_t *node, uint64_t *ret_free, char *buf, size_t size)
{
    char need[24];
    char have[24];
    const json_t *facts = node_seen(c, host, "host");
    uint64_t avail = json_u64_of(facts, "memory_free_bytes", 0);
    uint64_t taken = promised_bytes(c, host) + HOST_RESERVE_BYTES;
    *ret_free = avail > taken ? avail - taken : 0;
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
    if (node_some_uplink(c) && !node_uplink(c, host)) {
        return "has no uplink, while others have";
    }
    if (n->exclude && str_eq(n->exclude, host)) {
        return "runs it already";
    }
    if (!pool_is_usable_on(c, n->pool, host)) {
        (void)snprintf(buf, size, "cannot use pool %s now", n->pool);
        return buf;
    }
    if (*ret_free < n->memory_bytes) {
        (void)snprintf(buf, size, "has %s of memory left, %s needed",
                       units_format_size(*ret_free, have, sizeof(have)),
                       units_format_size(n->memory_bytes, need, sizeof(need)));
        return buf;
    }
    if (json_u64_of(facts, "cpus", 0) < n->cpus) {
        return "has fewer CPUs than the virtual machine";
    }
    const json_t *like = n->cpu_as ? node_seen(c, n->cpu_as, "host") : NULL;
    return like ? move_misfit(like, facts, buf, size) : NULL;
}

int place_vm(const struct core *c, const struct place_need *n, const char **ret_host, char *ret_why,
             size_t why_size, struct err *e)
{
    _cleanup_sbuf_ struct sbuf reasons = {0};
    const char *best = NULL;
    uint64_t best_free = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        char buf[160];
        uint64_t free_bytes = 0;
        if (n->only && !str_eq(n->only, it.name)) {
            continue;
        }
        const char *why = obstacle(c, n, it.name, it.value, &free_bytes, buf, sizeof(buf));
        if (why) {
            sbuf_printf(&reasons, "%s%s %s", reasons.len ? "; " : "", it.name, why);
        } else if (!best || free_bytes > best_free) {
            best = it.name;
            best_free = free_bytes;
        }
    }
    if (!best) {
        return ERR_SET(e, NO_ROOM, "no host can take vm '%s': %s", n->vm,
                       reasons.len ? reasons.data : "there is no such host");
    }
    char have[24];
    (void)snprintf(ret_why, why_size, "%s: %s of memory free%s", best,
                   units_format_size(best_free, have, sizeof(have)),
                   n->only ? ", as asked" : ", the most of all that fit");
    *ret_host = best;
    return 0;
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
