/* SPDX-License-Identifier: Apache-2.0 */
#include "base/smap.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define PLACES_FROM 12 /* below that a search in the sorted items is as fast */
#define PLACES_FIRST 64

/* --- hash table ---------------------------------------------------------------------------- */

/* Keys differ at their ends: eight bytes at a time, the last eight may overlap. */
static uint32_t hash_of(const char *key)
{
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    size_t len = strlen(key);
    uint64_t word = 0;
    uint64_t hash = len;
    for (size_t i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, key + i, 8);
        hash = (hash ^ word) * factor;
        hash ^= hash >> 32;
    }
    word = 0;
    if (len >= 8) {
        memcpy(&word, key + len - 8, 8);
    } else {
        memcpy(&word, key, len);
    }
    hash = (hash ^ word) * factor;
    return (uint32_t)(hash >> 32);
}

/* Where @key is, or the free place where it would be. */
static struct smap_place *place_of(const struct smap *m, const char *key, uint32_t hash)
{
    size_t mask = m->places_n - 1;
    size_t i = hash & mask;
    while (m->places[i].key && (m->places[i].hash != hash || strcmp(m->places[i].key, key) != 0)) {
        i = (i + 1) & mask;
    }
    return &m->places[i];
}

static void put_place(struct smap *m, const char *key, void *value)
{
    uint32_t hash = hash_of(key);
    *place_of(m, key, hash) = (struct smap_place){hash, key, value};
}

/* Anew and larger, when it has become too full; also the first time. */
static void make_room(struct smap *m)
{
    if (m->n <= PLACES_FROM || m->n * 2 <= m->places_n) {
        return;
    }
    free(m->places);
    m->places_n = m->places_n ? 2 * m->places_n : PLACES_FIRST;
    m->places = xcalloc(m->places_n, sizeof(*m->places));
    for (size_t i = 0; i < m->n; i++) {
        put_place(m, m->items[i].key, m->items[i].value);
    }
}

/* What comes behind it, up to a free place, may have been meant for this place. */
static void del_place(struct smap *m, const char *key)
{
    size_t mask = m->places_n - 1;
    size_t hole = (size_t)(place_of(m, key, hash_of(key)) - m->places);
    for (size_t i = (hole + 1) & mask; m->places[i].key; i = (i + 1) & mask) {
        size_t wanted = m->places[i].hash & mask;
        if (((i - wanted) & mask) >= ((i - hole) & mask)) {
            m->places[hole] = m->places[i];
            hole = i;
        }
    }
    m->places[hole] = (struct smap_place){0};
}

/* --- sorted items -------------------------------------------------------------------------- */

static void free_item(struct smap *m, struct smap_item *item)
{
    free(item->key);
    if (m->free_value && item->value) {
        m->free_value(item->value);
    }
}

void smap_done(struct smap *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free_item(m, &m->items[i]);
    }
    free(m->items);
    free(m->places);
    m->items = NULL;
    m->places = NULL;
    m->n = m->cap = m->places_n = 0;
}

static size_t lower(const struct smap *m, const char *key)
{
    size_t lo = 0;
    size_t hi = m->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(m->items[mid].key, key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void note_read(const struct smap *m, const char *key)
{
    if (m->marks) {
        m->marks->read |= m->class_of(key);
    }
}

void smap_touch(const struct smap *m, const char *key)
{
    if (m->marks) {
        m->marks->written |= m->class_of(key);
    }
}

size_t smap_lower(const struct smap *m, const char *key)
{
    note_read(m, key);
    return lower(m, key);
}

static bool is_at(const struct smap *m, size_t i, const char *key)
{
    return i < m->n && strcmp(m->items[i].key, key) == 0;
}

void *smap_get(const struct smap *m, const char *key)
{
    note_read(m, key);
    if (m->places) {
        return place_of(m, key, hash_of(key))->value;
    }
    size_t i = lower(m, key);
    return is_at(m, i, key) ? m->items[i].value : NULL;
}

void smap_put(struct smap *m, const char *key, void *value)
{
    size_t i = lower(m, key);
    smap_touch(m, key);
    if (is_at(m, i, key)) {
        void *old = m->items[i].value;
        m->items[i].value = value;
        if (m->places) {
            put_place(m, m->items[i].key, value);
        }
        if (m->free_value && old && old != value) {
            m->free_value(old);
        }
        return;
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 16;
        m->items = reallocarray(m->items, m->cap, sizeof(*m->items));
        if (!m->items) {
            abort();
        }
    }
    memmove(&m->items[i + 1], &m->items[i], (m->n - i) * sizeof(*m->items));
    m->items[i].key = str_dup(key);
    m->items[i].value = value;
    m->n++;
    make_room(m);
    if (m->places) {
        put_place(m, m->items[i].key, value);
    }
}

bool smap_del(struct smap *m, const char *key)
{
    size_t i = lower(m, key);
    if (!is_at(m, i, key)) {
        return false;
    }
    smap_touch(m, key); /* before the key is freed, which may be @key itself */
    if (m->places) {
        del_place(m, key);
    }
    free_item(m, &m->items[i]);
    m->n--;
    memmove(&m->items[i], &m->items[i + 1], (m->n - i) * sizeof(*m->items));
    return true;
}
