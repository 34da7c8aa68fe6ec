/* SPDX-License-Identifier: Apache-2.0
 * The life of a request: made when its first line is read, filled by MHD's access callback, given
 * to the handler when whole. Without an answer by then, MHD's connection is suspended until there
 * is one. A request has two owners: the connection (until MHD reports its end) and the handler
 * (until it answers); the last one frees it. */
#include "io/httpd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/str.h"

#define TRANSFER_TIMEOUT_US (30 * USEC_PER_SEC)
#define NEVER_US UINT64_MAX
#define ACCEPTS_PER_WAKE 16

struct conn {
    struct httpd *httpd;
    LIST_ENTRY(conn) entry;
    int fd; /* MHD's */
    struct loop_source *late;
    uid_t uid;
    pid_t pid;
    char *name;
};

enum phase {
    PHASE_HEAD,     /* only the first line is known */
    PHASE_BODY,     /* MHD brings the body */
    PHASE_HANDLING, /* the handler owns it; inside the handler's first call, or suspended */
    PHASE_ANSWERED, /* there is an answer, to be queued or queued */
};

struct req {
    struct httpd_req pub; /* first: the handler's pointer is ours */
    struct conn *conn;                  /* NULL once MHD has ended the request */
    struct MHD_Connection *mhd;         /* likewise */
    struct MHD_Response *answer;
    unsigned status;
    enum phase phase;
    bool suspended;
    bool too_large;
    unsigned owners;
    LIST_ENTRY(req) entry; /* while suspended */
    char *target;
    struct sbuf body;
    httpd_upgrade_fn on_upgrade;
    void *on_upgrade_arg;
};

/* An upgraded connection whose MHD half is to be ended outside of MHD's callback. */
struct upgraded {
    struct MHD_UpgradeResponseHandle *handle;
    SLIST_ENTRY(upgraded) entry;
};

struct httpd {
    struct MHD_Daemon *daemon;
    struct loop *loop;
    struct loop_source *wake;  /* MHD's epoll descriptor */
    struct loop_source *timer; /* MHD's own timeout, or run_soon() */
    bool again;
    struct loop_source *accepts;
    int listen_fd;
    LIST_HEAD(, conn) conns;
    LIST_HEAD(, req) suspended;
    SLIST_HEAD(, upgraded) upgraded;
    struct conn *adding; /* handed from add_conn() to on_connection() */
    size_t conns_n;
    struct httpd_opts opts;
    httpd_fn fn;
    void *arg;
};

static void end_upgraded(struct httpd *h)
{
    struct upgraded *u;
    while ((u = SLIST_FIRST(&h->upgraded))) {
        SLIST_REMOVE_HEAD(&h->upgraded, entry);
        (void)MHD_upgrade_action(u->handle, MHD_UPGRADE_ACTION_CLOSE); /* ours was duplicated */
        free(u);
    }
}

static void run_mhd(struct httpd *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    h->again = false;
    end_upgraded(h);
    (void)MHD_run(h->daemon); /* fails only for daemons with their own thread */
    bool timed = MHD_get_timeout(h->daemon, &ms) == MHD_YES;
    loop_rearm(h->timer, h->again ? 0 : timed ? ms * USEC_PER_MSEC : NEVER_US);
}

/* MHD has work that its descriptor does not tell of; also from within its callbacks. */
static void run_soon(struct httpd *h)
{
    h->again = true;
    loop_rearm(h->timer, 0);
}

static void on_wake(void *arg, int fd, uint32_t events)
{
    run_mhd(arg);
}

static void on_timer(void *arg)
{
    run_mhd(arg);
}

/* The client did not send its request, or take its answer, in time. */
static void on_late(void *arg)
{
    struct conn *c = arg;
    (void)shutdown(c->fd, SHUT_RDWR); /* MHD sees the end of the stream and closes */
    run_soon(c->httpd);
}

static void conn_free(struct conn *c)
{
    loop_source_free(c->late);
    free(c->name);
    free(c);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct httpd *h = arg;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        struct conn *c = TAKE(h->adding);
        assert(c);
        LIST_INSERT_HEAD(&h->conns, c, entry);
        h->conns_n++;
        c->late = loop_timer(h->loop, h->opts.transfer_timeout_us, on_late, c);
        *context = c;
        return;
    }
    struct conn *c = *context;
    LIST_REMOVE(c, entry);
    h->conns_n--;
    conn_free(c);
}

static int add_conn(struct httpd *h, int fd, struct conn *c, struct err *e)
{
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    c->httpd = h;
    c->fd = fd;
    if (h->conns_n >= h->opts.connections_max) {
        conn_free(c);
        (void)close(fd);
        return ERR_SET(e, LIMIT, "there are %u connections already", h->opts.connections_max);
    }
    h->adding = c;
    enum MHD_Result r = MHD_add_connection(h->daemon, fd, (struct sockaddr *)&any,
                                           sizeof(any.sun_family)); /* closes fd when it fails */
    if (h->adding) {
        conn_free(TAKE(h->adding));
    }
    run_soon(h);
    return r == MHD_YES ? 0 : ERR_SET(e, IO, "the HTTP library did not take a connection");
}

int httpd_inject(struct httpd *h, int fd, const char *name, struct err *e)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    c->uid = (uid_t)-1;
    c->name = str_dup(name);
    return add_conn(h, fd, c, e);
}

static void accept_one(struct httpd *h, int fd)
{
    struct err e = {0};
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        log_warning("peer of a connection is unknown", "errno=%d", errno);
        (void)close(fd);
        return;
    }
    struct conn *c = xcalloc(1, sizeof(*c));
    c->uid = peer.uid;
    c->pid = peer.pid;
    if (add_conn(h, fd, c, &e) < 0) {
        log_err(LOG_LV_WARNING, "connection refused", &e);
    }
}

static void on_accept(void *arg, int listen_fd, uint32_t events)
{
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return; /* none left, or the client gave up */
        }
        accept_one(arg, fd);
    }
}

static void req_unref(struct req *q)
{
    assert(q->owners > 0);
    if (--q->owners > 0) {
        return;
    }
    if (q->answer) {
        MHD_destroy_response(q->answer);
    }
    free((char *)q->pub.method);
    free((char *)q->pub.path);
    free((char *)q->pub.peer.name);
    free(q->target);
    sbuf_done(&q->body);
    free(q);
}

static void *on_first_line(void *arg, const char *target, struct MHD_Connection *mhd)
{
    struct req *q = xcalloc(1, sizeof(*q));
    q->owners = 1;
    q->target = str_dup(target);
    return q; /* becomes the request context of on_access() and on_completed() */
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode why)
{
    struct req *q = *context;
    if (!q) {
        return;
    }
    assert(!q->suspended); /* MHD ends no suspended connection */
    if (q->conn) {
        loop_rearm(q->conn->late, q->conn->httpd->opts.transfer_timeout_us);
    }
    if (q->on_upgrade && why != MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        q->on_upgrade(q->on_upgrade_arg, -1, NULL, 0);
    }
    q->conn = NULL;
    q->mhd = NULL;
    *context = NULL;
    req_unref(q);
}

static enum MHD_Result queue_answer(struct req *q)
{
    loop_rearm(q->conn->late, q->conn->httpd->opts.transfer_timeout_us);
    return MHD_queue_response(q->mhd, q->status, q->answer);
}

static void set_answer(struct req *q, unsigned status, struct MHD_Response *answer)
{
    assert(answer); /* only memory can be short */
    assert(q->phase != PHASE_ANSWERED);
    q->status = status;
    q->answer = answer;
    q->phase = PHASE_ANSWERED;
}

static struct MHD_Response *response_of(const char *type, const void *data, size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, (void *)data, MHD_RESPMEM_MUST_COPY);
    assert(r);
    if (type) {
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    }
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    return r;
}

static struct MHD_Response *response_of_json(const json_t *j)
{
    _cleanup_free_ char *text = json_format(j);
    return response_of("application/json", text, strlen(text));
}

static struct MHD_Response *response_of_err(const struct err *e)
{
    _cleanup_json_ json_t *j = json_pack("{s:o}", "error", err_to_json(e));
    return response_of_json(j);
}

static enum MHD_Result refuse_too_large(struct req *q)
{
    struct err e = {0};
    (void)ERR_SET(&e, LIMIT, "the request body is larger than %zu bytes",
                  q->conn->httpd->opts.body_limit_bytes);
    set_answer(q, (unsigned)err_http(e.code), response_of_err(&e));
    return queue_answer(q);
}

static bool announces_too_much(const struct req *q)
{
    const char *length =
        MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t n;
    return length && str_parse_u64(length, UINT64_MAX, &n, NULL) == 0 &&
           n > q->conn->httpd->opts.body_limit_bytes;
}

static enum MHD_Result on_head(struct req *q, struct MHD_Connection *mhd, const char *path,
                               const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    q->mhd = mhd;
    q->conn = info->socket_context;
    q->pub.method = str_dup(method);
    q->pub.path = str_dup(path);
    q->pub.target = q->target;
    q->pub.peer.uid = q->conn->uid;
    q->pub.peer.pid = q->conn->pid;
    q->pub.peer.name = str_dup(q->conn->name);
    q->body.limit = q->conn->httpd->opts.body_limit_bytes;
    q->phase = PHASE_BODY;
    return announces_too_much(q) ? refuse_too_large(q) : MHD_YES;
}

static enum MHD_Result on_whole(struct httpd *h, struct req *q)
{
    if (q->too_large) {
        return refuse_too_large(q);
    }
    q->pub.body = q->body.data ? q->body.data : "";
    q->pub.body_len = q->body.len;
    q->phase = PHASE_HANDLING;
    loop_rearm(q->conn->late, NEVER_US);
    q->owners++;
    h->fn(h->arg, &q->pub);
    if (q->phase == PHASE_ANSWERED) {
        return queue_answer(q);
    }
    MHD_suspend_connection(q->mhd);
    q->suspended = true;
    LIST_INSERT_HEAD(&h->suspended, q, entry);
    return MHD_YES;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *mhd, const char *path,
                                 const char *method, const char *version, const char *data,
                                 size_t *len, void **context)
{
    struct req *q = *context;
    switch (q->phase) {
    case PHASE_HEAD:
        return on_head(q, mhd, path, method);
    case PHASE_BODY:
        if (*len == 0) {
            return on_whole(arg, q);
        }
        /* What is too much is read and dropped: MHD takes an answer only behind the body. The
         * deadline bounds it. */
        q->too_large = q->too_large || sbuf_add(&q->body, data, *len) < 0;
        *len = 0;
        return MHD_YES;
    case PHASE_ANSWERED: /* resumed */
        return queue_answer(q);
    case PHASE_HANDLING: /* the server is going down with requests suspended */
        return MHD_NO;
    }
    return MHD_NO;
}

const char *httpd_query(const struct httpd_req *req, const char *name)
{
    const struct req *q = (const struct req *)req;
    const char *value = NULL;
    size_t len;
    if (!q->mhd || MHD_lookup_connection_value_n(q->mhd, MHD_GET_ARGUMENT_KIND, name, strlen(name),
                                                 &value, &len) != MHD_YES) {
        return NULL;
    }
    return value ? value : "";
}

const char *httpd_header(const struct httpd_req *req, const char *name)
{
    const struct req *q = (const struct req *)req;
    return q->mhd ? MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, name) : NULL;
}

/* Hand the answer to MHD; inside the first call of the handler on_whole() does that. */
static void give_answer(struct req *q, unsigned status, struct MHD_Response *answer)
{
    set_answer(q, status, answer);
    if (q->suspended) {
        LIST_REMOVE(q, entry);
        q->suspended = false;
        MHD_resume_connection(q->mhd);
        run_soon(q->conn->httpd);
    }
    req_unref(q);
}

void httpd_reply(struct httpd_req *req, unsigned status, const char *type, const void *data,
                 size_t len)
{
    assert(status >= 200 && status <= 599);
    give_answer((struct req *)req, status, response_of(type, data, len));
}

void httpd_reply_json(struct httpd_req *req, unsigned status, json_t *j)
{
    give_answer((struct req *)req, status, response_of_json(j));
    json_decref(j);
}

void httpd_reply_err(struct httpd_req *req, const struct err *e)
{
    assert(e->code > 0);
    give_answer((struct req *)req, (unsigned)err_http(e->code), response_of_err(e));
}

static void on_upgraded(void *arg, struct MHD_Connection *mhd, void *context, const char *early,
                        size_t early_len, MHD_socket sock,
                        struct MHD_UpgradeResponseHandle *handle)
{
    struct req *q = arg;
    struct httpd *h = q->conn->httpd;
    struct upgraded *u = xcalloc(1, sizeof(*u));
    httpd_upgrade_fn fn = q->on_upgrade;
    u->handle = handle;
    SLIST_INSERT_HEAD(&h->upgraded, u, entry);
    run_soon(h);
    loop_rearm(q->conn->late, NEVER_US);
    q->on_upgrade = NULL;
    fn(q->on_upgrade_arg, fcntl(sock, F_DUPFD_CLOEXEC, 3), early, early_len);
}

void httpd_upgrade(struct httpd_req *req, const char *protocol, httpd_upgrade_fn fn, void *arg)
{
    struct req *q = (struct req *)req;
    struct MHD_Response *r = MHD_create_response_for_upgrade(on_upgraded, q);
    assert(r);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_UPGRADE, protocol);
    if (!q->mhd) {
        fn(arg, -1, NULL, 0);
    } else {
        q->on_upgrade = fn;
        q->on_upgrade_arg = arg;
    }
    give_answer(q, MHD_HTTP_SWITCHING_PROTOCOLS, r);
}

int httpd_new(struct loop *l, const struct httpd_opts *opts, httpd_fn fn, void *arg,
              struct httpd **ret, struct err *e)
{
    struct httpd *h = xcalloc(1, sizeof(*h));
    h->loop = l;
    h->fn = fn;
    h->arg = arg;
    h->listen_fd = -1;
    h->opts = opts ? *opts : (struct httpd_opts){0};
    h->opts.body_limit_bytes = h->opts.body_limit_bytes ?: HTTPD_BODY_LIMIT_BYTES;
    h->opts.connections_max = h->opts.connections_max ?: HTTPD_CONNECTIONS_MAX;
    h->opts.transfer_timeout_us = h->opts.transfer_timeout_us ?: TRANSFER_TIMEOUT_US;
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_UPGRADE | MHD_ALLOW_SUSPEND_RESUME, 0,
        NULL, NULL, on_access, h,
        MHD_OPTION_CONNECTION_LIMIT, h->opts.connections_max + 1, /* ours comes first */
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_URI_LOG_CALLBACK, on_first_line, h, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        httpd_free(h);
        return ERR_SET(e, IO, "cannot start the HTTP library");
    }
    h->wake = loop_io(l, info->epoll_fd, EPOLLIN, on_wake, h);
    h->timer = loop_timer(l, 0, on_timer, h);
    *ret = h;
    return 0;
}

void httpd_free(struct httpd *h)
{
    struct req *q;
    if (!h) {
        return;
    }
    loop_source_free(h->accepts);
    if (h->listen_fd >= 0) {
        (void)close(h->listen_fd);
    }
    if (h->daemon) {
        end_upgraded(h);
        while ((q = LIST_FIRST(&h->suspended))) { /* MHD aborts when stopped with some suspended */
            LIST_REMOVE(q, entry);
            q->suspended = false;
            MHD_resume_connection(q->mhd);
        }
        MHD_stop_daemon(h->daemon);
    }
    loop_source_free(h->wake);
    loop_source_free(h->timer);
    assert(h->conns_n == 0);
    free(h);
}

static int listen_at(const char *path, mode_t mode, gid_t gid, struct err *e)
{
    _cleanup_free_ char *fresh = str_printf("%s.new", path);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(fresh) >= sizeof(addr.sun_path)) {
        return ERR_SET(e, IO, "the socket path %s is too long", path);
    }
    memcpy(addr.sun_path, fresh, strlen(fresh) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)unlink(fresh); /* left by a crash */
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        chown(fresh, (uid_t)-1, gid) < 0 || chmod(fresh, mode) < 0 || listen(fd, SOMAXCONN) < 0 ||
        rename(fresh, path) < 0) {
        return ERR_SYS(e, IO, errno, "cannot listen at %s", path);
    }
    int held = fd;
    fd = -1;
    return held;
}

int httpd_listen_unix(struct httpd *h, const char *path, mode_t mode, gid_t gid, struct err *e)
{
    assert(h->listen_fd < 0);
    int fd = listen_at(path, mode, gid, e);
    if (fd < 0) {
        return fd;
    }
    h->listen_fd = fd;
    h->accepts = loop_io(h->loop, fd, EPOLLIN, on_accept, h);
    return 0;
}
