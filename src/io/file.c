/* SPDX-License-Identifier: Apache-2.0 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/block.h"
#include "base/str.h"

int file_read(const char *path, size_t limit_bytes, char **ret, size_t *ret_len, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? ERR_SYS(e, NOT_FOUND, errno, "cannot read %s", path)
                               : ERR_SYS(e, IO, errno, "cannot read %s", path);
    }
    _cleanup_sbuf_ struct sbuf b = {.limit = limit_bytes};
    for (;;) {
        char chunk[8192];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ERR_SYS(e, IO, errno, "cannot read %s", path);
        }
        if (n == 0) {
            break;
        }
        if (sbuf_add(&b, chunk, (size_t)n) < 0) {
            return ERR_SET(e, LIMIT, "%s is larger than %zu bytes", path, limit_bytes);
        }
    }
    if (ret_len) {
        *ret_len = b.len;
    }
    *ret = sbuf_take(&b);
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int sync_dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = slash ? str_printf("%.*s/", (int)(slash - path), path) : str_dup(".");
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    _cleanup_free_ char *tmp = str_printf("%s.new-XXXXXX", path);
    _cleanup_close_ int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) {
        return ERR_SYS(e, IO, errno, "cannot create a file beside %s", path);
    }
    int r = write_all(fd, data, len);
    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0)) {
        r = -errno;
    }
    if (r < 0) {
        (void)unlink(tmp); /* the first failure is what counts */
        return ERR_SYS(e, IO, -r, "cannot write %s", path);
    }
    r = sync_dir_of(path);
    return r < 0 ? ERR_SYS(e, IO, -r, "cannot make the change of %s durable", path) : 0;
}

#define EDIT_LIMIT_BYTES (4 * MIB)

/* The caller's owner may differ from the file's (qemu.conf belongs to root, but who knows). */
static int replace_like(const char *path, const char *text, const struct stat *was, struct err *e)
{
    int r = file_replace(path, text, strlen(text), was->st_mode & 07777, e);
    if (r == 0 && (was->st_uid != geteuid() || was->st_gid != getegid()) &&
        chown(path, was->st_uid, was->st_gid) < 0) {
        return ERR_SYS(e, IO, errno, "cannot give %s back to its owner", path);
    }
    return r;
}

int file_edit_block(const char *path, const char *name, const char *body, bool *ret_changed,
                    struct err *e)
{
    _cleanup_free_ char *old = NULL;
    _cleanup_free_ char *text = NULL;
    struct stat was = {.st_mode = 0644, .st_uid = geteuid(), .st_gid = getegid()};
    int r = 0;
    if (stat(path, &was) == 0) {
        r = file_read(path, EDIT_LIMIT_BYTES, &old, NULL, e);
    } else if (errno != ENOENT) {
        r = ERR_SYS(e, IO, errno, "cannot read %s", path);
    }
    if (r < 0 || (r = block_set(old ? old : "", name, body, &text, e)) < 0) {
        err_prepend(e, "cannot edit %s", path);
        return r;
    }
    bool same = old ? str_eq(old, text) : !text[0];
    if (!same && (r = replace_like(path, text, &was, e)) < 0) {
        return r;
    }
    if (ret_changed) {
        *ret_changed = !same;
    }
    return 0;
}

int file_mkdirs(const char *path, mode_t mode, struct err *e)
{
    _cleanup_free_ char *copy = str_dup(path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        char held = *p;
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST) {
            return ERR_SYS(e, IO, errno, "cannot make directory %s", copy);
        }
        *p = held;
        if (!held) {
            return 0;
        }
    }
}

bool file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}
