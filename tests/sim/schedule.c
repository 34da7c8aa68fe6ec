/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim_impl.h"

#define WALL_US (INT64_C(1800000000) * 1000000) /* wall clocks show the year 2027, or thereabouts */
#define JUMP_US (15 * USEC_PER_SEC)
#define TAIL_US (8 * USEC_PER_SEC) /* what runs must go on running */
#define HEARD_US (30 * USEC_PER_SEC) /* hosts have heard of each other's mounts */
#define KEEP_US (60 * USEC_PER_SEC) /* longer than a fence and what a host needs to be a member again */
#define TIDY_US (60 * USEC_PER_SEC)   /* what was left behind is ended */
#define SWITCH_US (75 * USEC_PER_SEC) /* a migration stands still until a slow write has ended */

/* One thing that is done to a cluster, more often with a higher weight; with none, beside another one. */
struct fault {
    const char *name;
    int weight;
    void (*run)(struct sim *s, size_t victim);
};

static size_t some_host(struct sim *s)
{
    return (size_t)prng_below(&s->prng, s->hosts_n);
}

static void set_clock(struct sim *s, size_t host, void *to)
{
    int64_t by = *(const int64_t *)to - s->hosts[host].wall_off_us;
    sim_note(s, "--- the wall clock of %s jumps by %lld ms", s->hosts[host].name, (long long)by / (long long)USEC_PER_MSEC);
    s->hosts[host].wall_off_us += by;
    if (s->ha && s->mutant == SIM_WALL_CLOCK && by > 0) {
        s->ha->hosts[host].ahead_us += (uint64_t)by;
    }
}

static void set_clocks(struct sim *s)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        s->hosts[h].wall_off_us = WALL_US;
    }
}

/* Some time after something else, to seconds or hours before or behind the true time; by less than a day, after which
 * ended tasks are forgotten. Drawn from a row of its own: it must change nothing, and the seeds of before mean what they meant. */
static void jump_clock(struct sim *s, size_t host)
{
    static const uint64_t most[] = {2 * USEC_PER_SEC, 10 * USEC_PER_SEC, 3600 * USEC_PER_SEC, 11 * 3600 * USEC_PER_SEC};
    struct prng *p = &s->clock_prng;
    int64_t wrong = (int64_t)prng_below(p, most[prng_below(p, ELEMENTS(most))]);
    int64_t to = WALL_US + (prng_below(p, 2) ? wrong : -wrong);
    sim_push_fn(s, prng_below(p, JUMP_US), host, set_clock, &to, sizeof(to));
}

static bool is_sound(const struct sim *s)
{
    return s->mutant == SIM_SOUND || s->mutant == SIM_TRUE_CLOCKS;
}

static void do_something(struct sim *s, const struct fault *faults, uint64_t *counts)
{
    int total = 0;
    size_t i = 0;
    for (size_t k = 0; faults[k].name; k++) {
        total += faults[k].weight;
        if (!faults[k].weight && s->mutant != SIM_TRUE_CLOCKS && prng_below(&s->clock_prng, 2)) {
            counts[k]++;
            faults[k].run(s, prng_below(&s->clock_prng, s->hosts_n));
        }
    }
    int left = (int)prng_below(&s->prng, (uint64_t)total);
    for (; left >= faults[i].weight; i++) {
        left -= faults[i].weight;
    }
    assert(i < SCHEDULE_FAULTS_MAX);
    counts[i]++;
    size_t victim = some_host(s);
    sim_note(s, "--- %s: %s", faults[i].name, s->hosts[victim].name);
    faults[i].run(s, victim);
}

/* --- moves --------------------------------------------------------------------------------- */

static json_t *on_vm(void)
{
    return json_pack("{s:s}", "name", "db1");
}

static void request(struct sim *s, const char *verb, json_t *args)
{
    struct err e = {0};
    size_t host = some_host(s);
    if (s->hosts[host].is_up) {
        free(sim_request(s, host, verb, args, &e)); /* may be refused */
    } else {
        json_decref(args);
    }
}

static void start_agents(struct sim *s)
{
    for (size_t i = 0; i < s->hosts_n; i++) {
        if (!s->hosts[i].is_up) {
            sim_start_agent(s, i);
        }
    }
}

static void kill_agent(struct sim *s, size_t victim)
{
    if (s->hosts[victim].is_up) {
        sim_kill_agent(s, victim);
    }
}

static void migrate(struct sim *s, size_t victim)
{
    request(s, "vm.migrate", on_vm());
}

static void stop(struct sim *s, size_t victim)
{
    request(s, "vm.stop", on_vm());
}

static void stop_by_force(struct sim *s, size_t victim)
{
    request(s, "vm.stop", json_pack("{s:s,s:b}", "name", "db1", "force", 1));
}

static void start_twice(struct sim *s, size_t victim)
{
    request(s, "vm.start", on_vm());
    request(s, "vm.start", json_pack("{s:s,s:s}", "name", "db1", "host",
                                     s->hosts[prng_below(&s->prng, 2)].name));
}

static void reboot(struct sim *s, size_t victim)
{
    sim_reboot(s, victim);
}

static void end_guest(struct sim *s, size_t victim)
{
    sim_end_guest(s, "db1", prng_below(&s->prng, 2) ? "crashed" : "shutdown");
}

static void toggle_store(struct sim *s, size_t victim)
{
    s->store_is_down = !s->store_is_down;
}

static void evacuate(struct sim *s, size_t victim)
{
    request(s, "host.evacuate", json_pack("{s:s}", "name", s->hosts[victim % 2].name));
}

static void activate(struct sim *s, size_t victim)
{
    request(s, "host.activate", json_pack("{s:s}", "name", s->hosts[victim % 2].name));
}

static bool is_claimed(struct sim *s, const void *arg)
{
    return str_eq(json_text_of(sim_get(s, KEY_VM "db1/act"), "state"), "starting");
}

/* All agents die in the middle of a start, often between claim and QEMU; what they asked for may still
 * happen, much later. */
static void die_starting(struct sim *s, size_t victim)
{
    start_agents(s);
    stop_by_force(s, victim);
    sim_run(s, 2 * USEC_PER_SEC);
    request(s, "vm.start", on_vm());
    if (prng_below(&s->prng, 2)) {
        sim_run(s, prng_below(&s->prng, 120 * USEC_PER_MSEC));
    } else {
        (void)kit_until(s, is_claimed, NULL, USEC_PER_SEC);
        sim_run(s, prng_below(&s->prng, s->delay_max_ms * USEC_PER_MSEC));
    }
    for (size_t i = 0; i < s->hosts_n; i++) {
        kill_agent(s, i);
    }
    start_agents(s);
    sim_run(s, 3 * USEC_PER_SEC);
    request(s, "vm.migrate", on_vm());
}

static const struct fault moves[] = {
    {"migrate", 3, migrate},
    {"stop", 1, stop},
    {"stop by force", 1, stop_by_force},
    {"start twice", 2, start_twice},
    {"kill agent", 2, kill_agent},
    {"reboot", 1, reboot},
    {"end guest", 1, end_guest},
    {"store on or off", 1, toggle_store},
    {"evacuate", 1, evacuate},
    {"activate", 1, activate},
    {"all agents die starting", 2, die_starting},
    {"jump a wall clock", 0, jump_clock},
    {NULL, 0, NULL},
};

/* A store and daemons that answer at once, or take their time. */
static unsigned some_delay_ms(struct sim *s)
{
    static const unsigned delays[] = {2, 20, 20, 60};
    return delays[prng_below(&s->prng, ELEMENTS(delays))];
}

static void rage(struct sim *s, struct schedule_result *r)
{
    s->delay_max_ms = some_delay_ms(s);
    s->fail_percent = 20;
    s->lost_percent = 10;
    s->deaf_percent = 20;
    s->stale_percent = 20;
    for (int k = 0; k < 30 && !s->violation[0]; k++) {
        do_something(s, moves, r->faults);
        sim_run(s, prng_below(&s->prng, (prng_below(&s->prng, 3) ? 300 : 6000) * USEC_PER_MSEC));
        if (prng_below(&s->prng, 2)) {
            start_agents(s);
        }
    }
    s->fail_percent = s->lost_percent = s->stale_percent = 0;
    s->deaf_percent = 2;
    s->store_is_down = false;
    start_agents(s);
}

static bool has_no_task(struct sim *s, const void *arg)
{
    return !kit_has_task(s, arg);
}

static bool is_calm(struct sim *s, const void *arg)
{
    return sim_running(s, "db1") == 1 && sim_copies(s, "db1") == 1;
}

static void expect_calm(struct sim *s)
{
    if (!kit_until(s, has_no_task, NULL, 2 * KIT_LIMIT_US)) {
        sim_violated(s, "a task never ends");
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        struct err e = {0};
        for (int k = 0; k < 30 && !str_eq(kit_state(s, i), "online"); k++) { /* a commit may not fit; a list is 20 s old */
            e = (struct err){0};
            free(sim_request(s, 0, "host.activate", json_pack("{s:s}", "name", s->hosts[i].name), &e));
            sim_note(s, "activate %s: %s", s->hosts[i].name, e.msg);
            sim_run(s, USEC_PER_SEC);
        }
    }
    sim_run(s, HEARD_US);
    kit_ask(s, "vm.start", on_vm(), "done");
    (void)kit_until(s, is_calm, NULL, 60 * USEC_PER_SEC);
    sim_run(s, TAIL_US);
    kit_expect_running(s, "db1");
    if (sim_copies(s, "db1") != 1) {
        sim_violated(s, "%zu copies of db1 are left", sim_copies(s, "db1"));
    }
}

static void run_moves(struct sim *s, struct schedule_result *r)
{
    enum sim_mutant mutant = s->mutant;
    s->mutant = SIM_SOUND;
    kit_pool(s);
    kit_add_vm(s, "db1");
    s->mutant = mutant;
    rage(s, r);
    if (!s->violation[0] && is_sound(s)) {
        expect_calm(s);
    }
}

/* --- failover ------------------------------------------------------------------------------ */

static void cut_management(struct sim *s, size_t victim)
{
    sim_ha_cut(s, victim, SIM_MGMT);
}

static void cut_storage(struct sim *s, size_t victim)
{
    sim_ha_cut(s, victim, SIM_STORAGE);
}

static void cut_both(struct sim *s, size_t victim)
{
    sim_ha_cut(s, victim, SIM_MGMT);
    sim_ha_cut(s, victim, SIM_STORAGE);
}

static void cut_between(struct sim *s, size_t victim)
{
    sim_ha_cut_between(s, victim, (victim + 1) % s->hosts_n);
}

static void restart_agent(struct sim *s, size_t victim)
{
    if (s->hosts[victim].is_up && !sim_ha_is_hung(s, victim)) {
        sim_kill_agent(s, victim);
        sim_start_agent(s, victim);
    }
}

static void migrate_from(struct sim *s, size_t victim)
{
    struct err e = {0};
    if (s->hosts[victim].is_up) {
        free(sim_request(s, victim, "vm.migrate", on_vm(), &e));
    }
}

static void stick_disk(struct sim *s, size_t victim)
{
    s->ha->hosts[victim].is_stuck = true;
}

/* One write that stays in a brick, over a fence and a heal, while others pass it. */
static void keep_write(struct sim *s, size_t victim)
{
    s->ha->hosts[victim].keep_us = 1 + prng_below(&s->prng, KEEP_US);
}

static void suspend(struct sim *s, size_t victim)
{
    sim_ha_suspend(s, victim, prng_below(&s->prng, 10 * USEC_PER_SEC));
}

static void power_cycle(struct sim *s, size_t victim)
{
    sim_ha_power_off(s, victim);
    sim_run(s, prng_below(&s->prng, 2 * USEC_PER_SEC));
    sim_ha_power_on(s, victim);
}

/* A filter, or half a cable: the other direction works, or does not either. */
static void cut_one_way(struct sim *s, size_t victim)
{
    size_t to = (victim + 1 + prng_below(&s->prng, 2)) % SIM_BRICKS;
    s->ha->cut[SIM_STORAGE][victim][to] = true;
    s->ha->cut[SIM_STORAGE][to][victim] = prng_below(&s->prng, 2);
}

/* A user takes it to another host without a migration, by a stop that is believed (I2). */
static void restart_elsewhere(struct sim *s, size_t victim)
{
    request(s, "vm.stop", json_pack("{s:s,s:b}", "name", "db1", "force", (int)prng_below(&s->prng, 2)));
    sim_run(s, prng_below(&s->prng, 5 * USEC_PER_SEC));
    request(s, "vm.start", json_pack("{s:s,s:s}", "name", "db1", "host", s->hosts[prng_below(&s->prng, 2)].name));
}

static const struct fault hurts[] = {
    {"cut storage one way", 2, cut_one_way},
    {"power off", 3, sim_ha_power_off},
    {"power off and on", 2, power_cycle},
    {"hang", 3, sim_ha_hang},
    {"cut management", 2, cut_management},
    {"cut storage", 2, cut_storage},
    {"cut both networks", 3, cut_both},
    {"cut between two", 1, cut_between},
    {"restart guard", 3, sim_ha_crash_guard},
    {"restart agent", 3, restart_agent},
    {"migrate", 3, migrate_from},
    {"store on or off", 2, toggle_store},
    {"stick disk", 1, stick_disk},
    {"suspend", 1, suspend},
    {"keep a write", 2, keep_write},
    {"restart elsewhere", 3, restart_elsewhere},
    {"jump a wall clock", 0, jump_clock},
    {NULL, 0, NULL},
};

/* --- restore ------------------------------------------------------------------------------- */

static void save_store(struct sim *s, size_t victim)
{
    json_decref(s->snapshot);
    s->snapshot = sim_snapshot(s);
}

/* Nobody reaches it for a while, or hardly: agents may hear of it late. */
static void restore_store(struct sim *s, size_t victim)
{
    if (s->snapshot) {
        s->store_is_down = true;
        sim_run(s, prng_below(&s->prng, 8 * USEC_PER_SEC));
        sim_restore(s, s->snapshot);
        s->store_is_down = false;
    }
}

static const struct fault puts_back[] = {
    {"cut storage one way", 1, cut_one_way},
    {"power off", 3, sim_ha_power_off},
    {"power off and on", 2, power_cycle},
    {"hang", 3, sim_ha_hang},
    {"cut management", 2, cut_management},
    {"cut storage", 1, cut_storage},
    {"cut both networks", 3, cut_both},
    {"restart guard", 2, sim_ha_crash_guard},
    {"restart agent", 3, restart_agent},
    {"migrate", 4, migrate_from},
    {"store on or off", 1, toggle_store},
    {"suspend", 1, suspend},
    {"keep a write", 1, keep_write},
    {"restart elsewhere", 3, restart_elsewhere},
    {"save the store", 4, save_store},
    {"restore the store", 6, restore_store},
    {NULL, 0, NULL},
};

static void mend_all(struct sim *s)
{
    sim_note(s, "--- all is mended");
    s->store_is_down = false;
    sim_ha_heal(s);
    for (size_t h = 0; h < s->hosts_n; h++) {
        s->ha->hosts[h].is_stuck = false;
        sim_ha_resume(s, h);
        sim_ha_power_on(s, h);
    }
    sim_ha_admit(s);
}

void schedule_failover_prepare(struct sim *s, uint64_t seed)
{
    sim_init(s, seed, 3);
    set_clocks(s);
    sim_ha_init(s);
    kit_pool(s);
    kit_ask(s, "pool.ha", json_pack("{s:s,s:b}", "name", "vms", "on", 1), "done");
    kit_add_vm(s, "db1");
    sim_run(s, USEC_PER_SEC + prng_below(&s->prng, 4 * USEC_PER_SEC));
}

static void hurt(struct sim *s, const struct fault *faults, struct schedule_result *r)
{
    bool is_mutant = !is_sound(s);
    s->delay_max_ms = some_delay_ms(s);
    s->fail_percent = 10;
    s->lost_percent = 5;
    s->stale_percent = is_mutant ? 30 : 20;
    s->ha->loss_percent = 5;
    s->ha->slow_percent = is_mutant ? 2 : 1;
    int n = 2 + (int)prng_below(&s->prng, 6);
    for (int k = 0; k < n && !s->violation[0]; k++) {
        do_something(s, faults, r->faults);
        sim_run(s, prng_below(&s->prng, 15 * USEC_PER_SEC));
        if (prng_below(&s->prng, 3) == 0) {
            mend_all(s);
            sim_run(s, prng_below(&s->prng, 30 * USEC_PER_SEC));
        }
    }
    mend_all(s);
    s->fail_percent = s->lost_percent = s->stale_percent = s->ha->loss_percent = s->ha->slow_percent = 0;
}

static bool is_to_stop(const struct sim *s)
{
    return str_eq(json_text_of(sim_get(s, KEY_VM "db1/spec"), "desired"), "stopped");
}

/* What was asked for in the worst moment may have come to nothing, but a stop. */
static void want_running(struct sim *s)
{
    if (!kit_until(s, has_no_task, NULL, 2 * KIT_LIMIT_US)) {
        sim_violated(s, "a task never ends");
    } else if (is_to_stop(s)) {
        kit_ask(s, "vm.start", on_vm(), "done");
    }
}

static bool do_both_run(struct sim *s, const void *arg)
{
    return sim_running(s, "db1") == 1 && sim_running(s, "web") == 1;
}

static bool is_tidy(struct sim *s, const void *arg)
{
    return sim_check_is_tidy(s);
}

/* What was left behind is ended in the end, wherever it is. */
static void expect_tidy(struct sim *s)
{
    if (!kit_until(s, is_tidy, NULL, TIDY_US)) {
        sim_violated(s, "I6: a QEMU is left that is not its host's own");
    }
}

static bool is_settled(struct sim *s, const void *arg)
{
    return !sim_store_is_open(s);
}

static void expect_settled(struct sim *s)
{
    if (!is_settled(s, NULL) && !kit_until(s, is_settled, NULL, KIT_LIMIT_US)) {
        sim_violated(s, "after a restore nobody knows what runs where");
    }
}

static void run_failover(struct sim *s, enum schedule_kind kind, struct schedule_result *r)
{
    kit_add_vm(s, "web");
    if (kind == SCHEDULE_RESTORE) {
        save_store(s, 0);
    }
    hurt(s, kind == SCHEDULE_RESTORE ? puts_back : hurts, r);
    if (!is_sound(s)) {
        sim_run(s, 20 * USEC_PER_SEC);
    } else if (!s->violation[0]) {
        expect_settled(s);
        kit_all_online(s);
        want_running(s);
        (void)kit_until(s, do_both_run, NULL, KIT_LIMIT_US);
        sim_run(s, TAIL_US);
        if (is_to_stop(s)) { /* its commit was still on its way (seed 97109615) */
            want_running(s);
        }
        (void)kit_until(s, do_both_run, NULL, SWITCH_US);
        kit_expect_running(s, "db1");
        kit_expect_running(s, "web");
        expect_tidy(s);
    }
}

/* --- both ---------------------------------------------------------------------------------- */

void schedule_run(enum schedule_kind kind, uint64_t seed, enum sim_mutant mutant,
                  struct schedule_result *ret)
{
    schedule_run_for(kind, seed, mutant, NULL, ret);
}

void schedule_run_for(enum schedule_kind kind, uint64_t seed, enum sim_mutant mutant, const char *by,
                      struct schedule_result *ret)
{
    struct sim s;
    *ret = (struct schedule_result){0};
    if (kind != SCHEDULE_MOVES) {
        schedule_failover_prepare(&s, seed);
    } else {
        sim_init(&s, seed, 3);
        set_clocks(&s);
    }
    s.mutant = mutant;
    s.keeps_going = true;
    s.only = by;
    s.keeps_verdicts = seed % 2;
    if (mutant == SIM_NO_WATCHDOG || mutant == SIM_OPEN_BOOT) { /* where nothing but the filter protects */
        s.ha->has_watchdog = false;
    }
    if (kind != SCHEDULE_MOVES) {
        run_failover(&s, kind, ret);
        ret->writes = s.ha->writes;
        ret->resets = s.ha->resets;
        ret->freezes = s.ha->freezes;
        sim_ha_done(&s);
    } else {
        run_moves(&s, ret);
    }
    ret->simulated_us = s.now_us;
    ret->events = s.events;
    ret->steps = s.steps;
    memcpy(ret->violation, s.violation, sizeof(ret->violation));
    sim_done(&s);
}

static const struct {
    const char *name;
    const struct fault *faults;
} kinds[SCHEDULE_KINDS] = {
    [SCHEDULE_MOVES] = {"moves", moves},
    [SCHEDULE_FAILOVER] = {"failover", hurts},
    [SCHEDULE_RESTORE] = {"restore", puts_back},
};

const char *schedule_kind_name(enum schedule_kind kind)
{
    return kinds[kind].name;
}

const char *schedule_fault_name(enum schedule_kind kind, size_t i)
{
    size_t n = 0;
    while (kinds[kind].faults[n].name) {
        n++;
    }
    return i < n ? kinds[kind].faults[i].name : NULL;
}
