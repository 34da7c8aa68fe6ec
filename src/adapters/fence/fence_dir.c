/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_dir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/str.h"
#include "io/file.h"

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    assert(slash && slash != path);
    return str_printf("%.*s", (int)(slash - path), path);
}

static int sync_dir(const char *dir, struct err *e)
{
    _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? ERR_SYS(e, IO, errno, "cannot make %s durable", dir) : 0;
}

/* file_replace() syncs the file and its directory; that the directory stays takes its parent. Always:
 * an earlier call may have failed between the two. */
int fence_dir_write(const char *path, const char *text, struct err *e)
{
    _cleanup_free_ char *dir = dir_of(path);
    _cleanup_free_ char *parent = str_printf("%s/..", dir);
    int r = file_mkdirs(dir, 0700, e);
    r = r < 0 ? r : sync_dir(parent, e);
    return r < 0 ? r : file_replace(path, text, strlen(text), 0600, e);
}

int fence_dir_remove(const char *path, struct err *e)
{
    _cleanup_free_ char *dir = dir_of(path);
    if (unlink(path) < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", path);
    }
    /* Also when it was gone: see above. */
    return file_exists(dir) ? sync_dir(dir, e) : 0;
}
