/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_brick.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "adapters/fence/fence_dump_parse.h"
#include "adapters/fence/fence_proc.h"
#include "io/clock.h"
#include "io/file.h"

#define BRICK_COMM "glusterfsd\n"
#define PROCESSES_MAX 8 /* of one brick: one, and what does not end of those before */

static int keep_number(const struct dirent *d)
{
    return d->d_name[strspn(d->d_name, "0123456789")] == '\0';
}

/* The first thread of a process that ends loses its command line at once, while another may still be
 * within a write to a hung disk. All gone but the first: a zombie, which does nothing any more. */
static bool is_half_dead_brick(pid_t pid)
{
    _cleanup_free_ char *comm = fence_proc_read(pid, "comm", NULL);
    _cleanup_free_ char *path = str_printf("/proc/%d/task", (int)pid);
    struct dirent **tasks = NULL;
    if (!comm || !str_eq(comm, BRICK_COMM)) {
        return false;
    }
    int n = scandir(path, &tasks, keep_number, NULL);
    for (int i = 0; i < n; i++) {
        free(tasks[i]);
    }
    free(tasks);
    return n > 1;
}

enum looks { IS_OTHER, IS_BRICK, IS_ENDING };

static enum looks look_at(pid_t pid, const char *volume, const char *brick)
{
    size_t len = 0;
    _cleanup_free_ char *cmdline = fence_proc_read(pid, "cmdline", &len);
    if (!cmdline) {
        return IS_OTHER; /* gone since it was listed */
    }
    if (len == 0) { /* a kernel thread, or one that ends */
        return is_half_dead_brick(pid) ? IS_ENDING : IS_OTHER;
    }
    return fence_cmdline_is_brick(cmdline, len, volume, brick) ? IS_BRICK : IS_OTHER;
}

static uint64_t start_of(pid_t pid)
{
    _cleanup_free_ char *stat = fence_proc_read(pid, "stat", NULL);
    const char *after_name = stat ? strrchr(stat, ')') : NULL; /* a name may hold anything */
    unsigned long long ticks = 0;
    if (!after_name || sscanf(after_name + 1,
                              " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d"
                              " %*d %llu",
                              &ticks) != 1) {
        return 0;
    }
    return ticks;
}

/* Opened first, looked at again after: so the descriptor surely is the process that was looked at. */
static int open_brick(pid_t pid, const char *volume, const char *brick, struct fence_brick *ret,
                      struct err *e)
{
    _cleanup_close_ int fd = pidfd_open(pid, 0);
    if (fd < 0) {
        return errno == ESRCH ? ERR_SET(e, BUSY, "brick %s has just ended", brick)
                              : ERR_SYS(e, IO, errno, "cannot hold process %d", (int)pid);
    }
    uint64_t start = start_of(pid);
    if (start == 0 || look_at(pid, volume, brick) != IS_BRICK) {
        return ERR_SET(e, BUSY, "brick %s has just ended", brick);
    }
    *ret = (struct fence_brick){.pid = pid, .pidfd = fd, .start_ticks = start};
    fd = -1;
    return 0;
}

/* Processes that look like a brick; how many end, of which nobody can say any more what they were. */
struct bricks {
    pid_t pids[PROCESSES_MAX]; /* the first of them */
    unsigned n;
    unsigned ending;
};

static int list_bricks(const char *volume, const char *brick, struct bricks *ret, struct err *e)
{
    struct dirent **pids = NULL;
    int n = scandir("/proc", &pids, keep_number, NULL);
    if (n < 0) {
        return ERR_SYS(e, IO, errno, "cannot list processes");
    }
    *ret = (struct bricks){0};
    for (int i = 0; i < n; i++) {
        uint64_t pid = 0;
        (void)str_parse_u64(pids[i]->d_name, INT32_MAX, &pid, NULL); /* stays 0: no such process */
        enum looks looks = pid ? look_at((pid_t)pid, volume, brick) : IS_OTHER;
        ret->ending += looks == IS_ENDING;
        if (looks == IS_BRICK && ret->n < PROCESSES_MAX) {
            ret->pids[ret->n++] = (pid_t)pid;
        }
        free(pids[i]);
    }
    free(pids);
    return 0;
}

int fence_brick_find(const char *volume, const char *brick, struct fence_brick *ret, struct err *e)
{
    struct bricks all;
    int r = list_bricks(volume, brick, &all, e);
    if (r < 0) {
        return r;
    }
    if (all.ending > 0) {
        return ERR_SET(e, BUSY, "a brick of this host is ending, and may be %s", brick);
    }
    if (all.n == 0) {
        return ERR_SET(e, NOT_FOUND, "brick %s of '%s' does not run", brick, volume);
    }
    if (all.n > 1) {
        return ERR_SET(e, BUSY, "brick %s of '%s' runs %u times", brick, volume, all.n);
    }
    return open_brick(all.pids[0], volume, brick, ret, e);
}

static int send_signal(const struct fence_brick *b, int signal)
{
    return pidfd_send_signal(b->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int fence_brick_dump(const struct fence_brick *b, struct err *e)
{
    _cleanup_free_ char *status = fence_proc_read(b->pid, "status", NULL);
    if (!status) {
        return ERR_SET(e, NOT_FOUND, "the brick's process %d is gone", (int)b->pid);
    }
    if (!fence_status_takes(status, SIGUSR1)) {
        return ERR_SET(e, BUSY, "the brick's process %d is just starting", (int)b->pid);
    }
    int r = send_signal(b, SIGUSR1);
    if (r == -ESRCH) {
        return ERR_SET(e, NOT_FOUND, "the brick's process %d is gone", (int)b->pid);
    }
    return r < 0 ? ERR_SYS(e, IO, -r, "cannot signal process %d", (int)b->pid) : 0;
}

/* A pidfd becomes readable when the last thread has ended. */
static int wait_for_end(const struct fence_brick *b, const char *brick, uint64_t deadline_us,
                        struct err *e)
{
    for (;;) {
        struct pollfd p = {.fd = b->pidfd, .events = POLLIN};
        int left_ms = clock_left_ms(deadline_us);
        int n = poll(&p, 1, left_ms);
        if (n > 0) {
            return 0;
        }
        if (n == 0 && left_ms == 0) {
            return ERR_SET(e, TIMEOUT, "brick %s is killed, but its process %d does not end", brick,
                           (int)b->pid);
        }
        if (n < 0 && errno != EINTR) {
            return ERR_SYS(e, IO, errno, "cannot wait for process %d", (int)b->pid);
        }
    }
}

/* All at once: one that hangs must not keep another alive, which glusterd has started beside it. */
static int kill_listed(const struct bricks *all, const char *volume, const char *brick, uint64_t deadline_us,
                       unsigned *killed, struct err *e)
{
    struct fence_brick held[PROCESSES_MAX];
    unsigned n = 0;
    int r = 0;
    for (unsigned i = 0; i < all->n && r == 0; i++) {
        struct err said = {0};
        r = open_brick(all->pids[i], volume, brick, &held[n], &said);
        if (r == -ERR_BUSY) { /* it has ended, or begun to; the next list tells */
            r = 0;
            continue;
        }
        if (r < 0) {
            (void)err_copy(e, &said);
            break;
        }
        r = send_signal(&held[n++], SIGKILL);
        r = r < 0 && r != -ESRCH ? ERR_SYS(e, IO, -r, "cannot kill process %d", (int)held[n - 1].pid) : 0;
    }
    for (unsigned i = 0; i < n; i++) {
        r = r < 0 ? r : wait_for_end(&held[i], brick, deadline_us, e);
        close_fdp(&held[i].pidfd);
        *killed += r == 0;
    }
    return r;
}

int fence_kill_brick(const char *volume, const char *brick, uint64_t deadline_us, unsigned *ret_killed,
                     struct err *e)
{
    unsigned killed = 0;
    for (;;) {
        struct bricks all;
        unsigned before = killed;
        int r = list_bricks(volume, brick, &all, e);
        if (r == 0 && all.n == 0 && all.ending == 0) {
            break;
        }
        r = r < 0 ? r : kill_listed(&all, volume, brick, deadline_us, &killed, e);
        if (r < 0) {
            return r;
        }
        if (killed == before) { /* it ends, or shows itself */
            if (clock_left_ms(deadline_us) == 0) {
                return ERR_SET(e, TIMEOUT, "a brick of this host is ending, and may be %s", brick);
            }
            clock_sleep_ms(5);
        }
    }
    if (ret_killed) {
        *ret_killed = killed;
    }
    return 0;
}
