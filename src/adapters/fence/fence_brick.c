/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_brick.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "adapters/fence/fence_dump_parse.h"
#include "io/clock.h"
#include "io/file.h"

#define PROC_LIMIT_BYTES (256 * KIB)
#define BRICK_COMM "glusterfsd\n"

static char *read_proc(pid_t pid, const char *name, size_t *ret_len)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/%s", (int)pid, name);
    char *text = NULL;
    return file_read(path, PROC_LIMIT_BYTES, &text, ret_len, NULL) < 0 ? NULL : text;
}

static int keep_number(const struct dirent *d)
{
    return d->d_name[strspn(d->d_name, "0123456789")] == '\0';
}

/* The first thread of a process that ends loses its command line at once, while another may still be
 * within a write to a hung disk. All gone but the first: a zombie, which does nothing any more. */
static bool is_half_dead_brick(pid_t pid)
{
    _cleanup_free_ char *comm = read_proc(pid, "comm", NULL);
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
    _cleanup_free_ char *cmdline = read_proc(pid, "cmdline", &len);
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
    _cleanup_free_ char *stat = read_proc(pid, "stat", NULL);
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
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
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

int fence_brick_find(const char *volume, const char *brick, struct fence_brick *ret, struct err *e)
{
    struct dirent **pids = NULL;
    unsigned bricks = 0;
    unsigned ending = 0;
    pid_t found = 0;
    int n = scandir("/proc", &pids, keep_number, NULL);
    if (n < 0) {
        return ERR_SYS(e, IO, errno, "cannot list processes");
    }
    for (int i = 0; i < n; i++) {
        uint64_t pid = 0;
        (void)str_parse_u64(pids[i]->d_name, INT32_MAX, &pid, NULL); /* stays 0: no such process */
        enum looks looks = pid ? look_at((pid_t)pid, volume, brick) : IS_OTHER;
        bricks += looks == IS_BRICK;
        ending += looks == IS_ENDING;
        found = looks == IS_BRICK ? (pid_t)pid : found;
        free(pids[i]);
    }
    free(pids);
    if (ending > 0) {
        return ERR_SET(e, BUSY, "a brick of this host is ending, and may be %s", brick);
    }
    if (bricks == 0) {
        return ERR_SET(e, NOT_FOUND, "brick %s of '%s' does not run", brick, volume);
    }
    if (bricks > 1) {
        return ERR_SET(e, BUSY, "brick %s of '%s' runs %u times", brick, volume, bricks);
    }
    return open_brick(found, volume, brick, ret, e);
}

static int send_signal(const struct fence_brick *b, int signal)
{
    return syscall(SYS_pidfd_send_signal, b->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int fence_brick_dump(const struct fence_brick *b, struct err *e)
{
    _cleanup_free_ char *status = read_proc(b->pid, "status", NULL);
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

int fence_kill_brick(const char *volume, const char *brick, uint64_t deadline_us, unsigned *ret_killed,
                     struct err *e)
{
    unsigned killed = 0;
    for (;;) {
        struct err said = {0};
        struct fence_brick b = {.pidfd = -1};
        int r = fence_brick_find(volume, brick, &b, &said);
        if (r == -ERR_NOT_FOUND) {
            break;
        }
        if (r == -ERR_BUSY && clock_left_ms(deadline_us) > 0) {
            clock_sleep_ms(5); /* it ends, or shows itself */
            continue;
        }
        if (r < 0) {
            return r == -ERR_BUSY ? ERR_SET(e, TIMEOUT, "%s", said.msg) : err_copy(e, &said);
        }
        r = send_signal(&b, SIGKILL);
        r = r < 0 && r != -ESRCH ? ERR_SYS(e, IO, -r, "cannot kill process %d", (int)b.pid)
                                 : wait_for_end(&b, brick, deadline_us, e);
        close_fdp(&b.pidfd);
        if (r < 0) {
            return r;
        }
        killed++;
    }
    if (ret_killed) {
        *ret_killed = killed;
    }
    return 0;
}
