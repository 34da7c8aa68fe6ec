/* SPDX-License-Identifier: Apache-2.0
 * vm set: what is stopped changes at once, what runs from its next start on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/model/vm.h"
#include "core_actions.h"
#include "core_world.h"

/* A step. Return: the arguments of the commit whose id starts with @commit_id, or NULL; caller frees */
static json_t *commit_of(struct core *c, const char *text, uint64_t now_us, const char *commit_id)
{
    _cleanup_json_ json_t *actions = actions_of(c, text, now_us);
    return json_incref(json_object_get(action_find(actions, "id", commit_id), "args"));
}

static const json_t *spec_of(const json_t *commit, const char *vm)
{
    _cleanup_free_ char *key = str_printf("/mortar/v1/vm/%s/spec", vm);
    return json_object_get(json_object_get(commit, "puts"), key);
}

static json_t *set(struct core *c, const char *args, uint64_t now_us)
{
    _cleanup_free_ char *text =
        str_printf("{\"ev\":\"request\",\"verb\":\"vm.set\",\"task\":\"t\",\"args\":%s}", args);
    return commit_of(c, text, now_us, "req/t");
}

static void a_stopped_vm_changes_at_once(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *t = set(c, "{\"name\":\"web\",\"cpus\":4}", 2 * USEC_PER_SEC);
    assert_int_equal(json_u64_of(spec_of(t, "web"), "cpus", 0), 4);
    assert_int_equal(json_u64_of(spec_of(t, "web"), "memory_bytes", 0), GIB);
    assert_null(json_object_get(spec_of(t, "web"), "next"));
}

static void a_running_vm_keeps_what_it_has_until_its_next_start(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *t =
        set(c, "{\"name\":\"db1\",\"cpus\":4,\"memory_bytes\":2147483648}", 2 * USEC_PER_SEC);
    const json_t *spec = spec_of(t, "db1");
    assert_int_equal(json_u64_of(spec, "cpus", 0), 2);
    assert_int_equal(json_u64_of(spec, "memory_bytes", 0), GIB);
    assert_int_equal(json_u64_of(json_object_get(spec, "next"), "cpus", 0), 4);
    assert_int_equal(vm_next_u64(spec, "memory_bytes"), 2 * GIB);
    assert_int_equal(vm_next_u64(spec, "disk_bytes"), 0);
}

static void later_changes_add_up_and_can_be_taken_back(void **state)
{
    _cleanup_json_ json_t *spec = json_pack("{s:i,s:i,s:{s:i}}", "cpus", 2, "memory_bytes", 100, "next",
                                            "cpus", 4);
    _cleanup_json_ json_t *more = json_pack("{s:i}", "memory_bytes", 200);
    _cleanup_json_ json_t *back = json_pack("{s:i,s:i}", "cpus", 2, "memory_bytes", 100);
    _cleanup_json_ json_t *both = vm_changed_spec(spec, more, true);
    assert_int_equal(vm_next_u64(both, "cpus"), 4);
    assert_int_equal(vm_next_u64(both, "memory_bytes"), 200);
    _cleanup_json_ json_t *none = vm_changed_spec(both, back, true);
    assert_null(json_object_get(none, "next"));
    assert_int_equal(json_u64_of(none, "cpus", 0), 2);
    _cleanup_json_ json_t *stopped = vm_changed_spec(spec, more, false);
    assert_int_equal(json_u64_of(stopped, "cpus", 0), 4); /* what was waiting is not lost */
    assert_int_equal(json_u64_of(stopped, "memory_bytes", 0), 200);
    assert_null(json_object_get(stopped, "next"));
    assert_int_equal(json_u64_of(json_object_get(spec, "next"), "cpus", 0), 4); /* not changed itself */
}

static void rules_hold_at_once_also_for_what_runs(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *t =
        set(c, "{\"name\":\"db1\",\"ha\":\"stay\",\"priority\":\"low\"}", 2 * USEC_PER_SEC);
    assert_string_equal(json_text_of(spec_of(t, "db1"), "ha"), "stay");
    assert_string_equal(json_text_of(spec_of(t, "db1"), "priority"), "low");
    assert_null(json_object_get(spec_of(t, "db1"), "next"));
}

/* The claim of the start (T5) carries the new spec: no start can miss it, and none can have half of it. */
static void the_next_start_takes_it_in(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    smap_put(&c->seen, "domains", json_object());
    c->domains_at_us = 5 * USEC_PER_SEC;
    _cleanup_json_ json_t *t = commit_of(
        c, "{\"ev\":\"watch\",\"revision\":30,\"dels\":[],\"puts\":["
           "[\"/mortar/v1/vm/web/spec\",30,{\"name\":\"web\",\"uuid\":\"u-web\",\"desired\":\"running\","
           "\"pool\":\"vms\",\"cpus\":2,\"memory_bytes\":1073741824,\"networks\":[\"default\"],"
           "\"next\":{\"memory_bytes\":2147483648}}],"
           "[\"/mortar/v1/vm/web/own\",30,{\"owner\":\"host1\",\"inc\":1,\"epoch\":3,\"mig\":null}]]}",
        4 * USEC_PER_SEC, "vm/web/claim");
    const json_t *spec = spec_of(t, "web");
    assert_int_equal(json_u64_of(spec, "memory_bytes", 0), 2 * GIB);
    assert_int_equal(json_u64_of(spec, "cpus", 0), 2);
    assert_null(json_object_get(spec, "next"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_vm_changes_at_once),
        cmocka_unit_test(a_running_vm_keeps_what_it_has_until_its_next_start),
        cmocka_unit_test(later_changes_add_up_and_can_be_taken_back),
        cmocka_unit_test(rules_hold_at_once_also_for_what_runs),
        cmocka_unit_test(the_next_start_takes_it_in),
    };
    return cmocka_run_group_tests_name("vm_set", tests, NULL, NULL);
}
