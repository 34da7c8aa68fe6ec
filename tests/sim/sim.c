/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <assert.h>
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
    json_t *event;  /* for the core, or NULL */
    json_t *action; /* to be executed now, or NULL */
};

static void record_free(void *p)
{
    struct sim_record *r = p;
    json_decref(r->value);
    free(r);
}

static uint64_t delay_us(struct sim *s)
{
    return 100 + prng_below(&s->prng, s->delay_max_ms * USEC_PER_MSEC);
}

static void push(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action)
{
    struct sim_event *n = xcalloc(1, sizeof(*n));
    *n = (struct sim_event){NULL, s->now_us + in_us, host, s->hosts[host].life, event, action};
    struct sim_event **p = &s->queue;
    while (*p && (*p)->at_us <= n->at_us) {
        p = &(*p)->next;
    }
    n->next = *p;
    *p = n;
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
        if (s->hosts[h].is_up && prng_below(&s->prng, 50) != 0) { /* a hint: it may be lost */
            push(s, delay_us(s), h, event, NULL);
        } else {
            json_decref(event);
        }
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
        *ret_ok = *ret_ok && (r ? r->mod : 0) == (uint64_t)json_integer_value(json_array_get(row, 1));
        if (r) {
            json_array_append_new(puts, row_of(k, r));
        } else {
            json_array_append_new(dels, json_string(k));
        }
    }
    assert(json_object_size(json_object_get(args, "puts")) || json_array_size(json_object_get(args, "dels")));
    if (*ret_ok) {
        json_array_clear(puts);
        json_array_clear(dels);
        s->revision++;
        json_object_foreach(json_object_get(args, "puts"), key, row) {
            store_set(s, key, row);
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
                                json_pack("{s:s,s:s,s:I}", "state",
                                          d->is_running ? "running" : "paused", "reason", "x", "epoch",
                                          (json_int_t)d->epoch));
        }
    }
    return j;
}

static const char *take_epoch(struct sim_host *h, const json_t *spec, uint64_t epoch, bool may_repeat)
{
    uint64_t *seen = smap_get(&h->epochs, json_text_of(spec, "uuid"));
    if (seen && (epoch < *seen || (epoch == *seen && !may_repeat))) {
        return "object.state";
    }
    seen = xcalloc(1, sizeof(*seen));
    *seen = epoch;
    smap_put(&h->epochs, json_text_of(spec, "uuid"), seen);
    return NULL;
}

static const char *model_create(struct sim *s, struct sim_host *h, const json_t *args)
{
    struct sim_domain *d = domain(h, json_text_of(args, "name"));
    uint64_t epoch = json_u64_of(json_object_get(args, "own"), "epoch", 0);
    if (d->exists) {
        return d->epoch == epoch ? NULL : "object.busy";
    }
    const char *bad = take_epoch(h, json_object_get(args, "spec"), epoch, false);
    if (!bad) {
        s->cold_starts++;
        *d = (struct sim_domain){true, true, epoch, false};
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

/* Three ends: the copy on the target is complete and the source is gone; nothing has changed; or
 * the source is gone, a copy is left and the verdict is lost: that copy must never run. */
static const char *model_migrate(struct sim *s, struct sim_host *src, const json_t *args)
{
    struct sim_host *dst = host_by_name(s, json_text_of(args, "dst"));
    struct sim_domain *from = domain(src, json_text_of(args, "name"));
    struct sim_domain *to = domain(dst, json_text_of(args, "name"));
    if (!from->exists) {
        return "object.state";
    }
    const json_t *mig = json_object_get(json_object_get(args, "own"), "mig");
    if (!to->exists && (int)prng_below(&s->prng, 100) < s->unknown_percent) {
        return "call.timeout";
    }
    if (to->exists || (int)prng_below(&s->prng, 100) < s->fail_percent) {
        if (!to->exists && prng_below(&s->prng, 2)) { /* nobody has ended the half-made copy */
            *to = (struct sim_domain){true, false, json_u64_of(mig, "epoch", 0), true};
        }
        return "virt.failed";
    }
    bool is_lost = (int)prng_below(&s->prng, 100) < s->fail_percent;
    *to = (struct sim_domain){true, false, json_u64_of(mig, "epoch", 0), is_lost};
    *from = (struct sim_domain){0};
    return is_lost ? "object.state" : NULL;
}

static const char *model_vm(struct sim *s, struct sim_host *h, const char *what, const json_t *args)
{
    struct sim_domain *d = domain(h, json_text_of(args, "name"));
    uint64_t epoch = json_u64_of(args, "epoch", 0);
    if (str_eq(what, "vm.create")) {
        return model_create(s, h, args);
    }
    if (str_eq(what, "vm.migrate")) {
        return model_migrate(s, h, args);
    }
    if (str_eq(what, "vm.keep_epoch")) {
        return take_epoch(h, args, epoch, true);
    }
    if (str_eq(what, "vm.resume")) {
        if (!d->exists || d->epoch != epoch) {
            return "object.state";
        }
        assert(!d->is_incoming);
        const char *bad = take_epoch(h, args, epoch, true);
        d->is_running = !bad;
        return bad;
    }
    if (str_eq(what, "vm.destroy") || str_eq(what, "vm.shutdown")) {
        if (d->exists && d->epoch == epoch) {
            *d = (struct sim_domain){0};
        }
    }
    return NULL;
}

static json_t *model_observation(struct sim_host *h, const char *what)
{
    if (str_eq(what, "observe.domains")) {
        return domains_json(h);
    }
    if (str_eq(what, "observe.host")) {
        return json_pack("{s:i,s:s,s:b,s:s,s:I}", "cpus", 8, "cpu_model", "m", "kvm", 1, "qemu", "7.2",
                         "memory_free_bytes", (json_int_t)(64 * GIB));
    }
    if (str_eq(what, "observe.gluster")) {
        return json_pack("{s:b,s:[],s:{s:b}}", "ready", 1, "peers", "bricks", "vms", 1);
    }
    if (str_eq(what, "observe.etcd")) {
        return json_pack("{s:[]}", "list");
    }
    return json_pack("{s:{s:s,s:i},s:{s:s,s:b}}", "brick", "state", "ready", "sector_bytes", 512, "mount", "state", h->pool_mounted ? "mounted" : "absent",
                     "quorum", 1);
}

static void execute(struct sim *s, size_t host, const json_t *action)
{
    struct sim_host *h = &s->hosts[host];
    const char *what = json_text_of(action, "do");
    const json_t *args = json_object_get(action, "args");
    const char *bad = NULL;
    json_t *event = json_pack("{s:s,s:O}", "ev", "done", "id", json_object_get(action, "id"));
    if (str_eq(what, "store.commit")) {
        bool ok = false;
        json_object_set_new(event, "store", commit(s, args, &ok));
        bad = ok ? NULL : "store.conflict";
    } else if (str_starts(what, "observe.")) {
        json_object_set_new(event, "result", model_observation(h, what));
    } else if (str_starts(what, "vm.") && !str_ends(what, "_disks")) {
        bad = model_vm(s, h, what, args);
    } else if (str_eq(what, "mount.ensure")) {
        h->pool_mounted = true;
    } else if (str_eq(what, "mount.remove")) {
        h->pool_mounted = false;
    }
    if (bad) {
        json_object_set_new(event, "error", json_pack("{s:s,s:s}", "name", bad, "message", "model"));
    } else if (!json_object_get(event, "result")) {
        json_object_set_new(event, "result", json_object());
    }
    push(s, delay_us(s), host, event, NULL);
}

/* --- running ------------------------------------------------------------------------------- */

static int step(struct sim *s, size_t host, const json_t *event, struct err *e)
{
    json_t *actions = NULL;
    size_t i;
    json_t *action;
    int r = core_step(s->hosts[host].core, event, s->now_us, s->now_us, &actions, e);
    json_array_foreach(actions, i, action) {
        push(s, delay_us(s), host, NULL, json_incref(action));
    }
    json_decref(actions);
    s->steps++;
    return r;
}

static void check_invariants(const struct sim *s)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        for (size_t i = 0; i < s->hosts[h].domains.n; i++) {
            size_t running = sim_running(s, s->hosts[h].domains.items[i].key);
            if (running > 1) {
                (void)fprintf(stderr, "MORTAR_SEED=%llu: '%s' executes on %zu hosts\n",
                              (unsigned long long)s->seed, s->hosts[h].domains.items[i].key, running);
                abort();
            }
        }
    }
}

static void next_event(struct sim *s)
{
    struct sim_event *n = s->queue;
    struct sim_host *h = &s->hosts[n->host];
    struct err e = {0};
    s->queue = n->next;
    s->now_us = n->at_us;
    if (n->action && (n->life == h->life || prng_below(&s->prng, 2))) {
        execute(s, n->host, n->action); /* a dead agent's last calls may still happen */
    }
    if (n->event && n->life == h->life && h->is_up) {
        bool is_tick = str_eq(json_text_of(n->event, "ev"), "tick");
        (void)step(s, n->host, n->event, &e);
        if (is_tick) {
            bool is_list = prng_below(&s->prng, 10) == 0;
            push(s, USEC_PER_SEC, n->host, json_pack("{s:s}", "ev", "tick"), NULL);
            if (is_list) {
                push(s, delay_us(s), n->host, list_event(s), NULL);
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
        n += d && d->exists && d->is_running;
    }
    return n;
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
    assert(!h->is_up);
    (void)snprintf(instance, sizeof(instance), "%s-%u", h->name, h->life);
    h->core = core_new();
    h->is_up = true;
    _cleanup_json_ json_t *start = json_pack("{s:s,s:s,s:s,s:s,s:s}", "ev", "start", "host", h->name,
                                             "boot_id", "b1", "instance", instance, "uuid", h->name);
    (void)step(s, host, start, &e);
    push(s, delay_us(s), host, list_event(s), NULL);
    push(s, USEC_PER_SEC, host, json_pack("{s:s}", "ev", "tick"), NULL);
}

void sim_init(struct sim *s, uint64_t seed, size_t n)
{
    *s = (struct sim){.seed = seed, .prng = {seed}, .hosts_n = n, .delay_max_ms = 20, .now_us = USEC_PER_SEC};
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
                      "boot_id", "b1", "mgmt", addr, "storage", addr);
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
    }
    while (s->queue) {
        struct sim_event *next = s->queue->next;
        json_decref(s->queue->event);
        json_decref(s->queue->action);
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
