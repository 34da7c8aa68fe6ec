/* SPDX-License-Identifier: Apache-2.0
 * Failover is switched off while hosts are out: whoever was cut off comes back all the same, and nobody lets in a
 * guest of before. MORTAR_SEED repeats one run, MORTAR_SCHEDULES says how many, MORTAR_TRACE tells what happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "schedule.h"

#define WITNESS 2

static void end(struct sim *s)
{
    sim_ha_done(s);
    sim_done(s);
}

static json_t *off(void)
{
    return json_pack("{s:s,s:b}", "name", "vms", "on", 0);
}

static bool is_off(struct sim *s, const void *arg)
{
    return !json_object_get(sim_get(s, KEY_POOL "vms"), "ha");
}

static bool is_fenced(struct sim *s, const void *host)
{
    return str_eq(kit_state(s, *(const size_t *)host), "fenced");
}

static bool is_db1_running(struct sim *s, const void *arg)
{
    return sim_running(s, "db1") == 1;
}

/* It is off in the end, everybody is a full member, and the machine runs once. */
static void expect_peace(struct sim *s)
{
    kit_all_online(s);
    kit_ask(s, "pool.ha", off(), "done");
    assert_true(is_off(s, NULL));
    sim_run(s, 60 * USEC_PER_SEC);
    kit_all_online(s);
    (void)kit_until(s, is_db1_running, NULL, KIT_LIMIT_US);
    kit_expect_running(s, "db1");
    assert_int_equal(sim_copies(s, "db1"), 1);
    for (size_t h = 0; h < s->hosts_n; h++) {
        _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[h].name);
        if (json_object_get(sim_get(s, key), "flush")) {
            fail_msg("seed %llu: nobody ends the flush of %s", (unsigned long long)s->seed, s->hosts[h].name);
        }
        assert_false(s->ha->hosts[h].has_table);
        assert_false(s->ha->hosts[h].guard.is_up);
    }
}

/* Off, the survivors would open their filters to what a hung host still has to write (S1 is checked). */
static void failover_is_not_switched_off_while_a_host_is_fenced(void **state)
{
    for (int i = 0; i < kit_schedules(10); i++) {
        struct sim s;
        struct err e = {0};
        schedule_failover_prepare(&s, kit_first_seed() + (uint64_t)i);
        sim_run(&s, 15 * USEC_PER_SEC);
        size_t old = kit_owner(&s, "db1");
        s.ha->has_watchdog = false;
        sim_ha_hang(&s, old);
        assert_true(kit_until(&s, is_fenced, &old, KIT_LIMIT_US));
        /* Refused; or, where the fence has not been heard of yet, its task waits. */
        _cleanup_free_ char *task = sim_request(&s, WITNESS, "pool.ha", off(), &e);
        assert_true(kit_until(&s, is_db1_running, NULL, KIT_LIMIT_US));
        sim_run(&s, prng_below(&s.prng, 30 * USEC_PER_SEC));
        assert_false(is_off(&s, NULL));
        sim_ha_resume(&s, old);
        expect_peace(&s);
        end(&s);
    }
}

/* A request that is made at any moment of a failover, by whoever hears it, and whose store comes and goes. */
static void whenever_it_is_switched_off_every_host_comes_back(void **state)
{
    for (int i = 0; i < kit_schedules(300); i++) {
        struct sim s;
        schedule_failover_prepare(&s, kit_first_seed() + (uint64_t)i);
        sim_run(&s, 15 * USEC_PER_SEC);
        size_t victim = (size_t)prng_below(&s.prng, s.hosts_n);
        s.lost_percent = 5;
        s.stale_percent = 20;
        switch (prng_below(&s.prng, 4)) {
        case 0:
            sim_ha_hang(&s, victim);
            break;
        case 1:
            sim_ha_power_off(&s, victim);
            sim_ha_power_on(&s, victim);
            break;
        default:
            sim_ha_power_off(&s, victim);
        }
        for (int k = 0; k < 3; k++) {
            struct err e = {0};
            size_t by = (victim + 1 + prng_below(&s.prng, 2)) % s.hosts_n;
            sim_run(&s, prng_below(&s.prng, 3 * USEC_PER_SEC));
            free(sim_request(&s, by, "pool.ha", off(), &e)); /* may be refused */
            sim_run(&s, prng_below(&s.prng, USEC_PER_SEC));
            s.store_is_down = prng_below(&s.prng, 4) == 0;
        }
        sim_run(&s, prng_below(&s.prng, 10 * USEC_PER_SEC));
        s.store_is_down = false;
        s.lost_percent = s.stale_percent = 0;
        sim_run(&s, prng_below(&s.prng, 20 * USEC_PER_SEC));
        sim_ha_resume(&s, victim);
        sim_ha_power_on(&s, victim);
        expect_peace(&s);
        end(&s);
    }
}

static bool is_removed(struct sim *s, const void *arg)
{
    return !sim_get(s, KEY_POOL "vms");
}

/* Hosts unmount a pool that is being removed; one that was fenced meanwhile waited for its mount, and the removal for it. */
static void a_removal_that_a_power_cut_overtakes_keeps_no_host_out(void **state)
{
    for (int i = 0; i < kit_schedules(12); i++) {
        struct sim s;
        struct err e = {0};
        sim_init(&s, kit_first_seed() + (uint64_t)i, 3);
        sim_ha_init(&s);
        kit_pool(&s);
        kit_ask(&s, "pool.ha", json_pack("{s:s,s:b}", "name", "vms", "on", 1), "done");
        sim_run(&s, 15 * USEC_PER_SEC);
        sim_ha_power_off(&s, 0); /* the runner of the removal, as the first brick's host */
        sim_run(&s, USEC_PER_SEC / 2 + prng_below(&s.prng, 7 * USEC_PER_SEC / 2));
        free(sim_request(&s, 1, "pool.remove", json_pack("{s:s}", "name", "vms"), &e)); /* may be refused */
        sim_run(&s, 20 * USEC_PER_SEC);
        sim_ha_power_on(&s, 0);
        kit_all_online(&s);
        for (int k = 0; k < 30 && !is_removed(&s, NULL); k++) { /* refused by who has not heard yet, or it goes on */
            e = (struct err){0};
            free(sim_request(&s, 1, "pool.remove", json_pack("{s:s}", "name", "vms"), &e));
            sim_run(&s, 5 * USEC_PER_SEC);
        }
        assert_true(is_removed(&s, NULL));
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_removal_that_a_power_cut_overtakes_keeps_no_host_out),
        cmocka_unit_test(failover_is_not_switched_off_while_a_host_is_fenced),
        cmocka_unit_test(whenever_it_is_switched_off_every_host_comes_back),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
