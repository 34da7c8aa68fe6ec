/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include "sim_ha.h"
#include "sim_impl.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"

struct sim_record {
    json_t *value;
    uint64_t mod;
};

struct sim_event {
    struct sim_event *next;
    uint64_t at_us;
    size_t host;
    unsigned life;
    unsigned boot;
    bool is_late;   /* of a dead agent, held up once */
    json_t *event;  /* for the core, or NULL */
    json_t *action; /* to be executed now, or NULL */
    sim_fn fn;      /* what happens by itself, or NULL */
    void *payload;
};

#define LATE_MAX_US (20 * USEC_PER_SEC)
#define COPY_MAX_US (2 * USEC_PER_SEC)
#define FLUSH_US (10 * USEC_PER_MSEC)
#define HUNG_STEP_US (20 * USEC_PER_MSEC)
#define BEAT_US (30 * USEC_PER_SEC) /* as in agent/act_observe.c */

static void record_free(void *p)
{
    struct sim_record *r = p;
    json_decref(r->value);
    free(r);
}

uint64_t sim_delay_us(struct sim *s)
{
    return 100 + prng_below(&s->prng, s->delay_max_ms * USEC_PER_MSEC);
}

static void queue_add(struct sim *s, struct sim_event *n)
{
    struct sim_event **p = &s->queue;
    while (*p && (*p)->at_us <= n->at_us) {
        p = &(*p)->next;
    }
    n->next = *p;
    *p = n;
}

void sim_push(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action)
{
    struct sim_event *n = xcalloc(1, sizeof(*n));
    *n = (struct sim_event){
        .at_us = s->now_us + in_us,
        .host = host,
        .life = s->hosts[host].life,
        .boot = s->hosts[host].boot,
        .event = event,
        .action = action,
    };
    queue_add(s, n);
}

void sim_push_fn(struct sim *s, uint64_t in_us, size_t host, sim_fn fn, void *payload)
{
    struct sim_event *n = xcalloc(1, sizeof(*n));
    *n = (struct sim_event){.at_us = s->now_us + in_us, .host = host, .fn = fn, .payload = payload};
    queue_add(s, n);
}

bool sim_chance(struct sim *s, int percent)
{
    return (int)prng_below(&s->prng, 100) < percent;
}

void sim_violated(struct sim *s, const char *fmt, ...)
{
    char text[sizeof(s->violation)];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* may be cut */
    va_end(ap);
    if (!s->keeps_going) {
        (void)fprintf(stderr, "MORTAR_SEED=%llu at %llu us: %s\n", (unsigned long long)s->seed,
                      (unsigned long long)s->now_us, text);
        abort();
    }
    if (!s->violation[0]) {
        memcpy(s->violation, text, sizeof(text));
    }
}

/* --- the model store ----------------------------------------------------------------------- */

static json_t *row_of(const char *key, const struct sim_record *r)
{
    return json_pack("[s,I,O]", key, (json_int_t)r->mod, r->value);
}

static json_t *list_event(struct sim *s)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < s->store.n; i++) {
        json_array_append_new(rows, row_of(s->store.items[i].key, s->store.items[i].value));
    }
    return json_pack("{s:s,s:I,s:o}", "ev", "list", "revision", (json_int_t)s->revision, "rows", rows);
}

static void store_set(struct sim *s, const char *key, json_t *value)
{
    struct sim_record *r = xcalloc(1, sizeof(*r));
    r->value = json_incref(value);
    r->mod = s->revision;
    smap_put(&s->store, key, r);
}

static void tell_watchers(struct sim *s, json_t *change)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        json_t *event = json_deep_copy(change);
        json_object_set_new(event, "ev", json_string("watch"));
        if (s->hosts[h].is_up && !sim_chance(s, s->deaf_percent)) { /* a hint: it may be lost */
            sim_push(s, sim_delay_us(s), h, event, NULL);
        } else {
            json_decref(event);
        }
    }
}

static bool is_compared(const struct sim *s, const json_t *args)
{
    const char *key;
    json_t *value;
    if (s->mutant != SIM_OWN_NOT_COMPARED) {
        return s->mutant != SIM_DECIDES_ON_READS;
    }
    json_object_foreach(json_object_get(args, "puts"), key, value) {
        if (str_starts(key, KEY_VM) && str_ends(key, "/own")) {
            return false;
        }
    }
    return true;
}

/* What the owner has stated of a running guest: from here on it may not be killed for nothing. */
static void note_ack(struct sim *s, const char *key, const json_t *value)
{
    if (str_starts(key, KEY_VM) && str_ends(key, "/act") &&
        str_eq(json_text_of(value, "state"), "running")) {
        _cleanup_free_ char *name = str_printf(
            "%.*s", (int)strcspn(key + strlen(KEY_VM), "/"), key + strlen(KEY_VM));
        uint64_t *epoch = xcalloc(1, sizeof(*epoch));
        *epoch = json_u64_of(value, "epoch", 0);
        smap_put(&s->acked, name, epoch);
    }
}

static json_t *commit(struct sim *s, const json_t *args, bool *ret_ok)
{
    json_t *puts = json_array();
    json_t *dels = json_array();
    size_t i;
    json_t *row;
    const char *key;
    *ret_ok = true;
    json_array_foreach(json_object_get(args, "compares"), i, row) {
        const char *k = json_string_value(json_array_get(row, 0));
        const struct sim_record *r = smap_get(&s->store, k);
        uint64_t mod = (uint64_t)json_integer_value(json_array_get(row, 1));
        *ret_ok = *ret_ok && ((r ? r->mod : 0) == mod || !is_compared(s, args));
        if (r) {
            json_array_append_new(puts, row_of(k, r));
        } else {
            json_array_append_new(dels, json_string(k));
        }
    }
    if (!json_object_size(json_object_get(args, "puts")) &&
        !json_array_size(json_object_get(args, "dels"))) {
        _cleanup_free_ char *text = json_format(args);
        sim_violated(s, "a commit that changes nothing: %s", text);
    }
    if (*ret_ok) {
        json_array_clear(puts);
        json_array_clear(dels);
        s->revision++;
        json_object_foreach(json_object_get(args, "puts"), key, row) {
            store_set(s, key, row);
            note_ack(s, key, row);
            json_array_append_new(puts, row_of(key, smap_get(&s->store, key)));
        }
        json_array_foreach(json_object_get(args, "dels"), i, row) {
            (void)smap_del(&s->store, json_string_value(row));
            json_array_append(dels, row);
        }
    }
    json_t *change = json_pack("{s:I,s:o,s:o}", "revision", (json_int_t)s->revision, "puts", puts,
                               "dels", dels);
    if (*ret_ok) {
        tell_watchers(s, change);
    }
    return change;
}

/* --- models of actions --------------------------------------------------------------------- */

static struct sim_domain *domain(struct sim_host *h, const char *name)
{
    struct sim_domain *d = smap_get(&h->domains, name);
    if (!d) {
        d = xcalloc(1, sizeof(*d));
        smap_put(&h->domains, name, d);
    }
    return d;
}

static json_t *domains_json(const struct sim_host *h)
{
    json_t *j = json_object();
    for (size_t i = 0; i < h->domains.n; i++) {
        const struct sim_domain *d = h->domains.items[i].value;
        if (d->exists) {
            json_object_set_new(j, h->domains.items[i].key,
                                json_pack("{s:s,s:s,s:I,s:b}", "state",
                                          d->is_running ? "running" : "paused", "reason", "x", "epoch",
                                          (json_int_t)d->epoch, "freezable", d->is_freezable));
        }
    }
    return j;
}

static const char *take_epoch(struct sim_host *h, const char *uuid, uint64_t epoch, bool may_repeat)
{
    uint64_t *seen = smap_get(&h->epochs, uuid);
    if (seen && (epoch < *seen || (epoch == *seen && !may_repeat))) {
        return "object.state";
    }
    seen = xcalloc(1, sizeof(*seen));
    *seen = epoch;
    smap_put(&h->epochs, uuid, seen);
    return NULL;
}

/* A guest begins to execute under an epoch that it has not executed under on this host. */
static void begin_to_run(struct sim *s, struct sim_domain *d, const char *name)
{
    _cleanup_free_ char *key = str_printf("%s/%llu", d->uuid, (unsigned long long)d->epoch);
    uint64_t *highest = smap_get(&s->highest, d->uuid);
    d->is_running = true;
    if (d->has_run) {
        return;
    }
    d->has_run = true;
    if (smap_get(&s->births, key)) {
        sim_violated(s, "'%s' begins to execute twice under epoch %llu", name,
                 (unsigned long long)d->epoch);
    } else if (highest && d->epoch < *highest) {
        sim_violated(s, "'%s' begins under epoch %llu after %llu", name, (unsigned long long)d->epoch,
                 (unsigned long long)*highest);
    }
    smap_put(&s->births, key, s);
    highest = xcalloc(1, sizeof(*highest));
    *highest = d->epoch;
    smap_put(&s->highest, d->uuid, highest);
}

static const char *model_create(struct sim *s, struct sim_host *h, const json_t *args)
{
    const char *name = json_text_of(args, "name");
    const char *uuid = json_text_of(json_object_get(args, "spec"), "uuid");
    struct sim_domain *d = domain(h, name);
    uint64_t epoch = json_u64_of(json_object_get(args, "own"), "epoch", 0);
    if (d->exists) {
        return d->epoch == epoch ? NULL : "object.busy";
    }
    const char *bad = take_epoch(h, uuid, epoch, false);
    if (!bad) {
        *d = (struct sim_domain){.exists = true, .epoch = epoch,
                                 .is_freezable = json_bool_of(args, "freezable", false)};
        (void)snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
        s->cold_starts++;
        begin_to_run(s, d, name);
    }
    return bad;
}

size_t sim_host_index(const struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        if (str_eq(s->hosts[i].name, name)) {
            return i;
        }
    }
    return SIM_HOSTS_MAX;
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

static void push_again(struct sim *s, size_t host, const json_t *action, const char *what,
                       uint64_t in_us)
{
    json_t *again = json_deep_copy(action);
    json_object_set_new(again, "do", json_string(what));
    sim_push(s, in_us, host, NULL, again);
}

static const char *begin_copy(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    struct sim_host *dst = host_by_name(s, json_text_of(args, "dst"));
    struct sim_domain *from = domain(&s->hosts[host], name);
    struct sim_domain *to = domain(dst, name);
    if (!from->exists) {
        return "object.state"; /* the verdict is lost: a copy is never promoted by its completeness */
    }
    if (from->is_copying) { /* begun by the agent before us: its end is waited for */
        push_again(s, host, action, "vm.migrate", 100 * USEC_PER_MSEC);
        return SIM_LATER;
    }
    if (!to->exists && sim_chance(s, s->unknown_percent)) {
        return "call.timeout";
    }
    if (to->exists || !from->is_running || sim_chance(s, s->fail_percent / 2)) {
        return "virt.failed";
    }
    from->is_copying = true;
    from->is_aborting = false;
    *to = (struct sim_domain){.exists = true, .is_incoming = true,
                              .epoch = copy_epoch(args), .is_freezable = from->is_freezable};
    memcpy(to->uuid, from->uuid, sizeof(to->uuid));
    push_again(s, host, action, "sim.end_copy", prng_below(&s->prng, COPY_MAX_US));
    if (s->mutant == SIM_REPORTS_COPY_EARLY) {
        to->is_incoming = false;
        return NULL;
    }
    return SIM_LATER;
}

/* libvirt's end of a migration: complete; failed before the switch-over; or complete, but the answer
 * of the target was lost, and libvirt lets the source go on (facts/ha.md 6.3). */
static const char *end_copy(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    struct sim_domain *from = domain(&s->hosts[host], name);
    struct sim_domain *to = domain(host_by_name(s, json_text_of(args, "dst")), name);
    bool has_copy = to->exists && to->epoch == copy_epoch(args);
    bool has_source = from->exists && from->is_copying;
    if (has_source && has_copy && !from->is_aborting && !sim_ha_is_flushed(s, from->uuid, from->epoch)) {
        from->is_running = false; /* paused for the switch-over, until its disks are quiet */
        push_again(s, host, action, "sim.end_copy", FLUSH_US);
        return SIM_LATER;
    }
    if (has_source && !from->is_running) {
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
        begin_to_run(s, to, name);
    }
    if (sim_chance(s, s->fail_percent)) {
        return "virt.failed"; /* the source goes on, a complete copy is left behind */
    }
    *from = (struct sim_domain){0};
    return NULL;
}

static void check_resume(struct sim *s, const struct sim_host *h, const char *name, uint64_t epoch)
{
    _cleanup_free_ char *key = str_printf("%s%s/own", KEY_VM, name);
    const json_t *own = sim_get(s, key);
    if (json_u64_of(own, "epoch", 0) == epoch && !str_eq(json_text_of(own, "owner"), h->name)) {
        sim_violated(s, "'%s' is resumed on %s, which does not own it", name, h->name);
    }
}

static const char *model_resume(struct sim *s, struct sim_host *h, const json_t *args)
{
    const char *name = json_text_of(args, "name");
    struct sim_domain *d = domain(h, name);
    uint64_t epoch = json_u64_of(args, "epoch", 0);
    if (!d->exists || d->epoch != epoch || d->is_incoming) {
        return "object.state";
    }
    const char *bad = take_epoch(h, json_text_of(args, "uuid"), epoch, true);
    if (!bad) {
        check_resume(s, h, name, epoch);
        begin_to_run(s, d, name);
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
static void check_destroy(struct sim *s, const struct sim_domain *d, const char *name)
{
    _cleanup_free_ char *key = str_printf("%s%s/spec", KEY_VM, name);
    _cleanup_free_ char *own_key = str_printf("%s%s/own", KEY_VM, name);
    const json_t *own = sim_get(s, own_key);
    _cleanup_free_ char *node_key = str_printf("%s%s", KEY_NODE, json_text_of(own, "owner"));
    if (s->ha && (json_u64_of(own, "epoch", 0) > d->epoch ||
                  str_starts(json_text_of(sim_get(s, node_key), "state"), "fenc"))) {
        return; /* taken away from its host, or about to be */
    }
    const uint64_t *acked = smap_get(&s->acked, name);
    if (d->is_running && acked && *acked == d->epoch &&
        str_eq(json_text_of(sim_get(s, key), "desired"), "running")) {
        sim_violated(s, "'%s' is killed although it ran under epoch %llu and was to run", name,
                 (unsigned long long)d->epoch);
    }
}

static const char *model_end(struct sim *s, size_t host, const json_t *args, bool is_forced)
{
    const char *name = json_text_of(args, "name");
    struct sim_domain *d = domain(&s->hosts[host], name);
    if (!d->exists || d->epoch != json_u64_of(args, "epoch", 0) || (!is_forced && !d->is_running)) {
        return NULL; /* a guest that stands still does not hear a power button */
    }
    if (is_forced) {
        s->hosts[host].destroys++;
        check_destroy(s, d, name);
    }
    *d = (struct sim_domain){0};
    tell_gone(s, host, name, is_forced ? "destroyed" : "shutdown");
    return NULL;
}

static const char *model_vm(struct sim *s, size_t host, const json_t *action)
{
    struct sim_host *h = &s->hosts[host];
    const char *what = json_text_of(action, "do");
    const json_t *args = json_object_get(action, "args");
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
        domain(h, json_text_of(args, "name"))->is_aborting = true;
    }
    if (str_eq(what, "vm.keep_epoch")) {
        return take_epoch(h, json_text_of(args, "uuid"), json_u64_of(args, "epoch", 0), true);
    }
    if (str_eq(what, "vm.resume")) {
        return model_resume(s, h, args);
    }
    if (str_eq(what, "vm.destroy") || str_eq(what, "vm.shutdown")) {
        return model_end(s, host, args, str_eq(what, "vm.destroy"));
    }
    h->resets += str_eq(what, "vm.reset");
    return NULL;
}

static json_t *list_domains(struct sim *s, struct sim_host *h)
{
    json_t *now = domains_json(h);
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

static json_t *model_observation(struct sim *s, struct sim_host *h, const json_t *action)
{
    const char *what = json_text_of(action, "do");
    const json_t *pool = json_object_get(json_object_get(action, "args"), "pool");
    if (str_eq(what, "observe.domains")) {
        return list_domains(s, h);
    }
    if (str_eq(what, "observe.host")) {
        return json_pack("{s:i,s:s,s:b,s:s,s:I,s:I,s:I}", "cpus", 8, "cpu_model", "m", "kvm", 1, "qemu",
                         "7.2", "memory_bytes", (json_int_t)s->memory_bytes, "memory_free_bytes",
                         (json_int_t)s->memory_bytes, "beat", (json_int_t)(s->now_us / BEAT_US));
    }
    if (str_eq(what, "observe.gluster")) {
        return json_pack("{s:b,s:[],s:{s:b}}", "ready", 1, "peers", "bricks", "vms", 1);
    }
    if (str_eq(what, "observe.etcd")) {
        return json_pack("{s:[]}", "list");
    }
    bool is_ready = str_eq(h->brick_of, json_text_of(pool, "uuid"));
    return json_pack("{s:{s:s,s:i,s:i,s:O},s:{s:s,s:b}}", "brick", "state", is_ready ? "ready" : "absent",
                     "sector_bytes", 512, "heal_pending_files", 0, "pool_uuid", json_object_get(pool, "uuid"), "mount", "state",
                     h->pool_mounted ? "mounted" : "absent", "quorum",
                     sim_ha_quorum(s, (size_t)(h - s->hosts)));
}

/* A volume is made of bricks that are ready, as glusterd would find out. */
static const char *model_volume(const struct sim *s, const json_t *args)
{
    const json_t *pool = json_object_get(args, "pool");
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        for (size_t h = 0; h < s->hosts_n; h++) {
            if (str_eq(s->hosts[h].name, json_text_of(brick, "host")) &&
                !str_eq(s->hosts[h].brick_of, json_text_of(pool, "uuid"))) {
                return "gluster.failed";
            }
        }
    }
    return NULL;
}

static const char *model_commit(struct sim *s, size_t host, const json_t *args, json_t *event)
{
    bool ok = false;
    if (s->store_is_down || !sim_ha_reaches_store(s, host)) {
        return "store.unavailable";
    }
    json_t *change = commit(s, args, &ok);
    if (ok && sim_chance(s, s->lost_percent)) {
        json_decref(change);
        return "call.timeout"; /* class unknown: it has happened, but nobody says so */
    }
    json_object_set_new(event, "store", change);
    return ok ? NULL : "store.conflict";
}

static void prepare_brick(struct sim_host *h, const json_t *args)
{
    free(h->brick_of);
    h->brick_of = str_dup(json_text_of(json_object_get(args, "pool"), "uuid"));
}

static void execute(struct sim *s, size_t host, const json_t *action)
{
    struct sim_host *h = &s->hosts[host];
    const char *what = json_text_of(action, "do");
    const json_t *args = json_object_get(action, "args");
    const char *bad = NULL;
    json_t *event = json_pack("{s:s,s:O}", "ev", "done", "id", json_object_get(action, "id"));
    if (sim_ha_execute(s, host, action, event, &bad)) {
        /* of failover */
    } else if (str_eq(what, "store.commit")) {
        bad = model_commit(s, host, args, event);
    } else if (str_starts(what, "observe.")) {
        json_object_set_new(event, "result", model_observation(s, h, action));
    } else if (str_eq(what, "sim.end_copy")) {
        bad = end_copy(s, host, action);
    } else if (str_eq(what, "sim.create") || (str_starts(what, "vm.") && !str_ends(what, "_disks"))) {
        bad = model_vm(s, host, action);
    } else if (str_eq(what, "brick.prepare")) {
        prepare_brick(h, args);
    } else if (str_eq(what, "brick.remove")) {
        const json_t *pool = json_object_get(args, "pool");
        json_object_set_new(event, "result", json_pack("{s:O}", "uuid", json_object_get(pool, "uuid")));
    } else if (str_eq(what, "gluster.create")) {
        bad = model_volume(s, args);
    } else if (str_eq(what, "mount.ensure")) {
        h->pool_mounted = true;
    } else if (str_eq(what, "mount.remove")) {
        h->pool_mounted = false;
    }
    if (str_eq(bad, SIM_LATER)) {
        json_decref(event);
        return;
    }
    if (bad) {
        json_object_set_new(event, "error", json_pack("{s:s,s:s}", "name", bad, "message", "model"));
    } else if (!json_object_get(event, "result")) {
        json_object_set_new(event, "result", json_object());
    }
    sim_push(s, sim_delay_us(s), host, event, NULL);
}

/* --- running ------------------------------------------------------------------------------- */

static int step(struct sim *s, size_t host, const json_t *event, struct err *e)
{
    json_t *actions = NULL;
    size_t i;
    json_t *action;
    int r = core_step(s->hosts[host].core, event, s->now_us, s->now_us, &actions, e);
    json_array_foreach(actions, i, action) {
        sim_push(s, sim_delay_us(s), host, NULL, json_incref(action));
    }
    if (s->record && host == s->record_host) {
        _cleanup_json_ json_t *line =
            json_pack("{s:I,s:I,s:O,s:O}", "now_us", (json_int_t)s->now_us, "wall_us",
                      (json_int_t)s->now_us, "event", event, "actions", actions);
        _cleanup_free_ char *text = json_format(line);
        bool is_idle = str_eq(json_text_of(event, "ev"), "tick") && !json_array_size(actions);
        (void)(is_idle ? 0 : fprintf(s->record, "%s\n", text)); /* as src/agent/recorder.c does */
    }
    json_decref(actions);
    s->steps++;
    uint64_t wake = s->hosts[host].core->wake_us;
    if (wake && (!s->hosts[host].wake_us || wake < s->hosts[host].wake_us ||
                 s->hosts[host].wake_us <= s->now_us)) {
        s->hosts[host].wake_us = wake;
        sim_push(s, wake > s->now_us ? wake - s->now_us : 0, host, json_pack("{s:s,s:b}", "ev", "tick", "extra", 1),
                 NULL);
    }
    return r;
}

static void check_invariants(struct sim *s)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        for (size_t i = 0; i < s->hosts[h].domains.n; i++) {
            const char *name = s->hosts[h].domains.items[i].key;
            size_t running = sim_running(s, name);
            if (running > 1 && sim_ha_never_runs_late(s)) {
                sim_violated(s, "'%s' executes on %zu hosts", name, running);
            }
        }
    }
}

/* What a dead agent has asked for may still happen, soon or late, or never. Migrations are libvirt's
 * and go on in any case, but nothing survives the host itself. */
static bool is_executed(struct sim *s, struct sim_event *n)
{
    const struct sim_host *h = &s->hosts[n->host];
    if (n->boot != h->boot) {
        return false;
    }
    return n->life == h->life || str_eq(json_text_of(n->action, "do"), "sim.end_copy") ||
           prng_below(&s->prng, 2);
}

static bool is_held_up(struct sim *s, struct sim_event *n)
{
    bool is_of_dead = n->action && n->life != s->hosts[n->host].life;
    if (!is_of_dead || n->is_late || prng_below(&s->prng, 2)) {
        return false;
    }
    n->is_late = true;
    n->at_us = s->now_us + prng_below(&s->prng, LATE_MAX_US);
    queue_add(s, n);
    return true;
}

static json_t *some_list(struct sim *s)
{
    json_t *now = list_event(s);
    if (s->old_list && sim_chance(s, s->stale_percent)) {
        json_decref(now);
        return json_deep_copy(s->old_list);
    }
    if (sim_chance(s, 20)) {
        json_decref(s->old_list);
        s->old_list = json_deep_copy(now);
    }
    return now;
}

/* What comes from the store does not come to a host that is cut off. */
static bool is_unheard(const struct sim *s, const struct sim_event *n)
{
    const char *kind = n->event ? json_text_of(n->event, "ev") : NULL;
    return (str_eq(kind, "watch") || str_eq(kind, "list")) && !sim_ha_reaches_store(s, n->host);
}

/* A host that hangs does it later. */
static bool is_put_off(struct sim *s, struct sim_event *n)
{
    if (!sim_ha_is_hung(s, n->host)) {
        return false;
    }
    n->at_us = s->now_us + HUNG_STEP_US;
    queue_add(s, n);
    return true;
}

static void next_event(struct sim *s)
{
    struct sim_event *n = s->queue;
    struct sim_host *h = &s->hosts[n->host];
    struct err e = {0};
    s->queue = n->next;
    s->now_us = n->at_us;
    if (n->fn) {
        n->fn(s, n->host, n->payload);
        free(n->payload);
        free(n);
        check_invariants(s);
        return;
    }
    if (is_put_off(s, n)) {
        return;
    }
    if (is_held_up(s, n)) {
        return;
    }
    if (n->action && is_executed(s, n)) {
        execute(s, n->host, n->action);
    }
    if (n->event && n->life == h->life && h->is_up && !is_unheard(s, n)) {
        bool is_tick = str_eq(json_text_of(n->event, "ev"), "tick") &&
                       !json_object_get(n->event, "extra");
        (void)step(s, n->host, n->event, &e);
        if (is_tick) {
            bool is_list = prng_below(&s->prng, 10) == 0;
            sim_push(s, USEC_PER_SEC, n->host, json_pack("{s:s}", "ev", "tick"), NULL);
            bool is_reached = !s->store_is_down && sim_ha_reaches_store(s, n->host);
            if (is_list && (is_reached || s->ha)) {
                sim_push(s, sim_delay_us(s), n->host,
                         is_reached ? some_list(s) : json_pack("{s:s}", "ev", "lost"), NULL);
            }
        }
    }
    json_decref(n->event);
    json_decref(n->action);
    free(n);
    check_invariants(s);
}

void sim_run(struct sim *s, uint64_t us)
{
    uint64_t end = s->now_us + us;
    while (s->queue && s->queue->at_us <= end) {
        next_event(s);
    }
    s->now_us = end;
}

const json_t *sim_get(const struct sim *s, const char *key)
{
    const struct sim_record *r = smap_get(&s->store, key);
    return r ? r->value : NULL;
}

const char *sim_wait(struct sim *s, const char *task, uint64_t limit_us)
{
    uint64_t end = s->now_us + limit_us;
    _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task);
    while (s->queue && s->now_us < end) {
        const char *state = json_text_of(sim_get(s, key), "state");
        if (state && !str_eq(state, "running")) {
            return state;
        }
        next_event(s);
    }
    return "";
}

size_t sim_running(const struct sim *s, const char *name)
{
    size_t n = 0;
    for (size_t h = 0; h < s->hosts_n; h++) {
        const struct sim_domain *d = smap_get(&s->hosts[h].domains, name);
        n += d && d->exists && d->is_running && !sim_ha_stands_still(s, h);
    }
    return n;
}

size_t sim_copies(const struct sim *s, const char *name)
{
    size_t n = 0;
    for (size_t h = 0; h < s->hosts_n; h++) {
        const struct sim_domain *d = smap_get(&s->hosts[h].domains, name);
        n += d && d->exists;
    }
    return n;
}

void sim_end_guest(struct sim *s, const char *name, const char *reason)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        struct sim_domain *d = smap_get(&s->hosts[h].domains, name);
        if (d && d->exists && d->is_running) {
            *d = (struct sim_domain){0};
            tell_gone(s, h, name, reason);
        }
    }
}

void sim_stop_host(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    if (h->is_up) {
        sim_kill_agent(s, host);
    }
    h->boot++;
    for (size_t i = 0; i < h->domains.n; i++) {
        *(struct sim_domain *)h->domains.items[i].value = (struct sim_domain){0};
    }
    json_decref(h->old_domains);
    h->old_domains = NULL;
}

void sim_reboot(struct sim *s, size_t host)
{
    sim_stop_host(s, host);
    sim_start_agent(s, host);
}

void sim_kill_agent(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    core_free(h->core);
    h->core = NULL;
    h->is_up = false;
    h->life++;
}

void sim_start_agent(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    struct err e = {0};
    char instance[32];
    char boot_id[32];
    assert(!h->is_up);
    (void)snprintf(instance, sizeof(instance), "%s-%u", h->name, h->life);
    (void)snprintf(boot_id, sizeof(boot_id), "b%u", h->boot);
    h->core = core_new();
    h->is_up = true;
    _cleanup_json_ json_t *start = json_pack("{s:s,s:s,s:s,s:s,s:s}", "ev", "start", "host", h->name,
                                             "boot_id", boot_id, "instance", instance, "uuid", h->name);
    (void)step(s, host, start, &e);
    if (!s->store_is_down && sim_ha_reaches_store(s, host)) {
        sim_push(s, sim_delay_us(s), host, some_list(s), NULL);
    }
    sim_push(s, USEC_PER_SEC, host, json_pack("{s:s}", "ev", "tick"), NULL);
}

void sim_init(struct sim *s, uint64_t seed, size_t n)
{
    *s = (struct sim){.seed = seed, .prng = {seed}, .hosts_n = n, .delay_max_ms = 20,
                      .memory_bytes = 64 * GIB, .deaf_percent = 2, .now_us = USEC_PER_SEC};
    s->highest.free_value = free;
    s->acked.free_value = free;
    s->store.free_value = record_free;
    s->revision = 1;
    for (size_t i = 0; i < n; i++) {
        struct sim_host *h = &s->hosts[i];
        (void)snprintf(h->name, sizeof(h->name), "host%zu", i + 1);
        h->domains.free_value = free;
        h->epochs.free_value = free;
        _cleanup_free_ char *key = str_printf("%s%s", KEY_NODE, h->name);
        _cleanup_free_ char *addr = str_printf("10.0.0.%zu", i + 1);
        _cleanup_json_ json_t *node =
            json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:s}", "name", h->name, "uuid", h->name, "role",
                      i + 1 == n && n > 2 ? "witness" : "converged", "state", "online", "inc", 1,
                      "boot_id", "b0", "mgmt", addr, "storage", addr);
        store_set(s, key, node);
    }
    _cleanup_json_ json_t *net = json_pack("{s:s,s:s,s:i}", "name", "default", "bridge", "m0", "vni", 1);
    store_set(s, KEY_NETWORK "default", net);
    for (size_t i = 0; i < n; i++) {
        sim_start_agent(s, i);
    }
}

void sim_done(struct sim *s)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        core_free(s->hosts[i].core);
        smap_done(&s->hosts[i].domains);
        smap_done(&s->hosts[i].epochs);
        json_decref(s->hosts[i].old_domains);
        free(s->hosts[i].brick_of);
    }
    json_decref(s->old_list);
    smap_done(&s->highest);
    smap_done(&s->births);
    smap_done(&s->acked);
    while (s->queue) {
        struct sim_event *next = s->queue->next;
        json_decref(s->queue->event);
        json_decref(s->queue->action);
        free(s->queue->payload);
        free(s->queue);
        s->queue = next;
    }
    smap_done(&s->store);
}

char *sim_request(struct sim *s, size_t host, const char *verb, json_t *args, struct err *e)
{
    char *id = str_printf("%08llx-0000-4000-8000-%012llx", (unsigned long long)s->steps,
                          (unsigned long long)prng_below(&s->prng, UINT64_C(1) << 48));
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:o,s:s}", "ev", "request", "verb", verb, "args",
                                             args, "task", id);
    if (step(s, host, event, e) < 0) {
        free(id);
        return NULL;
    }
    return id;
}
