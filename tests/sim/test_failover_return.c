/* SPDX-License-Identifier: Apache-2.0
 * The failure cases of facts/ha.md 3.9 that are about the return of a host: what it kept while it was out, and what it
 * waits for. As test_failover.c, with the same variables of the environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ha/ha.h"
#include "failover_fix.h"

/* --- the own brick -------------------------------------------------------------------------- */

/* A write of before the fence stays in the own brick of the host that is fenced, others pass it by, and the host
 * comes back without a boot. Guests elsewhere are new by then. */
static void leave_a_write_behind(struct fix *f, int i, uint64_t us)
{
    struct sim_ha_host *h = &f->s.ha->hosts[f->old];
    f->s.ha->has_watchdog = false;
    h->keep_us = us;
    sim_run(&f->s, USEC_PER_SEC);
    assert_int_equal(h->keep_us, 0);
    if (i % 2) {
        cut_off(&f->s, f->old);
    } else {
        sim_ha_hang(&f->s, f->old);
    }
    assert_true(time_until_moved(f) <= 30 * USEC_PER_SEC);
    sim_ha_heal(&f->s);
    sim_ha_resume(&f->s, f->old);
}

static void cases_2_and_9_a_write_left_in_the_hosts_own_brick_reaches_no_copy_that_counts(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin(&f, i);
        leave_a_write_behind(&f, i, 90 * USEC_PER_SEC);
        all_is_well_again(&f);
        sim_run(&f.s, 90 * USEC_PER_SEC); /* S1 is checked after every event */
        end(&f);
    }
}

static const json_t *failure_of_return(const struct fix *f)
{
    _cleanup_free_ char *key = str_printf(KEY_SEEN "%s/failed/return", f->s.hosts[f->old].name);
    return sim_get(&f->s, key);
}

static bool is_within_a_write(struct sim *s, const void *host)
{
    return s->ha->hosts[*(const size_t *)host].in_disk > 0;
}

static void cases_2_and_9_a_host_whose_own_brick_does_not_end_stays_fenced_and_says_why(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        f.s.ha->hosts[f.old].is_stuck = true; /* its threads are within writes that do not end */
        assert_true(kit_until(&f.s, is_within_a_write, &f.old, 10 * USEC_PER_SEC));
        leave_a_write_behind(&f, i, 1);
        sim_run(&f.s, 120 * USEC_PER_SEC);
        assert_string_equal(kit_state(&f.s, f.old), "fenced");
        assert_non_null(failure_of_return(&f));
        f.s.ha->hosts[f.old].is_stuck = false;
        all_is_well_again(&f);
        assert_null(failure_of_return(&f));
        end(&f);
    }
}

/* Their mutants; always by the same seeds, as in test_mutants.c: a bound on luck would be none. */
static void expect_write_left_behind_found(enum sim_mutant mutant)
{
    bool is_found = false;
    for (uint64_t seed = 1; seed <= 20 && !is_found; seed++) {
        struct fix f;
        begin_by(&f, seed);
        f.s.keeps_going = true;
        f.s.only = "S1: ";
        f.s.mutant = mutant;
        leave_a_write_behind(&f, (int)seed, 90 * USEC_PER_SEC);
        sim_run(&f.s, 90 * USEC_PER_SEC);
        is_found = f.s.violation[0];
        end(&f);
    }
    assert_true(is_found);
}

static void cases_2_and_9_an_own_brick_that_is_kept_would_be_found(void **state)
{
    expect_write_left_behind_found(SIM_KEEPS_BRICK);
}

static void cases_2_and_9_an_own_brick_whose_last_thread_is_not_waited_for_would_be_found(void **state)
{
    expect_write_left_behind_found(SIM_LEAVES_THREADS);
}

/* --- what others have to do ------------------------------------------------------------------ */

static bool is_on_its_way_back(struct sim *s, const void *host)
{
    return str_eq(kit_state(s, *(const size_t *)host), "rejoining");
}

/* Without the second one nobody lets the first in, for its copy may lack what both others have written. */
static void case_18_host_on_its_way_back_waits_for_a_second_one_that_dies(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin(&f, i);
        sim_ha_power_off(&f.s, f.old);
        (void)time_until_moved(&f);
        sim_ha_power_off(&f.s, f.other);
        sim_run(&f.s, prng_below(&f.s.prng, 20 * USEC_PER_SEC));
        sim_ha_power_on(&f.s, f.old);
        assert_true(kit_until(&f.s, is_on_its_way_back, &f.old, KIT_LIMIT_US));
        sim_run(&f.s, 120 * USEC_PER_SEC);
        assert_true(is_on_its_way_back(&f.s, &f.old));
        assert_string_equal(kit_state(&f.s, f.other), "online"); /* nobody can prove that it writes no more */
        assert_int_equal(sim_running(&f.s, "db1"), 0);
        _cleanup_free_ char *told = ha_return_text(f.s.hosts[WITNESS].core, f.s.hosts[f.old].name);
        assert_non_null(told);
        assert_non_null(strstr(told, f.s.hosts[f.other].name));
        sim_ha_power_on(&f.s, f.other);
        all_is_well_again(&f);
        end(&f);
    }
}

/* --- a host without bricks ------------------------------------------------------------------- */

static bool is_member(struct sim *s, const void *host)
{
    return str_eq(kit_state(s, *(const size_t *)host), "online");
}

/* It has no copy that could be old, and reaches the pool as those do that were never fenced. */
static void case_1_and_9_a_host_without_bricks_is_a_member_again_while_a_brick_host_is_off(void **state)
{
    for (int i = 0; i < kit_schedules(5); i++) {
        struct sim s;
        const size_t brick_host = 0;
        const size_t compute = 3;
        begin_five(&s, i);
        sim_ha_power_off(&s, brick_host);
        assert_true(kit_until(&s, is_fenced, &brick_host, 60 * USEC_PER_SEC));
        cut_off(&s, compute);
        assert_true(kit_until(&s, is_fenced, &compute, 90 * USEC_PER_SEC));
        sim_ha_heal(&s);
        assert_true(kit_until(&s, is_member, &compute, 180 * USEC_PER_SEC));
        assert_string_equal(kit_state(&s, brick_host), "fenced");
        sim_ha_done(&s);
        sim_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_2_and_9_a_write_left_in_the_hosts_own_brick_reaches_no_copy_that_counts),
        cmocka_unit_test(cases_2_and_9_a_host_whose_own_brick_does_not_end_stays_fenced_and_says_why),
        cmocka_unit_test(cases_2_and_9_an_own_brick_that_is_kept_would_be_found),
        cmocka_unit_test(cases_2_and_9_an_own_brick_whose_last_thread_is_not_waited_for_would_be_found),
        cmocka_unit_test(case_1_and_9_a_host_without_bricks_is_a_member_again_while_a_brick_host_is_off),
        cmocka_unit_test(case_18_host_on_its_way_back_waits_for_a_second_one_that_dies),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests_name("failover_return", tests, NULL, NULL);
}
