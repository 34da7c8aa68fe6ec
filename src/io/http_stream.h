/* SPDX-License-Identifier: Apache-2.0
 * An HTTP connection upgraded (RFC 9110 7.8) into a raw byte stream, over a unix socket or TLS. */
#pragma once

#include <sys/types.h>

#include "io/http.h"

struct http_stream;

/**
 * http_stream_open - connect, ask for @path with "Upgrade: @protocol", read the answer's head
 * @deadline_us: CLOCK_BOOTTIME        @ret: freed with http_stream_free()
 * @ret_refusal: zero-initialise; an answer other than 101; http_reply_done() frees
 * Return: 0; -ERR_REMOTE or -ERR_TLS when there is no connection; -ERR_TIMEOUT; -ERR_STATE when the
 *         server answered otherwise (@ret_refusal); -ERR_PARSE or -ERR_LIMIT
 */
int http_stream_open(const struct http_opts *o, const char *path, const char *protocol,
                     uint64_t deadline_us, struct http_stream **ret, struct http_reply *ret_refusal,
                     struct err *e);
void http_stream_free(struct http_stream *s);
DEFINE_FREEP(struct http_stream, http_stream_free)

/** http_stream_fd - to poll for reading, after http_stream_read() said there is nothing now */
int http_stream_fd(const struct http_stream *s);

/** http_stream_read - Return: bytes read, 0 at the end, -EAGAIN when there is nothing now */
ssize_t http_stream_read(struct http_stream *s, void *buf, size_t len);

/**
 * http_stream_write - all of @data
 * Return: 0; -ERR_REMOTE when the stream has ended, or -ERR_TIMEOUT
 */
int http_stream_write(struct http_stream *s, const void *data, size_t len, uint64_t deadline_us,
                      struct err *e);
