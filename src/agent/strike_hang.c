/* SPDX-License-Identifier: Apache-2.0
 * A hang: all slices of the root stand still. What runs in the root itself goes on: mortar-strike, systemd. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/strike.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"

#define GUESTS "mortar.slice" /* adapters/virt/domxml_format.h; the guard is in system.slice */
#define GUESTS_HA GUESTS "/mortar-vms.slice/mortar-vms-ha.slice"
#define LOOK_MS 10
#define LOOKS_MAX 300 /* 3 s: a guard that does not run at all shall not hold up the guests of no failover */

int strike_write(const char *path, const char *text, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int saved = errno;
    if (fd >= 0) {
        (void)close(fd); /* nothing of ours is buffered */
    }
    return n < 0 ? ERR_SYS(e, IO, saved, "cannot write to %s", path) : 0;
}

static char *file_of(const char *root, const char *slice)
{
    return str_printf("%s/%s/cgroup.freeze", root, slice);
}

static bool is_told_to_freeze(const char *root, const char *slice)
{
    _cleanup_free_ char *path = file_of(root, slice);
    char text[2] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!read(fd, text, 1); /* nothing is no 1 */
        (void)close(fd);          /* read only */
    }
    return text[0] == '1';
}

/* All slices but @but, which may be NULL; one that fails keeps none of the others up. */
static int set_all(const char *root, const char *text, const char *but, struct err *e)
{
    DIR *dir = opendir(root);
    int r = dir ? 0 : ERR_SYS(e, IO, errno, "cannot read %s", root);
    for (const struct dirent *d = NULL; dir && (d = readdir(dir));) {
        _cleanup_free_ char *path = file_of(root, d->d_name);
        if (str_ends(d->d_name, ".slice") && !str_eq(d->d_name, but) && file_exists(path)) {
            struct err why = {0};
            int failed = strike_write(path, text, &why);
            r = r < 0 || failed == 0 ? r : err_copy(e, &why);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    return r;
}

int strike_freeze(const char *root, struct err *e)
{
    return set_all(root, "1", NULL, e);
}

int strike_thaw(const char *root, struct err *e)
{
    _cleanup_free_ char *guests = file_of(root, GUESTS);
    _cleanup_free_ char *ha = file_of(root, GUESTS_HA);
    struct err other = {0};
    int r = set_all(root, "0", GUESTS, e);
    if (!is_told_to_freeze(root, GUESTS)) {
        return r; /* not there, or it was no hang that ends */
    }
    for (int i = 0; i < LOOKS_MAX && file_exists(ha) && !is_told_to_freeze(root, GUESTS_HA); i++) {
        clock_sleep_ms(LOOK_MS);
    }
    int n = strike_write(guests, "0", r < 0 ? &other : e);
    return r < 0 ? r : n;
}
