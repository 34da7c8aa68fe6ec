/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "io/file.h"

#define XATTR_NAMES_LIMIT_BYTES 8192 /* names of one file; ours have about eight */
#define XATTR_VALUE_LIMIT_BYTES 4096
#define SHARD_NAMES_MAX 4000000 /* names of /.shard that we look at: 256 TiB of images */

/* Return: whether @name was a gfid, taken; else nothing was added */
static bool add_entry(struct fence_index *all, const char *name, bool is_dirty)
{
    if (!fence_is_gfid(name)) {
        return false;
    }
    struct fence_entry *more = realloc(all->v, (all->n + 1) * sizeof(*more));
    if (!more) {
        return false;
    }
    struct fence_entry *entry = &more[all->n++];
    all->v = more;
    *entry = (struct fence_entry){.dirty = is_dirty, .blamed = !is_dirty};
    memcpy(entry->gfid, name, FENCE_GFID_LEN + 1);
    memcpy(entry->base_gfid, name, FENCE_GFID_LEN + 1);
    return true;
}

static int list_one(const char *brick, const char *index, size_t limit, struct fence_index *all,
                    struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/.glusterfs/indices/%s", brick, index);
    _cleanup_free_ char *base = str_printf("%s-", index); /* the file that all entries are links to */
    DIR *dir = opendir(path);
    if (!dir) {
        return errno == ENOENT ? 0 : ERR_SYS(e, IO, errno, "cannot list %s", path);
    }
    errno = 0;
    for (const struct dirent *d; (d = readdir(dir)); errno = 0) {
        if (d->d_name[0] == '.' || str_starts(d->d_name, base)) {
            continue;
        }
        if (all->n == limit || !add_entry(all, d->d_name, str_eq(index, "dirty"))) {
            all->truncated = true;
            break;
        }
    }
    int failed = all->truncated ? 0 : errno;
    (void)closedir(dir); /* only read */
    return failed ? ERR_SYS(e, IO, failed, "cannot list %s", path) : 0;
}

/* The piece whose name is a hard link to @inode: for bricks without gfid2path. */
static void find_shard_name(const char *brick, ino_t inode, struct fence_index *all,
                            struct fence_entry *entry)
{
    _cleanup_free_ char *path = str_printf("%s/.shard", brick);
    DIR *dir = opendir(path);
    size_t seen = 0;
    for (const struct dirent *d; dir && (d = readdir(dir)) && seen <= SHARD_NAMES_MAX; seen++) {
        if (d->d_ino == inode && parse_fence_shard_name(d->d_name, entry->base_gfid, &entry->shard)) {
            break;
        }
    }
    all->truncated = all->truncated || seen > SHARD_NAMES_MAX;
    if (dir) {
        (void)closedir(dir); /* only read */
    }
}

/* Return: 0; -ERR_NOT_FOUND when the file went meanwhile; -ERR_PARSE, -ERR_IO */
static int read_marks(const char *path, struct fence_entry *entry, bool *ret_has_path, struct err *e)
{
    char names[XATTR_NAMES_LIMIT_BYTES];
    ssize_t len = listxattr(path, names, sizeof(names));
    if (len < 0) {
        return errno == ENOENT ? ERR_SET(e, NOT_FOUND, "%s went", path)
                               : ERR_SYS(e, IO, errno, "cannot list the attributes of %s", path);
    }
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        char value[XATTR_VALUE_LIMIT_BYTES];
        bool is_path = str_starts(name, "trusted.gfid2path.");
        if (!is_path && !str_starts(name, "trusted.afr.")) {
            continue;
        }
        ssize_t n = getxattr(path, name, value, sizeof(value));
        if (n < 0 && (errno == ENODATA || errno == ENOENT)) {
            continue; /* taken away since */
        }
        if (n < 0) {
            return ERR_SYS(e, IO, errno, "cannot read %s of %s", name, path);
        }
        int r = is_path ? parse_fence_gfid2path(value, (size_t)n, entry, e)
                        : parse_fence_blame(name, value, (size_t)n, entry, e);
        if (r < 0) {
            return r;
        }
        *ret_has_path = *ret_has_path || is_path;
    }
    return 0;
}

/* Directories are symbolic links below .glusterfs; their marks are those of what they point to. */
static int resolve(const char *brick, struct fence_index *all, struct fence_entry *entry, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/.glusterfs/%.2s/%.2s/%s", brick, entry->gfid,
                                           entry->gfid + 2, entry->gfid);
    struct err said = {0};
    struct stat st;
    bool has_path = false;
    if (lstat(path, &st) < 0) {
        entry->kind = FENCE_KIND_GONE;
        return errno == ENOENT ? 0 : ERR_SYS(e, IO, errno, "cannot read %s", path);
    }
    entry->kind = S_ISREG(st.st_mode) ? FENCE_KIND_FILE : FENCE_KIND_DIR;
    int r = read_marks(path, entry, &has_path, &said);
    if (r == -ERR_NOT_FOUND) {
        entry->kind = FENCE_KIND_GONE;
        return 0;
    }
    if (r == -ERR_PARSE) { /* what we do not understand is not clean */
        all->truncated = true;
        return 0;
    }
    if (r == 0 && entry->kind == FENCE_KIND_FILE && !has_path) {
        find_shard_name(brick, st.st_ino, all, entry);
    }
    return r < 0 ? err_copy(e, &said) : 0;
}

int fence_index_list(const char *brick, size_t limit, struct fence_index *ret, struct err *e)
{
    _cleanup_fence_index_ struct fence_index all = {0};
    _cleanup_free_ char *indices = str_printf("%s/.glusterfs/indices", brick);
    if (!file_exists(indices)) {
        return ERR_SET(e, NOT_FOUND, "%s is no brick that ever ran", brick);
    }
    int r = list_one(brick, "dirty", limit, &all, e);
    r = r < 0 ? r : list_one(brick, "xattrop", limit, &all, e);
    fence_index_sort(&all);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        r = resolve(brick, &all, &all.v[i], e);
    }
    if (r == 0) {
        *ret = all;
        all = (struct fence_index){0};
    }
    return r;
}
