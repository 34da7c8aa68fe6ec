/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/str.h"

/* As the kernel writes it; readdir() would allocate. */
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

void freeze_init(struct freeze *f, const char *path)
{
    (void)snprintf(f->path, sizeof(f->path), "%s", path);
    f->freeze_fd = -1;
    f->events_fd = -1;
}

void freeze_done(struct freeze *f)
{
    close_fdp(&f->freeze_fd);
    close_fdp(&f->events_fd);
    f->freeze_fd = -1;
    f->events_fd = -1;
}

/* Return: bytes, the text is terminated; or -errno */
static int read_text(int fd, char *buf, size_t size)
{
    ssize_t n = pread(fd, buf, size - 1, 0);
    buf[n > 0 ? n : 0] = '\0';
    return n < 0 ? -errno : (int)n;
}

static int open_file(int dir, const char *path, int flags)
{
    return openat(dir, path, flags | O_CLOEXEC | O_NOFOLLOW);
}

bool freeze_refresh(struct freeze *f)
{
    char path[GUARD_PATH_SIZE + 16];
    char text[128];
    if (f->events_fd >= 0 && read_text(f->events_fd, text, sizeof(text)) > 0) {
        return true; /* a slice that was removed answers ENODEV */
    }
    freeze_done(f);
    (void)snprintf(path, sizeof(path), "%s/cgroup.freeze", f->path);
    f->freeze_fd = open_file(AT_FDCWD, path, O_RDWR);
    (void)snprintf(path, sizeof(path), "%s/cgroup.events", f->path);
    f->events_fd = f->freeze_fd < 0 ? -1 : open_file(AT_FDCWD, path, O_RDONLY);
    if (f->events_fd < 0) {
        freeze_done(f);
    }
    return f->events_fd >= 0;
}

int freeze_apply(struct freeze *f, bool on, struct err *e)
{
    for (int attempt = 0; freeze_refresh(f) && attempt < 2; attempt++) {
        if (pwrite(f->freeze_fd, on ? "1" : "0", 1, 0) == 1) {
            return 0;
        }
        if (errno != ENODEV) {
            return ERR_SYS(e, IO, errno, "cannot %s '%s'", on ? "freeze" : "thaw", f->path);
        }
    }
    return 0;
}

bool freeze_is_set(const struct freeze *f)
{
    char text[8];
    return f->freeze_fd >= 0 && read_text(f->freeze_fd, text, sizeof(text)) > 0 && text[0] == '1';
}

/* The next entry of a directory level, or NULL */
static const struct entry *next_entry(struct freeze *f, unsigned level)
{
    if (f->levels[level].at >= f->levels[level].len) {
        f->levels[level].at = 0;
        f->levels[level].len = syscall(SYS_getdents64, f->levels[level].fd,
                                       f->levels[level].entries, sizeof(f->levels[level].entries));
    }
    if (f->levels[level].len <= 0) {
        return NULL;
    }
    const struct entry *d = (const void *)(f->levels[level].entries + f->levels[level].at);
    f->levels[level].at += d->size;
    return d;
}

static bool enter(struct freeze *f, unsigned level, int dir, const char *name)
{
    f->levels[level].fd = open_file(dir, name, O_RDONLY | O_DIRECTORY);
    f->levels[level].len = 0;
    f->levels[level].at = 0;
    return f->levels[level].fd >= 0;
}

/* Is a thread of this process on a CPU, or waiting for one? Who is gone is not. */
static bool process_runs(struct freeze *f, unsigned pid)
{
    char path[64];
    char stat[256];
    bool runs = pid == 0; /* a process of another PID namespace: nobody can say */
    (void)snprintf(path, sizeof(path), "/proc/%u/task", pid);
    if (runs || !enter(f, FREEZE_DEPTH_MAX, AT_FDCWD, path)) {
        return runs;
    }
    for (const struct entry *d; !runs && (d = next_entry(f, FREEZE_DEPTH_MAX)) != NULL;) {
        (void)snprintf(path, sizeof(path), "%.16s/stat", d->name);
        _cleanup_close_ int fd = d->name[0] == '.'
                                     ? -1
                                     : open_file(f->levels[FREEZE_DEPTH_MAX].fd, path, O_RDONLY);
        const char *paren = fd >= 0 && read_text(fd, stat, sizeof(stat)) > 0 ? strrchr(stat, ')')
                                                                             : NULL;
        runs = paren && paren[1] == ' ' && paren[2] == 'R';
    }
    close_fdp(&f->levels[FREEZE_DEPTH_MAX].fd);
    return runs;
}

/* All processes of one group. A threaded one refuses; its processes are listed above it. */
static bool group_runs(struct freeze *f, int dir)
{
    char text[512];
    unsigned pid = 0;
    bool runs = false;
    bool has_digit = false;
    _cleanup_close_ int fd = open_file(dir, "cgroup.procs", O_RDONLY);
    for (ssize_t n; !runs && fd >= 0 && (n = read(fd, text, sizeof(text))) > 0;) {
        for (ssize_t i = 0; i < n && !runs; i++) {
            runs = text[i] == '\n' && has_digit && process_runs(f, pid);
            has_digit = text[i] >= '0' && text[i] <= '9';
            pid = has_digit ? pid * 10 + (unsigned)(text[i] - '0') : 0;
        }
    }
    return runs;
}

/* Depth first; what lies deeper than we look counts as running. */
static bool tree_runs(struct freeze *f)
{
    unsigned level = 0;
    if (!enter(f, 0, AT_FDCWD, f->path)) {
        return errno != ENOENT;
    }
    bool runs = group_runs(f, f->levels[0].fd);
    for (bool is_done = false; !is_done;) {
        const struct entry *d = runs ? NULL : next_entry(f, level);
        if (!d) {
            close_fdp(&f->levels[level].fd);
            is_done = level-- == 0;
        } else if (d->type == DT_DIR && d->name[0] != '.') {
            runs = level + 1 == FREEZE_DEPTH_MAX;
            if (!runs && enter(f, level + 1, f->levels[level].fd, d->name)) {
                runs = group_runs(f, f->levels[++level].fd);
            }
        }
    }
    return runs;
}

enum freeze_seen freeze_observe(struct freeze *f)
{
    char text[128];
    if (!freeze_refresh(f) || read_text(f->events_fd, text, sizeof(text)) <= 0 ||
        strstr(text, "populated 0")) {
        return FREEZE_EMPTY;
    }
    if (strstr(text, "frozen 1")) {
        return FREEZE_STILL; /* the kernel's word suffices; that it is missing says nothing */
    }
    return freeze_is_set(f) && !tree_runs(f) ? FREEZE_STILL : FREEZE_RUNNING;
}
