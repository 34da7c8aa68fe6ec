/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_brick.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "adapters/host/host_facts.h"
#include "adapters/systemd/systemd.h"
#include "adapters/systemd/unit_text.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define MOUNT_OPTIONS "noatime,inode64"
#define MARKER ".mortar-brick"
#define FORMAT_TIMEOUT_US (300 * USEC_PER_SEC) /* discarding a large disk takes minutes */
#define UDEV_TIMEOUT "--timeout=5"
#define SETTLE_US (3 * USEC_PER_SEC)
#define SAMPLES 64
/* Stands in the first sector of a disk whose brick was removed: what else is left on it is ours. */
#define RELEASED "Mortar released this disk; it held brick "
#define SAMPLE_BYTES ((size_t)(64 * KIB))

void brick_result_done(struct brick_result *r)
{
    free(r->dir);
    *r = (struct brick_result){0};
}

/* Everything that is derived from the options. */
struct brick_names {
    char *path;
    char *dir;
    char *marker;
    char *record;
    char *mount_unit;
    char *service;
};

static void names_done(struct brick_names *n)
{
    free(n->path);
    free(n->dir);
    free(n->marker);
    free(n->record);
    free(n->mount_unit);
    free(n->service);
}

static void names_init(const struct brick_opts *o, struct brick_names *n)
{
    const char *state = o->state_dir ? o->state_dir : "/var/lib/mortar";
    n->path = o->path ? str_dup(o->path) : str_printf("/data/gluster/%s", o->name ? o->name : "none");
    n->dir = str_printf("%s/brick", n->path);
    n->marker = str_printf("%s/" MARKER, n->path);
    n->record = str_printf("%s/format-%s", state, o->uuid ? o->uuid : "none");
    n->mount_unit = unit_name_of_path(n->path, "mount");
    n->service = str_printf("mortar-brick-%s.service", o->name ? o->name : "none");
}

static void step(const struct brick_opts *o, const char *name)
{
    if (o->on_step) {
        o->on_step(o->on_step_arg, name);
    }
}

static bool all_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Looks at the start, the end and places between: a disk without a known signature may still hold
 * somebody's data (a raw database, a guest's disk, an encrypted volume without header). */
static bool find_bytes(int fd, uint64_t size)
{
    _cleanup_free_ char *buf = xcalloc(1, SAMPLE_BYTES);
    uint64_t span = size > SAMPLE_BYTES ? size - SAMPLE_BYTES : 0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t at = span / (SAMPLES - 1) * i;
        at = i == SAMPLES - 1 ? span : at;
        ssize_t n = pread(fd, buf, SAMPLE_BYTES, (off_t)at);
        if (n < 0 || !all_zero(buf, (size_t)n)) {
            return true; /* what cannot be read is not known to be empty */
        }
    }
    return false;
}

static int open_device(const char *device, struct stat *ret_st, struct err *e)
{
    int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT ? ERR_SYS(e, NOT_FOUND, errno, "there is no device %s", device)
                               : ERR_SYS(e, IO, errno, "cannot open %s", device);
    }
    if (fstat(fd, ret_st) < 0 || !S_ISBLK(ret_st->st_mode)) {
        close_fdp(&fd);
        return ERR_SET(e, INVALID, "%s is not a block device", device);
    }
    return fd;
}

/* O_EXCL on a block device fails when the kernel holds it for anyone in any namespace, which no
 * list of mounts seen from inside a container could tell. */
static bool is_held(const char *device)
{
    _cleanup_close_ int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 && errno == EBUSY;
}

static char *format_devno(dev_t dev)
{
    return str_printf("%u:%u", major(dev), minor(dev));
}

/* The record names the disk by number and size, so that it does not speak for another one. */
static char *format_record(const char *devno, uint64_t size)
{
    return str_printf("%s %llu\n", devno, (unsigned long long)size);
}

int brick_observe_device(const struct brick_opts *opts, struct brick_seen *ret, struct err *e)
{
    __attribute__((cleanup(names_done))) struct brick_names n = {0};
    _cleanup_cmd_ struct cmd_result blkid = {0};
    unsigned char head[512];
    struct stat st;
    int sector = 0;
    names_init(opts, &n);
    _cleanup_close_ int fd = open_device(opts->device, &st, e);
    if (fd < 0) {
        return fd;
    }
    if (ioctl(fd, BLKGETSIZE64, &ret->size_bytes) < 0 || ioctl(fd, BLKSSZGET, &sector) < 0) {
        return ERR_SYS(e, IO, errno, "cannot ask %s for its size", opts->device);
    }
    ret->sector_bytes = (uint64_t)sector;
    int r = cmd_run(CMD("blkid", "-p", "-o", "export", "--", opts->device), NULL, &blkid, e);
    if (r < 0) {
        return r;
    }
    if (blkid.exit_code == 0) {
        brick_parse_blkid(blkid.out, ret);
    } else if (blkid.exit_code == 8) { /* blkid(8): several signatures contradict each other */
        ret->fs_type = str_dup("several signatures");
    } else if (blkid.exit_code != 2) { /* 2: nothing was found */
        return ERR_SET(e, COMMAND, "blkid cannot examine %s: %.200s", opts->device, blkid.errout);
    }
    _cleanup_free_ char *devno = format_devno(st.st_rdev);
    _cleanup_free_ char *mounts = host_read_text("", "/proc/self/mountinfo");
    (void)brick_find_mount(mounts, devno, NULL, NULL, &ret->mounted_at); /* NULL stays: not mounted */
    ssize_t got = pread(fd, head, sizeof(head), 0);
    ret->unfinished = got > 0 && brick_parse_xfs_head(head, (size_t)got);
    bool is_released = got > (ssize_t)strlen(RELEASED) &&
                       memcmp(head, RELEASED, strlen(RELEASED)) == 0;
    ret->has_bytes = !is_released && find_bytes(fd, ret->size_bytes);
    close_fdp(&fd);
    fd = -1;
    ret->busy = is_held(opts->device);
    _cleanup_free_ char *record = format_record(devno, ret->size_bytes);
    _cleanup_free_ char *written = NULL;
    ret->intent = file_read(n.record, 4096, &written, NULL, NULL) == 0 && str_eq(written, record);
    return 0;
}

static int format_device(const struct brick_opts *o, const struct brick_names *n,
                         const struct brick_seen *seen, struct err *e)
{
    struct stat st;
    _cleanup_close_ int fd = open_device(o->device, &st, e);
    if (fd < 0) {
        return fd;
    }
    _cleanup_free_ char *devno = format_devno(st.st_rdev);
    _cleanup_free_ char *record = format_record(devno, seen->size_bytes);
    _cleanup_free_ char *state = str_printf("%.*s", (int)(strrchr(n->record, '/') - n->record), n->record);
    _cleanup_free_ char *uuid = str_printf("uuid=%s", o->uuid);
    _cleanup_free_ char *label = str_printf("%.12s", o->name); /* XFS labels hold 12 bytes */
    struct cmd_opts slow = {.timeout_us = FORMAT_TIMEOUT_US};
    int r = file_mkdirs(state, 0755, e);
    if (r < 0 || (r = file_replace(n->record, record, strlen(record), 0600, e)) < 0) {
        return r;
    }
    if (seen->fs_type || seen->partition_table) {
        r = cmd_check(CMD("wipefs", "-a", "--", o->device), NULL, NULL, e);
    }
    /* Inodes of 512 bytes hold Gluster's extended attributes; the stripe geometry and the sector
     * size are taken by mkfs.xfs from the disk. */
    if (r == 0) {
        r = cmd_check(CMD("mkfs.xfs", "-q", "-f", "-i", "size=512", "-n", "size=8192", "-m", uuid,
                          "-L", label, o->device), &slow, NULL, e);
    }
    if (r < 0) {
        err_prepend(e, "cannot format %s", o->device);
    }
    return r;
}

/* By uuid when systemd has the link as an active device; a unit that waits for a device which udev
 * never announces (a container) would time out. */
static bool mount_by_uuid(const struct brick_opts *o, dev_t rdev, char **ret_link)
{
    struct stat st;
    _cleanup_free_ char *link = str_printf("/dev/disk/by-uuid/%s", o->uuid);
    _cleanup_free_ char *unit = unit_name_of_path(link, "device");
    (void)cmd_check(CMD("udevadm", "settle", UDEV_TIMEOUT), NULL, NULL, NULL); /* the link decides */
    if (stat(link, &st) < 0 || st.st_rdev != rdev || !unit_is_active(unit)) {
        return false;
    }
    *ret_link = TAKE(link);
    return true;
}

/* The '-' before umount: it may have been unmounted by hand. */
static char *format_mount_service(const struct brick_opts *o, const struct brick_names *n)
{
    return str_printf("# Written by Mortar; changes are overwritten.\n"
                      "[Unit]\nDescription=Brick of pool %s on %s\nBefore=glusterd.service\n\n"
                      "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                      "ExecStart=/bin/mount -t xfs -o " MOUNT_OPTIONS " %s %s\n"
                      "ExecStop=-/bin/umount %s\nTimeoutSec=30\n\n"
                      "[Install]\nWantedBy=multi-user.target\n",
                      o->name, o->device, o->device, n->path, n->path);
}

static int remove_unit(const char *unit, bool *any, struct err *e)
{
    bool changed = false;
    int r = unit_stop(unit, 0, e);
    r = r == 0 ? unit_disable(unit, e) : r;
    r = r == 0 ? unit_remove("", unit, &changed, e) : r;
    *any = *any || changed;
    return r;
}

static int remove_units(const struct brick_opts *o, const struct brick_names *n, struct err *e)
{
    bool any = false;
    if (!systemd_is_init() || o->mount_only) {
        return 0;
    }
    int r = remove_unit(n->service, &any, e);
    r = r == 0 ? remove_unit(n->mount_unit, &any, e) : r;
    return r == 0 && any ? systemd_reload(e) : r;
}

static int mount_by_unit(const struct brick_opts *o, const struct brick_names *n, dev_t rdev,
                         struct err *e)
{
    _cleanup_free_ char *link = NULL;
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ char *description = str_printf("Brick of pool %s", o->name);
    bool by_uuid = mount_by_uuid(o, rdev, &link);
    const char *unit = by_uuid ? n->mount_unit : n->service;
    text = by_uuid ? unit_text_mount(&(struct unit_mount){.what = link,
                                                          .where = n->path,
                                                          .type = "xfs",
                                                          .options = MOUNT_OPTIONS,
                                                          .description = description,
                                                          .before = "glusterd.service"})
                   : format_mount_service(o, n);
    /* Nothing is mounted now, so a unit of the other kind, from when udev knew more or less than
     * today, goes without harm; both would fight at boot. */
    int r = remove_units(o, n, e);
    r = r == 0 ? unit_write("", unit, text, NULL, e) : r;
    r = r == 0 ? systemd_reload(e) : r;
    r = r == 0 ? unit_enable(unit, e) : r;
    return r < 0 ? r : unit_start(unit, 0, e);
}

static int mount_device(const struct brick_opts *o, const struct brick_names *n, struct err *e)
{
    struct stat st;
    _cleanup_free_ char *mounts = host_read_text("", "/proc/self/mountinfo");
    if (stat(o->device, &st) < 0) {
        return ERR_SYS(e, NOT_FOUND, errno, "there is no device %s", o->device);
    }
    if (brick_find_mount(mounts, NULL, n->path, NULL, NULL)) {
        return ERR_SET(e, STATE, "another file system is mounted at %s", n->path);
    }
    int r = file_mkdirs(n->path, 0755, e);
    if (r == 0 && systemd_is_init() && !o->mount_only) {
        r = mount_by_unit(o, n, st.st_rdev, e);
    } else if (r == 0) {
        r = cmd_check(CMD("mount", "-t", "xfs", "-o", MOUNT_OPTIONS, "--", o->device, n->path), NULL,
                      NULL, e);
    }
    if (r < 0) {
        err_prepend(e, "cannot mount %s at %s", o->device, n->path);
    }
    return r;
}

/* What GlusterFS does with O_DIRECT is what a guest sees, so it is measured and not asked. */
static uint64_t probe_direct_bytes(const char *path)
{
    static const uint64_t sizes[] = {512, 4096};
    _cleanup_free_ char *file = str_printf("%s/.mortar-direct", path);
    void *buf = NULL;
    uint64_t found = 0;
    if (posix_memalign(&buf, 4096, 4096) != 0) {
        abort();
    }
    memset(buf, 0, 4096);
    _cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    for (size_t i = 0; fd >= 0 && !found && i < ELEMENTS(sizes); i++) {
        found = pwrite(fd, buf, sizes[i], 0) == (ssize_t)sizes[i] ? sizes[i] : 0;
    }
    free(buf);
    (void)unlink(file); /* absent when open failed */
    return found;
}

static int check_marker(const struct brick_opts *o, const struct brick_names *n, bool *ret_ours,
                        struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int r = file_read(n->marker, 4096, &text, NULL, NULL);
    *ret_ours = r == 0 && str_starts(text, o->uuid);
    if (r == 0 && !*ret_ours) {
        r = ERR_SET(e, DISK_NOT_EMPTY, "%s belongs to another brick of Mortar", n->path);
        err_hint(e, "choose another directory or remove %s when that pool is gone", n->marker);
        return r;
    }
    return r == -ERR_NOT_FOUND || r == 0 ? 0 : ERR_SET(e, IO, "cannot read %s", n->marker);
}

static int mark(const struct brick_opts *o, const struct brick_names *n, struct err *e)
{
    _cleanup_free_ char *text = str_printf("%s %s\n", o->uuid, o->name);
    int r = file_mkdirs(n->dir, 0755, e);
    r = r == 0 ? file_replace(n->marker, text, strlen(text), 0644, e) : r;
    if (r == 0 && setxattr(n->dir, "trusted.mortar.probe", "1", 1, 0) < 0) {
        r = ERR_SYS(e, POOL_POLICY, errno, "the file system at %s has no trusted attributes", n->path);
        err_hint(e, "use XFS");
    }
    (void)removexattr(n->dir, "trusted.mortar.probe"); /* absent when the line above failed */
    return r;
}

static bool is_empty_dir(const char *path)
{
    DIR *d = opendir(path);
    bool empty = true;
    if (!d) {
        return errno == ENOENT;
    }
    for (struct dirent *de; empty && (de = readdir(d));) {
        empty = str_eq(de->d_name, ".") || str_eq(de->d_name, "..") ||
                str_eq(de->d_name, "lost+found");
    }
    (void)closedir(d); /* only read from */
    return empty;
}

static int check_directory(const struct brick_opts *o, const struct brick_names *n, struct err *e)
{
    struct stat root;
    struct stat here;
    bool ours = false;
    int r = check_marker(o, n, &ours, e);
    if (r < 0) {
        return r;
    }
    if (!ours && !is_empty_dir(n->path)) {
        r = ERR_SET(e, DISK_NOT_EMPTY, "the directory %s is not empty", n->path);
        err_hint(e, "empty it yourself: Mortar deletes no files that it did not write");
        return r;
    }
    r = file_mkdirs(n->path, 0755, e);
    if (r == 0 && (stat("/", &root) < 0 || stat(n->path, &here) < 0)) {
        r = ERR_SYS(e, IO, errno, "cannot examine %s", n->path);
    }
    if (r == 0 && root.st_dev == here.st_dev && !o->force) {
        r = ERR_SET(e, POOL_POLICY, "%s is on the root file system", n->path);
        err_hint(e, "a full pool would stop this host; give a disk, or --force to accept that");
    }
    return r;
}

/* A mkfs or mount of an earlier call that was killed may still be on its way out and hold the disk. */
static int observe_settled(const struct brick_opts *o, struct brick_seen *ret, struct err *e)
{
    uint64_t deadline = clock_boottime_us() + SETTLE_US;
    for (;;) {
        int r = brick_observe_device(o, ret, e);
        if (r < 0 || !ret->busy || ret->mounted_at || clock_left_ms(deadline) == 0) {
            return r;
        }
        brick_seen_done(ret);
        (void)poll(NULL, 0, 50); /* a pause: nothing announces that the disk is free */
    }
}

static int prepare_device(const struct brick_opts *o, const struct brick_names *n, bool *ret_formatted,
                          struct err *e)
{
    _cleanup_brick_seen_ struct brick_seen seen = {0};
    enum brick_action action = BRICK_KEEP;
    int r = observe_settled(o, &seen, e);
    r = r == 0 ? brick_plan(&seen, o->device, n->path, o->uuid, o->wipe, &action, e) : r;
    if (r == 0 && action == BRICK_FORMAT) {
        step(o, "format");
        r = format_device(o, n, &seen, e);
        *ret_formatted = r == 0;
    }
    if (r == 0 && action != BRICK_KEEP) {
        step(o, "mount");
        r = mount_device(o, n, e);
    }
    if (r == 0) {
        (void)unlink(n->record); /* a record that stays speaks for a disk that is ours anyway */
    }
    return r;
}

/* The paths stand in unit files and command lines. */
static int check_path(const char *what, const char *path, struct err *e)
{
    static const char legal[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.:+@-";
    if (path[0] != '/' || path[strspn(path, legal)] || strstr(path, "/../")) {
        return ERR_SET(e, INVALID, "the %s '%.100s' is not an absolute path of plain characters", what,
                       path);
    }
    return 0;
}

int brick_prepare(const struct brick_opts *opts, struct brick_result *ret, struct err *e)
{
    __attribute__((cleanup(names_done))) struct brick_names n = {0};
    struct statvfs vfs;
    bool ours = false;
    bool formatted = false;
    assert(str_is_name(opts->name) && strlen(opts->uuid) == 36);
    names_init(opts, &n);
    int r = check_path("directory", n.path, e);
    r = r == 0 && opts->device ? check_path("device", opts->device, e) : r;
    if (r == 0) {
        r = opts->device ? prepare_device(opts, &n, &formatted, e) : check_directory(opts, &n, e);
    }
    r = r == 0 && opts->device ? check_marker(opts, &n, &ours, e) : r;
    if (r == 0) {
        step(opts, "mark");
        r = mark(opts, &n, e);
    }
    if (r == 0 && statvfs(n.path, &vfs) < 0) {
        r = ERR_SYS(e, IO, errno, "cannot examine %s", n.path);
    }
    if (r < 0) {
        err_prepend(e, "cannot prepare the brick of pool '%s'", opts->name);
        return r;
    }
    *ret = (struct brick_result){
        .dir = TAKE(n.dir),
        .sector_bytes = probe_direct_bytes(n.path),
        .size_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize,
        .formatted = formatted,
    };
    return 0;
}

static int unmount(const char *path, struct err *e)
{
    _cleanup_free_ char *mounts = host_read_text("", "/proc/self/mountinfo");
    if (!brick_find_mount(mounts, NULL, path, NULL, NULL)) {
        return 0;
    }
    int r = cmd_check(CMD("umount", "--", path), NULL, NULL, e);
    if (r < 0) {
        err_hint(e, "see who uses it: fuser -vm %s", path);
    }
    return r;
}

/* Signatures go, and the words say whose the rest is: a new pool may take the disk without --wipe. */
static int release_device(const struct brick_opts *o, struct err *e)
{
    char sector[512] = "";
    (void)snprintf(sector, sizeof(sector), RELEASED "%s\n", o->uuid);
    int r = cmd_check(CMD("wipefs", "-a", "--", o->device), NULL, NULL, e);
    _cleanup_close_ int fd = r < 0 ? -1 : open(o->device, O_WRONLY | O_CLOEXEC);
    if (r == 0 && (fd < 0 || pwrite(fd, sector, sizeof(sector), 0) != (ssize_t)sizeof(sector) ||
                   fsync(fd) < 0)) {
        r = ERR_SYS(e, IO, errno, "cannot write to %s", o->device);
    }
    return r;
}

static int erase(const struct brick_opts *o, const struct brick_names *n, struct err *e)
{
    _cleanup_brick_seen_ struct brick_seen seen = {0};
    bool ours = false;
    int r = o->device ? brick_observe_device(o, &seen, e) : check_marker(o, n, &ours, e);
    if (r < 0) {
        return r;
    }
    if (o->device) {
        bool erase_it = str_eq(seen.fs_type, "xfs") && str_eq(seen.fs_uuid, o->uuid) && !seen.busy;
        return erase_it ? release_device(o, e) : 0;
    }
    if (ours) { /* the marker goes last: until then a second run knows what is ours */
        r = cmd_check(CMD("rm", "-rf", "--one-file-system", "--", n->dir), NULL, NULL, e);
        if (r == 0 && unlink(n->marker) < 0 && errno != ENOENT) {
            r = ERR_SYS(e, IO, errno, "cannot remove %s", n->marker);
        }
    }
    return r;
}

int brick_remove(const struct brick_opts *opts, struct err *e)
{
    __attribute__((cleanup(names_done))) struct brick_names n = {0};
    assert(str_is_name(opts->name) && strlen(opts->uuid) == 36);
    names_init(opts, &n);
    int r = opts->device ? remove_units(opts, &n, e) : 0;
    r = r == 0 && opts->device ? unmount(n.path, e) : r;
    r = r == 0 && opts->wipe ? erase(opts, &n, e) : r;
    if (r == 0) {
        (void)rmdir(n.path); /* only when it is empty */
    } else {
        err_prepend(e, "cannot remove the brick of pool '%s'", opts->name);
    }
    return r;
}
