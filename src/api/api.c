/* SPDX-License-Identifier: Apache-2.0
 * A connection passes tls → httpd → gate → upstream. One struct exchange lives from a forwarded
 * request to its answer or, when that was an upgrade, to the end of the raw stream. */
#include "api/api.h"

#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "api/gate.h"
#include "api/upstream.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "io/file.h"
#include "io/httpd.h"
#include "io/pki.h"
#include "io/relay.h"
#include "io/tls.h"
#include "wire/caller.h"
#include "wire/names.h"

#define STREAMS_MAX 64 /* upgraded connections: consoles */

struct exchange {
    struct api *api;
    LIST_ENTRY(exchange) entry;
    struct httpd_req *req; /* until it is answered */
    struct upstream *upstream;
    struct relay *relay; /* once upgraded */
    int agent_fd;        /* the agent's side of an upgrade until the relay owns it, or -1 */
    char *early;         /* what the agent sent already */
    size_t early_len;
};

struct api {
    struct loop *loop;
    char *agent_socket;
    char *ca_pem;
    struct httpd *httpd;
    struct tls_server *tls;
    LIST_HEAD(, exchange) exchanges;
    size_t streams_n;
};

static void exchange_free(struct exchange *x)
{
    LIST_REMOVE(x, entry);
    x->api->streams_n -= x->relay ? 1 : 0;
    upstream_free(x->upstream);
    relay_free(x->relay);
    if (x->agent_fd >= 0) {
        (void)close(x->agent_fd);
    }
    free(x->early);
    free(x);
}

static void on_stream_end(void *arg)
{
    exchange_free(arg);
}

static void on_upgraded(void *arg, int fd, const char *early, size_t early_len)
{
    struct exchange *x = arg;
    if (fd < 0) {
        exchange_free(x);
        return;
    }
    x->relay = relay_new(
        x->api->loop, &(struct relay_side){.fd = fd, .early = early, .early_len = early_len},
        &(struct relay_side){.fd = x->agent_fd, .early = x->early, .early_len = x->early_len},
        on_stream_end, x);
    x->agent_fd = -1;
    x->api->streams_n++;
}

static void upgrade(struct exchange *x, const struct upstream_answer *a)
{
    struct err e = {0};
    x->agent_fd = a->fd;
    if (a->body_len > RELAY_BUFFER_BYTES || !a->upgrade || x->api->streams_n >= STREAMS_MAX) {
        (void)ERR_SET(&e, LIMIT, "no more than %d streams can be open", STREAMS_MAX);
        httpd_reply_err(TAKE(x->req), &e);
        exchange_free(x);
        return;
    }
    x->early_len = a->body_len;
    x->early = xcalloc(1, a->body_len);
    memcpy(x->early, a->body, a->body_len);
    httpd_upgrade(TAKE(x->req), a->upgrade, on_upgraded, x);
}

static void on_answer(void *arg, const struct upstream_answer *a, const struct err *e)
{
    struct exchange *x = arg;
    if (a && a->status == 101) {
        upgrade(x, a);
        return;
    }
    if (a && a->status >= 200) {
        httpd_reply(TAKE(x->req), a->status, a->content_type, a->body, a->body_len);
    } else {
        struct err odd = {0};
        (void)ERR_SET(&odd, NO_AGENT, "the agent's answer makes no sense");
        httpd_reply_err(TAKE(x->req), e ? e : &odd);
    }
    exchange_free(x);
}

static void forward(struct api *a, struct httpd_req *req, const struct gate_request *q)
{
    _cleanup_free_ char *caller = caller_format(req->peer.name);
    struct exchange *x = xcalloc(1, sizeof(*x));
    x->api = a;
    x->req = req;
    x->agent_fd = -1;
    LIST_INSERT_HEAD(&a->exchanges, x, entry);
    x->upstream = upstream_start(a->loop, a->agent_socket,
                                 &(struct upstream_request){.method = q->method,
                                                            .target = q->target,
                                                            .caller = caller,
                                                            .content_type = q->content_type,
                                                            .upgrade = q->upgrade,
                                                            .request_id = q->request_id,
                                                            .body = req->body,
                                                            .body_len = req->body_len},
                                 on_answer, x);
}

static void reply_ping(struct httpd_req *req)
{
    _cleanup_free_ char *caller = caller_format(req->peer.name);
    httpd_reply_json(req, 200, json_pack("{s:s,s:s}", "version", MORTAR_VERSION, "caller", caller));
}

static void on_request(void *arg, struct httpd_req *req)
{
    struct api *a = arg;
    struct err e = {0};
    enum gate_way way = GATE_PING;
    const struct gate_request q = {.method = req->method,
                                   .path = req->path,
                                   .target = req->target,
                                   .content_type = httpd_header(req, "Content-Type"),
                                   .upgrade = httpd_header(req, "Upgrade"),
                                   .request_id = httpd_header(req, WIRE_REQUEST_ID_HEADER),
                                   .host = req->peer.name};
    if (gate_decide(&q, &way, &e) < 0) {
        httpd_reply_err(req, &e);
        return;
    }
    switch (way) {
    case GATE_PING:
        reply_ping(req);
        break;
    case GATE_CA:
        httpd_reply(req, 200, "application/x-pem-file", a->ca_pem, strlen(a->ca_pem));
        break;
    case GATE_FORWARD:
        forward(a, req, &q);
        break;
    }
}

static void on_connection(void *arg, int fd, const char *host)
{
    struct api *a = arg;
    struct err e = {0};
    if (httpd_inject(a->httpd, fd, host, &e) < 0) {
        log_err(LOG_LV_WARNING, "connection refused", &e);
    }
}

static int start_tls(struct api *a, const struct api_opts *o, struct err *e)
{
    _cleanup_free_ char *ca = str_printf("%s/ca.crt", o->cert_dir);
    _cleanup_free_ char *cert = str_printf("%s/host.crt", o->cert_dir);
    _cleanup_free_ char *key = str_printf("%s/host.key", o->cert_dir);
    int r = file_read(ca, PKI_PEM_LIMIT_BYTES, &a->ca_pem, NULL, e);
    r = r < 0
            ? r
            : tls_server_new(a->loop,
                             &(struct tls_opts){.ca_file = ca, .cert_file = cert, .key_file = key},
                             on_connection, a, &a->tls, e);
    if (r < 0) {
        err_hint(e, "`mortar init` or `mortar join` makes the certificates");
        return r;
    }
    return tls_server_listen(a->tls, o->listen, e);
}

int api_new(struct loop *l, const struct api_opts *o, struct api **ret, struct err *e)
{
    _cleanup_(api_freep) struct api *a = xcalloc(1, sizeof(*a));
    a->loop = l;
    a->agent_socket = str_dup(o->agent_socket);
    int r = httpd_new(l, NULL, on_request, a, &a->httpd, e);
    r = r < 0 ? r : start_tls(a, o, e);
    if (r == 0) {
        *ret = TAKE(a);
    }
    return r;
}

void api_free(struct api *a)
{
    struct exchange *x;
    if (!a) {
        return;
    }
    tls_server_free(a->tls);
    httpd_free(a->httpd);
    while ((x = LIST_FIRST(&a->exchanges))) {
        if (x->req) { /* the server is gone: this only frees the request */
            httpd_reply(TAKE(x->req), 503, NULL, NULL, 0);
        }
        exchange_free(x);
    }
    free(a->agent_socket);
    free(a->ca_pem);
    free(a);
}

uint16_t api_port(const struct api *a)
{
    return tls_server_port(a->tls);
}
