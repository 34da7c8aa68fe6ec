/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/image_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/str.h"
#include "base/units.h"
#include "io/file.h"

#define COPY_CHUNK_BYTES (1 * MIB)
#define ROOM_MARGIN_BYTES (64 * MIB) /* kept free of what we write in bulk */
#define ROOM_HINT "remove images or virtual machines that are not needed, or use another pool"

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    assert(slash);
    return slash == path ? str_dup("/") : str_printf("%.*s", (int)(slash - path), path);
}

char *image_hidden_name(const char *path, const char *suffix)
{
    const char *slash = strrchr(path, '/');
    assert(slash && slash[1]);
    return str_printf("%.*s/.%s.%s", (int)(slash - path), path, slash + 1, suffix);
}

void image_unlinkp(char **path)
{
    if (*path) {
        (void)unlink(*path); /* it may never have been made; what failed is told already */
        free(*path);
    }
}

int image_remove_stale(const char *path, struct err *e)
{
    if (unlink(path) < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", path);
    }
    return 0;
}

int image_fail_write(const char *path, int sys, struct err *e)
{
    if (sys != ENOSPC && sys != EDQUOT) {
        return ERR_SYS(e, IO, sys, "cannot write %s", path);
    }
    (void)ERR_SYS(e, POOL_FULL, sys, "no room left to write %s", path);
    err_hint(e, ROOM_HINT);
    return -ERR_POOL_FULL;
}

int image_need_room(const char *path, uint64_t bytes, struct err *e)
{
    _cleanup_free_ char *dir = dir_of(path);
    struct statvfs v;
    char need[24];
    char have[24];
    if (statvfs(dir, &v) < 0) {
        return ERR_SYS(e, IO, errno, "cannot see how much room %s has", dir);
    }
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    if (free_bytes >= ROOM_MARGIN_BYTES && free_bytes - ROOM_MARGIN_BYTES >= bytes) {
        return 0;
    }
    (void)ERR_SET(e, POOL_FULL, "%s has %s free, %s are needed", dir,
                  units_format_size(free_bytes, have, sizeof(have)),
                  units_format_size(bytes, need, sizeof(need)));
    err_hint(e, ROOM_HINT);
    return -ERR_POOL_FULL;
}

int image_write_all(int fd, const void *data, size_t len, const char *path, struct err *e)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR) {
            return image_fail_write(path, errno, e);
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int image_settle(const struct image_env *env, const char *path, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || (env->uid != (uid_t)-1 && fchown(fd, env->uid, env->gid) < 0) ||
        fchmod(fd, 0640) < 0 || fsync(fd) < 0) {
        return image_fail_write(path, errno, e);
    }
    return 0;
}

int image_sync_dir_of(const char *path, struct err *e)
{
    _cleanup_free_ char *dir = dir_of(path);
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? image_fail_write(path, errno, e) : 0;
}

int image_publish(const struct image_env *env, char **tmp, const char *path, struct err *e)
{
    int r = image_settle(env, *tmp, e);
    if (r == 0 && rename(*tmp, path) < 0) {
        r = image_fail_write(path, errno, e);
    }
    if (r == 0) {
        free(TAKE(*tmp));
        r = image_sync_dir_of(path, e);
    }
    return r;
}

/* --- sources ------------------------------------------------------------------------------- */

void image_source_done(struct image_source *s)
{
    close_fdp(&s->fd);
    free(s->fd_path);
}

int image_source_open(const char *path, struct image_source *ret, struct err *e)
{
    /* Without O_NONBLOCK a FIFO would keep us; a device must not notice that we look. */
    ret->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (ret->fd < 0) {
        int r = errno == ENOENT ? ERR_SYS(e, NOT_FOUND, errno, "there is no file %s", path)
                                : ERR_SYS(e, IO, errno, "cannot read %s", path);
        err_hint(e, "it is read on the host where 'mortar' runs, by root");
        return r;
    }
    if (fstat(ret->fd, &ret->stat) < 0) {
        return ERR_SYS(e, IO, errno, "cannot read %s", path);
    }
    if (!S_ISREG(ret->stat.st_mode)) {
        return ERR_SET(e, IMAGE_BAD, "%s is not a regular file", path);
    }
    ret->fd_path = str_printf("/proc/%d/fd/%d", (int)getpid(), ret->fd);
    return 0;
}

/* --- whole files --------------------------------------------------------------------------- */

static int create_hidden(const char *tmp, const char *path, int *ret_fd, struct err *e)
{
    int r = image_remove_stale(tmp, e);
    if (r < 0) {
        return r;
    }
    *ret_fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? image_fail_write(path, errno, e) : 0;
}

static int copy_bytes(int from, const char *source, int to, const char *path, uint64_t max_bytes,
                      struct err *e)
{
    _cleanup_free_ char *chunk = xcalloc(1, COPY_CHUNK_BYTES);
    for (uint64_t at = 0; at <= max_bytes;) {
        ssize_t n = pread(from, chunk, COPY_CHUNK_BYTES, (off_t)at);
        if (n < 0) {
            return ERR_SYS(e, IO, errno, "cannot read %s", source);
        }
        int r = n > 0 ? image_write_all(to, chunk, (size_t)n, path, e) : 0;
        if (r < 0 || n == 0) {
            return r;
        }
        at += (uint64_t)n;
    }
    return ERR_SET(e, INVALID, "%s is larger than %llu MiB", source,
                   (unsigned long long)(max_bytes / MIB));
}

int image_copy_file(const struct image_env *env, const char *source, const char *path,
                    uint64_t max_bytes, struct err *e)
{
    _cleanup_(image_source_done) struct image_source s = {.fd = -1};
    _cleanup_unlink_ char *tmp = image_hidden_name(path, "new");
    _cleanup_close_ int fd = -1;
    if (file_exists(path)) {
        return 0;
    }
    int r = image_source_open(source, &s, e);
    r = r < 0 ? r : create_hidden(tmp, path, &fd, e);
    r = r < 0 ? r : copy_bytes(s.fd, source, fd, path, max_bytes, e);
    return r < 0 ? r : image_publish(env, &tmp, path, e);
}

int image_write_file(const struct image_env *env, const char *path, const void *data, size_t len,
                     struct err *e)
{
    _cleanup_unlink_ char *tmp = image_hidden_name(path, "new");
    _cleanup_close_ int fd = -1;
    int r = create_hidden(tmp, path, &fd, e);
    r = r < 0 ? r : image_write_all(fd, data, len, path, e);
    return r < 0 ? r : image_publish(env, &tmp, path, e);
}
