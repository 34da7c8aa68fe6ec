/* SPDX-License-Identifier: Apache-2.0
 * Promises of the core, held in many simulated clusters. MORTAR_SEED repeats one of them,
 * MORTAR_SCHEDULES says how many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim.h"

#define LIMIT_US (300 * USEC_PER_SEC)

static void ask(struct sim *s, const char *verb, json_t *args, const char *expected)
{
    struct err e = {0};
    _cleanup_free_ char *task = NULL;
    for (int i = 0; !task && i < 100; i++) { /* what others do at the moment may be in the way */
        e = (struct err){0};
        task = sim_request(s, 0, verb, json_deep_copy(args), &e);
        sim_run(s, 500 * USEC_PER_MSEC);
        _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task ? task : "");
        if (task && !sim_get(s, key)) {
            free(task);
            task = NULL; /* its commit met a conflict */
        }
    }
    json_decref(args);
    if (!task) {
        fail_msg("%s: %s", verb, e.msg);
    }
    const char *state = sim_wait(s, task, LIMIT_US);
    _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task);
    _cleanup_free_ char *text = json_format(sim_get(s, key));
    if (expected && strcmp(state, expected) != 0) {
        fail_msg("%s ended as '%s': %s", verb, state, text);
    }
}

static void prepare(struct sim *s, uint64_t seed)
{
    sim_init(s, seed, 3);
    sim_run(s, 3 * USEC_PER_SEC);
    ask(s, "pool.create", json_pack("{s:s}", "name", "vms"), "done");
    sim_run(s, 10 * USEC_PER_SEC);
    ask(s, "vm.create", json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", "db1", "pool", "vms", "cpus", 1,
                                  "memory_bytes", (json_int_t)GIB, "disk_bytes", (json_int_t)GIB),
        "done");
    assert_int_equal(sim_running(s, "db1"), 1);
}

static uint64_t first_seed(void)
{
    const char *text = getenv("MORTAR_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

static int schedules(int normal)
{
    const char *text = getenv("MORTAR_SCHEDULES");
    return getenv("MORTAR_SEED") ? 1 : text ? (int)strtoul(text, NULL, 10) : normal;
}

static void vm_runs_once_and_stops_and_starts_with_a_higher_epoch(void **state)
{
    struct sim s;
    prepare(&s, first_seed());
    uint64_t before = json_u64_of(sim_get(&s, KEY_VM "db1/own"), "epoch", 0);
    ask(&s, "vm.stop", json_pack("{s:s}", "name", "db1"), "done");
    assert_int_equal(sim_running(&s, "db1"), 0);
    ask(&s, "vm.start", json_pack("{s:s}", "name", "db1"), "done");
    assert_int_equal(sim_running(&s, "db1"), 1);
    assert_true(json_u64_of(sim_get(&s, KEY_VM "db1/own"), "epoch", 0) > before);
    ask(&s, "vm.stop", json_pack("{s:s}", "name", "db1"), "done");
    ask(&s, "vm.remove", json_pack("{s:s}", "name", "db1"), "done");
    assert_null(sim_get(&s, KEY_VM "db1/spec"));
    sim_done(&s);
}

static void migration_moves_ownership_and_never_runs_twice(void **state)
{
    for (int i = 0; i < schedules(20); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        const char *old = json_text_of(sim_get(&s, KEY_VM "db1/own"), "owner");
        _cleanup_free_ char *from = str_dup(old);
        ask(&s, "vm.migrate", json_pack("{s:s}", "name", "db1"), "done");
        assert_string_not_equal(json_text_of(sim_get(&s, KEY_VM "db1/own"), "owner"), from);
        assert_int_equal(sim_running(&s, "db1"), 1);
        assert_non_null(sim_get(&s, KEY_VM "db1/last"));
        sim_done(&s);
    }
}

/* Agents die at random moments while a machine is moved to and fro; copies fail now and then. */
static void agents_may_die_at_any_moment_of_a_migration(void **state)
{
    for (int i = 0; i < schedules(200); i++) {
        uint64_t seed = first_seed() + (uint64_t)i;
        struct sim s;
        prepare(&s, seed);
        s.fail_percent = 20;
        for (int k = 0; k < 4; k++) {
            struct err e = {0};
            free(sim_request(&s, (size_t)prng_below(&s.prng, 2), "vm.migrate",
                             json_pack("{s:s}", "name", "db1"), &e)); /* may be refused */
            sim_run(&s, prng_below(&s.prng, 300 * USEC_PER_MSEC));
            size_t victim = (size_t)prng_below(&s.prng, s.hosts_n);
            sim_kill_agent(&s, victim);
            sim_run(&s, prng_below(&s.prng, 5 * USEC_PER_SEC));
            sim_start_agent(&s, victim);
            sim_run(&s, prng_below(&s.prng, 5 * USEC_PER_SEC));
        }
        s.fail_percent = 0;
        sim_run(&s, LIMIT_US);
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
    for (int i = 0; i < schedules(50); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        s.unknown_percent = 40;
        for (int k = 0; k < 3; k++) {
            ask(&s, "vm.migrate", json_pack("{s:s}", "name", "db1"), "done");
        }
        assert_int_equal(sim_running(&s, "db1"), 1);
        assert_int_equal(s.cold_starts, 1);
        sim_done(&s);
    }
}

static void placement_names_what_is_in_the_way(void **state)
{
    struct sim s;
    struct err e = {0};
    prepare(&s, first_seed());
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
        {"vm.set", "{\"name\":\"db1\",\"cpus\":2}", ERR_STATE},
        {"init", "{\"name\":\"again\"}", ERR_IN_CLUSTER},
        {"init", "{\"name\":\"again\",\"uplink\":\"eth0\"}", ERR_INVALID},
        {"task.cancel", "{\"id\":\"none\"}", ERR_NOT_FOUND},
        {"no.such", "{}", ERR_USAGE},
    };
    struct sim s;
    prepare(&s, first_seed());
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vm_runs_once_and_stops_and_starts_with_a_higher_epoch),
        cmocka_unit_test(migration_moves_ownership_and_never_runs_twice),
        cmocka_unit_test(agents_may_die_at_any_moment_of_a_migration),
        cmocka_unit_test(no_move_costs_the_guest_its_memory),
        cmocka_unit_test(placement_names_what_is_in_the_way),
        cmocka_unit_test(requests_with_wrong_values_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
