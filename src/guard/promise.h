/* SPDX-License-Identifier: Apache-2.0
 * Promises: what this host holds (holder side), what it has given (fencer side), whom it hears,
 * and what follows for the VMs, the egress and the watchdog. Pure: messages and `now_us` come in,
 * messages and orders go out; no clock, I/O or allocation, so that the simulator runs these very
 * functions.
 *
 * `now_us` is one clock that never steps: CLOCK_MONOTONIC_RAW (A13). It is not 0 and never goes
 * back.
 *
 * Invariants (facts/ha.md 3.3, 3.5 I4, A3)
 * - A promise counts until the moment of sending the request that it echoes + freeze_us, and only
 *   when it arrives so early that a watchdog petted for it has fired by 85 % of the time that the
 *   fencer says it is bound.
 * - A denied (host, ≤ inc) is never granted again, and its denial is over only when each promise
 *   that was ever given to it has run out, also one that was forgotten at a restart.
 * - The right to run comes from promises alone: no passage of time brings it back.
 * Source: facts/ha.md 3.3 with A3, A13; docs/design/failover.md. */
#pragma once

#include "guard/guard_msg.h"

#define PROMISE_WINDOW 16 /* newest numbers of a sender that are told from replays */

struct promise_peer {
    char name[GUARD_NAME_SIZE];
    bool is_fencer;
    /* whom we believe */
    uint64_t instance;     /* 0: none yet */
    uint64_t admit_seq_us; /* another instance must echo a number of ours from here on */
    uint64_t seen[PROMISE_WINDOW];
    uint64_t newest_seq_us; /* goes back as echo */
    uint64_t heard_us;      /* on any network; at first when it was configured */
    uint64_t asked_again_us;
    /* holder: its promise to us */
    uint64_t held_until_us;
    /* fencer: our promises to it */
    uint64_t granted_until_us; /* to any incarnation */
    uint64_t denied_inc;       /* 0: none */
    uint64_t denial_until_us;
};

struct promise {
    uint64_t instance;
    uint64_t start_us;
    uint64_t seq_us;  /* last number used */
    uint64_t void_us; /* promises asked for up to here do not count */
    char self[GUARD_NAME_SIZE];
    uint64_t inc; /* own; 0: not configured */
    bool enforce;
    bool is_fencer;
    uint64_t self_denied_inc;
    struct guard_times times;
    unsigned n;
    struct promise_peer peers[GUARD_HOSTS_MAX]; /* in the configuration's order, without self */
    struct promise_peer next[GUARD_HOSTS_MAX];  /* scratch of promise_configure() */
};

/* What promise_on_msg() wants done; a set. */
enum promise_todo {
    PROMISE_REPLY = 1,     /* send the answer to where the message came from */
    PROMISE_ASK_AGAIN = 2, /* send a new request to this peer now, do not wait for the beat */
    PROMISE_FRESH = 4, /* the right to run was prolonged: pet the watchdog, see promise_decide() */
    PROMISE_REFUSED = 8, /* not for us, unknown sender, or a replay; nothing was changed */
};

/* What promise_decide() wants done. */
struct promise_orders {
    bool freeze; /* and cut egress; also when frozen already: what appeared since freezes, too */
    bool thaw;
    bool pet;
};

/** promise_init - a guard that was just started and knows nobody. @instance: random, not 0 */
void promise_init(struct promise *p, uint64_t instance, uint64_t now_us);

/**
 * promise_configure - take a configuration, the first one or another one
 *
 * Peers that stay keep their state by name. A changed own name or incarnation voids what is held;
 * a changed freeze_us may only shorten it. Denials are added to those known; one is forgotten only
 * with its host.
 */
void promise_configure(struct promise *p, const struct guard_conf *c, uint64_t now_us);

/**
 * promise_deny - never grant to (@name, ≤ @inc) again; again is nothing. Return: whether @name is
 * known
 */
bool promise_deny(struct promise *p, const char *name, uint64_t inc);

/**
 * promise_void - the host was suspended: all promises held are void, answers on their way, too
 * (A13)
 */
void promise_void(struct promise *p, uint64_t now_us);

/**
 * promise_request - this beat's request to peer @i (< @p->n); one call per datagram
 * @now_us: not after the moment of sending
 * Return: whether there is one to send; only fencers are asked
 */
bool promise_request(struct promise *p, unsigned i, uint64_t now_us, struct guard_msg *ret);

/**
 * promise_on_msg - a message that guard_msg_parse() accepted
 * @ret_peer: set unless refused        @ret_reply: set with PROMISE_REPLY
 * Return: set of enum promise_todo
 */
unsigned promise_on_msg(struct promise *p, const struct guard_msg *m, uint64_t now_us,
                        unsigned *ret_peer, struct guard_msg *ret_reply);

/** promise_run_until - the right to run ends here without more answers; 0 when there is none */
uint64_t promise_run_until(const struct promise *p);
/**
 * promise_may_run - has this host the right to run VMs now? Counts promises also when nothing is
 * enforced
 */
bool promise_may_run(const struct promise *p, uint64_t now_us);
/** promise_is_held - does the promise of peer @i to us count now? */
bool promise_is_held(const struct promise *p, unsigned i, uint64_t now_us);
/** promise_is_silent - has peer @i not been heard on any network for silent_us? */
bool promise_is_silent(const struct promise *p, unsigned i, uint64_t now_us);
/** promise_denial_over - is there a denial of peer @i, and has each promise to it run out? */
bool promise_denial_over(const struct promise *p, unsigned i, uint64_t now_us);

/**
 * promise_next_us - when, without any message, an answer of this module may change next
 * Return: after @now_us; UINT64_MAX when never
 */
uint64_t promise_next_us(const struct promise *p, uint64_t now_us);

/**
 * promise_decide - what the guard must do now
 * @is_frozen: the last order was freeze, or the slice was found frozen at start
 * @is_still: verified since: nothing below the slice runs, or nothing is there
 * @fresh: PROMISE_FRESH came since the last call
 */
void promise_decide(const struct promise *p, uint64_t now_us, bool is_frozen, bool is_still,
                    bool fresh, struct promise_orders *ret);
