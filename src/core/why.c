/* SPDX-License-Identifier: Apache-2.0 */
#include "core/why.h"

#include <inttypes.h>
#include <string.h>

#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"

#define ECHO_MS 10000 /* between what a host noticed and the record that it makes of it */

/* --- the question -------------------------------------------------------------------------- */

json_t *why_question(const struct core *c, const char *vm, uint64_t since_ms)
{
    const json_t *spec = vm_spec(c, vm);
    json_t *hosts = json_array();
    json_t *bricks = json_array();
    size_t i;
    json_t *brick;
    if (!spec) {
        json_decref(hosts);
        json_decref(bricks);
        return NULL;
    }
    for (int round = 0; round < 2; round++) {
        for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
            if (node_is_silent(c, it.name) == (round == 1)) {
                json_array_append_new(hosts, json_pack("{s:s,s:O*,s:b}", "name", it.name, "mgmt",
                                                       json_object_get(it.value, "mgmt"), "self",
                                                       str_eq(it.name, c->host)));
            }
        }
    }
    json_array_foreach(json_object_get(pool_get(c, json_text_of(spec, "pool")), "bricks"), i, brick) {
        json_array_append(bricks, json_object_get(brick, "host"));
    }
    return json_pack("{s:s,s:s,s:O*,s:I,s:O*,s:o,s:o}", "vm", vm, "asked", c->host, "owner",
                     json_object_get(vm_own(c, vm), "owner"), "since_ms", (json_int_t)since_ms, "pool", json_object_get(spec, "pool"), "hosts", hosts, "bricks",
                     bricks);
}

/* --- joining ------------------------------------------------------------------------------- */

static uint64_t at_of(const json_t *fact)
{
    return json_u64_of(fact, "at", 0);
}

static uint64_t rev_of(const json_t *fact)
{
    return json_u64_of(fact, "rev", 0);
}

static int by_number(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* By revision, and of one revision the one that was seen first; the rest only makes the order total. */
static int by_revision(const void *a, const void *b)
{
    const json_t *one = *(json_t *const *)a;
    const json_t *two = *(json_t *const *)b;
    int r = by_number(rev_of(one), rev_of(two));
    r = r ? r : by_number(at_of(one), at_of(two));
    return r ? r : strcmp(json_text_of(one, "on"), json_text_of(two, "on"));
}

static int by_time(const void *a, const void *b)
{
    const json_t *one = *(json_t *const *)a;
    const json_t *two = *(json_t *const *)b;
    int r = by_number(at_of(one), at_of(two));
    r = r ? r : by_number(rev_of(one), rev_of(two));
    r = r ? r : strcmp(json_text_of(one, "on"), json_text_of(two, "on"));
    return r ? r : by_number(json_u64_of(one, "n", 0), json_u64_of(two, "n", 0));
}

static bool is_fact(const json_t *fact)
{
    return json_text_of(fact, "k") && at_of(fact);
}

/* All facts with "on" and "n", their place in the part. */
static json_t *flatten(const json_t *parts)
{
    json_t *all = json_array();
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        const char *host = json_text_of(part, "host");
        size_t k;
        json_t *fact;
        json_array_foreach(json_object_get(part, "items"), k, fact) {
            if (host && is_fact(fact)) {
                json_t *copy = json_deep_copy(fact);
                json_object_set_new(copy, "on", json_string(host));
                json_object_set_new(copy, "n", json_integer((json_int_t)k));
                json_array_append_new(all, copy);
            }
        }
    }
    return all;
}

static json_t *sorted(json_t *list, int (*order)(const void *, const void *))
{
    size_t n = json_array_size(list);
    json_t **v = xcalloc(n, sizeof(*v));
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++) {
        v[i] = json_array_get(list, i);
    }
    qsort(v, n, sizeof(*v), order);
    for (size_t i = 0; i < n; i++) {
        json_array_append(out, v[i]);
    }
    free(v);
    json_decref(list);
    return out;
}

/* What one change of a record is called by all that saw it. */
static char *name_of_change(const json_t *fact)
{
    const char *by = json_text_of(fact, "by");
    const char *host = json_text_of(fact, "host");
    const char *vm = json_text_of(fact, "vm");
    return str_printf("%" PRIu64 "/%s/%s/%s/%s", rev_of(fact), json_text_of(fact, "k"), by ? by : "",
                      host ? host : "", vm ? vm : "");
}

/* Each change of a record once, with the time at which it was first seen. Clocks of two hosts may put two
 * changes the wrong way round; revisions do not. */
static json_t *unite(json_t *all)
{
    json_t *out = json_array();
    struct smap seen = {0};
    uint64_t latest = 0;
    size_t i;
    json_t *fact;
    json_array_foreach(all, i, fact) {
        _cleanup_free_ char *name = name_of_change(fact);
        if (!rev_of(fact)) {
            json_array_append(out, fact);
            continue;
        }
        if (smap_get(&seen, name)) {
            continue;
        }
        smap_put(&seen, name, fact);
        latest = at_of(fact) > latest ? at_of(fact) : latest;
        json_object_set_new(fact, "at", json_integer((json_int_t)latest));
        json_array_append(out, fact);
    }
    smap_done(&seen);
    json_decref(all);
    return out;
}

/* Records that a host makes of what it noticed or did itself, which it tells first hand: */
static const struct echo {
    const char *record;
    const char *first_hand;
    const char *what; /* of the first-hand fact, or NULL */
} echoes[] = {{"silent", "hears", NULL}, {"cut", "fence", "cut"}};

static bool is_same(const json_t *a, const json_t *b, const char *field)
{
    const json_t *one = json_object_get(a, field);
    const json_t *two = json_object_get(b, field);
    return one == two || json_equal(one, two);
}

static bool is_echo_of(const struct echo *e, const json_t *record, const json_t *fact)
{
    uint64_t a = at_of(fact);
    uint64_t b = at_of(record);
    return str_eq(json_text_of(record, "k"), e->record) && str_eq(json_text_of(fact, "k"), e->first_hand) &&
           (!e->what || str_eq(json_text_of(fact, "what"), e->what)) && !json_object_get(fact, "error") &&
           str_eq(json_text_of(fact, "on"), json_text_of(record, "by")) &&
           is_same(fact, record, "host") && is_same(fact, record, "silent") &&
           (a > b ? a - b : b - a) < ECHO_MS;
}

static bool is_echo(const json_t *all, const json_t *record)
{
    size_t i;
    json_t *fact;
    for (size_t k = 0; k < ELEMENTS(echoes); k++) {
        if (!str_eq(json_text_of(record, "k"), echoes[k].record)) {
            continue;
        }
        json_array_foreach(all, i, fact) {
            if (is_echo_of(&echoes[k], record, fact)) {
                return true;
            }
        }
    }
    return false;
}

json_t *why_facts(const json_t *parts)
{
    json_t *all = sorted(unite(sorted(flatten(parts), by_revision)), by_time);
    for (size_t i = json_array_size(all); i-- > 0;) {
        json_t *fact = json_array_get(all, i);
        json_object_del(fact, "n");
        if (is_echo(all, fact)) {
            json_array_remove(all, i);
        }
    }
    return all;
}

/* --- what concerns the machine ------------------------------------------------------------- */

/* Hosts that it belonged to, or that hold its data. */
static json_t *hosts_of(const json_t *question, const json_t *facts)
{
    static const char *const fields[] = {"owner", "was", "dst", "taken_from"};
    const json_t *vm = json_object_get(question, "vm");
    json_t *hosts = json_object();
    const char *owner = json_text_of(question, "owner");
    size_t i;
    json_t *item;
    if (owner) {
        json_object_set_new(hosts, owner, json_true());
    }
    json_array_foreach(json_object_get(question, "bricks"), i, item) {
        if (json_is_string(item)) {
            json_object_set_new(hosts, json_string_value(item), json_true());
        }
    }
    json_array_foreach(facts, i, item) {
        bool is_own = str_eq(json_text_of(item, "k"), "own");
        for (size_t f = 0; is_own && f < ELEMENTS(fields); f++) {
            const char *host = json_text_of(item, fields[f]);
            if (host && json_equal(json_object_get(item, "vm"), vm)) {
                json_object_set_new(hosts, host, json_true());
            }
        }
    }
    return hosts;
}

static bool concerns(const json_t *fact, const json_t *question, const json_t *hosts)
{
    const char *host = json_text_of(fact, "host");
    if (json_object_get(fact, "vm")) {
        return json_equal(json_object_get(fact, "vm"), json_object_get(question, "vm"));
    }
    if (json_object_get(fact, "pool")) {
        return json_equal(json_object_get(fact, "pool"), json_object_get(question, "pool"));
    }
    return json_object_get(hosts, host ? host : json_text_of(fact, "on"));
}

static json_t *line_of(const json_t *fact, uint64_t before_ms)
{
    _cleanup_sbuf_ struct sbuf text = {0};
    if (!why_words(fact, json_text_of(fact, "on"), &text)) {
        return NULL;
    }
    return json_pack("{s:I,s:I,s:O,s:O,s:s,s:O}", "at", (json_int_t)at_of(fact), "after_ms",
                     (json_int_t)(before_ms ? at_of(fact) - before_ms : 0), "on", json_object_get(fact, "on"),
                     "kind", json_object_get(fact, "k"), "text", text.data, "fact", fact);
}

/* --- what is not there --------------------------------------------------------------------- */

static void lack(json_t *missing, const char *host, const char *text, uint64_t from_ms)
{
    json_t *j = json_pack("{s:s*,s:s}", "host", host, "text", text);
    if (j && from_ms) {
        json_object_set_new(j, "from_ms", json_integer((json_int_t)from_ms));
    }
    if (j) { /* NULL: words from outside that are no UTF-8 */
        json_array_append_new(missing, j);
    }
}

char *why_missing(const json_t *part)
{
    const char *why = json_text_of(part, "missing");
    return why ? str_printf("%s did not answer: its part is missing (%s)", json_text_of(part, "host"), why) : NULL;
}

static json_t *missing_of(const json_t *parts, uint64_t since_ms)
{
    json_t *missing = json_array();
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        const char *host = json_text_of(part, "host");
        const char *why = json_text_of(part, "missing");
        uint64_t from_ms = json_u64_of(part, "from_ms", 0);
        _cleanup_free_ char *text =
            why                                 ? why_missing(part)
            : json_bool_of(part, "cut", false)  ? str_printf("%s has more to tell than fits; its part begins", host)
            : from_ms > since_ms                ? str_printf("%s has forgotten what was before", host)
                                                : NULL;
        if (text) {
            lack(missing, host, text, why ? 0 : from_ms);
        }
    }
    return missing;
}

json_t *why_join(const json_t *question, const json_t *parts)
{
    _cleanup_json_ json_t *facts = why_facts(parts);
    _cleanup_json_ json_t *hosts = hosts_of(question, facts);
    uint64_t since_ms = json_u64_of(question, "since_ms", 0);
    json_t *items = json_array();
    json_t *missing = missing_of(parts, since_ms);
    size_t i;
    json_t *fact;
    json_array_foreach(facts, i, fact) {
        const json_t *last = json_array_get(items, json_array_size(items) - 1);
        json_t *line = at_of(fact) >= since_ms && concerns(fact, question, hosts)
                           ? line_of(fact, json_u64_of(last, "at", 0))
                           : NULL;
        if (line) {
            json_array_append_new(items, line);
        }
    }
    if (json_array_size(items) > WHY_ITEMS_MAX) {
        lack(missing, NULL, "there is more than can be shown: these are the newest lines", 0);
    }
    while (json_array_size(items) > WHY_ITEMS_MAX) {
        json_array_remove(items, 0);
    }
    return json_pack("{s:O,s:O*,s:I,s:o,s:o}", "vm", json_object_get(question, "vm"), "asked",
                     json_object_get(question, "asked"), "since_ms", (json_int_t)since_ms, "items", items, "missing",
                     missing);
}
