/* SPDX-License-Identifier: Apache-2.0
 * Real sockets in one process: the server and its clients share one loop, which tests turn until
 * what they wait for has happened. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/httpd.h"

#define PATIENCE_US (60 * USEC_PER_SEC)

struct fixture {
    struct loop *loop;
    struct httpd *httpd;
    char dir[32];
    char *path;
    struct httpd_req *held[64]; /* requests to /hold */
    size_t held_n;
    int raw_fd; /* of /raw; -2 before, -1 when the client was gone */
    size_t calls;
};

static void on_raw(void *arg, int fd, const char *early, size_t early_len)
{
    struct fixture *f = arg;
    f->raw_fd = fd;
    if (fd >= 0 && early_len) {
        assert_int_equal(send(fd, early, early_len, 0), early_len);
    }
}

static void reply_whoami(struct httpd_req *req)
{
    const char *tint = httpd_query(req, "tint");
    const char *trace = httpd_header(req, "x-trace");
    httpd_reply_json(req, 200,
                     json_pack("{s:s,s:s,s:s,s:i,s:i,s:s?,s:s?,s:s?,s:i}", "method", req->method,
                               "path", req->path, "target", req->target, "uid",
                               (int)req->peer.uid, "pid", (int)req->peer.pid, "name",
                               req->peer.name, "tint", tint, "trace", trace, "body_len",
                               (int)req->body_len));
}

static void on_request(void *arg, struct httpd_req *req)
{
    struct fixture *f = arg;
    f->calls++;
    if (str_eq(req->path, "/hold")) {
        f->held[f->held_n++] = req;
    } else if (str_eq(req->path, "/echo")) {
        httpd_reply(req, 200, "application/octet-stream", req->body, req->body_len);
    } else if (str_eq(req->path, "/bad")) {
        struct err e = {0};
        (void)ERR_SET(&e, NOT_FOUND, "there is no vm 'db1'");
        err_hint(&e, "see mortar vm ls");
        httpd_reply_err(req, &e);
    } else if (str_eq(req->path, "/raw")) {
        httpd_upgrade(req, "mortar-console", on_raw, f);
    } else {
        reply_whoami(req);
    }
}

static int setup_with(void **state, const struct httpd_opts *opts)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct err e = {0};
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/mortar-httpd-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->path = str_printf("%s/sock", f->dir);
    f->raw_fd = -2;
    assert_int_equal(loop_new(&f->loop, &e), 0);
    assert_int_equal(httpd_new(f->loop, opts, on_request, f, &f->httpd, &e), 0);
    assert_int_equal(httpd_listen_unix(f->httpd, f->path, 0660, (gid_t)-1, &e), 0);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, NULL);
}

static int setup_impatient(void **state)
{
    return setup_with(state, &(struct httpd_opts){.transfer_timeout_us = 80 * USEC_PER_MSEC,
                                                  .connections_max = 2});
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    httpd_free(f->httpd);
    loop_free(f->loop);
    (void)unlink(f->path);
    (void)rmdir(f->dir);
    free(f->path);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    struct err e = {0};
    assert_true(loop_turn(f->loop, 2 * USEC_PER_MSEC, &e) == 0);
}

static int dial(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Send much, letting the server read. */
static void push(struct fixture *f, int fd, const char *data, size_t len)
{
    uint64_t due = clock_boottime_us() + PATIENCE_US;
    while (len) {
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        assert_true(clock_boottime_us() < due);
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        turn(f);
    }
}

/* Append what has arrived. Return: whether the stream has ended. */
static bool hear(int fd, struct sbuf *b)
{
    char chunk[8192];
    ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n > 0) {
        assert_int_equal(sbuf_add(b, chunk, (size_t)n), 0);
    }
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void expect_text(struct fixture *f, int fd, struct sbuf *b, const char *text)
{
    uint64_t due = clock_boottime_us() + PATIENCE_US;
    while (!b->data || !strstr(b->data, text)) {
        assert_true(clock_boottime_us() < due);
        turn(f);
        (void)hear(fd, b);
    }
}

static void expect_end(struct fixture *f, int fd, struct sbuf *b)
{
    uint64_t due = clock_boottime_us() + PATIENCE_US;
    while (!hear(fd, b)) {
        assert_true(clock_boottime_us() < due);
        turn(f);
    }
}

static void expect_held(struct fixture *f, size_t n)
{
    uint64_t due = clock_boottime_us() + PATIENCE_US;
    while (f->held_n < n) {
        assert_true(clock_boottime_us() < due);
        turn(f);
    }
}

static void turns(struct fixture *f, unsigned n)
{
    while (n--) {
        turn(f);
    }
}

static void request_reaches_the_handler_with_its_peer_query_and_headers(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    _cleanup_free_ char *pid = str_printf("\"pid\":%d", (int)getpid());
    _cleanup_free_ char *uid = str_printf("\"uid\":%d", (int)getuid());
    say(fd, "GET /v1/a%20b?tint=dark%20red HTTP/1.1\r\nHost: x\r\nX-Trace: 7\r\n\r\n");
    expect_text(f, fd, &b, "}");
    assert_non_null(strstr(b.data, "HTTP/1.1 200 "));
    assert_non_null(strstr(b.data, "Content-Type: application/json"));
    assert_non_null(strstr(b.data, "\"path\":\"/v1/a b\""));
    assert_non_null(strstr(b.data, "\"target\":\"/v1/a%20b?tint=dark%20red\""));
    assert_non_null(strstr(b.data, "\"tint\":\"dark red\""));
    assert_non_null(strstr(b.data, "\"trace\":\"7\""));
    assert_non_null(strstr(b.data, "\"name\":null"));
    assert_non_null(strstr(b.data, pid));
    assert_non_null(strstr(b.data, uid));
}

static void socket_has_the_mode_asked_for_and_replaces_a_stale_one(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    struct err e = {0};
    _cleanup_(httpd_freep) struct httpd *second = NULL;
    assert_int_equal(httpd_new(f->loop, NULL, on_request, f, &second, &e), 0);
    assert_int_equal(httpd_listen_unix(second, f->path, 0600, (gid_t)-1, &e), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void connection_serves_several_requests_with_bodies(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst");
    expect_text(f, fd, &b, "\r\n\r\nfirst");
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n");
    turns(f, 3);
    say(fd, "3\r\nond\r\n0\r\n\r\n");
    expect_text(f, fd, &b, "\r\n\r\nsecond");
}

static void failure_is_answered_with_name_message_and_hint(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    say(fd, "GET /bad HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(f, fd, &b, "}}");
    assert_non_null(strstr(b.data, "HTTP/1.1 404 "));
    assert_non_null(strstr(b.data,
                           "{\"error\":{\"hint\":\"see mortar vm ls\",\"message\":\"there is no "
                           "vm 'db1'\",\"name\":\"object.not-found\"}}"));
}

static void announced_body_over_the_limit_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
    expect_text(f, fd, &b, "request.limit");
    assert_non_null(strstr(b.data, "HTTP/1.1 413 "));
    assert_int_equal(f->calls, 0);
}

static void chunked_body_over_the_limit_is_refused_when_read(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    _cleanup_free_ char *chunk = xcalloc(1, 0x10001);
    memset(chunk, 'x', 0x10000);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 17; i++) { /* 17 × 64 KiB > 1 MiB */
        say(fd, "10000\r\n");
        push(f, fd, chunk, 0x10000);
        say(fd, "\r\n");
        turns(f, 3);
    }
    say(fd, "0\r\n\r\n");
    expect_text(f, fd, &b, "request.limit");
    assert_int_equal(f->calls, 0);
}

static void body_of_exactly_the_limit_is_taken(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    _cleanup_free_ char *body = xcalloc(1, HTTPD_BODY_LIMIT_BYTES);
    say(fd, "POST /who HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n");
    push(f, fd, body, HTTPD_BODY_LIMIT_BYTES);
    expect_text(f, fd, &b, "\"body_len\":1048576");
}

static void answer_may_come_later(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    say(fd, "GET /hold?tint=late HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_held(f, 1);
    turns(f, 5);
    assert_false(hear(fd, &b));
    assert_int_equal(b.len, 0);
    assert_string_equal(httpd_query(f->held[0], "tint"), "late");
    httpd_reply(f->held[0], 201, "text/plain", "now", 3);
    expect_text(f, fd, &b, "\r\n\r\nnow");
    assert_non_null(strstr(b.data, "HTTP/1.1 201 "));
    say(fd, "GET /after HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(f, fd, &b, "/after");
}

static void client_that_leaves_before_the_answer_harms_nothing(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    int gone = dial(f);
    say(gone, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_held(f, 1);
    (void)close(gone);
    turns(f, 5);
    httpd_reply(f->held[0], 200, "text/plain", "nobody", 6);
    turns(f, 5);
    _cleanup_close_ int fd = dial(f);
    say(fd, "GET /still HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(f, fd, &b, "/still");
}

static void request_outlives_the_server(void **state)
{
    struct fixture *f = *state;
    _cleanup_close_ int fd = dial(f);
    _cleanup_close_ int fd2 = dial(f);
    say(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    say(fd2, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_held(f, 2);
    httpd_free(TAKE(f->httpd));
    assert_string_equal(f->held[0]->path, "/hold");
    assert_null(httpd_header(f->held[0], "Host"));
    httpd_reply(f->held[0], 200, NULL, NULL, 0);
    httpd_upgrade(f->held[1], "x", on_raw, f);
    assert_int_equal(f->raw_fd, -1);
}

static void many_held_requests_are_answered_in_any_order(void **state)
{
    struct fixture *f = *state;
    int fds[ELEMENTS(f->held)];
    for (size_t i = 0; i < ELEMENTS(fds); i++) {
        _cleanup_free_ char *text =
            str_printf("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02zu", i);
        fds[i] = dial(f);
        say(fds[i], text);
    }
    expect_held(f, ELEMENTS(fds));
    for (size_t i = ELEMENTS(fds); i-- > 0;) {
        httpd_reply(f->held[i], 200, NULL, f->held[i]->body, f->held[i]->body_len);
    }
    for (size_t i = 0; i < ELEMENTS(fds); i++) {
        _cleanup_sbuf_ struct sbuf b = {0};
        _cleanup_free_ char *want = str_printf("\r\n\r\n%02zu", i);
        expect_text(f, fds[i], &b, want);
        (void)close(fds[i]);
    }
}

static void client_that_sends_too_slowly_is_cut_off(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    uint64_t due = clock_boottime_us() + PATIENCE_US;
    say(fd, "GET / HTTP/1.1\r\nX-Slow: ");
    while (!hear(fd, &b)) { /* a byte each turn, so it is never idle */
        assert_true(clock_boottime_us() < due);
        (void)send(fd, "a", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(f);
    }
    assert_int_equal(f->calls, 0);
}

static void held_request_is_not_cut_off_by_the_transfer_limit(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    say(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_held(f, 1);
    for (uint64_t until = clock_boottime_us() + 120 * USEC_PER_MSEC; clock_boottime_us() < until;) {
        turn(f);
    }
    httpd_reply(f->held[0], 200, NULL, "ok", 2);
    expect_text(f, fd, &b, "\r\n\r\nok");
    expect_end(f, fd, &b); /* and then it is idle too long */
}

static void connections_over_the_limit_are_closed(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int one = dial(f);
    _cleanup_close_ int two = dial(f);
    turns(f, 3);
    _cleanup_close_ int three = dial(f);
    expect_end(f, three, &b);
    assert_int_equal(b.len, 0);
}

static void garbage_is_answered_or_cut_off(void **state)
{
    struct fixture *f = *state;
    const char *const texts[] = {"\x16\x03\x01\x02\x00\x01", "GET\r\n\r\n", "\r\n\r\n\r\n",
                                 "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                                 "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nbroken\r\n\r\n"};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_sbuf_ struct sbuf b = {0};
        _cleanup_close_ int fd = dial(f);
        say(fd, texts[i]);
        (void)shutdown(fd, SHUT_WR);
        expect_end(f, fd, &b);
        assert_true(!b.data || !strstr(b.data, " 200 "));
    }
}

static void injected_connection_carries_its_identity(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    int pair[2];
    _cleanup_sbuf_ struct sbuf b = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(httpd_inject(f->httpd, pair[1], "host:n2", &e), 0);
    _cleanup_close_ int fd = pair[0];
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(f, fd, &b, "}");
    assert_non_null(strstr(b.data, "\"name\":\"host:n2\""));
    assert_non_null(strstr(b.data, "\"uid\":-1"));
}

static void upgraded_connection_is_a_raw_stream_that_outlives_the_server(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    _cleanup_close_ int fd = dial(f);
    say(fd, "GET /raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: mortar-console\r\n\r\n"
            "early");
    expect_text(f, fd, &b, "\r\n\r\nearly");
    assert_non_null(strstr(b.data, "HTTP/1.1 101 "));
    assert_non_null(strstr(b.data, "Upgrade: mortar-console"));
    turns(f, 3);
    httpd_free(TAKE(f->httpd));
    _cleanup_close_ int raw = f->raw_fd;
    say(raw, "from the server");
    char text[32] = "";
    assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), strlen("from the server"));
    say(fd, "back");
    assert_int_equal(recv(raw, text, sizeof(text) - 1, 0), 4);
}

static void upgrade_of_a_client_that_left_gives_no_socket(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    say(fd, "GET /hold HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n");
    expect_held(f, 1);
    (void)close(fd);
    turns(f, 3);
    httpd_upgrade(f->held[0], "y", on_raw, f);
    turns(f, 5);
    assert_int_not_equal(f->raw_fd, -2); /* told, whether the write failed or not */
    if (f->raw_fd >= 0) {
        (void)close(f->raw_fd);
    }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define T_IMPATIENT(fn) cmocka_unit_test_setup_teardown(fn, setup_impatient, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(request_reaches_the_handler_with_its_peer_query_and_headers),
        T(socket_has_the_mode_asked_for_and_replaces_a_stale_one),
        T(connection_serves_several_requests_with_bodies),
        T(failure_is_answered_with_name_message_and_hint),
        T(announced_body_over_the_limit_is_refused_at_once),
        T(chunked_body_over_the_limit_is_refused_when_read),
        T(body_of_exactly_the_limit_is_taken),
        T(answer_may_come_later),
        T(client_that_leaves_before_the_answer_harms_nothing),
        T(request_outlives_the_server),
        T(many_held_requests_are_answered_in_any_order),
        T_IMPATIENT(client_that_sends_too_slowly_is_cut_off),
        T_IMPATIENT(held_request_is_not_cut_off_by_the_transfer_limit),
        T_IMPATIENT(connections_over_the_limit_are_closed),
        T_IMPATIENT(garbage_is_answered_or_cut_off),
        T(injected_connection_carries_its_identity),
        T(upgraded_connection_is_a_raw_stream_that_outlives_the_server),
        T(upgrade_of_a_client_that_left_gives_no_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
