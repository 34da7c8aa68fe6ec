/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    const char *name;
    enum err_class class;
    int http;
    int exit;
    const char *sentence;
};

static const struct err_row rows[ERR_COUNT] = {
    [ERR_OK] = {"ok", ERR_CLASS_STATE, 200, 0, "Done."},
#define ERR(symbol, dotted, cls, status, code, text) \
    [ERR_##symbol] = {dotted, ERR_CLASS_##cls, status, code, text},
#include "base/errors.def"
#undef ERR
};

static const struct err_row *row_of(int code)
{
    code = code < 0 ? -code : code;
    return &rows[code < ERR_COUNT ? code : ERR_BUG];
}

int err_set(struct err *e, int code, int sys, const char *where, const char *fmt, ...)
{
    assert(code > 0 && code < ERR_COUNT);
    if (e && !e->code) {
        va_list ap;
        e->code = code;
        e->sys = sys;
        e->where = where;
        e->hint[0] = '\0';
        va_start(ap, fmt);
        int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
        va_end(ap);
        if (sys && n > 0 && (size_t)n < sizeof(e->msg)) {
            (void)snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", strerrordesc_np(sys));
        }
    }
    return -code;
}

void err_hint(struct err *e, const char *fmt, ...)
{
    if (!e || !e->code || e->hint[0]) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(e->hint, sizeof(e->hint), fmt, ap); /* a hint may be cut */
    va_end(ap);
}

void err_prepend(struct err *e, const char *fmt, ...)
{
    if (!e || !e->code) {
        return;
    }
    char old[sizeof(e->msg)];
    memcpy(old, e->msg, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof(e->msg)) {
        (void)snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", old); /* may be cut */
    }
}

int err_copy(struct err *dst, const struct err *src)
{
    assert(src->code > 0);
    if (dst) {
        *dst = *src;
    }
    return -src->code;
}

const char *err_name(int code)
{
    return row_of(code)->name;
}

int err_code_by_name(const char *name)
{
    for (int i = 0; name && i < ERR_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return i;
        }
    }
    return ERR_BUG;
}

const char *err_sentence(int code)
{
    return row_of(code)->sentence;
}

enum err_class err_class(int code)
{
    return row_of(code)->class;
}

int err_http(int code)
{
    return row_of(code)->http;
}

int err_exit(int code)
{
    return row_of(code)->exit;
}
