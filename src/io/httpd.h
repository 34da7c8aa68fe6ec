/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 server on libmicrohttpd, in our loop, for two kinds of connections: those accepted on a
 * unix socket (the kernel says who the peer is) and sockets handed in by the TLS pump of io/tls.h
 * (whose owner says who the peer is).
 *
 * A request reaches the handler whole. The handler owns it and answers exactly once, at once or
 * later (long-poll, result of a worker), with one of httpd_reply*() or httpd_upgrade(). That the
 * client or the server is gone by then is no concern of the handler.
 *
 * Not handled here: streamed bodies in either direction, who may do what (the handler decides), and
 * a client that leaves while its answer is pending (noticed when the answer is given). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/json.h"
#include "io/loop.h"

#define HTTPD_BODY_LIMIT_BYTES (1 * MIB)
#define HTTPD_CONNECTIONS_MAX 256

struct httpd;

/* Who is at the other end of a connection. */
struct httpd_peer {
    uid_t uid;        /* of the process behind a unix socket; (uid_t)-1 on injected connections */
    pid_t pid;        /* likewise; 0 when unknown */
    const char *name; /* identity given to httpd_inject(); NULL when there is none */
};

/* One request, whole. Read only; everything it points to lives until it is answered. */
struct httpd_req {
    const char *method; /* "GET", … as sent */
    const char *path;   /* decoded, without query */
    const char *target; /* path and query exactly as sent */
    const char *body;   /* body_len bytes and a terminating zero; never NULL */
    size_t body_len;
    struct httpd_peer peer;
};

struct httpd_opts {
    size_t body_limit_bytes;      /* 0 means HTTPD_BODY_LIMIT_BYTES; larger bodies get 413 */
    unsigned connections_max;     /* 0 means HTTPD_CONNECTIONS_MAX; more are closed at once */
    uint64_t transfer_timeout_us; /* 0 means 30 s: for a whole request (counted from connecting or
                                     from the answer before), and for a whole answer to be taken */
};

/* @req is owned by the handler until it answers. */
typedef void (*httpd_fn)(void *arg, struct httpd_req *req);

/**
 * httpd_new - a server without any connection yet
 * @opts: may be NULL        @fn: called on the loop's thread for each request, with @arg
 * @ret: set on success; owned by the caller
 * Return: 0 or -ERR_IO
 */
int httpd_new(struct loop *l, const struct httpd_opts *opts, httpd_fn fn, void *arg,
              struct httpd **ret, struct err *e);

/**
 * httpd_free - close all connections and the listening socket (its path stays)
 * Requests that are not answered yet stay valid; answering them only frees them.
 * Not to be called from the handler.
 */
void httpd_free(struct httpd *h);
DEFINE_FREEP(struct httpd, httpd_free)

/**
 * httpd_listen_unix - take connections at a unix socket
 * @path: replaced atomically, so it never exists with other permissions
 * @mode: of the socket        @gid: its group, (gid_t)-1 to leave it alone
 * Return: 0 or -ERR_IO. Once per server.
 */
int httpd_listen_unix(struct httpd *h, const char *path, mode_t mode, gid_t gid, struct err *e);

/**
 * httpd_inject - serve a connected stream socket
 * @fd: owned by the server from now on, also on failure
 * @name: identity of the peer as the caller proved it, or NULL; copied
 * Return: 0, -ERR_LIMIT when there are too many connections, or -ERR_IO
 */
int httpd_inject(struct httpd *h, int fd, const char *name, struct err *e);

/** httpd_query - decoded value of a query parameter; NULL when absent, "" when empty. Borrowed. */
const char *httpd_query(const struct httpd_req *req, const char *name);
/** httpd_header - value of a header, name in any case; NULL when absent. Borrowed. */
const char *httpd_header(const struct httpd_req *req, const char *name);

/**
 * httpd_reply - answer with bytes; @req is gone after it
 * @status: 200–599        @type: content type; NULL for none        @data: @len bytes, copied
 */
void httpd_reply(struct httpd_req *req, unsigned status, const char *type, const void *data,
                 size_t len);
/** httpd_reply_json - answer with JSON; takes the reference to @j; @req is gone after it */
void httpd_reply_json(struct httpd_req *req, unsigned status, json_t *j);
/**
 * httpd_reply_err - answer {"error":{"name","message","hint"}} with err_http(); @req is gone then
 * @e: a set error
 */
void httpd_reply_err(struct httpd_req *req, const struct err *e);

/* @fd: a connected, non-blocking stream socket that the callee owns, or -1 when the client is gone.
 * @early: @early_len bytes that the client sent already; borrowed. */
typedef void (*httpd_upgrade_fn)(void *arg, int fd, const char *early, size_t early_len);

/**
 * httpd_upgrade - answer 101 and hand over the connection as raw bytes; @req is gone after it
 * @protocol: value of the Upgrade header
 * @fn: called once with @arg, after the answer was sent, from the loop or (client gone) from here
 */
void httpd_upgrade(struct httpd_req *req, const char *protocol, httpd_upgrade_fn fn, void *arg);
