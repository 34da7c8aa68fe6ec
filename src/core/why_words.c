/* SPDX-License-Identifier: Apache-2.0
 * Facts in words. The names T1 … T11 and A9 are those of docs/design/failover.md. */
#include <inttypes.h>
#include <string.h>

#include "core/why.h"

/* A fact being put into words; @on told it. */
struct telling {
    const json_t *fact;
    const char *on;
    struct sbuf *out;
};

#define SAY(t, ...) sbuf_printf((t)->out, __VA_ARGS__)

static const char *word(const struct telling *t, const char *field)
{
    const char *text = json_text_of(t->fact, field);
    return text ? text : "?";
}

static uint64_t number(const struct telling *t, const char *field)
{
    return json_u64_of(t->fact, field, 0);
}

static bool is_true(const struct telling *t, const char *field)
{
    return json_bool_of(t->fact, field, false);
}

static bool is_word(const struct telling *t, const char *field, const char *expected)
{
    return str_eq(json_text_of(t->fact, field), expected);
}

/* --- hosts --------------------------------------------------------------------------------- */

static void tell_node_state(const struct telling *t)
{
    const char *host = word(t, "host");
    if (is_word(t, "state", "fencing")) {
        SAY(t, "%s is being fenced as incarnation %" PRIu64 " (T1, by %s): %s", host, number(t, "inc"),
            word(t, "by"), word(t, "why"));
    } else if (is_word(t, "state", "fenced")) {
        SAY(t, "%s is fenced (T3): every brick that counts has cut it off, and nothing of it is on its way", host);
    } else if (is_word(t, "state", "rejoining")) {
        SAY(t, "%s comes back as incarnation %" PRIu64 " (T9)", host, number(t, "inc"));
    } else if (is_word(t, "state", "online") && is_word(t, "was", "rejoining")) {
        SAY(t, "%s is healed, and a full member again (T11)", host);
    } else {
        SAY(t, "%s is %s", host, word(t, "state"));
    }
}

static void tell_node(const struct telling *t)
{
    const char *host = word(t, "host");
    if (is_word(t, "what", "state")) {
        tell_node_state(t);
    } else if (is_word(t, "what", "boot")) {
        SAY(t, "%s was booted again: incarnation %" PRIu64 " (T10)", host, number(t, "inc"));
    } else if (is_word(t, "what", "clean")) {
        SAY(t, "%s is let in again: nothing that it had written can turn up any more (A9)", host);
    } else if (is_word(t, "what", "flushed")) {
        SAY(t, "what %s had sent before its reboot has drained", host);
    } else {
        SAY(t, "%s has %s the cluster", host, is_word(t, "what", "left") ? "left" : "joined");
    }
}

static void tell_silent(const struct telling *t)
{
    SAY(t, "%s reports that it hears %s", word(t, "by"), is_true(t, "silent") ? "nothing of " : "of ");
    SAY(t, "%s%s", word(t, "host"), is_true(t, "silent") ? "" : " again");
}

static void tell_hears(const struct telling *t)
{
    SAY(t, is_true(t, "silent") ? "%s hears nothing of %s any more, on any network" : "%s hears %s again", t->on,
        word(t, "host"));
}

static void tell_promise(const struct telling *t)
{
    SAY(t, is_true(t, "held") ? "%s holds a promise of %s again" : "%s misses the promise of %s", t->on,
        word(t, "host"));
}

static void tell_right(const struct telling *t)
{
    SAY(t, is_true(t, "held") ? "%s may let guests run: it holds promises of two hosts"
                              : "%s may not let guests run: it holds promises of fewer than two hosts", t->on);
}

static void tell_freeze(const struct telling *t)
{
    SAY(t, is_true(t, "frozen") ? "the guard of %s freezes its guests and cuts them off"
                                : "the guard of %s lets its guests go on", t->on);
}

static void tell_guard(const struct telling *t)
{
    SAY(t, "the guard of %s %s", t->on,
        is_true(t, "anew") ? "was started anew" : is_true(t, "up") ? "answers" : "does not answer");
}

static void tell_denied(const struct telling *t)
{
    SAY(t, "%s promises nothing to %s any more (incarnation %" PRIu64 ")", t->on, word(t, "host"), number(t, "inc"));
}

static void tell_over(const struct telling *t)
{
    SAY(t, "every promise that %s had given to %s has run out", t->on, word(t, "host"));
}

static void tell_watchdog(const struct telling *t)
{
    SAY(t, "a watchdog would have reset %s now (watchdog: %s)", t->on, word(t, "kind"));
}

static void tell_store(const struct telling *t)
{
    SAY(t, is_true(t, "lost") ? "the agent of %s does not reach the store: it can decide nothing"
                              : "the agent of %s reaches the store again", t->on);
}

static void tell_agent(const struct telling *t)
{
    SAY(t, "the agent of %s has started", t->on);
}

/* --- the fence ----------------------------------------------------------------------------- */

static void tell_fence(const struct telling *t)
{
    const char *error = json_text_of(t->fact, "error");
    const char *host = word(t, "host");
    if (is_word(t, "what", "cut") && error) {
        SAY(t, "%s could not cut %s off (try %" PRIu64 "): %s", t->on, host, number(t, "fails"), error);
    } else if (is_word(t, "what", "cut")) {
        SAY(t, "%s has cut %s off (%" PRIu64 " ms)", t->on, host, number(t, "took_ms"));
    } else if (is_word(t, "what", "end") && error) {
        SAY(t, "%s cannot end its own bricks yet, and does not come back before (try %" PRIu64 "): %s", t->on,
            number(t, "fails"), error);
    } else if (is_word(t, "what", "end")) {
        SAY(t, "%s has ended its own bricks, which were cut off: nothing of before is left in them (%" PRIu64 " ms)",
            t->on, number(t, "took_ms"));
    } else if (error) {
        SAY(t, "%s cannot prove yet that nothing of %s is on its way (try %" PRIu64 "): %s", t->on, host,
            number(t, "fails"), error);
    } else {
        SAY(t, "%s has proved that nothing of %s is in its bricks (%" PRIu64 " ms)", t->on, host,
            number(t, "took_ms"));
    }
}

static void tell_cut(const struct telling *t)
{
    SAY(t, "%s reports that it has cut %s off", word(t, "by"), word(t, "host"));
}

static void tell_ack(const struct telling *t)
{
    uint64_t bricks = number(t, "bricks");
    if (is_true(t, "denied")) {
        SAY(t, "%s acknowledges the fence of %s (T2): promises run out, %" PRIu64 " brick%s drained", word(t, "by"),
            word(t, "host"), bricks, bricks == 1 ? "" : "s");
    } else {
        SAY(t, "%s acknowledges that %" PRIu64 " brick%s drained what %s had sent before its reboot",
            word(t, "by"), bricks, bricks == 1 ? " has" : "s have", word(t, "host"));
    }
}

static void tell_washed(const struct telling *t)
{
    SAY(t, "%s has laundered its stopped machines for the return of %s", word(t, "by"), word(t, "host"));
}

/* --- the machine --------------------------------------------------------------------------- */

static void tell_own(const struct telling *t)
{
    const char *owner = word(t, "owner");
    uint64_t epoch = number(t, "epoch");
    if (is_word(t, "mig", "active")) {
        SAY(t, "its move from %s to %s begins (T6)", owner, word(t, "dst"));
    } else if (is_word(t, "mig", "done")) {
        SAY(t, "%s owns it now, epoch %" PRIu64 ": it has moved from %s (T7)", owner, epoch, word(t, "was"));
    } else if (is_word(t, "mig", "aborted")) {
        SAY(t, "its move to %s was undone (T8)", word(t, "dst"));
    } else if (json_text_of(t->fact, "taken_from")) {
        SAY(t, "%s owns it now, epoch %" PRIu64 ": taken from %s, which is fenced (T4)", owner, epoch,
            word(t, "taken_from"));
    } else if (json_text_of(t->fact, "was") && !json_equal(json_object_get(t->fact, "was"),
                                                           json_object_get(t->fact, "owner"))) {
        SAY(t, "%s owns it now, epoch %" PRIu64 "; before it was %s", owner, epoch, word(t, "was"));
    } else {
        SAY(t, "%s takes epoch %" PRIu64 " for its next start", owner, epoch);
    }
}

static void tell_failure(const struct telling *t)
{
    uint64_t fails = number(t, "fails");
    SAY(t, "it does not run on %s: %s", word(t, "host"), word(t, "error"));
    if (is_true(t, "given_up")) {
        SAY(t, "; after %" PRIu64 " failures it is not started any more", fails);
    } else if (fails > 1) {
        SAY(t, "; failure %" PRIu64 " in a row, the next try waits longer", fails);
    }
}

static void tell_act(const struct telling *t)
{
    static const struct {
        const char *state;
        const char *before; /* the host */
        const char *after;
    } rows[] = {
        {"starting", "", " claims its start (T5)"},
        {"resuming", "its copy waits to be resumed on ", ""},
        {"running", "it runs on ", ""},
        {"stopped", "it has stopped on ", ""},
        {"stopping", "", " ends it, as the user wants"},
        {"washing", "", " launders its disks"},
        {"ioerror", "I/O error, its storage does not answer: it stands still on ", ""},
    };
    if (json_text_of(t->fact, "error")) {
        tell_failure(t);
        return;
    }
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        if (is_word(t, "state", rows[i].state)) {
            SAY(t, "%s%s%s, epoch %" PRIu64, rows[i].before, word(t, "host"), rows[i].after, number(t, "epoch"));
            return;
        }
    }
    SAY(t, "it is %s on %s, epoch %" PRIu64, word(t, "state"), word(t, "host"), number(t, "epoch"));
}

static void tell_spec(const struct telling *t)
{
    if (is_word(t, "what", "wanted")) {
        SAY(t, "it shall %s%s", is_word(t, "desired", "running") ? "run" : "be stopped",
            is_word(t, "stop", "force") && !is_word(t, "desired", "running") ? ", by force" : "");
    } else {
        SAY(t, "it was %s", word(t, "what"));
    }
}

static void tell_task(const struct telling *t)
{
    const char *error = json_text_of(t->fact, "error");
    if (json_text_of(t->fact, "was")) {
        SAY(t, "%s takes over %s, since %s is silent", word(t, "runner"), word(t, "kind"), word(t, "was"));
    } else if (is_word(t, "state", "running")) {
        SAY(t, "%s begins on %s", word(t, "kind"), word(t, "runner"));
    } else {
        SAY(t, "%s %s%s%s", word(t, "kind"), is_word(t, "state", "done") ? "is done" : word(t, "state"),
            error ? ": " : "", error ? error : "");
    }
}

static void tell_moved(const struct telling *t)
{
    SAY(t, "it moved from %s to %s in %" PRIu64 " ms; ", word(t, "from"), word(t, "to"), number(t, "total_ms"));
    if (json_object_get(t->fact, "blackout_ms")) {
        SAY(t, "it stood still for %" PRIu64 " ms of them", number(t, "blackout_ms"));
    } else {
        SAY(t, "for how long it stood still was not measured");
    }
}

static void tell_clean(const struct telling *t)
{
    uint64_t pieces = number(t, "laundered");
    SAY(t, "start rule: %s ", t->on);
    if (json_text_of(t->fact, "error")) {
        SAY(t, "may not start it yet (try %" PRIu64 "): %s", number(t, "fails"), word(t, "error"));
    } else if (pieces) {
        SAY(t, "has laundered %" PRIu64 " piece%s of its disks (%" PRIu64 " ms)", pieces, pieces == 1 ? "" : "s",
            number(t, "took_ms"));
    } else {
        SAY(t, "found no piece of its disks that could still change by itself (%" PRIu64 " ms)", number(t, "took_ms"));
    }
}

static void tell_did(const struct telling *t)
{
    static const struct {
        const char *what;
        const char *done;
        const char *failed;
    } rows[] = {
        {"create", "has started QEMU", "could not start QEMU"},
        {"kill", "has ended an instance that had lost its right", "could not end an instance that has lost its right"},
        {"destroy", "has cut its power", "could not cut its power"},
        {"shutdown", "has pressed its power button", "could not press its power button"},
        {"resume", "lets it go on", "could not let it go on"},
    };
    if (is_word(t, "what", "clean")) {
        tell_clean(t);
        return;
    }
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        if (is_word(t, "what", rows[i].what)) {
            const char *error = json_text_of(t->fact, "error");
            SAY(t, "%s %s%s%s (%" PRIu64 " ms)", t->on, error ? rows[i].failed : rows[i].done, error ? ": " : "",
                error ? error : "", number(t, "took_ms"));
        }
    }
}

static void tell_gone(const struct telling *t)
{
    SAY(t, "QEMU on %s has ended (%s)", t->on, word(t, "reason"));
}

static void tell_suspended(const struct telling *t)
{
    SAY(t, "QEMU on %s stands still (%s)", t->on, word(t, "reason"));
}

static void tell_wait(const struct telling *t)
{
    SAY(t, "its start waits, says %s: %s", t->on, word(t, "why"));
}

/* --- storage ------------------------------------------------------------------------------- */

static void tell_brick(const struct telling *t)
{
    SAY(t, "the brick of pool '%s' on %s is %s", word(t, "pool"), word(t, "host"),
        is_true(t, "online") ? "online again" : "offline");
}

static void tell_ended(const struct telling *t)
{
    const char *host = word(t, "host");
    if (is_word(t, "what", "ending")) {
        SAY(t, "the brick of pool '%s' on %s cannot prove that nothing of %s is left in it, and the others do without it: it "
            "is to end", word(t, "pool"), host, word(t, "foe"));
    } else if (is_word(t, "what", "ended")) {
        SAY(t, "the brick of pool '%s' on %s has ended, with all that was left in it of %s", word(t, "pool"), host,
            word(t, "foe"));
    } else if (is_word(t, "what", "kept")) {
        SAY(t, "the brick of pool '%s' on %s is not to end any more for the fence of %s", word(t, "pool"), host, word(t, "foe"));
    } else {
        SAY(t, "the brick of pool '%s' on %s, which was ended for the fence of %s, is back, and nothing is left to heal",
            word(t, "pool"), host, word(t, "foe"));
    }
}

static void tell_quorum(const struct telling *t)
{
    SAY(t, is_true(t, "quorum") ? "storage: pool '%s' has quorum again on %s"
                                : "storage: pool '%s' has no quorum on %s: guests there stand still when they write",
        word(t, "pool"), word(t, "host"));
}

static void tell_ha(const struct telling *t)
{
    SAY(t, "failover of pool '%s' is %s", word(t, "pool"),
        is_word(t, "ha", "preparing") ? "being prepared" : word(t, "ha"));
}

static void tell_drill(const struct telling *t)
{
    const char *host = word(t, "host");
    if (is_word(t, "state", "struck")) {
        SAY(t, "drill: %s strikes itself now (%s)", host, word(t, "kind"));
    } else if (is_word(t, "state", "refused")) {
        SAY(t, "drill: %s refuses (%s): %s", host, word(t, "kind"), word(t, "why"));
    } else if (is_word(t, "state", "done")) {
        SAY(t, "drill: the report on %s is written", host);
    } else {
        SAY(t, "drill: %s of %s %s", word(t, "kind"), host,
            is_word(t, "state", "armed") ? "may begin, all is well" : "is prepared: guests are listened to");
    }
}

bool why_words(const json_t *fact, const char *on, struct sbuf *out)
{
    static const struct {
        const char *kind;
        void (*fn)(const struct telling *t);
    } rows[] = {
        {"node", tell_node},       {"silent", tell_silent}, {"hears", tell_hears},       {"promise", tell_promise},
        {"right", tell_right},     {"freeze", tell_freeze}, {"guard", tell_guard},       {"denied", tell_denied},
        {"over", tell_over},       {"watchdog", tell_watchdog}, {"store", tell_store},   {"agent", tell_agent},
        {"fence", tell_fence},     {"cut", tell_cut},       {"ack", tell_ack},           {"washed", tell_washed},
        {"own", tell_own},         {"act", tell_act},       {"spec", tell_spec},         {"task", tell_task},
        {"moved", tell_moved},     {"did", tell_did},       {"gone", tell_gone},         {"suspended", tell_suspended},
        {"wait", tell_wait},       {"brick", tell_brick},   {"quorum", tell_quorum},     {"ha", tell_ha},
        {"drill", tell_drill},     {"ended", tell_ended},
    };
    const struct telling t = {fact, on, out};
    size_t before = out->len;
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        if (str_eq(rows[i].kind, json_text_of(fact, "k"))) {
            rows[i].fn(&t);
        }
    }
    return out->len > before;
}
