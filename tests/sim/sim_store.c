/* SPDX-License-Identifier: Apache-2.0
 * The model store: linearizable, with compare-and-swap commits whose answer may be lost, watches that may
 * lose an event, and lists that may be old. Rows are made once and shared: nobody changes a record. */
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim_ha.h"
#include "sim_impl.h"

struct sim_record {
    json_t *row; /* [key, mod, value] */
    uint64_t mod;
};

static void record_free(void *p)
{
    struct sim_record *r = p;
    json_decref(r->row);
    free(r);
}

void sim_store_init(struct sim *s)
{
    s->store = (struct smap){.free_value = record_free};
    s->revision = 1;
}

void sim_store_done(struct sim *s)
{
    json_decref(s->old_list);
    smap_done(&s->store);
}

void sim_store_set(struct sim *s, const char *key, json_t *value)
{
    struct sim_record *r = xcalloc(1, sizeof(*r));
    r->row = json_pack("[s,I,O]", key, (json_int_t)s->revision, value);
    r->mod = s->revision;
    smap_put(&s->store, key, r);
}

const json_t *sim_get(const struct sim *s, const char *key)
{
    const struct sim_record *r = smap_get(&s->store, key);
    return r ? json_array_get(r->row, 2) : NULL;
}

json_t *sim_snapshot(const struct sim *s)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < s->store.n; i++) {
        json_array_append(rows, ((struct sim_record *)s->store.items[i].value)->row);
    }
    return json_pack("{s:s,s:I,s:o}", "ev", "list", "revision", (json_int_t)s->revision, "rows", rows);
}

/* Revisions go back as well. What was known of them is of no use to anybody. */
void sim_restore(struct sim *s, const json_t *snapshot)
{
    uint64_t gen = json_u64_of(sim_get(s, KEY_RESTORE_GEN), "n", 0);
    size_t i;
    json_t *row;
    for (size_t h = 0; s->ha && h < s->hosts_n; h++) {
        s->ha->hosts[h].was_left_out = sim_brick_is_left_out(s, h);
    }
    sim_store_done(s);
    s->old_list = NULL;
    s->store = (struct smap){.free_value = record_free};
    json_array_foreach(json_object_get(snapshot, "rows"), i, row) {
        s->revision = (uint64_t)json_integer_value(json_array_get(row, 1));
        sim_store_set(s, json_string_value(json_array_get(row, 0)), json_array_get(row, 2));
    }
    s->revision = json_u64_of(snapshot, "revision", 0) + 1;
    json_t *record = json_pack("{s:I,s:b}", "n", (json_int_t)gen + 1, "settled", s->mutant == SIM_RESTORE_BELIEVED);
    sim_store_set(s, KEY_RESTORE_GEN, record);
    json_decref(record);
    sim_note(s, "--- the store was restored to revision %llu", (unsigned long long)s->revision - 1);
}

bool sim_store_is_open(const struct sim *s)
{
    const json_t *record = sim_get(s, KEY_RESTORE_GEN);
    return record && !json_bool_of(record, "settled", false);
}

json_t *sim_store_list(struct sim *s)
{
    json_t *now = sim_snapshot(s);
    if (s->old_list && sim_chance(s, s->stale_percent)) {
        json_decref(now);
        return json_incref(s->old_list);
    }
    if (sim_chance(s, 20)) {
        json_decref(s->old_list);
        s->old_list = json_incref(now);
    }
    return now;
}

/* A hint: it may be lost. */
static void tell_watchers(struct sim *s, const json_t *change)
{
    _cleanup_json_ json_t *event = json_copy((json_t *)change);
    json_object_set_new(event, "ev", json_string("watch"));
    for (size_t h = 0; h < s->hosts_n; h++) {
        if (s->hosts[h].is_up && !sim_chance(s, s->deaf_percent)) {
            sim_push(s, sim_delay_us(s), h, json_incref(event), NULL);
        }
    }
}

static bool is_compared(const struct sim *s, const json_t *args)
{
    const char *key;
    json_t *value;
    if (s->mutant != SIM_OWN_NOT_COMPARED) {
        return s->mutant != SIM_DECIDES_ON_READS;
    }
    json_object_foreach(json_object_get(args, "puts"), key, value) {
        if (str_starts(key, KEY_VM) && str_ends(key, "/own")) {
            return false;
        }
    }
    return true;
}

/* What the owner has stated of a running guest: from here on it may not be killed for nothing. */
static void note_ack(struct sim *s, const char *key, const json_t *value)
{
    if (str_starts(key, KEY_VM) && str_ends(key, "/act") &&
        str_eq(json_text_of(value, "state"), "running")) {
        _cleanup_free_ char *name = str_printf(
            "%.*s", (int)strcspn(key + strlen(KEY_VM), "/"), key + strlen(KEY_VM));
        uint64_t *epoch = xcalloc(1, sizeof(*epoch));
        *epoch = json_u64_of(value, "epoch", 0);
        smap_put(&s->acked, name, epoch);
    }
}

/* A move that has failed has left nothing on its target, or says that this is not known. One that begins after T8 its
 * target ends, too. */
static void check_failed_move(struct sim *s, const char *key, const json_t *task)
{
    const char *name = json_text_of(task, "object");
    const char *said = json_text_of(json_object_get(task, "error"), "message");
    if (!str_starts(key, KEY_TASK) || !str_eq(json_text_of(task, "kind"), "vm.migrate") || !json_object_get(task, "ended_ms") ||
        !said || strstr(said, "is not known")) {
        return;
    }
    _cleanup_free_ char *own = str_printf("%s%s/own", KEY_VM, name);
    const json_t *mig = json_object_get(sim_get(s, own), "mig");
    size_t vm = sim_vm_find(s, name);
    for (size_t h = 0; vm < SIM_VMS_MAX && h < s->hosts_n; h++) {
        const struct sim_domain *d = &s->hosts[h].domains[vm];
        if (str_eq(json_text_of(mig, "id"), json_text_of(task, "id")) && str_eq(json_text_of(mig, "phase"), "aborted") &&
            str_eq(json_text_of(mig, "dst"), s->hosts[h].name) && d->exists && !d->is_late && d->epoch == json_u64_of(mig, "epoch", 0)) {
            sim_violated(s, "the move of '%s' has failed, and its copy is still on %s", name, s->hosts[h].name);
        }
    }
}

static void note_put(struct sim *s, const char *key, const json_t *value)
{
    bool is_dull = str_starts(key, KEY_SEEN) || str_starts(key, KEY_USE);
    if (s->trace && !is_dull) {
        _cleanup_free_ char *text = json_format(value);
        sim_note(s, "%s = %s", key, text);
    }
}

/* Does whoever commits know that the store was restored? */
static bool names_restore(const json_t *args)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(args, "compares"), i, row) {
        if (str_eq(json_string_value(json_array_get(row, 0)), KEY_RESTORE_GEN)) {
            return true;
        }
    }
    return json_object_get(json_object_get(args, "puts"), KEY_RESTORE_GEN) != NULL;
}

/* What a core would not do, one of @host's does after @args was committed. */
static void go_wrong(struct sim *s, size_t host, const json_t *args);

static json_t *commit(struct sim *s, size_t host, const json_t *args, bool *ret_ok)
{
    json_t *puts = json_array();
    json_t *dels = json_array();
    size_t i;
    json_t *row;
    const char *key;
    *ret_ok = true;
    json_array_foreach(json_object_get(args, "compares"), i, row) {
        const char *k = json_string_value(json_array_get(row, 0));
        const struct sim_record *r = smap_get(&s->store, k);
        uint64_t mod = (uint64_t)json_integer_value(json_array_get(row, 1));
        *ret_ok = *ret_ok && ((r ? r->mod : 0) == mod || !is_compared(s, args));
        if (r) {
            json_array_append(puts, r->row);
        } else {
            json_array_append_new(dels, json_string(k));
        }
    }
    if (sim_get(s, KEY_RESTORE_GEN) && !names_restore(args)) { /* as agent/act_store.c does */
        *ret_ok = *ret_ok && s->mutant == SIM_DECIDES_ON_READS;
        json_array_append(puts, ((struct sim_record *)smap_get(&s->store, KEY_RESTORE_GEN))->row);
    }
    if (!json_object_size(json_object_get(args, "puts")) &&
        !json_array_size(json_object_get(args, "dels"))) {
        _cleanup_free_ char *text = json_format(args);
        sim_violated(s, "a commit that changes nothing: %s", text);
    }
    if (*ret_ok) {
        json_array_clear(puts);
        json_array_clear(dels);
        sim_check_commit(s, host, json_object_get(args, "puts"));
        s->revision++;
        json_object_foreach(json_object_get(args, "puts"), key, row) {
            sim_store_set(s, key, row);
            note_put(s, key, row);
            note_ack(s, key, row);
            check_failed_move(s, key, row);
            sim_ha_on_commit(s, key, row);
            json_array_append(puts, ((struct sim_record *)smap_get(&s->store, key))->row);
        }
        json_array_foreach(json_object_get(args, "dels"), i, row) {
            (void)smap_del(&s->store, json_string_value(row));
            json_array_append(dels, row);
        }
    }
    json_t *change = json_pack("{s:I,s:o,s:o}", "revision", (json_int_t)s->revision, "puts", puts,
                               "dels", dels);
    if (*ret_ok) {
        tell_watchers(s, change);
        go_wrong(s, host, args);
    }
    return change;
}

/* Without a compare. */
static void write_wrong(struct sim *s, size_t host, const char *key, json_t *value)
{
    bool ok = false;
    _cleanup_json_ json_t *args = json_pack("{s:{s:o}}", "puts", key, value);
    json_decref(commit(s, host, args, &ok));
}

static void take_early(struct sim *s, size_t host, const char *lost)
{
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        _cleanup_free_ char *key = str_printf(KEY_VM "%s/own", s->vms[vm]);
        const json_t *own = sim_get(s, key);
        const char *to = s->hosts[str_eq(s->hosts[0].name, lost)].name;
        _cleanup_free_ char *node = str_printf(KEY_NODE "%s", to);
        if (str_eq(json_text_of(own, "owner"), lost)) {
            write_wrong(s, host, key, json_pack("{s:s,s:O,s:I,s:n}", "owner", to, "inc",
                                                json_object_get(sim_get(s, node), "inc"), "epoch",
                                                (json_int_t)json_u64_of(own, "epoch", 0) + 1, "mig"));
        }
    }
}

/* @mark: HOST/INC/FENCER */
static void end_fence(struct sim *s, size_t host, const char *mark)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%.*s", (int)strcspn(mark, "/"), mark);
    const json_t *node = sim_get(s, key);
    if (str_eq(json_text_of(node, "state"), "fencing")) {
        json_t *next = json_copy((json_t *)node);
        json_object_set_new(next, "state", json_string("fenced"));
        write_wrong(s, host, key, next);
    }
}

static void go_wrong(struct sim *s, size_t host, const json_t *args)
{
    const char *key;
    json_t *value;
    bool is_any = s->mutant == SIM_TAKES_EARLY || s->mutant == SIM_FENCED_BY_ONE;
    json_object_foreach(is_any ? json_object_get(args, "puts") : NULL, key, value) {
        if (s->mutant == SIM_FENCED_BY_ONE && str_starts(key, KEY_ACK)) {
            end_fence(s, host, key + strlen(KEY_ACK));
        } else if (s->mutant == SIM_TAKES_EARLY && str_starts(key, KEY_NODE) &&
                   str_eq(json_text_of(value, "state"), "fencing")) {
            take_early(s, host, key + strlen(KEY_NODE));
        }
    }
}

const char *sim_store_commit(struct sim *s, size_t host, const json_t *args, json_t *event)
{
    bool ok = false;
    if (s->store_is_down || !sim_ha_reaches_store(s, host)) {
        return "store.unavailable";
    }
    json_t *change = commit(s, host, args, &ok);
    if (ok && sim_chance(s, s->lost_percent)) {
        json_decref(change);
        return "call.timeout"; /* class unknown: it has happened, but nobody says so */
    }
    json_object_set_new(event, "store", change);
    return ok ? NULL : "store.conflict";
}
