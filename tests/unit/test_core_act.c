/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/act.h"
#include "core_world.h"

static struct core *empty_core(void)
{
    struct core *c = core_new();
    c->actions = json_array();
    c->now_us = USEC_PER_SEC;
    return c;
}

/* Ends an attempt as the agent would: by an event. */
static void end(struct core *c, const char *id, const char *error)
{
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s}", "ev", "done", "id", id);
    if (error) {
        json_object_set_new(event, "error", json_pack("{s:s,s:s}", "name", error, "message", "m"));
    } else {
        json_object_set_new(event, "result", json_object());
    }
    json_decref(c->actions);
    (void)core_step(c, event, c->now_us, 0, &actions, NULL);
    json_decref(actions);
    c->actions = json_array();
}

static bool try(struct core *c)
{
    return act_try(c, "x", "do.it", json_object(), ACT_PAUSE_US);
}

static void success_pauses_and_failures_back_off_to_a_bound(void **state)
{
    _cleanup_(core_freep) struct core *c = empty_core();
    assert_true(try(c));
    assert_false(try(c)); /* in flight */
    end(c, "x", NULL);
    assert_false(try(c));
    c->now_us += ACT_PAUSE_US;
    assert_true(try(c));
    uint64_t waited = 0;
    for (int i = 0; i < 12; i++) {
        end(c, "x", "host.io");
        assert_false(try(c));
        uint64_t from = c->now_us;
        for (; !try(c); c->now_us += 100 * USEC_PER_MSEC) {
        }
        assert_true(c->now_us - from >= waited);
        waited = c->now_us - from;
    }
    assert_int_equal(waited, ACT_BACKOFF_MAX_US);
}

static void conflicts_are_free_a_few_times_then_back_off(void **state)
{
    _cleanup_(core_freep) struct core *c = empty_core();
    for (int i = 0; i < 4; i++) {
        assert_true(try(c));
        end(c, "x", "store.conflict");
    }
    assert_false(try(c));
}

/* Moves of seed 1568545610: half a minute after the store was back, what a guest's end has to change was still not said. */
static void what_failed_for_want_of_the_store_is_tried_when_it_is_back(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    assert_int_equal(core_world_step(c, "{\"ev\":\"lost\"}", 2 * USEC_PER_SEC, NULL), 0);
    c->actions = json_array();
    for (int i = 0; i < 6; i++) {
        c->now_us += ACT_BACKOFF_MAX_US;
        assert_true(act_try(c, "vm/web/x", "do.it", json_object(), 0));
        end(c, "vm/web/x", "store.unavailable");
        assert_false(act_try(c, "vm/web/x", "do.it", json_object(), 0));
    }
    json_decref(c->actions);
    c->actions = NULL;
    assert_int_equal(core_world_step(c, core_world_rows, c->now_us + 1, NULL), 0);
    c->actions = json_array();
    assert_true(act_try(c, "vm/web/x", "do.it", json_object(), 0));
}

static void once_is_once_until_forgotten(void **state)
{
    _cleanup_(core_freep) struct core *c = empty_core();
    const struct attempt *a = act_once(c, "a/1/x", "do.it", json_object());
    assert_true(a->in_flight);
    end(c, "a/1/x", "host.io");
    a = act_once(c, "a/1/x", "do.it", json_object());
    assert_true(a->has_ended);
    assert_int_equal(a->error.code, ERR_IO);
    (void)act_once(c, "a/2/x", "do.it", json_object());
    act_forget_others(c, "a/", "a/1/");
    assert_non_null(act_find(c, "a/1/x"));
    assert_non_null(act_find(c, "a/2/x")); /* in flight: its answer will want it */
    act_forget(c, "a/");
    assert_null(act_find(c, "a/1/x"));
}

static void answers_to_questions_of_an_earlier_life_are_ignored(void **state)
{
    _cleanup_(core_freep) struct core *c = empty_core();
    end(c, "unknown", "host.io");
    assert_null(act_find(c, "unknown"));
}

static void domains_that_are_not_ours_leave_no_trace(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    size_t before = c->seen.n;
    (void)core_world_step(c, "{\"ev\":\"domain\",\"name\":\"foreign\",\"kind\":\"gone\"}",
                          2 * USEC_PER_SEC, NULL);
    assert_int_equal(c->seen.n, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_pauses_and_failures_back_off_to_a_bound),
        cmocka_unit_test(conflicts_are_free_a_few_times_then_back_off),
        cmocka_unit_test(what_failed_for_want_of_the_store_is_tried_when_it_is_back),
        cmocka_unit_test(once_is_once_until_forgotten),
        cmocka_unit_test(answers_to_questions_of_an_earlier_life_are_ignored),
        cmocka_unit_test(domains_that_are_not_ours_leave_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
