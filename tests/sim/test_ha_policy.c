/* SPDX-License-Identifier: Apache-2.0
 * What becomes of many machines of one lost host: policies, order, room. MORTAR_SEED repeats one run,
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

/* Steals @args. */
static void ask(struct sim *s, size_t host, const char *verb, json_t *args)
{
    struct err e = {0};
    _cleanup_free_ char *task = NULL;
    for (int i = 0; !task && i < 100; i++) {
        e = (struct err){0};
        task = sim_request(s, host, verb, json_deep_copy(args), &e);
        sim_run(s, 500 * USEC_PER_MSEC);
        _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task ? task : "");
        if (task && !sim_get(s, key)) { /* its commit met another one */
            free(task);
            task = NULL;
        }
    }
    json_decref(args);
    if (!task || !str_eq(sim_wait(s, task, LIMIT_US), "done")) {
        fail_msg("seed %llu: %s: %s", (unsigned long long)s->seed, verb, e.msg);
    }
}

/* @host: NULL when it may be any */
static void add_vm(struct sim *s, const char *name, const char *ha, const char *priority, const char *host)
{
    ask(s, 0, "vm.create", json_pack("{s:s,s:s,s:i,s:I,s:I,s:s,s:s,s:s*}", "name", name, "pool", "vms", "cpus", 1,
                                     "memory_bytes", (json_int_t)GIB, "disk_bytes", (json_int_t)GIB, "ha",
                                     ha, "priority", priority, "host", host));
}

/* Two converged hosts and a witness, a pool with failover. */
static void prepare(struct sim *s, uint64_t seed)
{
    sim_init(s, seed, 3);
    sim_ha_init(s);
    sim_run(s, 3 * USEC_PER_SEC);
    ask(s, 0, "pool.create", json_pack("{s:s}", "name", "vms"));
    sim_run(s, 10 * USEC_PER_SEC);
    ask(s, 0, "pool.ha", json_pack("{s:s,s:b}", "name", "vms", "on", 1));
}

static void end(struct sim *s)
{
    sim_ha_done(s);
    sim_done(s);
}

static const json_t *record(const struct sim *s, const char *vm, const char *which)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/%s", vm, which);
    return sim_get(s, key);
}

static const char *owner_of(const struct sim *s, const char *vm)
{
    return json_text_of(record(s, vm, "own"), "owner");
}

static size_t index_of(const struct sim *s, const char *host)
{
    size_t i = 0;
    while (i < s->hosts_n && !str_eq(s->hosts[i].name, host)) {
        i++;
    }
    return i;
}

static bool is_running_on(const struct sim *s, const char *vm, const char *host)
{
    return str_eq(owner_of(s, vm), host) && sim_running(s, vm) == 1;
}

#define WAIT_FOR(s, what)                                                                    \
    do {                                                                                     \
        uint64_t until_us = (s)->now_us + LIMIT_US;                                          \
        while (!(what) && (s)->now_us < until_us) {                                          \
            sim_run((s), 20 * USEC_PER_MSEC);                                                \
        }                                                                                    \
        if (!(what)) {                                                                       \
            fail_msg("seed %llu: never: %s", (unsigned long long)(s)->seed, #what);          \
        }                                                                                    \
    } while (0)

static void each_machine_of_a_lost_host_follows_its_policy(void **state)
{
    for (int i = 0; i < schedules(5); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        add_vm(&s, "moves", "restart", "normal", "host1");
        add_vm(&s, "stays", "stay", "high", "host1");
        add_vm(&s, "ends", "none", "high", "host1");
        sim_run(&s, 20 * USEC_PER_SEC);
        _cleanup_free_ char *old = str_dup(owner_of(&s, "moves"));
        assert_true(is_running_on(&s, "moves", old) && is_running_on(&s, "stays", old) &&
                    is_running_on(&s, "ends", old)); /* else this run shows nothing */
        size_t lost = index_of(&s, old);
        const char *other = s.hosts[lost == 0 ? 1 : 0].name;
        sim_ha_power_off(&s, lost);
        WAIT_FOR(&s, is_running_on(&s, "moves", other));
        WAIT_FOR(&s, str_eq(json_text_of(record(&s, "ends", "spec"), "desired"), "stopped"));
        sim_run(&s, 30 * USEC_PER_SEC);
        assert_string_equal(owner_of(&s, "stays"), old);
        assert_int_equal(sim_copies(&s, "stays") + sim_copies(&s, "ends"), 0);
        ask(&s, index_of(&s, other), "vm.start", json_pack("{s:s}", "name", "ends"));
        assert_true(is_running_on(&s, "ends", other)); /* by hand at once, although its host is off */
        sim_ha_power_on(&s, lost);
        WAIT_FOR(&s, is_running_on(&s, "stays", old));
        assert_true(is_running_on(&s, "moves", other) && is_running_on(&s, "ends", other));
        end(&s);
    }
}

/* Three of 24 groups by name, so that the order of names is not that of importance. */
static void name_of(int i, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%c%d", 'a' + i / 8, i % 8);
}

static void many_machines_start_by_priority_and_few_at_a_time(void **state)
{
    static const char *const priorities[] = {"low", "normal", "high"};
    enum { N = 24 };
    for (int i = 0; i < schedules(3); i++) {
        struct sim s;
        uint64_t born_us[N] = {0};
        char name[8];
        prepare(&s, first_seed() + (uint64_t)i);
        for (int k = 0; k < N; k++) {
            name_of(k, name, sizeof(name));
            add_vm(&s, name, "restart", priorities[k / 8], "host1");
        }
        sim_run(&s, 20 * USEC_PER_SEC);
        _cleanup_free_ char *old = str_dup(owner_of(&s, "a0"));
        s.create_us = USEC_PER_SEC;
        sim_ha_power_off(&s, index_of(&s, old));
        int running = 0;
        for (uint64_t until_us = s.now_us + LIMIT_US; running < N && s.now_us < until_us;) {
            sim_run(&s, 10 * USEC_PER_MSEC);
            for (int k = running = 0; k < N; k++) {
                name_of(k, name, sizeof(name));
                bool is_up = !str_eq(owner_of(&s, name), old) && sim_running(&s, name) == 1;
                born_us[k] = is_up && !born_us[k] ? s.now_us : born_us[k];
                running += is_up;
            }
        }
        assert_int_equal(running, N);
        assert_int_equal(s.creating_max, 8);
        for (int k = 0; k < N; k++) {
            for (int other = 0; other < k; other++) { /* a group is born after all that are more important */
                if (other / 8 < k / 8 && born_us[k] > born_us[other]) {
                    fail_msg("seed %llu: %c%d at %llu ms, %c%d at %llu", (unsigned long long)s.seed, 'a' + k / 8,
                             k % 8, (unsigned long long)born_us[k] / 1000, 'a' + other / 8, other % 8,
                             (unsigned long long)born_us[other] / 1000);
                }
            }
        }
        end(&s);
    }
}

static void five_machines_of_a_lost_host_run_within_five_seconds_after_the_first(void **state)
{
    for (int i = 0; i < schedules(5); i++) {
        struct sim s;
        char name[8];
        prepare(&s, first_seed() + (uint64_t)i);
        for (int k = 0; k < 5; k++) {
            name_of(k, name, sizeof(name));
            add_vm(&s, name, "restart", "normal", "host1");
        }
        sim_run(&s, 20 * USEC_PER_SEC);
        _cleanup_free_ char *old = str_dup(owner_of(&s, "a0"));
        s.create_us = 2 * USEC_PER_SEC;
        sim_ha_power_off(&s, index_of(&s, old));
        WAIT_FOR(&s, !str_eq(owner_of(&s, "a0"), old) && sim_running(&s, "a0") == 1);
        sim_run(&s, 5 * USEC_PER_SEC);
        for (int k = 0; k < 5; k++) {
            name_of(k, name, sizeof(name));
            assert_true(!str_eq(owner_of(&s, name), old) && sim_running(&s, name) == 1);
        }
        end(&s);
    }
}

/* Each of the two hosts has room for three machines of 1 GiB, and two machines. */
static void the_less_important_waits_for_room_and_starts_when_there_is(void **state)
{
    for (int i = 0; i < schedules(5); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        s.memory_bytes = 4 * GIB;
        sim_run(&s, 60 * USEC_PER_SEC);
        add_vm(&s, "a", "restart", "low", NULL);
        add_vm(&s, "b", "restart", "normal", NULL);
        add_vm(&s, "c", "restart", "high", NULL);
        add_vm(&s, "d", "restart", "normal", NULL);
        sim_run(&s, 20 * USEC_PER_SEC);
        _cleanup_free_ char *old = str_dup(owner_of(&s, "a"));
        const char *other = s.hosts[index_of(&s, old) == 0 ? 1 : 0].name;
        assert_true(is_running_on(&s, "c", old) && is_running_on(&s, "b", other) && is_running_on(&s, "d", other));
        sim_ha_power_off(&s, index_of(&s, old));
        WAIT_FOR(&s, is_running_on(&s, "c", other));
        sim_run(&s, 100 * USEC_PER_SEC);
        assert_string_equal(owner_of(&s, "a"), old);
        assert_int_equal(sim_copies(&s, "a"), 0);
        ask(&s, index_of(&s, other), "vm.stop", json_pack("{s:s}", "name", "d"));
        WAIT_FOR(&s, is_running_on(&s, "a", other));
        end(&s);
    }
}

static const char *state_of(const struct sim *s, size_t host)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[host].name);
    return json_text_of(sim_get(s, key), "state");
}

static void a_host_that_was_fenced_twice_waits_for_its_administrator(void **state)
{
    for (int i = 0; i < schedules(3); i++) {
        struct sim s;
        prepare(&s, first_seed() + (uint64_t)i);
        sim_ha_power_off(&s, 0);
        WAIT_FOR(&s, str_eq(state_of(&s, 0), "fenced"));
        sim_ha_power_on(&s, 0);
        WAIT_FOR(&s, str_eq(state_of(&s, 0), "online")); /* once is no pattern */
        sim_run(&s, 30 * USEC_PER_SEC);
        sim_ha_power_off(&s, 0);
        WAIT_FOR(&s, str_eq(state_of(&s, 0), "fenced"));
        sim_ha_power_on(&s, 0);
        sim_run(&s, LIMIT_US);
        assert_string_equal(state_of(&s, 0), "fenced");
        for (int k = 0; k < 5 && str_eq(state_of(&s, 0), "fenced"); k++) { /* a commit may meet another one */
            sim_ha_admit(&s);
            sim_run(&s, 10 * USEC_PER_SEC);
        }
        WAIT_FOR(&s, str_eq(state_of(&s, 0), "online"));
        end(&s);
    }
}

static void two_fences_with_a_good_hour_between_are_no_pattern(void **state)
{
    struct sim s;
    prepare(&s, first_seed());
    for (int i = 0; i < 2; i++) {
        sim_ha_power_off(&s, 0);
        WAIT_FOR(&s, str_eq(state_of(&s, 0), "fenced"));
        sim_ha_power_on(&s, 0);
        WAIT_FOR(&s, str_eq(state_of(&s, 0), "online"));
        sim_run(&s, (uint64_t)3700 * USEC_PER_SEC);
    }
    end(&s);
}

static uint64_t crashes_of(const struct sim *s, const char *vm)
{
    return json_u64_of(json_object_get(record(s, vm, "act"), "crashes"), "count", 0);
}

/* It falls as soon as it runs, and its host is lost in the midst of that. */
static void a_machine_that_falls_and_falls_is_not_carried_on_for_ever(void **state)
{
    for (int i = 0; i < schedules(3); i++) {
        struct sim s;
        uint64_t runs = 0;
        prepare(&s, first_seed() + (uint64_t)i);
        add_vm(&s, "bad", "restart", "normal", "host1");
        sim_run(&s, 20 * USEC_PER_SEC);
        for (uint64_t until_us = s.now_us + 2 * LIMIT_US; s.now_us < until_us; sim_run(&s, 500 * USEC_PER_MSEC)) {
            if (runs == 4 && str_eq(owner_of(&s, "bad"), "host1")) {
                sim_ha_power_off(&s, 0);
            } else if (str_eq(json_text_of(record(&s, "bad", "act"), "state"), "running") &&
                       sim_running(&s, "bad") == 1) {
                sim_end_guest(&s, "bad", "crashed");
                runs++;
            }
        }
        assert_string_equal(owner_of(&s, "bad"), "host2"); /* four falls are no reason to leave it behind */
        if (runs != 8 || crashes_of(&s, "bad") != 8 || sim_copies(&s, "bad")) {
            fail_msg("seed %llu: it ran %llu times, %llu are counted", (unsigned long long)s.seed,
                     (unsigned long long)runs, (unsigned long long)crashes_of(&s, "bad"));
        }
        ask(&s, 1, "vm.start", json_pack("{s:s}", "name", "bad")); /* its user has mended it */
        sim_run(&s, 700 * USEC_PER_SEC);
        assert_true(is_running_on(&s, "bad", "host2"));
        assert_int_equal(crashes_of(&s, "bad"), 0);
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_machine_of_a_lost_host_follows_its_policy),
        cmocka_unit_test(many_machines_start_by_priority_and_few_at_a_time),
        cmocka_unit_test(the_less_important_waits_for_room_and_starts_when_there_is),
        cmocka_unit_test(a_host_that_was_fenced_twice_waits_for_its_administrator),
        cmocka_unit_test(two_fences_with_a_good_hour_between_are_no_pattern),
        cmocka_unit_test(a_machine_that_falls_and_falls_is_not_carried_on_for_ever),
        cmocka_unit_test(five_machines_of_a_lost_host_run_within_five_seconds_after_the_first),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
