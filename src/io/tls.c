/* SPDX-License-Identifier: Apache-2.0 */
#include "io/tls.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/str.h"
#include "io/pki.h"
#include "io/relay.h"

#define HANDSHAKE_TIMEOUT_US (10 * USEC_PER_SEC)
#define ACCEPTS_PER_WAKE 8
#define CHAIN_MAX 4 /* certificates a client may send */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* In handshake it has a source and a deadline; after it a relay, which then owns the socket. */
struct conn {
    struct tls_server *server;
    TAILQ_ENTRY(conn) entry;
    int fd;
    gnutls_session_t session;
    struct loop_source *source;
    struct loop_source *deadline;
    struct relay *relay;
    char *host;
    bool has_spoken; /* a byte came */
};

struct tls_server {
    struct loop *loop;
    gnutls_certificate_credentials_t cred;
    gnutls_priority_t priority;
    unsigned connections_max;
    uint64_t handshake_timeout_us;
    tls_conn_fn fn;
    void *arg;
    int listen_fd;
    struct loop_source *accepts;
    TAILQ_HEAD(, conn) conns; /* oldest first */
    size_t conns_n;
};

static void conn_free(struct conn *c)
{
    TAILQ_REMOVE(&c->server->conns, c, entry);
    c->server->conns_n--;
    loop_source_free(c->source);
    loop_source_free(c->deadline);
    if (c->relay) {
        relay_free(c->relay); /* closes the socket */
    } else {
        (void)close(c->fd);
    }
    gnutls_deinit(c->session);
    free(c->host);
    free(c);
}

static bool is_later(ssize_t r)
{
    return r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED;
}

static ssize_t errno_of(ssize_t r)
{
    return r >= 0 ? r : is_later(r) || r == GNUTLS_E_WARNING_ALERT_RECEIVED ? -EAGAIN : -EPROTO;
}

static ssize_t tls_recv(void *stream, void *data, size_t len)
{
    struct conn *c = stream;
    return errno_of(gnutls_record_recv(c->session, data, len));
}

static ssize_t tls_send(void *stream, const void *data, size_t len)
{
    struct conn *c = stream;
    return errno_of(gnutls_record_send(c->session, data, len));
}

static int tls_end(void *stream)
{
    struct conn *c = stream;
    int r = gnutls_bye(c->session, GNUTLS_SHUT_WR);
    if (!is_later(r)) {
        (void)shutdown(c->fd, SHUT_WR); /* the client may be gone */
    }
    return (int)errno_of(r);
}

static const struct relay_ops tls_ops = {.recv = tls_recv, .send = tls_send, .end = tls_end};

static void on_relay_end(void *arg)
{
    conn_free(arg);
}

static int check_client(struct conn *c, struct err *e)
{
    unsigned n = 0;
    unsigned status = 0;
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(c->session, &n);
    if (!chain || n == 0) {
        return 0;
    }
    int r = gnutls_certificate_verify_peers(c->session, &purpose, 1, &status);
    if (r < 0 || status) {
        return ERR_SET(e, TLS, "the client's certificate is not of this cluster (status %x)",
                       status);
    }
    gnutls_datum_t pem;
    r = gnutls_pem_base64_encode2("CERTIFICATE", &chain[0], &pem);
    if (r < 0) {
        return ERR_SET(e, TLS, "the client's certificate cannot be read: %s", gnutls_strerror(r));
    }
    _cleanup_free_ char *text = str_printf("%.*s", (int)pem.size, (const char *)pem.data);
    gnutls_free(pem.data);
    return pki_host_of_cert(text, &c->host, e);
}

static void start_relay(struct conn *c)
{
    int pair[2];
    struct tls_server *s = c->server;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        log_error("no socket pair for a connection", "errno=%d", errno);
        conn_free(c);
        return;
    }
    loop_source_free(TAKE(c->source));
    loop_source_free(TAKE(c->deadline));
    c->relay = relay_new(s->loop,
                         &(struct relay_side){.fd = c->fd, .ops = &tls_ops, .stream = c},
                         &(struct relay_side){.fd = pair[0]}, on_relay_end, c);
    s->fn(s->arg, pair[1], c->host);
}

/* The other hosts look each few seconds whether this one is there, and say nothing (host_reach.h). */
static bool only_knocked(struct conn *c)
{
    char byte;
    ssize_t n = c->has_spoken ? 1 : recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    c->has_spoken = n > 0;
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void on_handshake(void *arg, int fd, uint32_t events)
{
    struct conn *c = arg;
    struct err e = {0};
    if (only_knocked(c)) {
        conn_free(c);
        return;
    }
    int r = gnutls_handshake(c->session);
    if (is_later(r) || (r < 0 && !gnutls_error_is_fatal(r))) {
        bool writes = gnutls_record_get_direction(c->session) == 1;
        loop_io_set(c->source, writes ? EPOLLOUT : EPOLLIN);
        return;
    }
    if (r < 0) {
        (void)ERR_SET(&e, TLS, "handshake: %s", gnutls_strerror(r));
        (void)gnutls_alert_send_appropriate(c->session, r); /* as far as it goes */
    } else if (check_client(c, &e) < 0) {
        (void)gnutls_alert_send(c->session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
    }
    if (e.code) {
        log_err(LOG_LV_INFO, "TLS connection refused", &e);
        conn_free(c);
    } else {
        start_relay(c);
    }
}

static void on_deadline(void *arg)
{
    log_info("TLS handshake took too long", NULL);
    conn_free(arg);
}

/* Return: whether there is a place now */
static bool make_room(struct tls_server *s)
{
    struct conn *c;
    if (s->conns_n < s->connections_max) {
        return true;
    }
    TAILQ_FOREACH(c, &s->conns, entry) {
        if (!c->host) {
            conn_free(c);
            return true;
        }
    }
    return false;
}

static int start_session(struct conn *c)
{
    static const gnutls_datum_t http = {(unsigned char *)"http/1.1", 8};
    struct tls_server *s = c->server;
    int r = gnutls_init(&c->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    r = r < 0 ? r : gnutls_priority_set(c->session, s->priority);
    r = r < 0 ? r : gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, s->cred);
    r = r < 0 ? r : gnutls_alpn_set_protocols(c->session, &http, 1, 0);
    if (r == 0) {
        gnutls_certificate_server_set_request(c->session, GNUTLS_CERT_REQUEST);
        gnutls_handshake_set_timeout(c->session, GNUTLS_INDEFINITE_TIMEOUT); /* ours instead */
        gnutls_transport_set_int(c->session, c->fd);
    }
    return r;
}

/* A peer that vanished without a word is found after 60 s; consoles stay open for days. */
static void set_keepalive(int fd)
{
    const int on = 1;
    const int idle_s = 30;
    const int interval_s = 10;
    const int probes = 3;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)); /* a help, no condition */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void accept_one(struct tls_server *s, int fd)
{
    if (!make_room(s)) {
        log_warning("too many TLS connections", "max=%u", s->connections_max);
        (void)close(fd);
        return;
    }
    struct conn *c = xcalloc(1, sizeof(*c));
    c->server = s;
    c->fd = fd;
    TAILQ_INSERT_TAIL(&s->conns, c, entry);
    s->conns_n++;
    set_keepalive(fd);
    int r = start_session(c);
    if (r < 0) {
        log_error("no TLS session", "reason=\"%s\"", gnutls_strerror(r));
        conn_free(c);
        return;
    }
    c->source = loop_io(s->loop, fd, EPOLLIN, on_handshake, c);
    c->deadline = loop_timer(s->loop, s->handshake_timeout_us, on_deadline, c);
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

static int load_files(struct tls_server *s, const struct tls_opts *o, struct err *e)
{
    int r = gnutls_certificate_set_x509_trust_file(s->cred, o->ca_file, GNUTLS_X509_FMT_PEM);
    if (r <= 0) { /* the number of certificates */
        return ERR_SET(e, TLS, "no CA certificate in %s: %s", o->ca_file, gnutls_strerror(r));
    }
    r = gnutls_certificate_set_x509_key_file(s->cred, o->cert_file, o->key_file,
                                             GNUTLS_X509_FMT_PEM);
    if (r < 0) {
        return ERR_SET(e, TLS, "cannot use the certificate %s with the key %s: %s", o->cert_file,
                       o->key_file, gnutls_strerror(r));
    }
    gnutls_certificate_set_verify_limits(s->cred, 8192, CHAIN_MAX);
    return 0;
}

int tls_server_new(struct loop *l, const struct tls_opts *o, tls_conn_fn fn, void *arg,
                   struct tls_server **ret, struct err *e)
{
    _cleanup_(tls_server_freep) struct tls_server *s = xcalloc(1, sizeof(*s));
    s->loop = l;
    s->fn = fn;
    s->arg = arg;
    s->listen_fd = -1;
    s->connections_max = o->connections_max ?: TLS_CONNECTIONS_MAX;
    s->handshake_timeout_us = o->handshake_timeout_us ?: HANDSHAKE_TIMEOUT_US;
    TAILQ_INIT(&s->conns);
    int r = gnutls_certificate_allocate_credentials(&s->cred);
    r = r < 0 ? r : gnutls_priority_init(&s->priority, PRIORITY, NULL);
    if (r < 0) {
        return ERR_SET(e, TLS, "cannot start TLS: %s", gnutls_strerror(r));
    }
    r = load_files(s, o, e);
    if (r == 0) {
        *ret = TAKE(s);
    }
    return r;
}

void tls_server_free(struct tls_server *s)
{
    struct conn *c;
    if (!s) {
        return;
    }
    while ((c = TAILQ_FIRST(&s->conns))) {
        conn_free(c);
    }
    loop_source_free(s->accepts);
    if (s->listen_fd >= 0) {
        (void)close(s->listen_fd);
    }
    if (s->priority) {
        gnutls_priority_deinit(s->priority);
    }
    if (s->cred) {
        gnutls_certificate_free_credentials(s->cred);
    }
    free(s);
}

/* "HOST:PORT" → its parts, without brackets around an IPv6 address */
static int parse_address(const char *address, char **ret_host, char **ret_port, struct err *e)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || colon == address || str_parse_u64(colon + 1, UINT16_MAX, &port, NULL) < 0) {
        return ERR_SET(e, INVALID, "'%s' is not ADDRESS:PORT", address);
    }
    size_t len = (size_t)(colon - address);
    bool brackets = len > 2 && address[0] == '[' && colon[-1] == ']';
    *ret_host = str_printf("%.*s", (int)(brackets ? len - 2 : len), address + brackets);
    *ret_port = str_dup(colon + 1);
    return 0;
}

/* Return: a descriptor or -errno */
static int listen_at(const struct addrinfo *a)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* bind() tells */
    if (a->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

int tls_server_listen(struct tls_server *s, const char *address, struct err *e)
{
    _cleanup_free_ char *host = NULL;
    _cleanup_free_ char *port = NULL;
    static const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
                                          .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    assert(s->listen_fd < 0);
    int r = parse_address(address, &host, &port, e);
    if (r < 0) {
        return r;
    }
    bool any = str_eq(host, "*");
    r = getaddrinfo(any ? "::" : host, port, &hints, &found);
    if (r != 0) {
        return ERR_SET(e, INVALID, "'%s' is not ADDRESS:PORT: %s", address, gai_strerror(r));
    }
    r = listen_at(found);
    freeaddrinfo(found);
    if (r == -EAFNOSUPPORT && any && getaddrinfo("0.0.0.0", port, &hints, &found) == 0) {
        r = listen_at(found); /* a kernel without IPv6 */
        freeaddrinfo(found);
    }
    if (r < 0) {
        return ERR_SYS(e, IO, -r, "cannot listen at %s", address);
    }
    s->listen_fd = r;
    s->accepts = loop_io(s->loop, r, EPOLLIN, on_accept, s);
    return 0;
}

uint16_t tls_server_port(const struct tls_server *s)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    int r = getsockname(s->listen_fd, (struct sockaddr *)&addr, &len);
    assert(r == 0);
    (void)r;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}
