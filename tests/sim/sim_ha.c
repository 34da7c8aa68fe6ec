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
#include "sim_ha_impl.h"

#define LATE_US (25 * USEC_PER_MSEC)   /* a guard looks at its clock so late at most */
#define FLIGHT_US (5 * USEC_PER_MSEC)  /* longest way of a packet */
#define AGAIN_US (50 * USEC_PER_MSEC)  /* a packet that waits in a socket */
#define TWICE_PERCENT 10               /* of packets arrive on the second network, too: a replay */
#define BOOT_US (8 * USEC_PER_SEC)
#define TOLD_US (1 * USEC_PER_MSEC) /* in order, as through the socket */
#define DOG_IDLE_US (1 * USEC_PER_SEC)
#define RAW_START_US (1000 * USEC_PER_SEC)

struct packet {
    uint32_t from;
    unsigned boot;    /* of the sender */
    enum sim_net net; /* it comes by this one, */
    uint32_t more_us; /* and this much later by the other one; 0: not */
    struct guard_msg msg;
};
_Static_assert(sizeof(struct packet) <= SIM_PAYLOAD_MAX, "a packet does not fit into an event");

/* CLOCK_MONOTONIC_RAW of a host, which may be wrong in its rate. */
static uint64_t raw_us(const struct sim *s, size_t host)
{
    const struct sim_ha_host *h = ha_host(s, host);
    return RAW_START_US + h->ahead_us + (s->now_us - h->stood_us) / 1000 * h->rate_ppm / 1000;
}

/* When that clock will show @raw. */
static uint64_t when_us(const struct sim *s, size_t host, uint64_t raw)
{
    const struct sim_ha_host *h = ha_host(s, host);
    uint64_t start = RAW_START_US + h->ahead_us;
    uint64_t run = raw > start ? raw - start : 0;
    return h->stood_us + (run * 1000 / h->rate_ppm + 1) * 1000;
}

static void set_number(struct smap *m, const char *key, uint64_t value)
{
    uint64_t *n = xcalloc(1, sizeof(*n));
    *n = value;
    smap_put(m, key, n);
}

bool sim_ha_lets_in(const struct sim *s, size_t host, size_t other)
{
    const struct sim_ha_host *h = ha_host(s, host);
    return !h->has_table || host == other || smap_get(&h->open, s->hosts[other].name);
}

/* Packets on the storage network pass both filters; the management network has none. */
static bool passes(const struct sim *s, enum sim_net net, size_t from, size_t to)
{
    bool is_open = net == SIM_MGMT || (sim_ha_lets_in(s, from, to) && sim_ha_lets_in(s, to, from));
    return sim_ha_is_linked(s, net, from, to) && is_open;
}

/* --- what sim.c asks ----------------------------------------------------------------------- */

bool sim_ha_reaches_store(const struct sim *s, size_t host)
{
    size_t members = 0;
    for (size_t m = 0; s->ha && m < 3; m++) {
        members += sim_ha_is_alive(s, m) && !ha_host(s, m)->has_no_member && sim_ha_is_linked(s, SIM_MGMT, host, m);
    }
    return !s->ha || (!ha_host(s, host)->is_off && members >= 2);
}

bool sim_ha_stands_still(const struct sim *s, size_t host)
{
    bool is_frozen = s->ha && ha_host(s, host)->guard.is_frozen && s->mutant != SIM_FREEZES_IN_VAIN;
    return s->ha && (!sim_ha_is_alive(s, host) || is_frozen);
}

bool sim_ha_is_hung(const struct sim *s, size_t host)
{
    return s->ha && ha_host(s, host)->is_hung;
}

bool sim_ha_never_runs_late(const struct sim *s)
{
    return !s->ha || s->ha->has_watchdog || s->mutant == SIM_NO_WATCHDOG;
}

bool sim_ha_connects(const struct sim *s, size_t a, size_t b)
{
    return !s->ha || (sim_ha_is_alive(s, a) && sim_ha_is_alive(s, b) && passes(s, SIM_STORAGE, a, b));
}

bool sim_ha_has_brick(const struct sim *s, size_t host)
{
    return !s->ha || !ha_host(s, host)->has_no_brick;
}

bool sim_ha_quorum(const struct sim *s, size_t host)
{
    size_t n = 0;
    for (size_t b = 0; s->ha && b < 3; b++) {
        n += sim_ha_is_alive(s, b) && sim_ha_has_brick(s, b) && passes(s, SIM_STORAGE, host, b);
    }
    return !s->ha || n >= 2;
}

/* --- guards -------------------------------------------------------------------------------- */

static void on_packet(struct sim *s, size_t host, void *payload);
static void look_soon(struct sim *s, size_t host);

/* By both networks: what comes second is a replay, unless the first one was lost. */
static void send_msg(struct sim *s, size_t from, size_t to, const struct guard_msg *m)
{
    struct packet p = {.from = (uint32_t)from, .boot = s->hosts[from].boot, .msg = *m};
    uint64_t in_us[SIM_NETS];
    bool is_sent[SIM_NETS];
    for (int net = 0; net < SIM_NETS; net++) {
        is_sent[net] = passes(s, (enum sim_net)net, from, to) && !sim_chance(s, s->ha->loss_percent);
        in_us[net] = 100 + prng_below(&s->prng, FLIGHT_US);
    }
    bool is_both = is_sent[SIM_MGMT] && is_sent[SIM_STORAGE];
    if (!is_sent[SIM_MGMT] && !is_sent[SIM_STORAGE]) {
        return;
    }
    p.net = is_both ? (in_us[SIM_MGMT] < in_us[SIM_STORAGE] ? SIM_MGMT : SIM_STORAGE)
                    : is_sent[SIM_MGMT] ? SIM_MGMT : SIM_STORAGE;
    p.more_us = is_both ? (uint32_t)(in_us[SIM_NETS - 1 - p.net] - in_us[p.net] + 1) : 0;
    sim_push_fn(s, in_us[p.net], to, on_packet, &p, sizeof(p));
}

static void come_again(struct sim *s, size_t host, const struct packet *p)
{
    struct packet second = *p;
    second.net = SIM_NETS - 1 - p->net;
    second.more_us = 0;
    if (p->more_us) {
        sim_push_fn(s, p->more_us, host, on_packet, &second, sizeof(second));
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
    s->ha->freezes += o.freeze && !g->is_frozen;
    if ((o.freeze && !g->is_frozen) || o.thaw) {
        sim_note(s, "%s %s", s->hosts[host].name, o.thaw ? "thaws" : "freezes");
    }
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
        sim_push_fn(s, AGAIN_US, host, on_packet, p, sizeof(*p));
        return;
    }
    if (!sim_ha_is_alive(s, host) || !g->is_up || !passes(s, p->net, p->from, host)) {
        come_again(s, host, p);
        return;
    }
    unsigned todo = promise_on_msg(&g->p, &p->msg, raw_us(s, host), &peer, &reply);
    if (todo & PROMISE_REPLY) {
        send_msg(s, host, p->from, &reply);
    }
    if (todo & PROMISE_ASK_AGAIN) {
        g->next_beat_us = 0;
        look_soon(s, host);
    }
    if (!(todo & PROMISE_REFUSED)) {
        decide(s, host, todo & PROMISE_FRESH);
    }
    if (sim_chance(s, TWICE_PERCENT)) {
        come_again(s, host, p);
    }
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

/* As the loop of guard.c: it sleeps until the next beat or edge. Somewhat late, as everything. */
static void look(struct sim *s, size_t host, void *payload)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (h->is_off || s->now_us != h->guard.wake_us) {
        return; /* another look was planned since */
    }
    if (h->is_hung) {
        h->guard.wake_us = s->now_us + LATE_US;
        sim_push_fn(s, LATE_US, host, look, NULL, 0);
        return;
    }
    h->guard.wake_us = 0;
    beat(s, host);
    decide(s, host, false);
    look_soon(s, host);
}

/* Called whenever the next edge may have come nearer; packets only move edges away. */
static void look_soon(struct sim *s, size_t host)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    uint64_t now = raw_us(s, host);
    if (!g->is_up || !g->p.inc) {
        return;
    }
    uint64_t edge = promise_next_us(&g->p, now);
    edge = g->next_beat_us < edge ? g->next_beat_us : edge;
    uint64_t at = edge > now ? when_us(s, host, edge) : s->now_us;
    at = (at > s->now_us ? at : s->now_us) + 1 + prng_below(&s->prng, LATE_US);
    if (g->wake_us <= s->now_us || at < g->wake_us) {
        g->wake_us = at;
        sim_push_fn(s, at - s->now_us, host, look, NULL, 0);
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
    ha_host(s, host)->guard.next_beat_us = 0;
    look_soon(s, host);
}

static void start_guard(struct sim *s, size_t host)
{
    struct sim_guard *g = &ha_host(s, host)->guard;
    promise_init(&g->p, 1 + prng_below(&s->prng, UINT64_C(1) << 60), raw_us(s, host));
    g->is_up = true;
    g->next_beat_us = 0;
    g->wake_us = 0;
    g->pet_us = s->now_us;
    json_decref(g->told);
    g->told = NULL;
    if (g->file) {
        configure(s, host, g->file);
    }
}

void sim_ha_crash_guard(struct sim *s, size_t host)
{
    if (sim_ha_is_alive(s, host)) {
        start_guard(s, host); /* what it had frozen stays frozen */
        sim_push(s, TOLD_US, host, json_pack("{s:s,s:n}", "ev", "guard", "status"), NULL);
    }
}

/* --- the right to run ---------------------------------------------------------------------- */

/* Does @fencer, by its own clock, still owe @name that it acknowledges no fence? Without a guard it cannot at all. */
static bool is_bound(const struct sim *s, size_t fencer, const char *name)
{
    const struct promise *p = &ha_host(s, fencer)->guard.p;
    uint64_t now = raw_us(s, fencer);
    if (ha_host(s, fencer)->is_off || !ha_host(s, fencer)->guard.is_up || now < p->start_us + p->times.promise_us) {
        return true;
    }
    for (unsigned i = 0; i < p->n; i++) {
        if (str_eq(p->peers[i].name, name)) {
            return p->peers[i].granted_until_us > now;
        }
    }
    return false;
}

/* Whatever the clocks: while two of three fencers are bound, no fence completes (3.3). Who hangs longer than
 * that is reset before it could run again, if there is a watchdog. */
void sim_ha_check_right(struct sim *s, size_t host)
{
    const struct sim_guard *g = &ha_host(s, host)->guard;
    size_t bound = g->p.is_fencer; /* it never acknowledges its own */
    if (!g->is_up || !g->p.enforce || !s->ha->has_watchdog) {
        return;
    }
    for (unsigned i = 0; bound < 2 && i < g->p.n; i++) {
        size_t fencer = sim_host_index(s, g->p.peers[i].name);
        bound += g->p.peers[i].is_fencer && fencer < s->hosts_n && is_bound(s, fencer, s->hosts[host].name);
    }
    if (bound < 2) {
        sim_violated(s, "I4: guests execute on %s, to which %zu of three fencers are bound", s->hosts[host].name, bound);
    }
}

/* --- power and the watchdog ---------------------------------------------------------------- */

static void boot_again(struct sim *s, size_t host, void *payload)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (h->is_off && h->off_until_us && s->now_us >= h->off_until_us) {
        sim_ha_power_on(s, host);
    }
}

/* Petted on fresh promises and in a verified freeze only: a host that hangs is reset (facts/ha.md 3.6). */
static void dog(struct sim *s, size_t host, void *payload)
{
    struct sim_ha_host *h = ha_host(s, host);
    const struct sim_guard *g = &h->guard;
    bool is_armed = s->ha->has_watchdog && !h->is_off && g->is_up && g->p.enforce &&
                    !h->is_asleep && !(h->is_hung && s->mutant == SIM_CLOCK_STOPS);
    uint64_t bites_us = g->pet_us + g->p.times.watchdog_us;
    uint64_t next_us = DOG_IDLE_US;
    if (is_armed && s->now_us > bites_us) {
        sim_ha_power_off(s, host);
        s->ha->resets++;
        h->off_until_us = s->now_us + BOOT_US;
        sim_push_fn(s, BOOT_US, host, boot_again, NULL, 0);
    } else if (is_armed) {
        next_us = bites_us - s->now_us + 1 + prng_below(&s->prng, LATE_US);
    }
    sim_push_fn(s, next_us, host, dog, NULL, 0);
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
    if (s->trace) {
        _cleanup_free_ char *text = json_format(open);
        sim_note(s, "%s lets in %s", s->hosts[host].name, text);
    }
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
    sim_note(s, "%s cuts %s off", s->hosts[host].name, name);
    h->conns[foe]++; /* all are destroyed */
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
    look_soon(s, host);
    return NULL;
}

/* No filter any more, no guard, and nothing of either on disk. */
static void model_off(struct sim *s, size_t host)
{
    struct sim_ha_host *h = ha_host(s, host);
    sim_note(s, "%s has neither guard nor filter any more", s->hosts[host].name);
    free(h->guard.file);
    h->guard.file = NULL;
    h->guard.is_up = false;
    h->guard.is_frozen = false;
    h->guard.wake_us = 0;
    h->has_table = false;
    smap_done(&h->open);
    smap_done(&h->records);
    h->open = (struct smap){.free_value = free};
    h->records = (struct smap){.free_value = free};
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
        *ret_bad = sim_brick_drain(s, host, action, event);
    } else if (str_eq(what, "guard.configure")) {
        *ret_bad = model_configure(s, host, args, event);
    } else if (str_eq(what, "guard.deny")) {
        *ret_bad = model_deny(s, host, args);
    } else if (str_eq(what, "ha.off")) {
        model_off(s, host);
    } else if (str_eq(what, "host.clean")) { /* mounts are killed, and with them what waits in them */
        ha_host(s, host)->mounts++;
        s->hosts[host].pool_mounted = false;
    } else if (str_eq(what, "host.end_bricks")) {
        *ret_bad = sim_brick_end(s, host);
    } else if (str_eq(what, "brick.end")) {
        *ret_bad = sim_brick_end_stuck(s, host, action, event);
    } else if (str_eq(what, "gluster.start")) {
        sim_brick_start_ended(s, host);
    } else if (str_eq(what, "host.start_bricks")) {
        ha_host(s, host)->has_no_brick = false;
    } else if (str_eq(what, "launder.left")) {
        *ret_bad = sim_brick_is_any_laundering(s, host) ? "object.busy" : NULL;
    } else if (str_eq(what, "vm.clean")) {
        *ret_bad = sim_brick_launder(s, host, action);
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
    for (size_t i = 0; i < s->hosts_n; i++) {
        struct sim_ha_host *h = ha_host(s, i);
        h->rate_ppm = 995000 + prng_below(&s->prng, 10000);
        h->open.free_value = free;
        h->records.free_value = free;
        sim_push_fn(s, prng_below(&s->prng, DOG_IDLE_US), i, dog, NULL, 0);
        sim_brick_start(s, i);
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
    sim_brick_done(s);
    free(s->ha);
    s->ha = NULL;
}

void sim_ha_power_off(struct sim *s, size_t host)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (h->is_off) {
        return;
    }
    sim_note(s, "%s is off", s->hosts[host].name);
    sim_stop_host(s, host);
    h->is_off = true;
    h->is_hung = false;
    h->off_until_us = 0;
    h->guard.is_up = false;
    h->guard.is_frozen = false;
    memset(h->queued, 0, sizeof(h->queued));
    h->in_disk = 0;
    h->ending = 0;
    h->has_no_brick = false;
    h->is_wedged = false;
    for (size_t i = 0; i < s->hosts_n; i++) {
        h->conns[i]++;
    }
}

/* Boots closed: the table is there before anything else is (3.4). */
void sim_ha_power_on(struct sim *s, size_t host)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (!h->is_off) {
        return;
    }
    sim_note(s, "%s boots", s->hosts[host].name);
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
    struct sim_ha_host *h = ha_host(s, host);
    if (!h->is_off && !h->is_hung) {
        h->is_hung = true;
        h->hung_at_us = s->now_us;
    }
}

void sim_ha_resume(struct sim *s, size_t host)
{
    struct sim_ha_host *h = ha_host(s, host);
    if (h->is_hung && s->mutant == SIM_CLOCK_STOPS) {
        h->stood_us += s->now_us - h->hung_at_us;
    }
    h->is_hung = false;
}

void sim_ha_suspend(struct sim *s, size_t host, uint64_t us)
{
    struct sim_ha_host *h = ha_host(s, host);
    sim_ha_hang(s, host);
    h->is_asleep = h->is_hung;
    sim_run(s, us);
    h->is_asleep = false;
    if (h->is_hung) { /* before anything else runs: the clocks have moved against each other */
        h->guard.pet_us = s->now_us;
        promise_void(&h->guard.p, raw_us(s, host));
        sim_ha_resume(s, host);
        decide(s, host, false);
    }
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

void sim_ha_cut_between(struct sim *s, size_t a, size_t b)
{
    for (int net = 0; net < SIM_NETS; net++) {
        s->ha->cut[net][a][b] = s->ha->cut[net][b][a] = true;
    }
}

int sim_ha_lists(const struct sim *s, size_t host)
{
    for (size_t h = 0; s->ha && h < s->hosts_n; h++) {
        if (h != host && ha_host(s, h)->healed_at_us > s->now_us) {
            return 1;
        }
    }
    return 0;
}

uint64_t sim_ha_look_us(const struct sim *s, size_t host)
{
    return s->ha ? ha_host(s, host)->look_us : 0;
}

json_t *sim_ha_all_let_in(const struct sim *s)
{
    json_t *hosts = json_object();
    for (size_t h = 0; h < s->hosts_n; h++) {
        _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[h].name);
        const json_t *node = sim_get(s, key);
        uint64_t inc = json_u64_of(node, "inc", 0) + !str_eq(json_text_of(node, "state"), "rejoining");
        json_object_set_new(hosts, s->hosts[h].name, json_integer((json_int_t)inc));
    }
    return hosts;
}

/* Others list what a host lacks from its fence on, until it was healed; before that it is no full member. */
static void watch_heal(struct sim *s, size_t host, const json_t *node)
{
    struct sim_ha_host *h = ha_host(s, host);
    const char *state = json_text_of(node, "state");
    bool was_away = h->is_away;
    h->is_away = !str_eq(state, "online"); /* a brick alone may be away, too (case 19) */
    if (str_eq(state, "fencing")) {
        h->healed_at_us = UINT64_MAX;
    } else if (str_eq(state, "rejoining") && h->healed_at_us == UINT64_MAX && json_bool_of(node, "clean", false)) {
        h->healed_at_us = s->now_us + s->ha->heal_us;
    } else if (was_away && !h->is_away && h->healed_at_us > s->now_us) {
        sim_violated(s, "I8: %s is a full member before it is healed", s->hosts[host].name);
    }
}

void sim_ha_on_commit(struct sim *s, const char *key, const json_t *value)
{
    bool is_node = s->ha && s->ha->heal_us && str_starts(key, KEY_NODE);
    size_t host = is_node ? sim_host_index(s, key + strlen(KEY_NODE)) : SIM_HOSTS_MAX;
    if (host < SIM_BRICKS) { /* who has no brick lacks nothing */
        watch_heal(s, host, value);
    }
    if (s->mutant == SIM_ANYBODY_LAUNDERS && str_starts(key, KEY_NODE) &&
        str_eq(json_text_of(value, "state"), "fenced")) {
        sim_brick_launder_by_all(s, key + strlen(KEY_NODE));
    }
}
