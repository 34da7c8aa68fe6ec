/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"
#include "io/loop.h"
#include "io/worker.h"

static void command_keeps_outputs_and_exit_code_apart(void **state)
{
    struct err e = {0};
    _cleanup_cmd_ struct cmd_result r = {0};
    assert_int_equal(cmd_run(CMD("sh", "-c", "cat; echo bad >&2; exit 3"),
                             &(struct cmd_opts){.input = "hello"}, &r, &e),
                     0);
    assert_int_equal(r.exit_code, 3);
    assert_string_equal(r.out, "hello");
    assert_string_equal(r.errout, "bad");
}

static void command_past_its_deadline_is_killed_with_its_group(void **state)
{
    struct err e = {0};
    struct cmd_result r = {0};
    uint64_t start = clock_boottime_us();
    assert_int_equal(cmd_run(CMD("sh", "-c", "sleep 60 & wait"),
                             &(struct cmd_opts){.timeout_us = 50 * USEC_PER_MSEC}, &r, &e),
                     -ERR_TIMEOUT);
    assert_true(clock_boottime_us() - start < 50 * USEC_PER_SEC);
}

static void command_that_does_not_exist_is_refused(void **state)
{
    struct err e = {0};
    struct cmd_result r = {0};
    assert_int_equal(cmd_run(CMD("no-such-program-here"), NULL, &r, &e), -ERR_COMMAND);
    assert_non_null(strstr(e.msg, "no-such-program-here"));
}

static void command_inherits_no_environment(void **state)
{
    struct err e = {0};
    char *out = NULL;
    (void)setenv("MORTAR_SECRET", "x", 1);
    assert_int_equal(cmd_check(CMD("env"), NULL, &out, &e), 0);
    assert_null(strstr(out, "MORTAR_SECRET"));
    assert_non_null(strstr(out, "LC_ALL=C"));
    free(out);
}

static void command_that_fails_is_quoted(void **state)
{
    struct err e = {0};
    assert_int_equal(cmd_check(CMD("sh", "-c", "echo first; echo the cause >&2; exit 1"), NULL,
                               NULL, &e),
                     -ERR_COMMAND);
    assert_non_null(strstr(e.msg, "the cause"));
}

static void command_that_floods_is_stopped(void **state)
{
    struct err e = {0};
    struct cmd_result r = {0};
    assert_int_equal(cmd_run(CMD("yes"), NULL, &r, &e), -ERR_LIMIT);
}

static void file_is_replaced_whole_with_its_mode(void **state)
{
    char dir[] = "/tmp/mortar-test-XXXXXX";
    struct stat st;
    struct err e = {0};
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *sub = str_printf("%s/a/b", dir);
    _cleanup_free_ char *path = str_printf("%s/f", sub);
    assert_int_equal(file_mkdirs(sub, 0700, &e), 0);
    assert_int_equal(file_mkdirs(sub, 0700, &e), 0);
    assert_int_equal(file_replace(path, "one", 3, 0600, &e), 0);
    assert_int_equal(file_replace(path, "two!", 4, 0640, &e), 0);
    char *back = NULL;
    assert_int_equal(file_read(path, 4, &back, NULL, &e), 0);
    assert_string_equal(back, "two!");
    free(back);
    assert_int_equal(file_read(path, 3, &back, NULL, &e), -ERR_LIMIT);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(cmd_check(CMD("rm", "-r", dir), NULL, NULL, NULL), 0);
    struct err missing = {0};
    assert_int_equal(file_read(path, 4, &back, NULL, &missing), -ERR_NOT_FOUND);
}

struct counted {
    struct mailbox *box;
    struct loop *loop;
    int sum;
    int left;
};

struct number {
    struct counted *c;
    int value;
};

static void post_number(void *arg)
{
    struct number *n = arg;
    mailbox_post(n->c->box, n);
}

static void on_number(void *arg, void *msg)
{
    struct counted *c = arg;
    struct number *n = msg;
    c->sum = c->sum * 10 + n->value;
    free(n);
    if (--c->left == 0) {
        loop_quit(c->loop);
    }
}

static void lane_of_one_keeps_order_through_the_mailbox(void **state)
{
    struct err e = {0};
    struct counted c = {.left = 5};
    assert_int_equal(loop_new(&c.loop, &e), 0);
    assert_int_equal(mailbox_new(c.loop, on_number, &c, &c.box, &e), 0);
    struct lane *lane = lane_new("test", 1, 5);
    for (int i = 1; i <= 5; i++) {
        struct number *n = xcalloc(1, sizeof(*n));
        n->c = &c;
        n->value = i;
        assert_int_equal(lane_run(lane, post_number, n, &e), 0);
    }
    assert_int_equal(loop_run(c.loop, &e), 0);
    assert_int_equal(c.sum, 12345);
    lane_free(lane);
    mailbox_free(c.box);
    loop_free(c.loop);
}

static void on_tick(void *arg)
{
    struct counted *c = arg;
    if (++c->sum == 3) {
        loop_quit(c->loop);
    }
}

static void timer_fires_again_when_rearmed(void **state)
{
    struct err e = {0};
    struct counted c = {0};
    assert_int_equal(loop_new(&c.loop, &e), 0);
    struct loop_source *s = loop_timer(c.loop, 1000, on_tick, &c);
    while (c.sum < 3) {
        int before = c.sum;
        assert_int_equal(loop_turn(c.loop, USEC_PER_SEC, &e), 0);
        if (c.sum != before && c.sum < 3) {
            loop_rearm(s, 1000);
        }
    }
    loop_source_free(s);
    loop_free(c.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_keeps_outputs_and_exit_code_apart),
        cmocka_unit_test(command_past_its_deadline_is_killed_with_its_group),
        cmocka_unit_test(command_that_does_not_exist_is_refused),
        cmocka_unit_test(command_inherits_no_environment),
        cmocka_unit_test(command_that_fails_is_quoted),
        cmocka_unit_test(command_that_floods_is_stopped),
        cmocka_unit_test(file_is_replaced_whole_with_its_mode),
        cmocka_unit_test(lane_of_one_keeps_order_through_the_mailbox),
        cmocka_unit_test(timer_fires_again_when_rearmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
