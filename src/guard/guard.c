/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <time.h>

#include "base/str.h"
#include "guard/guard_sock.h"

#define UDP_PER_TURN 256
#define STILL_EVERY_US (2 * USEC_PER_MSEC)
#define STATUS_EVERY_US (900 * USEC_PER_MSEC) /* at least each second */
#define BEAT_UNCONFIGURED_US (500 * USEC_PER_MSEC)
#define SUSPENDED_MIN_US 10000 /* less is the time between two readings */

static uint64_t clock_us(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) < 0) {
        abort();
    }
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

static uint64_t now_us(void)
{
    return clock_us(CLOCK_MONOTONIC_RAW);
}

/* BOOTTIME − MONOTONIC grows by each suspend (A13). Read between two readings of the other clock.
 * */
static int64_t suspended_us(void)
{
    int64_t best = 0;
    uint64_t width = UINT64_MAX;
    for (int i = 0; i < 3 && width > 100; i++) {
        uint64_t before = clock_us(CLOCK_MONOTONIC);
        uint64_t boot = clock_us(CLOCK_BOOTTIME);
        uint64_t after = clock_us(CLOCK_MONOTONIC);
        best = after - before < width ? (int64_t)(boot - before) : best;
        width = after - before < width ? after - before : width;
    }
    return best;
}

static void check_suspend(struct guard *g)
{
    int64_t now = suspended_us();
    int64_t moved = now - g->suspended_us;
    if (moved > SUSPENDED_MIN_US || moved < -SUSPENDED_MIN_US) {
        promise_void(&g->promise, now_us());
        guard_log(LOG_WARNING, "this host was suspended: all promises are void; suspended_us=%lld",
                  (long long)moved);
    }
    g->suspended_us = now;
}

/* Logs a failure once until something succeeds again. */
static bool check_done(struct guard *g, int r, const struct err *e)
{
    if (r < 0 && !g->is_failing) {
        guard_log(LOG_ERR, "%s", e->msg);
    }
    g->is_failing = r < 0;
    return r == 0;
}

static void send_request(struct guard *g, unsigned peer)
{
    uint8_t data[GUARD_MSG_BYTES];
    struct guard_msg m;
    const struct guard_host *host = NULL;
    for (unsigned i = 0; i < g->conf.hosts_n && !host; i++) {
        host = str_eq(g->conf.hosts[i].name, g->promise.peers[peer].name) ? &g->conf.hosts[i]
                                                                          : NULL;
    }
    for (unsigned i = 0; host && i < host->addrs_n; i++) {
        if (promise_request(&g->promise, peer, now_us(), &m)) {
            guard_msg_format(&m, &g->key, data);
            sock_send_udp(g->udp_fd, host->addrs[i], g->port, data, sizeof(data));
        }
    }
}

static void on_udp(struct guard *g)
{
    uint8_t data[GUARD_MSG_BYTES + 1];
    struct sockaddr_in from;
    for (int i = 0; i < UDP_PER_TURN; i++) {
        struct guard_msg m;
        struct guard_msg reply;
        unsigned peer = 0;
        ssize_t n = sock_recv_udp(g->udp_fd, data, sizeof(data), &from);
        if (n < 0) {
            return;
        }
        if (!guard_msg_parse(data, (size_t)n, &g->key, &m)) {
            continue; /* not of this cluster; a line for each would be a gift to who sends it */
        }
        unsigned todo = promise_on_msg(&g->promise, &m, now_us(), &peer, &reply);
        if (todo & PROMISE_REPLY) {
            guard_msg_format(&reply, &g->key, data);
            sock_send_udp(g->udp_fd, from.sin_addr.s_addr, ntohs(from.sin_port), data,
                          GUARD_MSG_BYTES);
        }
        if (todo & PROMISE_ASK_AGAIN) {
            send_request(g, peer);
        }
        g->fresh = g->fresh || (todo & PROMISE_FRESH);
    }
}

/* The device follows `enforce` and the times; refused when its real timeout does not fit. */
static int apply_watchdog(struct guard *g, const struct guard_conf *c, struct err *e)
{
    bool is_same = g->conf.enforce && memcmp(&c->times, &g->conf.times, sizeof(c->times)) == 0;
    if (!c->enforce || !is_same) {
        watchdog_close(&g->dog, true);
    }
    if (!c->enforce || is_same) {
        g->dog.timeout_us = c->enforce ? g->dog.timeout_us : 0;
        return 0;
    }
    int r = watchdog_open(&g->dog, WATCHDOG_PATH, WATCHDOG_NOWAYOUT_PATH, &c->times, now_us(), e);
    if (r < 0 && g->conf.enforce) {
        (void)watchdog_open(&g->dog, WATCHDOG_PATH, WATCHDOG_NOWAYOUT_PATH, &g->conf.times, now_us(),
                            NULL); /* as before */
    }
    if (r == 0 && !g->dog.is_open) {
        guard_log(LOG_WARNING, "NO WATCHDOG: a host that hangs is not reset; %s", g->dog.why_none);
    }
    return r;
}

/* Return: 0, or why the configuration stays as it was */
static int apply_conf(struct guard *g, const char *text, size_t len, struct err *e)
{
    struct err why = {0};
    int r = guard_conf_parse(text, len, &g->heard, e);
    bool is_other_slice = r == 0 && !str_eq(g->heard.slice, g->conf.slice);
    if (r == 0 && is_other_slice && g->is_frozen) {
        r = ERR_SET(e, STATE, "the slice cannot change while it is frozen");
    }
    r = r < 0 ? r : apply_watchdog(g, &g->heard, e);
    if (r < 0) {
        return r;
    }
    if (is_other_slice) {
        freeze_done(&g->freeze);
        freeze_init(&g->freeze, g->heard.slice);
        (void)freeze_refresh(&g->freeze); /* it may come later */
    }
    if (!g->conf.enforce && g->heard.enforce && freeze_is_set(&g->freeze)) {
        guard_log(LOG_NOTICE, "the slice is frozen already: it thaws with a quorum of promises");
        g->is_frozen = true;
    }
    promise_configure(&g->promise, &g->heard, now_us());
    if (g->dog.is_open) {
        g->promise.times.watchdog_us = g->dog.timeout_us; /* what really bites */
    }
    memcpy(&g->conf, &g->heard, sizeof(g->conf));
    if (g->conf.enforce) {
        g->can_cut = check_done(g, egress_configure(&g->egress, &g->conf, g->is_frozen, &why),
                                &why);
    }
    g->beat_due_us = 0;
    guard_log(LOG_NOTICE,
              "configured; generation=%llu self=%s inc=%llu enforce=%d hosts=%u watchdog=%s",
              (unsigned long long)g->conf.generation, g->conf.self, (unsigned long long)g->conf.inc,
              (int)g->conf.enforce, g->conf.hosts_n, watchdog_kind(&g->dog));
    return 0;
}

/* config GENERATION, and the rest of the datagram. Return: 0 or why not */
static int on_config(struct guard *g, const char *generation, const char *text, size_t len,
                     struct err *e)
{
    uint64_t wanted = 0;
    int r = str_parse_u64(generation, INT64_MAX, &wanted, e);
    r = r < 0 ? r : guard_conf_parse(text, len, &g->heard, e);
    if (r == 0 && g->heard.generation != wanted) {
        r = ERR_SET(e, INVALID, "the configuration is of another generation than the command");
    }
    return r < 0 ? r : apply_conf(g, text, len, e);
}

static int on_deny(struct guard *g, const char *name, const char *number, struct err *e)
{
    uint64_t inc = 0;
    int r = str_parse_u64(number, INT64_MAX, &inc, e);
    if (r == 0 && !promise_deny(&g->promise, name, inc)) {
        r = ERR_SET(e, NOT_FOUND, "there is no host '%.63s'", name);
    }
    return r;
}

/* One datagram of the agent: lines of words. Return: 0 or why a line was refused; those before it
 * hold */
static int on_command(struct guard *g, const char *text, size_t len, struct err *e)
{
    char buf[256];
    char *w[3];
    if (len > GUARD_CONF_MAX_BYTES) {
        return ERR_SET(e, LIMIT, "a command of more than %u bytes", (unsigned)GUARD_CONF_MAX_BYTES);
    }
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t next = end ? (size_t)(end - text) + 1 : len;
        unsigned n = guard_words(text + at, next - at - (end ? 1 : 0), buf, sizeof(buf), w,
                                 ELEMENTS(w));
        int r = 0;
        if (n == 2 && str_eq(w[0], "config")) {
            return on_config(g, w[1], text + next, len - next, e);
        }
        if (n == 3 && str_eq(w[0], "deny")) {
            r = on_deny(g, w[1], w[2], e);
        } else if (n != 1 || !str_eq(w[0], "status")) {
            r = ERR_SET(e, USAGE, "no command that is known");
        }
        if (r < 0) {
            return r;
        }
        at = next;
    }
    return 0;
}

static size_t format_status(struct guard *g, uint64_t now, uint64_t *ret_edge)
{
    const struct guard_view view = {.generation = g->conf.generation,
                                    .is_frozen = g->is_frozen,
                                    .is_still = g->is_still,
                                    .freezes = g->freezes,
                                    .watchdog = watchdog_kind(&g->dog),
                                    .would_fire = g->dog.would_fire,
                                    .can_cut = g->can_cut,
                                    .refused = g->refused.msg};
    *ret_edge = guard_status_edge(&g->promise, &view, now);
    return guard_status_format(&g->promise, &view, now, g->status);
}

static void on_client(struct guard *g, int *fd)
{
    uint64_t edge = 0;
    ssize_t n = sock_recv_client(*fd, g->text, sizeof(g->text));
    if (n == -EAGAIN) {
        return;
    }
    if (n <= 0) {
        close_fdp(fd);
        *fd = -1;
        return;
    }
    g->refused = (struct err){0};
    if (on_command(g, g->text, (size_t)n, &g->refused) < 0) {
        guard_log(LOG_WARNING, "refused: %s", g->refused.msg);
    }
    sock_send_client(*fd, g->status, format_status(g, now_us(), &edge));
}

static void freeze_now(struct guard *g, uint64_t now)
{
    struct err e = {0};
    if (!g->is_frozen) {
        g->is_frozen = true;
        g->is_still = false;
        g->frozen_us = now;
        g->freezes++;
    }
    int frozen = freeze_apply(&g->freeze, true, &e);
    int cut = egress_apply(&g->egress, true, &e);
    g->can_cut = cut == 0;
    (void)check_done(g, frozen < 0 ? frozen : cut,
                     &e); /* the watchdog is not petted before all is still */
    bool was_still = g->is_still;
    g->is_still = frozen == 0 && freeze_observe(&g->freeze) != FREEZE_RUNNING;
    uint64_t after = now_us();
    bool is_early = after < g->frozen_us + GUARD_VERIFY_US;
    g->still_due_us = !g->is_still && is_early ? after + STILL_EVERY_US : UINT64_MAX;
    if (g->is_still && !was_still) {
        guard_log(LOG_WARNING, "no right to run: VMs are frozen and cut off; took_us=%llu",
                  (unsigned long long)(after - g->frozen_us));
    }
}

static void thaw_now(struct guard *g, uint64_t now)
{
    struct err e = {0};
    int r = egress_apply(&g->egress, false, &e);
    g->can_cut = r == 0;
    r = r < 0 ? r : freeze_apply(&g->freeze, false, &e);
    if (check_done(g, r, &e)) {
        g->is_frozen = false;
        g->is_still = false;
        g->still_due_us = UINT64_MAX;
        guard_log(LOG_NOTICE, "right to run regained: VMs run again; frozen_us=%llu",
                  (unsigned long long)(now - g->frozen_us));
    }
}

/* Messages are in before: who was stopped for a while must not judge by what it has not read yet.
 * */
static void act(struct guard *g, bool is_beat)
{
    struct promise_orders orders;
    uint64_t now = now_us();
    promise_decide(&g->promise, now, g->is_frozen, g->is_still, g->fresh, &orders);
    g->fresh = false;
    if (orders.freeze && (!g->is_frozen || is_beat || now >= g->still_due_us)) {
        freeze_now(g, now);
    } else if (orders.thaw) {
        thaw_now(g, now);
    }
    if (orders.pet && (is_beat || !g->is_frozen)) {
        watchdog_pet(&g->dog, now);
    }
    if (watchdog_count(&g->dog, now)) {
        guard_log(LOG_ERR, "a watchdog would have reset this host now; there is none");
    }
}

static void beat(struct guard *g)
{
    for (unsigned i = 0; i < g->promise.n; i++) {
        send_request(g, i);
    }
    if (g->conf.enforce) {
        (void)freeze_refresh(
            &g->freeze); /* a slice that came meanwhile is opened before it is needed */
    }
    sock_notify(g->notify_fd, "WATCHDOG=1");
    uint64_t every = g->conf.hosts_n ? g->conf.times.beat_us : BEAT_UNCONFIGURED_US;
    g->beat_due_us = now_us() + every;
}

static void send_status(struct guard *g)
{
    uint64_t edge = 0;
    uint64_t now = now_us();
    size_t len = format_status(g, now, &edge);
    if (edge == g->edge && now < g->status_due_us) {
        return;
    }
    for (unsigned i = 0; i < GUARD_CLIENTS_MAX; i++) {
        sock_send_client(g->clients[i], g->status, len);
    }
    g->edge = edge;
    g->status_due_us = now + STATUS_EVERY_US;
}

/* The timer runs by CLOCK_MONOTONIC, what it is for by RAW: woken early, we look and wait again. */
static void arm_timer(struct guard *g)
{
    uint64_t now = now_us();
    uint64_t due = g->beat_due_us < g->status_due_us ? g->beat_due_us : g->status_due_us;
    uint64_t edge = g->conf.hosts_n ? promise_next_us(&g->promise, now) : UINT64_MAX;
    due = edge < due ? edge : due;
    due = g->still_due_us < due ? g->still_due_us : due;
    uint64_t wait = due > now + 100 ? due - now : 100;
    const struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(wait / USEC_PER_SEC),
                     .tv_nsec = (long)(wait % USEC_PER_SEC * NSEC_PER_USEC)}};
    (void)timerfd_settime(g->timer_fd, 0, &at, NULL); /* its arguments are in range */
}

static void turn(struct guard *g, const struct epoll_event *events, int n)
{
    check_suspend(g);
    on_udp(g);
    for (int i = 0; i < n; i++) {
        uint32_t tag = events[i].data.u32;
        if (tag < GUARD_CLIENTS_MAX) {
            on_client(g, &g->clients[tag]);
        } else if (tag == SOCK_TAG_LISTEN) {
            sock_accept(g->epoll_fd, g->listen_fd, g->clients, GUARD_CLIENTS_MAX);
        } else if (tag == SOCK_TAG_SIGNAL) {
            g->is_over = true;
        } else if (tag == SOCK_TAG_TIMER) {
            uint64_t fired = 0;
            (void)!read(g->timer_fd, &fired,
                        sizeof(fired)); /* arm_timer() looks at the clock itself */
        }
    }
    bool is_beat = now_us() >= g->beat_due_us;
    act(g, is_beat);
    if (is_beat) {
        beat(g);
    }
    send_status(g);
    arm_timer(g);
}

void guard_run(struct guard *g)
{
    struct epoll_event events[16];
    (void)memset(events, 0, sizeof(events));
    guard_log(LOG_NOTICE, "started; instance=%016llx", (unsigned long long)g->promise.instance);
    sock_notify(g->notify_fd, "READY=1");
    turn(g, events, 0);
    while (!g->is_over) {
        int n = epoll_wait(g->epoll_fd, events, ELEMENTS(events), -1);
        turn(g, events, n > 0 ? n : 0);
    }
    /* Nobody is there who could run late: a host that is shut down is not reset on its way. */
    bool is_alone = freeze_observe(&g->freeze) == FREEZE_EMPTY;
    guard_log(LOG_NOTICE, "ends; frozen=%d stays so; vms=%d watchdog=%s%s", (int)g->is_frozen,
              (int)!is_alone, watchdog_kind(&g->dog),
              !g->dog.is_open ? "" : is_alone ? " is stopped" : " goes on ticking");
    watchdog_close(&g->dog, is_alone);
}

int guard_start(struct guard *g, const struct guard_opts *opts, struct err *e)
{
    uint64_t instance = 0;
    uint8_t key[GUARD_KEY_BYTES + 1];
    g->port = opts->port;
    g->still_due_us = UINT64_MAX;
    g->suspended_us = suspended_us();
    freeze_init(&g->freeze, "");
    ssize_t n = sock_read_file(opts->key, key, sizeof(key));
    if (n != GUARD_KEY_BYTES) {
        return n < 0 ? ERR_SYS(e, IO, (int)-n, "cannot read '%s'", opts->key)
                     : ERR_SET(e, PARSE, "'%s' is not %d bytes", opts->key, GUARD_KEY_BYTES);
    }
    guard_key_set(&g->key, key);
    explicit_bzero(key, sizeof(key));
    int r = sock_random(&instance, sizeof(instance), e);
    r = r < 0 ? r : egress_init(&g->egress, e);
    r = r < 0 ? r : sock_open_all(g, opts, e);
    if (r < 0) {
        return r;
    }
    promise_init(&g->promise, instance ? instance : 1, now_us());
    n = sock_read_file(opts->config, g->text, sizeof(g->text));
    r = n < 0 ? ERR_SYS(&g->refused, IO, (int)-n, "cannot read '%s'", opts->config)
              : apply_conf(g, g->text, (size_t)n, &g->refused);
    if (r < 0) {
        guard_log(LOG_ERR, "not configured, waiting for the agent: %s", g->refused.msg);
    }
    return 0;
}
