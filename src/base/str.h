/* SPDX-License-Identifier: Apache-2.0
 * Strings: comparison, allocation that aborts on failure (small, ours), a growing buffer with a
 * limit (sized by the outside), strict number parsing, and the argv vector. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"

static inline void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) {
        abort();
    }
    return p;
}

/** str_eq - equal, where NULL equals only NULL. Most that differ do so at once */
static inline bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && *a == *b && strcmp(a, b) == 0);
}

/** str_starts - does @s, which may be NULL, begin with @prefix? */
static inline bool str_starts(const char *s, const char *prefix)
{
    return s && (*s == *prefix || !*prefix) && strncmp(s, prefix, strlen(prefix)) == 0;
}

/** str_ends - does @s, which may be NULL, end with @suffix? */
bool str_ends(const char *s, const char *suffix);
/** str_dup - copy or abort; NULL gives NULL. Caller frees. */
char *str_dup(const char *s);
/** str_printf - formatted copy or abort. Caller frees. */
char *str_printf(const char *fmt, ...) _printf_(1, 2);

/**
 * str_parse_u64 - a decimal number and nothing else
 * @s: not NULL        @max: largest value accepted       @ret: set on success
 * Return: 0 or -ERR_INVALID
 */
int str_parse_u64(const char *s, uint64_t max, uint64_t *ret, struct err *e);

/**
 * str_is_name - is @s a legal object name: 1–63 of [a-z0-9-], starts with a letter, ends with
 * letter or digit. So names are safe in paths, keys, host names and XML.
 */
bool str_is_name(const char *s);

/* A growing buffer. Zero-initialise; sbuf_done() frees. */
struct sbuf {
    char *data; /* always terminated once anything was added; NULL when empty */
    size_t len;
    size_t cap;
    size_t limit; /* bytes, 0 = no limit. What would exceed it is refused whole */
};
void sbuf_done(struct sbuf *b);
/** sbuf_add - append bytes. Return: 0, or -ERR_LIMIT and nothing was added */
int sbuf_add(struct sbuf *b, const void *data, size_t len);
/** sbuf_printf - append text; only for buffers without limit (else an assertion fails) */
void sbuf_printf(struct sbuf *b, const char *fmt, ...) _printf_(2, 3);
/** sbuf_take - the text, owned by the caller; "" when nothing was added. The buffer is empty after. */
char *sbuf_take(struct sbuf *b);
#define _cleanup_sbuf_ _cleanup_(sbuf_done)

/* A NULL-terminated vector of strings that it owns. Zero-initialise. */
struct strv {
    char **v;
    size_t n;
};
void strv_done(struct strv *v);
void strv_add(struct strv *v, const char *s);
void strv_addf(struct strv *v, const char *fmt, ...) _printf_(2, 3);
bool strv_has(const struct strv *v, const char *s);
/** strv_split - add the non-empty pieces of @s between any of the characters in @sep */
void strv_split(struct strv *v, const char *s, const char *sep);
#define _cleanup_strv_ _cleanup_(strv_done)

/** base64_encode - standard alphabet with padding. Caller frees. */
char *base64_encode(const void *data, size_t len);
/**
 * base64_decode - strict: standard alphabet, padded, no white space
 * @ret: set on success, terminated by a zero byte that is not counted; caller frees
 * Return: 0 or -ERR_PARSE
 */
int base64_decode(const char *s, char **ret, size_t *ret_len, struct err *e);

/** hex_format - lower-case hex. @ret: 2 * @len + 1 bytes */
void hex_format(const void *data, size_t len, char *ret);
/** hex_parse - exactly 2 * @len lower-case hex digits into @ret. Return: whether @s is that */
bool hex_parse(const char *s, void *ret, size_t len);
