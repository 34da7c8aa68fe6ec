/* SPDX-License-Identifier: Apache-2.0
 * mortar-api from end to end: a child process runs it together with a fake agent; the tests are
 * blocking clients. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"
#include "io/http.h"
#include "io/httpd.h"
#include "io/loop.h"
#include "io/pki.h"
#include "io/relay.h"
#include "tls_client.h"
#include "wire/caller.h"

#define BIG_BYTES (4 * MIB)

struct fixture {
    char dir[32];
    char *ca;
    char *crt;
    char *key;
    char *base;
    uint16_t port;
    pid_t server;
};

/* The fake agent. */

static void on_raw(void *arg, int fd, const char *early, size_t early_len)
{
    const struct timeval patience = {.tv_sec = 60};
    char text[256];
    if (fd < 0 || fork() != 0) {
        close_fdp(&fd);
        return;
    }
    (void)dup2(fd, 3); /* and none of the server's own descriptors */
    (void)close_range(4, ~0U, 0);
    fd = 3;
    (void)fcntl(fd, F_SETFL, 0); /* blocking, in a process of its own */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)send(fd, "hello ", 6, MSG_NOSIGNAL);
    (void)send(fd, early, early_len, MSG_NOSIGNAL);
    for (ssize_t n; (n = recv(fd, text, sizeof(text), 0)) > 0;) {
        (void)send(fd, text, (size_t)n, MSG_NOSIGNAL);
    }
    _exit(0);
}

static void on_agent_request(void *arg, struct httpd_req *req)
{
    if (str_eq(req->path, "/v1/big")) {
        _cleanup_free_ char *big = xcalloc(1, BIG_BYTES);
        httpd_reply(req, 200, "application/octet-stream", big, BIG_BYTES);
    } else if (str_eq(req->path, "/v1/teapot")) {
        httpd_reply(req, 418, "text/plain", "short and stout", 15);
    } else if (str_eq(req->path, "/v1/raw")) {
        httpd_upgrade(req, "mortar-console", on_raw, NULL);
    } else {
        httpd_reply_json(req, 200,
                         json_pack("{s:s,s:s,s:s?,s:s?,s:s?,s:s?,s:I}", "method", req->method,
                                   "target", req->target, "caller",
                                   httpd_header(req, CALLER_HEADER), "type",
                                   httpd_header(req, "Content-Type"), "request_id",
                                   httpd_header(req, "Mortar-Request-Id"), "cookie",
                                   httpd_header(req, "Cookie"), "body_len",
                                   (json_int_t)req->body_len));
    }
}

static void serve(const struct fixture *f, int port_fd, bool with_agent)
{
    struct loop *loop = NULL;
    struct httpd *agent = NULL;
    struct api *api = NULL;
    struct err e = {0};
    _cleanup_free_ char *sock = str_printf("%s/agent.sock", f->dir);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_setup("server", LOG_LV_ERROR);
    const struct api_opts o = {.listen = "127.0.0.1:0", .agent_socket = sock, .cert_dir = f->dir};
    if (loop_new(&loop, &e) < 0 || httpd_new(loop, NULL, on_agent_request, NULL, &agent, &e) < 0 ||
        (with_agent && httpd_listen_unix(agent, sock, 0600, (gid_t)-1, &e) < 0) ||
        api_new(loop, &o, &api, &e) < 0) {
        log_err(LOG_LV_ERROR, "test server", &e);
        _exit(1);
    }
    uint16_t port = api_port(api);
    if (write(port_fd, &port, sizeof(port)) == sizeof(port)) {
        (void)loop_run(loop, &e);
    }
    api_free(api);
    httpd_free(agent);
    loop_free(loop);
}

static int setup_with(void **state, bool with_agent)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    int port_pipe[2];
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/mortar-api-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    make_certs(f->dir, "n1");
    f->ca = str_printf("%s/ca.crt", f->dir);
    f->crt = str_printf("%s/host.crt", f->dir);
    f->key = str_printf("%s/host.key", f->dir);
    assert_int_equal(pipe(port_pipe), 0);
    f->server = fork();
    assert_true(f->server >= 0);
    if (f->server == 0) {
        serve(f, port_pipe[1], with_agent);
        exit(0); /* so that a sanitizer may complain of leaks */
    }
    (void)close(port_pipe[1]);
    assert_int_equal(read(port_pipe[0], &f->port, sizeof(f->port)), sizeof(f->port));
    (void)close(port_pipe[0]);
    f->base = str_printf("https://127.0.0.1:%u", f->port);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, true);
}

static int setup_without_agent(void **state)
{
    return setup_with(state, false);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int status = 0;
    (void)kill(f->server, SIGTERM);
    (void)waitpid(f->server, &status, 0);
    assert_int_equal(status, 0); /* it was alive, and went in order */
    assert_int_equal(cmd_check(CMD("rm", "-r", f->dir), NULL, NULL, NULL), 0);
    free(f->ca);
    free(f->crt);
    free(f->key);
    free(f->base);
    free(f);
    return 0;
}

/* One call. @ret_body: a copy for the test when not NULL. Return: the status */
static int call(struct fixture *f, bool with_cert, const struct http_request *q, json_t **ret_json)
{
    struct err e = {0};
    _cleanup_(http_freep) struct http *h = NULL;
    _cleanup_http_reply_ struct http_reply reply = {0};
    struct http_request full = *q;
    full.deadline_us = clock_boottime_us() + 60 * USEC_PER_SEC;
    assert_int_equal(http_new(&(struct http_opts){.base = f->base,
                                                  .ca_file = f->ca,
                                                  .cert_file = with_cert ? f->crt : NULL,
                                                  .key_file = with_cert ? f->key : NULL},
                              &h, &e),
                     0);
    if (http_call(h, &full, &reply, &e) < 0) {
        print_message("%s\n", e.msg);
        return -e.code;
    }
    if (ret_json) {
        assert_int_equal(json_parse(reply.body, reply.body_len, ret_json, &e), 0);
    }
    return reply.status;
}

static const char *error_name(const json_t *j)
{
    return json_text_of(json_object_get(j, "error"), "name");
}

static void host_is_forwarded_with_its_identity(void **state)
{
    struct fixture *f = *state;
    _cleanup_json_ json_t *j = NULL;
    assert_int_equal(call(f, true,
                          &(struct http_request){
                              .method = "POST",
                              .path = "/v1/vms/db1?wait=3&x=%20",
                              .body = "{}",
                              .body_len = 2,
                              .headers = (const char *[]){"Content-Type: application/json",
                                                          "Mortar-Request-Id: abc", "Cookie: c=1",
                                                          NULL}},
                          &j),
                     200);
    assert_string_equal(json_text_of(j, "caller"), "host:n1");
    assert_string_equal(json_text_of(j, "method"), "POST");
    assert_string_equal(json_text_of(j, "target"), "/v1/vms/db1?wait=3&x=%20");
    assert_string_equal(json_text_of(j, "type"), "application/json");
    assert_string_equal(json_text_of(j, "request_id"), "abc");
    assert_null(json_text_of(j, "cookie"));
    assert_int_equal(json_u64_of(j, "body_len", 0), 2);
}

static void stranger_may_join_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    _cleanup_json_ json_t *joined = NULL;
    static const char *const denied[] = {"/v1/vms", "/v1/join", "/v1/join/", "/v1//join", "/",
                                         "/v1/ping/../vms"};
    assert_int_equal(
        call(f, false, &(struct http_request){.method = "POST", .path = "/v1/join", .body = "{}"},
             &joined),
        200);
    assert_string_equal(json_text_of(joined, "caller"), "anonymous");
    for (size_t i = 0; i < ELEMENTS(denied); i++) {
        _cleanup_json_ json_t *j = NULL;
        assert_int_equal(call(f, false, &(struct http_request){.path = denied[i]}, &j), 403);
        assert_string_equal(error_name(j), "auth.denied");
    }
}

static void identity_given_from_outside_counts_for_nothing(void **state)
{
    struct fixture *f = *state;
    static const char *const forged[] = {"X-Mortar-Peer: host:n9", "x-mortar-peer: host:n9",
                                         "X-Mortar-Peer : host:n9", NULL};
    _cleanup_json_ json_t *stranger = NULL;
    _cleanup_json_ json_t *host = NULL;
    const struct http_request q = {
        .method = "POST", .path = "/v1/join", .body = "{}", .headers = forged};
    assert_int_equal(call(f, false, &q, &stranger), 200);
    assert_string_equal(json_text_of(stranger, "caller"), "anonymous");
    assert_int_equal(call(f, true, &q, &host), 200);
    assert_string_equal(json_text_of(host, "caller"), "host:n1");
}

static void ping_and_ca_are_answered_without_the_agent(void **state)
{
    struct fixture *f = *state;
    _cleanup_json_ json_t *j = NULL;
    _cleanup_json_ json_t *mine = NULL;
    _cleanup_(http_freep) struct http *h = NULL;
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_free_ char *ca = NULL;
    char served[PKI_FINGERPRINT_LEN + 1];
    char real[PKI_FINGERPRINT_LEN + 1];
    assert_int_equal(call(f, false, &(struct http_request){.path = "/v1/ping"}, &j), 200);
    assert_string_equal(json_text_of(j, "caller"), "anonymous");
    assert_int_equal(call(f, true, &(struct http_request){.path = "/v1/ping"}, &mine), 200);
    assert_string_equal(json_text_of(mine, "caller"), "host:n1");
    assert_int_equal(http_new(&(struct http_opts){.base = f->base, .unverified = true}, &h, NULL),
                     0);
    assert_int_equal(
        http_call(h,
                  &(struct http_request){.path = "/v1/ca",
                                         .deadline_us = clock_boottime_us() + 60 * USEC_PER_SEC},
                  &reply, NULL),
        0);
    assert_int_equal(reply.status, 200);
    assert_int_equal(pki_fingerprint(reply.body, served, NULL), 0);
    assert_int_equal(file_read(f->ca, PKI_PEM_LIMIT_BYTES, &ca, NULL, NULL), 0);
    assert_int_equal(pki_fingerprint(ca, real, NULL), 0);
    assert_string_equal(served, real);
}

static void agent_that_is_down_is_said_so(void **state)
{
    struct fixture *f = *state;
    _cleanup_json_ json_t *j = NULL;
    assert_int_equal(call(f, true, &(struct http_request){.path = "/v1/vms"}, &j), 503);
    assert_string_equal(error_name(j), "agent.down");
    assert_non_null(json_text_of(json_object_get(j, "error"), "hint"));
}

static void answers_pass_with_any_status_and_size(void **state)
{
    struct fixture *f = *state;
    _cleanup_(http_freep) struct http *h = NULL;
    _cleanup_http_reply_ struct http_reply reply = {0};
    assert_int_equal(call(f, true, &(struct http_request){.path = "/v1/teapot"}, NULL), 418);
    assert_int_equal(http_new(&(struct http_opts){.base = f->base,
                                                  .ca_file = f->ca,
                                                  .cert_file = f->crt,
                                                  .key_file = f->key},
                              &h, NULL),
                     0);
    assert_int_equal(
        http_call(h,
                  &(struct http_request){.path = "/v1/big",
                                         .deadline_us = clock_boottime_us() + 60 * USEC_PER_SEC},
                  &reply, NULL),
        0);
    assert_int_equal(reply.body_len, BIG_BYTES);
}

static void body_passes_up_to_the_limit_and_not_beyond(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *body = xcalloc(1, HTTPD_BODY_LIMIT_BYTES + 1);
    _cleanup_json_ json_t *j = NULL;
    _cleanup_json_ json_t *over = NULL;
    struct http_request q = {
        .method = "POST", .path = "/v1/x", .body = body, .body_len = HTTPD_BODY_LIMIT_BYTES};
    assert_int_equal(call(f, true, &q, &j), 200);
    assert_int_equal(json_u64_of(j, "body_len", 0), HTTPD_BODY_LIMIT_BYTES);
    q.body_len++;
    assert_int_equal(call(f, true, &q, &over), 413);
    assert_string_equal(error_name(over), "request.limit");
}

static void certificate_of_another_authority_gets_nowhere(void **state)
{
    struct fixture *f = *state;
    char text[64];
    _cleanup_free_ char *dir = str_printf("%s/other", f->dir);
    make_certs(dir, "n1");
    struct tls_client *c = tls_dial(f->port, dir);
    if (c) { /* in TLS 1.3 the client learns of it when it reads */
        (void)tls_say(c, "GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n", 35);
        ssize_t n = tls_hear(c, text, sizeof(text));
        assert_true(n < 0 && n != -EAGAIN);
        tls_hang_up(c);
    }
}

static void garbage_is_dropped_and_service_goes_on(void **state)
{
    struct fixture *f = *state;
    static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                          "\x16\x03\x01\xff\xff", "\x80\x80\x01\x03\x01", "\n"};
    for (size_t i = 0; i < ELEMENTS(garbage); i++) {
        _cleanup_close_ int fd = tcp_dial(f->port);
        (void)send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        char text[64];
        while (recv(fd, text, sizeof(text), 0) > 0) {
        }
        assert_int_not_equal(errno, EAGAIN); /* ended, not timed out */
        errno = 0;
    }
    assert_int_equal(call(f, true, &(struct http_request){.path = "/v1/vms"}, NULL), 200);
}

static void silent_connections_do_not_lock_hosts_out(void **state)
{
    struct fixture *f = *state;
    int fds[200]; /* more than TLS_CONNECTIONS_MAX */
    for (size_t i = 0; i < ELEMENTS(fds); i++) {
        fds[i] = tcp_dial(f->port);
    }
    assert_int_equal(call(f, true, &(struct http_request){.path = "/v1/vms"}, NULL), 200);
    for (size_t i = 0; i < ELEMENTS(fds); i++) {
        (void)close(fds[i]);
    }
}

static void client_that_leaves_meanwhile_harms_nothing(void **state)
{
    struct fixture *f = *state;
    static const char ask[] = "GET /v1/big HTTP/1.1\r\nHost: x\r\n\r\n";
    for (int i = 0; i < 5; i++) {
        struct tls_client *c = tls_dial(f->port, f->dir);
        assert_non_null(c);
        assert_true(tls_say(c, ask, sizeof(ask) - 1));
        tls_hang_up(c);
    }
    assert_int_equal(call(f, true, &(struct http_request){.path = "/v1/vms"}, NULL), 200);
}

/* Hear until @b ends in @text. */
static void expect(struct tls_client *c, struct sbuf *b, const char *text)
{
    char chunk[256];
    while (!b->data || !str_ends(b->data, text)) {
        ssize_t n = tls_hear(c, chunk, sizeof(chunk));
        assert_true(n > 0);
        assert_int_equal(sbuf_add(b, chunk, (size_t)n), 0);
    }
}

static void upgraded_connection_is_a_raw_stream_to_the_agent(void **state)
{
    struct fixture *f = *state;
    _cleanup_sbuf_ struct sbuf b = {0};
    static const char ask[] = "GET /v1/raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                              "Upgrade: mortar-console\r\n\r\nearly ";
    struct tls_client *c = tls_dial(f->port, f->dir);
    assert_non_null(c);
    assert_true(tls_say(c, ask, sizeof(ask) - 1));
    expect(c, &b, "hello early ");
    assert_true(str_starts(b.data, "HTTP/1.1 101 "));
    assert_true(tls_say(c, "and more", 8));
    expect(c, &b, "hello early and more");
    tls_hang_up(c);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(host_is_forwarded_with_its_identity),
        T(stranger_may_join_and_nothing_else),
        T(identity_given_from_outside_counts_for_nothing),
        T(ping_and_ca_are_answered_without_the_agent),
        cmocka_unit_test_setup_teardown(agent_that_is_down_is_said_so, setup_without_agent,
                                        teardown),
        T(answers_pass_with_any_status_and_size),
        T(body_passes_up_to_the_limit_and_not_beyond),
        T(certificate_of_another_authority_gets_nowhere),
        T(garbage_is_dropped_and_service_goes_on),
        T(silent_connections_do_not_lock_hosts_out),
        T(client_that_leaves_meanwhile_harms_nothing),
        T(upgraded_connection_is_a_raw_stream_to_the_agent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
