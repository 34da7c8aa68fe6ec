/* SPDX-License-Identifier: Apache-2.0
 * What tests of the numbered failure cases begin with and end in: a cluster with failover, and all well again. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "schedule.h"

/* A test's cluster, and what is known of db1 before anything happens. */
struct fix {
    struct sim s;
    size_t old;   /* who runs db1 */
    size_t other; /* the other one that could */
    uint64_t epoch;
    unsigned cold_starts;
};

#define WITNESS 2

static inline _unused_ uint64_t epoch_of(const struct sim *s, const char *vm)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/own", vm);
    return json_u64_of(sim_get(s, key), "epoch", 0);
}

static inline _unused_ void begin_by(struct fix *f, uint64_t seed)
{
    schedule_failover_prepare(&f->s, seed);
    sim_run(&f->s, 15 * USEC_PER_SEC); /* by now each host has heard of all mounts */
    f->old = kit_owner(&f->s, "db1");
    f->other = 1 - f->old;
    f->epoch = epoch_of(&f->s, "db1");
    f->cold_starts = f->s.cold_starts;
}

static inline _unused_ void begin(struct fix *f, int i)
{
    begin_by(f, kit_first_seed() + (uint64_t)i);
}

static inline _unused_ void end(struct fix *f)
{
    sim_ha_done(&f->s);
    sim_done(&f->s);
}

/* Five hosts, three with bricks, and failover on; without machines. Ends with sim_ha_done() and sim_done(). */
static inline _unused_ void begin_five(struct sim *s, int i)
{
    sim_init(s, kit_first_seed() + (uint64_t)i, 5);
    sim_ha_init(s);
    sim_run(s, 15 * USEC_PER_SEC);
    kit_ask(s, "pool.create", json_pack("{s:s,s:[s,s,s]}", "name", "vms", "hosts", "host1", "host2", "host3"), "done");
    kit_ask(s, "pool.ha", json_pack("{s:s,s:b}", "name", "vms", "on", 1), "done");
    sim_run(s, 5 * USEC_PER_SEC);
}

static inline _unused_ void cut_off(struct sim *s, size_t host)
{
    sim_ha_cut(s, host, SIM_MGMT);
    sim_ha_cut(s, host, SIM_STORAGE);
}

static inline _unused_ bool is_db1_running(struct sim *s, const void *arg)
{
    return sim_running(s, "db1") == 1;
}

static inline _unused_ bool has_moved(struct sim *s, const void *old)
{
    return kit_owner(s, "db1") != *(const size_t *)old && sim_running(s, "db1") == 1;
}

/* Time until db1 executes on another host; the limit when it never does. */
static inline _unused_ uint64_t time_until_moved(struct fix *f)
{
    uint64_t from = f->s.now_us;
    (void)kit_until(&f->s, has_moved, &f->old, KIT_LIMIT_US);
    return f->s.now_us - from;
}

static inline _unused_ bool is_out(struct sim *s, const void *host)
{
    return !str_eq(kit_state(s, *(const size_t *)host), "online");
}

static inline _unused_ bool is_fenced(struct sim *s, const void *host)
{
    return str_eq(kit_state(s, *(const size_t *)host), "fenced");
}

static inline _unused_ void all_is_well_again(struct fix *f)
{
    kit_all_online(&f->s);
    (void)kit_until(&f->s, is_db1_running, NULL, KIT_LIMIT_US);
    kit_expect_running(&f->s, "db1");
    assert_int_equal(sim_copies(&f->s, "db1"), 1);
}
