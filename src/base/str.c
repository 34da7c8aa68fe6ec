/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool str_ends(const char *s, const char *suffix)
{
    size_t n = s ? strlen(s) : 0;
    size_t m = strlen(suffix);
    return s && n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *str_dup(const char *s)
{
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy) {
        abort();
    }
    return copy;
}

/* Keys and ids are made by the hundred in each step of the core, from %s and %llu alone: a third of its time
 * was spent in printf's general machine. Return: length, or SIZE_MAX when it does not fit or asks for more */
static size_t format_simple(char *buf, size_t size, const char *fmt, va_list ap)
{
    size_t len = 0;
    while (*fmt) {
        char digits[20];
        const char *part = fmt;
        size_t n = strcspn(fmt, "%");
        fmt += n;
        if (n == 0 && str_starts(fmt, "%s")) {
            part = va_arg(ap, const char *);
            part = part ? part : "(null)";
            n = strlen(part);
            fmt += 2;
        } else if (n == 0 && str_starts(fmt, "%llu")) {
            unsigned long long value = va_arg(ap, unsigned long long);
            do {
                digits[sizeof(digits) - ++n] = (char)('0' + value % 10);
                value /= 10;
            } while (value);
            part = digits + sizeof(digits) - n;
            fmt += 4;
        } else if (n == 0) {
            return SIZE_MAX;
        }
        if (n >= size - len) {
            return SIZE_MAX;
        }
        memcpy(buf + len, part, n);
        len += n;
    }
    return len;
}

char *str_printf(const char *fmt, ...)
{
    char buf[256];
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    size_t len = format_simple(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    if (len != SIZE_MAX) {
        buf[len] = '\0';
        return str_dup(buf);
    }
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        abort();
    }
    return s;
}

int str_parse_u64(const char *s, uint64_t max, uint64_t *ret, struct err *e)
{
    uint64_t value = 0;
    if (!*s) {
        return ERR_SET(e, INVALID, "a number is missing");
    }
    for (const char *p = s; *p; p++) {
        if (*p < '0' || *p > '9') {
            return ERR_SET(e, INVALID, "'%.40s' is not a whole number", s);
        }
        unsigned digit = (unsigned)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10 || value * 10 + digit > max) {
            return ERR_SET(e, INVALID, "'%.40s' is larger than %llu", s, (unsigned long long)max);
        }
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

bool str_is_name(const char *s)
{
    size_t n = s ? strlen(s) : 0;
    if (n < 1 || n > 63 || s[0] < 'a' || s[0] > 'z' || s[n - 1] == '-') {
        return false;
    }
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

void sbuf_done(struct sbuf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

int sbuf_add(struct sbuf *b, const void *data, size_t len)
{
    if (b->limit && (len > b->limit || b->len > b->limit - len)) {
        return -ERR_LIMIT;
    }
    if (b->len + len + 1 > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 256;
        while (cap < b->len + len + 1) {
            cap *= 2;
        }
        char *grown = realloc(b->data, cap);
        if (!grown) {
            abort();
        }
        b->data = grown;
        b->cap = cap;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

void sbuf_printf(struct sbuf *b, const char *fmt, ...)
{
    _cleanup_free_ char *s = NULL;
    va_list ap;
    assert(!b->limit);
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        abort();
    }
    (void)sbuf_add(b, s, (size_t)n); /* cannot fail without a limit */
}

char *sbuf_take(struct sbuf *b)
{
    char *s = b->data ? b->data : str_dup("");
    b->data = NULL;
    b->len = b->cap = 0;
    return s;
}

void strv_done(struct strv *v)
{
    for (size_t i = 0; i < v->n; i++) {
        free(v->v[i]);
    }
    free(v->v);
    v->v = NULL;
    v->n = 0;
}

static void strv_push(struct strv *v, char *owned)
{
    char **grown = reallocarray(v->v, v->n + 2, sizeof(*grown));
    if (!grown) {
        abort();
    }
    v->v = grown;
    v->v[v->n++] = owned;
    v->v[v->n] = NULL;
}

void strv_add(struct strv *v, const char *s)
{
    assert(s);
    strv_push(v, str_dup(s));
}

void strv_addf(struct strv *v, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0) {
        abort();
    }
    strv_push(v, s);
}

bool strv_has(const struct strv *v, const char *s)
{
    for (size_t i = 0; i < v->n; i++) {
        if (str_eq(v->v[i], s)) {
            return true;
        }
    }
    return false;
}

void strv_split(struct strv *v, const char *s, const char *sep)
{
    while (s && *s) {
        size_t n = strcspn(s, sep);
        if (n) {
            strv_addf(v, "%.*s", (int)n, s);
        }
        s += n;
        s += strspn(s, sep);
    }
}

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
    const unsigned char *in = data;
    char *out = xcalloc((len + 2) / 3 * 4 + 1, 1);
    char *p = out;
    for (size_t i = 0; i < len; i += 3) {
        unsigned b1 = i + 1 < len ? in[i + 1] : 0;
        unsigned b2 = i + 2 < len ? in[i + 2] : 0;
        unsigned bits = (unsigned)in[i] << 16 | b1 << 8 | b2;
        *p++ = base64_alphabet[bits >> 18 & 63];
        *p++ = base64_alphabet[bits >> 12 & 63];
        *p++ = i + 1 < len ? base64_alphabet[bits >> 6 & 63] : '=';
        *p++ = i + 2 < len ? base64_alphabet[bits & 63] : '=';
    }
    return out;
}

static int base64_digit(char c)
{
    const char *p = c ? strchr(base64_alphabet, c) : NULL;
    return p ? (int)(p - base64_alphabet) : -1;
}

int base64_decode(const char *s, char **ret, size_t *ret_len, struct err *e)
{
    size_t n = strlen(s);
    size_t pad = n && s[n - 1] == '=' ? (n > 1 && s[n - 2] == '=' ? 2 : 1) : 0;
    if (n % 4) {
        return ERR_SET(e, PARSE, "base64 text has a length of %zu", n);
    }
    _cleanup_free_ char *out = xcalloc(n / 4 * 3 + 1, 1);
    size_t used = 0;
    for (size_t i = 0; i < n; i += 4) {
        unsigned bits = 0;
        for (size_t k = 0; k < 4; k++) {
            bool is_pad = i + k >= n - pad;
            int digit = is_pad ? 0 : base64_digit(s[i + k]);
            if (digit < 0) {
                return ERR_SET(e, PARSE, "base64 text has a foreign character");
            }
            bits = bits << 6 | (unsigned)digit;
        }
        out[used++] = (char)(bits >> 16);
        out[used++] = (char)(bits >> 8 & 255);
        out[used++] = (char)(bits & 255);
    }
    used -= n ? pad : 0;
    out[used] = '\0';
    *ret_len = used;
    *ret = TAKE(out);
    return 0;
}

void hex_format(const void *data, size_t len, char *ret)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++) {
        *ret++ = "0123456789abcdef"[p[i] >> 4];
        *ret++ = "0123456789abcdef"[p[i] & 15];
    }
    *ret = '\0';
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_parse(const char *s, void *ret, size_t len)
{
    unsigned char *p = ret;
    if (strlen(s) != 2 * len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(s[2 * i]);
        int low = hex_value(s[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        p[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}
