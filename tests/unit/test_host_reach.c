/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "adapters/host/host_reach.h"
#include "base/str.h"
#include "base/util.h"
#include "io/clock.h"

#define WAIT_US (2 * USEC_PER_SEC)

/* A bound socket of the loopback; its port is nobody else's. */
static int bind_port(unsigned *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

static void a_service_and_a_refusal_are_answers(void **state)
{
    unsigned port;
    const char *const addrs[] = {"127.0.0.1", "127.0.0.1"};
    bool answers[2] = {false, false};
    _cleanup_close_ int fd = bind_port(&port);
    host_reach(addrs, 2, port, clock_boottime_us() + WAIT_US, answers); /* refused: nobody listens */
    assert_true(answers[0] && answers[1]);
    assert_int_equal(listen(fd, 8), 0);
    answers[0] = answers[1] = false;
    host_reach(addrs, 2, port, clock_boottime_us() + WAIT_US, answers);
    assert_true(answers[0] && answers[1]);
}

/* A listener whose queue is full lets packets fall, as a host without power does. */
static void who_says_nothing_until_the_deadline_does_not_answer(void **state)
{
    unsigned port;
    const char *const addrs[] = {"127.0.0.1", "no address", NULL};
    bool answers[3] = {true, true, true};
    _cleanup_close_ int fd = bind_port(&port);
    assert_int_equal(listen(fd, 0), 0);
    int queued[4];
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < ELEMENTS(queued); i++) {
        queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(queued[i], (struct sockaddr *)&addr, sizeof(addr));
    }
    uint64_t begun = clock_boottime_us();
    host_reach(addrs, ELEMENTS(addrs), port, begun + WAIT_US, answers);
    assert_true(clock_boottime_us() >= begun + WAIT_US - USEC_PER_MSEC);
    assert_false(answers[0] || answers[1] || answers[2]);
    for (size_t i = 0; i < ELEMENTS(queued); i++) {
        close_fdp(&queued[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_and_a_refusal_are_answers),
        cmocka_unit_test(who_says_nothing_until_the_deadline_does_not_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
