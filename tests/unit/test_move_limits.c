/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "core/op/move_limits.h"

static struct move_limits of(uint64_t from, uint64_t to, uint64_t memory_bytes)
{
    struct move_limits l = {0};
    move_limits_of(from, to, memory_bytes, &l);
    return l;
}

static void a_move_takes_at_most_60_percent_of_the_slower_link(void **state)
{
    assert_int_equal(of(1000, 1000, GIB).bandwidth_mib_per_s, 71); /* 75 MB/s */
    assert_int_equal(of(10000, 1000, GIB).bandwidth_mib_per_s, 71);
    assert_int_equal(of(1000, 10000, GIB).bandwidth_mib_per_s, 71);
    assert_int_equal(of(10000, 10000, GIB).bandwidth_mib_per_s, 715);
    assert_int_equal(of(0, 10000, GIB).bandwidth_mib_per_s, 715); /* one end tells nothing */
    assert_int_equal(of(10000, 0, GIB).bandwidth_mib_per_s, 715);
    assert_int_equal(of(10, 10, GIB).bandwidth_mib_per_s, 1); /* 0 would be no limit at all */
}

static void unknown_links_are_not_slowed_down(void **state)
{
    assert_int_equal(of(0, 0, GIB).bandwidth_mib_per_s, 0);
    assert_int_equal(of(0, 0, 75 * UINT64_C(1000000000)).limit_s, 5000); /* as with 1 Gbit/s */
}

static void a_move_is_given_up_after_five_times_its_memory(void **state)
{
    assert_int_equal(of(1000, 1000, 75 * UINT64_C(1000000000)).limit_s, 5000);
    assert_int_equal(of(10000, 10000, 75 * UINT64_C(1000000000)).limit_s, 500);
    assert_int_equal(of(1000, 1000, 75 * UINT64_C(1000000000) + 1).limit_s, 5001);
    assert_int_equal(of(10000, 10000, 96 * MIB).limit_s, MOVE_LIMIT_LEAST_S);
    assert_true(of(UINT32_MAX, UINT32_MAX, 4 * TIB).limit_s >= MOVE_LIMIT_LEAST_S);
    assert_int_equal(of(10, 10, 4 * TIB).limit_s, 29320311); /* no overflow: 4 TiB at 750 kB/s, five times */
}

static void a_move_that_is_given_up_says_why_and_what_next(void **state)
{
    struct err e = {0};
    struct move_state s = {.vm = "db1", .limit_s = 120, .copied_bytes = 3 * GIB, .left_bytes = GIB,
                           .rate = 100 * MIB, .dirty_rate = 150 * MIB};
    assert_int_equal(move_give_up(&s, &e), -ERR_STATE);
    assert_string_equal(e.msg, "the copy had no end within 120 s and was given up: 3 GiB copied, 1 GiB left, "
                               "100 MiB/s copied, 150 MiB/s written anew by the guest; it stays where it was");
    assert_non_null(strstr(e.hint, "stop it and start it again"));
    s.dirty_rate = 0;
    e = (struct err){0};
    assert_int_equal(move_give_up(&s, &e), -ERR_STATE);
    assert_non_null(strstr(e.hint, "storage network"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_takes_at_most_60_percent_of_the_slower_link),
        cmocka_unit_test(unknown_links_are_not_slowed_down),
        cmocka_unit_test(a_move_is_given_up_after_five_times_its_memory),
        cmocka_unit_test(a_move_that_is_given_up_says_why_and_what_next),
    };
    return cmocka_run_group_tests_name("move_limits", tests, NULL, NULL);
}
