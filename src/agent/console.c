/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/console.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "adapters/virt/domxml_format.h"
#include "adapters/virt/virt_drive.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"

#define PIPE_BYTES 16384
#define CONNECT_TIMEOUT_US (200 * USEC_PER_MSEC) /* a unix socket: at once or busy */

/* One direction: bytes read from one side and not yet taken by the other. */
struct half {
    int from;
    int to;
    char data[PIPE_BYTES];
    size_t len;
};

struct bridge {
    struct loop *loop;
    struct half half[2];
    struct loop_source *source[2];
};

static void bridge_free(struct bridge *b)
{
    for (int i = 0; i < 2; i++) {
        loop_source_free(b->source[i]);
        close_fdp(&b->half[i].from);
    }
    free(b);
}

static bool is_gone(ssize_t n)
{
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Return: false when one side has ended */
static bool move(struct half *h)
{
    if (h->len < sizeof(h->data)) {
        ssize_t n = recv(h->from, h->data + h->len, sizeof(h->data) - h->len, MSG_DONTWAIT);
        if (is_gone(n)) {
            return false;
        }
        h->len += n > 0 ? (size_t)n : 0;
    }
    if (h->len) {
        ssize_t n = send(h->to, h->data, h->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && is_gone(n)) {
            return false;
        }
        if (n > 0) {
            h->len -= (size_t)n;
            memmove(h->data, h->data + n, h->len);
        }
    }
    return true;
}

static void on_ready(void *arg, int fd, uint32_t events);

/* Ask for what each descriptor can do for us now; level-triggered, so nothing is forgotten. */
static void watch(struct bridge *b)
{
    for (int i = 0; i < 2; i++) {
        const struct half *out = &b->half[i];
        const struct half *in = &b->half[1 - i];
        uint32_t events = (out->len < sizeof(out->data) ? EPOLLIN : 0) | (in->len ? EPOLLOUT : 0);
        loop_source_free(b->source[i]);
        b->source[i] = loop_io(b->loop, out->from, events, on_ready, b);
    }
}

static void on_ready(void *arg, int fd, uint32_t events)
{
    struct bridge *b = arg;
    bool is_open = move(&b->half[0]) && move(&b->half[1]);
    if (!is_open) {
        bridge_free(b);
        return;
    }
    watch(b);
}

struct opening {
    struct loop *loop;
    int console;
};

static void on_upgraded(void *arg, int fd, const char *early, size_t early_len)
{
    struct opening *o = arg;
    if (fd < 0) {
        close_fdp(&o->console);
        free(o);
        return;
    }
    struct bridge *b = xcalloc(1, sizeof(*b));
    b->loop = o->loop;
    b->half[0].from = b->half[1].to = fd;
    b->half[0].to = b->half[1].from = o->console;
    b->half[0].len = early_len < PIPE_BYTES ? early_len : PIPE_BYTES;
    memcpy(b->half[0].data, early, b->half[0].len);
    free(o);
    watch(b);
}

void console_open(struct agent *a, struct httpd_req *req, const char *vm)
{
    struct err e = {0};
    int fd = -1;
    _cleanup_free_ char *path = dom_console_path(vm);
    if (virt_console_connect(path, clock_boottime_us() + CONNECT_TIMEOUT_US, &fd, &e) < 0) {
        httpd_reply_err(req, &e);
        return;
    }
    struct opening *o = xcalloc(1, sizeof(*o));
    o->loop = a->loop;
    o->console = fd;
    httpd_upgrade(req, "mortar-console", on_upgraded, o);
}

void console_open_remote(struct agent *a, struct httpd_req *req, const char *vm, const char *address)
{
    struct err e = {0};
    (void)ERR_SET(&e, REMOTE, "vm '%s' runs on another host", vm);
    err_hint(&e, "mortar --host %s vm console %s", address ? address : "ADDRESS", vm);
    httpd_reply_err(req, &e);
}
