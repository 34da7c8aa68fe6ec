/* SPDX-License-Identifier: Apache-2.0
 * A child process runs the TLS server; each connection gets its identity and a line end, then what
 * it sends back. */
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

#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/loop.h"
#include "io/tls.h"
#include "tls_client.h"

#define HANDSHAKE_TIMEOUT_US (3 * USEC_PER_SEC) /* all others must have shaken hands within it */
#define PLACES 3

struct fixture {
    char dir[32];
    uint16_t port;
    pid_t server;
};

struct server {
    struct loop *loop;
    struct tls_server *tls;
};

static void on_connection(void *arg, int fd, const char *host)
{
    _cleanup_free_ char *line = str_printf("%s\n", host ? host : "-");
    if (fork() == 0) {
        char text[4096];
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(fd, 3); /* and none of the server's own descriptors */
        (void)close_range(4, ~0U, 0);
        fd = 3;
        (void)fcntl(fd, F_SETFL, 0);
        (void)send(fd, line, strlen(line), MSG_NOSIGNAL);
        for (ssize_t n; (n = recv(fd, text, sizeof(text), 0)) > 0;) {
            (void)send(fd, text, (size_t)n, MSG_NOSIGNAL);
        }
        _exit(0);
    }
    (void)close(fd);
}

static void serve(const struct fixture *f, int port_fd)
{
    struct server s = {0};
    struct err e = {0};
    _cleanup_free_ char *ca = str_printf("%s/ca.crt", f->dir);
    _cleanup_free_ char *crt = str_printf("%s/host.crt", f->dir);
    _cleanup_free_ char *key = str_printf("%s/host.key", f->dir);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_setup("server", LOG_LV_ERROR);
    const struct tls_opts o = {.ca_file = ca,
                               .cert_file = crt,
                               .key_file = key,
                               .connections_max = PLACES,
                               .handshake_timeout_us = HANDSHAKE_TIMEOUT_US};
    if (loop_new(&s.loop, &e) < 0 ||
        tls_server_new(s.loop, &o, on_connection, &s, &s.tls, &e) < 0 ||
        tls_server_listen(s.tls, "127.0.0.1:0", &e) < 0) {
        log_err(LOG_LV_ERROR, "test server", &e);
        _exit(1);
    }
    uint16_t port = tls_server_port(s.tls);
    if (write(port_fd, &port, sizeof(port)) == sizeof(port)) {
        (void)loop_run(s.loop, &e);
    }
    tls_server_free(s.tls);
    loop_free(s.loop);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    int port_pipe[2];
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/mortar-tls-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    make_certs(f->dir, "n1");
    assert_int_equal(pipe(port_pipe), 0);
    f->server = fork();
    if (f->server == 0) {
        serve(f, port_pipe[1]);
        exit(0);
    }
    (void)close(port_pipe[1]);
    assert_int_equal(read(port_pipe[0], &f->port, sizeof(f->port)), sizeof(f->port));
    (void)close(port_pipe[0]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int status = 0;
    (void)kill(f->server, SIGTERM);
    (void)waitpid(f->server, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(cmd_check(CMD("rm", "-r", f->dir), NULL, NULL, NULL), 0);
    free(f);
    return 0;
}

static void expect(struct tls_client *c, const char *text)
{
    char got[256] = "";
    size_t len = 0;
    while (len < strlen(text)) {
        ssize_t n = tls_hear(c, got + len, sizeof(got) - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    assert_string_equal(got, text);
}

static void identity_is_that_of_the_certificate(void **state)
{
    struct fixture *f = *state;
    struct tls_client *host = tls_dial(f->port, f->dir);
    struct tls_client *stranger = tls_dial(f->port, NULL);
    expect(host, "n1\n");
    expect(stranger, "-\n");
    assert_true(tls_say(host, "over and back", 13));
    expect(host, "over and back");
    tls_hang_up(host);
    tls_hang_up(stranger);
}

static bool is_closed_soon(int fd)
{
    char text[64];
    ssize_t n;
    while ((n = recv(fd, text, sizeof(text), 0)) > 0) {
    }
    return n == 0 || errno != EAGAIN; /* not the patience of tcp_dial() */
}

static void handshake_that_takes_too_long_is_cut_off(void **state)
{
    struct fixture *f = *state;
    uint64_t start = clock_boottime_us();
    _cleanup_close_ int fd = tcp_dial(f->port);
    assert_true(is_closed_soon(fd));
    assert_true(clock_boottime_us() - start >= HANDSHAKE_TIMEOUT_US / 2);
}

static void oldest_stranger_gives_way_and_hosts_never(void **state)
{
    struct fixture *f = *state;
    struct tls_client *host = tls_dial(f->port, f->dir);
    struct tls_client *strangers[PLACES];
    expect(host, "n1\n");
    for (size_t i = 0; i < PLACES; i++) { /* with the host one more than there are places */
        strangers[i] = tls_dial(f->port, NULL);
        assert_non_null(strangers[i]);
        expect(strangers[i], "-\n");
    }
    char text[8];
    ssize_t n = tls_hear(strangers[0], text, sizeof(text));
    assert_true(n <= 0 && n != -EAGAIN);
    (void)tls_say(strangers[1], "x", 1);
    expect(strangers[1], "x");
    (void)tls_say(host, "y", 1);
    expect(host, "y");
    for (size_t i = 0; i < PLACES; i++) {
        tls_hang_up(strangers[i]);
    }
    tls_hang_up(host);
}

static void places_of_hosts_are_not_taken_by_anyone(void **state)
{
    struct fixture *f = *state;
    struct tls_client *hosts[PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        hosts[i] = tls_dial(f->port, f->dir);
        expect(hosts[i], "n1\n");
    }
    assert_null(tls_dial(f->port, f->dir));
    for (size_t i = 0; i < PLACES; i++) {
        assert_true(tls_say(hosts[i], "x", 1));
        expect(hosts[i], "x");
        tls_hang_up(hosts[i]);
    }
}

static void much_data_comes_back_whole_through_a_slow_reader(void **state)
{
    struct fixture *f = *state;
    enum { CHUNK = 3000, CHUNKS = 1000 };
    char out[CHUNK];
    char in[CHUNK];
    struct tls_client *c = tls_dial(f->port, f->dir);
    size_t got = 0;
    expect(c, "n1\n");
    pid_t writer = fork(); /* reads and writes at once would need threads or a loop */
    if (writer == 0) {
        for (size_t i = 0; i < CHUNKS; i++) {
            for (size_t k = 0; k < CHUNK; k++) {
                out[k] = (char)((i * CHUNK + k) % 251);
            }
            if (!tls_say(c, out, CHUNK)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    (void)usleep(100 * 1000); /* until everything between is full */
    while (got < (size_t)CHUNK * CHUNKS) {
        ssize_t n = tls_hear(c, in, sizeof(in));
        assert_true(n > 0);
        for (ssize_t k = 0; k < n; k++) {
            assert_int_equal((unsigned char)in[k], (got + (size_t)k) % 251);
        }
        got += (size_t)n;
    }
    int status = 1;
    (void)waitpid(writer, &status, 0);
    assert_int_equal(status, 0);
    tls_hang_up(c);
}

static void wrong_addresses_and_files_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", ":", "x:1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000",
                                      "localhost:1", "[::1:5"};
    _cleanup_free_ char *ca = str_printf("%s/ca.crt", f->dir);
    _cleanup_free_ char *crt = str_printf("%s/host.crt", f->dir);
    _cleanup_free_ char *key = str_printf("%s/host.key", f->dir);
    _cleanup_free_ char *ca_key = str_printf("%s/ca.key", f->dir);
    _cleanup_(loop_freep) struct loop *l = NULL;
    _cleanup_(tls_server_freep) struct tls_server *s = NULL;
    struct tls_server *none = NULL;
    struct err e = {0};
    assert_int_equal(loop_new(&l, NULL), 0);
    struct tls_opts o = {.ca_file = ca, .cert_file = crt, .key_file = key};
    assert_int_equal(tls_server_new(l, &o, on_connection, NULL, &s, NULL), 0);
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_int_equal(tls_server_listen(s, bad[i], NULL), -ERR_INVALID);
    }
    assert_int_equal(tls_server_listen(s, "*:0", &e), 0);
    assert_true(tls_server_port(s) > 0);
    o.key_file = ca_key;
    assert_int_equal(tls_server_new(l, &o, on_connection, NULL, &none, NULL), -ERR_TLS);
    o.ca_file = "/nonexistent";
    assert_int_equal(tls_server_new(l, &o, on_connection, NULL, &none, NULL), -ERR_TLS);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(identity_is_that_of_the_certificate),
        T(handshake_that_takes_too_long_is_cut_off),
        T(oldest_stranger_gives_way_and_hosts_never),
        T(places_of_hosts_are_not_taken_by_anyone),
        T(much_data_comes_back_whole_through_a_slow_reader),
        T(wrong_addresses_and_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
