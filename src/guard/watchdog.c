/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <string.h>
#include <sys/ioctl.h>

static bool can_stop(const char *nowayout)
{
    char word = '0';
    _cleanup_close_ int fd = open(nowayout, O_RDONLY | O_CLOEXEC);
    return fd < 0 || read(fd, &word, 1) != 1 || word != '1';
}

static const char *why_not(int error)
{
    return error == ENOENT || error == ENODEV || error == ENXIO ? "there is no " WATCHDOG_PATH
           : error == EBUSY ? WATCHDOG_PATH " is in use, perhaps by systemd (RuntimeWatchdogSec)"
                            : WATCHDOG_PATH " cannot be opened";
}

int watchdog_open(struct watchdog *w, const char *path, const char *nowayout,
                  const struct guard_times *t, uint64_t now_us, struct err *e)
{
    struct watchdog_info info = {0};
    int seconds = (int)(t->watchdog_us / USEC_PER_SEC);
    *w = (struct watchdog){
        .fd = -1, .timeout_us = t->watchdog_us, .pet_us = now_us, .would_fire = w->would_fire};
    if (!can_stop(nowayout)) {
        w->why_none = "the driver of " WATCHDOG_PATH " cannot be stopped again (nowayout=1)";
        return 0;
    }
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        w->why_none = why_not(errno);
        return 0;
    }
    w->fd = fd;
    w->is_open = true;
    seconds = seconds > 0 ? seconds : 1;
    /* A driver may refuse or round: what it then says it does is what counts. */
    (void)ioctl(fd, WDIOC_SETTIMEOUT, &seconds);
    bool is_told = ioctl(fd, WDIOC_GETTIMEOUT, &seconds) == 0 && seconds > 0;
    w->timeout_us = is_told ? (uint64_t)seconds * USEC_PER_SEC : UINT64_MAX / 2;
    w->is_soft = ioctl(fd, WDIOC_GETSUPPORT, &info) == 0 &&
                 strstr((const char *)info.identity, "Software");
    int r = guard_times_check(t, w->timeout_us, e);
    if (r < 0) {
        watchdog_close(w, true);
        return r;
    }
    watchdog_pet(w, now_us);
    return 0;
}

void watchdog_close(struct watchdog *w, bool disarm)
{
    if (w->is_open) {
        (void)!write(w->fd, disarm ? "V" : "1", 1); /* "V" ends it unless nowayout is set */
        close_fdp(&w->fd);
    }
    w->is_open = false;
    w->fd = -1;
}

void watchdog_pet(struct watchdog *w, uint64_t now_us)
{
    w->pet_us = now_us;
    w->has_fired = false;
    if (w->is_open) {
        (void)ioctl(w->fd, WDIOC_KEEPALIVE,
                    0); /* if that fails the host is reset: nothing better to do */
    }
}

bool watchdog_count(struct watchdog *w, uint64_t now_us)
{
    bool is_news = !w->is_open && !w->has_fired && w->timeout_us &&
                   now_us >= w->pet_us + w->timeout_us;
    w->has_fired = w->has_fired || is_news;
    w->would_fire += is_news ? 1 : 0;
    return is_news;
}

const char *watchdog_kind(const struct watchdog *w)
{
    return !w->is_open ? "none" : w->is_soft ? "softdog" : "hardware";
}
