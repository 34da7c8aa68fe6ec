/* SPDX-License-Identifier: Apache-2.0 */
#include "core/history.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/vm.h"

#define WAIT "wait/" /* in c->noted: {why, at_us} of what was told last */
#define WAIT_AGAIN_US (60 * USEC_PER_SEC)

/* Takes @fact; NULL: words from outside that are no UTF-8. */
static void add(struct core *c, const char *kind, json_t *fact)
{
    if (fact && json_array_size(c->facts) < HISTORY_STEP_MAX) {
        json_object_set_new(fact, "at", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
        json_object_set_new(fact, "k", json_string(kind));
        json_array_append(c->facts, fact);
    }
    json_decref(fact);
}

/* Also when both have none. */
static bool is_same(const json_t *a, const json_t *b, const char *field)
{
    const json_t *one = json_object_get(a, field);
    const json_t *two = json_object_get(b, field);
    return one == two || json_equal(one, two);
}

static bool is_null(const json_t *j)
{
    return !j || json_is_null(j);
}

/* Copies the fields of @from that @names lists, ended by NULL. */
static void copy(json_t *fact, const json_t *from, const char *const *names)
{
    for (; *names; names++) {
        if (!is_null(json_object_get(from, *names))) {
            json_object_set(fact, *names, json_object_get(from, *names));
        }
    }
}

/* --- records ------------------------------------------------------------------------------- */

struct change {
    struct core *c;
    const char *name; /* key without its prefix */
    const json_t *old;
    const json_t *value;
    json_int_t rev;
};

static void node_changed(const struct change *h)
{
    static const char *const told[] = {"state", "inc", "why", "by", NULL};
    const char *what = !h->value                      ? "left"
                       : !h->old                      ? "joined"
                       : !is_same(h->old, h->value, "state") ? "state"
                       : !is_same(h->old, h->value, "inc")   ? "boot"
                       : json_bool_of(h->value, "clean", false) && !json_bool_of(h->old, "clean", false)
                           ? "clean"
                       : json_bool_of(h->old, "flush", false) && !json_bool_of(h->value, "flush", false)
                           ? "flushed"
                           : NULL;
    if (what) {
        json_t *fact = json_pack("{s:s,s:s,s:I}", "host", h->name, "what", what, "rev", h->rev);
        copy(fact, h->value, told);
        if (json_text_of(h->old, "state")) {
            json_object_set(fact, "was", json_object_get(h->old, "state"));
        }
        add(h->c, "node", fact);
    }
}

static void silent_changed(const struct change *h)
{
    for (int round = 0; round < 2; round++) {
        const json_t *has = round ? h->old : h->value;
        const json_t *lacks = round ? h->value : h->old;
        size_t i;
        json_t *host;
        json_array_foreach(json_object_get(has, "hosts"), i, host) {
            if (!json_has_text(json_object_get(lacks, "hosts"), json_string_value(host))) {
                add(h->c, "silent", json_pack("{s:s,s:O,s:b,s:I}", "by", h->name, "host", host, "silent",
                                              round == 0, "rev", h->rev));
            }
        }
    }
}

/* "HOST/INC/BY" */
static json_t *mark_fact(const struct change *h)
{
    const char *inc = strchr(h->name, '/');
    const char *by = inc ? strchr(inc + 1, '/') : NULL;
    unsigned long long n = 0;
    if (!by || h->old || !h->value || sscanf(inc + 1, "%llu", &n) != 1) {
        return NULL;
    }
    _cleanup_free_ char *host = str_printf("%.*s", (int)(inc - h->name), h->name);
    return json_pack("{s:s,s:I,s:s,s:I}", "host", host, "inc", (json_int_t)n, "by", by + 1, "rev", h->rev);
}

static void cut_changed(const struct change *h)
{
    add(h->c, "cut", mark_fact(h));
}

static void ack_changed(const struct change *h)
{
    json_t *fact = mark_fact(h);
    uint64_t waited_us = 0;
    size_t i;
    json_t *proof;
    json_array_foreach(json_object_get(h->value, "drained"), i, proof) {
        uint64_t us = json_u64_of(proof, "waited_us", 0);
        waited_us = us > waited_us ? us : waited_us;
    }
    if (fact) {
        json_object_set_new(fact, "bricks", json_integer((json_int_t)json_array_size(
                                                json_object_get(h->value, "drained"))));
        json_object_set_new(fact, "waited_ms", json_integer((json_int_t)(waited_us / USEC_PER_MSEC)));
        json_object_set_new(fact, "denied", json_boolean(json_text_of(h->value, "instance") != NULL));
    }
    add(h->c, "ack", fact);
}

static void washed_changed(const struct change *h)
{
    add(h->c, "washed", mark_fact(h));
}

static void own_changed(const struct change *h, const char *vm)
{
    static const char *const told[] = {"owner", "epoch", "taken_from", NULL};
    const json_t *mig = json_object_get(h->value, "mig");
    const char *phase = json_text_of(mig, "phase");
    bool is_mig = phase && !json_equal(mig, json_object_get(h->old, "mig"));
    bool is_owner = !is_same(h->old, h->value, "owner");
    bool is_epoch = !is_same(h->old, h->value, "epoch");
    if (!h->value || !h->old || (!is_mig && !is_owner && !is_epoch)) {
        return; /* or defined, never started */
    }
    json_t *fact = json_pack("{s:s,s:I}", "vm", vm, "rev", h->rev);
    copy(fact, h->value, told);
    json_object_set(fact, "was", json_object_get(h->old, "owner"));
    json_object_set(fact, "was_epoch", json_object_get(h->old, "epoch"));
    if (is_mig) {
        json_object_set_new(fact, "mig", json_string(phase));
        json_object_set(fact, "dst", json_object_get(mig, "dst"));
    }
    add(h->c, "own", fact);
}

static void act_changed(const struct change *h, const char *vm)
{
    static const char *const told[] = {"state", "host", "epoch", "fails", NULL};
    if (!h->value || (!h->old && str_eq(json_text_of(h->value, "state"), "stopped")) ||
        (is_same(h->old, h->value, "state") && is_same(h->old, h->value, "epoch") &&
         is_same(h->old, h->value, "fails"))) {
        return;
    }
    json_t *fact = json_pack("{s:s,s:I}", "vm", vm, "rev", h->rev);
    copy(fact, h->value, told);
    if (json_text_of(json_object_get(h->value, "error"), "message")) {
        json_object_set(fact, "error", json_object_get(json_object_get(h->value, "error"), "message"));
    }
    if (vm_is_given_up(h->c, vm)) {
        json_object_set_new(fact, "given_up", json_true());
    }
    add(h->c, "act", fact);
}

static void spec_changed(const struct change *h, const char *vm)
{
    static const char *const told[] = {"desired", "stop", NULL};
    if (h->old && h->value && is_same(h->old, h->value, "desired") && is_same(h->old, h->value, "stop")) {
        return;
    }
    json_t *fact = json_pack("{s:s,s:s,s:I}", "vm", vm, "what",
                             !h->old ? "defined" : !h->value ? "removed" : "wanted", "rev", h->rev);
    copy(fact, h->value, told);
    add(h->c, "spec", fact);
}

static void last_changed(const struct change *h, const char *vm)
{
    static const char *const told[] = {"from", "to", "blackout_ms", "total_ms", "bytes", NULL};
    json_t *fact = h->value ? json_pack("{s:s,s:I}", "vm", vm, "rev", h->rev) : NULL;
    if (fact) {
        copy(fact, h->value, told);
        add(h->c, "moved", fact);
    }
}

static void vm_changed(const struct change *h)
{
    static const struct {
        const char *part;
        void (*fn)(const struct change *h, const char *vm);
    } parts[] = {
        {"/own", own_changed}, {"/act", act_changed}, {"/spec", spec_changed}, {"/last", last_changed},
    };
    const char *slash = strchr(h->name, '/');
    for (size_t i = 0; slash && i < ELEMENTS(parts); i++) {
        if (str_eq(slash, parts[i].part)) {
            _cleanup_free_ char *vm = str_printf("%.*s", (int)(slash - h->name), h->name);
            parts[i].fn(h, vm);
        }
    }
}

static void task_changed(const struct change *h)
{
    static const char *const told[] = {"kind", "state", "runner", NULL};
    const char *object = json_text_of(h->value, "object");
    const char *message = json_text_of(json_object_get(h->value, "error"), "message");
    bool is_news = !is_same(h->old, h->value, "state") || !is_same(h->old, h->value, "runner");
    if (!object || !is_news || !str_starts(json_text_of(h->value, "kind"), "vm.")) {
        return;
    }
    json_t *fact = json_pack("{s:s,s:s,s:I}", "vm", object, "task", h->name, "rev", h->rev);
    copy(fact, h->value, told);
    if (message) {
        json_object_set_new(fact, "error", json_string(message));
    }
    if (h->old && !is_same(h->old, h->value, "runner")) {
        json_object_set(fact, "was", json_object_get(h->old, "runner"));
    }
    add(h->c, "task", fact);
}

static void pool_changed(const struct change *h)
{
    if (h->old && h->value && !is_same(h->old, h->value, "ha")) {
        const char *ha = json_text_of(h->value, "ha");
        add(h->c, "ha", json_pack("{s:s,s:s,s:I}", "pool", h->name, "ha", ha ? ha : "off", "rev", h->rev));
    }
}

/* A brick that was in the way of a fence. */
static void ended_changed(const struct change *h)
{
    static const char *const told[] = {"host", "foe", NULL};
    bool has_ended = json_bool_of(h->value ? h->value : h->old, "ended", false);
    const char *what = !h->value ? (has_ended ? "whole" : "kept") : has_ended ? "ended" : !h->old ? "ending" : NULL;
    if (what) {
        json_t *fact = json_pack("{s:s,s:s,s:I}", "pool", h->name, "what", what, "rev", h->rev);
        copy(fact, h->value ? h->value : h->old, told);
        add(h->c, "ended", fact);
    }
}

static void drill_changed(const struct change *h)
{
    static const char *const told[] = {"host", "kind", "state", "why", NULL};
    if (h->value && !is_same(h->old, h->value, "state")) {
        json_t *fact = json_pack("{s:s,s:I}", "id", h->name, "rev", h->rev);
        copy(fact, h->value, told);
        add(h->c, "drill", fact);
    }
}

static void bricks_changed(const struct change *h, const char *host)
{
    const char *pool;
    json_t *is_online;
    json_object_foreach(json_object_get(h->value, "bricks"), pool, is_online) {
        const json_t *before = json_object_get(json_object_get(h->old, "bricks"), pool);
        if (before && !json_equal(before, is_online)) {
            add(h->c, "brick", json_pack("{s:s,s:s,s:O,s:I}", "host", host, "pool", pool, "online",
                                         is_online, "rev", h->rev));
        }
    }
}

/* What a host's mount says of its pool: without quorum no guest on it can write. */
static void mount_changed(const struct change *h, const char *host, const char *pool)
{
    const json_t *old = json_object_get(h->old, "mount");
    const json_t *now = json_object_get(h->value, "mount");
    if (old && now && !is_same(old, now, "quorum")) {
        add(h->c, "quorum", json_pack("{s:s,s:s,s:b,s:I}", "host", host, "pool", pool, "quorum",
                                      json_bool_of(now, "quorum", false), "rev", h->rev));
    }
}

static void seen_changed(const struct change *h)
{
    const char *slash = strchr(h->name, '/');
    if (!slash) {
        return;
    }
    _cleanup_free_ char *host = str_printf("%.*s", (int)(slash - h->name), h->name);
    if (str_eq(slash, "/gluster")) {
        bricks_changed(h, host);
    } else if (str_starts(slash, "/pool/")) {
        mount_changed(h, host, slash + strlen("/pool/"));
    }
}

void history_record(struct core *c, const char *key, const json_t *old, const json_t *value,
                    uint64_t revision)
{
    static const struct {
        const char *prefix;
        void (*fn)(const struct change *h);
    } rows[] = {
        {KEY_NODE, node_changed}, {KEY_SILENT, silent_changed}, {KEY_CUT, cut_changed},
        {KEY_ACK, ack_changed},   {KEY_WASHED, washed_changed}, {KEY_VM, vm_changed},
        {KEY_TASK, task_changed}, {KEY_POOL, pool_changed},     {KEY_SEEN, seen_changed},
        {KEY_DRILL, drill_changed}, {KEY_ENDED, ended_changed},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        if (str_starts(key, rows[i].prefix)) {
            const struct change h = {c, key + strlen(rows[i].prefix), old, value, (json_int_t)revision};
            rows[i].fn(&h);
            return;
        }
    }
}

void history_list(struct core *c, const json_t *rows)
{
    size_t i;
    json_t *row;
    if (!c->world.is_listed) {
        return; /* nothing is known of before */
    }
    json_array_foreach(rows, i, row) {
        const char *key = json_string_value(json_array_get(row, 0));
        uint64_t mod = (uint64_t)json_integer_value(json_array_get(row, 1));
        const struct record *held = key ? world_record(&c->world, key) : NULL;
        if (key && (!held || held->mod < mod)) {
            history_record(c, key, held ? held->value : NULL, json_array_get(row, 2), mod);
        }
    }
}

/* --- the guard ----------------------------------------------------------------------------- */

static void peer_changed(struct core *c, const char *host, const json_t *old, const json_t *now)
{
    bool was_silent = json_bool_of(old, "silent", false);
    bool is_silent = json_bool_of(now, "silent", false);
    bool had = json_bool_of(old, "held", false);
    bool has = json_bool_of(now, "held", false);
    uint64_t inc = json_u64_of(now, "denied_inc", 0);
    if (was_silent != is_silent) {
        add(c, "hears", json_pack("{s:s,s:b}", "host", host, "silent", is_silent));
    }
    if (old && had != has) {
        add(c, "promise", json_pack("{s:s,s:b}", "host", host, "held", has));
    }
    if (old && inc > json_u64_of(old, "denied_inc", 0)) {
        add(c, "denied", json_pack("{s:s,s:I}", "host", host, "inc", (json_int_t)inc));
    }
    if (inc && json_bool_of(now, "denial_over", false) && !json_bool_of(old, "denial_over", false)) {
        add(c, "over", json_pack("{s:s,s:I}", "host", host, "inc", (json_int_t)inc));
    }
}

void history_guard(struct core *c, const json_t *old, const json_t *now)
{
    const char *host;
    json_t *peer;
    if (is_null(now) || is_null(old)) {
        if (is_null(now) != is_null(old)) {
            add(c, "guard", json_pack("{s:b}", "up", !is_null(now)));
        }
        return;
    }
    if (!is_same(old, now, "instance")) {
        add(c, "guard", json_pack("{s:b,s:b}", "up", 1, "anew", 1));
        return; /* the new one knows nothing of what the old one held */
    }
    json_object_foreach(json_object_get(now, "peers"), host, peer) {
        peer_changed(c, host, json_object_get(json_object_get(old, "peers"), host), peer);
    }
    if (!is_same(old, now, "run_right")) {
        add(c, "right", json_pack("{s:b}", "held", json_bool_of(now, "run_right", false)));
    }
    if (!is_same(old, now, "frozen")) {
        add(c, "freeze", json_pack("{s:b}", "frozen", json_bool_of(now, "frozen", false)));
    }
    if (json_u64_of(now, "would_fire", 0) > json_u64_of(old, "would_fire", 0)) {
        add(c, "watchdog", json_pack("{s:O*}", "kind", json_object_get(now, "watchdog")));
    }
}

/* --- what this host did -------------------------------------------------------------------- */

/* Failures that repeat themselves are told at the 1st, 2nd, 4th, 8th … time. */
static bool is_told(const struct attempt *a)
{
    return !a->error.code || (a->fails & (a->fails - 1)) == 0;
}

static json_t *outcome(const struct core *c, const struct attempt *a, const char *what)
{
    json_t *fact = json_pack("{s:s,s:I}", "what", what, "took_ms",
                             (json_int_t)((c->now_us - a->started_us) / USEC_PER_MSEC));
    if (a->error.code) {
        json_object_set_new(fact, "error", json_string(a->error.msg));
        json_object_set_new(fact, "fails", json_integer((json_int_t)a->fails));
    }
    return fact;
}

/* "vm/NAME/WHAT…", and for some kinds "/UUID/EPOCH" after it */
static void vm_done(struct core *c, const char *id, const struct attempt *a)
{
    static const char *const told[] = {"create", "clean", "kill", "destroy", "shutdown", "resume"};
    const char *name = id + strlen("vm/");
    const char *what = strchr(name, '/');
    const char *epoch = strrchr(id, '/');
    unsigned long long n = 0;
    for (size_t i = 0; what && i < ELEMENTS(told); i++) {
        size_t len = strlen(told[i]);
        if (strncmp(what + 1, told[i], len) != 0 || (what[1 + len] && what[1 + len] != '/')) {
            continue;
        }
        json_t *fact = outcome(c, a, told[i]);
        json_object_set_new(fact, "vm", json_sprintf("%.*s", (int)(what - name), name));
        if (epoch > what && sscanf(epoch + 1, "%llu", &n) == 1) {
            json_object_set_new(fact, "epoch", json_integer((json_int_t)n));
        }
        if (json_object_get(a->result, "laundered")) {
            json_object_set(fact, "laundered", json_object_get(a->result, "laundered"));
        }
        add(c, "did", fact);
    }
}

/* "ha/fence/HOST/INC/WHAT" */
static void fence_done(struct core *c, const char *id, const struct attempt *a)
{
    char host[65];
    char what[17];
    unsigned long long inc = 0;
    if (sscanf(id, "ha/fence/%64[^/]/%llu/%16s", host, &inc, what) != 3 ||
        (!str_eq(what, "cut") && !str_eq(what, "drain") && !str_eq(what, "end"))) {
        return;
    }
    json_t *fact = outcome(c, a, what);
    json_object_set_new(fact, "host", json_string(host));
    json_object_set_new(fact, "inc", json_integer((json_int_t)inc));
    add(c, "fence", fact);
}

void history_done(struct core *c, const char *id, const struct attempt *a)
{
    if (!is_told(a)) {
        return;
    }
    if (str_starts(id, "vm/")) {
        vm_done(c, id, a);
    } else if (str_starts(id, "ha/fence/")) {
        fence_done(c, id, a);
    }
}

void history_domain(struct core *c, const json_t *event)
{
    static const char *const told[] = {"reason", NULL};
    const char *kind = json_text_of(event, "kind");
    const char *vm = json_text_of(event, "name");
    if (!str_eq(kind, "gone") && !str_eq(kind, "suspended")) {
        return;
    }
    json_t *fact = json_pack("{s:s}", "vm", vm);
    copy(fact, event, told);
    add(c, kind, fact);
}

void history_store(struct core *c, bool is_lost)
{
    if (c->store_is_lost != is_lost) {
        add(c, "store", json_pack("{s:b}", "lost", is_lost));
    }
}

void history_start(struct core *c)
{
    static const char *const told[] = {"version", "boot_id", NULL};
    json_t *fact = json_object();
    copy(fact, c->self, told);
    add(c, "agent", fact);
}

void history_wait(struct core *c, const char *vm, const char *why)
{
    _cleanup_free_ char *key = str_printf(WAIT "%s", vm);
    const json_t *before = smap_get(&c->noted, key);
    bool is_due = !before || core_is_past(c, json_u64_of(before, "at_us", 0) + WAIT_AGAIN_US);
    if (!why) {
        (void)smap_del(&c->noted, key);
    } else if (is_due && !str_eq(json_text_of(before, "why"), why)) {
        smap_put(&c->noted, key, json_pack("{s:s,s:I}", "why", why, "at_us", (json_int_t)c->now_us));
        add(c, "wait", json_pack("{s:s,s:s}", "vm", vm, "why", why));
    }
}
