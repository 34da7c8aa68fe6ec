/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/http.h"
#include "io/worker.h"

/* A server on a unix socket that gives each connection's first request the same answer. */
struct server {
    char dir[64];
    char path[96];
    int fd;
    const char *answer;
    bool hang; /* keep the connection open after the answer, until the client closes it */
    char seen[1024];
    struct lane *lane;
};

static void serve(void *arg)
{
    struct server *s = arg;
    _cleanup_close_ int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    size_t len = 0;
    ssize_t n = 1;
    while (fd >= 0 && n > 0 && !strstr(s->seen, "\r\n\r\n")) {
        n = read(fd, s->seen + len, sizeof(s->seen) - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && s->answer) {
        (void)!write(fd, s->answer, strlen(s->answer));
    }
    char rest[256];
    while (fd >= 0 && s->hang && read(fd, rest, sizeof(rest)) > 0) {
    }
}

static void server_listen(struct server *s)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(s->dir, "/tmp/mortar-http-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    (void)snprintf(s->path, sizeof(s->path), "%s/s", s->dir);
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->path);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    s->lane = lane_new("server", 1, 4);
}

static void server_start(struct server *s)
{
    struct err e = {0};
    server_listen(s);
    assert_int_equal(lane_run(s->lane, serve, s, &e), 0);
}

static void server_stop(struct server *s)
{
    (void)shutdown(s->fd, SHUT_RDWR);
    lane_free(s->lane);
    close_fdp(&s->fd);
    (void)unlink(s->path);
    (void)rmdir(s->dir);
}

static uint64_t in_ms(unsigned ms)
{
    return clock_boottime_us() + ms * USEC_PER_MSEC;
}

static int call(struct server *s, const struct http_request *q, struct http_reply *ret,
                struct err *e)
{
    _cleanup_(http_freep) struct http *h = NULL;
    assert_int_equal(
        http_new(&(struct http_opts){.base = "http://localhost", .unix_path = s->path}, &h, e), 0);
    return http_call(h, q, ret, e);
}

static void a_post_over_a_unix_socket_is_answered(void **state)
{
    struct server s = {.answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n"};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    struct http_request q = {.path = "/v1/x?y=1",
                             .body = "{}",
                             .body_len = 2,
                             .headers = (const char *const[]){"X-Mortar: yes", NULL},
                             .deadline_us = in_ms(60000)};
    assert_int_equal(call(&s, &q, &r, &e), 0);
    server_stop(&s);
    assert_int_equal(r.status, 404);
    assert_int_equal(r.body_len, 5);
    assert_string_equal(r.body, "nope\n");
    assert_non_null(strstr(s.seen, "POST /v1/x?y=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(s.seen, "X-Mortar: yes\r\n"));
    assert_null(strstr(s.seen, "Expect"));
}

static void a_redirection_is_told_and_not_followed(void **state)
{
    struct server s = {.answer = "HTTP/1.1 302 Found\r\nLocation: /b?c=d\r\n"
                                 "Content-Length: 0\r\n\r\n"};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    assert_int_equal(
        call(&s, &(struct http_request){.path = "/a", .deadline_us = in_ms(60000)}, &r, &e), 0);
    server_stop(&s);
    assert_int_equal(r.status, 302);
    assert_string_equal(r.location, "http://localhost/b?c=d");
}

static void no_server_means_nothing_was_sent(void **state)
{
    struct server s = {.path = "/tmp/mortar-no-such-socket"};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    assert_int_equal(call(&s, &(struct http_request){.path = "/", .deadline_us = in_ms(60000)}, &r,
                          &e),
                     -ERR_REMOTE);
    assert_int_equal(err_class(ERR_REMOTE), ERR_CLASS_TRANSIENT);
}

static void silence_after_sending_is_an_unknown_outcome(void **state)
{
    struct server s = {.hang = true};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    assert_int_equal(call(&s, &(struct http_request){.path = "/", .deadline_us = in_ms(100)}, &r,
                          &e),
                     -ERR_TIMEOUT);
    server_stop(&s);
    assert_int_equal(err_class(ERR_TIMEOUT), ERR_CLASS_UNKNOWN);
}

static void a_cut_answer_is_an_unknown_outcome(void **state)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this"};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    assert_int_equal(call(&s, &(struct http_request){.path = "/", .deadline_us = in_ms(60000)}, &r,
                          &e),
                     -ERR_TIMEOUT);
    server_stop(&s);
}

static void a_large_answer_is_refused(void **state)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789"};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    struct http_request q = {.path = "/", .deadline_us = in_ms(60000), .body_limit_bytes = 8};
    assert_int_equal(call(&s, &q, &r, &e), -ERR_LIMIT);
    server_stop(&s);
}

static bool take_three(void *arg, const struct http_reply *head, const char *piece, size_t len)
{
    struct sbuf *b = arg;
    assert_int_equal(head->status, 200);
    (void)sbuf_add(b, piece, len);
    return b->len < 3;
}

static void a_stream_ends_when_its_receiver_says_so(void **state)
{
    struct server s = {.hang = true,
                       .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 "4\r\nabcd\r\n"};
    struct err e = {0};
    _cleanup_sbuf_ struct sbuf got = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    struct http_request q = {.path = "/",
                             .deadline_us = in_ms(60000),
                             .on_data = take_three,
                             .on_data_arg = &got};
    assert_int_equal(call(&s, &q, &r, &e), -ERR_CANCELLED);
    server_stop(&s);
    assert_string_equal(got.data, "abcd");
}

static void silence_in_a_stream_ends_it(void **state)
{
    struct server s = {.hang = true,
                       .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"};
    struct err e = {0};
    _cleanup_sbuf_ struct sbuf got = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    struct http_request q = {.path = "/",
                             .deadline_us = HTTP_NO_DEADLINE,
                             .first_byte_timeout_us = 60 * USEC_PER_SEC,
                             .idle_timeout_us = 500 * USEC_PER_MSEC,
                             .on_data = take_three,
                             .on_data_arg = &got};
    assert_int_equal(call(&s, &q, &r, &e), -ERR_TIMEOUT);
    server_stop(&s);
    assert_string_equal(got.data, "a");
}

static void no_first_byte_ends_a_stream(void **state)
{
    struct server s = {.hang = true,
                       .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    server_start(&s);
    struct http_request q = {.path = "/",
                             .deadline_us = HTTP_NO_DEADLINE,
                             .first_byte_timeout_us = 50 * USEC_PER_MSEC,
                             .on_data = take_three};
    assert_int_equal(call(&s, &q, &r, &e), -ERR_TIMEOUT);
    server_stop(&s);
}

/* As the client's process sees it while an answer comes. */
static bool see_timeout(void *arg, const struct http_reply *head, const char *piece, size_t len)
{
    unsigned *found_ms = arg;
    for (int fd = 0; fd < 256; fd++) {
        unsigned ms = 0;
        socklen_t size = sizeof(ms);
        bool is_tcp = getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &size) == 0;
        *found_ms = is_tcp && ms ? ms : *found_ms;
    }
    return true;
}

/* What the kernel does with it no test without a second host can see. */
static void the_kernel_is_told_when_a_mute_server_is_dead(void **state)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(addr);
    struct err e = {0};
    unsigned found_ms = 0;
    _cleanup_http_reply_ struct http_reply r = {0};
    _cleanup_(http_freep) struct http *h = NULL;
    s.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(s.fd, 4), 0);
    assert_int_equal(getsockname(s.fd, (struct sockaddr *)&addr, &size), 0);
    s.lane = lane_new("server", 1, 4);
    assert_int_equal(lane_run(s.lane, serve, &s, &e), 0);
    _cleanup_free_ char *base = str_printf("http://127.0.0.1:%u", ntohs(addr.sin_port));
    assert_int_equal(http_new(&(struct http_opts){.base = base, .mute_timeout_us = 3 * USEC_PER_SEC}, &h, &e), 0);
    struct http_request q = {.path = "/", .deadline_us = in_ms(60000), .on_data = see_timeout, .on_data_arg = &found_ms};
    assert_int_equal(http_call(h, &q, &r, &e), 0);
    lane_free(s.lane);
    close_fdp(&s.fd);
    assert_int_equal(found_ms, 3000);
}

static void cancel_soon(void *arg)
{
    (void)poll(NULL, 0, 20); /* the other thread is in its call by now; if not, it works as well */
    http_cancel(arg);
}

static void a_waiting_call_is_cancelled_from_another_thread(void **state)
{
    struct server s = {.hang = true};
    struct err e = {0};
    _cleanup_http_reply_ struct http_reply r = {0};
    struct http *h = NULL;
    server_start(&s);
    assert_int_equal(
        http_new(&(struct http_opts){.base = "http://localhost", .unix_path = s.path}, &h, &e), 0);
    struct lane *lane = lane_new("cancel", 1, 1);
    uint64_t start = clock_boottime_us();
    assert_int_equal(lane_run(lane, cancel_soon, h, &e), 0);
    assert_int_equal(http_call(h, &(struct http_request){.path = "/", .deadline_us = in_ms(60000)},
                               &r, &e),
                     -ERR_CANCELLED);
    assert_true(clock_boottime_us() - start < 50 * USEC_PER_SEC); /* before its deadline */
    lane_free(lane);
    http_free(h);
    server_stop(&s);
}

/* Answers the first request of a connection, closes it under the second, and accepts again. */
static void serve_once_each(void *arg)
{
    struct server *s = arg;
    char buf[512];
    for (;;) {
        _cleanup_close_ int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (read(fd, buf, sizeof(buf)) > 0) {
            s->seen[0]++;
            (void)!write(fd, s->answer, strlen(s->answer));
        }
        s->seen[0] = (char)(s->seen[0] + (read(fd, buf, sizeof(buf)) > 0));
    }
}

static void a_request_is_not_repeated_when_its_kept_connection_is_lost(void **state)
{
    struct server s = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    struct err e = {0};
    struct http *h = NULL;
    _cleanup_http_reply_ struct http_reply r = {0};
    server_listen(&s);
    assert_int_equal(lane_run(s.lane, serve_once_each, &s, &e), 0);
    assert_int_equal(
        http_new(&(struct http_opts){.base = "http://localhost", .unix_path = s.path}, &h, &e), 0);
    struct http_request q = {.path = "/", .body = "", .deadline_us = in_ms(60000)};
    assert_int_equal(http_call(h, &q, &r, &e), 0);
    assert_int_equal(http_call(h, &q, &r, &e), -ERR_TIMEOUT);
    assert_int_equal(http_call(h, &q, &r, &e), 0);
    http_free(h);
    server_stop(&s);
    assert_int_equal(s.seen[0], 3);
}

static void wrong_options_are_refused(void **state)
{
    struct http *h = NULL;
    assert_int_equal(http_new(&(struct http_opts){.base = "ftp://x"}, &h, NULL), -ERR_INVALID);
    struct http_opts half = {.base = "https://x", .cert_file = "/c"};
    assert_int_equal(http_new(&half, &h, NULL), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_over_a_unix_socket_is_answered),
        cmocka_unit_test(a_redirection_is_told_and_not_followed),
        cmocka_unit_test(no_server_means_nothing_was_sent),
        cmocka_unit_test(silence_after_sending_is_an_unknown_outcome),
        cmocka_unit_test(a_cut_answer_is_an_unknown_outcome),
        cmocka_unit_test(a_large_answer_is_refused),
        cmocka_unit_test(a_stream_ends_when_its_receiver_says_so),
        cmocka_unit_test(silence_in_a_stream_ends_it),
        cmocka_unit_test(no_first_byte_ends_a_stream),
        cmocka_unit_test(the_kernel_is_told_when_a_mute_server_is_dead),
        cmocka_unit_test(a_waiting_call_is_cancelled_from_another_thread),
        cmocka_unit_test(a_request_is_not_repeated_when_its_kept_connection_is_lost),
        cmocka_unit_test(wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
