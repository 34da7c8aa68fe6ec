/* SPDX-License-Identifier: Apache-2.0
 * A blocking HTTP/1.1 client with deadlines, over TCP, TLS or a unix socket: for etcd, the agent's
 * socket, other hosts' mortar-api and downloads. Behind it is libcurl; nothing of it shows.
 *
 * A handle speaks to one server, keeps its connection alive between calls and belongs to one thread
 * at a time; only http_cancel() may come from another one. It follows no redirect, uses no proxy
 * and reads no environment.
 *
 * A request is sent at most once. When the server closes the kept connection under it, the call
 * ends with -ERR_TIMEOUT although libcurl would repeat it: a first copy may have been executed, or
 * lie in a queue. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define HTTP_BODY_LIMIT_BYTES (8 * MIB)
#define HTTP_NO_DEADLINE UINT64_MAX /* only for streams with idle_timeout_us or http_cancel() */

struct http;

struct http_opts {
    const char *base;      /* "https://10.0.0.1:2379" or "http://localhost", without path */
    const char *unix_path; /* connect to this socket; the host in @base is then only a header */
    const char *ca_file;   /* PEM; the only authorities trusted. NULL: those of the system */
    const char *cert_file; /* PEM; our certificate for servers that ask, or NULL */
    const char *key_file;  /* PEM; its key */
    /* Instead of a CA: "sha256//BASE64" of the server's public key (DER SubjectPublicKeyInfo). */
    const char *pinned_key;
    /* Believe any server. Only to fetch what is then checked against a fingerprint (join). */
    bool unverified;
    uint64_t connect_timeout_us; /* TCP and TLS together; 0 means 3 s */
    /* A server whose kernel acknowledges nothing for so long, keepalive probes included, is given up; 0 means the
     * kernel's ten seconds and more. For streams in which silence is normal. */
    uint64_t mute_timeout_us;
};

struct http_reply {
    int status;              /* valid before the first on_data, too */
    uint64_t content_length; /* 0 when the server did not say */
    char *body;              /* terminated; without what on_data got */
    size_t body_len;
    char *location; /* where a redirection points, absolute; else NULL */
};
void http_reply_done(struct http_reply *r);
#define _cleanup_http_reply_ _cleanup_(http_reply_done)

struct http_request {
    const char *method;         /* NULL: GET, or POST when there is a body */
    const char *path;           /* with query, starts with '/' */
    const char *const *headers; /* "Name: value", ended by NULL; may be NULL */
    const char *body;           /* borrowed until the call returns; may be NULL */
    size_t body_len;
    uint64_t deadline_us; /* CLOCK_BOOTTIME for the whole call, or HTTP_NO_DEADLINE */
    uint64_t first_byte_timeout_us; /* from sending to the body's first byte; 0: no limit */
    uint64_t idle_timeout_us;       /* longest silence within the body; 0: no such limit */
    uint64_t body_limit_bytes;      /* 0 means HTTP_BODY_LIMIT_BYTES; does not count for on_data */
    /* Gets each piece of the body of a 2xx answer instead of reply.body; false ends the call. */
    bool (*on_data)(void *arg, const struct http_reply *head, const char *piece, size_t len);
    void *on_data_arg;
};

/**
 * http_new - a client for one server; connects with the first call
 * @o: strings are copied        @ret: freed with http_free()
 * Return: 0 or -ERR_INVALID
 */
int http_new(const struct http_opts *o, struct http **ret, struct err *e);
void http_free(struct http *h);
DEFINE_FREEP(struct http, http_free)

/**
 * http_call - send a request and wait for the answer, whatever its status
 * @ret: zero-initialise; set on success, and on failure as far as it came; http_reply_done() frees
 * Return: 0; -ERR_REMOTE or -ERR_TLS: nothing was sent; -ERR_TIMEOUT: it was or may have been sent
 *         and no whole answer came (deadline or lost connection); -ERR_LIMIT: the answer is too
 *         large; -ERR_CANCELLED: by on_data or http_cancel()
 */
int http_call(struct http *h, const struct http_request *q, struct http_reply *ret, struct err *e);

/** http_cancel - from any thread: the running call and all later ones end with -ERR_CANCELLED */
void http_cancel(struct http *h);
