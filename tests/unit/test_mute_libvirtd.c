/* SPDX-License-Identifier: Apache-2.0
 * A libvirtd that does not answer (case 6): it is noticed, told of, spared, and ended once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/alarms.h"
#include "core/basis.h"
#include "core/place/place.h"
#include "core_actions.h"
#include "core_well.h"

#define LOOK "observe/domains"

/* host1 at 1 s, whose look at libvirt is under way; @fails: so many before it failed in a row */
static struct core *looking(unsigned fails)
{
    struct core *c = well();
    (void)smap_del(&c->attempts, LOOK);
    tick(c, USEC_PER_SEC);
    struct attempt *a = act_find(c, LOOK);
    assert_non_null(a);
    assert_true(a->in_flight);
    a->fails = fails;
    basis_forget(c);
    return c;
}

/* A step. Is libvirtd ended in it? */
static bool is_ended(struct core *c, uint64_t at_us)
{
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", at_us);
    return action_find(actions, "do", "libvirt.restart") != NULL;
}

static bool is_alarmed(const struct core *c)
{
    _cleanup_json_ json_t *list = alarms_list(c);
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        if (str_eq(json_text_of(a, "alarm"), "host.libvirt")) {
            return true;
        }
    }
    return false;
}

static bool has_room(const struct core *c)
{
    _cleanup_json_ json_t *rooms = place_rooms(c, NULL);
    return json_object_get(rooms, "host1") != NULL;
}

static void a_look_without_an_answer_for_a_minute_ends_libvirtd_once(void **state)
{
    _cleanup_(core_freep) struct core *c = looking(0);
    assert_false(is_ended(c, 60 * USEC_PER_SEC));
    assert_true(has_room(c));
    assert_false(is_alarmed(c));
    assert_true(is_ended(c, 61 * USEC_PER_SEC));
    assert_false(has_room(c));
    assert_true(is_alarmed(c));
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"libvirt/restart\",\"result\":{}}", 62 * USEC_PER_SEC,
                                     NULL), 0);
    assert_false(is_ended(c, 300 * USEC_PER_SEC));
    assert_true(is_ended(c, 3700 * USEC_PER_SEC));
}

static void looks_that_fail_again_and_again_count_as_well(void **state)
{
    _cleanup_(core_freep) struct core *six = looking(6);
    _cleanup_(core_freep) struct core *seven = looking(7);
    assert_false(is_ended(six, 2 * USEC_PER_SEC));
    assert_true(is_ended(seven, 2 * USEC_PER_SEC));
}

static void it_is_not_ended_again_within_the_hour_when_that_fails(void **state)
{
    _cleanup_(core_freep) struct core *c = looking(0);
    assert_true(is_ended(c, 61 * USEC_PER_SEC));
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"libvirt/restart\",\"error\":{\"name\":\"call.timeout\","
                                     "\"message\":\"m\"}}", 62 * USEC_PER_SEC, NULL), 0);
    assert_false(is_ended(c, 300 * USEC_PER_SEC));
    assert_true(is_ended(c, 3700 * USEC_PER_SEC));
}

/* Else nobody would ever place a guest here again. */
static void what_a_former_agent_of_this_host_said_is_taken_back(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    (void)smap_del(&c->attempts, "publish");
    _cleanup_json_ json_t *actions = actions_of(
        c, "{\"ev\":\"watch\",\"revision\":12,\"puts\":[[\"/mortar/v1/seen/host1/libvirt\",12,{\"mute\":true}]],\"dels\":[]}",
        USEC_PER_SEC);
    _cleanup_free_ char *dels = json_format(json_object_get(action_args(actions, "publish"), "dels"));
    assert_string_equal(dels, "[\"/mortar/v1/seen/host1/libvirt\"]");
}

static void an_answer_takes_it_back(void **state)
{
    _cleanup_(core_freep) struct core *c = looking(0);
    assert_true(is_ended(c, 61 * USEC_PER_SEC));
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"" LOOK "\",\"result\":{}}", 62 * USEC_PER_SEC, NULL), 0);
    assert_false(is_alarmed(c));
    assert_true(has_room(c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_without_an_answer_for_a_minute_ends_libvirtd_once),
        cmocka_unit_test(looks_that_fail_again_and_again_count_as_well),
        cmocka_unit_test(it_is_not_ended_again_within_the_hour_when_that_fails),
        cmocka_unit_test(what_a_former_agent_of_this_host_said_is_taken_back),
        cmocka_unit_test(an_answer_takes_it_back),
    };
    return cmocka_run_group_tests_name("mute_libvirtd", tests, NULL, NULL);
}
