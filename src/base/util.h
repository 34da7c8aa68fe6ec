/* SPDX-License-Identifier: Apache-2.0
 * Small macros that every module uses: ownership, cleanup on scope exit, array sizes. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/** Runs @f(&variable) when the variable leaves scope. Initialise the variable at once. */
#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

/** Hands ownership of @p to the caller and forgets it, so that cleanup does nothing. */
#define TAKE(p)                  \
    ({                           \
        __typeof__(p) *_pp = &(p); \
        __typeof__(p) _v = *_pp; \
        *_pp = NULL;             \
        _v;                      \
    })

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

#define USEC_PER_MSEC ((uint64_t)1000)
#define USEC_PER_SEC ((uint64_t)1000000)
#define NSEC_PER_USEC ((uint64_t)1000)

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

/** Makes `x_freep()` from `x_free()`, for _cleanup_(). */
#define DEFINE_FREEP(type, free_fn)                  \
    static inline _unused_ void free_fn##p(type **p) \
    {                                                \
        free_fn(*p);                                 \
    }

static inline void freep(void *p)
{
    free(*(void **)p);
}

static inline void close_fdp(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* the descriptor is gone whatever close() says */
    }
}
#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(close_fdp)
