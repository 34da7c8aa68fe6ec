/* SPDX-License-Identifier: Apache-2.0
 * A map from strings to pointers, kept sorted by key, so that iteration has one order everywhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct smap_item {
    char *key;
    void *value;
};

/* Zero-initialise with .free_value; smap_done() frees all. Iterate items[0..n). */
struct smap {
    struct smap_item *items;
    size_t n;
    size_t cap;
    uint64_t changes;           /* grows with each put and del: what was worked out of the map still holds */
    void (*free_value)(void *); /* may be NULL */
};

void smap_done(struct smap *m);
/** smap_get - the value or NULL */
void *smap_get(const struct smap *m, const char *key);
/** smap_put - takes ownership of @value, frees what was there */
void smap_put(struct smap *m, const char *key, void *value);
/** smap_del - Return: whether the key was there */
bool smap_del(struct smap *m, const char *key);
/** smap_lower - index of the first key >= @key, m->n when none. For prefix scans. */
size_t smap_lower(const struct smap *m, const char *key);
