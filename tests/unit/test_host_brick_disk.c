/* SPDX-License-Identifier: Apache-2.0
 * brick_prepare() on a real loop device, in a mount namespace of its own: killed at each step and
 * at many moments, run again, it finishes; foreign data survives. Detaches its device by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "adapters/host/host_brick.h"
#include "base/str.h"
#include "io/cmd.h"
#include "io/file.h"

#define OTHER_UUID "7f9619ff-8b86-4011-b42d-00c04fc964ff"
#define SKIP 77

struct disk {
    char dir[64];
    char *image;
    char *device;
    char *path;
    char *uuid; /* of this run: XFS refuses to mount a uuid twice on one machine */
};

static struct brick_opts opts_of(const struct disk *d)
{
    return (struct brick_opts){.name = "vms", .uuid = d->uuid, .path = d->path, .device = d->device,
                               .state_dir = d->dir, .mount_only = true};
}

static void disk_done(struct disk *d)
{
    (void)umount(d->path); /* often not mounted */
    (void)cmd_check(CMD("losetup", "-d", d->device), NULL, NULL, NULL);
    (void)cmd_check(CMD("rm", "-rf", "--one-file-system", d->dir), NULL, NULL, NULL);
    free(d->image);
    free(d->device);
    free(d->path);
    free(d->uuid);
}

static int disk_init(struct disk *d, struct err *e)
{
    *d = (struct disk){.dir = "/tmp/test_brick-XXXXXX"};
    if (!mkdtemp(d->dir)) {
        return ERR_SET(e, IO, "cannot make a directory");
    }
    d->image = str_printf("%s/disk", d->dir);
    d->path = str_printf("%s/mnt", d->dir);
    d->uuid = str_printf("6f9619ff-8b86-4011-b42d-%012x", (unsigned)getpid());
    int r = cmd_check(CMD("truncate", "-s", "400M", d->image), NULL, NULL, e);
    r = r == 0 ? cmd_check(CMD("losetup", "-f", "--show", d->image), NULL, &d->device, e) : r;
    if (r == 0) {
        d->device[strcspn(d->device, "\n")] = '\0';
    }
    return r;
}

static void empty_disk(const struct disk *d)
{
    (void)umount(d->path); /* often not mounted */
    assert_int_equal(cmd_check(CMD("blkdiscard", "-z", d->device), NULL, NULL, NULL), 0);
}

static void expect(const struct brick_opts *o, int want)
{
    struct err e = {0};
    _cleanup_brick_result_ struct brick_result res = {0};
    int r = brick_prepare(o, &res, &e);
    if (r != want) {
        fail_msg("brick_prepare: %d, not %d: %s (%s)", r, want, e.msg, e.hint);
    }
    if (r == 0) {
        assert_true(res.sector_bytes == 512 && res.size_bytes > 300 * MIB);
        assert_true(file_exists(res.dir));
    }
}

static void die_at(void *arg, const char *step)
{
    if (str_eq(arg, step)) {
        (void)raise(SIGKILL); /* does not return */
    }
}

/* Runs brick_prepare in a child that dies before @step, or after @after_us. */
static void run_and_kill(struct brick_opts o, const char *at_step, long after_us)
{
    _cleanup_free_ char *arg = str_dup(at_step);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct brick_result res = {0};
        const struct itimerval it = {.it_value = {.tv_usec = after_us}};
        o.on_step = at_step ? die_at : NULL;
        o.on_step_arg = arg;
        (void)signal(SIGALRM, SIG_DFL);
        (void)setitimer(ITIMER_REAL, &it, NULL);
        _exit(brick_prepare(&o, &res, NULL) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void killed_at_each_step_it_finishes_when_run_again(void **state)
{
    static const char *const steps[] = {"format", "mount", "mark"};
    const struct disk *d = *state;
    struct brick_opts o = opts_of(d);
    for (size_t i = 0; i < ELEMENTS(steps); i++) {
        empty_disk(d);
        run_and_kill(o, steps[i], 0);
        expect(&o, 0);
        expect(&o, 0);
    }
}

static void killed_at_any_moment_it_finishes_when_run_again(void **state)
{
    const struct disk *d = *state;
    struct brick_opts o = opts_of(d);
    for (long us = 2000; us < 120000; us += 9000) {
        empty_disk(d);
        run_and_kill(o, NULL, us);
        expect(&o, 0);
    }
}

static void finished_brick_keeps_its_files(void **state)
{
    const struct disk *d = *state;
    struct brick_opts o = opts_of(d);
    _cleanup_free_ char *file = str_printf("%s/brick/f", d->path);
    expect(&o, 0);
    assert_int_equal(file_replace(file, "x", 1, 0600, NULL), 0);
    assert_int_equal(umount(d->path), 0);
    o.wipe = true;
    expect(&o, 0);
    assert_true(file_exists(file));
    assert_int_equal(unlink(file), 0);
}

static void foreign_data_needs_wipe(void **state)
{
    const struct disk *d = *state;
    struct brick_opts o = opts_of(d);
    empty_disk(d);
    int fd = open(d->device, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "secret", 6, 1000), 6);
    close_fdp(&fd);
    expect(&o, -ERR_DISK_NOT_EMPTY);
    empty_disk(d);
    assert_int_equal(cmd_check(CMD("mkfs.xfs", "-q", "-m", "uuid=" OTHER_UUID, d->device), NULL, NULL,
                               NULL), 0);
    expect(&o, -ERR_DISK_NOT_EMPTY);
    assert_int_equal(mkdir(d->path, 0755) == 0 || file_exists(d->path), 1);
    assert_int_equal(mount(d->device, d->path, "xfs", 0, NULL), 0);
    o.wipe = true;
    expect(&o, -ERR_STATE);
    assert_int_equal(umount(d->path), 0);
    expect(&o, 0);
}

static void removed_brick_is_empty_only_with_wipe(void **state)
{
    const struct disk *d = *state;
    struct brick_opts o = opts_of(d);
    struct brick_seen seen = {0};
    empty_disk(d);
    expect(&o, 0);
    assert_int_equal(brick_remove(&o, NULL), 0);
    assert_int_equal(brick_observe_device(&o, &seen, NULL), 0);
    assert_string_equal(seen.fs_uuid, d->uuid);
    assert_false(seen.busy);
    brick_seen_done(&seen);
    o.wipe = true;
    assert_int_equal(brick_remove(&o, NULL), 0);
    assert_int_equal(brick_remove(&o, NULL), 0);
    assert_int_equal(brick_observe_device(&o, &seen, NULL), 0);
    assert_null(seen.fs_type);
    assert_false(seen.has_bytes);
    brick_seen_done(&seen);
    o.wipe = false;
    o.uuid = OTHER_UUID; /* the next pool needs no consent to take what was ours */
    expect(&o, 0);
    o.wipe = true;
    assert_int_equal(brick_remove(&o, NULL), 0);
}

static void directory_is_taken_only_when_empty_or_ours(void **state)
{
    const struct disk *d = *state;
    _cleanup_free_ char *dir = str_printf("%s/d", d->dir);
    _cleanup_free_ char *file = str_printf("%s/d/f", d->dir);
    struct brick_opts o = opts_of(d);
    struct brick_result res = {0};
    o.device = NULL;
    o.path = dir;
    o.force = true; /* /tmp may be on the root file system */
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(file_replace(file, "x", 1, 0600, NULL), 0);
    assert_int_equal(brick_prepare(&o, &res, NULL), -ERR_DISK_NOT_EMPTY);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(brick_prepare(&o, &res, NULL), 0);
    brick_result_done(&res);
    assert_int_equal(brick_prepare(&o, &res, NULL), 0);
    brick_result_done(&res);
    o.uuid = OTHER_UUID;
    assert_int_equal(brick_prepare(&o, &res, NULL), -ERR_DISK_NOT_EMPTY);
    o.uuid = d->uuid;
    o.wipe = true;
    assert_int_equal(brick_remove(&o, NULL), 0);
    assert_false(file_exists(dir));
}

int main(void)
{
    struct disk d;
    struct err e = {0};
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        (void)fprintf(stderr, "skipped: needs root and mount namespaces\n");
        return SKIP;
    }
    if (cmd_check(CMD("mkfs.xfs", "-V"), NULL, NULL, &e) < 0 || disk_init(&d, &e) < 0) {
        (void)fprintf(stderr, "skipped: %s\n", e.msg);
        return SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(killed_at_each_step_it_finishes_when_run_again, &d),
        cmocka_unit_test_prestate(killed_at_any_moment_it_finishes_when_run_again, &d),
        cmocka_unit_test_prestate(finished_brick_keeps_its_files, &d),
        cmocka_unit_test_prestate(foreign_data_needs_wipe, &d),
        cmocka_unit_test_prestate(removed_brick_is_empty_only_with_wipe, &d),
        cmocka_unit_test_prestate(directory_is_taken_only_when_empty_or_ours, &d),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    disk_done(&d);
    return r;
}
