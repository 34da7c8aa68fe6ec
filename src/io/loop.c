/* SPDX-License-Identifier: Apache-2.0 */
#include "io/loop.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "base/str.h"

struct loop {
    sd_event *event;
};

struct loop_source {
    sd_event_source *source;
    union {
        loop_timer_fn timer;
        loop_io_fn io;
    } fn;
    void *arg;
};

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    loop_quit(arg);
    return 0;
}

int loop_new(struct loop **ret, struct err *e)
{
    sigset_t set;
    _cleanup_(loop_freep) struct loop *l = xcalloc(1, sizeof(*l));
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    int r = sd_event_new(&l->event);
    r = r < 0 ? r : sd_event_add_signal(l->event, NULL, SIGTERM, on_signal, l);
    r = r < 0 ? r : sd_event_add_signal(l->event, NULL, SIGINT, on_signal, l);
    r = r < 0 ? r : sd_event_set_watchdog(l->event, true);
    if (r < 0) {
        return ERR_SYS(e, IO, -r, "cannot make an event loop");
    }
    *ret = TAKE(l);
    return 0;
}

void loop_free(struct loop *l)
{
    if (l) {
        sd_event_unref(l->event);
        free(l);
    }
}

int loop_run(struct loop *l, struct err *e)
{
    int r = sd_event_loop(l->event);
    return r < 0 ? ERR_SYS(e, IO, -r, "the event loop failed") : 0;
}

void loop_quit(struct loop *l)
{
    (void)sd_event_exit(l->event, 0); /* fails only when it has ended already */
}

int loop_turn(struct loop *l, uint64_t timeout_us, struct err *e)
{
    int r = sd_event_run(l->event, timeout_us);
    return r < 0 ? ERR_SYS(e, IO, -r, "the event loop failed") : 0;
}

static struct loop_source *source_new(void *arg)
{
    struct loop_source *s = xcalloc(1, sizeof(*s));
    s->arg = arg;
    return s;
}

static int on_timer(sd_event_source *es, uint64_t usec, void *arg)
{
    struct loop_source *s = arg;
    s->fn.timer(s->arg); /* may free s: nothing is touched after it */
    return 0;
}

struct loop_source *loop_timer(struct loop *l, uint64_t delay_us, loop_timer_fn fn, void *arg)
{
    struct loop_source *s = source_new(arg);
    s->fn.timer = fn;
    int r = sd_event_add_time_relative(l->event, &s->source, CLOCK_BOOTTIME, delay_us,
                                       USEC_PER_MSEC, on_timer, s);
    assert(r >= 0); /* only memory or descriptors can be short: not survivable */
    (void)r;
    return s;
}

void loop_rearm(struct loop_source *s, uint64_t delay_us)
{
    (void)sd_event_source_set_time_relative(s->source, delay_us);
    (void)sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *es, int fd, uint32_t revents, void *arg)
{
    struct loop_source *s = arg;
    s->fn.io(s->arg, fd, revents);
    return 0;
}

struct loop_source *loop_io(struct loop *l, int fd, uint32_t epoll_events, loop_io_fn fn, void *arg)
{
    struct loop_source *s = source_new(arg);
    s->fn.io = fn;
    int r = sd_event_add_io(l->event, &s->source, fd, epoll_events, on_io, s);
    assert(r >= 0);
    (void)r;
    return s;
}

void loop_io_set(struct loop_source *s, uint32_t epoll_events)
{
    (void)sd_event_source_set_io_events(s->source, epoll_events); /* fails only after a fork */
}

struct loop_source *loop_pidfd(struct loop *l, int pidfd, loop_io_fn fn, void *arg)
{
    struct loop_source *s = loop_io(l, pidfd, EPOLLIN, fn, arg);
    (void)sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT); /* stays readable for ever */
    return s;
}

void loop_source_free(struct loop_source *s)
{
    if (s) {
        (void)sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
        sd_event_source_unref(s->source);
        free(s);
    }
}
