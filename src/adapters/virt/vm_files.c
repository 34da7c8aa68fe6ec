/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/vm_files.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "io/file.h"

#define OWNER_LIMIT_BYTES 256
#define KERNEL_MAX_BYTES (2 * GIB)

static void closedirp(DIR **d)
{
    if (*d) {
        (void)closedir(*d); /* read only */
    }
}

/* @ret: names of the entries; "." and ".." are not among them */
static int list(const char *dir, struct strv *ret, struct err *e)
{
    _cleanup_(closedirp) DIR *d = NULL;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !(d = fdopendir(fd))) {
        close_fdp(&fd);
    }
    if (!d) {
        return errno == ENOENT ? -ERR_NOT_FOUND : ERR_SYS(e, IO, errno, "cannot list %s", dir);
    }
    errno = 0;
    for (const struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, "..")) {
            strv_add(ret, entry->d_name);
        }
    }
    return errno ? ERR_SYS(e, IO, errno, "cannot list %s", dir) : 0;
}

enum owner { OWNER_US, OWNER_NOBODY, OWNER_OTHER };

/* Without the mark, all that we may have left there is the mark's own beginning. */
static int observe_owner(const char *dir, const char *uuid, const struct strv *names,
                         enum owner *ret, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/" VM_FILE_OWNER, dir);
    _cleanup_free_ char *text = NULL;
    if (!strv_has(names, VM_FILE_OWNER)) {
        bool is_begun = names->n == 1 && str_eq(names->v[0], "." VM_FILE_OWNER ".new");
        *ret = names->n == 0 || is_begun ? OWNER_NOBODY : OWNER_OTHER;
        return 0;
    }
    int r = file_read(path, OWNER_LIMIT_BYTES, &text, NULL, e);
    if (r == 0) {
        *ret = str_eq(text, uuid) ? OWNER_US : OWNER_OTHER;
    }
    return r;
}

static int claim_dir(const struct image_env *env, const char *dir, const char *uuid, struct err *e)
{
    _cleanup_strv_ struct strv names = {0};
    _cleanup_free_ char *mark = str_printf("%s/" VM_FILE_OWNER, dir);
    enum owner owner = OWNER_NOBODY;
    if (mkdir(dir, 0711) < 0 && errno != EEXIST) {
        return errno == ENOENT
                   ? ERR_SYS(e, STATE, errno, "cannot make %s: is the pool mounted?", dir)
                   : image_fail_write(dir, errno, e);
    }
    int r = list(dir, &names, e);
    r = r == -ERR_NOT_FOUND ? ERR_SET(e, IO, "%s vanished", dir) : r;
    r = r < 0 ? r : observe_owner(dir, uuid, &names, &owner, e);
    if (r == 0 && owner == OWNER_OTHER) {
        r = ERR_SET(e, FOREIGN, "%s holds files that are not of this virtual machine", dir);
        err_hint(e, "look at them; move them away or choose another name");
    }
    return r < 0 || owner == OWNER_US ? r : image_write_file(env, mark, uuid, strlen(uuid), e);
}

static int copy_into(const struct image_env *env, const char *source, const char *dir,
                     const char *name, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    return source ? image_copy_file(env, source, path, KERNEL_MAX_BYTES, e) : 0;
}

/* Before anything is made: what a full pool has refused to make can for a while neither be looked at nor removed
 * (docs/storage.md), so nothing could be undone. What an earlier try has made may hold the room already. */
static int check_room(const struct vm_files_args *a, uint64_t disk_bytes, struct err *e)
{
    struct err said = {0};
    int r = file_exists(a->dir) ? 0 : image_need_room(a->dir, disk_bytes, &said);
    return r == -ERR_POOL_FULL ? err_copy(e, &said) : 0; /* a pool that is not mounted is told of by claim_dir() */
}

int vm_files_make(const struct image_env *env, const struct vm_files_args *a, struct err *e)
{
    uint64_t disk_bytes = (a->disk_bytes + 511) / 512 * 512;
    _cleanup_free_ char *disk = str_printf("%s/" VM_FILE_DISK, a->dir);
    _cleanup_free_ char *seed = str_printf("%s/" VM_FILE_SEED, a->dir);
    assert(a->uuid && a->dir[0] == '/');
    int r = check_room(a, disk_bytes, e);
    r = r < 0 ? r : claim_dir(env, a->dir, a->uuid, e);
    r = r < 0 ? r : copy_into(env, a->kernel, a->dir, VM_FILE_KERNEL, e);
    r = r < 0 ? r : copy_into(env, a->initrd, a->dir, VM_FILE_INITRD, e);
    r = r < 0 || !a->seed ? r : image_write_file(env, seed, a->seed, a->seed_len, e);
    return r < 0 ? r : image_make_disk(env, disk, disk_bytes, a->image, e);
}

static int remove_at(const char *dir, const char *name, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    if (unlink(path) == 0 || errno == ENOENT) {
        return 0;
    }
    return errno == EISDIR || errno == EPERM
               ? ERR_SYS(e, FOREIGN, errno, "%s is not a file of Mortar's", path)
               : ERR_SYS(e, IO, errno, "cannot remove %s", path);
}

int vm_files_remove(const char *dir, const char *uuid, struct err *e)
{
    _cleanup_strv_ struct strv names = {0};
    enum owner owner = OWNER_NOBODY;
    int r = list(dir, &names, e);
    if (r == -ERR_NOT_FOUND) {
        return 0;
    }
    r = r < 0 ? r : observe_owner(dir, uuid, &names, &owner, e);
    if (r < 0 || owner == OWNER_OTHER) {
        return r;
    }
    for (size_t i = 0; i < names.n; i++) {
        r = str_eq(names.v[i], VM_FILE_OWNER) ? 0 : remove_at(dir, names.v[i], e);
        if (r < 0) {
            return r;
        }
    }
    r = remove_at(dir, VM_FILE_OWNER, e); /* last: until then the rest is known to be ours */
    if (r == 0 && rmdir(dir) < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", dir);
    }
    return r;
}
