/* SPDX-License-Identifier: Apache-2.0 */
#include "core/flight.h"

#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"

/* --- saving -------------------------------------------------------------------------------- */

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *save_records(const struct world *w)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < w->records.n; i++) {
        const struct record *r = w->records.items[i].value;
        json_array_append_new(rows, json_pack("[s,I,O,I]", w->records.items[i].key, (json_int_t)r->mod,
                                              r->value, (json_int_t)r->changed_us));
    }
    return rows;
}

static json_t *save_attempt(const struct attempt *a)
{
    json_t *j = json_pack("{s:b,s:b,s:b,s:i,s:I,s:I}", "in_flight", a->in_flight, "has_ended", a->has_ended,
                          "was_good", a->was_good, "fails", (int)a->fails, "not_before_us", (json_int_t)a->not_before_us,
                          "started_us", (json_int_t)a->started_us);
    if (a->result) {
        json_object_set(j, "result", a->result);
    }
    if (a->progress) {
        json_object_set(j, "progress", a->progress);
    }
    if (a->error.code) {
        json_object_set_new(j, "error", err_to_json(&a->error));
    }
    return j;
}

static json_t *save_attempts(const struct core *c)
{
    json_t *all = json_object();
    for (size_t i = 0; i < c->attempts.n; i++) {
        json_object_set_new(all, c->attempts.items[i].key, save_attempt(c->attempts.items[i].value));
    }
    return all;
}

/* @m: key → json_t */
static json_t *save_values(const struct smap *m)
{
    json_t *all = json_object();
    for (size_t i = 0; i < m->n; i++) {
        json_object_set(all, m->items[i].key, m->items[i].value);
    }
    return all;
}

json_t *flight_save(const struct core *c)
{
    json_t *j = json_pack("{s:o,s:I,s:b,s:o,s:o,s:O,s:b,s:b}", "records", save_records(&c->world),
                          "revision", (json_int_t)c->world.revision, "is_listed", c->world.is_listed,
                          "seen", save_values(&c->seen), "attempts", save_attempts(c), "events", c->events,
                          "domains_stale", c->domains_stale, "store_is_lost", c->store_is_lost);
    json_object_set_new(j, "domains_at_us", number(c->domains_at_us));
    json_object_set_new(j, "alarms", save_values(&c->alarms));
    json_object_set_new(j, "noted", save_values(&c->noted));
    json_object_set_new(j, "files_at_us", number(c->files_at_us));
    json_object_set_new(j, "sweep_at_us", number(c->sweep_at_us));
    json_object_set_new(j, "wake_us", number(c->wake_us));
    json_object_set_new(j, "now_us", number(c->now_us));
    json_object_set_new(j, "wall_us", number(c->wall_us));
    if (c->is_superseded) {
        json_object_set_new(j, "is_superseded", json_true());
    }
    if (c->host) {
        json_object_set_new(j, "host", json_string(c->host));
    }
    if (c->self) {
        json_object_set(j, "self", c->self);
    }
    if (c->local_task) {
        json_object_set(j, "local_task", c->local_task);
    }
    return j;
}

/* --- loading ------------------------------------------------------------------------------- */

static int load_records(struct world *w, const json_t *rows, struct err *e)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *key = json_string_value(json_array_get(row, 0));
        json_int_t mod = json_integer_value(json_array_get(row, 1));
        json_t *value = json_array_get(row, 2);
        json_int_t changed_us = json_integer_value(json_array_get(row, 3));
        if (!key || mod <= 0 || !value || changed_us < 0) {
            return ERR_SET(e, PARSE, "record %zu of the state is none", i);
        }
        world_put(w, key, value, (uint64_t)mod, (uint64_t)changed_us);
    }
    return 0;
}

static void load_attempt(struct core *c, const char *id, const json_t *j)
{
    struct attempt *a = xcalloc(1, sizeof(*a));
    const json_t *error = json_object_get(j, "error");
    a->in_flight = json_bool_of(j, "in_flight", false);
    a->has_ended = json_bool_of(j, "has_ended", false);
    a->was_good = json_bool_of(j, "was_good", a->has_ended && !error); /* not in older records */
    a->fails = (unsigned)json_u64_of(j, "fails", 0);
    a->not_before_us = json_u64_of(j, "not_before_us", 0);
    a->started_us = json_u64_of(j, "started_us", 0);
    a->result = json_incref(json_object_get(j, "result"));
    a->progress = json_incref(json_object_get(j, "progress"));
    if (error) {
        err_from_json(&a->error, error);
    }
    smap_put(&c->attempts, id, a);
}

static void load_rest(struct core *c, const json_t *state)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(state, "attempts"), key, value) {
        load_attempt(c, key, value);
    }
    json_object_foreach(json_object_get(state, "seen"), key, value) {
        smap_put(&c->seen, key, json_incref(value));
    }
    json_object_foreach(json_object_get(state, "alarms"), key, value) {
        smap_put(&c->alarms, key, json_incref(value));
    }
    json_object_foreach(json_object_get(state, "noted"), key, value) {
        smap_put(&c->noted, key, json_incref(value));
    }
    if (json_is_array(json_object_get(state, "events"))) {
        json_decref(c->events);
        c->events = json_copy(json_object_get(state, "events"));
    }
    c->host = str_dup(json_text_of(state, "host"));
    c->self = json_incref(json_object_get(state, "self"));
    c->local_task = json_incref(json_object_get(state, "local_task"));
    c->domains_at_us = json_u64_of(state, "domains_at_us", 0);
    c->domains_stale = json_bool_of(state, "domains_stale", false);
    c->store_is_lost = json_bool_of(state, "store_is_lost", false);
    c->is_superseded = json_bool_of(state, "is_superseded", false);
    c->files_at_us = json_u64_of(state, "files_at_us", 0);
    c->sweep_at_us = json_u64_of(state, "sweep_at_us", 0);
    c->wake_us = json_u64_of(state, "wake_us", 0);
    c->now_us = json_u64_of(state, "now_us", 0);
    c->wall_us = json_u64_of(state, "wall_us", 0);
    c->world.revision = json_u64_of(state, "revision", 0);
    c->world.is_listed = json_bool_of(state, "is_listed", false);
}

int flight_load(const json_t *state, struct core **ret, struct err *e)
{
    _cleanup_(core_freep) struct core *c = core_new();
    if (!json_is_object(state)) {
        return ERR_SET(e, PARSE, "the state is no object");
    }
    int r = load_records(&c->world, json_object_get(state, "records"), e);
    if (r < 0) {
        return r;
    }
    load_rest(c, state);
    *ret = TAKE(c);
    return 0;
}

/* --- lists --------------------------------------------------------------------------------- */

static bool is_list(const json_t *event)
{
    return str_eq(json_text_of(event, "ev"), "list");
}

json_t *flight_pack(const struct core *c, json_t *event)
{
    json_t *rows = json_object_get(event, "rows");
    if (!is_list(event) || !json_is_array(rows)) {
        return json_incref(event);
    }
    json_t *changed = json_array();
    json_t *gone = json_array();
    struct smap present = {0};
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *key = json_string_value(json_array_get(row, 0));
        json_int_t mod = json_integer_value(json_array_get(row, 1));
        const struct record *r = key ? world_record(&c->world, key) : NULL;
        if (key && mod > 0) {
            smap_put(&present, key, row);
        }
        bool is_of_restore = str_eq(key, KEY_RESTORE_GEN) && r && r->mod != (uint64_t)mod; /* another store has other revisions */
        if (key && mod > 0 && (!r || r->mod < (uint64_t)mod || is_of_restore)) { /* others change nothing */
            json_array_append(changed, row);
        }
    }
    for (size_t k = 0; k < c->world.records.n; k++) {
        if (!smap_get(&present, c->world.records.items[k].key)) {
            json_array_append_new(gone, json_string(c->world.records.items[k].key));
        }
    }
    smap_done(&present);
    return json_pack("{s:s,s:I,s:o,s:o}", "ev", "list", "revision",
                     (json_int_t)json_u64_of(event, "revision", 0), "changed", changed, "gone", gone);
}

json_t *flight_unpack(const struct core *c, json_t *packed)
{
    const json_t *changed = json_object_get(packed, "changed");
    const json_t *gone = json_object_get(packed, "gone");
    if (!is_list(packed) || !json_is_array(changed)) {
        return json_incref(packed);
    }
    struct smap absent = {0};
    json_t *rows = json_array();
    size_t i;
    json_t *item;
    json_array_foreach(gone, i, item) {
        if (json_is_string(item)) {
            smap_put(&absent, json_string_value(item), item);
        }
    }
    for (size_t k = 0; k < c->world.records.n; k++) {
        const struct smap_item *held = &c->world.records.items[k];
        const struct record *r = held->value;
        if (!smap_get(&absent, held->key)) {
            json_array_append_new(rows, json_pack("[s,I,O]", held->key, (json_int_t)r->mod, r->value));
        }
    }
    json_array_foreach(changed, i, item) {
        json_array_append(rows, item);
    }
    smap_done(&absent);
    return json_pack("{s:s,s:I,s:o}", "ev", "list", "revision",
                     (json_int_t)json_u64_of(packed, "revision", 0), "rows", rows);
}

/* --- replay -------------------------------------------------------------------------------- */

static bool is_event(const json_t *event)
{
    static const char *const kinds[] = {"list", "lost", "watch", "done", "progress", "domain",
                                        "guard", "start", "table", "request", "tick"};
    const char *kind = json_text_of(event, "ev");
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        if (str_eq(kinds[i], kind)) {
            return true;
        }
    }
    return false;
}

int flight_step(struct core **c, const json_t *line, json_t **ret_actions, struct err *e)
{
    const json_t *state = json_object_get(line, "state");
    uint64_t now_us = json_u64_of(line, "now_us", UINT64_MAX);
    json_t *packed = json_object_get(line, "event");
    struct err refused = {0};
    struct core *loaded = NULL;
    if (state) {
        int r = flight_load(state, &loaded, e);
        if (r == 0) {
            core_free(*c);
            *c = loaded;
            *ret_actions = NULL;
        }
        return r;
    }
    *c = *c ? *c : core_new();
    if (!is_event(packed) || now_us == UINT64_MAX || now_us < (*c)->now_us) {
        return ERR_SET(e, PARSE, "this is no step, or it is older than the one before");
    }
    _cleanup_json_ json_t *event = flight_unpack(*c, packed);
    (void)core_step(*c, event, now_us, json_u64_of(line, "wall_us", 0), ret_actions,
                    &refused); /* a refusal of a request is part of what happened */
    return 0;
}
