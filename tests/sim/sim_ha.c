/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_ha.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "adapters/guard/guard_text.h"
#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "guard/guard_status.h"
#include "sim_impl.h"

#define POLL_US (25 * USEC_PER_MSEC)   /* a guard looks at its clock; a guest writes */
#define FLIGHT_US (5 * USEC_PER_MSEC)  /* longest way of a packet */
#define AGAIN_US (50 * USEC_PER_MSEC)  /* TCP sends once more */
#define DISK_US (100 * USEC_PER_MSEC)  /* longest stay in a brick's queue, but now and then */
#define SLOW_DISK_US (15 * USEC_PER_SEC)
#define BOOT_US (8 * USEC_PER_SEC)
#define TOLD_US (1 * USEC_PER_MSEC) /* in order, as through the socket */
#define RAW_START_US (1000 * USEC_PER_SEC)

struct packet {
    size_t from;
    unsigned boot; /* of the sender */
    enum sim_net net;
    struct guard_msg msg;
};

struct write {
    size_t from;
    unsigned boot;
    unsigned brick_boot;
    char uuid[64];
    char vm[32];
    uint64_t epoch;
};

static struct sim_ha_host *ha_host(const struct sim *s, size_t host)
{
    return &s->ha->hosts[host];
}

static uint64_t raw_us(const struct sim *s, size_t host)
{
    return RAW_START_US + s->now_us / 1000 * ha_host(s, host)->rate_ppm / 1000;
}

static bool is_alive(const struct sim *s, size_t host)
{
    return !ha_host(s, host)->is_off && !ha_host(s, host)->is_hung;
}

static void set_number(struct smap *m, const char *key, uint64_t value)
{
    uint64_t *n = xcalloc(1, sizeof(*n));
    *n = value;
    smap_put(m, key, n);
}

static bool lets_in(const struct sim *s, size_t host, size_t other)
{
    const struct sim_ha_host *h = ha_host(s, host);
    return !h->has_table || host == other || smap_get(&h->open, s->hosts[other].name);
}

static bool is_linked(const struct sim *s, enum sim_net net, size_t a, size_t b)
{
    return a == b || !s->ha->cut[net][a][b];
}

/* Packets on the storage network pass both filters; the management network has none. */
static bool passes(const struct sim *s, enum sim_net net, size_t from, size_t to)
{
    bool is_open = net == SIM_MGMT || (lets_in(s, from, to) && lets_in(s, to, from));
    return is_linked(s, net, from, to) && is_open;
}

/* --- what sim.c asks ----------------------------------------------------------------------- */

bool sim_ha_reaches_store(const struct sim *s, size_t host)
{
    size_t members = 0;
    for (size_t m = 0; s->ha && m < 3; m++) {
        members += is_alive(s, m) && is_linked(s, SIM_MGMT, host, m);
    }
    return !s->ha || (!ha_host(s, host)->is_off && members >= 2);
}

bool sim_ha_stands_still(const struct sim *s, size_t host)
{
    return s->ha && (!is_alive(s, host) || ha_host(s, host)->guard.is_frozen);
}

bool sim_ha_is_hung(const struct sim *s, size_t host)
{
    return s->ha && ha_host(s, host)->is_hung;
}

bool sim_ha_never_runs_late(const struct sim *s)
{
    return !s->ha || s->ha->has_watchdog;
}

bool sim_ha_quorum(const struct sim *s, size_t host)
{
    size_t n = 0;
    for (size_t b = 0; s->ha && b < 3; b++) {
        n += is_alive(s, b) && passes(s, SIM_STORAGE, host, b);
    }
    return !s->ha || n >= 2;
}

/* --- guards -------------------------------------------------------------------------------- */

static void on_packet(struct sim *s, size_t host, void *payload);

static void send_msg(struct sim *s, size_t from, size_t to, const struct guard_msg *m)
{
    for (int net = 0; net < SIM_NETS; net++) {
        if (!passes(s, (enum sim_net)net, from, to) || sim_chance(s, s->ha->loss_percent)) {
            continue;
        }
        struct packet *p = xcalloc(1, sizeof(*p));
        *p = (struct packet){from, s->hosts[from].boot, (enum sim_net)net, *m};
        sim_push_fn(s, 100 + prng_below(&s->prng, FLIGHT_US), to, on_packet, p);
    }
}

static void tell_core(struct sim *s, size_t host)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    static char text[GUARD_STATUS_SIZE];
    const struct guard_view v = {.is_frozen = g->is_frozen, .watchdog = "none", .refused = ""};
    struct err e = {0};
    json_t *status = NULL;
    if (!g->is_up || !g->p.inc || !s->hosts[host].is_up) {
        return;
    }
    uint64_t edge = guard_status_edge(&g->p, &v, raw_us(s, host));
    bool is_new_agent = g->told_life != s->hosts[host].life;
    if (g->told && edge == g->told_edge && !is_new_agent) {
        return;
    }
    g->told_edge = edge;
    g->told_life = s->hosts[host].life;
    size_t len = guard_status_format(&g->p, &v, raw_us(s, host), text);
    if (parse_guard_status(text, len, &status, &e) < 0) {
        sim_violated(s, "the guard's status cannot be read: %s", e.msg);
        return;
    }
    if (s->mutant == SIM_NO_PROMISE_WAIT) {
        const char *name;
        json_t *peer;
        json_object_foreach(json_object_get(status, "peers"), name, peer) {
            json_object_set_new(peer, "denial_over",
                                json_boolean(json_u64_of(peer, "denied_inc", 0) > 0));
        }
    }
    if (json_equal(status, g->told) && !is_new_agent) {
        json_decref(status);
        return;
    }
    json_decref(g->told);
    g->told = status;
    sim_push(s, TOLD_US, host, json_pack("{s:s,s:O}", "ev", "guard", "status", status), NULL);
}

static void decide(struct sim *s, size_t host, bool is_fresh)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    struct promise_orders o = {0};
    promise_decide(&g->p, raw_us(s, host), g->is_frozen, g->is_frozen, is_fresh, &o);
    g->is_frozen = (g->is_frozen || o.freeze) && !o.thaw;
    if (o.pet || !g->p.enforce) { /* the dog is armed with the first order to enforce */
        g->pet_us = s->now_us;
    }
    tell_core(s, host);
}

static void on_packet(struct sim *s, size_t host, void *payload)
{
    const struct packet *p = payload;
    struct sim_guard *g = &ha_host(s, host)->guard;
    unsigned peer = 0;
    struct guard_msg reply;
    if (ha_host(s, host)->is_hung && sim_chance(s, 50)) { /* waits in the socket */
        struct packet *again = xcalloc(1, sizeof(*again));
        *again = *p;
        sim_push_fn(s, AGAIN_US, host, on_packet, again);
        return;
    }
    if (!is_alive(s, host) || !g->is_up || !passes(s, p->net, p->from, host)) {
        return;
    }
    unsigned todo = promise_on_msg(&g->p, &p->msg, raw_us(s, host), &peer, &reply);
    if (todo & PROMISE_REPLY) {
        send_msg(s, host, p->from, &reply);
    }
    if (todo & PROMISE_ASK_AGAIN) {
        g->next_beat_us = 0;
    }
    decide(s, host, todo & PROMISE_FRESH);
}

static void beat(struct sim *s, size_t host)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    uint64_t now = raw_us(s, host);
    if (now < g->next_beat_us) {
        return;
    }
    g->next_beat_us = now + g->p.times.beat_us;
    for (unsigned i = 0; i < g->p.n; i++) {
        struct guard_msg m;
        size_t to = sim_host_index(s, g->p.peers[i].name);
        if (to < s->hosts_n && promise_request(&g->p, i, now, &m)) {
            send_msg(s, host, to, &m);
        }
    }
}

static void configure(struct sim *s, size_t host, const char *text)
{
    static struct guard_conf conf;
    struct err e = {0};
    if (guard_conf_parse(text, strlen(text), &conf, &e) < 0) {
        sim_violated(s, "the guard refuses its configuration: %s", e.msg);
        return;
    }
    if (s->mutant == SIM_FORGETS_DENIAL) {
        conf.denials_n = 0;
    }
    promise_configure(&ha_host(s, host)->guard.p, &conf, raw_us(s, host));
}

static void start_guard(struct sim *s, size_t host)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    promise_init(&g->p, 1 + prng_below(&s->prng, UINT64_C(1) << 60), raw_us(s, host));
    g->is_up = true;
    g->next_beat_us = 0;
    g->pet_us = s->now_us;
    json_decref(g->told);
    g->told = NULL;
    if (g->file) {
        configure(s, host, g->file);
    }
}

void sim_ha_crash_guard(struct sim *s, size_t host)
{
    if (is_alive(s, host)) {
        start_guard(s, host); /* what it had frozen stays frozen */
        sim_push(s, TOLD_US, host, json_pack("{s:s,s:n}", "ev", "guard", "status"), NULL);
    }
}

/* --- guests and bricks --------------------------------------------------------------------- */

static void count_flight(struct sim *s, const struct write *w, int by)
{
    _cleanup_free_ char *key = str_printf("%s/%llu", w->uuid, (unsigned long long)w->epoch);
    const uint64_t *n = smap_get(&s->ha->flight, key);
    set_number(&s->ha->flight, key, (n ? *n : 0) + (uint64_t)by);
}

bool sim_ha_is_flushed(const struct sim *s, const char *uuid, uint64_t epoch)
{
    _cleanup_free_ char *key = str_printf("%s/%llu", uuid, (unsigned long long)epoch);
    const uint64_t *n = s->ha ? smap_get(&s->ha->flight, key) : NULL;
    return !n || !*n;
}

static bool is_excluded(const struct sim *s, size_t brick)
{
    _cleanup_free_ char *key = str_printf("%s%s", KEY_NODE, s->hosts[brick].name);
    const char *state = json_text_of(sim_get(s, key), "state");
    return str_eq(state, "fencing") || str_eq(state, "fenced") || str_eq(state, "rejoining");
}

static void apply(struct sim *s, size_t brick, void *payload)
{
    const struct write *w = payload;
    struct sim_ha_host *b = ha_host(s, brick);
    const uint64_t *highest = smap_get(&s->highest, w->uuid);
    if (w->brick_boot != s->hosts[brick].boot || b->is_off) {
        count_flight(s, w, -1);
        return;
    }
    if (b->is_hung) {
        struct write *again = xcalloc(1, sizeof(*again));
        *again = *w;
        sim_push_fn(s, AGAIN_US, brick, apply, again);
        return;
    }
    b->queued[w->from]--;
    s->ha->applied++;
    count_flight(s, w, -1);
    if (highest && w->epoch < *highest && !is_excluded(s, brick)) {
        sim_violated(s, "a write of '%s' under epoch %llu from %s reaches the brick on %s after epoch %llu began",
                     w->vm, (unsigned long long)w->epoch, s->hosts[w->from].name, s->hosts[brick].name,
                     (unsigned long long)*highest);
    }
}

/* Queued in the brick, behind others: nobody takes it out again (facts/gluster.md 4.1). */
static void receive(struct sim *s, size_t brick, const struct write *w)
{
    struct write *queued = xcalloc(1, sizeof(*queued));
    *queued = *w;
    queued->brick_boot = s->hosts[brick].boot;
    ha_host(s, brick)->queued[w->from]++;
    uint64_t in_us = prng_below(&s->prng, sim_chance(s, s->ha->slow_percent) ? SLOW_DISK_US : DISK_US);
    sim_push_fn(s, in_us, brick, apply, queued);
}

/* The kernel that sent it goes on sending, also when the writer is dead, as long as it lives itself; a
 * filter and a destroyed socket end that. */
static void arrive(struct sim *s, size_t brick, void *payload)
{
    const struct write *w = payload;
    bool is_sent_on = !ha_host(s, w->from)->is_off && s->hosts[w->from].boot == w->boot;
    if (ha_host(s, brick)->is_off) {
        count_flight(s, w, -1);
        return;
    }
    bool is_cut_off = (!lets_in(s, brick, w->from) || w->boot < ha_host(s, brick)->sockets_of[w->from]) && s->mutant != SIM_NO_FENCE &&
                      !(s->mutant == SIM_FENCE_TWO && brick == 2);
    if (is_cut_off) {
        s->ha->refused++;
        count_flight(s, w, -1);
        return;
    }
    if (!is_linked(s, SIM_STORAGE, w->from, brick) || ha_host(s, brick)->is_hung) {
        if (is_sent_on) {
            struct write *again = xcalloc(1, sizeof(*again));
            *again = *w;
            sim_push_fn(s, AGAIN_US, brick, arrive, again);
        } else {
            count_flight(s, w, -1);
        }
        return;
    }
    receive(s, brick, w);
}

static void write_all(struct sim *s, size_t host, const char *vm, const struct sim_domain *d)
{
    for (size_t brick = 0; brick < 3; brick++) {
        struct write *w = xcalloc(1, sizeof(*w));
        *w = (struct write){.from = host, .boot = s->hosts[host].boot, .epoch = d->epoch};
        (void)snprintf(w->uuid, sizeof(w->uuid), "%s", d->uuid);
        (void)snprintf(w->vm, sizeof(w->vm), "%s", vm);
        count_flight(s, w, 1);
        sim_push_fn(s, 100 + prng_below(&s->prng, FLIGHT_US), brick, arrive, w);
    }
    s->ha->writes++;
}

static void run_guests(struct sim *s, size_t host)
{
    struct smap *domains = &s->hosts[host].domains;
    for (size_t i = 0; i < domains->n; i++) {
        const struct sim_domain *d = domains->items[i].value;
        if (d->exists && d->is_running && sim_chance(s, 20)) {
            write_all(s, host, domains->items[i].key, d);
        }
    }
}

/* Petted on fresh promises and in a verified freeze only: a host that hangs is reset (facts/ha.md 3.6). */
static bool bites(const struct sim *s, size_t host)
{
    const struct sim_guard *g = &ha_host(s, host)->guard;
    return s->ha->has_watchdog && g->is_up && g->p.enforce &&
           s->now_us > g->pet_us + g->p.times.watchdog_us;
}

static void poll_host(struct sim *s, size_t host, void *payload)
{
    struct sim_ha_host *h = ha_host(s, host);
    sim_push_fn(s, POLL_US, host, poll_host, NULL);
    if (h->is_off) {
        if (h->off_until_us && s->now_us >= h->off_until_us) {
            sim_ha_power_on(s, host);
        }
        return;
    }
    if (bites(s, host)) {
        sim_ha_power_off(s, host);
        h->off_until_us = s->now_us + BOOT_US;
        return;
    }
    if (h->is_hung) {
        return;
    }
    if (h->guard.is_up && h->guard.p.inc) {
        beat(s, host);
        decide(s, host, false);
    }
    if (!h->guard.is_frozen) {
        run_guests(s, host);
    }
}

/* --- actions ------------------------------------------------------------------------------- */

static const char *model_table(struct sim *s, size_t host, const json_t *args, json_t *event)
{
    struct sim_ha_host *h = ha_host(s, host);
    json_t *open = json_object_get(args, "open");
    const char *name;
    json_t *inc;
    json_object_foreach(open, name, inc) {
        const uint64_t *rec = smap_get(&h->records, name);
        if (rec && *rec >= (uint64_t)json_integer_value(inc)) {
            return "object.state";
        }
    }
    smap_done(&h->open);
    h->open = (struct smap){.free_value = free};
    json_object_foreach(open, name, inc) {
        (void)smap_del(&h->records, name);
        set_number(&h->open, name, (uint64_t)json_integer_value(inc));
    }
    h->has_table = true;
    json_object_set_new(event, "result", json_pack("{s:O}", "open", open));
    return NULL;
}

static const char *model_cut(struct sim *s, size_t host, const json_t *args)
{
    struct sim_ha_host *h = ha_host(s, host);
    const char *name = json_text_of(args, "host");
    set_number(&h->records, name, json_u64_of(args, "inc", 0));
    (void)smap_del(&h->open, name);
    size_t foe = sim_host_index(s, name);
    h->sockets_of[foe] = s->hosts[foe].boot; /* those of earlier boots are destroyed */
    return NULL;
}

static const char *model_drain(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    size_t foe = sim_host_index(s, json_text_of(args, "host"));
    if (ha_host(s, host)->queued[foe] && s->mutant != SIM_NO_DRAIN) {
        sim_push(s, AGAIN_US, host, NULL, json_deep_copy(action));
        return SIM_LATER;
    }
    return NULL;
}

static const char *model_configure(struct sim *s, size_t host, const json_t *args, json_t *event)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    free(g->file);
    g->file = format_guard_config(args, s->now_us, "/sys/fs/cgroup/slice");
    if (!g->is_up) {
        start_guard(s, host);
    } else {
        configure(s, host, g->file);
    }
    json_object_set_new(event, "result", json_pack("{s:O}", "config", args));
    return NULL;
}

static const char *model_deny(struct sim *s, size_t host, const json_t *args)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    const char *name = json_text_of(args, "host");
    uint64_t inc = json_u64_of(args, "inc", 0);
    if (!g->is_up || !g->file) {
        return "service.unavailable";
    }
    char *more = str_printf("%sdeny %s %llu\n", g->file, name, (unsigned long long)inc);
    free(g->file);
    g->file = more;
    (void)promise_deny(&g->p, name, inc);
    tell_core(s, host);
    return NULL;
}

static const char *model_clean(struct sim *s, size_t host, const json_t *args)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(args, "bricks"), i, brick) {
        size_t b = sim_host_index(s, json_text_of(brick, "host"));
        if (b == SIM_HOSTS_MAX || !is_alive(s, b) || !is_linked(s, SIM_MGMT, host, b) ||
            !sim_ha_quorum(s, host)) {
            return "remote.failed";
        }
    }
    return NULL;
}

bool sim_ha_execute(struct sim *s, size_t host, const json_t *action, json_t *event, const char **ret_bad)
{
    const char *what = json_text_of(action, "do");
    const json_t *args = json_object_get(action, "args");
    if (!s->ha) {
        return false;
    }
    if (str_eq(what, "fence.table")) {
        *ret_bad = model_table(s, host, args, event);
    } else if (str_eq(what, "fence.cut")) {
        *ret_bad = model_cut(s, host, args);
    } else if (str_eq(what, "fence.drain")) {
        *ret_bad = model_drain(s, host, action);
    } else if (str_eq(what, "guard.configure")) {
        *ret_bad = model_configure(s, host, args, event);
    } else if (str_eq(what, "guard.deny")) {
        *ret_bad = model_deny(s, host, args);
    } else if (str_eq(what, "vm.clean")) {
        *ret_bad = model_clean(s, host, args);
    } else {
        return false;
    }
    return true;
}

/* --- what a test does ---------------------------------------------------------------------- */

void sim_ha_init(struct sim *s)
{
    s->ha = xcalloc(1, sizeof(*s->ha));
    s->ha->has_watchdog = true;
    s->ha->flight.free_value = free;
    for (size_t i = 0; i < s->hosts_n; i++) {
        struct sim_ha_host *h = ha_host(s, i);
        h->rate_ppm = 995000 + prng_below(&s->prng, 10000);
        h->open.free_value = free;
        h->records.free_value = free;
        sim_push_fn(s, prng_below(&s->prng, POLL_US), i, poll_host, NULL);
    }
}

void sim_ha_done(struct sim *s)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        struct sim_ha_host *h = ha_host(s, i);
        free(h->guard.file);
        json_decref(h->guard.told);
        smap_done(&h->open);
        smap_done(&h->records);
    }
    smap_done(&s->ha->flight);
    free(s->ha);
    s->ha = NULL;
}

void sim_ha_power_off(struct sim *s, size_t host)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (h->is_off) {
        return;
    }
    sim_stop_host(s, host);
    h->is_off = true;
    h->is_hung = false;
    h->off_until_us = 0;
    h->guard.is_up = false;
    h->guard.is_frozen = false;
    memset(h->queued, 0, sizeof(h->queued));
}

/* Boots closed: the table is there before anything else is (3.4). */
void sim_ha_power_on(struct sim *s, size_t host)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (!h->is_off) {
        return;
    }
    h->is_off = false;
    h->off_until_us = 0;
    smap_done(&h->open);
    h->open = (struct smap){.free_value = free};
    h->has_table = h->has_table && s->mutant != SIM_OPEN_BOOT;
    if (h->guard.file) {
        start_guard(s, host);
    }
    sim_start_agent(s, host);
}

void sim_ha_hang(struct sim *s, size_t host)
{
    ha_host(s, host)->is_hung = !ha_host(s, host)->is_off;
}

void sim_ha_resume(struct sim *s, size_t host)
{
    ha_host(s, host)->is_hung = false;
}

void sim_ha_cut(struct sim *s, size_t host, enum sim_net net)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        s->ha->cut[net][host][i] = s->ha->cut[net][i][host] = i != host;
    }
}

void sim_ha_heal(struct sim *s)
{
    memset(s->ha->cut, 0, sizeof(s->ha->cut));
}

void sim_ha_admit(struct sim *s)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        struct err e = {0};
        _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[h].name);
        size_t through = 0;
        while (through < s->hosts_n && (through == h || !s->hosts[through].is_up)) {
            through++;
        }
        if (through < s->hosts_n && ha_node_is_held(sim_get(s, key))) {
            free(sim_request(s, through, "host.admit", json_pack("{s:s}", "name", s->hosts[h].name), &e));
        }
    }
}
