/* SPDX-License-Identifier: Apache-2.0
 * Errors: a code from errors.def with a stable name, one phrase for people and a hint what to do.
 * Functions return 0 or -ERR_X; `struct err *` comes last, may be NULL, and is set exactly once;
 * callers put context in front with err_prepend(). Foreign errors become ours where they arrive. */
#pragma once

#include "base/util.h"

enum err_code {
    ERR_OK = 0,
#define ERR(symbol, name, class, http, exit, sentence) ERR_##symbol,
#include "base/errors.def"
#undef ERR
    ERR_COUNT
};

enum err_class {
    ERR_CLASS_CALLER,    /* the request is wrong; repeating it does not help */
    ERR_CLASS_STATE,     /* the world does not allow it now */
    ERR_CLASS_TRANSIENT, /* it did not happen; trying again may help */
    ERR_CLASS_UNKNOWN,   /* it may have happened: observe before trying again */
    ERR_CLASS_LIMIT,     /* something from outside is too large */
    ERR_CLASS_BUG,
};

struct err {
    int code;       /* enum err_code, 0 = not set */
    int sys;        /* errno or 0 */
    char msg[512];  /* one phrase, no newline, no full stop */
    char hint[256]; /* what the user can do; may be empty */
    const char *where;
};

/**
 * err_set - record a failure
 * @e: may be NULL        @code: enum err_code, not 0        @sys: errno or 0
 * @where: file:line, given by the ERR_SET macro             @fmt: one phrase, printf
 * Return: -@code, so that callers can `return ERR_SET(...)`. A set error is never overwritten.
 */
int err_set(struct err *e, int code, int sys, const char *where, const char *fmt, ...)
    _printf_(5, 6);

#define ERR_STR2(x) #x
#define ERR_STR(x) ERR_STR2(x)
#define ERR_SET(e, code, ...) err_set(e, ERR_##code, 0, __FILE__ ":" ERR_STR(__LINE__), __VA_ARGS__)
#define ERR_SYS(e, code, sys, ...) \
    err_set(e, ERR_##code, sys, __FILE__ ":" ERR_STR(__LINE__), __VA_ARGS__)

/**
 * err_hint - say what the user can do; printf
 * @e: may be NULL; nothing happens when it is not set or has a hint already
 */
void err_hint(struct err *e, const char *fmt, ...) _printf_(2, 3);

/**
 * err_prepend - put context in front of the message: "cannot start vm 'db1'" + ": " + message
 * @e: may be NULL or unset (then nothing happens)
 */
void err_prepend(struct err *e, const char *fmt, ...) _printf_(2, 3);

/** err_copy - copy @src over @dst when @dst is not NULL. Return: -@src->code */
int err_copy(struct err *dst, const struct err *src);

/** err_name - stable dotted name of @code ("pool.no-quorum"); "ok" for 0 */
const char *err_name(int code);
/** err_code_by_name - the code of a dotted name, ERR_BUG for unknown names */
int err_code_by_name(const char *name);
/** err_sentence - the catalogue's sentence for @code */
const char *err_sentence(int code);
/** err_class - what a planner may do about @code */
enum err_class err_class(int code);
/** err_http - HTTP status for @code (200 for 0) */
int err_http(int code);
/** err_exit - exit code of the CLI for @code */
int err_exit(int code);
