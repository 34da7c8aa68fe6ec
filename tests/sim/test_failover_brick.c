/* SPDX-License-Identifier: Apache-2.0
 * Case 19 of facts/ha.md 3.9: a brick that cannot prove that nothing of a fenced host is left in it. */
#include "failover_fix.h"

#define COMPUTE 3 /* of five hosts: it runs db1 and holds no brick; the first three do, the second host is a spare */

#define SECOND 4  /* of six: another one */
#define RECORD KEY_ROOT "ended/vms"

static void begin_with_compute_hosts(struct fix *f, int i, size_t n)
{
    struct sim *s = &f->s;
    sim_init(s, kit_first_seed() + (uint64_t)i, SIM_BRICKS + n + 1);
    sim_ha_init(s);
    sim_run(s, 3 * USEC_PER_SEC);
    kit_ask(s, "pool.create", json_pack("{s:s,s:[s,s,s]}", "name", "vms", "hosts", "host1", "host2", "host3"), "done");
    sim_run(s, 15 * USEC_PER_SEC);
    kit_ask(s, "pool.ha", json_pack("{s:s,s:b}", "name", "vms", "on", 1), "done");
    sim_run(s, 15 * USEC_PER_SEC);
    kit_add_vm(s, "db1");
    if (kit_owner(s, "db1") != COMPUTE) {
        kit_ask(s, "vm.migrate", json_pack("{s:s,s:s}", "name", "db1", "to", "host4"), "done");
    }
    sim_run(s, 15 * USEC_PER_SEC); /* by now each host has heard of all mounts, and of what is to heal */
    f->old = COMPUTE;
    f->epoch = epoch_of(s, "db1");
    assert_int_equal(kit_owner(s, "db1"), COMPUTE);
}

static void begin_with_compute_host(struct fix *f, int i)
{
    begin_with_compute_hosts(f, i, 1);
}

/* More than what its threads are within, which they end. */
static bool keeps_some(const struct sim *s, size_t brick, size_t of)
{
    const struct sim_ha_host *b = &s->ha->hosts[brick];
    return b->queued[of] > b->in_disk;
}

/* Something of @of is kept by a brick that hangs. */
static void hang_brick(struct sim *s, size_t brick, size_t of)
{
    s->ha->hosts[brick].is_wedged = true;
    for (int k = 0; k < 100 && !keeps_some(s, brick, of); k++) {
        sim_run(s, 100 * USEC_PER_MSEC);
    }
    assert_true(keeps_some(s, brick, of));
}

/* A thread of it is within a write. */
static void hang_disk(struct sim *s, size_t brick)
{
    s->ha->hosts[brick].is_stuck = true;
    for (int k = 0; k < 100 && !s->ha->hosts[brick].in_disk; k++) {
        sim_run(s, 100 * USEC_PER_MSEC);
    }
    assert_true(s->ha->hosts[brick].in_disk > 0);
}

/* Something of db1's host is queued in both when it dies. */
static void kill_owner_with_wedged(struct fix *f, size_t a, size_t b)
{
    hang_brick(&f->s, a, f->old);
    hang_brick(&f->s, b, f->old);
    sim_ha_power_off(&f->s, f->old);
}

static bool is_whole_again(struct sim *s, const void *arg)
{
    for (size_t h = 0; h < SIM_BRICKS; h++) {
        if (!sim_ha_has_brick(s, h)) {
            return false;
        }
    }
    return !sim_get(s, RECORD);
}

/* Through another brick host; a look of an agent may be in the way for a moment. */
static void declare_dead(struct fix *f, size_t host)
{
    struct err e = {0};
    for (int k = 0; k < 60 && !is_out(&f->s, &host); k++) {
        e = (struct err){0};
        free(sim_request(&f->s, 1, "host.fence", json_pack("{s:s}", "name", f->s.hosts[host].name), &e));
        sim_run(&f->s, USEC_PER_SEC);
    }
    assert_true(is_out(&f->s, &host));
}

static void case_19_a_brick_that_proves_nothing_is_ended_where_the_others_do_without_it(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        f.s.ha->heal_us = 20 * USEC_PER_SEC;
        size_t wedged = (size_t)prng_below(&f.s.prng, SIM_BRICKS);
        kill_owner_with_wedged(&f, wedged, wedged);
        assert_true(time_until_moved(&f) <= 30 * USEC_PER_SEC);
        assert_true(epoch_of(&f.s, "db1") > f.epoch);
        assert_int_equal(f.s.ha->ended, 1);
        assert_string_equal(kit_state(&f.s, wedged), "online");
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        sim_ha_power_on(&f.s, f.old);
        all_is_well_again(&f);
        assert_int_equal(f.s.ha->ended, 1);
        end(&f);
    }
}

/* Two of the three at once: without the one that would end, the other does not work. */
static void case_19_of_two_bricks_that_prove_nothing_none_is_ended_and_the_fence_waits(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        kill_owner_with_wedged(&f, 0, 1);
        sim_run(&f.s, 90 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 0);
        assert_string_equal(kit_state(&f.s, f.old), "fencing");
        assert_int_equal(epoch_of(&f.s, "db1"), f.epoch);
        f.s.ha->hosts[0].is_wedged = f.s.ha->hosts[1].is_wedged = false;
        assert_true(time_until_moved(&f) <= 30 * USEC_PER_SEC);
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        end(&f);
    }
}

/* Two hosts without bricks die at once: one brick holds up the fence of the one, another brick that of the other. */
static void kill_two_owners(struct fix *f, int i, enum sim_mutant mutant)
{
    struct sim *s = &f->s;
    begin_with_compute_hosts(f, i, 2);
    kit_add_vm(s, "db2");
    if (kit_owner(s, "db2") != SECOND) {
        kit_ask(s, "vm.migrate", json_pack("{s:s,s:s}", "name", "db2", "to", "host5"), "done");
    }
    sim_run(s, 15 * USEC_PER_SEC);
    sim_ha_cut_between(s, 0, SECOND); /* what it writes is queued in the other brick alone */
    sim_ha_cut_between(s, 1, COMPUTE);
    hang_brick(s, 0, COMPUTE);
    hang_brick(s, 1, SECOND);
    sim_ha_power_off(s, COMPUTE);
    sim_ha_power_off(s, SECOND);
    s->mutant = mutant;
    s->keeps_going = mutant != SIM_SOUND;
    s->only = mutant != SIM_SOUND ? "I7" : NULL;
    s->deaf_percent = 70; /* of what one claims the other may hear too late */
    sim_run(s, 120 * USEC_PER_SEC);
}

static void case_19_of_two_bricks_that_hold_up_two_fences_one_is_ended_at_a_time(void **state)
{
    uint64_t ended = 0;
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        kill_two_owners(&f, i, SIM_SOUND);
        ended += f.s.ha->ended;
        f.s.deaf_percent = 2;
        f.s.ha->hosts[0].is_wedged = f.s.ha->hosts[1].is_wedged = false;
        sim_ha_heal(&f.s);
        sim_ha_power_on(&f.s, COMPUTE);
        sim_ha_power_on(&f.s, SECOND);
        all_is_well_again(&f);
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        end(&f);
    }
    assert_true(ended > 0);
}

static void case_19_two_that_end_without_a_compare_would_be_found(void **state)
{
    bool is_found = false;
    for (int i = 0; i < 100 && !is_found; i++) {
        struct fix f;
        kill_two_owners(&f, i, SIM_DECIDES_ON_READS);
        is_found = str_starts(f.s.violation, "I7");
        end(&f);
    }
    assert_true(is_found);
}

/* Something is to be healed between the other two, and no agent has been told of it yet: each brick host is asked before the end. */
static void case_19_old_looks_end_nothing(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        f.s.ha->heal_us = 20 * USEC_PER_SEC;
        for (size_t h = 0; h < SIM_BRICKS; h++) {
            f.s.ha->hosts[h].look_us = 25 * USEC_PER_SEC;
        }
        sim_run(&f.s, 30 * USEC_PER_SEC);
        f.s.ha->hosts[1 + i % 2].healed_at_us = f.s.now_us + 60 * USEC_PER_SEC;
        kill_owner_with_wedged(&f, 0, 0);
        sim_run(&f.s, 50 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 0);
        assert_string_equal(kit_state(&f.s, f.old), "fencing");
        assert_true(time_until_moved(&f) <= 90 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 1);
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        end(&f);
    }
}

/* Its agent does not answer, and it may be dead in truth. */
static void case_19_a_brick_host_that_does_not_answer_keeps_the_others(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        kill_owner_with_wedged(&f, 0, 0);
        (void)kit_until(&f.s, is_out, &f.old, KIT_LIMIT_US);
        sim_run(&f.s, 4 * USEC_PER_SEC); /* before anybody has acknowledged */
        for (int net = 0; net < SIM_NETS; net++) {
            f.s.ha->cut[net][0][1] = f.s.ha->cut[net][1][0] = net == SIM_MGMT;
        }
        sim_run(&f.s, 40 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 0);
        sim_ha_heal(&f.s);
        assert_true(time_until_moved(&f) <= 60 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 1);
        end(&f);
    }
}

static void case_19_with_another_brick_host_dead_none_is_ended(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin(&f, i);
        kill_owner_with_wedged(&f, WITNESS, WITNESS);
        sim_run(&f.s, 60 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 0);
        assert_string_equal(kit_state(&f.s, f.old), "fencing");
        assert_int_equal(epoch_of(&f.s, "db1"), f.epoch);
        f.s.ha->hosts[WITNESS].is_wedged = false;
        assert_true(time_until_moved(&f) <= 30 * USEC_PER_SEC);
        end(&f);
    }
}

/* SIGKILL is not an end: a thread is within a write to a disk that hangs. */
static void case_19_a_brick_that_does_not_end_proves_nothing(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        hang_disk(&f.s, 0);
        sim_ha_power_off(&f.s, f.old);
        sim_run(&f.s, 60 * USEC_PER_SEC);
        assert_string_equal(kit_state(&f.s, f.old), "fencing");
        assert_int_equal(epoch_of(&f.s, "db1"), f.epoch);
        f.s.ha->hosts[0].is_stuck = false;
        assert_true(time_until_moved(&f) <= 90 * USEC_PER_SEC);
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        end(&f);
    }
}

/* What the alarm says to do then: a fenced fencer owes no acknowledgement (I3). */
static void case_19_a_brick_that_does_not_end_is_left_out_with_its_host(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        hang_disk(&f.s, 0);
        sim_ha_power_off(&f.s, f.old);
        sim_run(&f.s, 30 * USEC_PER_SEC);
        assert_string_equal(kit_state(&f.s, f.old), "fencing");
        declare_dead(&f, 0);
        assert_true(time_until_moved(&f) <= 60 * USEC_PER_SEC);
        f.s.ha->hosts[0].is_stuck = false;
        sim_ha_power_on(&f.s, f.old);
        all_is_well_again(&f);
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        end(&f);
    }
}

/* Agents die at any moment of it, also between the record and the end. */
static void case_19_agents_that_crash_meanwhile_change_nothing(void **state)
{
    for (int i = 0; i < kit_schedules(20); i++) {
        struct fix f;
        begin_with_compute_host(&f, i);
        f.s.ha->heal_us = 5 * USEC_PER_SEC;
        kill_owner_with_wedged(&f, 0, 0);
        for (int k = 0; k < 6; k++) {
            sim_run(&f.s, prng_below(&f.s.prng, 4 * USEC_PER_SEC));
            size_t victim = (size_t)prng_below(&f.s.prng, SIM_BRICKS);
            sim_kill_agent(&f.s, victim);
            sim_start_agent(&f.s, victim);
        }
        assert_true(time_until_moved(&f) <= 90 * USEC_PER_SEC);
        assert_int_equal(f.s.ha->ended, 1);
        assert_true(kit_until(&f.s, is_whole_again, NULL, KIT_LIMIT_US));
        sim_ha_power_on(&f.s, f.old);
        all_is_well_again(&f);
        end(&f);
    }
}

/* --- anything at once ----------------------------------------------------------------------- */

static void restart_agent(struct sim *s, size_t host)
{
    if (s->hosts[host].is_up && !sim_ha_is_hung(s, host)) {
        sim_kill_agent(s, host);
        sim_start_agent(s, host);
    }
}

static void hurt(struct sim *s)
{
    size_t host = (size_t)prng_below(&s->prng, s->hosts_n);
    size_t brick = host % SIM_BRICKS;
    switch (prng_below(&s->prng, 8)) {
    case 0:
        sim_ha_power_off(s, COMPUTE);
        break;
    case 1:
        cut_off(s, COMPUTE);
        break;
    case 2:
        sim_ha_power_off(s, host);
        break;
    case 3:
        s->ha->hosts[brick].is_stuck = true;
        break;
    case 4:
        sim_ha_crash_guard(s, host);
        break;
    case 5:
        sim_ha_hang(s, host);
        break;
    case 6:
        s->store_is_down = !s->store_is_down;
        break;
    default:
        restart_agent(s, host);
    }
    s->ha->hosts[brick].is_wedged = s->ha->hosts[brick].is_wedged || prng_below(&s->prng, 2);
}

static void mend(struct sim *s)
{
    s->store_is_down = false;
    sim_ha_heal(s);
    for (size_t h = 0; h < s->hosts_n; h++) {
        s->ha->hosts[h].is_stuck = s->ha->hosts[h].is_wedged = false;
        sim_ha_resume(s, h);
        sim_ha_power_on(s, h);
    }
}

/* Commits that fail, answers that are lost, old lists and slow disks beside it; S1 and S3 after every event. */
static uint64_t run_anything(int i)
{
    struct fix f;
    begin_with_compute_host(&f, i);
    struct sim *s = &f.s;
    s->fail_percent = 10;
    s->lost_percent = 5;
    s->stale_percent = 20;
    s->ha->loss_percent = 5;
    s->ha->slow_percent = 1;
    s->ha->heal_us = prng_below(&s->prng, 20 * USEC_PER_SEC);
    for (int round = 0; round < 3; round++) {
        for (size_t k = 0; k < 1 + prng_below(&s->prng, 3); k++) {
            hurt(s);
            sim_run(s, prng_below(&s->prng, 15 * USEC_PER_SEC));
        }
        mend(s);
        sim_run(s, prng_below(&s->prng, 90 * USEC_PER_SEC));
    }
    s->fail_percent = s->lost_percent = s->stale_percent = s->ha->loss_percent = s->ha->slow_percent = 0;
    all_is_well_again(&f);
    if (!kit_until(s, is_whole_again, NULL, KIT_LIMIT_US)) {
        fail_msg("seed %llu: a brick does not come back", (unsigned long long)s->seed);
    }
    uint64_t ended = s->ha->ended;
    end(&f);
    return ended;
}

static void case_19_with_anything_at_once_stays_safe_and_comes_to_rest(void **state)
{
    uint64_t ended = 0;
    int n = kit_schedules(40);
    for (int i = 0; i < n; i++) {
        ended += run_anything(i);
    }
    print_message("# %d schedules, %llu bricks ended\n", n, (unsigned long long)ended);
    assert_true(ended > 0 || n < 200); /* one in seven ends a brick */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_19_a_brick_that_proves_nothing_is_ended_where_the_others_do_without_it),
        cmocka_unit_test(case_19_of_two_bricks_that_prove_nothing_none_is_ended_and_the_fence_waits),
        cmocka_unit_test(case_19_of_two_bricks_that_hold_up_two_fences_one_is_ended_at_a_time),
        cmocka_unit_test(case_19_two_that_end_without_a_compare_would_be_found),
        cmocka_unit_test(case_19_old_looks_end_nothing),
        cmocka_unit_test(case_19_a_brick_host_that_does_not_answer_keeps_the_others),
        cmocka_unit_test(case_19_with_another_brick_host_dead_none_is_ended),
        cmocka_unit_test(case_19_a_brick_that_does_not_end_proves_nothing),
        cmocka_unit_test(case_19_a_brick_that_does_not_end_is_left_out_with_its_host),
        cmocka_unit_test(case_19_agents_that_crash_meanwhile_change_nothing),
        cmocka_unit_test(case_19_with_anything_at_once_stays_safe_and_comes_to_rest),
    };
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return cmocka_run_group_tests_name("failover_brick", tests, NULL, NULL);
}
