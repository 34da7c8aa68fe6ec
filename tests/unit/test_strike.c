/* SPDX-License-Identifier: Apache-2.0
 * A drill's hands: when they do not strike any more. No command is run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/env.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"

static struct strv ran; /* argv of the last command */

int __wrap_cmd_check(const char *const *argv, const struct cmd_opts *opts, char **ret_out, struct err *e);
int __wrap_cmd_check(const char *const *argv, const struct cmd_opts *opts, char **ret_out, struct err *e)
{
    strv_done(&ran);
    for (; *argv; argv++) {
        strv_add(&ran, *argv);
    }
    return 0;
}

static int strike(uint64_t until_us, struct err *e)
{
    json_t *ret = NULL;
    _cleanup_json_ json_t *args = json_pack("{s:s,s:i}", "kind", "hang", "seconds", 7);
    if (until_us) {
        json_object_set_new(args, "until_us", json_integer((json_int_t)until_us));
    }
    strv_done(&ran);
    return act_drill_strike(NULL, args, NULL, &ret, e);
}

static void a_strike_whose_turn_comes_too_late_is_not_done(void **state)
{
    struct err e = {0};
    assert_int_equal(strike(clock_boottime_us(), &e), -ERR_STATE);
    assert_non_null(strstr(e.msg, "too late"));
    assert_int_equal(ran.n, 0);
    assert_int_equal(strike(0, NULL), -ERR_STATE);
    assert_int_equal(ran.n, 0);
}

static void a_strike_in_time_is_run_beside_what_stands_still(void **state)
{
    assert_int_equal(strike(clock_boottime_us() + 3600 * USEC_PER_SEC, NULL), 0);
    assert_true(strv_has(&ran, "--slice=-.slice") && strv_has(&ran, "hang") && strv_has(&ran, "7"));
    strv_done(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_strike_whose_turn_comes_too_late_is_not_done),
        cmocka_unit_test(a_strike_in_time_is_run_beside_what_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
