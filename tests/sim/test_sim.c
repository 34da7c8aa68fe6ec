/* SPDX-License-Identifier: Apache-2.0
 * Promises of the core, held in many simulated clusters. MORTAR_SEED repeats one of them,
 * MORTAR_SCHEDULES says how many, MORTAR_ONLY which test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "schedule.h"

static void prepare(struct sim *s, uint64_t seed)
{
    sim_init(s, seed, 3);
    kit_pool(s);
    kit_add_vm(s, "db1");
    sim_run(s, 12 * USEC_PER_SEC); /* by now each host has heard of all, whatever its watch lost */
}

static json_t *on_vm(void)
{
    return json_pack("{s:s}", "name", "db1");
}

static void expect_no_task(struct sim *s)
{
    if (kit_has_task(s, NULL)) {
        fail_msg("seed %llu: a task never ends", (unsigned long long)s->seed);
    }
}

static void vm_runs_once_and_stops_and_starts_with_a_higher_epoch(void **state)
{
    struct sim s;
    prepare(&s, kit_first_seed());
    uint64_t before = json_u64_of(sim_get(&s, KEY_VM "db1/own"), "epoch", 0);
    kit_ask(&s, "vm.stop", on_vm(), "done");
    assert_int_equal(sim_running(&s, "db1"), 0);
    kit_ask(&s, "vm.start", on_vm(), "done");
    assert_int_equal(sim_running(&s, "db1"), 1);
    assert_true(json_u64_of(sim_get(&s, KEY_VM "db1/own"), "epoch", 0) > before);
    kit_ask(&s, "vm.stop", on_vm(), "done");
    kit_ask(&s, "vm.remove", on_vm(), "done");
    assert_null(sim_get(&s, KEY_VM "db1/spec"));
    sim_done(&s);
}

static void migration_moves_ownership_and_never_runs_twice(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct sim s;
        prepare(&s, kit_first_seed() + (uint64_t)i);
        const char *old = json_text_of(sim_get(&s, KEY_VM "db1/own"), "owner");
        _cleanup_free_ char *from = str_dup(old);
        kit_ask(&s, "vm.migrate", on_vm(), "done");
        assert_string_not_equal(json_text_of(sim_get(&s, KEY_VM "db1/own"), "owner"), from);
        assert_int_equal(sim_running(&s, "db1"), 1);
        assert_non_null(sim_get(&s, KEY_VM "db1/last"));
        sim_done(&s);
    }
}

/* Agents die at random moments while a machine is moved to and fro; copies fail now and then. */
static void agents_may_die_at_any_moment_of_a_migration(void **state)
{
    for (int i = 0; i < kit_schedules(100); i++) {
        uint64_t seed = kit_first_seed() + (uint64_t)i;
        struct sim s;
        prepare(&s, seed);
        s.fail_percent = 20;
        for (int k = 0; k < 4; k++) {
            struct err e = {0};
            free(sim_request(&s, (size_t)prng_below(&s.prng, 2), "vm.migrate",
                             on_vm(), &e)); /* may be refused */
            sim_run(&s, prng_below(&s.prng, 300 * USEC_PER_MSEC));
            size_t victim = (size_t)prng_below(&s.prng, s.hosts_n);
            sim_kill_agent(&s, victim);
            sim_run(&s, prng_below(&s.prng, 5 * USEC_PER_SEC));
            sim_start_agent(&s, victim);
            sim_run(&s, prng_below(&s.prng, 5 * USEC_PER_SEC));
        }
        s.fail_percent = 0;
        sim_run(&s, KIT_LIMIT_US);
        if (sim_running(&s, "db1") != 1) {
            _cleanup_free_ char *own = json_format(sim_get(&s, KEY_VM "db1/own"));
            _cleanup_free_ char *act = json_format(sim_get(&s, KEY_VM "db1/act"));
            fail_msg("seed %llu: runs on %zu hosts; own %s act %s", (unsigned long long)seed,
                     sim_running(&s, "db1"), own, act);
        }
        sim_done(&s);
    }
}

/* libvirtd dies and comes back; watches lose events, as always. */
static void no_move_costs_the_guest_its_memory(void **state)
{
    for (int i = 0; i < kit_schedules(50); i++) {
        struct sim s;
        prepare(&s, kit_first_seed() + (uint64_t)i);
        sim_run(&s, 60 * USEC_PER_SEC); /* by now each host has heard of all mounts */
        s.unknown_percent = 40;
        for (int k = 0; k < 3; k++) {
            kit_ask(&s, "vm.migrate", on_vm(), "done");
        }
        assert_int_equal(sim_running(&s, "db1"), 1);
        assert_int_equal(s.cold_starts, 1);
        sim_done(&s);
    }
}

static void everything_at_once_stays_safe_and_comes_to_rest(void **state)
{
    for (int i = 0; i < kit_schedules(80); i++) {
        struct schedule_result r;
        schedule_run(SCHEDULE_MOVES, kit_first_seed() + (uint64_t)i, SIM_SOUND, &r);
        if (r.violation[0]) {
            fail_msg("seed %llu: %s", (unsigned long long)kit_first_seed() + (unsigned)i, r.violation);
        }
    }
}

/* --- defects that were ---------------------------------------------------------------------- */

static void a_name_may_be_used_again(void **state)
{
    struct sim s;
    prepare(&s, kit_first_seed());
    for (int i = 0; i < 3; i++) {
        kit_ask(&s, "vm.stop", on_vm(), "done");
        kit_ask(&s, "vm.remove", on_vm(), "done");
        kit_ask(&s, "vm.create", json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", "db1", "pool", "vms", "cpus",
                                       1, "memory_bytes", (json_int_t)GIB, "disk_bytes",
                                       (json_int_t)GIB), "done");
        assert_int_equal(sim_running(&s, "db1"), 1);
    }
    kit_ask(&s, "vm.stop", on_vm(), "done");
    kit_ask(&s, "vm.remove", on_vm(), "done");
    kit_ask(&s, "pool.remove", json_pack("{s:s}", "name", "vms"), "done");
    kit_ask(&s, "pool.create", json_pack("{s:s}", "name", "vms"), "done");
    sim_done(&s);
}

static void guest_that_falls_before_it_was_seen_is_started_again(void **state)
{
    struct sim s;
    struct err e = {0};
    prepare(&s, kit_first_seed());
    kit_ask(&s, "vm.stop", on_vm(), "done");
    free(sim_request(&s, 0, "vm.start", on_vm(), &e));
    for (int i = 0; i < 10000 && !sim_running(&s, "db1"); i++) {
        sim_run(&s, USEC_PER_MSEC);
    }
    sim_end_guest(&s, "db1", "crashed");
    sim_run(&s, 60 * USEC_PER_SEC);
    assert_int_equal(sim_running(&s, "db1"), 1);
    sim_done(&s);
}

static void a_phase_acts_once_while_the_store_is_away(void **state)
{
    struct sim s;
    struct err e = {0};
    prepare(&s, kit_first_seed());
    free(sim_request(&s, 0, "vm.reset", on_vm(), &e));
    for (int i = 0; i < 10000 && !s.hosts[0].resets && !s.hosts[1].resets; i++) {
        sim_run(&s, 100);
    }
    s.store_is_down = true;
    sim_run(&s, 60 * USEC_PER_SEC);
    assert_int_equal(s.hosts[0].resets + s.hosts[1].resets, 1);
    s.store_is_down = false;
    sim_run(&s, 120 * USEC_PER_SEC);
    expect_no_task(&s);
    sim_done(&s);
}

static void a_machine_that_was_started_meanwhile_keeps_its_disks(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct sim s;
        struct err e = {0};
        prepare(&s, kit_first_seed() + (uint64_t)i);
        kit_ask(&s, "vm.stop", on_vm(), "done");
        free(sim_request(&s, 0, "vm.start", on_vm(), &e));
        sim_run(&s, prng_below(&s.prng, 40 * USEC_PER_MSEC));
        free(sim_request(&s, 1, "vm.remove", on_vm(), &e)); /* another user, another host */
        sim_run(&s, 60 * USEC_PER_SEC);
        assert_int_equal(sim_running(&s, "db1"), sim_get(&s, KEY_VM "db1/spec") ? 1 : 0);
        sim_run(&s, KIT_LIMIT_US);
        expect_no_task(&s);
        sim_done(&s);
    }
}

/* Two users at two hosts, neither of which has heard of what the other one asks. */
static void a_pool_with_something_on_it_is_never_removed(void **state)
{
    for (int i = 0; i < kit_schedules(40); i++) {
        struct sim s;
        struct err e = {0};
        prepare(&s, kit_first_seed() + (uint64_t)i);
        kit_ask(&s, "vm.stop", on_vm(), "done");
        kit_ask(&s, "vm.remove", on_vm(), "done");
        free(sim_request(&s, 1, "vm.create",
                         json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", "db2", "pool", "vms", "cpus", 1,
                                   "memory_bytes", (json_int_t)GIB, "disk_bytes", (json_int_t)GIB),
                         &e));
        free(sim_request(&s, 0, "pool.remove", json_pack("{s:s}", "name", "vms"), &e));
        sim_run(&s, 60 * USEC_PER_SEC);
        if (!sim_get(&s, KEY_POOL "vms") && sim_get(&s, KEY_VM "db2/spec")) {
            fail_msg("seed %llu: the machine has lost its pool", (unsigned long long)s.seed);
        }
        sim_done(&s);
    }
}

/* The host goes for good; another one carries on with what is not tied to it. */
static void a_task_survives_the_host_that_ran_it(void **state)
{
    for (int i = 0; i < kit_schedules(8); i++) {
        struct sim s;
        struct err e = {0};
        sim_init(&s, kit_first_seed() + (uint64_t)i, 4);
        sim_run(&s, 3 * USEC_PER_SEC);
        _cleanup_free_ char *task =
            sim_request(&s, 0, "pool.create", json_pack("{s:s,s:[s,s,s]}", "name", "p", "hosts",
                                                        "host1", "host2", "host3"), &e);
        sim_run(&s, prng_below(&s.prng, 500 * USEC_PER_MSEC));
        _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task);
        if (str_eq(json_text_of(sim_get(&s, key), "state"), "running")) {
            assert_string_equal(json_text_of(sim_get(&s, key), "runner"), "host1");
            sim_kill_agent(&s, 0);
            const char *end = sim_wait(&s, task, 2 * KIT_LIMIT_US);
            assert_string_not_equal(json_text_of(sim_get(&s, key), "runner"), "host1");
            assert_true(str_eq(end, "done") || str_eq(end, "failed"));
            sim_start_agent(&s, 0);
        }
        sim_run(&s, KIT_LIMIT_US);
        kit_ask(&s, "pool.create", json_pack("{s:s}", "name", "p2"), NULL);
        expect_no_task(&s);
        sim_done(&s);
    }
}

static void a_stop_during_a_migration_ends_the_guest(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct sim s;
        struct err e = {0};
        prepare(&s, kit_first_seed() + (uint64_t)i);
        free(sim_request(&s, 0, "vm.migrate", on_vm(), &e));
        _cleanup_free_ char *stop = sim_request(&s, 1, "vm.stop", on_vm(), &e);
        sim_run(&s, 60 * USEC_PER_SEC);
        if (stop && sim_copies(&s, "db1")) {
            _cleanup_free_ char *own = json_format(sim_get(&s, KEY_VM "db1/own"));
            _cleanup_free_ char *act = json_format(sim_get(&s, KEY_VM "db1/act"));
            fail_msg("seed %llu: still there: own %s act %s", (unsigned long long)s.seed, own, act);
        }
        sim_run(&s, KIT_LIMIT_US);
        expect_no_task(&s);
        sim_done(&s);
    }
}

static void a_reboot_gives_a_new_incarnation_and_starts_its_guests_again(void **state)
{
    struct sim s;
    prepare(&s, kit_first_seed());
    size_t host = str_eq(json_text_of(sim_get(&s, KEY_VM "db1/own"), "owner"), "host1") ? 0 : 1;
    for (unsigned i = 1; i <= 5; i++) {
        _cleanup_free_ char *key = str_printf("%s%s", KEY_NODE, s.hosts[host].name);
        sim_reboot(&s, host);
        sim_run(&s, 20 * USEC_PER_SEC);
        assert_int_equal(json_u64_of(sim_get(&s, key), "inc", 0), 1 + i);
        assert_int_equal(json_u64_of(sim_get(&s, KEY_VM "db1/own"), "inc", 0), 1 + i);
        assert_int_equal(json_u64_of(sim_get(&s, KEY_VM "db1/act"), "fails", 0), 0);
        assert_int_equal(sim_running(&s, "db1"), 1);
    }
    sim_done(&s);
}

static void a_pool_that_is_being_made_cannot_be_removed(void **state)
{
    struct sim s;
    struct err e = {0};
    sim_init(&s, kit_first_seed(), 3);
    sim_run(&s, 60 * USEC_PER_SEC); /* by now each host has heard of all, whatever its watch lost */
    _cleanup_free_ char *task = sim_request(&s, 0, "pool.create", json_pack("{s:s}", "name", "p"), &e);
    assert_non_null(task);
    sim_run(&s, 60 * USEC_PER_MSEC);
    assert_null(sim_request(&s, 0, "pool.remove", json_pack("{s:s}", "name", "p"), &e));
    assert_int_equal(e.code, ERR_BUSY);
    /* A user at another host, whose agent has heard nothing of it yet, would get this far: */
    (void)smap_del(&s.store, KEY_POOL "p");
    assert_string_equal(sim_wait(&s, task, KIT_LIMIT_US), "failed");
    sim_done(&s);
}

static void placement_names_what_is_in_the_way(void **state)
{
    struct sim s;
    struct err e = {0};
    prepare(&s, kit_first_seed());
    assert_null(sim_request(&s, 0, "vm.create",
                            json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", "big", "pool", "vms", "cpus", 1,
                                      "memory_bytes", (json_int_t)TIB, "disk_bytes", (json_int_t)GIB),
                            &e));
    assert_int_equal(e.code, ERR_NO_ROOM);
    assert_non_null(strstr(e.msg, "of memory left"));
    assert_non_null(strstr(e.msg, "host3 does not run virtual machines"));
    sim_done(&s);
}

static void requests_with_wrong_values_are_refused_by_name(void **state)
{
    static const struct {
        const char *verb;
        const char *args;
        int code;
    } cases[] = {
        {"pool.create", "{\"name\":\"Bad Name\"}", ERR_INVALID},
        {"pool.create", "{\"name\":\"vms\"}", ERR_EXISTS},
        {"pool.create", "{\"name\":\"p2\",\"copies\":3}", ERR_POOL_POLICY},
        {"pool.create", "{\"name\":\"p2\",\"copies\":4}", ERR_INVALID},
        {"pool.create", "{\"name\":\"p2\",\"hosts\":[\"nope\"]}", ERR_NOT_FOUND},
        {"pool.remove", "{\"name\":\"vms\"}", ERR_STATE},
        {"vm.create", "{\"name\":\"db1\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824}",
         ERR_EXISTS},
        {"vm.create", "{\"name\":\"x\",\"pool\":\"none\",\"cpus\":1,\"memory_bytes\":1073741824}",
         ERR_NOT_FOUND},
        {"vm.create", "{\"name\":\"x\",\"pool\":\"vms\",\"cpus\":0,\"memory_bytes\":1073741824}",
         ERR_INVALID},
        {"vm.create", "{\"name\":\"x\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1}", ERR_INVALID},
        {"vm.create",
         "{\"name\":\"x\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824,\"image\":\"no\"}",
         ERR_NOT_FOUND},
        {"vm.start", "{\"name\":\"none\"}", ERR_NOT_FOUND},
        {"vm.remove", "{\"name\":\"db1\"}", ERR_STATE},
        {"vm.migrate", "{\"name\":\"db1\",\"to\":\"nowhere\"}", ERR_NOT_FOUND},
        {"vm.set", "{\"name\":\"db1\",\"cpus\":0}", ERR_INVALID},
        {"init", "{\"name\":\"again\"}", ERR_IN_CLUSTER},
        {"init", "{\"name\":\"again\",\"uplink\":\"eth0\",\"uplink_confirm_s\":5}", ERR_INVALID},
        {"task.cancel", "{\"id\":\"none\"}", ERR_NOT_FOUND},
        {"no.such", "{}", ERR_USAGE},
    };
    struct sim s;
    prepare(&s, kit_first_seed());
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        json_t *args = json_loads(cases[i].args, 0, NULL);
        char *task = sim_request(&s, 0, cases[i].verb, args, &e);
        if (task || e.code != cases[i].code) {
            fail_msg("%s %s: %s (%s)", cases[i].verb, cases[i].args, err_name(e.code), e.msg);
        }
    }
    sim_done(&s);
}

/* A planner is left out when nothing that it has read changed since: then it would have come to nothing. */
static void what_a_core_leaves_out_would_have_come_to_nothing(void **state)
{
    int n = kit_schedules(6);
    uint64_t first = kit_first_seed();
    for (int kind = 0; kind < SCHEDULE_KINDS; kind++) {
        for (int i = 0; i < n; i++) {
            struct schedule_result r;
            schedule_run((enum schedule_kind)kind, first + (uint64_t)i, SIM_TWINS, &r);
            if (r.violation[0]) {
                fail_msg("%s %llu: %s", schedule_kind_name((enum schedule_kind)kind),
                         (unsigned long long)first + (unsigned long long)i, r.violation);
            }
        }
    }
}

/* Case 21 and I7, of whole schedules: the same happens, at the same moments, whatever wall clocks show. */
static void wall_clocks_that_jump_change_no_schedule(void **state)
{
    for (int kind = 0; kind < SCHEDULE_KINDS; kind++) {
        for (int i = 0; i < kit_schedules(10); i++) {
            struct schedule_result one;
            struct schedule_result two;
            uint64_t seed = kit_first_seed() + (uint64_t)i;
            schedule_run((enum schedule_kind)kind, seed, SIM_SOUND, &one);
            schedule_run((enum schedule_kind)kind, seed, SIM_TRUE_CLOCKS, &two);
            if (one.steps != two.steps || one.writes != two.writes || one.freezes != two.freezes ||
                one.simulated_us != two.simulated_us) {
                fail_msg("%s %llu: %llu and %llu steps", schedule_kind_name((enum schedule_kind)kind),
                         (unsigned long long)seed, (unsigned long long)one.steps, (unsigned long long)two.steps);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vm_runs_once_and_stops_and_starts_with_a_higher_epoch),
        cmocka_unit_test(migration_moves_ownership_and_never_runs_twice),
        cmocka_unit_test(agents_may_die_at_any_moment_of_a_migration),
        cmocka_unit_test(no_move_costs_the_guest_its_memory),
        cmocka_unit_test(wall_clocks_that_jump_change_no_schedule),
        cmocka_unit_test(everything_at_once_stays_safe_and_comes_to_rest),
        cmocka_unit_test(a_name_may_be_used_again),
        cmocka_unit_test(guest_that_falls_before_it_was_seen_is_started_again),
        cmocka_unit_test(a_phase_acts_once_while_the_store_is_away),
        cmocka_unit_test(a_machine_that_was_started_meanwhile_keeps_its_disks),
        cmocka_unit_test(a_pool_with_something_on_it_is_never_removed),
        cmocka_unit_test(a_task_survives_the_host_that_ran_it),
        cmocka_unit_test(a_stop_during_a_migration_ends_the_guest),
        cmocka_unit_test(a_reboot_gives_a_new_incarnation_and_starts_its_guests_again),
        cmocka_unit_test(a_pool_that_is_being_made_cannot_be_removed),
        cmocka_unit_test(placement_names_what_is_in_the_way),
        cmocka_unit_test(requests_with_wrong_values_are_refused_by_name),
        cmocka_unit_test(what_a_core_leaves_out_would_have_come_to_nothing),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
