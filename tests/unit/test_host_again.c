/* SPDX-License-Identifier: Apache-2.0
 * A host that joins under a name that another life of the cluster knew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_actions.h"
#include "core_well.h"

#define THIS_HOST(fields) \
    ROW("node/host1", "{\"name\":\"host1\",\"role\":\"compute\"," fields ",\"boot_id\":\"b\",\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\"}")
#define LOCAL(kind, phase)                                                                                                  \
    "{\"ev\":\"start\",\"host\":\"host1\",\"boot_id\":\"b\",\"instance\":\"i\",\"uuid\":\"u-host1\",\"local_task\":{\"id\":\"t\"," \
    "\"kind\":\"" kind "\",\"state\":\"running\",\"phase\":\"" phase "\",\"args\":{},\"data\":{\"role\":\"compute\","       \
    "\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\"}}}"

/* The commit that this phase of the local task of host1 asks for, in a store with @rows. New reference */
static json_t *commit_of(const char *rows, const char *task, const char *id)
{
    _cleanup_(core_freep) struct core *c = well();
    _cleanup_free_ char *watch = str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[%s],\"dels\":[]}", rows);
    json_decref(actions_of(c, watch, 2 * USEC_PER_SEC));
    _cleanup_json_ json_t *actions = actions_of(c, task, 3 * USEC_PER_SEC);
    json_t *args = json_deep_copy(action_args(actions, id));
    assert_non_null(args);
    return args;
}

static const json_t *put_of(const json_t *commit, const char *key)
{
    return json_object_get(json_object_get(commit, "puts"), key);
}

static bool compares(const json_t *commit, const char *key)
{
    size_t i;
    json_t *compare;
    json_array_foreach(json_object_get(commit, "compares"), i, compare) {
        if (str_eq(json_string_value(json_array_get(compare, 0)), key)) {
            return true;
        }
    }
    return false;
}

static uint64_t inc_of_join(const char *more_rows)
{
    _cleanup_free_ char *rows = str_printf(THIS_HOST("\"state\":\"joining\",\"inc\":0") "%s", more_rows);
    _cleanup_json_ json_t *commit = commit_of(rows, LOCAL("join", "online"), "task/t/online/");
    assert_true(compares(commit, "/mortar/v1/left/host1"));
    return json_u64_of(put_of(commit, "/mortar/v1/node/host1"), "inc", 0);
}

static void a_host_that_leaves_says_which_incarnation_was_its_last(void **state)
{
    _cleanup_json_ json_t *commit =
        commit_of(THIS_HOST("\"state\":\"leaving\",\"inc\":4"), LOCAL("leave", "forget"), "task/t/forget/");
    assert_int_equal(json_u64_of(put_of(commit, "/mortar/v1/left/host1"), "inc", 0), 4);
}

/* Found by reading, and by the simulator with the marks of a former host in its store: 50 of 60 schedules wrote after
 * their successor had begun, since the flush (T10) and the fence (T3) of the new host were proved by those marks. */
static void a_host_that_joins_under_a_name_of_before_is_no_incarnation_of_before(void **state)
{
    assert_int_equal(inc_of_join(""), 1);
    assert_int_equal(inc_of_join("," ROW("left/host1", "{\"inc\":4}")), 5);
}

static void marks_of_a_host_that_left_without_saying_so_prove_nothing_either(void **state)
{
    assert_int_equal(inc_of_join("," ROW("ack/host1/6/host2", "{}")), 7);
    assert_int_equal(inc_of_join("," ROW("cut/host1/2/host2", "{}") "," ROW("washed/host1/3/host3", "{}")), 4);
    assert_int_equal(inc_of_join("," ROW("left/host1", "{\"inc\":8}") "," ROW("ack/host1/6/host2", "{}")), 9);
    assert_int_equal(inc_of_join("," ROW("ack/host10/6/host2", "{}") "," ROW("ack/host1/x/host2", "{}")), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_leaves_says_which_incarnation_was_its_last),
        cmocka_unit_test(a_host_that_joins_under_a_name_of_before_is_no_incarnation_of_before),
        cmocka_unit_test(marks_of_a_host_that_left_without_saying_so_prove_nothing_either),
    };
    return cmocka_run_group_tests_name("host_again", tests, NULL, NULL);
}
