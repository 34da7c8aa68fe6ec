/* SPDX-License-Identifier: Apache-2.0 */
#include "api/upstream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api/head_parse.h"
#include "base/str.h"
#include "wire/caller.h"
#include "wire/names.h"

struct upstream {
    int fd;
    struct loop_source *source; /* NULL when it could not connect */
    struct loop_source *timer;  /* deadline, or at once when it could not connect */
    struct sbuf out;
    size_t sent;
    struct sbuf in;
    struct head head; /* .size is 0 until it is whole */
    struct err failed;
    upstream_fn fn;
    void *arg;
};

static void stop(struct upstream *u)
{
    loop_source_free(TAKE(u->source));
    loop_source_free(TAKE(u->timer));
}

static void fail(struct upstream *u, const struct err *e)
{
    stop(u);
    u->fn(u->arg, NULL, e);
}

static void fail_lost(struct upstream *u, const char *how)
{
    struct err e = {0};
    if (u->sent == 0) {
        (void)ERR_SET(&e, NO_AGENT, "the agent of this host %s", how);
        err_hint(&e, "see `systemctl status mortard` on that host");
    } else {
        (void)ERR_SET(&e, TIMEOUT, "the agent of this host %s before it answered", how);
        err_hint(&e, "look at what became of it before you try again");
    }
    fail(u, &e);
}

static void succeed(struct upstream *u)
{
    struct upstream_answer a = {
        .status = u->head.status,
        .content_type = u->head.content_type,
        .body = u->in.data + u->head.size,
        .body_len = u->in.len - u->head.size,
        .upgrade = u->head.upgrade,
        .fd = -1,
    };
    stop(u);
    if (a.status == 101) {
        a.fd = u->fd;
        u->fd = -1;
    } else if (u->head.has_length && a.body_len > u->head.length) {
        a.body_len = (size_t)u->head.length;
    }
    u->fn(u->arg, &a, NULL);
}

static void send_more(struct upstream *u)
{
    ssize_t n = send(u->fd, u->out.data + u->sent, u->out.len - u->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        /* It may have refused without reading all; its answer is then still to be read. */
        u->sent = u->out.len;
    }
    u->sent += n > 0 ? (size_t)n : 0;
    if (u->sent == u->out.len) {
        loop_io_set(u->source, EPOLLIN);
    }
}

/* Return: whether the answer is whole, given that the stream has @ended; or a negative error */
static int look(struct upstream *u, bool ended, struct err *e)
{
    if (!u->head.size) {
        int r = head_parse(u->in.data, u->in.len, &u->head, e);
        if (r <= 0) {
            return r;
        }
    }
    if (u->head.status == 101) {
        return 1;
    }
    return u->head.has_length ? u->in.len - u->head.size >= u->head.length : ended;
}

static void receive_more(struct upstream *u)
{
    char chunk[8 * KIB];
    struct err e = {0};
    ssize_t n = recv(u->fd, chunk, sizeof(chunk), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0 && sbuf_add(&u->in, chunk, (size_t)n) < 0) {
        (void)ERR_SET(&e, LIMIT, "the agent's answer is larger than %zu bytes", u->in.limit);
        fail(u, &e);
        return;
    }
    int r = look(u, n <= 0, &e);
    if (r < 0) {
        fail(u, &e);
    } else if (r > 0) {
        succeed(u);
    } else if (n <= 0) {
        fail_lost(u, "closed the connection");
    }
}

static void on_io(void *arg, int fd, uint32_t events)
{
    struct upstream *u = arg;
    if ((events & EPOLLOUT) && u->sent < u->out.len) {
        send_more(u);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        receive_more(u); /* may free u */
    }
}

static void on_timer(void *arg)
{
    struct upstream *u = arg;
    if (u->failed.code) {
        fail(u, &u->failed);
    } else {
        fail_lost(u, "took too long");
    }
}

static void format_request(struct sbuf *b, const struct upstream_request *q)
{
    sbuf_printf(b, "%s %s HTTP/1.1\r\nHost: localhost\r\n" CALLER_HEADER ": %s\r\n", q->method,
                q->target, q->caller);
    if (q->content_type) {
        sbuf_printf(b, "Content-Type: %s\r\n", q->content_type);
    }
    if (q->request_id) {
        sbuf_printf(b, WIRE_REQUEST_ID_HEADER ": %s\r\n", q->request_id);
    }
    if (q->upgrade) {
        sbuf_printf(b, "Connection: Upgrade\r\nUpgrade: %s\r\n", q->upgrade);
    } else {
        sbuf_printf(b, "Connection: close\r\n");
    }
    sbuf_printf(b, "Content-Length: %zu\r\n\r\n", q->body_len);
    (void)sbuf_add(b, q->body, q->body_len); /* no limit here: the server had one */
}

static int dial(const char *path, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        return ERR_SET(e, NO_AGENT, "the path of the agent's socket is too long");
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        int r = ERR_SYS(e, NO_AGENT, errno, "the agent of this host does not answer at %s", path);
        err_hint(e, "see `systemctl status mortard` on that host");
        return r;
    }
    int held = fd;
    fd = -1;
    return held;
}

struct upstream *upstream_start(struct loop *l, const char *socket_path,
                                const struct upstream_request *q, upstream_fn fn, void *arg)
{
    struct upstream *u = xcalloc(1, sizeof(*u));
    u->fn = fn;
    u->arg = arg;
    u->in.limit = HEAD_LIMIT_BYTES + UPSTREAM_ANSWER_LIMIT_BYTES;
    u->fd = dial(socket_path, &u->failed);
    if (u->fd >= 0) {
        format_request(&u->out, q);
        u->source = loop_io(l, u->fd, EPOLLIN | EPOLLOUT, on_io, u);
    }
    u->timer = loop_timer(l, u->fd >= 0 ? UPSTREAM_TIMEOUT_US : 0, on_timer, u);
    return u;
}

void upstream_free(struct upstream *u)
{
    if (!u) {
        return;
    }
    stop(u);
    if (u->fd >= 0) {
        (void)close(u->fd);
    }
    sbuf_done(&u->out);
    sbuf_done(&u->in);
    head_done(&u->head);
    free(u);
}
