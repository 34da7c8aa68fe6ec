/* SPDX-License-Identifier: Apache-2.0
 * Failure case 14 of facts/ha.md 3.9: etcd is restored from a snapshot of before machines moved, were taken over, made or
 * started. S1, S3, I1 and what a machine is found by are checked after every event (sim_check.c); here, what has to come
 * of it. MORTAR_SEED, MORTAR_SCHEDULES and MORTAR_ONLY as in test_failover.c. */
#include "failover_fix.h"

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DOWN_US (3 * USEC_PER_SEC) /* a restore takes longer; agents hear of it when they list the next time */
#define SETTLED_US (90 * USEC_PER_SEC)

static bool is_settled(struct sim *s, const void *arg)
{
    return json_bool_of(sim_get(s, KEY_RESTORE_GEN), "settled", false);
}

/* The store stands still, is put back, and answers again. */
static void restore(struct fix *f, json_t *snapshot)
{
    f->s.store_is_down = true;
    sim_run(&f->s, DOWN_US + prng_below(&f->s.prng, 5 * USEC_PER_SEC));
    sim_restore(&f->s, snapshot);
    json_decref(snapshot);
    f->s.store_is_down = false;
}

static void settle(struct fix *f)
{
    if (!kit_until(&f->s, is_settled, NULL, SETTLED_US)) {
        fail_msg("seed %llu: nobody knows what runs where", (unsigned long long)f->s.seed);
    }
}

static void move(struct fix *f)
{
    kit_ask(&f->s, "vm.migrate", json_pack("{s:s}", "name", "db1"), "done");
}

static void case_14_a_machine_that_moved_after_the_snapshot_goes_on_where_it_is(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        json_t *snapshot = sim_snapshot(&f.s);
        move(&f);
        uint64_t epoch = epoch_of(&f.s, "db1");
        restore(&f, snapshot);
        assert_int_equal(kit_owner(&f.s, "db1"), f.old); /* as the snapshot has it */
        settle(&f);
        assert_int_equal(kit_owner(&f.s, "db1"), f.other);
        assert_int_equal(epoch_of(&f.s, "db1"), epoch);
        sim_run(&f.s, 30 * USEC_PER_SEC);
        all_is_well_again(&f);
        assert_int_equal(f.s.cold_starts, f.cold_starts);
        move(&f); /* and can be moved again */
        assert_int_equal(kit_owner(&f.s, "db1"), f.old);
        assert_int_equal(f.s.cold_starts, f.cold_starts);
        end(&f);
    }
}

static void case_14_nothing_has_happened_since_and_nothing_happens(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        restore(&f, sim_snapshot(&f.s));
        settle(&f);
        sim_run(&f.s, 30 * USEC_PER_SEC);
        all_is_well_again(&f);
        assert_int_equal(kit_owner(&f.s, "db1"), f.old);
        assert_int_equal(f.s.cold_starts, f.cold_starts);
        end(&f);
    }
}

/* The store says that it runs where it was. That host lives again, as a member or still cut off with what it ran. */
static void case_14_a_machine_that_was_taken_over_after_the_snapshot_stays(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin(&f, i);
        f.s.ha->has_watchdog = i % 2 == 0;
        json_t *snapshot = sim_snapshot(&f.s);
        sim_ha_hang(&f.s, f.old);
        (void)time_until_moved(&f);
        uint64_t epoch = epoch_of(&f.s, "db1");
        unsigned cold_starts = f.s.cold_starts;
        if (i % 4 < 2) {
            sim_ha_resume(&f.s, f.old);
            sim_ha_power_on(&f.s, f.old);
            kit_all_online(&f.s);
        }
        restore(&f, snapshot);
        sim_run(&f.s, prng_below(&f.s.prng, 3 * USEC_PER_SEC));
        sim_ha_resume(&f.s, f.old);
        sim_ha_power_on(&f.s, f.old);
        settle(&f);
        all_is_well_again(&f);
        assert_int_equal(kit_owner(&f.s, "db1"), f.other);
        assert_int_equal(epoch_of(&f.s, "db1"), epoch);
        assert_int_equal(f.s.cold_starts, cold_starts);
        end(&f);
    }
}

/* Nobody knows whether it ran there: it is fenced first. */
static void case_14_a_host_that_dies_before_it_reports_is_fenced_and_its_machine_starts_elsewhere(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin(&f, i);
        json_t *snapshot = sim_snapshot(&f.s);
        if (i % 2) {
            move(&f);
        }
        size_t runs_on = kit_owner(&f.s, "db1");
        restore(&f, snapshot);
        if (i % 4 < 2) {
            sim_ha_power_off(&f.s, runs_on);
        } else {
            cut_off(&f.s, runs_on); /* it goes on, and writes as long as it may */
        }
        settle(&f);
        assert_string_equal(kit_state(&f.s, runs_on), "fenced");
        f.old = runs_on;
        assert_true(time_until_moved(&f) <= 20 * USEC_PER_SEC);
        sim_ha_heal(&f.s);
        sim_ha_power_on(&f.s, runs_on);
        all_is_well_again(&f);
        end(&f);
    }
}

static const char *note_of(struct fix *f, const char *vm, const char *part, const char *field)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/%s", vm, part);
    return json_text_of(sim_get(&f->s, key), field);
}

static json_t *named(const char *vm)
{
    return json_pack("{s:s}", "name", vm);
}

/* A stop of long ago ends nothing. */
static void case_14_a_machine_that_was_started_after_the_snapshot_goes_on(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        kit_ask(&f.s, "vm.stop", named("db1"), "done");
        json_t *snapshot = sim_snapshot(&f.s);
        kit_ask(&f.s, "vm.start", named("db1"), "done");
        unsigned cold_starts = f.s.cold_starts;
        restore(&f, snapshot);
        settle(&f);
        sim_run(&f.s, 30 * USEC_PER_SEC);
        all_is_well_again(&f);
        assert_string_equal(note_of(&f, "db1", "spec", "desired"), "running");
        assert_int_equal(f.s.cold_starts, cold_starts);
        end(&f);
    }
}

static bool has_alarm(struct fix *f, const char *key)
{
    for (size_t h = 0; h < f->s.hosts_n; h++) {
        const struct smap *alarms = f->s.hosts[h].core ? &f->s.hosts[h].core->alarms : NULL;
        size_t at = alarms ? smap_lower(alarms, key) : 0;
        if (alarms && at < alarms->n && str_starts(alarms->items[at].key, key)) {
            return true;
        }
    }
    return false;
}

/* Nobody touches what the store does not know; people are told. */
static void case_14_a_machine_that_was_made_after_the_snapshot_is_left_alone(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        json_t *snapshot = sim_snapshot(&f.s);
        kit_add_vm(&f.s, "new");
        unsigned cold_starts = f.s.cold_starts;
        assert_false(has_alarm(&f, "domain.unknown/"));
        restore(&f, snapshot);
        settle(&f);
        sim_run(&f.s, 60 * USEC_PER_SEC);
        assert_null(note_of(&f, "new", "own", "owner"));
        kit_expect_running(&f.s, "new");
        assert_true(has_alarm(&f, "domain.unknown/"));
        all_is_well_again(&f);
        assert_int_equal(f.s.cold_starts, cold_starts);
        end(&f);
    }
}

/* Of a move nobody knows any more: it ends as its libvirts end it, its task as failed, and its machine goes on, or begins
 * anew when only a copy is left of which nobody can say what became of its source. */
static void case_14_a_move_that_is_under_way_is_over(void **state)
{
    for (int i = 0; i < kit_schedules(60); i++) {
        struct fix f;
        struct err e = {0};
        begin(&f, i);
        bool is_before = i % 2;
        json_t *snapshot = is_before ? sim_snapshot(&f.s) : NULL;
        _cleanup_free_ char *task = sim_request(&f.s, f.old, "vm.migrate", named("db1"), &e);
        assert_non_null(task);
        if (!is_before) {
            sim_run(&f.s, prng_below(&f.s.prng, 1000 * USEC_PER_MSEC));
            snapshot = sim_snapshot(&f.s);
        }
        sim_run(&f.s, prng_below(&f.s.prng, 1500 * USEC_PER_MSEC));
        sim_restore(&f.s, snapshot);
        json_decref(snapshot);
        settle(&f);
        sim_run(&f.s, 30 * USEC_PER_SEC);
        all_is_well_again(&f);
        assert_false(kit_has_task(&f.s, NULL));
        assert_true(f.s.cold_starts - f.cold_starts <= 1);
        move(&f);
        end(&f);
    }
}

/* Case 32 with a store that has to be restored. */
static void case_14_a_site_that_lost_its_power_comes_back_with_a_restored_store(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        json_t *snapshot = sim_snapshot(&f.s);
        move(&f);
        for (size_t h = 0; h < f.s.hosts_n; h++) {
            sim_ha_power_off(&f.s, h);
        }
        sim_restore(&f.s, snapshot);
        json_decref(snapshot);
        for (size_t h = 0; h < f.s.hosts_n; h++) {
            sim_run(&f.s, prng_below(&f.s.prng, 10 * USEC_PER_SEC));
            sim_ha_power_on(&f.s, (h + (size_t)i) % f.s.hosts_n);
        }
        settle(&f);
        all_is_well_again(&f);
        assert_int_equal(f.s.cold_starts, f.cold_starts + 1);
        end(&f);
    }
}

/* While a host is missing users are told which; who says that it is dead has it fenced, though its guard is heard. */
static void case_14_users_are_told_what_is_waited_for_and_can_give_a_host_up(void **state)
{
    for (int i = 0; i < kit_schedules(5); i++) {
        struct fix f;
        struct err e = {0};
        begin(&f, i);
        sim_kill_agent(&f.s, f.old);
        restore(&f, sim_snapshot(&f.s));
        sim_run(&f.s, 60 * USEC_PER_SEC);
        assert_false(is_settled(&f.s, NULL));
        assert_string_equal(kit_state(&f.s, f.old), "online");
        kit_expect_running(&f.s, "db1");
        assert_null(sim_request(&f.s, f.other, "vm.stop", named("db1"), &e));
        assert_non_null(strstr(e.msg, f.s.hosts[f.old].name));
        assert_true(has_alarm(&f, "store.restored/"));
        _cleanup_free_ char *asked = sim_request(&f.s, f.other, "host.fence", named(f.s.hosts[f.old].name), &e);
        assert_non_null(asked);
        settle(&f);
        assert_true(time_until_moved(&f) <= 20 * USEC_PER_SEC);
        sim_start_agent(&f.s, f.old);
        all_is_well_again(&f);
        end(&f);
    }
}

/* libvirt is slow: what an agent has asked it for before the restore, for a host that the snapshot knows nothing of, it does
 * when that host has reported that nothing runs there. Half of it is never done (sim.c). */
static void start_late(struct fix *f)
{
    struct err e = {0};
    json_t *snapshot = sim_snapshot(&f->s);
    kit_ask(&f->s, "vm.stop", json_pack("{s:s,s:b}", "name", "db1", "force", 1), "done");
    f->s.create_us = 20 * USEC_PER_SEC;
    free(sim_request(&f->s, f->other, "vm.start", json_pack("{s:s,s:s}", "name", "db1", "host", f->s.hosts[f->other].name), &e));
    sim_run(&f->s, 3 * USEC_PER_SEC);
    sim_restore(&f->s, snapshot);
    json_decref(snapshot);
    f->s.create_us = 0;
    (void)kit_until(&f->s, is_settled, NULL, SETTLED_US);
    sim_run(&f->s, 60 * USEC_PER_SEC);
}

static void case_14_a_start_of_before_that_comes_late_comes_to_nothing(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct fix f;
        begin(&f, i);
        start_late(&f);
        all_is_well_again(&f);
        assert_int_equal(kit_owner(&f.s, "db1"), f.old);
        end(&f);
    }
}

/* The mutant of that: always by the same seeds, as in test_mutants.c. */
static void case_14_a_late_start_would_be_found(void **state)
{
    bool is_found = false;
    for (uint64_t seed = 1; seed <= 20 && !is_found; seed++) {
        struct fix f;
        begin_by(&f, seed);
        f.s.keeps_going = true;
        f.s.only = "S3: ";
        f.s.mutant = SIM_LATE_STARTS;
        start_late(&f);
        is_found = f.s.violation[0];
        end(&f);
    }
    assert_true(is_found);
}

/* What they are made of is in schedule.c; more of them: tests/soak/run. */
static void case_14_random_schedules_with_restores_hold(void **state)
{
    for (int i = 0; i < kit_schedules(40); i++) {
        struct schedule_result r;
        schedule_run(SCHEDULE_RESTORE, kit_first_seed() + (uint64_t)i, SIM_SOUND, &r);
        if (r.violation[0]) {
            fail_msg("seed %llu: %s", (unsigned long long)kit_first_seed() + (unsigned long long)i, r.violation);
        }
    }
}

/* In the midst of a first restore one host was fenced anew and another one was to be drained, which looked like two fences:
 * nobody could fence either of them, and all waited. */
static void case_14_a_second_restore_ends_although_a_host_was_to_be_drained(void **state)
{
    static const uint64_t seeds[] = {99025782, 99039686};
    for (size_t i = 0; i < ELEMENTS(seeds); i++) {
        struct schedule_result r;
        schedule_run(SCHEDULE_RESTORE, seeds[i], SIM_SOUND, &r);
        assert_string_equal(r.violation, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_14_nothing_has_happened_since_and_nothing_happens),
        cmocka_unit_test(case_14_a_machine_that_moved_after_the_snapshot_goes_on_where_it_is),
        cmocka_unit_test(case_14_a_machine_that_was_taken_over_after_the_snapshot_stays),
        cmocka_unit_test(case_14_a_host_that_dies_before_it_reports_is_fenced_and_its_machine_starts_elsewhere),
        cmocka_unit_test(case_14_a_machine_that_was_started_after_the_snapshot_goes_on),
        cmocka_unit_test(case_14_a_machine_that_was_made_after_the_snapshot_is_left_alone),
        cmocka_unit_test(case_14_a_move_that_is_under_way_is_over),
        cmocka_unit_test(case_14_a_site_that_lost_its_power_comes_back_with_a_restored_store),
        cmocka_unit_test(case_14_users_are_told_what_is_waited_for_and_can_give_a_host_up),
        cmocka_unit_test(case_14_a_start_of_before_that_comes_late_comes_to_nothing),
        cmocka_unit_test(case_14_a_late_start_would_be_found),
        cmocka_unit_test(case_14_random_schedules_with_restores_hold),
        cmocka_unit_test(case_14_a_second_restore_ends_although_a_host_was_to_be_drained),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
