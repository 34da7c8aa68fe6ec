/* SPDX-License-Identifier: Apache-2.0
 * Cancelling is polite: the host that works on a task ends it. By force it ends also what does not
 * hear, and a silent host is not waited for. Here host1 works, or is an onlooker of host2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_actions.h"
#include "core_world.h"

#define TASK_KEY "/mortar/v1/task/t"
#define MIG_OWN(owner)                                                                             \
    "[\"/mortar/v1/vm/db1/own\",30,{\"owner\":\"" owner "\",\"inc\":1,\"epoch\":3,\"mig\":{\"id\":\"t\"," \
    "\"dst\":\"host2\",\"dst_inc\":1,\"epoch\":4,\"phase\":\"active\"}}]"
#define MIGRATION(runner, more) MIGRATION_AT("30", runner, more)
#define MIGRATION_AT(mod, runner, more)                                                            \
    "[\"" TASK_KEY "\"," mod ",{\"id\":\"t\",\"kind\":\"vm.migrate\",\"object\":\"db1\",\"runner\":\"" runner "\"," \
    "\"state\":\"running\",\"phase\":\"copy\",\"args\":{\"name\":\"db1\"},\"data\":{\"dst\":\"host2\"}," \
    "\"started_ms\":1" more "}]"
#define CANCEL ",\"cancel\":true"
#define FORCE ",\"cancel\":true,\"force\":true"
#define LATE_US (120 * USEC_PER_SEC) /* host2 has been silent since the first second */

/* A step with rows of the store. Return: its actions; caller frees */
static json_t *watch(struct core *c, const char *rows, uint64_t now_us)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_free_ char *text =
        str_printf("{\"ev\":\"watch\",\"revision\":30,\"puts\":[%s],\"dels\":[]}", rows);
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    assert_non_null(event);
    assert_int_equal(core_step(c, event, now_us, now_us, &actions, &e), 0);
    return actions;
}

static void force_is_kept_with_the_task(void **state)
{
    for (int force = 0; force < 2; force++) {
        struct err e = {0};
        json_t *actions = NULL;
        _cleanup_(core_freep) struct core *c = core_world_new();
        json_decref(watch(c, MIG_OWN("host2") "," MIGRATION("host2", ""), 2 * USEC_PER_SEC));
        _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:s,s:{s:s,s:b}}", "ev", "request", "verb",
                                                 "task.cancel", "task", "r", "args", "id", "t", "force",
                                                 force);
        assert_int_equal(core_step(c, event, 3 * USEC_PER_SEC, 0, &actions, &e), 0);
        const json_t *task =
            json_object_get(json_object_get(action_args(actions, "req/r"), "puts"), TASK_KEY);
        assert_true(json_bool_of(task, "cancel", false));
        assert_int_equal(json_bool_of(task, "force", false), force);
        json_decref(actions);
    }
}

static void a_polite_cancel_aborts_and_force_cuts_the_connection_too(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(watch(c, MIG_OWN("host1") "," MIGRATION("host1", ""), 2 * USEC_PER_SEC));
    json_decref(action_saved(c, "t", 2 * USEC_PER_SEC));
    _cleanup_json_ json_t *polite = watch(c, MIGRATION_AT("31", "host1", CANCEL), 3 * USEC_PER_SEC);
    assert_non_null(action_args(polite, "task/t/copy/cancel"));
    assert_null(action_args(polite, "task/t/copy/cut"));
    _cleanup_json_ json_t *forced = watch(c, MIGRATION_AT("32", "host1", FORCE), 4 * USEC_PER_SEC);
    assert_string_equal(json_text_of(action_args(forced, "task/t/copy/cut"), "cut_from"), "10.0.0.2");
}

static void only_force_takes_a_task_from_a_silent_host(void **state)
{
    _cleanup_(core_freep) struct core *polite = core_world_new();
    _cleanup_json_ json_t *waits = watch(polite, MIG_OWN("host2") "," MIGRATION("host2", CANCEL), LATE_US);
    assert_null(action_args(waits, "takeover/t"));
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions = watch(c, MIG_OWN("host2") "," MIGRATION("host2", FORCE), LATE_US);
    const json_t *commit = action_args(actions, "takeover/t");
    const json_t *task = json_object_get(json_object_get(commit, "puts"), TASK_KEY);
    assert_string_equal(json_text_of(task, "runner"), "host1");
    assert_true(json_bool_of(task, "undo", false));
    assert_string_equal(json_text_of(json_object_get(task, "error"), "name"), "task.cancelled");
    bool is_silence_compared = false; /* what this host has not heard is no proof: the store compares */
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(commit, "compares"), i, row) {
        is_silence_compared = is_silence_compared || str_eq(json_string_value(json_array_get(row, 0)),
                                                            "/mortar/v1/seen/host2/host");
    }
    assert_true(is_silence_compared);
}

static void a_host_that_speaks_keeps_its_task_also_under_force(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions = watch(
        c, "[\"/mortar/v1/seen/host2/host\",30,{\"beat\":1}]," MIG_OWN("host2") "," MIGRATION("host2", FORCE),
        LATE_US);
    assert_null(action_args(actions, "takeover/t"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(force_is_kept_with_the_task),
        cmocka_unit_test(a_polite_cancel_aborts_and_force_cuts_the_connection_too),
        cmocka_unit_test(only_force_takes_a_task_from_a_silent_host),
        cmocka_unit_test(a_host_that_speaks_keeps_its_task_also_under_force),
    };
    return cmocka_run_group_tests_name("task_cancel", tests, NULL, NULL);
}
