/* SPDX-License-Identifier: Apache-2.0
 * Promises of failover, held in many simulated clusters. MORTAR_SEED repeats one, MORTAR_SCHEDULES says how
 * many, MORTAR_ONLY which test ("anything*"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim_ha.h"

#define LIMIT_US (300 * USEC_PER_SEC)

static uint64_t first_seed(void)
{
    const char *text = getenv("MORTAR_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

static int schedules(int normal)
{
    const char *text = getenv("MORTAR_SCHEDULES");
    return getenv("MORTAR_SEED") && !text ? 1 : text ? (int)strtoul(text, NULL, 10) : normal;
}

static void ask(struct sim *s, const char *verb, json_t *args)
{
    struct err e = {0};
    _cleanup_free_ char *task = NULL;
    for (int i = 0; !task && i < 100; i++) {
        e = (struct err){0};
        task = sim_request(s, 0, verb, json_deep_copy(args), &e);
        sim_run(s, 500 * USEC_PER_MSEC);
        _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task ? task : "");
        if (task && !sim_get(s, key)) {
            free(task);
            task = NULL;
        }
    }
    json_decref(args);
    if (!task) {
        fail_msg("%s: %s", verb, e.msg);
    }
    const char *state = sim_wait(s, task, LIMIT_US);
    _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task);
    _cleanup_free_ char *text = json_format(sim_get(s, key));
    if (!str_eq(state, "done")) {
        fail_msg("seed %llu: %s ended as '%s': %s", (unsigned long long)s->seed, verb, state, text);
    }
}

static void add_vm(struct sim *s, const char *name)
{
    ask(s, "vm.create", json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", name, "pool", "vms", "cpus", 1,
                                  "memory_bytes", (json_int_t)GIB, "disk_bytes", (json_int_t)GIB));
}

/* Two converged hosts and a witness, a pool with failover, one machine. */
static void prepare(struct sim *s, uint64_t seed)
{
    sim_init(s, seed, 3);
    sim_ha_init(s);
    sim_run(s, 3 * USEC_PER_SEC);
    ask(s, "pool.create", json_pack("{s:s}", "name", "vms"));
    sim_run(s, 10 * USEC_PER_SEC);
    ask(s, "pool.ha", json_pack("{s:s,s:b}", "name", "vms", "on", 1));
    add_vm(s, "db1");
    sim_run(s, 20 * USEC_PER_SEC);
    assert_int_equal(sim_running(s, "db1"), 1);
}

static void end(struct sim *s)
{
    sim_ha_done(s);
    sim_done(s);
}

static size_t host_of(const struct sim *s, const char *vm)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/own", vm);
    const char *owner = json_text_of(sim_get(s, key), "owner");
    for (size_t i = 0; i < s->hosts_n; i++) {
        if (str_eq(s->hosts[i].name, owner)) {
            return i;
        }
    }
    return SIM_HOSTS_MAX;
}

static const char *node_state(const struct sim *s, size_t host)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[host].name);
    return json_text_of(sim_get(s, key), "state");
}

/* Time until @vm executes on another host than @old; LIMIT_US when it never does. */
static uint64_t time_until_moved(struct sim *s, const char *vm, size_t old)
{
    uint64_t from = s->now_us;
    while (s->now_us < from + LIMIT_US && !(host_of(s, vm) != old && sim_running(s, vm) == 1)) {
        sim_run(s, 50 * USEC_PER_MSEC);
    }
    return s->now_us - from;
}

static void all_are_online(struct sim *s)
{
    uint64_t end_us = s->now_us + LIMIT_US;
    for (size_t i = 0; i < s->hosts_n; i++) {
        while (s->now_us < end_us && !str_eq(node_state(s, i), "online")) {
            sim_ha_admit(s);
            sim_run(s, USEC_PER_SEC);
        }
        if (!str_eq(node_state(s, i), "online")) {
            _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[i].name);
            _cleanup_free_ char *text = json_format(sim_get(s, key));
            fail_msg("seed %llu: %s", (unsigned long long)s->seed, text);
        }
    }
}

static void case_1_power_cut_restarts_the_machine_within_ten_seconds(void **state)
{
    for (int i = 0; i < schedules(20); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        size_t old = host_of(&s, "db1");
        sim_ha_power_off(&s, old);
        uint64_t took_us = time_until_moved(&s, "db1", old);
        if (took_us > 10 * USEC_PER_SEC) {
            fail_msg("seed %llu: %llu ms, %s is %s", (unsigned long long)s.seed,
                     (unsigned long long)took_us / 1000, s.hosts[old].name, node_state(&s, old));
        }
        sim_ha_power_on(&s, old);
        all_are_online(&s);
        assert_int_equal(sim_running(&s, "db1"), 1);
        end(&s);
    }
}

static void case_9_cut_host_freezes_and_its_machine_moves(void **state)
{
    for (int i = 0; i < schedules(20); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        size_t old = host_of(&s, "db1");
        sim_ha_cut(&s, old, SIM_MGMT);
        sim_ha_cut(&s, old, SIM_STORAGE);
        assert_true(time_until_moved(&s, "db1", old) <= 10 * USEC_PER_SEC);
        sim_run(&s, 30 * USEC_PER_SEC);
        sim_ha_heal(&s);
        all_are_online(&s);
        assert_int_equal(sim_running(&s, "db1"), 1);
        end(&s);
    }
}

static void case_2_hung_host_that_revives_writes_nothing(void **state)
{
    for (int i = 0; i < schedules(20); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        size_t old = host_of(&s, "db1");
        s.ha->has_watchdog = i % 2 == 0;
        sim_ha_hang(&s, old);
        assert_true(time_until_moved(&s, "db1", old) <= 12 * USEC_PER_SEC);
        sim_run(&s, prng_below(&s.prng, 60 * USEC_PER_SEC));
        sim_ha_resume(&s, old); /* S1 is checked after every event */
        all_are_online(&s);
        assert_int_equal(sim_running(&s, "db1"), 1);
        end(&s);
    }
}

static void case_8_without_management_network_nothing_is_fenced(void **state)
{
    for (int i = 0; i < schedules(5); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        size_t old = host_of(&s, "db1");
        sim_ha_cut(&s, old, SIM_MGMT);
        sim_run(&s, 60 * USEC_PER_SEC);
        assert_string_equal(node_state(&s, old), "online");
        assert_int_equal(sim_running(&s, "db1"), 1);
        sim_ha_heal(&s);
        sim_run(&s, 60 * USEC_PER_SEC);
        assert_int_equal(host_of(&s, "db1"), old);
        end(&s);
    }
}

static void case_10_whole_switch_down_freezes_all_and_kills_nobody(void **state)
{
    for (int i = 0; i < schedules(10); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        size_t old = host_of(&s, "db1");
        unsigned cold_starts = s.cold_starts;
        for (size_t h = 0; h < s.hosts_n; h++) {
            sim_ha_cut(&s, h, SIM_MGMT);
            sim_ha_cut(&s, h, SIM_STORAGE);
        }
        sim_run(&s, 20 * USEC_PER_SEC);
        assert_int_equal(sim_running(&s, "db1"), 0);
        assert_true(s.ha->hosts[old].guard.is_frozen);
        sim_run(&s, prng_below(&s.prng, 150 * USEC_PER_SEC));
        sim_ha_heal(&s);
        sim_run(&s, 10 * USEC_PER_SEC);
        assert_int_equal(sim_running(&s, "db1"), 1);
        assert_int_equal(host_of(&s, "db1"), old);
        assert_int_equal(s.cold_starts, cold_starts);
        end(&s);
    }
}

static void case_13_without_the_store_machines_run_on(void **state)
{
    struct sim s;
    prepare(&s, first_seed());
    unsigned cold_starts = s.cold_starts;
    s.store_is_down = true;
    sim_run(&s, 300 * USEC_PER_SEC);
    assert_int_equal(sim_running(&s, "db1"), 1);
    s.store_is_down = false;
    sim_run(&s, 60 * USEC_PER_SEC);
    assert_int_equal(sim_running(&s, "db1"), 1);
    assert_int_equal(s.cold_starts, cold_starts);
    end(&s);
}

static void case_32_whole_site_loses_power_and_comes_back_by_itself(void **state)
{
    for (int i = 0; i < schedules(20); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        for (size_t h = 0; h < s.hosts_n; h++) {
            sim_ha_power_off(&s, h);
        }
        sim_run(&s, prng_below(&s.prng, 60 * USEC_PER_SEC));
        size_t first = (size_t)prng_below(&s.prng, s.hosts_n);
        for (size_t h = 0; h < s.hosts_n; h++) {
            sim_ha_power_on(&s, (first + h) % s.hosts_n);
            sim_run(&s, prng_below(&s.prng, 40 * USEC_PER_SEC));
        }
        all_are_online(&s);
        sim_run(&s, 60 * USEC_PER_SEC);
        if (sim_running(&s, "db1") != 1) {
            _cleanup_free_ char *own = json_format(sim_get(&s, KEY_VM "db1/own"));
            _cleanup_free_ char *act = json_format(sim_get(&s, KEY_VM "db1/act"));
            fail_msg("seed %llu: own %s act %s", (unsigned long long)s.seed, own, act);
        }
        end(&s);
    }
}

/* --- anything at once ---------------------------------------------------------------------- */

static void hurt(struct sim *s)
{
    struct err e = {0};
    size_t victim = (size_t)prng_below(&s->prng, s->hosts_n);
    switch (prng_below(&s->prng, 9)) {
    case 0:
        sim_ha_power_off(s, victim);
        break;
    case 1:
        sim_ha_hang(s, victim);
        break;
    case 2:
        sim_ha_cut(s, victim, SIM_MGMT);
        break;
    case 3:
        sim_ha_cut(s, victim, SIM_STORAGE);
        break;
    case 4:
        sim_ha_cut(s, victim, SIM_MGMT);
        sim_ha_cut(s, victim, SIM_STORAGE);
        break;
    case 5:
        sim_ha_crash_guard(s, victim);
        break;
    case 6:
        if (s->hosts[victim].is_up) {
            sim_kill_agent(s, victim);
            sim_start_agent(s, victim);
        }
        break;
    case 7:
        if (s->hosts[victim].is_up) {
            free(sim_request(s, victim, "vm.migrate", json_pack("{s:s}", "name", "db1"), &e));
        }
        break;
    case 8:
        s->store_is_down = !s->store_is_down;
        break;
    }
}

static void mend_all(struct sim *s)
{
    s->store_is_down = false;
    sim_ha_heal(s);
    for (size_t h = 0; h < s->hosts_n; h++) {
        sim_ha_resume(s, h);
        sim_ha_power_on(s, h);
    }
    sim_ha_admit(s);
}

static void run_schedule(struct sim *s)
{
    s->fail_percent = 10;
    s->lost_percent = 5;
    s->stale_percent = 20;
    s->ha->loss_percent = 5;
    s->ha->slow_percent = 1;
    int n = 2 + (int)prng_below(&s->prng, 6);
    for (int k = 0; k < n; k++) {
        hurt(s);
        sim_run(s, prng_below(&s->prng, 15 * USEC_PER_SEC));
        if (prng_below(&s->prng, 3) == 0) {
            mend_all(s);
            sim_run(s, prng_below(&s->prng, 30 * USEC_PER_SEC));
        }
    }
    mend_all(s);
    s->fail_percent = s->lost_percent = s->stale_percent = s->ha->loss_percent = s->ha->slow_percent = 0;
}

/* Both run, and go on running. */
static void come_to_rest(struct sim *s)
{
    uint64_t end_us = s->now_us + LIMIT_US;
    while (s->now_us < end_us && (sim_running(s, "db1") != 1 || sim_running(s, "web") != 1)) {
        sim_run(s, USEC_PER_SEC);
    }
    sim_run(s, 20 * USEC_PER_SEC);
}

static void anything_at_once_stays_safe_and_comes_to_rest(void **state)
{
    for (int i = 0; i < schedules(60); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        add_vm(&s, "web");
        run_schedule(&s);
        all_are_online(&s);
        come_to_rest(&s);
        if (sim_running(&s, "db1") != 1 || sim_running(&s, "web") != 1) {
            _cleanup_free_ char *own = json_format(sim_get(&s, KEY_VM "db1/own"));
            _cleanup_free_ char *act = json_format(sim_get(&s, KEY_VM "db1/act"));
            _cleanup_free_ char *own2 = json_format(sim_get(&s, KEY_VM "web/own"));
            _cleanup_free_ char *act2 = json_format(sim_get(&s, KEY_VM "web/act"));
            fail_msg("seed %llu: db1 %zu own %s act %s; web %zu own %s act %s",
                     (unsigned long long)s.seed, sim_running(&s, "db1"), own, act,
                     sim_running(&s, "web"), own2, act2);
        }
        end(&s);
    }
}

/* --- mutants ------------------------------------------------------------------------------- */

static bool is_found(enum sim_mutant mutant, int limit)
{
    for (int i = 0; i < limit; i++) {
        struct sim s;
        prepare(&s, 1000 + (uint64_t)i);
        s.mutant = mutant;
        s.keeps_going = true;
        s.ha->slow_percent = 2;
        s.stale_percent = 30;
        s.fail_percent = 20;
        add_vm(&s, "web");
        for (int k = 0; k < 6 && !s.violation[0]; k++) {
            hurt(&s);
            sim_run(&s, prng_below(&s.prng, 15 * USEC_PER_SEC));
            if (prng_below(&s.prng, 2)) {
                mend_all(&s);
                sim_run(&s, prng_below(&s.prng, 20 * USEC_PER_SEC));
            }
        }
        bool found = s.violation[0];
        end(&s);
        if (found) {
            return true;
        }
    }
    return false;
}

static void every_mutant_is_found(void **state)
{
    static const struct {
        enum sim_mutant mutant;
        const char *name;
    } mutants[] = {
        {SIM_NO_FENCE, "no fence"},
        {SIM_FENCE_TWO, "two of three bricks are cut"},
        {SIM_NO_DRAIN, "no drain"},
        {SIM_NO_PROMISE_WAIT, "no wait for promises"},
        {SIM_DECIDES_ON_READS, "decides on reads"},
    };
    for (size_t i = 0; i < ELEMENTS(mutants); i++) {
        if (!is_found(mutants[i].mutant, 400)) {
            fail_msg("not found: %s", mutants[i].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_1_power_cut_restarts_the_machine_within_ten_seconds),
        cmocka_unit_test(case_2_hung_host_that_revives_writes_nothing),
        cmocka_unit_test(case_8_without_management_network_nothing_is_fenced),
        cmocka_unit_test(case_9_cut_host_freezes_and_its_machine_moves),
        cmocka_unit_test(case_10_whole_switch_down_freezes_all_and_kills_nobody),
        cmocka_unit_test(case_13_without_the_store_machines_run_on),
        cmocka_unit_test(case_32_whole_site_loses_power_and_comes_back_by_itself),
        cmocka_unit_test(anything_at_once_stays_safe_and_comes_to_rest),
        cmocka_unit_test(every_mutant_is_found),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
