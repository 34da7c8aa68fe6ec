/* SPDX-License-Identifier: Apache-2.0 */
#include "core/basis.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "core/core.h"
#include "core/model/keys.h"

/* What something read without its being noted would stand for ever; so it is worked out anew after this. */
#define TRUST_US (10 * USEC_PER_SEC)

/* Bits of classes: of the world, of what hosts have seen, of what this one has seen, of actions, and the rest. */
#define WORLD_FIRST 0
#define WORLD_N 32
#define SAID_FIRST 32
#define SAID_N 16
#define SEEN_FIRST 48
#define SEEN_N 16
#define PRIVATE_FIRST 64
#define PRIVATE_N 8
#define ATTEMPTS_FIRST 72
#define ATTEMPTS_N 32
#define LOOKS_FIRST 104
#define LOOKS_N 16
#define CLASS_NOTED ((smap_classes)1 << 120)
#define CLASS_DOMAINS_AT ((smap_classes)1 << 121)
#define CLASS_STALE ((smap_classes)1 << 122)
#define CLASS_FIELDS ((smap_classes)1 << 123)

/* By what a record is; of what hosts say by what it is about, whoever says it. */
static smap_classes class_of_record(const char *key)
{
    if (!str_starts(key, KEY_ROOT)) {
        return smap_class("", WORLD_FIRST, WORLD_N + SAID_N);
    }
    if (!str_starts(key, KEY_SEEN)) {
        return smap_class(key + strlen(KEY_ROOT), WORLD_FIRST, WORLD_N);
    }
    const char *slash = strchr(key + strlen(KEY_SEEN), '/');
    return smap_class(slash ? slash + 1 : "", SAID_FIRST, SAID_N);
}

bool basis_is_private(const char *what)
{
    static const char *const kinds[] = {"ha/", "gone/", "suspended/", "glance", "reach"};
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        if (str_starts(what, kinds[i])) {
            return true;
        }
    }
    return false;
}

static smap_classes class_of_seen(const char *key)
{
    if (!*key) {
        return smap_class("", SEEN_FIRST, SEEN_N + PRIVATE_N);
    }
    return basis_is_private(key) ? smap_class(key, PRIVATE_FIRST, PRIVATE_N)
                                 : smap_class(key, SEEN_FIRST, SEEN_N);
}

/* What this host looks at by itself, one by one. */
static smap_classes class_of_attempt(const char *key)
{
    static const char look[] = "observe/";
    if (!*key) {
        return smap_class("", ATTEMPTS_FIRST, ATTEMPTS_N + LOOKS_N);
    }
    return str_starts(key, look) ? smap_class(key + strlen(look), LOOKS_FIRST, LOOKS_N)
                                 : smap_class(key, ATTEMPTS_FIRST, ATTEMPTS_N);
}

static smap_classes class_of_noted(const char *key)
{
    return CLASS_NOTED;
}

static void watch(struct ledger *l, struct smap *m, smap_classes (*class_of)(const char *key))
{
    m->marks = &l->marks;
    m->class_of = class_of;
}

struct ledger *ledger_new(struct core *c)
{
    struct ledger *l = xcalloc(1, sizeof(*l));
    watch(l, &c->world.records, class_of_record);
    watch(l, &c->seen, class_of_seen);
    watch(l, &c->attempts, class_of_attempt);
    watch(l, &c->noted, class_of_noted);
    c->ledger = l;
    for (size_t i = 0; i < PLAN_PARTS; i++) {
        basis_add(c, &l->plans[i]);
    }
    for (size_t i = 0; i < MEMOS; i++) {
        basis_add(c, &l->memos[i].basis);
    }
    return l;
}

void ledger_free(struct ledger *l)
{
    for (size_t i = 0; l && i < MEMOS; i++) {
        json_decref(l->memos[i].value);
    }
    free(l);
}

void basis_add(struct core *c, struct basis *b)
{
    assert(c->ledger->n < BASES_MAX);
    c->ledger->all[c->ledger->n++] = b;
}

static smap_classes changed_fields(const struct core *c)
{
    struct basis_fields *was = &c->ledger->fields;
    const struct basis_fields now = {
        .host = c->host,
        .self = c->self,
        .local_task = c->local_task,
        .domains_at_us = c->domains_at_us,
        .domains_stale = c->domains_stale,
        .store_is_lost = c->store_is_lost,
        .is_listed = c->world.is_listed,
    };
    bool is_same = now.host == was->host && now.self == was->self && now.local_task == was->local_task &&
                   now.store_is_lost == was->store_is_lost && now.is_listed == was->is_listed;
    smap_classes changed = (is_same ? 0 : CLASS_FIELDS) |
                       (now.domains_at_us == was->domains_at_us ? 0 : CLASS_DOMAINS_AT) |
                       (now.domains_stale == was->domains_stale ? 0 : CLASS_STALE);
    *was = now;
    return changed;
}

/* Tells everybody of what has changed. */
static void spread(struct ledger *l)
{
    for (size_t i = 0; l->marks.written && i < l->n; i++) {
        l->all[i]->changed |= l->marks.written;
    }
    l->marks.written = 0;
}

void basis_look(const struct core *c)
{
    c->ledger->marks.written |= changed_fields(c);
}

bool basis_holds(const struct core *c, const struct basis *b)
{
    struct ledger *l = c->ledger;
    spread(l);
    if ((b->read & b->changed) || c->now_us >= b->until_us) {
        return false;
    }
    l->marks.read |= b->read;
    l->until_us = b->until_us < l->until_us ? b->until_us : l->until_us;
    return true;
}

struct basis basis_begin(const struct core *c, struct basis *b)
{
    struct ledger *l = c->ledger;
    const struct basis asker = {.read = l->marks.read, .until_us = l->until_us};
    spread(l);
    b->changed = 0;
    l->marks.read = CLASS_FIELDS;
    l->until_us = UINT64_MAX;
    return asker;
}

void basis_end(const struct core *c, struct basis *b, const struct basis *asker)
{
    struct ledger *l = c->ledger;
    b->read = l->marks.read;
    b->until_us = l->until_us < c->now_us + TRUST_US ? l->until_us : c->now_us + TRUST_US;
    l->marks.read |= asker->read;
    l->until_us = asker->until_us < l->until_us ? asker->until_us : l->until_us;
}

static void wake(struct core *c, uint64_t in_us)
{
    uint64_t at_us = c->now_us + in_us;
    c->wake_us = in_us && (!c->wake_us || at_us < c->wake_us) ? at_us : c->wake_us;
}

/* When domains were listed is read by few, and not noted one by one. */
static bool rests_on_domains(enum plan_part part)
{
    return part == PLAN_OPS || part == PLAN_HA_SELF || part == PLAN_VMS;
}

void basis_run(struct core *c, enum plan_part part, void (*plan)(struct core *c))
{
    struct ledger *l = c->ledger;
    struct basis *b = &l->plans[part];
    if (!basis_holds(c, b) || l->is_off) {
        uint64_t others_us = c->wake_us;
        const struct basis asker = basis_begin(c, b);
        c->wake_us = 0;
        plan(c);
        basis_end(c, b, &asker);
        b->read |= part == PLAN_LOOK_DOMAINS ? CLASS_STALE : rests_on_domains(part) ? CLASS_DOMAINS_AT : 0;
        if (rests_on_domains(part) && c->domains_stale) {
            b->until_us = c->now_us; /* who wants a new list says so until it has come */
        }
        l->wakes_us[part] = c->wake_us ? c->wake_us - c->now_us : 0;
        c->wake_us = others_us;
        basis_look(c);
    }
    wake(c, l->wakes_us[part]);
}

json_t *basis_memo(const struct core *c, enum memo_of what, json_t *(*work_out)(const struct core *c))
{
    struct memo *m = &c->ledger->memos[what];
    if (!basis_holds(c, &m->basis)) {
        const struct basis asker = basis_begin(c, &m->basis);
        json_t *before = m->value;
        m->value = work_out(c);
        json_decref(before);
        basis_end(c, &m->basis, &asker);
    }
    return m->value;
}

void basis_forget(struct core *c)
{
    c->ledger->marks.written = ~(smap_classes)0;
}

void basis_reads(const struct smap *m, const char *prefix)
{
    if (m->marks) {
        m->marks->read |= m->class_of(prefix);
    }
}

void basis_reads_public(const struct core *c)
{
    c->ledger->marks.read |= smap_class("", SEEN_FIRST, SEEN_N);
}

bool core_is_past(const struct core *c, uint64_t at_us)
{
    if (c->now_us >= at_us) {
        return true;
    }
    c->ledger->until_us = at_us < c->ledger->until_us ? at_us : c->ledger->until_us;
    return false;
}

uint64_t core_time_us(const struct core *c)
{
    c->ledger->until_us = c->now_us;
    return c->now_us;
}
