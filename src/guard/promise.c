/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/promise.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

#define ASK_AGAIN_MIN_US (5 * USEC_PER_MSEC)

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct promise_peer *find_peer(struct promise *p, const char *name)
{
    for (unsigned i = 0; i < p->n; i++) {
        if (str_eq(p->peers[i].name, name)) {
            return &p->peers[i];
        }
    }
    return NULL;
}

void promise_init(struct promise *p, uint64_t instance, uint64_t now_us)
{
    assert(instance && now_us);
    memset(p, 0, sizeof(*p));
    p->instance = instance;
    p->start_us = now_us;
    p->void_us = now_us - 1;
}

/* Promises by the old freeze_us, so that a longer one does not stretch what fencers gave for the
 * shorter. */
static void shorten_held(struct promise *p, uint64_t freeze_us)
{
    for (unsigned i = 0; i < p->n && freeze_us < p->times.freeze_us; i++) {
        uint64_t less = p->times.freeze_us - freeze_us;
        uint64_t held = p->peers[i].held_until_us;
        p->peers[i].held_until_us = held > less ? held - less : 0;
    }
}

void promise_configure(struct promise *p, const struct guard_conf *c, uint64_t now_us)
{
    unsigned n = 0;
    bool is_other = !str_eq(p->self, c->self);
    shorten_held(p, c->times.freeze_us);
    p->is_fencer = false;
    for (unsigned i = 0; i < c->hosts_n; i++) {
        const struct guard_host *h = &c->hosts[i];
        const struct promise_peer *known = find_peer(p, h->name);
        if (str_eq(h->name, c->self)) {
            p->is_fencer = h->is_fencer;
            continue;
        }
        /* What was promised before a start, or before it left and came back, is forgotten: as if
         * promised now. */
        p->next[n] = known
                         ? *known
                         : (struct promise_peer){.heard_us = now_us,
                                                 .admit_seq_us = p->seq_us + 1,
                                                 .granted_until_us = now_us + c->times.promise_us};
        memcpy(p->next[n].name, h->name, sizeof(h->name));
        p->next[n++].is_fencer = h->is_fencer;
    }
    memcpy(p->peers, p->next, n * sizeof(p->peers[0]));
    p->n = n;
    if (is_other || p->inc != c->inc) {
        promise_void(p, now_us);
    }
    p->self_denied_inc = is_other ? 0 : p->self_denied_inc;
    memcpy(p->self, c->self, sizeof(p->self));
    p->inc = c->inc;
    p->enforce = c->enforce;
    p->times = c->times;
    for (unsigned i = 0; i < c->denials_n; i++) {
        (void)promise_deny(p, c->denials[i].name, c->denials[i].inc); /* who is unknown is granted nothing */
    }
}

bool promise_deny(struct promise *p, const char *name, uint64_t inc)
{
    struct promise_peer *peer = find_peer(p, name);
    if (p->inc && str_eq(name, p->self)) {
        p->self_denied_inc = max_u64(p->self_denied_inc, inc);
        return true;
    }
    if (peer && inc > peer->denied_inc) {
        /* From here on nothing is granted, so the last promise decides; those of an earlier life of this
         * guard were counted as given at its start. A3's words would wait P from here, as if one had been
         * given just now: the silence before a fence would be waited for twice (docs/adr/0006). */
        peer->denied_inc = inc;
        peer->denial_until_us = max_u64(peer->granted_until_us, peer->denial_until_us);
    }
    return peer != NULL;
}

void promise_void(struct promise *p, uint64_t now_us)
{
    p->void_us = max_u64(p->seq_us, now_us);
    for (unsigned i = 0; i < p->n; i++) {
        p->peers[i].held_until_us = 0;
    }
}

/* Numbers grow although several datagrams leave within a microsecond; so they may be some ahead of
 * the clock. */
static void make_msg(struct promise *p, const struct promise_peer *to, enum guard_kind kind,
                     uint64_t now_us, struct guard_msg *ret)
{
    p->seq_us = max_u64(max_u64(now_us, p->seq_us + 1), p->void_us + 1);
    *ret = (struct guard_msg){.kind = kind,
                              .inc = p->inc,
                              .instance = p->instance,
                              .seq_us = p->seq_us,
                              .echo_instance = to->instance,
                              .echo_seq_us = to->newest_seq_us};
    memcpy(ret->from, p->self, sizeof(ret->from));
    memcpy(ret->to, to->name, sizeof(ret->to));
}

bool promise_request(struct promise *p, unsigned i, uint64_t now_us, struct guard_msg *ret)
{
    assert(i < p->n && p->inc);
    if (p->peers[i].is_fencer) {
        make_msg(p, &p->peers[i], GUARD_REQUEST, now_us, ret);
    }
    return p->peers[i].is_fencer;
}

/* Takes a number of the sender's present instance once, and only while it is among the newest. */
static bool take_seq(struct promise_peer *peer, uint64_t seq_us)
{
    unsigned oldest = 0;
    for (unsigned i = 0; i < PROMISE_WINDOW; i++) {
        if (peer->seen[i] == seq_us) {
            return false;
        }
        oldest = peer->seen[i] < peer->seen[oldest] ? i : oldest;
    }
    if (seq_us < peer->seen[oldest]) {
        return false;
    }
    peer->seen[oldest] = seq_us;
    peer->newest_seq_us = max_u64(peer->newest_seq_us, seq_us);
    return true;
}

/* Is it from the instance that we know, or has the other one answered something newer than our
 * taking up that? */
static bool admit(struct promise *p, struct promise_peer *peer, const struct guard_msg *m)
{
    if (m->instance == peer->instance) {
        return true;
    }
    if (m->echo_instance != p->instance || m->echo_seq_us < peer->admit_seq_us ||
        m->echo_seq_us > p->seq_us) {
        return false;
    }
    peer->instance = m->instance;
    peer->admit_seq_us = p->seq_us + 1;
    peer->newest_seq_us = 0;
    memset(peer->seen, 0, sizeof(peer->seen));
    return true;
}

static unsigned on_request(struct promise *p, struct promise_peer *peer, const struct guard_msg *m,
                           uint64_t now_us, struct guard_msg *ret)
{
    enum guard_kind kind = now_us < p->start_us + p->times.promise_us ? GUARD_GRACE : GUARD_PROMISE;
    if (!p->is_fencer) {
        return 0;
    }
    if (m->inc <= peer->denied_inc) {
        kind = GUARD_DENIED;
    } else {
        peer->granted_until_us = max_u64(peer->granted_until_us, now_us + p->times.promise_us);
    }
    make_msg(p, peer, kind, now_us, ret);
    ret->echo_seq_us = m->seq_us;
    ret->echo_inc = m->inc;
    ret->promise_us = kind == GUARD_DENIED ? 0 : p->times.promise_us;
    return PROMISE_REPLY;
}

static unsigned on_answer(struct promise *p, struct promise_peer *peer, const struct guard_msg *m,
                          uint64_t now_us)
{
    const struct guard_times *t = &p->times;
    if (!peer->is_fencer || m->echo_instance != p->instance || m->echo_seq_us > p->seq_us) {
        return 0;
    }
    if (m->kind == GUARD_HELLO) {
        bool is_early = now_us < peer->asked_again_us + ASK_AGAIN_MIN_US;
        peer->asked_again_us = is_early ? peer->asked_again_us : now_us;
        return is_early ? 0 : PROMISE_ASK_AGAIN;
    }
    if (m->echo_inc != p->inc || m->echo_seq_us <= p->void_us) {
        return 0;
    }
    if (m->kind == GUARD_DENIED) {
        peer->held_until_us = 0; /* it would run out anyway; so we freeze before we are fenced */
        return 0;
    }
    if (now_us + t->watchdog_us > m->echo_seq_us + m->promise_us / 100 * 85) {
        /* Too late, or by a fencer with other times: it is free before a dog petted now bites. */
        return 0;
    }
    uint64_t before = promise_run_until(p);
    peer->held_until_us = max_u64(peer->held_until_us, m->echo_seq_us + t->freeze_us);
    uint64_t until = promise_run_until(p);
    return until > before && until > now_us ? PROMISE_FRESH : 0;
}

unsigned promise_on_msg(struct promise *p, const struct guard_msg *m, uint64_t now_us,
                        unsigned *ret_peer, struct guard_msg *ret_reply)
{
    struct promise_peer *peer = p->inc && str_eq(m->to, p->self) ? find_peer(p, m->from) : NULL;
    if (!peer) {
        return PROMISE_REFUSED;
    }
    *ret_peer = (unsigned)(peer - p->peers);
    if (!admit(p, peer, m)) {
        /* An old recording, or a guard that was restarted: only the latter can use the answer. */
        make_msg(p, peer, GUARD_HELLO, now_us, ret_reply);
        ret_reply->echo_instance = m->instance;
        ret_reply->echo_seq_us = m->seq_us;
        return m->kind == GUARD_REQUEST ? PROMISE_REPLY : PROMISE_REFUSED;
    }
    if (!take_seq(peer, m->seq_us)) {
        return PROMISE_REFUSED;
    }
    peer->heard_us = now_us;
    return m->kind == GUARD_REQUEST ? on_request(p, peer, m, now_us, ret_reply)
                                    : on_answer(p, peer, m, now_us);
}

uint64_t promise_run_until(const struct promise *p)
{
    uint64_t best[GUARD_QUORUM] = {0, 0}; /* the longest first */
    if (!p->inc || p->self_denied_inc >= p->inc) {
        return 0;
    }
    best[0] = p->is_fencer ? UINT64_MAX : 0;
    for (unsigned i = 0; i < p->n; i++) {
        uint64_t until = p->peers[i].is_fencer ? p->peers[i].held_until_us : 0;
        if (until > best[0]) {
            best[1] = best[0];
            best[0] = until;
        } else if (until > best[1]) {
            best[1] = until;
        }
    }
    return best[GUARD_QUORUM - 1];
}

bool promise_may_run(const struct promise *p, uint64_t now_us)
{
    return now_us < promise_run_until(p);
}

bool promise_is_held(const struct promise *p, unsigned i, uint64_t now_us)
{
    assert(i < p->n);
    return p->peers[i].is_fencer && now_us < p->peers[i].held_until_us;
}

bool promise_is_silent(const struct promise *p, unsigned i, uint64_t now_us)
{
    assert(i < p->n);
    return now_us >= p->peers[i].heard_us + p->times.silent_us;
}

bool promise_denial_over(const struct promise *p, unsigned i, uint64_t now_us)
{
    assert(i < p->n);
    return p->peers[i].denied_inc && now_us >= p->peers[i].denial_until_us;
}

uint64_t promise_next_us(const struct promise *p, uint64_t now_us)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i <= p->n; i++) {
        const struct promise_peer *peer = i < p->n ? &p->peers[i] : NULL;
        const uint64_t edges[] = {
            peer ? peer->heard_us + p->times.silent_us : promise_run_until(p),
            peer && peer->denied_inc ? peer->denial_until_us : 0,
        };
        for (unsigned k = 0; k < ELEMENTS(edges); k++) {
            next = edges[k] > now_us && edges[k] < next ? edges[k] : next;
        }
    }
    return next;
}

void promise_decide(const struct promise *p, uint64_t now_us, bool is_frozen, bool is_still,
                    bool fresh, struct promise_orders *ret)
{
    bool may_run = promise_may_run(p, now_us);
    ret->freeze = p->enforce && !may_run;
    ret->thaw = may_run && is_frozen;
    ret->pet = p->enforce && (may_run ? fresh : is_frozen && is_still);
    assert(!ret->freeze || !ret->thaw);
}
