/* SPDX-License-Identifier: Apache-2.0
 * Migration under faults, the table of facts/ha.md 6.3: at each moment of a move of db1 each of those dies who take part.
 * A moment is exact. Of a commit there are three: it is asked for; it is in the store, and its answer is lost; who asked
 * has heard. S1 and S3 are checked after every event; afterwards one machine runs, where and at which price the table
 * says, and it can be moved again. MORTAR_ONLY='T7_*' chooses; MORTAR_SCHEDULES=N runs each with N seeds. */
#include <stdio.h>
#include <stdlib.h>

#include "core/act.h"
#include "failover_fix.h"
#include "sim_impl.h"

#define FIND_US (60 * USEC_PER_SEC)   /* a move is over by then */
#define MOVED_US (30 * USEC_PER_SEC)  /* a machine whose host has died runs elsewhere by then */
#define SETTLE_US (60 * USEC_PER_SEC) /* what could go wrong has gone wrong */
#define HEARD_US (30 * USEC_PER_SEC)  /* all hosts have heard of all mounts again */
#define TRIES 5
#define SEEDS_APART UINT64_C(1000000)
#define SLOW_WRITE_US (5 * USEC_PER_SEC) /* QEMU waits for it before it switches over: longer than a copy takes */

/* One move, and what was known when somebody died. */
struct move {
    struct fix f;
    char *task;
    const struct moment *moment;
    size_t asker;         /* who asked for the commit of the moment, */
    char attempt[128];    /* and by which action */
    bool is_written;      /* it has been in the store */
    uint64_t half_way_us; /* of the copy */
    uint64_t incs[SIM_HOSTS_MAX];
    bool is_handed_over; /* T7 is in the store */
    bool has_source;     /* the source's QEMU is there */
};

struct moment {
    const char *name;
    const char *key; /* below vm/db1/, or "task" */
    bool (*is_so)(const struct move *m, const json_t *value); /* of that record; or: */
    bool (*has_come)(struct sim *s, struct move *m);
};

enum stage { ASKED, DONE, HEARD, STAGES };
static const char *const stage_names[] = {"asked", "done", "heard"};

enum victim { SOURCE, TARGET, SOURCE_AGENT, TARGET_AGENT, SOURCE_LIBVIRTD, TARGET_LIBVIRTD, STORE, LINK, VICTIMS };
static const char *const victim_names[] = {"source", "target", "source_agent", "target_agent", "source_libvirtd",
                                           "target_libvirtd", "store", "link"};

struct hurt_case {
    const struct moment *moment;
    enum stage stage;
    enum victim victim;
    uint64_t number;
    char name[64];
};

/* --- moments -------------------------------------------------------------------------------- */

static bool is_phase(const json_t *task, const char *phase)
{
    return str_eq(json_text_of(task, "phase"), phase) && str_eq(json_text_of(task, "state"), "running");
}

static bool is_new(const struct move *m, const json_t *task)
{
    return is_phase(task, "check");
}

static bool is_checked(const struct move *m, const json_t *task)
{
    return is_phase(task, "claim");
}

static bool is_t6(const struct move *m, const json_t *own)
{
    return str_eq(json_text_of(json_object_get(own, "mig"), "phase"), "active");
}

static bool is_claimed(const struct move *m, const json_t *task)
{
    return is_phase(task, "copy");
}

static bool is_t7(const struct move *m, const json_t *own)
{
    return str_eq(json_text_of(own, "owner"), m->f.s.hosts[m->f.other].name);
}

static bool is_copied(const struct move *m, const json_t *task)
{
    return is_phase(task, "handover");
}

static bool is_told_to_run(const struct move *m, const json_t *act)
{
    return str_eq(json_text_of(act, "state"), "running") && json_u64_of(act, "epoch", 0) > m->f.epoch;
}

static bool is_reported(const struct move *m, const json_t *last)
{
    return last != NULL;
}

static bool has_ended(const struct move *m, const json_t *task)
{
    return str_eq(json_text_of(task, "state"), "done");
}

static const struct sim_domain *domain_on(const struct sim *s, size_t host)
{
    return &s->hosts[host].domains[sim_vm_find(s, "db1")];
}

/* The action of that name which waits to be carried out on a host. */
static const struct sim_event *find_asked(const struct sim *s, size_t host, const char *what)
{
    for (size_t i = 0; i < s->queue.n; i++) {
        const struct sim_event *n = s->queue.heap[i].event;
        if (n->host == host && str_eq(json_text_of(n->action, "do"), what) && n->life == s->hosts[host].life) {
            return n;
        }
    }
    return NULL;
}

static bool is_migrate_asked(struct sim *s, struct move *m)
{
    return find_asked(s, m->f.old, "vm.migrate");
}

static bool is_prepared(struct sim *s, struct move *m)
{
    return domain_on(s, m->f.other)->is_incoming;
}

static bool is_half_copied(struct sim *s, struct move *m)
{
    const struct sim_event *end = find_asked(s, m->f.old, "sim.end_copy");
    if (end && !m->half_way_us) {
        m->half_way_us = (s->now_us + end->at_us) / 2;
        sim_push_fn(s, m->half_way_us - s->now_us, m->f.old, NULL, NULL, 0); /* something happens then */
    }
    return m->half_way_us && s->now_us >= m->half_way_us;
}

/* The source is paused, the target is not complete; a write that stays in a brick makes it last. */
static bool is_switching(struct sim *s, struct move *m)
{
    const struct sim_domain *d = domain_on(s, m->f.old);
    return d->is_copying && !d->is_running;
}

static bool is_confirmed(struct sim *s, struct move *m)
{
    return !domain_on(s, m->f.old)->exists && !domain_on(s, m->f.other)->is_incoming;
}

static bool is_resume_asked(struct sim *s, struct move *m)
{
    return find_asked(s, m->f.other, "vm.resume");
}

static bool is_resumed(struct sim *s, struct move *m)
{
    return domain_on(s, m->f.other)->is_running;
}

/* In the order in which they come; the numbers are the phases of 6.3. */
static const struct moment moments[] = {
    {.name = "0_task", .key = "task", .is_so = is_new},
    {.name = "0_checked", .key = "task", .is_so = is_checked},
    {.name = "0_T6", .key = "own", .is_so = is_t6},
    {.name = "0_claimed", .key = "task", .is_so = is_claimed},
    {.name = "1_begin", .has_come = is_migrate_asked},
    {.name = "1_prepared", .has_come = is_prepared},
    {.name = "2_perform", .has_come = is_half_copied},
    {.name = "3_switch_over", .has_come = is_switching},
    {.name = "4_confirmed", .has_come = is_confirmed},
    {.name = "4_T7", .key = "own", .is_so = is_t7},
    {.name = "4_copied", .key = "task", .is_so = is_copied},
    {.name = "5_resume", .has_come = is_resume_asked},
    {.name = "5_resumed", .has_come = is_resumed},
    {.name = "5_act", .key = "act", .is_so = is_told_to_run},
    {.name = "5_reported", .key = "last", .is_so = is_reported},
    {.name = "5_done", .key = "task", .is_so = has_ended},
};

static char *key_of(const struct move *m)
{
    bool is_task = str_eq(m->moment->key, "task");
    return is_task ? str_printf(KEY_TASK "%s", m->task) : str_printf(KEY_VM "db1/%s", m->moment->key);
}

static bool is_in_store(struct sim *s, const void *arg)
{
    const struct move *m = arg;
    _cleanup_free_ char *key = key_of(m);
    return m->moment->is_so(m, sim_get(s, key));
}

/* Is a commit on its way to the store that makes it so? */
static bool is_asked(struct sim *s, const void *arg)
{
    struct move *m = (struct move *)arg; /* notes who asks */
    _cleanup_free_ char *key = key_of(m);
    for (size_t i = 0; i < s->queue.n; i++) {
        const struct sim_event *n = s->queue.heap[i].event;
        const json_t *puts = json_object_get(json_object_get(n->action, "args"), "puts");
        if (str_eq(json_text_of(n->action, "do"), "store.commit") && m->moment->is_so(m, json_object_get(puts, key))) {
            m->asker = n->host;
            (void)snprintf(m->attempt, sizeof(m->attempt), "%s", json_text_of(n->action, "id"));
            return true;
        }
    }
    return false;
}

static bool is_heard(struct sim *s, const void *arg)
{
    struct move *m = (struct move *)arg; /* the same */
    m->is_written = m->is_written || is_in_store(s, m); /* the next one may follow before the answer comes */
    if (!m->is_written) {
        (void)is_asked(s, m);
        return false;
    }
    const struct attempt *a = act_find(s->hosts[m->asker].core, m->attempt);
    return !a || !a->in_flight;
}

static bool has_come(struct sim *s, const void *arg)
{
    struct move *m = (struct move *)arg; /* notes what it has seen */
    return m->moment->has_come(s, m);
}

/* Lets time pass until exactly that moment. Return: false when it has not come */
static bool goes_to(struct move *m, const struct hurt_case *c)
{
    struct sim *s = &m->f.s;
    bool (*is_then)(struct sim *, const void *) = c->moment->has_come ? has_come : c->stage == HEARD ? is_heard : is_asked;
    bool is_met = sim_until(s, is_then, m, FIND_US);
    if (is_met && c->moment->key && c->stage == DONE) {
        s->lost_percent = 100;
        is_met = sim_until(s, is_in_store, m, FIND_US);
        s->lost_percent = 0;
    }
    return is_met;
}

/* --- who dies -------------------------------------------------------------------------------- */

static uint64_t inc_of(const struct sim *s, size_t host)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[host].name);
    return json_u64_of(sim_get(s, key), "inc", 0);
}

static void begin_move(struct move *m, const struct hurt_case *c, uint64_t seed)
{
    struct err e = {0};
    *m = (struct move){.moment = c->moment};
    begin_by(&m->f, seed);
    m->f.s.keeps_going = true;
    for (size_t h = 0; h < m->f.s.hosts_n; h++) {
        m->incs[h] = inc_of(&m->f.s, h);
    }
    if (c->moment->has_come == is_switching) {
        m->f.s.ha->hosts[WITNESS].keep_us = SLOW_WRITE_US;
    }
    m->task = sim_request(&m->f.s, m->f.old, "vm.migrate", json_pack("{s:s}", "name", "db1"), &e);
    if (!m->task) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, e.msg);
    }
}

/* A cold start is what the loss of a host may cost, and nothing else is. */
static void expect_start(const struct move *m, bool is_wanted)
{
    assert_int_equal(m->f.s.cold_starts - m->f.cold_starts, is_wanted);
    assert_true(!is_wanted || epoch_of(&m->f.s, "db1") > m->f.epoch);
}

static void expect_nobody_fenced(const struct move *m)
{
    for (size_t h = 0; h < m->f.s.hosts_n; h++) {
        assert_int_equal(inc_of(&m->f.s, h), m->incs[h]);
    }
}

static void lose_source(struct move *m)
{
    sim_ha_power_off(&m->f.s, m->f.old);
    assert_true(kit_until(&m->f.s, has_moved, &m->f.old, MOVED_US));
    sim_run(&m->f.s, SETTLE_US);
    expect_start(m, !m->is_handed_over); /* after T7 the target resumes what it has */
    sim_ha_power_on(&m->f.s, m->f.old);
}

static void lose_target(struct move *m)
{
    bool has_to_start = m->is_handed_over || !m->has_source;
    sim_ha_power_off(&m->f.s, m->f.other);
    sim_run(&m->f.s, SETTLE_US);
    kit_expect_running(&m->f.s, "db1");
    assert_int_equal(kit_owner(&m->f.s, "db1"), m->f.old);
    expect_start(m, has_to_start);
    assert_true(has_to_start || epoch_of(&m->f.s, "db1") == m->f.epoch);
    sim_ha_power_on(&m->f.s, m->f.other);
}

/* A copy is never promoted because it is complete: where libvirt's verdict was lost with the agent that waited for it, the
 * machine is started anew. */
static void lose_agent(struct move *m, size_t host)
{
    struct sim *s = &m->f.s;
    bool may_start = host == m->f.old && !m->is_handed_over && !s->keeps_verdicts;
    sim_kill_agent(s, host);
    sim_run(s, prng_below(&s->prng, 5 * USEC_PER_SEC));
    sim_start_agent(s, host);
    sim_run(s, SETTLE_US);
    assert_true(s->cold_starts - m->f.cold_starts <= may_start);
    expect_nobody_fenced(m);
}

static void lose_libvirtd(struct move *m, size_t host)
{
    sim_crash_libvirtd(&m->f.s, host);
    sim_run(&m->f.s, SETTLE_US);
    expect_start(m, false);
    expect_nobody_fenced(m);
}

static void lose_store(struct move *m)
{
    struct sim *s = &m->f.s;
    s->store_is_down = true;
    sim_run(s, prng_below(&s->prng, 60 * USEC_PER_SEC));
    s->store_is_down = false;
    sim_run(s, SETTLE_US);
    expect_start(m, false);
    expect_nobody_fenced(m);
}

static void lose_link(struct move *m)
{
    struct sim *s = &m->f.s;
    sim_ha_cut_between(s, m->f.old, m->f.other);
    sim_run(s, prng_below(&s->prng, 30 * USEC_PER_SEC));
    sim_ha_heal(s);
    sim_run(s, SETTLE_US);
    expect_start(m, false);
    expect_nobody_fenced(m);
}

static void hurt(struct move *m, enum victim victim)
{
    m->is_handed_over = kit_owner(&m->f.s, "db1") == m->f.other;
    m->has_source = domain_on(&m->f.s, m->f.old)->exists;
    switch (victim) {
    case SOURCE:
        lose_source(m);
        break;
    case TARGET:
        lose_target(m);
        break;
    case SOURCE_AGENT:
    case TARGET_AGENT:
        lose_agent(m, victim == SOURCE_AGENT ? m->f.old : m->f.other);
        break;
    case SOURCE_LIBVIRTD:
    case TARGET_LIBVIRTD:
        lose_libvirtd(m, victim == SOURCE_LIBVIRTD ? m->f.old : m->f.other);
        break;
    case STORE:
        lose_store(m);
        break;
    case LINK:
        lose_link(m);
        break;
    case VICTIMS:
        break;
    }
}

static void end_move(struct move *m)
{
    struct sim *s = &m->f.s;
    all_is_well_again(&m->f);
    sim_run(s, HEARD_US);
    assert_false(kit_has_task(s, NULL));
    kit_ask(s, "vm.migrate", json_pack("{s:s}", "name", "db1"), "done"); /* nothing is left claimed */
    kit_expect_running(s, "db1");
    if (s->violation[0]) {
        fail_msg("seed %llu: %s", (unsigned long long)s->seed, s->violation);
    }
    free(m->task);
    end(&m->f);
}

/* Begins a move and lets it come to its moment. By one seed in a hundred or two nothing makes the source wait at its
 * switch-over (is_switching()): then by another one. */
static void begin_and_go(struct move *m, const struct hurt_case *c, uint64_t seed, bool keeps_verdicts)
{
    for (unsigned i = 0; i < TRIES; i++) {
        begin_move(m, c, seed + SEEDS_APART * i);
        m->f.s.keeps_verdicts = keeps_verdicts;
        if (goes_to(m, c)) {
            return;
        }
        assert_string_equal(m->f.s.violation, "");
        free(m->task);
        end(&m->f);
    }
    fail_msg("from seed %llu on: that moment never comes", (unsigned long long)seed);
}

static void a_move_is_hurt(void **state)
{
    const struct hurt_case *c = *state;
    int verdicts = c->victim == SOURCE_AGENT ? 2 : 1; /* known, and lost */
    for (int i = 0; i < verdicts * kit_schedules(1); i++) {
        struct move m;
        begin_and_go(&m, c, kit_first_seed() + c->number + 1000 * (uint64_t)(i / verdicts), i % verdicts == 0);
        sim_note(&m.f.s, "--- %s", c->name);
        hurt(&m, c->victim);
        end_move(&m);
    }
}

/* --- the matrix ------------------------------------------------------------------------------ */

#define CASES_MAX (ELEMENTS(moments) * STAGES * VICTIMS)

/* Commits are none of libvirtd's business; it dies at the moments that are. */
static bool is_wanted(const struct moment *moment, enum stage stage, enum victim victim)
{
    bool is_libvirts = moment->has_come != NULL;
    bool is_libvirtd = victim == SOURCE_LIBVIRTD || victim == TARGET_LIBVIRTD;
    return is_libvirts ? stage == DONE : !is_libvirtd;
}

int main(void)
{
    static struct hurt_case cases[CASES_MAX];
    static struct CMUnitTest tests[CASES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < CASES_MAX; i++) {
        struct hurt_case *c = &cases[n];
        *c = (struct hurt_case){.moment = &moments[i / STAGES / VICTIMS], .stage = (enum stage)(i / VICTIMS % STAGES),
                                .victim = (enum victim)(i % VICTIMS), .number = i};
        if (!is_wanted(c->moment, c->stage, c->victim)) {
            continue;
        }
        (void)snprintf(c->name, sizeof(c->name), "%s_%s_%s", c->moment->name,
                       c->moment->key ? stage_names[c->stage] : "now", victim_names[c->victim]);
        tests[n++] = (struct CMUnitTest){.name = c->name, .test_func = a_move_is_hurt, .initial_state = c};
    }
    if (getenv("MORTAR_ONLY")) {
        cmocka_set_test_filter(getenv("MORTAR_ONLY"));
    }
    return _cmocka_run_group_tests("move_phases", tests, n, NULL, NULL);
}
