/* SPDX-License-Identifier: Apache-2.0 */
#include "core/act.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"

struct attempt *act_find(const struct core *c, const char *id)
{
    return smap_get(&c->attempts, id);
}

static struct attempt *emit(struct core *c, const char *id, const char *name, json_t *args)
{
    struct attempt *a = act_find(c, id);
    if (!a) {
        a = xcalloc(1, sizeof(*a));
        smap_put(&c->attempts, id, a);
    }
    assert(!a->in_flight);
    smap_touch(&c->attempts, id);
    json_decref(a->result);
    json_decref(a->progress);
    a->result = a->progress = NULL;
    a->has_ended = false;
    a->error = (struct err){0};
    a->in_flight = true;
    a->started_us = c->now_us;
    json_t *action = json_object();
    int r = json_object_set_new(action, "id", json_string(id)) |
            json_object_set_new(action, "do", json_string(name)) | json_object_set_new(action, "args", args);
    assert(r == 0);
    json_array_append_new(c->actions, action);
    return a;
}

bool act_is_due(const struct core *c, const char *id, uint64_t pause_us)
{
    const struct attempt *a = act_find(c, id);
    uint64_t wait_us = a && a->has_ended && !a->fails ? pause_us : 0;
    return !a || (!a->in_flight && core_is_past(c, a->not_before_us + wait_us));
}

bool act_try(struct core *c, const char *id, const char *name, json_t *args, uint64_t pause_us)
{
    if (!act_is_due(c, id, pause_us)) {
        json_decref(args);
        return false;
    }
    (void)emit(c, id, name, args);
    return true;
}

bool act_seldom(struct core *c, const char *id, const char *name, json_t *args, uint64_t pause_us)
{
    const struct attempt *last = act_find(c, id);
    if (last && !core_is_past(c, last->started_us + pause_us)) {
        json_decref(args);
        return false;
    }
    return act_try(c, id, name, args, pause_us);
}

void act_end_backoffs(struct core *c, const char *prefix, int code)
{
    struct smap *all = &c->attempts;
    for (size_t i = smap_lower(all, prefix); i < all->n && str_starts(all->items[i].key, prefix); i++) {
        struct attempt *a = all->items[i].value;
        if (!a->in_flight && a->error.code == code) {
            smap_touch(all, all->items[i].key);
            a->not_before_us = c->now_us;
        }
    }
}

void act_limit_backoff(struct core *c, const char *id, uint64_t us)
{
    const struct attempt *last = act_find(c, id);
    if (last && last->fails && core_is_past(c, last->started_us + us)) {
        act_end_backoffs(c, id, last->error.code);
    }
}

struct attempt *act_once(struct core *c, const char *id, const char *name, json_t *args)
{
    struct attempt *a = act_find(c, id);
    if (a) {
        json_decref(args);
        return a;
    }
    return emit(c, id, name, args);
}

bool act_has_succeeded(const struct core *c, const char *id)
{
    const struct attempt *a = act_find(c, id);
    return a && a->has_ended && !a->error.code;
}

bool act_has_any(const struct core *c, const char *prefix)
{
    size_t i = smap_lower(&c->attempts, prefix);
    return i < c->attempts.n && str_starts(c->attempts.items[i].key, prefix);
}

void act_forget(struct core *c, const char *prefix)
{
    act_forget_others(c, prefix, NULL);
}

void act_forget_one(struct core *c, const char *id)
{
    const struct attempt *a = act_find(c, id);
    if (a && !a->in_flight) {
        (void)smap_del(&c->attempts, id);
    }
}

void act_forget_others(struct core *c, const char *prefix, const char *keep)
{
    for (size_t i = smap_lower(&c->attempts, prefix);
         i < c->attempts.n && str_starts(c->attempts.items[i].key, prefix);) {
        const struct attempt *a = c->attempts.items[i].value;
        if (a->in_flight || (keep && str_starts(c->attempts.items[i].key, keep))) {
            i++;
        } else {
            (void)smap_del(&c->attempts, c->attempts.items[i].key);
        }
    }
}

void act_forget_names(struct core *c, struct smap *map, const char *prefix,
                      bool (*is_wanted)(const struct core *c, const char *name))
{
    _cleanup_free_ char *known = str_dup("/"); /* the last one that is wanted; more of it comes next */
    for (size_t i = smap_lower(map, prefix); i < map->n && str_starts(map->items[i].key, prefix);) {
        const char *rest = map->items[i].key + strlen(prefix);
        size_t n = strcspn(rest, "/");
        bool is_busy = map == &c->attempts && ((struct attempt *)map->items[i].value)->in_flight;
        if (is_busy || (strncmp(rest, known, n) == 0 && known[n] == '\0')) {
            i++;
            continue;
        }
        _cleanup_free_ char *name = str_printf("%.*s", (int)n, rest);
        if (is_wanted(c, name)) {
            free(known);
            known = TAKE(name);
            i++;
        } else {
            (void)smap_del(map, map->items[i].key);
        }
    }
}

void core_wake_in(struct core *c, uint64_t us)
{
    uint64_t at = c->now_us + us;
    c->wake_us = c->wake_us && c->wake_us < at ? c->wake_us : at;
}

struct commit commit_new(void)
{
    return (struct commit){json_array(), json_object(), json_array()};
}

void commit_guard(struct core *c, struct commit *t, const char *prefix, const char *name)
{
    uint64_t mod = world_mod(&c->world, prefix, name);
    _cleanup_free_ char *key = str_printf("%s%s", prefix, name);
    json_array_append_new(t->compares, json_pack("[s,I]", key, (json_int_t)mod));
}

void commit_put(struct core *c, struct commit *t, const char *prefix, const char *name, json_t *value)
{
    _cleanup_free_ char *key = str_printf("%s%s", prefix, name);
    commit_guard(c, t, prefix, name);
    json_object_set_new(t->puts, key, value);
}

void commit_del(struct core *c, struct commit *t, const char *prefix, const char *name)
{
    _cleanup_free_ char *key = str_printf("%s%s", prefix, name);
    commit_guard(c, t, prefix, name);
    json_array_append_new(t->dels, json_string(key));
}

void commit_use(struct commit *t, const char *kind, const char *name)
{
    _cleanup_free_ char *key = str_printf("%s%s/%s", KEY_USE, kind, name);
    json_object_set_new(t->puts, key, json_object());
}

bool commit_confirms(struct core *c, const char *id, struct commit *t)
{
    if (act_has_succeeded(c, id)) {
        commit_drop(t);
        return true;
    }
    commit_use(t, "node", c->host);
    (void)commit_try(c, id, t);
    return false;
}

void commit_drop(struct commit *t)
{
    json_decref(t->compares);
    json_decref(t->puts);
    json_decref(t->dels);
}

/* Once the store was restored, nobody commits what the one of before has led to. Until then its record must not be
 * there, which whoever makes the commit compares (agent/act_store.c). */
static json_t *commit_args(struct core *c, struct commit *t)
{
    if (world_mod(&c->world, KEY_RESTORE_GEN, "")) {
        commit_guard(c, t, KEY_RESTORE_GEN, "");
    }
    return json_pack("{s:o,s:o,s:o}", "compares", t->compares, "puts", t->puts, "dels", t->dels);
}

bool commit_try(struct core *c, const char *id, struct commit *t)
{
    return act_try(c, id, "store.commit", commit_args(c, t), 0);
}

struct attempt *commit_once(struct core *c, const char *id, struct commit *t)
{
    return act_once(c, id, "store.commit", commit_args(c, t));
}
