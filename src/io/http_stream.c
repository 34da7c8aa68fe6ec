/* SPDX-License-Identifier: Apache-2.0
 * libcurl makes the connection (CONNECT_ONLY) with the same options as for calls; the few lines of
 * HTTP are ours, since libcurl 7.88 gives no access to an upgraded connection. */
#include "io/http_stream.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/http_answer_parse.h"
#include "io/http_curl.h"

enum { HEAD_LIMIT_BYTES = 8192 };

struct http_stream {
    struct http *http;
    CURL *easy;
    int fd;
};

void http_stream_free(struct http_stream *s)
{
    if (s) {
        curl_easy_cleanup(s->easy);
        http_free(s->http);
        free(s);
    }
}

int http_stream_fd(const struct http_stream *s)
{
    return s->fd;
}

ssize_t http_stream_read(struct http_stream *s, void *buf, size_t len)
{
    size_t n = 0;
    CURLcode code = curl_easy_recv(s->easy, buf, len, &n);
    if (code == CURLE_AGAIN) {
        return -EAGAIN;
    }
    return code == CURLE_OK ? (ssize_t)n : 0;
}

/* Return: whether the descriptor became ready for @events in time */
static bool wait_for(const struct http_stream *s, short events, uint64_t deadline_us)
{
    struct pollfd p = {.fd = s->fd, .events = events};
    int ready;
    do {
        ready = poll(&p, 1, clock_left_ms(deadline_us));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

int http_stream_write(struct http_stream *s, const void *data, size_t len, uint64_t deadline_us,
                      struct err *e)
{
    const char *p = data;
    while (len > 0) {
        size_t n = 0;
        CURLcode code = curl_easy_send(s->easy, p, len, &n);
        if (code == CURLE_AGAIN && !wait_for(s, POLLOUT, deadline_us)) {
            return ERR_SET(e, TIMEOUT, "the other end of the stream takes nothing");
        }
        if (code != CURLE_OK && code != CURLE_AGAIN) {
            return ERR_SET(e, REMOTE, "the stream has ended");
        }
        p += n;
        len -= n;
    }
    return 0;
}

/* Add what comes next, at most @max bytes, to @b: what follows the head is the stream's. */
static int receive(struct http_stream *s, size_t max, uint64_t deadline_us, struct sbuf *b,
                   struct err *e)
{
    char buf[1024];
    ssize_t n;
    while ((n = http_stream_read(s, buf, max < sizeof(buf) ? max : sizeof(buf))) == -EAGAIN) {
        if (!wait_for(s, POLLIN, deadline_us)) {
            return ERR_SET(e, TIMEOUT, "no answer about the stream came in time");
        }
    }
    if (n <= 0) {
        return ERR_SET(e, TIMEOUT, "the connection was closed instead of an answer");
    }
    return sbuf_add(b, buf, (size_t)n) < 0 ? ERR_SET(e, LIMIT, "the answer is too large") : 0;
}

static int read_answer(struct http_stream *s, uint64_t deadline_us, struct http_reply *ret_refusal,
                       struct err *e)
{
    _cleanup_sbuf_ struct sbuf head = {.limit = HEAD_LIMIT_BYTES};
    _cleanup_sbuf_ struct sbuf body = {.limit = HTTP_ANSWER_BODY_LIMIT_BYTES};
    struct http_answer answer = {0};
    int r = 0;
    while (r == 0 && !str_ends(head.data, "\r\n\r\n")) {
        r = receive(s, 1, deadline_us, &head, e);
    }
    r = r < 0 ? r : http_answer_parse(head.data, &answer, e);
    if (r < 0 || answer.status == 101) {
        return r;
    }
    while (r == 0 && body.len < answer.body_len) {
        r = receive(s, answer.body_len - body.len, deadline_us, &body, e);
    }
    if (r < 0) {
        return r;
    }
    ret_refusal->status = answer.status;
    ret_refusal->body_len = body.len;
    ret_refusal->body = sbuf_take(&body);
    return ERR_SET(e, STATE, "the server answered with HTTP status %d", answer.status);
}

static int connect_stream(struct http_stream *s, const char *base, uint64_t deadline_us,
                          struct err *e)
{
    char why[CURL_ERROR_SIZE] = "";
    curl_socket_t fd = CURL_SOCKET_BAD;
    s->easy = curl_easy_init();
    if (!s->easy || !http_curl_set_transport(s->http, s->easy) ||
        curl_easy_setopt(s->easy, CURLOPT_URL, base) != CURLE_OK ||
        curl_easy_setopt(s->easy, CURLOPT_CONNECT_ONLY, 1L) != CURLE_OK ||
        curl_easy_setopt(s->easy, CURLOPT_TIMEOUT_MS, (long)clock_left_ms(deadline_us) + 1) !=
            CURLE_OK ||
        curl_easy_setopt(s->easy, CURLOPT_ERRORBUFFER, why) != CURLE_OK) {
        return ERR_SET(e, REMOTE, "the HTTP library refused an option for %s", base);
    }
    CURLcode code = curl_easy_perform(s->easy);
    (void)curl_easy_setopt(s->easy, CURLOPT_ERRORBUFFER, NULL); /* it is on this stack */
    if (code == CURLE_OK) {
        code = curl_easy_getinfo(s->easy, CURLINFO_ACTIVESOCKET, &fd);
    }
    if (code != CURLE_OK || fd == CURL_SOCKET_BAD) {
        const char *text = why[0] ? why : curl_easy_strerror(code);
        return http_curl_is_tls_code(code)
                   ? ERR_SET(e, TLS, "no secure connection to %s: %s", base, text)
                   : ERR_SET(e, REMOTE, "cannot reach %s: %s", base, text);
    }
    s->fd = fd;
    return 0;
}

int http_stream_open(const struct http_opts *o, const char *path, const char *protocol,
                     uint64_t deadline_us, struct http_stream **ret, struct http_reply *ret_refusal,
                     struct err *e)
{
    _cleanup_(http_stream_freep) struct http_stream *s = xcalloc(1, sizeof(*s));
    _cleanup_free_ char *request = str_printf("GET %s HTTP/1.1\r\nHost: %s\r\n"
                                              "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n",
                                              path, strstr(o->base, "://") + 3, protocol);
    int r = http_new(o, &s->http, e);
    if (r == 0) {
        r = connect_stream(s, o->base, deadline_us, e);
    }
    if (r == 0) {
        r = http_stream_write(s, request, strlen(request), deadline_us, e);
    }
    if (r == 0) {
        r = read_answer(s, deadline_us, ret_refusal, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = TAKE(s);
    return 0;
}
