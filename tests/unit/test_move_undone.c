/* SPDX-License-Identifier: Apache-2.0
 * A move that was undone (T8) ends when its target has said that nothing of it is left there, or with words that this is
 * not known. Here host1 is first the source, then the target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/model/keys.h"
#include "core/model/vm.h"
#include "core_actions.h"
#include "core_world.h"

#define SOURCE_TASK                                                                                            \
    "[\"/mortar/v1/task/t\",30,{\"id\":\"t\",\"kind\":\"vm.migrate\",\"object\":\"db1\",\"runner\":\"host1\",\"state\":"  \
    "\"running\",\"phase\":\"copy\",\"undo\":true,\"error\":{\"name\":\"task.timeout\",\"message\":\"it took too long\"}," \
    "\"args\":{\"name\":\"db1\"},\"data\":{\"dst\":\"host2\"},\"started_ms\":1}]"
#define OWN(owner, dst, phase) OWN_AT("30", owner, dst, phase)
#define OWN_AT(mod, owner, dst, phase)                                                                               \
    "[\"/mortar/v1/vm/db1/own\"," mod ",{\"owner\":\"" owner "\",\"inc\":1,\"epoch\":3,\"mig\":{\"id\":\"t\",\"dst\":\"" dst "\"," \
    "\"dst_inc\":1,\"epoch\":4,\"phase\":\"" phase "\"}}]"
#define UNKNOWN "it took too long; whether host2 still has a copy, which never ran, is not known"

static json_t *watch(struct core *c, const char *rows, uint64_t now_us)
{
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":40,\"puts\":[%s],\"dels\":[]}", rows);
    return actions_of(c, text, now_us);
}

/* What the task's end says, of the record that the step puts; NULL while it goes on. */
static const char *ending(const json_t *actions)
{
    const json_t *puts = json_object_get(action_args(actions, "save/t"), "puts");
    const json_t *task = json_object_get(puts, "/mortar/v1/task/t");
    assert_true(!task || str_eq(json_text_of(task, "state"), "failed"));
    return json_text_of(json_object_get(task, "error"), "message");
}

static void a_move_that_was_undone_ends_when_the_target_has_no_copy(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *waits = watch(c, SOURCE_TASK "," OWN("host1", "host2", "aborted"), 2 * USEC_PER_SEC);
    assert_null(ending(waits));
    _cleanup_json_ json_t *earlier = watch(c, "[\"/mortar/v1/seen/host2/undone\",31,{\"db1\":\"s\"}]", 3 * USEC_PER_SEC);
    assert_null(ending(earlier));
    _cleanup_json_ json_t *ends = watch(c, "[\"/mortar/v1/seen/host2/undone\",32,{\"db1\":\"t\"}]", 4 * USEC_PER_SEC);
    assert_string_equal(ending(ends), "it took too long");
}

static void a_target_that_says_nothing_is_waited_for_half_a_minute(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(watch(c, SOURCE_TASK "," OWN("host1", "host2", "aborted"), 2 * USEC_PER_SEC));
    _cleanup_json_ json_t *waits = actions_of(c, "{\"ev\":\"tick\"}", 31 * USEC_PER_SEC);
    assert_null(ending(waits));
    _cleanup_json_ json_t *ends = actions_of(c, "{\"ev\":\"tick\"}", 33 * USEC_PER_SEC);
    assert_string_equal(ending(ends), UNKNOWN);
}

static void a_target_that_cannot_say_anything_is_not_waited_for(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *ends =
        watch(c, "[\"/mortar/v1/node/host2\",30,{\"name\":\"host2\",\"role\":\"converged\",\"state\":\"fenced\",\"inc\":1,\"mgmt\":"
                 "\"10.0.0.2\",\"storage\":\"10.0.0.2\"}]," SOURCE_TASK "," OWN("host1", "host2", "aborted"), 2 * USEC_PER_SEC);
    assert_string_equal(ending(ends), UNKNOWN);
}

/* Its claim was never made, or is gone: there is no copy. */
static void without_a_claim_nobody_is_waited_for(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(watch(c, SOURCE_TASK, 2 * USEC_PER_SEC));
    _cleanup_json_ json_t *ends =
        actions_of(c, "{\"ev\":\"done\",\"id\":\"task/t/undo/unclaimed\",\"result\":{}}", 3 * USEC_PER_SEC);
    assert_string_equal(ending(ends), "it took too long");
}

/* --- the target ---------------------------------------------------------------------------- */

/* A list of this host's machines that was asked for at @at_us; one that is under way fails. Return: what the host says of
 * moves that were undone */
static const json_t *list(struct core *c, const char *machines, uint64_t at_us)
{
    _cleanup_free_ char *text = str_printf("{\"ev\":\"done\",\"id\":\"observe/domains\",\"result\":{%s}}", machines);
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"observe/domains\",\"error\":{\"name\":\"io\",\"message\":\"m\"}}",
                           at_us - USEC_PER_MSEC));
    act_forget(c, "observe/domains");
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", at_us));
    assert_true(act_find(c, "observe/domains")->in_flight);
    json_decref(actions_of(c, text, at_us + 1));
    return smap_get(&c->seen, VM_UNDONE);
}

#define COPY "\"db1\":{\"state\":\"paused\",\"epoch\":4,\"freezable\":true,\"in_slice\":true}"

static void a_target_says_so_by_a_list_that_is_newer_than_the_undoing(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(watch(c, OWN("host2", "host1", "active"), 2 * USEC_PER_SEC));
    assert_null(list(c, COPY, 3 * USEC_PER_SEC));
    assert_null(list(c, "", 4 * USEC_PER_SEC)); /* a copy may still come */
    _cleanup_json_ json_t *asks = watch(c, OWN_AT("31", "host2", "host1", "aborted"), 5 * USEC_PER_SEC);
    assert_null(smap_get(&c->seen, VM_UNDONE));
    assert_non_null(action_of(asks, "observe/domains"));
    assert_null(list(c, COPY, 6 * USEC_PER_SEC));
    assert_true(act_find(c, "vm/db1/kill")->in_flight);
    assert_string_equal(json_text_of(list(c, "", 7 * USEC_PER_SEC), "db1"), "t");
}

static void what_was_said_of_a_move_goes_when_the_machine_has_another_owner_record(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(watch(c, OWN("host2", "host1", "aborted"), 2 * USEC_PER_SEC));
    assert_string_equal(json_text_of(list(c, "", 3 * USEC_PER_SEC), "db1"), "t");
    json_decref(watch(c, "[\"/mortar/v1/vm/db1/own\",31,{\"owner\":\"host2\",\"inc\":1,\"epoch\":5,\"mig\":null}]", 4 * USEC_PER_SEC));
    assert_int_equal(json_object_size(smap_get(&c->seen, VM_UNDONE)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_that_was_undone_ends_when_the_target_has_no_copy),
        cmocka_unit_test(a_target_that_says_nothing_is_waited_for_half_a_minute),
        cmocka_unit_test(a_target_that_cannot_say_anything_is_not_waited_for),
        cmocka_unit_test(without_a_claim_nobody_is_waited_for),
        cmocka_unit_test(a_target_says_so_by_a_list_that_is_newer_than_the_undoing),
        cmocka_unit_test(what_was_said_of_a_move_goes_when_the_machine_has_another_owner_record),
    };
    return cmocka_run_group_tests_name("move_undone", tests, NULL, NULL);
}
