/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_status.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

struct text {
    char *data;
    size_t len;
};

static void add(struct text *t, const char *fmt, ...) _printf_(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->data + t->len, GUARD_STATUS_SIZE - t->len, fmt, ap);
    va_end(ap);
    assert(n >= 0 && t->len + (size_t)n < GUARD_STATUS_SIZE);
    t->len += (size_t)n;
}

static const char *word(bool b)
{
    return b ? "true" : "false";
}

static unsigned long long left_ms(uint64_t until_us, uint64_t now_us)
{
    return until_us > now_us ? (until_us - now_us) / USEC_PER_MSEC : 0;
}

/* Messages of errors quote what was sent: only what needs no escape in JSON stays. */
static void add_plain(struct text *t, const char *s)
{
    for (unsigned i = 0; s[i] && i < 300; i++) {
        bool is_plain = s[i] >= ' ' && s[i] <= '~' && s[i] != '"' && s[i] != '\\';
        add(t, "%c", is_plain ? s[i] : '?');
    }
}

size_t guard_status_format(const struct promise *p, const struct guard_view *v, uint64_t now_us,
                           char *ret)
{
    struct text t = {.data = ret};
    add(&t,
        "{\"instance\":\"%016llx\",\"generation\":%llu,\"enforce\":%s,\"run_right\":%s,\"frozen\":%"
        "s,",
        (unsigned long long)p->instance, (unsigned long long)v->generation, word(p->enforce),
        word(promise_may_run(p, now_us)), word(v->is_frozen));
    add(&t, "\"verified\":%s,\"freezes\":%llu,\"watchdog\":{\"kind\":\"%s\",\"would_fire\":%llu},",
        word(v->is_frozen && v->is_still), (unsigned long long)v->freezes, v->watchdog,
        (unsigned long long)v->would_fire);
    add(&t, "\"can_cut\":%s,\"refused\":\"", word(v->can_cut));
    add_plain(&t, v->refused);
    add(&t, "\",\"peers\":{");
    for (unsigned i = 0; i < p->n; i++) {
        const struct promise_peer *peer = &p->peers[i];
        add(&t,
            "%s\"%s\":{\"silent\":%s,\"heard_ms\":%llu,\"promise_ms\":%llu,\"granted_ms\":%llu,",
            i ? "," : "", peer->name, word(promise_is_silent(p, i, now_us)),
            left_ms(now_us, peer->heard_us),
            peer->is_fencer ? left_ms(peer->held_until_us, now_us) : 0,
            left_ms(peer->granted_until_us, now_us));
        add(&t, "\"denied_inc\":%llu,\"denial_over\":%s}", (unsigned long long)peer->denied_inc,
            word(promise_denial_over(p, i, now_us)));
    }
    add(&t, "}}");
    return t.len;
}

uint64_t guard_status_edge(const struct promise *p, const struct guard_view *v, uint64_t now_us)
{
    uint64_t hash = v->generation * 8 + (p->enforce ? 4 : 0) + (v->is_frozen ? 2 : 0) +
                    (v->is_still ? 1 : 0);
    hash = hash * 31 + v->freezes;
    hash = hash * 31 + v->would_fire;
    hash = hash * 31 + (v->can_cut ? 1 : 0);
    hash = hash * 31 + (promise_may_run(p, now_us) ? 1 : 0);
    for (unsigned i = 0; i < p->n; i++) {
        hash = hash * 1000003 + p->peers[i].denied_inc * 4 +
               (promise_is_silent(p, i, now_us) ? 2 : 0) +
               (promise_denial_over(p, i, now_us) ? 1 : 0);
    }
    return hash;
}
