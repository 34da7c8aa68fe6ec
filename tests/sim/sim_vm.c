/* SPDX-License-Identifier: Apache-2.0
 * Models of what actions do to virtual machines: QEMUs, their migrations, and the epochs that a host
 * keeps on its disk (I5). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "adapters/guard/guard_text.h"
#include "base/str.h"
#include "core/model/epoch.h"
#include "core/model/keys.h"
#include "sim_ha.h"
#include "sim_impl.h"

#define COPY_MAX_US (2 * USEC_PER_SEC)
#define FLUSH_US (10 * USEC_PER_MSEC)
#define KEEPALIVE_US (4 * USEC_PER_SEC) /* until libvirt gives up a connection on which nothing comes (facts/ha.md 6.1) */

size_t sim_vm_find(const struct sim *s, const char *name)
{
    size_t i = 0;
    while (i < s->vms_n && !str_eq(s->vms[i], name)) {
        i++;
    }
    return i < s->vms_n ? i : SIM_VMS_MAX;
}

size_t sim_vm_index(struct sim *s, const char *name)
{
    size_t i = sim_vm_find(s, name);
    if (i == SIM_VMS_MAX) {
        i = s->vms_n++;
        assert(i < SIM_VMS_MAX && strlen(name) < sizeof(s->vms[i]));
        memcpy(s->vms[i], name, strlen(name) + 1);
    }
    return i;
}

static struct sim_domain *domain(struct sim *s, struct sim_host *h, const char *name)
{
    return &h->domains[sim_vm_index(s, name)];
}

static json_t *domains_json(const struct sim *s, const struct sim_host *h)
{
    json_t *j = json_object();
    for (size_t i = 0; i < s->vms_n; i++) {
        const struct sim_domain *d = &h->domains[i];
        if (d->exists) {
            json_object_set_new(j, s->vms[i],
                                json_pack("{s:s,s:s,s:I,s:b}", "state",
                                          d->is_running || d->is_dying ? "running" : "paused", "reason", "x", "epoch",
                                          (json_int_t)d->epoch, "freezable", d->is_freezable));
        }
    }
    return j;
}

static const char *take_epoch(const struct sim *s, struct sim_host *h, const char *uuid, uint64_t epoch, bool may_repeat)
{
    uint64_t *seen = smap_get(&h->epochs, uuid);
    bool is_known = seen && s->mutant != SIM_NO_EPOCH_FILE;
    if (!may_repeat && epoch_restore_gen(epoch) < h->least_gen && s->mutant != SIM_LATE_STARTS) {
        return "object.state";
    }
    if (is_known && (epoch < *seen || (epoch == *seen && !may_repeat))) {
        return "object.state";
    }
    seen = xcalloc(1, sizeof(*seen));
    *seen = epoch;
    smap_put(&h->epochs, uuid, seen);
    return NULL;
}

/* A guest begins to execute under an epoch that it has not executed under on this host. */
static void begin_to_run(struct sim *s, const struct sim_host *h, struct sim_domain *d, const char *name)
{
    bool stands = s->ha && sim_ha_stands_still(s, (size_t)(h - s->hosts)); /* in a frozen slice nothing executes */
    _cleanup_free_ char *key = str_printf("%s/%llu", d->uuid, (unsigned long long)d->epoch);
    uint64_t *highest = smap_get(&s->highest, d->uuid);
    d->is_running = true;
    sim_note(s, "'%s' runs under epoch %llu", name, (unsigned long long)d->epoch);
    if (d->has_run) {
        return;
    }
    d->has_run = true;
    if (smap_get(&s->births, key)) {
        sim_violated(s, "I1: '%s' begins to execute twice under epoch %llu", name,
                 (unsigned long long)d->epoch);
    } else if (highest && d->epoch < *highest && !stands) {
        sim_violated(s, "I1: '%s' begins under epoch %llu after %llu", name, (unsigned long long)d->epoch,
                 (unsigned long long)*highest);
    }
    smap_put(&s->births, key, s);
    uint64_t *now = xcalloc(1, sizeof(*now));
    *now = highest && *highest > d->epoch ? *highest : d->epoch;
    smap_put(&s->highest, d->uuid, now);
}

static unsigned short mount_of(const struct sim *s, const struct sim_host *h)
{
    return (unsigned short)(s->ha ? s->ha->hosts[h - s->hosts].mounts : 0);
}

static const char *model_create(struct sim *s, struct sim_host *h, const json_t *args)
{
    const char *name = json_text_of(args, "name");
    const char *uuid = json_text_of(json_object_get(args, "spec"), "uuid");
    struct sim_domain *d = domain(s, h, name);
    uint64_t epoch = json_u64_of(json_object_get(args, "own"), "epoch", 0);
    if (d->exists) {
        return d->epoch == epoch ? NULL : "object.busy";
    }
    const char *bad = take_epoch(s, h, uuid, epoch, false);
    if (!bad) {
        *d = (struct sim_domain){.exists = true, .epoch = epoch, .mount = mount_of(s, h),
                                 .is_freezable = s->mutant != SIM_BORN_OUTSIDE && json_bool_of(args, "freezable", false)};
        (void)snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
        s->cold_starts++;
        sim_check_birth(s, (size_t)(h - s->hosts), name, d);
        begin_to_run(s, h, d, name);
    }
    return bad;
}

static struct sim_host *host_by_name(struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        if (str_eq(s->hosts[i].name, name)) {
            return &s->hosts[i];
        }
    }
    return NULL;
}

static uint64_t copy_epoch(const json_t *args)
{
    return json_u64_of(json_object_get(json_object_get(args, "own"), "mig"), "epoch", 0);
}

/* By an agent that is no more: libvirtd begins what was asked of it when its turn comes (seed 98018114). */
static bool is_undone_before(struct sim *s, const char *name, uint64_t epoch)
{
    _cleanup_free_ char *key = str_printf("%s%s/own", KEY_VM, name);
    const json_t *mig = json_object_get(sim_get(s, key), "mig");
    return json_u64_of(mig, "epoch", 0) == epoch && str_eq(json_text_of(mig, "phase"), "aborted");
}

static void push_again(struct sim *s, size_t host, const json_t *action, const char *what,
                       uint64_t in_us)
{
    json_t *again = json_copy((json_t *)action);
    json_object_set_new(again, "do", json_string(what));
    sim_push_of(s, in_us, host, NULL, again, s->asking_life);
}

static const char *begin_copy(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    struct sim_host *dst = host_by_name(s, json_text_of(args, "dst"));
    struct sim_domain *from = domain(s, &s->hosts[host], name);
    struct sim_domain *to = domain(s, dst, name);
    if (!from->exists) { /* the copy is never promoted by its completeness, only by libvirt's verdict */
        uint64_t migrated = s->hosts[host].migrated[sim_vm_index(s, name)];
        return s->keeps_verdicts && migrated == copy_epoch(args) ? NULL : "object.state";
    }
    if (from->is_copying) { /* begun by the agent before us: its end is waited for */
        push_again(s, host, action, "vm.migrate", 100 * USEC_PER_MSEC);
        return SIM_LATER;
    }
    if (!to->exists && sim_chance(s, s->unknown_percent)) {
        return "call.timeout";
    }
    if (!sim_ha_connects(s, host, (size_t)(dst - s->hosts)) || to->exists || !from->is_running || sim_chance(s, s->fail_percent / 2)) {
        return "virt.failed";
    }
    from->is_copying = true;
    from->is_aborting = false;
    from->is_broken = false;
    *to = (struct sim_domain){.exists = true, .is_incoming = true, .mount = mount_of(s, dst),
                              .epoch = copy_epoch(args), .is_freezable = from->is_freezable,
                              .is_late = is_undone_before(s, name, copy_epoch(args))};
    memcpy(to->uuid, from->uuid, sizeof(to->uuid));
    push_again(s, host, action, "sim.end_copy", prng_below(&s->prng, COPY_MAX_US));
    if (s->mutant == SIM_REPORTS_COPY_EARLY) {
        to->is_incoming = false;
        return NULL;
    }
    return SIM_LATER;
}

/* The connection was lost, or the source's libvirtd is a new one. A copy that was complete stays so when only the answer was
 * lost; another one is ended by its own libvirtd, unless no socket was closed there: then T8 has to do it. */
static const char *end_broken(struct sim *s, const json_t *args, struct sim_domain *from, struct sim_domain *copy)
{
    const char *name = json_text_of(args, "name");
    bool has_switched = !from->is_running;
    from->is_running = from->has_run && !from->is_left;
    from->is_copying = from->is_broken = from->is_left = false;
    if (copy && has_switched && sim_chance(s, 50)) {
        copy->is_incoming = false;
        if (s->mutant == SIM_RUNS_COPY_EARLY) {
            begin_to_run(s, host_by_name(s, json_text_of(args, "dst")), copy, name);
        }
    } else if (copy && sim_chance(s, 50)) {
        *copy = (struct sim_domain){0};
    }
    return "virt.failed";
}

/* What was asked of it and not yet begun: half of it is never done, and nobody says so. */
static void lose_calls(struct sim *s, size_t host)
{
    static const char *const calls[] = {"vm.create", "vm.migrate", "vm.resume", "vm.destroy", "vm.shutdown"};
    for (size_t i = 0; i < s->queue.n; i++) {
        struct sim_event *n = s->queue.heap[i].event;
        for (size_t k = 0; k < ELEMENTS(calls); k++) {
            if (n->host == host && str_eq(json_text_of(n->action, "do"), calls[k]) && sim_chance(s, 50)) {
                json_t *lost = json_copy(n->action);
                json_object_set_new(lost, "do", json_string("sim.lost"));
                json_decref(n->action);
                n->action = lost;
            }
        }
    }
}

void sim_crash_libvirtd(struct sim *s, size_t host)
{
    sim_note(s, "libvirtd of %s is a new one", s->hosts[host].name);
    lose_calls(s, host);
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        struct sim_domain *d = &s->hosts[host].domains[vm];
        if (d->is_incoming) {
            *d = (struct sim_domain){0};
        }
        d->is_broken = d->is_copying;
        d->is_left = d->is_copying && !d->is_running; /* after PERFORM3 "third party needs to check what to do next" */
    }
}

/* libvirt's end of a migration: complete; failed before the switch-over; or complete, but the answer
 * of the target was lost, and libvirt lets the source go on (facts/ha.md 6.3). */
static const char *end_copy(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    struct sim_domain *from = domain(s, &s->hosts[host], name);
    struct sim_host *dst = host_by_name(s, json_text_of(args, "dst"));
    struct sim_domain *to = domain(s, dst, name);
    bool has_copy = to->exists && to->epoch == copy_epoch(args);
    bool has_source = from->exists && from->is_copying;
    if (has_source && !from->is_broken && !sim_ha_connects(s, host, (size_t)(dst - s->hosts))) {
        from->is_broken = true; /* for good: noticed after a while */
        push_again(s, host, action, "sim.end_copy", KEEPALIVE_US);
        return SIM_LATER;
    }
    if (has_source && from->is_broken) {
        return end_broken(s, args, from, has_copy ? to : NULL);
    }
    if (has_source && has_copy && !from->is_aborting && !sim_ha_is_flushed(s, from->uuid, from->epoch)) {
        from->is_running = false; /* paused for the switch-over, until its disks are quiet */
        push_again(s, host, action, "sim.end_copy", FLUSH_US);
        return SIM_LATER;
    }
    if (has_source && !from->is_running && !from->is_dying) {
        from->is_running = from->has_run; /* only by this very function: libvirt resumes the source */
    }
    from->is_copying = false;
    if (!has_source || !has_copy || from->is_aborting || sim_chance(s, s->fail_percent)) {
        if (has_copy) {
            *to = (struct sim_domain){0};
        }
        return has_source ? "virt.failed" : "object.state";
    }
    to->is_incoming = false;
    if (s->mutant == SIM_RUNS_COPY_EARLY) {
        begin_to_run(s, dst, to, name);
    }
    if (sim_chance(s, s->fail_percent)) {
        return "virt.failed"; /* the source goes on, a complete copy is left behind */
    }
    *from = (struct sim_domain){0};
    s->hosts[host].migrated[sim_vm_index(s, name)] = to->epoch;
    return NULL;
}

static void check_resume(struct sim *s, const struct sim_host *h, const char *name, uint64_t epoch)
{
    _cleanup_free_ char *key = str_printf("%s%s/own", KEY_VM, name);
    const json_t *own = sim_get(s, key);
    if (json_u64_of(own, "epoch", 0) < epoch) {
        sim_violated(s, "I9: '%s' is resumed on %s before it was handed over", name, h->name);
    } else if (json_u64_of(own, "epoch", 0) == epoch && !str_eq(json_text_of(own, "owner"), h->name)) {
        sim_violated(s, "I9: '%s' is resumed on %s, which does not own it", name, h->name);
    }
}

static const char *model_resume(struct sim *s, struct sim_host *h, const json_t *args)
{
    const char *name = json_text_of(args, "name");
    struct sim_domain *d = domain(s, h, name);
    uint64_t epoch = json_u64_of(args, "epoch", 0);
    if (!d->exists || d->epoch != epoch || d->is_incoming || d->is_dying) {
        return "object.state";
    }
    const char *bad = take_epoch(s, h, json_text_of(args, "uuid"), epoch, true);
    if (!bad) {
        check_resume(s, h, name, epoch);
        begin_to_run(s, h, d, name);
    }
    return bad;
}

static void tell_gone(struct sim *s, size_t host, const char *name, const char *reason)
{
    sim_push(s, sim_delay_us(s), host,
         json_pack("{s:s,s:s,s:s,s:s,s:I}", "ev", "domain", "name", name, "kind", "gone", "reason",
                   reason, "at_us", (json_int_t)s->now_us), NULL);
}

/* A guest that was stated to run is killed only because somebody wants that. */
static void check_destroy(struct sim *s, size_t host, const struct sim_domain *d, const char *name)
{
    _cleanup_free_ char *key = str_printf("%s%s/spec", KEY_VM, name);
    _cleanup_free_ char *own_key = str_printf("%s%s/own", KEY_VM, name);
    const json_t *own = sim_get(s, own_key);
    _cleanup_free_ char *node_key = str_printf("%s%s", KEY_NODE, json_text_of(own, "owner"));
    if (s->ha && (json_u64_of(own, "epoch", 0) > d->epoch ||
                  str_starts(json_text_of(sim_get(s, node_key), "state"), "fenc"))) {
        return; /* taken away from its host, or about to be */
    }
    const uint64_t *highest = smap_get(&s->highest, d->uuid);
    if (sim_get(s, KEY_RESTORE_GEN) && ((highest && *highest > d->epoch) || sim_check_is_out(s, host))) {
        return; /* by a record of the store of before, which that one has forgotten */
    }
    const uint64_t *acked = smap_get(&s->acked, name);
    if (d->is_running && acked && *acked == d->epoch &&
        str_eq(json_text_of(sim_get(s, key), "desired"), "running")) {
        sim_violated(s, "A5: '%s' is killed although it ran under epoch %llu and was to run", name,
                 (unsigned long long)d->epoch);
    }
}

/* A process with a request that is not answered does not end, killed or not, before its mount does (facts/ha.md
 * 3.1): so who sees it gone knows that nothing of it is on its way (A4). */
static const char *end_qemu(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    struct sim_domain *d = domain(s, &s->hosts[host], name);
    if (!d->exists || d->epoch != json_u64_of(args, "epoch", 0)) {
        return NULL;
    }
    bool is_mounted = s->ha && s->ha->hosts[host].mounts == d->mount;
    if (is_mounted && !sim_ha_is_flushed(s, d->uuid, d->epoch) && s->mutant != SIM_ENDS_AT_ONCE) {
        push_again(s, host, action, "sim.end_qemu", FLUSH_US);
        return SIM_LATER;
    }
    *d = (struct sim_domain){0};
    tell_gone(s, host, name, json_bool_of(action, "forced", false) ? "destroyed" : "shutdown");
    return NULL;
}

static const char *model_end(struct sim *s, size_t host, const json_t *action, bool is_forced)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    struct sim_domain *d = domain(s, &s->hosts[host], name);
    if (!d->exists || d->epoch != json_u64_of(args, "epoch", 0) || (!is_forced && !d->is_running && !d->is_dying)) {
        return NULL; /* a guest that stands still does not hear a power button */
    }
    if (is_forced && s->mutant == SIM_KILLS_NOTHING) {
        return NULL;
    }
    if (is_forced) {
        s->hosts[host].destroys++;
        check_destroy(s, host, d, name);
    }
    d->is_dying = true;
    d->is_running = false;
    _cleanup_json_ json_t *end = json_copy((json_t *)action);
    json_object_set_new(end, "forced", json_boolean(is_forced));
    return end_qemu(s, host, end);
}

const char *sim_vm_action(struct sim *s, size_t host, const json_t *action)
{
    struct sim_host *h = &s->hosts[host];
    const char *what = json_text_of(action, "do");
    const json_t *args = json_object_get(action, "args");
    if (str_eq(what, "sim.end_copy")) {
        return end_copy(s, host, action);
    }
    if (str_eq(what, "sim.lost")) {
        return "call.timeout";
    }
    if (str_eq(what, "sim.end_qemu")) {
        return end_qemu(s, host, action);
    }
    if (str_eq(what, "vm.create") && s->create_us) {
        s->creating[host]++;
        s->creating_max = s->creating[host] > s->creating_max ? s->creating[host] : s->creating_max;
        push_again(s, host, action, "sim.create", s->create_us);
        return SIM_LATER;
    }
    if (str_eq(what, "vm.create") || str_eq(what, "sim.create")) {
        s->creating[host] -= str_eq(what, "sim.create");
        return model_create(s, h, args);
    }
    if (str_eq(what, "vm.migrate")) {
        return begin_copy(s, host, action);
    }
    if (str_eq(what, "vm.migrate_abort")) {
        domain(s, h, json_text_of(args, "name"))->is_aborting = true;
    }
    if (str_eq(what, "vm.keep_epoch")) {
        return take_epoch(s, h, json_text_of(args, "uuid"), json_u64_of(args, "epoch", 0), true);
    }
    if (str_eq(what, "vm.resume")) {
        return model_resume(s, h, args);
    }
    if (str_eq(what, "vm.destroy") || str_eq(what, "vm.shutdown")) {
        return model_end(s, host, action, str_eq(what, "vm.destroy"));
    }
    h->resets += str_eq(what, "vm.reset");
    return NULL;
}

json_t *sim_vm_list(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    if (s->mutant == SIM_OVERLOOKS && sim_check_is_out(s, host)) {
        return json_object();
    }
    json_t *now = domains_json(s, h);
    if (s->mutant == SIM_BELIEVES_OLD_LISTS && h->old_domains && sim_chance(s, 50)) {
        json_decref(now);
        return json_incref(h->old_domains);
    }
    if (sim_chance(s, 20)) {
        json_decref(h->old_domains);
        h->old_domains = json_incref(now);
    }
    return now;
}

json_t *sim_vm_look(struct sim *s, size_t host, const json_t *args)
{
    struct sim_host *h = &s->hosts[host];
    json_t *domains = domains_json(s, h);
    json_t *cut = json_object();
    h->least_gen = json_u64_of(args, "gen", 0);
    for (size_t i = 0; i < s->vms_n; i++) {
        if (h->domains[i].exists) {
            json_object_set_new(json_object_get(domains, s->vms[i]), "uuid", json_string(h->domains[i].uuid));
        }
    }
    for (size_t i = 0; s->ha && i < s->ha->hosts[host].records.n; i++) {
        const struct smap_item *r = &s->ha->hosts[host].records.items[i];
        json_object_set_new(cut, r->key, json_integer((json_int_t)*(const uint64_t *)r->value));
    }
    const char *guard = s->ha ? s->ha->hosts[host].guard.file : NULL;
    return json_pack("{s:O,s:I,s:o,s:o}", "gen", json_object_get(args, "gen"), "inc",
                     (json_int_t)(guard ? guard_config_inc(guard) : 0), "domains", domains, "cut", cut);
}

size_t sim_running(const struct sim *s, const char *name)
{
    size_t n = 0;
    size_t vm = sim_vm_find(s, name);
    for (size_t h = 0; vm < SIM_VMS_MAX && h < s->hosts_n; h++) {
        const struct sim_domain *d = &s->hosts[h].domains[vm];
        n += d->exists && d->is_running && !sim_ha_stands_still(s, h);
    }
    return n;
}

size_t sim_copies(const struct sim *s, const char *name)
{
    size_t n = 0;
    size_t vm = sim_vm_find(s, name);
    for (size_t h = 0; vm < SIM_VMS_MAX && h < s->hosts_n; h++) {
        n += s->hosts[h].domains[vm].exists;
    }
    return n;
}

void sim_end_guest(struct sim *s, const char *name, const char *reason)
{
    size_t vm = sim_vm_index(s, name);
    for (size_t h = 0; h < s->hosts_n; h++) {
        struct sim_domain *d = &s->hosts[h].domains[vm];
        if (d->exists && d->is_running) {
            *d = (struct sim_domain){0};
            tell_gone(s, h, name, reason);
        }
    }
}
