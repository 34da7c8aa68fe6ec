/* SPDX-License-Identifier: Apache-2.0
 * The relay between two socket pairs: left ↔ right. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/relay.h"

struct fixture {
    struct loop *loop;
    struct relay *relay;
    int left;
    int right;
    bool ended;
};

static void on_end(void *arg)
{
    struct fixture *f = arg;
    f->ended = true;
    relay_free(TAKE(f->relay));
}

static void make_pair(int *ret_ours, int *ret_relays)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    *ret_ours = pair[0];
    *ret_relays = pair[1];
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct relay_side a = {.early = "early ", .early_len = 6};
    struct relay_side b = {0};
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    make_pair(&f->left, &a.fd);
    make_pair(&f->right, &b.fd);
    f->relay = relay_new(f->loop, &a, &b, on_end, f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    relay_free(f->relay);
    loop_free(f->loop);
    (void)close(f->left);
    (void)close(f->right);
    free(f);
    return 0;
}

static void turns(struct fixture *f, int n)
{
    while (n--) {
        assert_int_equal(loop_turn(f->loop, USEC_PER_MSEC, NULL), 0);
    }
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text)
{
    char got[64] = "";
    assert_int_equal(recv(fd, got, sizeof(got) - 1, 0), strlen(text));
    assert_string_equal(got, text);
}

static void bytes_go_both_ways_early_ones_first(void **state)
{
    struct fixture *f = *state;
    say(f->left, "hello");
    say(f->right, "world");
    turns(f, 5);
    expect(f->right, "early hello");
    expect(f->left, "world");
}

static void end_is_passed_on_and_the_other_way_stays_open(void **state)
{
    struct fixture *f = *state;
    say(f->left, "last");
    (void)shutdown(f->left, SHUT_WR);
    turns(f, 5);
    expect(f->right, "early last");
    expect(f->right, "");
    say(f->right, "answer");
    turns(f, 5);
    expect(f->left, "answer");
    assert_false(f->ended);
    (void)shutdown(f->right, SHUT_WR);
    turns(f, 5);
    expect(f->left, "");
    assert_true(f->ended);
}

static void last_words_of_a_closed_side_arrive(void **state)
{
    struct fixture *f = *state;
    say(f->left, "farewell");
    (void)close(f->left);
    f->left = -1;
    turns(f, 5);
    expect(f->right, "early farewell");
    expect(f->right, "");
    say(f->right, "nobody reads this");
    turns(f, 3);
    assert_false(f->ended); /* it lingers, until this side ends, too */
    (void)shutdown(f->right, SHUT_WR);
    turns(f, 5);
    assert_true(f->ended);
}

static void side_that_never_ends_is_cut_after_lingering(void **state)
{
    struct fixture *f = *state;
    uint64_t start = clock_boottime_us();
    uint64_t wakes = 0;
    (void)close(f->left);
    f->left = -1;
    for (; !f->ended; wakes++) {
        assert_true(clock_boottime_us() < start + 2 * RELAY_LINGER_US);
        assert_int_equal(loop_turn(f->loop, 100 * USEC_PER_MSEC, NULL), 0);
    }
    assert_true(clock_boottime_us() >= start + RELAY_LINGER_US);
    assert_true(wakes < 100); /* and does not spin meanwhile */
}

static void slow_reader_slows_the_writer_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    size_t sent = 0;
    size_t got = 0;
    char chunk[4096];
    turns(f, 2);
    expect(f->right, "early ");
    for (int i = 0; i < 2000; i++) { /* nobody reads */
        for (size_t k = 0; k < sizeof(chunk); k++) {
            chunk[k] = (char)((sent + k) % 251);
        }
        ssize_t n = send(f->left, chunk, sizeof(chunk), MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        turns(f, n > 0 ? 1 : 0);
    }
    assert_true(sent < 2 * MIB); /* the kernel's buffers and one of ours */
    (void)shutdown(f->left, SHUT_WR);

    for (;;) {
        ssize_t n = recv(f->right, chunk, sizeof(chunk), 0);
        if (n == 0) {
            break;
        }
        for (ssize_t k = 0; k < n; k++) {
            assert_int_equal((unsigned char)chunk[k], (got + (size_t)k) % 251);
        }
        got += n > 0 ? (size_t)n : 0;
        turns(f, n > 0 ? 0 : 1);
    }
    assert_int_equal(got, sent);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bytes_go_both_ways_early_ones_first),
        T(end_is_passed_on_and_the_other_way_stays_open),
        T(last_words_of_a_closed_side_arrive),
        T(side_that_never_ends_is_cut_after_lingering),
        T(slow_reader_slows_the_writer_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
