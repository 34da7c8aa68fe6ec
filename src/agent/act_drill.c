/* SPDX-License-Identifier: Apache-2.0
 * A drill's ears on this host, and its report. Its hands are in act_strike.c. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "adapters/virt/domxml_format.h"
#include "agent/act_why.h"
#include "agent/beats.h"
#include "agent/env.h"
#include "base/str.h"
#include "core/drill.h"
#include "io/clock.h"

#define WINDOW_US (5 * USEC_PER_SEC)
#define POLL_MS 100 /* how soon a guest that has just been started is heard */
#define GUESTS_MAX 64
#define CHANNEL_SUFFIX ".demo.sock"
#define BEFORE_MS 5000 /* facts are gathered from a little before the strike on */

/* --- listening ----------------------------------------------------------------------------- */

struct ear {
    char vm[65];
    int fd;
    struct beats beats;
};

struct ears {
    struct ear v[GUESTS_MAX];
    size_t n;
};

static struct ear *ear_of(struct ears *all, const char *vm)
{
    for (size_t i = 0; i < all->n; i++) {
        if (str_eq(all->v[i].vm, vm)) {
            return &all->v[i];
        }
    }
    if (all->n == GUESTS_MAX) {
        return NULL;
    }
    struct ear *ear = &all->v[all->n++];
    (void)snprintf(ear->vm, sizeof(ear->vm), "%s", vm);
    ear->fd = -1;
    return ear;
}

/* A guest that has just gone, or to which somebody else listens, is tried again. */
static void open_ear(struct ear *ear, const char *file)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof(to.sun_path), DOM_CHANNEL_DIR "/%s", file);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
        (void)close(fd); /* nothing was sent */
        fd = -1;
    }
    ear->fd = fd;
}

static void open_ears(struct ears *all)
{
    DIR *dir = opendir(DOM_CHANNEL_DIR);
    for (const struct dirent *d = NULL; dir && (d = readdir(dir));) {
        char vm[65];
        size_t n = strlen(d->d_name) - (str_ends(d->d_name, CHANNEL_SUFFIX) ? strlen(CHANNEL_SUFFIX) : 0);
        if (n == strlen(d->d_name) || n >= sizeof(vm)) {
            continue;
        }
        (void)snprintf(vm, sizeof(vm), "%.*s", (int)n, d->d_name);
        struct ear *ear = str_is_name(vm) ? ear_of(all, vm) : NULL;
        if (ear && ear->fd < 0) {
            open_ear(ear, d->d_name);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

static void hear(struct ear *ear)
{
    char buf[8192];
    ssize_t n = read(ear->fd, buf, sizeof(buf));
    if (n > 0) {
        beats_take(&ear->beats, buf, (size_t)n, clock_wall_us() / USEC_PER_MSEC);
    } else if (n == 0 || errno != EAGAIN) {
        (void)close(ear->fd); /* read only */
        ear->fd = -1;
        ear->beats.len = 0;
    }
}

static void wait_for_words(struct ears *all)
{
    struct pollfd fds[GUESTS_MAX];
    for (size_t i = 0; i < all->n; i++) {
        fds[i] = (struct pollfd){.fd = all->v[i].fd, .events = POLLIN};
    }
    if (poll(fds, all->n, POLL_MS) <= 0) {
        return;
    }
    for (size_t i = 0; i < all->n; i++) {
        if (fds[i].revents && all->v[i].fd >= 0) {
            hear(&all->v[i]);
        }
    }
}

int act_drill_listen(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    struct ears *all = xcalloc(1, sizeof(*all));
    uint64_t until_us = clock_boottime_us() + WINDOW_US;
    uint64_t look_us = 0;
    json_t *vms = json_object();
    while (clock_boottime_us() < until_us) {
        if (clock_boottime_us() >= look_us) {
            open_ears(all);
            look_us = clock_boottime_us() + POLL_MS * USEC_PER_MSEC;
        }
        wait_for_words(all);
    }
    for (size_t i = 0; i < all->n; i++) {
        const struct beats *b = &all->v[i].beats;
        if (all->v[i].fd >= 0) {
            (void)close(all->v[i].fd); /* read only */
        }
        if (b->first_ms) {
            json_object_set_new(vms, all->v[i].vm,
                                json_pack("{s:I,s:I,s:I,s:I,s:I}", "first_ms", (json_int_t)b->first_ms, "last_ms",
                                          (json_int_t)b->last_ms, "wrote_first_ms", (json_int_t)b->wrote_first_ms,
                                          "wrote_last_ms", (json_int_t)b->wrote_last_ms, "stall_ms",
                                          (json_int_t)b->stall_ms));
        }
    }
    free(all);
    *ret = json_pack("{s:o}", "vms", vms);
    return 0;
}

/* --- the report ---------------------------------------------------------------------------- */

int act_drill_report(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    const json_t *drill = json_object_get(args, "drill");
    uint64_t strike_ms = json_u64_of(drill, "strike_ms", 0);
    _cleanup_json_ json_t *parts =
        why_gather(json_object_get(args, "hosts"), NULL, strike_ms > BEFORE_MS ? strike_ms - BEFORE_MS : 0);
    *ret = drill_report(drill, json_object_get(args, "beats"), parts);
    return *ret ? 0 : ERR_SET(e, BUG, "the drill's record is incomplete");
}
