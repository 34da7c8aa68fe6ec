/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/virt_hold.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

#include "base/str.h"
#include "base/util.h"
#include "io/clock.h"
#include "io/file.h"

#define CMDLINE_LIMIT_BYTES (256 * KIB)

void virt_held_done(struct virt_held *h)
{
    close_fdp(&h->fd);
}

static int read_status(const char *run_dir, const char *name, pid_t *ret_pid, struct dom_info *ret, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/%s.xml", run_dir, name);
    _cleanup_free_ char *text = NULL;
    struct dom_status st = {0};
    size_t len = 0;
    if (file_read(path, DOM_XML_LIMIT_BYTES, &text, &len, NULL) < 0 || dom_status_parse(text, len, &st, NULL) < 0 ||
        st.pid <= 0 || dom_status_parse_domain(text, len, ret, NULL) < 0) {
        return ERR_SET(e, NOT_FOUND, "libvirt has left no file that tells of a QEMU of '%s'", name);
    }
    *ret_pid = (pid_t)st.pid;
    return 0;
}

/* libvirt starts every QEMU with "-name guest=NAME,debug-threads=on" and "-uuid UUID". */
static bool is_qemu_of(pid_t pid, const struct dom_info *d)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/cmdline", (int)pid);
    _cleanup_free_ char *guest = str_printf("guest=%s,", d->name);
    _cleanup_free_ char *args = NULL;
    size_t len = 0;
    bool has_name = false;
    bool has_uuid = false;
    const char *before = "";
    if (file_read(path, CMDLINE_LIMIT_BYTES, &args, &len, NULL) < 0) {
        return false;
    }
    for (size_t at = 0; at < len; at += strlen(args + at) + 1) {
        has_name = has_name || (str_eq(before, "-name") && str_starts(args + at, guest));
        has_uuid = has_uuid || (str_eq(before, "-uuid") && str_eq(args + at, d->uuid));
        before = args + at;
    }
    return has_name && has_uuid;
}

static bool is_same_meta(const struct dom_info *a, const struct dom_info *b)
{
    return b->ours == DOM_OURS_YES && str_eq(a->meta.uuid, b->meta.uuid) && a->meta.n == b->meta.n &&
           a->meta.restore_gen == b->meta.restore_gen;
}

int virt_hold(const char *run_dir, const char *name, struct virt_held *ret, struct err *e)
{
    _cleanup_dom_info_ struct dom_info d = {0};
    _cleanup_dom_info_ struct dom_info again = {0};
    pid_t pid = 0;
    pid_t pid_again = 0;
    int r = read_status(run_dir, name, &pid, &d, e);
    if (r < 0) {
        return r;
    }
    _cleanup_close_ int fd = pidfd_open(pid, 0);
    bool is_it = fd >= 0 && d.ours == DOM_OURS_YES && str_eq(d.name, name) && is_qemu_of(pid, &d) &&
                 read_status(run_dir, name, &pid_again, &again, NULL) == 0 && pid_again == pid &&
                 is_same_meta(&d, &again);
    if (!is_it) {
        return ERR_SET(e, NOT_FOUND, "process %d is not surely the QEMU of '%s'", (int)pid, name);
    }
    *ret = (struct virt_held){.fd = fd, .pid = pid, .meta = d.meta};
    fd = -1;
    return 0;
}

/* A pidfd becomes readable when the last thread has ended. */
bool virt_held_wait(const struct virt_held *h, int other_fd, uint64_t deadline_us)
{
    for (;;) {
        struct pollfd p[] = {{.fd = h->fd, .events = POLLIN}, {.fd = other_fd, .events = POLLIN}};
        int left_ms = clock_left_ms(deadline_us);
        int n = poll(p, ELEMENTS(p), left_ms);
        if (n > 0 || left_ms == 0 || (n < 0 && errno != EINTR)) {
            return n > 0 && p[0].revents;
        }
    }
}

int virt_held_kill(const struct virt_held *h, struct err *e)
{
    int r = pidfd_send_signal(h->fd, SIGKILL, NULL, 0);
    return r < 0 && errno != ESRCH ? ERR_SYS(e, IO, errno, "cannot kill process %d", (int)h->pid) : 0;
}
