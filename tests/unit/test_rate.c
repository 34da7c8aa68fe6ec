/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rate.h"
#include "base/util.h"

#define S USEC_PER_SEC

static void one_sample_makes_no_rate(void **state)
{
    struct rate r = {0};
    assert_int_equal(rate_take(&r, 5 * S, 100, 1000), RATE_UNKNOWN);
    assert_int_equal(rate_take(&r, 5 * S + S / 2, 900, 1000), RATE_UNKNOWN);
}

static void two_samples_make_a_rate_that_later_ones_move_slowly(void **state)
{
    struct rate r = {0};
    (void)rate_take(&r, 10 * S, 100, 10000);
    assert_int_equal(rate_take(&r, 12 * S, 500, 10000), 200);
    assert_int_equal(rate_take(&r, 12 * S + 1, 900, 10000), 200); /* too close to count */
    assert_int_equal(rate_take(&r, 13 * S, 1500, 10000), 400);    /* (3 * 200 + 1000) / 4 */
    assert_int_equal(rate_take(&r, 14 * S, 1500, 10000), 300);    /* it stands still */
}

static void another_stage_begins_anew(void **state)
{
    struct rate r = {0};
    (void)rate_take(&r, 1 * S, 0, 1000);
    assert_int_equal(rate_take(&r, 2 * S, 1000, 1000), 1000);
    assert_int_equal(rate_take(&r, 3 * S, 0, 1000), RATE_UNKNOWN);
    assert_int_equal(rate_take(&r, 4 * S, 10, 1000), 10);
    assert_int_equal(rate_take(&r, 5 * S, 20, 2000), RATE_UNKNOWN);
}

static void huge_amounts_do_not_overflow(void **state)
{
    struct rate r = {0};
    (void)rate_take(&r, 0, 0, UINT64_MAX);
    assert_int_equal(rate_take(&r, S, UINT64_MAX - 1, UINT64_MAX), INT64_MAX);
}

static void the_end_is_expected_by_what_is_left_and_what_is_added(void **state)
{
    assert_int_equal(rate_eta_s(1000, 100, 0), 10);
    assert_int_equal(rate_eta_s(1001, 100, 0), 11);
    assert_int_equal(rate_eta_s(1000, 100, 50), 20);
    assert_int_equal(rate_eta_s(0, 100, 0), 0);
    assert_int_equal(rate_eta_s(1000, 100, 100), RATE_UNKNOWN); /* it never ends so */
    assert_int_equal(rate_eta_s(1000, 100, 200), RATE_UNKNOWN);
    assert_int_equal(rate_eta_s(1000, 0, 0), RATE_UNKNOWN);
    assert_int_equal(rate_eta_s(1000, RATE_UNKNOWN, 0), RATE_UNKNOWN);
    assert_int_equal(rate_eta_s(UINT64_MAX, 1, 0), RATE_UNKNOWN);
}

static void coarse_steps_have_an_expected_end_too(void **state)
{
    assert_int_equal(rate_eta_by_share_s(10 * S, 25, 100), 30);
    assert_int_equal(rate_eta_by_share_s(10 * S, 100, 100), 0);
    assert_int_equal(rate_eta_by_share_s(10 * S, 200, 100), 0);
    assert_int_equal(rate_eta_by_share_s(10 * S, 0, 100), RATE_UNKNOWN);
    assert_int_equal(rate_eta_by_share_s(S / 2, 25, 100), RATE_UNKNOWN);
    assert_int_equal(rate_eta_by_share_s(UINT64_MAX, 1, UINT64_MAX), RATE_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_sample_makes_no_rate),
        cmocka_unit_test(two_samples_make_a_rate_that_later_ones_move_slowly),
        cmocka_unit_test(another_stage_begins_anew),
        cmocka_unit_test(huge_amounts_do_not_overflow),
        cmocka_unit_test(the_end_is_expected_by_what_is_left_and_what_is_added),
        cmocka_unit_test(coarse_steps_have_an_expected_end_too),
    };
    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
