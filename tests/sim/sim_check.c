/* SPDX-License-Identifier: Apache-2.0
 * Invariants of facts/ha.md 3.5 that are looked at when something is done, not after every event: what a
 * commit says is compared with the store as it was before, and with what is really there on the hosts.
 * docs/design/failover.md says which invariant is checked where. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/epoch.h"
#include "core/model/keys.h"
#include "sim_ha.h"
#include "sim_impl.h"

#define KILL_US (120 * USEC_PER_SEC) /* lists come each 20 s at the latest, and some of them are old */
#define LOOKED_US (3 * USEC_PER_SEC) /* an agent that was dead, hung or cut off for so long begins anew */

/* One change of a machine's ownership record. */
struct change {
    char vm[64];
    const json_t *old; /* NULL: it has just been made */
    const json_t *next;
    size_t by; /* host of the agent that commits it */
};

static const json_t *node_of(const struct sim *s, const char *host)
{
    char key[96];
    (void)snprintf(key, sizeof(key), KEY_NODE "%s", host);
    return sim_get(s, key);
}

static const json_t *vm_part(const struct sim *s, const char *vm, const char *part)
{
    char key[96];
    (void)snprintf(key, sizeof(key), KEY_VM "%s/%s", vm, part);
    return sim_get(s, key);
}

/* The name of a machine out of the key of one of its records. @ret: 64 bytes */
static void read_vm_name(const char *key, char ret[64])
{
    const char *name = key + strlen(KEY_VM);
    (void)snprintf(ret, 64, "%.*s", (int)strcspn(name, "/"), name);
}

/* What is there of @vm on @host, or NULL. */
static const struct sim_domain *domain_of(const struct sim *s, const char *vm, size_t host)
{
    size_t i = sim_vm_find(s, vm);
    const struct sim_domain *d = i < SIM_VMS_MAX && host < s->hosts_n ? &s->hosts[host].domains[i] : NULL;
    return d && d->exists ? d : NULL;
}

static bool is_out(const json_t *node)
{
    return str_starts(json_text_of(node, "state"), "fenc");
}

static uint64_t epoch_in(const json_t *record)
{
    return json_u64_of(record, "epoch", 0);
}

/* T7: a migration hands it to its target. */
static bool is_handed_over(const struct change *c)
{
    const json_t *was = json_object_get(c->old, "mig");
    const json_t *is = json_object_get(c->next, "mig");
    return str_eq(json_text_of(was, "phase"), "active") && str_eq(json_text_of(is, "phase"), "done") &&
           str_eq(json_text_of(was, "id"), json_text_of(is, "id"));
}

/* After a restore an owner is not taken over from, but found. What goes on is the newest instance that has ever executed,
 * and is there; for a new one nothing executes, but what its next owner ends first. */
static bool is_found_again(const struct sim *s, const struct change *c)
{
    uint64_t gen = json_u64_of(c->next, "restored", 0);
    return sim_store_is_open(s) && gen == json_u64_of(sim_get(s, KEY_RESTORE_GEN), "n", 0);
}

static void check_found(struct sim *s, const struct change *c)
{
    const char *owner = json_text_of(c->next, "owner");
    const struct sim_domain *d = domain_of(s, c->vm, sim_host_index(s, owner));
    const uint64_t *highest = smap_get(&s->highest, json_text_of(vm_part(s, c->vm, "spec"), "uuid"));
    bool goes_on = epoch_restore_gen(epoch_in(c->next)) < json_u64_of(c->next, "restored", 0);
    if (goes_on && highest && epoch_in(c->next) != *highest) {
        sim_violated(s, "I1: '%s' is to go on under epoch %llu on %s, and has executed under %llu", c->vm,
                     (unsigned long long)epoch_in(c->next), owner, (unsigned long long)*highest);
    } else if (!goes_on && sim_running(s, c->vm) > (d && d->is_running)) {
        sim_violated(s, "I2: '%s' is given to %s to begin anew, and executes", c->vm, owner);
    }
}

/* I1: every cold start and every owner has an epoch of its own, and epochs grow. */
static void check_epoch(struct sim *s, const struct change *c)
{
    uint64_t was = epoch_in(c->old);
    uint64_t is = epoch_in(c->next);
    bool is_other = !str_eq(json_text_of(c->old, "owner"), json_text_of(c->next, "owner")) ||
                    json_u64_of(c->old, "inc", 0) != json_u64_of(c->next, "inc", 0);
    if (is < was) {
        sim_violated(s, "I1: the epoch of '%s' falls from %llu to %llu", c->vm, (unsigned long long)was,
                     (unsigned long long)is);
    } else if (is_other && is == was) {
        sim_violated(s, "I1: '%s' goes from %s to %s under the same epoch %llu", c->vm, json_text_of(c->old, "owner"),
                     json_text_of(c->next, "owner"), (unsigned long long)is);
    }
}

/* I9: T7 is committed by the source, whose QEMU is gone, for the target that was claimed. */
static void check_handover(struct sim *s, const struct change *c)
{
    const char *owner = json_text_of(c->old, "owner");
    const json_t *mig = json_object_get(c->old, "mig");
    const struct sim_domain *d = domain_of(s, c->vm, sim_host_index(s, owner));
    if (!str_eq(s->hosts[c->by].name, owner)) {
        sim_violated(s, "I9: %s hands '%s' over, which %s owns", s->hosts[c->by].name, c->vm, owner);
    } else if (d && d->epoch <= epoch_in(c->old)) {
        sim_violated(s, "I9: '%s' is handed over to %s while its QEMU is on %s", c->vm, json_text_of(mig, "dst"), owner);
    } else if (!str_eq(json_text_of(c->next, "owner"), json_text_of(mig, "dst")) || epoch_in(c->next) != epoch_in(mig)) {
        sim_violated(s, "I9: '%s' is handed over to %s, and %s has its copy", c->vm, json_text_of(c->next, "owner"),
                     json_text_of(mig, "dst"));
    }
}

/* I9: what may run next is newer than a copy that a migration may have left: its target ends that, and never runs it. */
static void check_copy_is_closed(struct sim *s, const struct change *c)
{
    uint64_t copied = epoch_in(json_object_get(c->old, "mig"));
    if (epoch_in(c->next) > epoch_in(c->old) && epoch_in(c->next) <= copied) {
        sim_violated(s, "I9: '%s' gets epoch %llu, which a copy of it has", c->vm, (unsigned long long)epoch_in(c->next));
    }
}

/* The one who gave it away has said that it is stopped, and "stopped" is an end without requests on their way (A4). */
static void check_statement(struct sim *s, const struct change *c, size_t from)
{
    const struct sim_domain *d = domain_of(s, c->vm, from);
    /* What an earlier one had sent was drained when that one ended (T3, T10). */
    const json_t *node = node_of(s, json_text_of(c->old, "owner"));
    bool is_of_this_life = json_u64_of(c->old, "inc", 0) == json_u64_of(node, "inc", 0);
    if (d && d->epoch <= epoch_in(c->old)) {
        sim_violated(s, "I2: '%s' goes from %s to %s, and its QEMU is still there", c->vm,
                     json_text_of(c->old, "owner"), json_text_of(c->next, "owner"));
    } else if (is_of_this_life && !sim_ha_is_flushed(s, json_text_of(vm_part(s, c->vm, "spec"), "uuid"), epoch_in(c->old))) {
        sim_violated(s, "I2: '%s' goes from %s to %s, and its writes are on their way (A4)", c->vm,
                     json_text_of(c->old, "owner"), json_text_of(c->next, "owner"));
    }
}

/* I2: only from a host that is fenced, or by its own word. */
static void check_takeover(struct sim *s, const struct change *c)
{
    const char *owner = json_text_of(c->old, "owner");
    const json_t *node = node_of(s, owner);
    bool is_fenced = str_eq(json_text_of(node, "state"), "fenced") &&
                     json_u64_of(node, "inc", 0) >= json_u64_of(c->old, "inc", 0);
    if (is_fenced || str_eq(owner, json_text_of(c->next, "owner"))) {
        return;
    }
    if (!str_eq(json_text_of(vm_part(s, c->vm, "act"), "state"), "stopped")) {
        sim_violated(s, "I2: '%s' is taken from %s, which is %s", c->vm, owner, json_text_of(node, "state"));
    } else if (!is_out(node)) { /* else it was let down after a fence (policy none) */
        check_statement(s, c, sim_host_index(s, owner));
    }
}

/* --- I3 ------------------------------------------------------------------------------------ */

/* @ret: of each host, whether it has a brick of a pool with failover */
static void find_fencers(const struct sim *s, bool ret[SIM_HOSTS_MAX])
{
    for (size_t i = smap_lower(&s->store, KEY_POOL); i < s->store.n && str_starts(s->store.items[i].key, KEY_POOL); i++) {
        const json_t *pool = sim_get(s, s->store.items[i].key);
        size_t k;
        json_t *brick;
        json_array_foreach(str_eq(json_text_of(pool, "ha"), "on") ? json_object_get(pool, "bricks") : NULL, k, brick) {
            size_t host = sim_host_index(s, json_text_of(brick, "host"));
            ret[host < SIM_HOSTS_MAX ? host : 0] = true;
        }
    }
}

/* Of every brick host but those that are fenced themselves, and at least @least. */
static void check_acks(struct sim *s, const char *lost, uint64_t inc, size_t least)
{
    bool is_fencer[SIM_HOSTS_MAX] = {false};
    size_t acks = 0;
    find_fencers(s, is_fencer);
    for (size_t h = 0; h < s->hosts_n; h++) {
        const char *by = s->hosts[h].name;
        char key[128];
        (void)snprintf(key, sizeof(key), KEY_ACK "%s/%llu/%s", lost, (unsigned long long)inc, by);
        bool is_asked = is_fencer[h] && !str_eq(by, lost) && !str_eq(json_text_of(node_of(s, by), "state"), "fenced");
        if (is_asked && !sim_get(s, key)) {
            sim_violated(s, "I3: the end of %s in its life %llu is stated without %s", lost, (unsigned long long)inc, by);
        }
        acks += is_asked;
    }
    if (acks < least) {
        sim_violated(s, "I3: the end of %s in its life %llu is stated by %zu only", lost, (unsigned long long)inc, acks);
    }
}

/* --- I6 ------------------------------------------------------------------------------------ */

/* Its own: this host owns it under this epoch, or it is a copy for a migration to this host. */
static bool is_foreign(const struct sim *s, size_t host, const char *vm, const struct sim_domain *d)
{
    const char *name = s->hosts[host].name;
    const json_t *own = vm_part(s, vm, "own");
    const json_t *mig = json_object_get(own, "mig");
    bool is_copy = str_eq(json_text_of(mig, "phase"), "active") && str_eq(json_text_of(mig, "dst"), name) &&
                   epoch_in(mig) == d->epoch;
    bool is_own = str_eq(json_text_of(own, "owner"), name) && epoch_in(own) == d->epoch;
    return own && !is_own && !is_copy && !d->is_copying; /* libvirt is busy with one that is being copied */
}

static bool is_away(const json_t *node)
{
    return is_out(node) || str_eq(json_text_of(node, "state"), "rejoining");
}

bool sim_check_is_out(const struct sim *s, size_t host)
{
    return is_out(node_of(s, s->hosts[host].name));
}

void sim_check_guests(struct sim *s, size_t host)
{
    const json_t *node = NULL;
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        struct sim_domain *d = &s->hosts[host].domains[vm];
        if (!d->exists) {
            continue;
        }
        if (sim_store_is_open(s)) { /* nobody knows yet what is whose */
            d->foreign_us = 0;
            continue;
        }
        node = node ? node : node_of(s, s->hosts[host].name);
        if (!is_away(node) && !is_foreign(s, host, s->vms[vm], d)) {
            d->foreign_us = 0;
            continue;
        }
        bool is_new = !d->foreign_us || s->now_us - d->foreign_seen_us > LOOKED_US;
        d->foreign_us = is_new ? s->now_us : d->foreign_us;
        d->foreign_seen_us = s->now_us;
        if (s->now_us - d->foreign_us > KILL_US) {
            sim_violated(s, "I6: '%s' of epoch %llu is on %s, which is %s and does not kill it", s->vms[vm],
                         (unsigned long long)d->epoch, s->hosts[host].name, json_text_of(node, "state"));
        }
    }
}

bool sim_check_is_tidy(const struct sim *s)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        for (size_t vm = 0; vm < s->vms_n; vm++) {
            const struct sim_domain *d = &s->hosts[h].domains[vm];
            if (d->exists && is_foreign(s, h, s->vms[vm], d)) {
                return false;
            }
        }
    }
    return true;
}

/* T9 */
static void check_is_empty(struct sim *s, size_t host)
{
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        if (s->hosts[host].domains[vm].exists) {
            sim_violated(s, "I6: %s comes back with '%s' of before", s->hosts[host].name, s->vms[vm]);
        }
    }
}

/* --- I8 ------------------------------------------------------------------------------------ */

/* T9: what its brick had received before the fence would land when the copy counts again. */
static void check_return(struct sim *s, size_t host)
{
    if (s->ha && sim_brick_holds(s, host)) {
        sim_violated(s, "I8: %s comes back, and its brick still has requests of before", s->hosts[host].name);
    }
}

/* T3, and the same after a boot (T10). */
static void check_node(struct sim *s, const char *host, const json_t *next)
{
    const json_t *old = node_of(s, host);
    uint64_t inc = json_u64_of(old, "inc", 0);
    const char *was = json_text_of(old, "state");
    const char *is = json_text_of(next, "state");
    if (str_eq(is, "fenced") && !str_eq(was, "fenced")) {
        if (!str_eq(was, "fencing") || inc != json_u64_of(next, "inc", 0)) {
            sim_violated(s, "I3: %s is fenced, and was %s", host, was);
        }
        check_acks(s, host, inc, 2);
    } else if (json_bool_of(old, "flush", false) && inc == json_u64_of(next, "inc", 0) && !json_bool_of(next, "flush", false) && !str_eq(is, "fencing") &&
               sim_get(s, KEY_HA) && json_object_size(sim_get(s, KEY_HA))) {
        check_acks(s, host, inc - 1, 1);
    } else if (str_eq(is, "rejoining") && !str_eq(was, "rejoining")) {
        check_is_empty(s, sim_host_index(s, host));
        check_return(s, sim_host_index(s, host));
    }
}

static void check_own(struct sim *s, size_t by, const char *key, const json_t *next)
{
    struct change c = {.old = sim_get(s, key), .next = next, .by = by};
    read_vm_name(key, c.vm);
    if (is_found_again(s, &c)) {
        check_found(s, &c);
    } else if (c.old) {
        check_epoch(s, &c);
        if (is_handed_over(&c)) {
            check_handover(s, &c);
        } else {
            check_copy_is_closed(s, &c);
            check_takeover(s, &c);
        }
    }
}

/* I1: the right to start is given once for each epoch, to its owner. */
static void check_claim(struct sim *s, const char *key, const json_t *next)
{
    char vm[64];
    read_vm_name(key, vm);
    const json_t *old = sim_get(s, key);
    const json_t *own = vm_part(s, vm, "own");
    if (!str_eq(json_text_of(next, "state"), "starting")) {
        return;
    }
    if (epoch_in(own) != epoch_in(next) || !str_eq(json_text_of(own, "owner"), json_text_of(next, "host"))) {
        sim_violated(s, "I1: %s claims '%s' under epoch %llu, which is not its own", json_text_of(next, "host"), vm,
                     (unsigned long long)epoch_in(next));
    } else if (epoch_in(old) == epoch_in(next) && !str_eq(json_text_of(old, "state"), "stopped")) {
        sim_violated(s, "I1: '%s' is claimed under epoch %llu after it was %s", vm,
                     (unsigned long long)epoch_in(next), json_text_of(old, "state"));
    }
}

/* I2: after a restore one host states for all machines what they do. */
static void check_found_act(struct sim *s, const char *key, const json_t *next)
{
    char vm[64];
    const char *host = json_text_of(next, "host");
    read_vm_name(key, vm);
    if (sim_store_is_open(s) && str_eq(json_text_of(next, "state"), "stopped") && !is_out(node_of(s, host)) &&
        domain_of(s, vm, sim_host_index(s, host))) {
        sim_violated(s, "I2: '%s' is said to have stopped on %s, and its QEMU is there", vm, host);
    }
}

void sim_check_birth(struct sim *s, size_t host, const char *vm, const struct sim_domain *d)
{
    const json_t *own = vm_part(s, vm, "own");
    const json_t *act = vm_part(s, vm, "act");
    const char *name = s->hosts[host].name;
    bool is_claimed = str_eq(json_text_of(act, "state"), "starting") && epoch_in(act) == d->epoch;
    if (s->hosts[host].least_gen < json_u64_of(sim_get(s, KEY_RESTORE_GEN), "n", 0)) {
        return; /* it was asked for before the restore, by what the store said then; the host has not reported yet */
    }
    if (epoch_in(own) < d->epoch || (epoch_in(own) == d->epoch && !str_eq(json_text_of(own, "owner"), name))) {
        sim_violated(s, "I5: '%s' starts on %s under epoch %llu, which is not its own", vm, name, (unsigned long long)d->epoch);
    }
    if (!s->ha || !is_claimed || !json_bool_of(act, "ha", false)) {
        return;
    }
    if (!d->is_freezable) {
        sim_violated(s, "I5: '%s' starts on %s where no guard freezes it", vm, name);
    }
    _cleanup_free_ char *pool = str_printf("%s%s", KEY_POOL, json_text_of(vm_part(s, vm, "spec"), "pool"));
    bool is_on = str_eq(json_text_of(sim_get(s, pool), "ha"), "on"); /* or it was switched off since the claim */
    if (is_on && !sim_brick_is_laundered(s, host, d->uuid, d->epoch)) {
        sim_violated(s, "I8: '%s' starts on %s before its pieces are rewritten", vm, name);
    }
}

void sim_check_commit(struct sim *s, size_t host, const json_t *puts)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)puts, key, value) {
        if (str_starts(key, KEY_VM) && str_ends(key, "/own")) {
            check_own(s, host, key, value);
        } else if (str_starts(key, KEY_VM) && str_ends(key, "/act")) {
            check_claim(s, key, value);
            check_found_act(s, key, value);
        } else if (str_starts(key, KEY_NODE)) {
            check_node(s, key + strlen(KEY_NODE), value);
        }
    }
}
