/* SPDX-License-Identifier: Apache-2.0 */
#include "base/smap.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

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
    m->items = NULL;
    m->n = m->cap = 0;
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
}

bool smap_del(struct smap *m, const char *key)
{
    size_t i = lower(m, key);
    if (!is_at(m, i, key)) {
        return false;
    }
    smap_touch(m, key); /* before the key is freed, which may be @key itself */
    free_item(m, &m->items[i]);
    m->n--;
    memmove(&m->items[i], &m->items[i + 1], (m->n - i) * sizeof(*m->items));
    return true;
}
