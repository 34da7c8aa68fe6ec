/* SPDX-License-Identifier: Apache-2.0
 * The contract of the store on a captive etcd, over plain HTTP and over mutual TLS; and its slot
 * protocol with a proxy that loses or delays requests and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "adapters/etcd/etcd_drive.h"
#include "adapters/etcd/etcd_member.h"
#include "etcd_contract.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"
#include "io/worker.h"
#include "tls_client.h"

#define ETCD "/usr/bin/etcd"
#define SKIP 77

struct captive {
    char dir[64];
    pid_t pid;
    unsigned port;
    bool secure;
    char *url;
    struct etcd_tls tls; /* its texts are owned */
};

static int listen_on_loopback(unsigned *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static unsigned free_port(void)
{
    unsigned port = 0;
    _cleanup_close_ int fd = listen_on_loopback(&port);
    return port;
}

/* As the product makes them. */
static void make_certificates(struct captive *c)
{
    make_certs(c->dir, "one");
    c->tls.ca_file = str_printf("%s/ca.crt", c->dir);
    c->tls.cert_file = str_printf("%s/host.crt", c->dir);
    c->tls.key_file = str_printf("%s/host.key", c->dir);
}

/* @env: a secure member is set up by the file that the product writes, as systemd reads it */
static void __attribute__((noreturn)) exec_etcd(const struct captive *c, const struct strv *argv,
                                                const struct strv *env)
{
    _cleanup_free_ char *log = str_printf("%s/log", c->dir);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)!freopen(log, "w", stderr);
    (void)execve(ETCD, argv->v, env->v);
    _exit(127);
}

static void add_environment(const struct captive *c, unsigned peer_port, struct strv *env)
{
    struct err e = {0};
    char *text = NULL;
    _cleanup_strv_ struct strv lines = {0};
    _cleanup_free_ char *data = str_printf("%s/data", c->dir);
    int r = etcd_format_defaults(&(struct etcd_setup){.name = "one",
                                                      .address = "127.0.0.1",
                                                      .ca_file = c->tls.ca_file,
                                                      .cert_file = c->tls.cert_file,
                                                      .key_file = c->tls.key_file,
                                                      .cluster_token = "test",
                                                      .data_dir = data,
                                                      .client_port = c->port,
                                                      .peer_port = peer_port},
                                 &text, &e);
    assert_int_equal(r, 0);
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        char *quote = strchr(lines.v[i], '"');
        if (quote) {
            strv_addf(env, "%.*s%.*s", (int)(quote - lines.v[i]), lines.v[i],
                      (int)strlen(quote) - 2, quote + 1);
        }
    }
    free(text);
}

static void wait_until_it_serves(struct captive *c)
{
    const char *urls[] = {c->url, NULL};
    struct store *s = NULL;
    struct store_status st = {0};
    struct err e = {0};
    assert_int_equal(
        etcd_open(&(struct etcd_opts){.urls = urls, .tls = c->tls, .writer = "probe"}, &s, &e), 0);
    uint64_t deadline = clock_boottime_us() + 120 * USEC_PER_SEC;
    int r = store_status(s, NULL, deadline, &st, &e);
    while (r == 0 && !st.leader_id && clock_left_ms(deadline)) {
        (void)poll(NULL, 0, 20);
        r = store_status(s, NULL, deadline, &st, &e);
    }
    if (r < 0) {
        print_error("etcd does not start: %s; see %s/log\n", e.msg, c->dir);
    }
    assert_int_equal(r, 0);
    store_free(s);
}

static void captive_start(struct captive *c, bool secure)
{
    _cleanup_strv_ struct strv argv = {0};
    _cleanup_strv_ struct strv env = {0};
    unsigned peer_port = free_port();
    strcpy(c->dir, "/tmp/mortar-etcd-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    c->port = free_port();
    c->url = str_printf("%s://127.0.0.1:%u", secure ? "https" : "http", c->port);
    strv_add(&argv, ETCD);
    strv_add(&env, "PATH=/usr/bin:/bin");
    if (secure) {
        make_certificates(c);
        add_environment(c, peer_port, &env);
    } else {
        strv_add(&argv, "--name=one");
        strv_addf(&argv, "--data-dir=%s/data", c->dir);
        strv_addf(&argv, "--listen-client-urls=%s", c->url);
        strv_addf(&argv, "--advertise-client-urls=%s", c->url);
        strv_addf(&argv, "--listen-peer-urls=http://127.0.0.1:%u", peer_port);
        strv_addf(&argv, "--initial-advertise-peer-urls=http://127.0.0.1:%u", peer_port);
        strv_addf(&argv, "--initial-cluster=one=http://127.0.0.1:%u", peer_port);
    }
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        exec_etcd(c, &argv, &env);
    }
    wait_until_it_serves(c);
}

static void forget_certificates(struct captive *c)
{
    free((char *)c->tls.ca_file);
    free((char *)c->tls.cert_file);
    free((char *)c->tls.key_file);
    assert_int_equal(cmd_check(CMD("rm", "-rf", c->dir), NULL, NULL, NULL), 0);
}

static void captive_stop(struct captive *c)
{
    (void)kill(c->pid, SIGKILL);
    (void)waitpid(c->pid, NULL, 0);
    forget_certificates(c);
    free(c->url);
}

static struct store *open_etcd(void *ctx, const char *writer)
{
    struct captive *c = ctx;
    const char *urls[] = {c->url, NULL};
    struct store *s = NULL;
    assert_int_equal(
        etcd_open(&(struct etcd_opts){.urls = urls, .tls = c->tls, .writer = writer}, &s, NULL), 0);
    return s;
}

static void plain_etcd_keeps_the_contract(void **state)
{
    struct captive c = {0};
    captive_start(&c, false);
    contract_run(&(struct contract){.open = open_etcd, .ctx = &c});
    captive_stop(&c);
}

/* etcd ignores a misspelt variable and says so. */
static void assert_no_unknown_setting(struct captive *c)
{
    _cleanup_free_ char *path = str_printf("%s/log", c->dir);
    _cleanup_free_ char *log = NULL;
    assert_int_equal(file_read(path, 16 * MIB, &log, NULL, NULL), 0);
    assert_non_null(strstr(log, "ETCD_PRE_VOTE"));
    assert_null(strstr(log, "unrecognized"));
}

static int read_once(struct captive *c, struct etcd_tls tls, unsigned ms, struct err *e)
{
    const char *urls[] = {c->url, NULL};
    _cleanup_(store_freep) struct store *s = NULL;
    _cleanup_store_list_ struct store_list l = {0};
    assert_int_equal(
        etcd_open(&(struct etcd_opts){.urls = urls, .tls = tls, .writer = "w"}, &s, e), 0);
    return store_range(s, STORE_PREFIX "x", clock_boottime_us() + ms * USEC_PER_MSEC, &l, e);
}

static void secure_etcd_keeps_the_contract_and_refuses_strangers(void **state)
{
    struct captive c = {0};
    struct captive stranger = {0};
    struct err e = {0};
    struct store *s = NULL;
    captive_start(&c, true);
    assert_no_unknown_setting(&c);
    contract_run(&(struct contract){.open = open_etcd, .ctx = &c});
    strcpy(stranger.dir, "/tmp/mortar-etcd-XXXXXX");
    assert_non_null(mkdtemp(stranger.dir));
    make_certificates(&stranger);
    assert_int_equal(read_once(&c, c.tls, 10000, &e), 0);
    /* A server of another authority is not believed, and ours refuses another's certificate. */
    assert_int_equal(read_once(&c, stranger.tls, 500, &e), -ERR_UNAVAILABLE);
    struct etcd_tls mixed = stranger.tls;
    mixed.ca_file = c.tls.ca_file;
    assert_int_equal(read_once(&c, mixed, 500, NULL), -ERR_UNAVAILABLE);
    const char *urls[] = {c.url, NULL};
    assert_int_equal(etcd_open(&(struct etcd_opts){.urls = urls, .writer = "w"}, &s, NULL),
                     -ERR_INVALID);
    forget_certificates(&stranger);
    captive_stop(&c);
}

/* ---- the proxy ---- */

enum fate { PASS, LOSE_BEFORE, LOSE_AFTER, DELAY, FATES };

struct proxy {
    int fd;
    unsigned port;
    unsigned etcd_port;
    enum fate fates[8]; /* of the next transactions */
    size_t n;
    size_t at;
    struct sbuf held[8]; /* delayed requests */
    size_t held_n;
    struct lane *lane;
};

static int dial(unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        abort();
    }
    return fd;
}

/* Reads one HTTP message with Content-Length. Return: whether there was one */
static bool read_message(int fd, struct sbuf *b)
{
    char piece[4096];
    size_t need = SIZE_MAX;
    while (b->len < need) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n <= 0) {
            return false;
        }
        (void)sbuf_add(b, piece, (size_t)n);
        const char *head_end = strstr(b->data, "\r\n\r\n");
        const char *length = strcasestr(b->data, "content-length:");
        if (head_end && length) {
            need = (size_t)(head_end - b->data) + 4 + strtoul(length + 15, NULL, 10);
        }
    }
    return true;
}

static bool write_all(int fd, const struct sbuf *b)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

static void forward(unsigned port, const struct sbuf *request, struct sbuf *answer)
{
    _cleanup_close_ int fd = dial(port);
    if (!write_all(fd, request) || !read_message(fd, answer)) {
        abort();
    }
}

/* Return: whether the connection may go on */
static bool relay(struct proxy *p, int fd)
{
    _cleanup_sbuf_ struct sbuf request = {0};
    _cleanup_sbuf_ struct sbuf answer = {0};
    if (!read_message(fd, &request)) {
        return false;
    }
    bool is_txn = strstr(request.data, "/v3/kv/txn") != NULL;
    enum fate fate = is_txn && p->at < p->n ? p->fates[p->at++] : PASS;
    if (fate == DELAY) {
        p->held[p->held_n++] = request;
        request = (struct sbuf){0};
    } else if (fate != LOSE_BEFORE) {
        forward(p->etcd_port, &request, &answer);
    }
    return fate == PASS && write_all(fd, &answer);
}

static void serve(void *arg)
{
    struct proxy *p = arg;
    for (;;) {
        _cleanup_close_ int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        while (relay(p, fd)) {
        }
    }
}

static void deliver_held(struct proxy *p)
{
    for (size_t i = 0; i < p->held_n; i++) {
        _cleanup_sbuf_ struct sbuf answer = {0};
        forward(p->etcd_port, &p->held[i], &answer);
        assert_non_null(strstr(answer.data, " 200 "));
        sbuf_done(&p->held[i]);
    }
    p->held_n = 0;
}

static size_t count(struct store *s, const char *key)
{
    struct store_list l = {0};
    assert_int_equal(store_range(s, key, contract_deadline(), &l, NULL), 0);
    size_t n = l.n;
    assert_true(n == 0 || l.kvs[0].version == 1);
    store_list_done(&l);
    return n;
}

static void check_row(struct proxy *p, struct store *through, struct store *direct, unsigned row)
{
    struct store_txn t = {0};
    struct store_result res = {0};
    struct err e = {0};
    _cleanup_free_ char *key = str_printf("%srow/%03u", STORE_PREFIX, row);
    for (size_t i = 0; i < 3; i++, row /= FATES) {
        p->fates[i] = (enum fate)(row % FATES);
    }
    p->at = 0;
    p->n = 3;
    store_put_text(&t, key, "x");
    int r = store_commit(through, &t, contract_deadline(), &res, &e);
    assert_true(r == 0 || r == -ERR_UNAVAILABLE);
    assert_true(r != 0 || res.succeeded);
    assert_int_equal(count(direct, key), r == 0);
    deliver_held(p);
    assert_int_equal(count(direct, key), r == 0);
    store_result_done(&res);
    store_txn_done(&t);
}

static void what_a_writer_is_told_stays_true_on_etcd(void **state)
{
    struct captive c = {0};
    struct proxy p = {0};
    struct err e = {0};
    captive_start(&c, false);
    p.fd = listen_on_loopback(&p.port);
    p.etcd_port = c.port;
    p.lane = lane_new("proxy", 1, 1);
    assert_int_equal(lane_run(p.lane, serve, &p, &e), 0);
    char *direct_url = c.url;
    struct store *direct = open_etcd(&c, "direct");
    c.url = str_printf("http://127.0.0.1:%u", p.port);
    struct store *through = open_etcd(&c, "through");
    for (unsigned row = 0; row < FATES * FATES * FATES; row++) {
        check_row(&p, through, direct, row);
    }
    store_free(through);
    store_free(direct);
    (void)shutdown(p.fd, SHUT_RDWR);
    lane_free(p.lane);
    close_fdp(&p.fd);
    free(c.url);
    c.url = direct_url;
    captive_stop(&c);
}

/* A dead endpoint before a living one costs little, and no endpoint at all ends at the deadline. */
static void dead_endpoints_are_passed_by(void **state)
{
    struct captive c = {0};
    struct err e = {0};
    struct store *s = NULL;
    struct store_list l = {0};
    captive_start(&c, false);
    _cleanup_free_ char *dead = str_printf("http://127.0.0.1:%u", free_port());
    const char *urls[] = {dead, c.url, NULL};
    assert_int_equal(etcd_open(&(struct etcd_opts){.urls = urls, .writer = "w"}, &s, &e), 0);
    assert_int_equal(store_range(s, STORE_PREFIX, contract_deadline(), &l, &e), 0);
    store_list_done(&l);
    _cleanup_strv_ struct strv only = {0};
    strv_add(&only, dead);
    assert_int_equal(store_set_endpoints(s, &only, &e), 0);
    uint64_t start = clock_boottime_us();
    assert_int_equal(store_range(s, STORE_PREFIX, start + 300 * USEC_PER_MSEC, &l, &e),
                     -ERR_UNAVAILABLE);
    assert_true(clock_boottime_us() - start < 20 * USEC_PER_SEC);
    store_free(s);
    captive_stop(&c);
}

/* ---- a first endpoint that ends its watches ---- */

struct ender {
    int fd;
    unsigned port;
    bool begins; /* streams are confirmed before they end */
    atomic_uint calls;
    struct lane *lane;
};

static void end_watches(void *arg)
{
    struct ender *n = arg;
    static const char line[] = "{\"result\":{\"header\":{\"revision\":\"1\"},\"created\":true}}\n";
    for (;;) {
        _cleanup_close_ int fd = accept4(n->fd, NULL, NULL, SOCK_CLOEXEC);
        _cleanup_sbuf_ struct sbuf request = {0};
        _cleanup_sbuf_ struct sbuf answer = {0};
        if (fd < 0) {
            return;
        }
        atomic_fetch_add(&n->calls, 1);
        if (read_message(fd, &request) && n->begins) {
            _cleanup_free_ char *text = str_printf(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                sizeof(line) - 1, line);
            (void)sbuf_add(&answer, text, strlen(text));
            (void)write_all(fd, &answer); /* who has gone does not matter */
        }
    }
}

static void ignore_batch(void *arg, const struct store_batch *batch)
{
}

static int watch_for_a_moment(struct store_watch *w)
{
    struct err e = {0};
    return store_watch_run(w, 1, clock_boottime_us() + 2 * USEC_PER_SEC, ignore_batch, NULL, &e);
}

/* How often the first endpoint is called in three runs, of which the first fails there and the second does not
 * at another one. */
static unsigned calls_of_first(const struct captive *c, bool begins)
{
    struct err e = {0};
    struct store *s = NULL;
    struct ender n = {.begins = begins};
    n.fd = listen_on_loopback(&n.port);
    n.lane = lane_new("ender", 1, 1);
    assert_int_equal(lane_run(n.lane, end_watches, &n, &e), 0);
    _cleanup_free_ char *first = str_printf("http://127.0.0.1:%u", n.port);
    const char *urls[] = {first, c->url, NULL};
    assert_int_equal(etcd_open(&(struct etcd_opts){.urls = urls, .writer = "w"}, &s, &e), 0);
    struct store_watch *w = store_watch_new(s, STORE_PREFIX);
    assert_int_equal(watch_for_a_moment(w), -ERR_UNAVAILABLE);
    assert_int_equal(watch_for_a_moment(w), 0);
    (void)watch_for_a_moment(w); /* who is called counts, not what comes of it */
    store_watch_free(w);
    store_free(s);
    (void)shutdown(n.fd, SHUT_RDWR);
    lane_free(n.lane);
    close_fdp(&n.fd);
    return atomic_load(&n.calls);
}

static void a_watch_returns_to_the_first_endpoint_unless_that_began_none(void **state)
{
    struct captive c = {0};
    captive_start(&c, false);
    assert_int_equal(calls_of_first(&c, true), 2);
    assert_int_equal(calls_of_first(&c, false), 1);
    captive_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_etcd_keeps_the_contract),
        cmocka_unit_test(secure_etcd_keeps_the_contract_and_refuses_strangers),
        cmocka_unit_test(what_a_writer_is_told_stays_true_on_etcd),
        cmocka_unit_test(dead_endpoints_are_passed_by),
        cmocka_unit_test(a_watch_returns_to_the_first_endpoint_unless_that_began_none),
    };
    if (access(ETCD, X_OK) < 0) {
        (void)printf("1..0 # SKIP %s is not installed (package etcd-server)\n", ETCD);
        return SKIP;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
