/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/flight.h"
#include "core/model/keys.h"
#include "sim_ha_impl.h"

#define LATE_MAX_US (20 * USEC_PER_SEC)
#define HUNG_STEP_US (20 * USEC_PER_MSEC)
#define BEAT_US (30 * USEC_PER_SEC) /* as in agent/act_observe.c */
#define LIST_EVERY_US (20 * USEC_PER_SEC) /* as in agent/feed.c */

uint64_t sim_delay_us(struct sim *s)
{
    return 100 + prng_below(&s->prng, s->delay_max_ms * USEC_PER_MSEC);
}

void sim_push(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action)
{
    sim_push_of(s, in_us, host, event, action, s->hosts[host].life);
}

void sim_push_of(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action, unsigned life)
{
    struct sim_event *n = sim_queue_new(&s->queue);
    n->at_us = s->now_us + in_us;
    n->host = host;
    n->life = life;
    n->boot = s->hosts[host].boot;
    n->event = event;
    n->action = action;
    sim_queue_add(&s->queue, n);
}

void sim_push_fn(struct sim *s, uint64_t in_us, size_t host, sim_fn fn, const void *payload,
                 size_t size)
{
    struct sim_event *n = sim_queue_new(&s->queue);
    assert(size <= sizeof(n->payload));
    n->at_us = s->now_us + in_us;
    n->host = host;
    n->fn = fn;
    memcpy(n->payload, size ? payload : "", size);
    sim_queue_add(&s->queue, n);
}

bool sim_chance(struct sim *s, int percent)
{
    return (int)prng_below(&s->prng, 100) < percent;
}

void sim_note(struct sim *s, const char *fmt, ...)
{
    if (s->trace) {
        va_list ap;
        va_start(ap, fmt);
        (void)fprintf(s->trace, "%10.3f ms  ", (double)s->now_us / 1000);
        (void)vfprintf(s->trace, fmt, ap);
        (void)fputc('\n', s->trace);
        va_end(ap);
    }
}

void sim_violated(struct sim *s, const char *fmt, ...)
{
    char text[sizeof(s->violation)];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* may be cut */
    va_end(ap);
    if (s->only && !str_starts(text, s->only)) {
        return;
    }
    if (!s->keeps_going) {
        (void)fprintf(stderr, "MORTAR_SEED=%llu at %llu us: %s\n", (unsigned long long)s->seed,
                      (unsigned long long)s->now_us, text);
        abort();
    }
    if (!s->violation[0]) {
        sim_note(s, "VIOLATION %s", text);
        memcpy(s->violation, text, sizeof(text));
    }
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

/* --- models of actions --------------------------------------------------------------------- */

static json_t *model_observation(struct sim *s, struct sim_host *h, const json_t *action)
{
    const char *what = json_text_of(action, "do");
    const json_t *pool = json_object_get(json_object_get(action, "args"), "pool");
    if (str_eq(what, "observe.domains")) {
        return sim_vm_list(s, (size_t)(h - s->hosts));
    }
    if (str_eq(what, "observe.host")) {
        return json_pack("{s:i,s:s,s:b,s:s,s:I,s:I,s:I,s:O*}", "cpus", 8, "cpu_model", "m", "kvm", 1, "qemu",
                         "7.2", "memory_bytes", (json_int_t)s->memory_bytes, "memory_free_bytes",
                         (json_int_t)s->memory_bytes, "beat", (json_int_t)(s->now_us / BEAT_US), "instance",
                         h->core ? json_object_get(h->core->self, "instance") : NULL);
    }
    if (str_eq(what, "observe.gluster")) {
        return json_pack("{s:b,s:[],s:{s:b}}", "ready", 1, "peers", "bricks", "vms",
                         sim_ha_has_brick(s, (size_t)(h - s->hosts)));
    }
    if (str_eq(what, "observe.etcd")) {
        return json_pack("{s:[]}", "list");
    }
    bool is_ready = str_eq(h->brick_of, json_text_of(pool, "uuid"));
    json_t *let_in = json_object_get(json_object_get(action, "args"), "let_in");
    return json_pack("{s:{s:s,s:i,s:i,s:O},s:{s:s,s:b},s:o*}", "brick", "state", is_ready ? "ready" : "absent",
                     "sector_bytes", 512, "heal_pending_files", sim_ha_lists(s, (size_t)(h - s->hosts)), "pool_uuid",
                     json_object_get(pool, "uuid"), "mount", "state", h->pool_mounted ? "mounted" : "absent", "quorum",
                     sim_ha_quorum(s, (size_t)(h - s->hosts)), "let_in",
                     s->mutant == SIM_ANY_LOOK_PROVES ? sim_ha_all_let_in(s) : json_incref(let_in));
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

static void prepare_brick(struct sim_host *h, const json_t *args)
{
    free(h->brick_of);
    h->brick_of = str_dup(json_text_of(json_object_get(args, "pool"), "uuid"));
}

/* @life: of the agent that asked for it, and hears how it ended only if it lives */
static void execute(struct sim *s, size_t host, const json_t *action, unsigned life)
{
    struct sim_host *h = &s->hosts[host];
    const char *what = json_text_of(action, "do");
    const json_t *args = json_object_get(action, "args");
    const char *bad = NULL;
    s->asking_life = life;
    json_t *event = json_object();
    json_object_set(event, "ev", s->done);
    json_object_set(event, "id", json_object_get(action, "id"));
    if (str_eq(what, "agent.restart")) {
        sim_note(s, "the agent of %s begins anew", h->name);
        sim_kill_agent(s, host);
        sim_start_agent(s, host);
    } else if (str_eq(what, "restore.look")) {
        json_object_set_new(event, "result", sim_vm_look(s, host, args));
    } else if (sim_ha_execute(s, host, action, event, &bad)) {
        /* of failover */
    } else if (str_eq(what, "store.commit")) {
        bad = sim_store_commit(s, host, args, event);
    } else if (str_starts(what, "observe.")) {
        json_object_set_new(event, "result", model_observation(s, h, action));
    } else if (str_starts(what, "sim.") || (str_starts(what, "vm.") && !str_ends(what, "_disks"))) {
        bad = sim_vm_action(s, host, action);
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
    if (str_eq(bad, SIM_LATER) || life != h->life) {
        json_decref(event);
        return;
    }
    if (bad) {
        json_object_set_new(event, "error", json_pack("{s:s,s:s}", "name", bad, "message", "model"));
    } else if (!json_object_get(event, "result")) {
        json_object_set_new(event, "result", json_object());
    }
    sim_push(s, sim_delay_us(s) + (str_eq(what, "observe.pool") ? sim_ha_look_us(s, host) : 0), host, event, NULL);
}

/* --- running ------------------------------------------------------------------------------- */

static uint64_t wall_us(const struct sim *s, size_t host)
{
    int64_t us = (int64_t)s->now_us + s->hosts[host].wall_off_us;
    return us > 0 ? (uint64_t)us : 0;
}

/* What the core left out in this step would have come to nothing (core/basis.h). */
static void check_twin(struct sim *s, size_t host, const json_t *event, const json_t *actions)
{
    const struct core *core = s->hosts[host].core;
    struct core *twin = s->hosts[host].twin;
    json_t *same = NULL;
    struct err e = {0};
    (void)core_step(twin, event, s->now_us, wall_us(s, host), &same, &e);
    if (!json_equal(actions, same) || !json_equal(core->facts, twin->facts) || core->wake_us != twin->wake_us) {
        _cleanup_free_ char *one = json_format(actions);
        _cleanup_free_ char *two = json_format(same);
        sim_violated(s, "%s leaves something out: it asks for %.60s, its twin for %.60s", s->hosts[host].name, one, two);
    }
    json_decref(same);
}

/* From the state that it has now. */
static void make_twin(struct sim *s, size_t host)
{
    struct err e = {0};
    _cleanup_json_ json_t *state = flight_save(s->hosts[host].core);
    if (flight_load(state, &s->hosts[host].twin, &e) < 0) {
        sim_violated(s, "the state of %s cannot be read again: %s", s->hosts[host].name, e.msg);
        return;
    }
    s->hosts[host].twin->ledger->is_off = true;
}

static int step(struct sim *s, size_t host, const json_t *event, struct err *e)
{
    json_t *actions = NULL;
    size_t i;
    json_t *action;
    if (s->mutant == SIM_TWINS && !s->hosts[host].twin) {
        make_twin(s, host);
    }
    int r = core_step(s->hosts[host].core, event, s->now_us, wall_us(s, host), &actions, e);
    if (s->hosts[host].twin) {
        check_twin(s, host, event, actions);
    }
    json_array_foreach(actions, i, action) {
        sim_push(s, sim_delay_us(s), host, NULL, sim_brick_asked(s, host, action));
    }
    if (s->record && host == s->record_host) {
        _cleanup_json_ json_t *line =
            json_pack("{s:I,s:I,s:O,s:O}", "now_us", (json_int_t)s->now_us, "wall_us",
                      (json_int_t)wall_us(s, host), "event", event, "actions", actions);
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
        sim_push(s, wake > s->now_us ? wake - s->now_us : 0, host, json_incref(s->wake), NULL);
    }
    return r;
}

/* S3: nothing executes twice. */
static void check_invariants(struct sim *s)
{
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        size_t running = 0;
        for (size_t h = 0; h < s->hosts_n; h++) {
            const struct sim_domain *d = &s->hosts[h].domains[vm];
            running += d->is_running && d->exists && !sim_ha_stands_still(s, h);
        }
        if (running > 1 && sim_ha_never_runs_late(s)) {
            sim_violated(s, "S3: '%s' executes on %zu hosts", s->vms[vm], running);
        }
    }
}

/* What is a thread or a child of the agent (PR_SET_PDEATHSIG) dies with it; what it has sent goes on. */
static bool is_of_agent(const json_t *action)
{
    const char *what = json_text_of(action, "do");
    return str_eq(what, "vm.clean") || str_eq(what, "host.end_bricks");
}

/* What a dead agent has asked for may still happen, soon or late, or never. Migrations are libvirt's
 * and go on in any case, but nothing survives the host itself. */
static bool is_executed(struct sim *s, struct sim_event *n)
{
    const struct sim_host *h = &s->hosts[n->host];
    if (n->boot != h->boot) {
        return false;
    }
    if (n->life == h->life || str_starts(json_text_of(n->action, "do"), "sim.end_")) {
        return true;
    }
    return !is_of_agent(n->action) && prng_below(&s->prng, 2);
}

static bool is_held_up(struct sim *s, struct sim_event *n)
{
    bool is_of_dead = n->action && n->life != s->hosts[n->host].life;
    if (!is_of_dead || n->is_late || prng_below(&s->prng, 2)) {
        return false;
    }
    n->is_late = true;
    n->at_us = s->now_us + prng_below(&s->prng, LATE_MAX_US);
    sim_queue_add(&s->queue, n);
    return true;
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
    sim_queue_add(&s->queue, n);
    return true;
}

/* Ticks come by themselves, and with them now and then a whole list: as late as an agent's (agent/feed.c), mostly sooner. */
static void tick_again(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    const struct core *c = h->core;
    bool is_list = prng_below(&s->prng, 10) == 0 || c->store_is_lost || !c->world.is_listed ||
                   s->now_us >= h->listed_us + LIST_EVERY_US;
    sim_push(s, USEC_PER_SEC, host, json_incref(s->tick), NULL);
    bool is_reached = !s->store_is_down && sim_ha_reaches_store(s, host);
    if (is_reached) {
        sim_check_guests(s, host);
    }
    if (is_list) {
        h->listed_us = s->now_us;
        sim_push(s, sim_delay_us(s), host,
                 is_reached ? sim_store_list(s) : json_pack("{s:s}", "ev", "lost"), NULL);
    }
}

static void next_event(struct sim *s)
{
    struct sim_event *n = sim_queue_take(&s->queue);
    struct sim_host *h = &s->hosts[n->host];
    struct err e;
    s->now_us = n->at_us;
    s->events++;
    if (n->fn) {
        n->fn(s, n->host, n->payload);
    } else if (is_put_off(s, n) || is_held_up(s, n)) {
        return;
    }
    if (n->action && is_executed(s, n)) {
        execute(s, n->host, n->action, n->life);
    }
    if (n->event && n->life == h->life && h->is_up && !is_unheard(s, n)) {
        e.code = 0;
        (void)step(s, n->host, n->event, &e);
        if (n->event == s->tick) {
            tick_again(s, n->host);
        }
    }
    sim_queue_drop(&s->queue, n);
    check_invariants(s);
}

void sim_run(struct sim *s, uint64_t us)
{
    uint64_t end = s->now_us + us;
    while (s->queue.n && s->queue.heap[0].at_us <= end) {
        next_event(s);
    }
    s->now_us = end;
}

bool sim_until(struct sim *s, bool (*fn)(struct sim *s, const void *arg), const void *arg, uint64_t limit_us)
{
    uint64_t end = s->now_us + limit_us;
    while (!fn(s, arg)) {
        if (!s->queue.n || s->queue.heap[0].at_us > end) {
            s->now_us = end;
            return false;
        }
        next_event(s);
    }
    return true;
}

const char *sim_wait(struct sim *s, const char *task, uint64_t limit_us)
{
    uint64_t end = s->now_us + limit_us;
    _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task);
    while (s->queue.n && s->now_us < end) {
        const char *state = json_text_of(sim_get(s, key), "state");
        if (state && !str_eq(state, "running")) {
            return state;
        }
        next_event(s);
    }
    return "";
}

void sim_stop_host(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    if (h->is_up) {
        sim_kill_agent(s, host);
    }
    h->boot++;
    memset(h->domains, 0, sizeof(h->domains));
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
    core_free(h->twin);
    h->core = NULL;
    h->twin = NULL;
    h->is_up = false;
    h->life++;
}

void sim_start_agent(struct sim *s, size_t host)
{
    struct sim_host *h = &s->hosts[host];
    struct err e = {0};
    char instance[64];
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
        h->listed_us = s->now_us;
        sim_push(s, sim_delay_us(s), host, sim_store_list(s), NULL);
    }
    sim_push(s, USEC_PER_SEC, host, json_incref(s->tick), NULL);
}

void sim_init(struct sim *s, uint64_t seed, size_t n)
{
    *s = (struct sim){.seed = seed, .prng = {seed}, .clock_prng = {~seed}, .hosts_n = n, .delay_max_ms = 20,
                      .memory_bytes = 64 * GIB, .deaf_percent = 2, .now_us = USEC_PER_SEC,
                      .hosts = xcalloc(SIM_HOSTS_MAX, sizeof(struct sim_host))};
    s->trace = getenv("MORTAR_TRACE") ? stderr : NULL;
    s->highest.free_value = free;
    s->acked.free_value = free;
    s->tick = json_pack("{s:s}", "ev", "tick");
    s->done = json_string("done");
    s->wake = json_pack("{s:s,s:b}", "ev", "tick", "extra", 1);
    sim_store_init(s);
    for (size_t i = 0; i < n; i++) {
        struct sim_host *h = &s->hosts[i];
        (void)snprintf(h->name, sizeof(h->name), "host%zu", i + 1);
        h->epochs.free_value = free;
        _cleanup_free_ char *key = str_printf("%s%s", KEY_NODE, h->name);
        _cleanup_free_ char *addr = str_printf("10.0.0.%zu", i + 1);
        _cleanup_json_ json_t *node =
            json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:s}", "name", h->name, "uuid", h->name, "role",
                      i + 1 == n && n > 2 ? "witness" : "converged", "state", "online", "inc", 1,
                      "boot_id", "b0", "mgmt", addr, "storage", addr);
        sim_store_set(s, key, node);
    }
    _cleanup_json_ json_t *net = json_pack("{s:s,s:s,s:i}", "name", "default", "bridge", "m0", "vni", 1);
    sim_store_set(s, KEY_NETWORK "default", net);
    for (size_t i = 0; i < n; i++) {
        sim_start_agent(s, i);
    }
}

void sim_done(struct sim *s)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        core_free(s->hosts[i].core);
        core_free(s->hosts[i].twin);
        smap_done(&s->hosts[i].epochs);
        json_decref(s->hosts[i].old_domains);
        free(s->hosts[i].brick_of);
    }
    free(s->hosts);
    s->hosts = NULL;
    smap_done(&s->highest);
    smap_done(&s->births);
    smap_done(&s->acked);
    sim_queue_done(&s->queue);
    sim_store_done(s);
    json_decref(s->snapshot);
    json_decref(s->tick);
    json_decref(s->wake);
    json_decref(s->done);
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
