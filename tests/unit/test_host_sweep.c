/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/host/host_sweep.h"
#include "base/str.h"

#define BEFORE_S 1000

static void make(const char *dir, const char *name, time_t mtime_s)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    const struct timespec times[2] = {{.tv_sec = mtime_s}, {.tv_sec = mtime_s}};
    _cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool is_there(const char *dir, const char *name)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static void only_old_files_of_what_is_gone_are_deleted(void **state)
{
    char dir[] = "/tmp/mortar-sweep-XXXXXX";
    struct smap keep = {0};
    assert_non_null(mkdtemp(dir));
    smap_put(&keep, "db1", &keep);
    make(dir, "db1.0-3.log", BEFORE_S - 1);
    make(dir, "db.0-3.log", BEFORE_S - 1); /* a name that begins like another one */
    make(dir, "new.0-1.log", BEFORE_S);    /* its records may not be known here yet */
    _cleanup_free_ char *sub = str_printf("%s/dir", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    host_sweep(dir, &keep, '.', BEFORE_S * USEC_PER_SEC);
    assert_true(is_there(dir, "db1.0-3.log"));
    assert_false(is_there(dir, "db.0-3.log"));
    assert_true(is_there(dir, "new.0-1.log"));
    assert_true(is_there(dir, "dir"));
    assert_int_equal(rmdir(sub), 0);
    smap_put(&keep, "u-1", &keep);
    make(dir, "u-1", BEFORE_S - 1);
    make(dir, "u-2", BEFORE_S - 1);
    host_sweep(dir, &keep, '\0', BEFORE_S * USEC_PER_SEC);
    assert_true(is_there(dir, "u-1"));
    assert_false(is_there(dir, "db1.0-3.log")); /* no uuid is called so */
    assert_false(is_there(dir, "u-2"));
    _cleanup_free_ char *one = str_printf("%s/u-1", dir);
    _cleanup_free_ char *two = str_printf("%s/new.0-1.log", dir);
    assert_int_equal(unlink(one), 0);
    assert_int_equal(unlink(two), 0);
    host_sweep("/nonexistent", &keep, '.', BEFORE_S * USEC_PER_SEC);
    assert_int_equal(rmdir(dir), 0);
    smap_done(&keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_old_files_of_what_is_gone_are_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
