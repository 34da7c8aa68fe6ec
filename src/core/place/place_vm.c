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
        is_due = is_due || (vm_mig_is_active(vm_own(c, name)) && str_eq(json_text_of(mig, "dst"), host));
        sum += is_due ? json_u64_of(vm_spec(c, name), "memory_bytes", 0) : 0;
        free(name);
    }
    return sum;
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
    if (like && (!json_equal(json_object_get(like, "cpu_model"), json_object_get(facts, "cpu_model")) ||
                 !json_equal(json_object_get(like, "kvm"), json_object_get(facts, "kvm")))) {
        return "has another CPU model or no KVM";
    }
    if (like && !json_equal(json_object_get(like, "qemu"), json_object_get(facts, "qemu"))) {
        return "has another QEMU version, so machine types may differ";
    }
    return NULL;
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
