/* SPDX-License-Identifier: Apache-2.0
 * The event loop: sd-event behind a small face. Single-threaded; callbacks must not block. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct loop;
struct loop_source;

typedef void (*loop_timer_fn)(void *arg);
typedef void (*loop_io_fn)(void *arg, int fd, uint32_t epoll_events);

/** loop_new - Return: 0 or -ERR_IO. Blocks SIGTERM, SIGINT and SIGCHLD and turns the first two into loop_quit(). */
int loop_new(struct loop **ret, struct err *e);
void loop_free(struct loop *l);
DEFINE_FREEP(struct loop, loop_free)

/** loop_run - until loop_quit(). Return: 0 or -ERR_IO */
int loop_run(struct loop *l, struct err *e);
void loop_quit(struct loop *l);
/** loop_turn - at most one turn, waiting at most @timeout_us. For tests. */
int loop_turn(struct loop *l, uint64_t timeout_us, struct err *e);

/**
 * loop_timer - call @fn once @delay_us from now (CLOCK_BOOTTIME); loop_rearm() sets it again
 * Owns: the caller frees the source with loop_source_free(), which also stops it.
 */
struct loop_source *loop_timer(struct loop *l, uint64_t delay_us, loop_timer_fn fn, void *arg);
void loop_rearm(struct loop_source *s, uint64_t delay_us);
/** loop_io - call @fn when @fd has one of @epoll_events. The descriptor stays the caller's. */
struct loop_source *loop_io(struct loop *l, int fd, uint32_t epoll_events, loop_io_fn fn, void *arg);
/** loop_io_set - change the events that loop_io() waits for; 0 leaves EPOLLERR and EPOLLHUP */
void loop_io_set(struct loop_source *s, uint32_t epoll_events);
/**
 * loop_pidfd - call @fn once when the process behind @pidfd has ended; works for processes that are
 * not our children. The descriptor stays the caller's.
 */
struct loop_source *loop_pidfd(struct loop *l, int pidfd, loop_io_fn fn, void *arg);
void loop_source_free(struct loop_source *s);
DEFINE_FREEP(struct loop_source, loop_source_free)
