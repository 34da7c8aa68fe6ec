/* SPDX-License-Identifier: Apache-2.0
 * Wrong turns of the design, each of which the invariants must find within a bounded number of schedules:
 * facts/ha.md 3.5, A1, A3. What is not found is either no mistake or the simulator cannot see it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "schedule.h"

/* Always from the same seed on: a bound on luck would be none. MORTAR_FROM starts elsewhere.
 * @by: of the invariant that has to find it */
static void expect_found(enum schedule_kind kind, enum sim_mutant mutant, const char *by, int seeds)
{
    const char *from = getenv("MORTAR_FROM");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1;
    struct schedule_result r = {0};
    int i = 0;
    for (; i < seeds && !r.violation[0]; i++) {
        schedule_run_for(kind, first + (uint64_t)i, mutant, by, &r);
    }
    if (!r.violation[0]) {
        fail_msg("nobody notices in %d schedules", seeds);
    }
    print_message("schedule %d: %s\n", i, r.violation);
}

#define MUTANT(name, kind, mutant, by, seeds)                                                     \
    static void name(void **state)                                                                \
    {                                                                                             \
        expect_found(kind, mutant, by, seeds);                                                    \
    }

MUTANT(commits_that_do_not_compare_are_found, SCHEDULE_MOVES, SIM_DECIDES_ON_READS, "I1: ", 20)
MUTANT(changes_of_the_owner_that_do_not_compare_are_found, SCHEDULE_MOVES, SIM_OWN_NOT_COMPARED, "S3: ", 400)
MUTANT(epochs_that_do_not_grow_are_found, SCHEDULE_MOVES, SIM_OWN_NOT_COMPARED, "I1: ", 100)
MUTANT(a_copy_that_runs_before_t7_is_found, SCHEDULE_MOVES, SIM_RUNS_COPY_EARLY, "S3: ", 50)
MUTANT(absence_in_an_old_list_of_domains_is_found, SCHEDULE_MOVES, SIM_BELIEVES_OLD_LISTS, "A5: ", 50)
MUTANT(stopped_while_qemu_is_there_is_found, SCHEDULE_MOVES, SIM_BELIEVES_OLD_LISTS, "I2: ", 1200)
MUTANT(a_hand_over_while_the_source_is_there_is_found, SCHEDULE_MOVES, SIM_REPORTS_COPY_EARLY, "I9: ", 50)
MUTANT(t7_while_the_source_still_runs_is_found, SCHEDULE_MOVES, SIM_REPORTS_COPY_EARLY, "S3: ", 50)
MUTANT(epochs_that_are_not_persisted_are_found, SCHEDULE_MOVES, SIM_NO_EPOCH_FILE, "I1: ", 1500)
MUTANT(decisions_of_failover_on_reads_are_found, SCHEDULE_FAILOVER, SIM_DECIDES_ON_READS, "S", 400)
MUTANT(a_take_over_before_the_fence_is_proven_is_found, SCHEDULE_FAILOVER, SIM_TAKES_EARLY, "I2: ", 50)
MUTANT(a_fence_that_one_acknowledges_is_found, SCHEDULE_FAILOVER, SIM_FENCED_BY_ONE, "I3: ", 50)
MUTANT(a_stop_before_the_last_write_has_ended_is_found, SCHEDULE_FAILOVER, SIM_ENDS_AT_ONCE, "I2: ", 400)
MUTANT(no_fence_is_found, SCHEDULE_FAILOVER, SIM_NO_FENCE, "S1: ", 100)
MUTANT(a_fence_on_two_of_three_bricks_is_found, SCHEDULE_FAILOVER, SIM_FENCE_TWO, "S1: ", 200)
MUTANT(no_drain_is_found, SCHEDULE_FAILOVER, SIM_NO_DRAIN, "S1: ", 400)
MUTANT(no_wait_for_promises_is_found, SCHEDULE_FAILOVER, SIM_NO_PROMISE_WAIT, "S3: ", 1000)
MUTANT(a_guard_that_forgets_denials_is_found, SCHEDULE_FAILOVER, SIM_FORGETS_DENIAL, "S3: ", 2000)
MUTANT(laundering_by_anybody_is_found, SCHEDULE_FAILOVER, SIM_ANYBODY_LAUNDERS, "S1: ", 200)
MUTANT(a_start_beside_its_laundering_is_found, SCHEDULE_FAILOVER, SIM_LAUNDERS_LATE, "I8: ", 50)
MUTANT(an_own_brick_that_is_kept_over_a_fence_is_found, SCHEDULE_FAILOVER, SIM_KEEPS_BRICK, "I8: ", 400)
MUTANT(a_birth_outside_the_slice_is_found, SCHEDULE_FAILOVER, SIM_BORN_OUTSIDE, "I5: ", 50)
MUTANT(a_qemu_that_is_not_killed_is_found, SCHEDULE_FAILOVER, SIM_KILLS_NOTHING, "I6: ", 1500)
MUTANT(a_return_with_guests_of_before_is_found, SCHEDULE_FAILOVER, SIM_OVERLOOKS, "I6: ", 200)
MUTANT(a_freeze_in_vain_is_found, SCHEDULE_FAILOVER, SIM_FREEZES_IN_VAIN, "I4: ", 50)
MUTANT(promises_by_the_wall_clock_are_found, SCHEDULE_FAILOVER, SIM_WALL_CLOCK, "I4: ", 400)
MUTANT(a_hang_without_watchdog_is_found, SCHEDULE_FAILOVER, SIM_NO_WATCHDOG, "S3: ", 400)
MUTANT(clocks_that_stop_in_a_hang_are_found, SCHEDULE_FAILOVER, SIM_CLOCK_STOPS, "S3: ", 400)
MUTANT(a_restored_store_that_is_believed_is_found, SCHEDULE_RESTORE, SIM_RESTORE_BELIEVED, "S", 50)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_that_do_not_compare_are_found),
        cmocka_unit_test(changes_of_the_owner_that_do_not_compare_are_found),
        cmocka_unit_test(epochs_that_do_not_grow_are_found),
        cmocka_unit_test(a_copy_that_runs_before_t7_is_found),
        cmocka_unit_test(absence_in_an_old_list_of_domains_is_found),
        cmocka_unit_test(stopped_while_qemu_is_there_is_found),
        cmocka_unit_test(a_hand_over_while_the_source_is_there_is_found),
        cmocka_unit_test(t7_while_the_source_still_runs_is_found),
        cmocka_unit_test(epochs_that_are_not_persisted_are_found),
        cmocka_unit_test(decisions_of_failover_on_reads_are_found),
        cmocka_unit_test(a_take_over_before_the_fence_is_proven_is_found),
        cmocka_unit_test(a_fence_that_one_acknowledges_is_found),
        cmocka_unit_test(a_stop_before_the_last_write_has_ended_is_found),
        cmocka_unit_test(no_fence_is_found),
        cmocka_unit_test(a_fence_on_two_of_three_bricks_is_found),
        cmocka_unit_test(no_drain_is_found),
        cmocka_unit_test(no_wait_for_promises_is_found),
        cmocka_unit_test(a_guard_that_forgets_denials_is_found),
        cmocka_unit_test(laundering_by_anybody_is_found),
        cmocka_unit_test(a_start_beside_its_laundering_is_found),
        cmocka_unit_test(an_own_brick_that_is_kept_over_a_fence_is_found),
        cmocka_unit_test(a_birth_outside_the_slice_is_found),
        cmocka_unit_test(a_qemu_that_is_not_killed_is_found),
        cmocka_unit_test(a_return_with_guests_of_before_is_found),
        cmocka_unit_test(a_freeze_in_vain_is_found),
        cmocka_unit_test(promises_by_the_wall_clock_are_found),
        cmocka_unit_test(a_hang_without_watchdog_is_found),
        cmocka_unit_test(clocks_that_stop_in_a_hang_are_found),
        cmocka_unit_test(a_restored_store_that_is_believed_is_found),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
