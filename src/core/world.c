/* SPDX-License-Identifier: Apache-2.0 */
#include "core/world.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

#define KEY_USUAL_BYTES 192

static void record_free(void *p)
{
    struct record *r = p;
    json_decref(r->value);
    free(r);
}

void world_init(struct world *w)
{
    *w = (struct world){.records = {.free_value = record_free}};
}

void world_done(struct world *w)
{
    smap_done(&w->records);
}

void world_put(struct world *w, const char *key, json_t *value, uint64_t mod, uint64_t now_us)
{
    const struct record *old = smap_get(&w->records, key);
    if (old && old->mod >= mod) {
        return;
    }
    struct record *r = xcalloc(1, sizeof(*r));
    r->value = json_incref(value);
    r->mod = mod;
    r->changed_us = now_us;
    smap_put(&w->records, key, r);
    w->revision = mod > w->revision ? mod : w->revision;
}

void world_del(struct world *w, const char *key, uint64_t revision)
{
    const struct record *old = smap_get(&w->records, key);
    if (old && old->mod <= revision) {
        (void)smap_del(&w->records, key);
    }
    w->revision = revision > w->revision ? revision : w->revision;
}

void world_relist(struct world *w, const json_t *list, uint64_t revision, uint64_t now_us)
{
    size_t i;
    json_t *row;
    w->lists++;
    json_array_foreach(list, i, row) {
        const char *key = json_string_value(json_array_get(row, 0));
        json_int_t mod = json_integer_value(json_array_get(row, 1));
        if (key && mod > 0) {
            world_put(w, key, json_array_get(row, 2), (uint64_t)mod, now_us);
            ((struct record *)smap_get(&w->records, key))->listed = w->lists;
        }
    }
    for (size_t k = w->records.n; k-- > 0;) {
        const struct record *r = w->records.items[k].value;
        if (r->mod <= revision && r->listed != w->lists) {
            (void)smap_del(&w->records, w->records.items[k].key);
        }
    }
    w->revision = revision > w->revision ? revision : w->revision;
    w->is_listed = true;
}

const struct record *world_record(const struct world *w, const char *key)
{
    return smap_get(&w->records, key);
}

/* Hundreds of times in each step: the key is put together where it needs no memory of its own. */
static const struct record *record_at(const struct world *w, const char *prefix, const char *name,
                                      const char *slash, const char *part)
{
    const char *const words[] = {prefix, name, slash, part};
    char buf[KEY_USUAL_BYTES];
    size_t len = 0;
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        size_t n = words[i] ? strlen(words[i]) : sizeof(buf);
        if (n >= sizeof(buf) - len) {
            _cleanup_free_ char *key = str_printf("%s%s%s%s", prefix, name, slash, part);
            return smap_get(&w->records, key);
        }
        memcpy(buf + len, words[i], n);
        len += n;
    }
    buf[len] = '\0';
    return smap_get(&w->records, buf);
}

const json_t *world_get(const struct world *w, const char *prefix, const char *name)
{
    const struct record *r = record_at(w, prefix, name, "", "");
    return r ? r->value : NULL;
}

uint64_t world_mod(const struct world *w, const char *prefix, const char *name)
{
    const struct record *r = record_at(w, prefix, name, "", "");
    return r ? r->mod : 0;
}

const struct record *world_part(const struct world *w, const char *prefix, const char *name,
                                const char *part)
{
    return record_at(w, prefix, name, "/", part);
}

bool world_next(const struct world *w, const char *prefix, struct world_iter *it)
{
    size_t i = it->name ? it->i + 1 : smap_lower(&w->records, prefix);
    if (i >= w->records.n || !str_starts(w->records.items[i].key, prefix)) {
        return false;
    }
    const struct record *r = w->records.items[i].value;
    it->i = i;
    it->name = w->records.items[i].key + strlen(prefix);
    it->value = r->value;
    it->mod = r->mod;
    return true;
}
