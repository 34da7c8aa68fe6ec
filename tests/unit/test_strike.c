/* SPDX-License-Identifier: Apache-2.0
 * A drill's hands: when they do not strike any more, and in which order a hang ends. No command is run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <unistd.h>

#include <cmocka.h>

#include "agent/env.h"
#include "agent/strike.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

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

/* --- the end of a hang ----------------------------------------------------------------------- */

#define GUESTS "mortar.slice"
#define GUESTS_HA GUESTS "/mortar-vms.slice/mortar-vms-ha.slice"

static char root[] = "/tmp/mortar-strike-XXXXXX";
static const char *const slices[] = {"a.slice", GUESTS, "z.slice"};
static unsigned sleeps;
static unsigned guard_wakes_at; /* the guard freezes its guests in this sleep; 0: never */

static char *file_of(const char *slice)
{
    return str_printf("%s/%s/cgroup.freeze", root, slice);
}

static void set(const char *slice, const char *text)
{
    _cleanup_free_ char *path = file_of(slice);
    assert_int_equal(file_replace(path, text, strlen(text), 0600, NULL), 0);
}

static bool is_frozen(const char *slice)
{
    _cleanup_free_ char *path = file_of(slice);
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    assert_int_equal(file_read(path, 100, &text, &len, NULL), 0);
    return str_eq(text, "1") || str_eq(text, "1\n");
}

/* What else happens while it is waited for the guard. */
void __wrap_clock_sleep_ms(int ms);
void __wrap_clock_sleep_ms(int ms)
{
    assert_int_equal(ms, 10);
    sleeps++;
    assert_false(is_frozen("a.slice") || is_frozen("z.slice"));
    assert_true(is_frozen(GUESTS));
    if (sleeps == guard_wakes_at) {
        set(GUESTS_HA, "1\n");
    }
}

static void start(unsigned wakes_at)
{
    sleeps = 0;
    guard_wakes_at = wakes_at;
    set(GUESTS_HA, "0\n");
    assert_int_equal(strike_freeze(root, NULL), 0);
    assert_true(is_frozen("a.slice") && is_frozen(GUESTS) && is_frozen("z.slice"));
    assert_false(is_frozen(GUESTS_HA));
}

static void guests_go_on_after_a_hang_when_the_guard_has_frozen_them(void **state)
{
    start(7);
    assert_int_equal(strike_thaw(root, NULL), 0);
    assert_int_equal(sleeps, 7);
    assert_false(is_frozen(GUESTS) || is_frozen("a.slice"));
    assert_true(is_frozen(GUESTS_HA)); /* that is the guard's */
    assert_int_equal(strike_thaw(root, NULL), 0);
    assert_int_equal(sleeps, 7);
}

static void without_a_guard_guests_go_on_after_three_seconds(void **state)
{
    start(0);
    assert_int_equal(strike_thaw(root, NULL), 0);
    assert_int_equal(sleeps, 300);
    assert_false(is_frozen(GUESTS));
    assert_int_equal(strike_thaw(root, NULL), 0); /* what network ends: nothing was frozen */
    assert_int_equal(sleeps, 300);
}

static int set_up(void **state)
{
    assert_non_null(mkdtemp(root));
    _cleanup_free_ char *ha = str_printf("%s/" GUESTS_HA, root);
    for (size_t i = 0; i < ELEMENTS(slices); i++) {
        _cleanup_free_ char *dir = str_printf("%s/%s", root, slices[i]);
        assert_int_equal(file_mkdirs(dir, 0700, NULL), 0);
        set(slices[i], "0\n");
    }
    return file_mkdirs(ha, 0700, NULL);
}

static int tear_down(void **state)
{
    static const char *const dirs[] = {"a.slice", "z.slice", GUESTS_HA, GUESTS "/mortar-vms.slice", GUESTS};
    for (size_t i = 0; i < ELEMENTS(dirs); i++) {
        _cleanup_free_ char *path = file_of(dirs[i]);
        _cleanup_free_ char *dir = str_printf("%s/%s", root, dirs[i]);
        (void)unlink(path); /* one level has none */
        assert_int_equal(rmdir(dir), 0);
    }
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_strike_whose_turn_comes_too_late_is_not_done),
        cmocka_unit_test(a_strike_in_time_is_run_beside_what_stands_still),
        cmocka_unit_test(guests_go_on_after_a_hang_when_the_guard_has_frozen_them),
        cmocka_unit_test(without_a_guard_guests_go_on_after_three_seconds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
