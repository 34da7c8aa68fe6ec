/* SPDX-License-Identifier: Apache-2.0
 * TLS server side: accepts TCP, makes the handshake, and hands out the plain text as one end of a
 * socket pair, with the identity that the client proved. TLS 1.2 and 1.3, HTTP/1.1 by ALPN. A
 * client may come without certificate; one that brings a certificate not made by our CA is sent
 * away.
 *
 * When all places are taken, the oldest connection without identity gives way, so that strangers
 * cannot lock the hosts of the cluster out. */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#define TLS_CONNECTIONS_MAX 128

struct tls_server;

struct tls_opts {
    const char *ca_file; /* PEM files, read by tls_server_new() */
    const char *cert_file;
    const char *key_file;
    unsigned connections_max;      /* 0 means TLS_CONNECTIONS_MAX; handshakes count */
    uint64_t handshake_timeout_us; /* 0 means 10 s */
};

/**
 * tls_conn_fn - a handshake is done
 * @fd: plain text, a non-blocking stream socket; owned by the callee. Closing it ends the
 * connection.
 * @host: host name in the client's certificate, checked against our CA; NULL when there is none
 */
typedef void (*tls_conn_fn)(void *arg, int fd, const char *host);

/**
 * tls_server_new - read the certificates
 * @ret: owned by the caller
 * Return: 0, or -ERR_TLS when a file is missing or does not fit
 */
int tls_server_new(struct loop *l, const struct tls_opts *o, tls_conn_fn fn, void *arg,
                   struct tls_server **ret, struct err *e);
/** tls_server_free - close everything; sockets handed out see the end of the stream */
void tls_server_free(struct tls_server *s);
DEFINE_FREEP(struct tls_server, tls_server_free)

/**
 * tls_server_listen - "IP:PORT", "[IPv6]:PORT" or "*:PORT" for all addresses; once per server
 * Return: 0, -ERR_INVALID, or -ERR_IO
 */
int tls_server_listen(struct tls_server *s, const char *address, struct err *e);
/** tls_server_port - the port listened on; for port 0 the one the kernel chose */
uint16_t tls_server_port(const struct tls_server *s);
