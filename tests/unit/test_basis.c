/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core_world.h"

static int runs;
static void (*what)(struct core *c);

static void planner(struct core *c)
{
    runs++;
    what(c);
}

/* Return: does it run, @in_us later? */
static bool does_run(struct core *c, uint64_t in_us)
{
    int before = runs;
    c->now_us += in_us;
    c->wake_us = 0;
    basis_look(c);
    basis_run(c, PLAN_NODE, planner);
    return runs > before;
}

static struct core *core_of(void (*plan)(struct core *c))
{
    struct core *c = core_new();
    c->now_us = USEC_PER_SEC;
    c->actions = json_array();
    what = plan;
    return c;
}

static void put(struct core *c, const char *key, uint64_t mod)
{
    _cleanup_json_ json_t *value = json_object();
    world_put(&c->world, key, value, mod, c->now_us);
}

static void read_all_kinds(struct core *c)
{
    (void)world_get(&c->world, KEY_NODE, "a");
    (void)smap_get(&c->seen, "pool/p");
    (void)act_find(c, "mount/p");
}

static void a_planner_is_left_out_until_something_that_it_read_has_changed(void **state)
{
    _cleanup_(core_freep) struct core *c = core_of(read_all_kinds);
    assert_true(does_run(c, 0));
    assert_false(does_run(c, USEC_PER_SEC));
    put(c, KEY_VM "x/spec", 1);
    smap_put(&c->seen, "ha/guard", json_object());
    assert_false(does_run(c, 0)); /* of other kinds */
    put(c, KEY_NODE "a", 2);
    assert_true(does_run(c, 0));
    put(c, KEY_NODE "a", 1);
    assert_false(does_run(c, 0)); /* older than what is held */
    smap_put(&c->seen, "pool/p", json_object());
    assert_true(does_run(c, 0));
    assert_true(act_try(c, "mount/p", "mount.ensure", json_object(), 0));
    assert_true(does_run(c, 0));
    c->store_is_lost = true;
    assert_true(does_run(c, 0));
    assert_false(does_run(c, 0));
}

static void walk(struct core *c)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
    }
}

static void who_looks_for_all_of_a_kind_notices_a_new_one(void **state)
{
    _cleanup_(core_freep) struct core *c = core_of(walk);
    assert_true(does_run(c, 0));
    put(c, KEY_POOL "p", 1);
    assert_false(does_run(c, 0));
    put(c, KEY_NODE "a", 2);
    assert_true(does_run(c, 0));
    world_del(&c->world, KEY_NODE "a", 3);
    assert_true(does_run(c, 0));
}

static void act(struct core *c)
{
    (void)act_try(c, "x", "do.it", json_object(), ACT_PAUSE_US);
}

static void a_planner_runs_after_what_it_did_itself(void **state)
{
    _cleanup_(core_freep) struct core *c = core_of(act);
    assert_true(does_run(c, 0));
    assert_true(does_run(c, 0)); /* it finds its action in flight, */
    assert_false(does_run(c, 5 * USEC_PER_SEC)); /* and waits for its end */
}

static void rests_on_nothing(struct core *c)
{
}

/* A dependency that nobody notes would else stand for ever. */
static void nothing_stands_for_longer_than_ten_seconds(void **state)
{
    _cleanup_(core_freep) struct core *c = core_of(rests_on_nothing);
    assert_true(does_run(c, 0));
    assert_false(does_run(c, 10 * USEC_PER_SEC - 1));
    assert_true(does_run(c, 1));
}

static void look_at_the_clock(struct core *c)
{
    (void)node_was_heard(c, "a", 10 * USEC_PER_SEC);
}

static void a_planner_runs_when_a_time_has_come_that_it_looked_at(void **state)
{
    _cleanup_(core_freep) struct core *c = core_of(look_at_the_clock);
    put(c, KEY_SEEN "a/host", 1);
    assert_true(does_run(c, 0));
    assert_false(does_run(c, 10 * USEC_PER_SEC - 1));
    assert_true(does_run(c, 1));
    assert_false(does_run(c, USEC_PER_SEC));
}

static void want_a_step(struct core *c)
{
    core_wake_in(c, 3);
}

static void a_step_is_wanted_also_by_who_is_left_out(void **state)
{
    _cleanup_(core_freep) struct core *c = core_of(want_a_step);
    assert_true(does_run(c, 0));
    assert_int_equal(c->wake_us, c->now_us + 3);
    assert_false(does_run(c, 2));
    assert_int_equal(c->wake_us, c->now_us + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_planner_is_left_out_until_something_that_it_read_has_changed),
        cmocka_unit_test(who_looks_for_all_of_a_kind_notices_a_new_one),
        cmocka_unit_test(a_planner_runs_after_what_it_did_itself),
        cmocka_unit_test(nothing_stands_for_longer_than_ten_seconds),
        cmocka_unit_test(a_planner_runs_when_a_time_has_come_that_it_looked_at),
        cmocka_unit_test(a_step_is_wanted_also_by_who_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
