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

/* Of a hash table beside the sorted items; a place is free when it has no key. */
struct smap_place {
    uint32_t hash;
    const char *key;
    void *value;
};

#define SMAP_CLASS_FACTOR 1347 /* keeps nearly all words of the core apart, see core/basis.c */
typedef unsigned __int128 smap_classes; /* classes of keys, one bit each */

/* Which were looked at, and which were changed. */
struct smap_marks {
    smap_classes read;
    smap_classes written;
};

/* Zero-initialise with .free_value; smap_done() frees all. Iterate items[0..n). */
struct smap {
    struct smap_item *items;
    size_t n;
    size_t cap;
    struct smap_place *places; /* what smap_get() looks into, once there are many; NULL before */
    size_t places_n;           /* a power of two, at least twice n */
    void (*free_value)(void *); /* may be NULL */
    struct smap_marks *marks;   /* get the classes of keys that are looked up or changed; may be NULL */
    smap_classes (*class_of)(const char *key); /* of a key, or all of those that begin like a prefix; with .marks */
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
/** smap_touch - the value of @key is changed in place: note that as smap_put() would */
void smap_touch(const struct smap *m, const char *key);

/**
 * smap_class - a class by the first word of @key, which '/' ends, of the @n from bit @first on
 * Return: one bit; all @n for an empty word, which is the prefix of any
 */
static inline smap_classes smap_class(const char *key, unsigned first, unsigned n)
{
    unsigned hash = 0;
    if (!*key) {
        return (((smap_classes)1 << n) - 1) << first;
    }
    for (; *key && *key != '/'; key++) {
        hash = hash * SMAP_CLASS_FACTOR + (unsigned char)*key;
    }
    hash ^= hash >> 15;
    return (smap_classes)1 << (first + hash % n);
}
