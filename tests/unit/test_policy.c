/* SPDX-License-Identifier: Apache-2.0
 * What becomes of a machine when its host or its QEMU falls: by its policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/ha/ha.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/vm.h"
#include "core_fenced.h"

static void a_spec_that_says_nothing_is_restarted_with_normal_priority(void **state)
{
    _cleanup_json_ json_t *old = json_pack("{s:s}", "name", "db1");
    _cleanup_json_ json_t *odd = json_pack("{s:s,s:i}", "ha", "teleport", "priority", 7);
    _cleanup_json_ json_t *full = json_pack("{s:s,s:s}", "ha", "none", "priority", "high");
    assert_int_equal(policy_of(old), POLICY_RESTART);
    assert_int_equal(policy_of(odd), POLICY_RESTART);
    assert_int_equal(policy_of(full), POLICY_NONE);
    assert_int_equal(priority_of(old), priority_of(odd));
    assert_true(priority_of(full) < priority_of(old));
    assert_true(policy_is_known("stay") && !policy_is_known("teleport") && !policy_is_known(NULL));
    assert_true(priority_is_known("low") && !priority_is_known("7"));
}

static void only_machines_that_may_leave_a_fenced_host_get_a_new_owner(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        FENCED_VM("moves", "running", "", "running") ","
        FENCED_VM("stays", "running", ",\"ha\":\"stay\"", "running") ","
        FENCED_VM("big", "running", ",\"ha\":\"none\"", "running") ","
        FENCED_VM("off", "stopped", "", "stopped"));
    _cleanup_json_ json_t *t = fenced_take(c, 3 * USEC_PER_SEC);
    assert_string_equal(json_text_of(fenced_put(t, "moves", "own"), "owner"), "host1");
    assert_null(fenced_put(t, "moves", "spec"));
    assert_null(fenced_put(t, "stays", "own"));
    assert_null(fenced_put(t, "off", "own"));
    assert_null(fenced_put(t, "big", "own")); /* nobody waits for a large record */
    _cleanup_free_ char *compares = json_format(json_object_get(t, "compares"));
    assert_non_null(strstr(compares, "vm/moves/spec")); /* what the decision rests on (I7) */
    assert_non_null(strstr(compares, "vm/moves/act"));
}

static void a_machine_of_policy_none_is_let_down_when_its_host_is_fenced(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("ends", "running", ",\"ha\":\"none\"", "running") ","
                                                        FENCED_VM("next", "running", ",\"ha\":\"none\"", "running"));
    _cleanup_json_ json_t *t = fenced_take(c, 3 * USEC_PER_SEC);
    assert_null(fenced_put(t, "next", "own")); /* one by one: a spec may be as large as a user's cloud-init */
    /* It stays down, the new epoch ends what is left of it, and the record says why. */
    assert_string_equal(json_text_of(fenced_put(t, "ends", "own"), "owner"), "host2");
    assert_int_equal(vm_epoch(fenced_put(t, "ends", "own")), 6);
    assert_int_equal(vm_epoch(fenced_put(t, "ends", "act")), 6);
    assert_string_equal(json_text_of(fenced_put(t, "ends", "act"), "state"), "stopped");
    assert_string_equal(json_text_of(fenced_put(t, "ends", "spec"), "desired"), "stopped");
    assert_non_null(strstr(json_text_of(json_object_get(fenced_put(t, "ends", "act"), "error"), "message"),
                           "host2 was fenced"));
}

static void a_machine_of_a_fenced_host_is_lost_not_running(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        FENCED_VM("stays", "running", ",\"ha\":\"stay\"", "running"));
    assert_string_equal(vm_state(c, "stays"), "lost");
    assert_string_equal(vm_state(c, "db1"), "running");
    fenced_watch(c, 20, "[\"/mortar/v1/vm/stays/own\",20,{\"owner\":\"host1\",\"inc\":1,\"epoch\":6,\"mig\":null}]",
                 3 * USEC_PER_SEC);
    assert_string_equal(vm_state(c, "stays"), "starting"); /* taken over, not moved */
}

/* host1's own machine of epoch 3. Return: the commit of the step in which its QEMU is missing, or NULL */
static json_t *own_step(const char *policy, const char *reason, uint64_t inc, bool is_flushing)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("x", "stopped", "", "stopped"));
    json_t *found = NULL;
    _cleanup_free_ char *rows = str_printf(
        "[\"/mortar/v1/vm/db1/spec\",20,{\"name\":\"db1\",\"uuid\":\"u-db1\",\"desired\":\"running\",\"pool\":\"vms\","
        "\"cpus\":1,\"memory_bytes\":1073741824,\"ha\":\"%s\"}],"
        "[\"/mortar/v1/vm/db1/own\",20,{\"owner\":\"host1\",\"inc\":%d,\"epoch\":3,\"mig\":null}]", policy,
        (int)inc);
    if (is_flushing) {
        json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host1"));
        json_object_set_new(node, "flush", json_true());
        _cleanup_free_ char *text = json_format(node);
        _cleanup_free_ char *row = str_printf("[\"/mortar/v1/node/host1\",19,%s]", text);
        json_decref(node);
        fenced_watch(c, 19, row, 2 * USEC_PER_SEC);
    }
    smap_put(&c->seen, "gone/db1", json_pack("{s:s,s:i}", "reason", reason, "epoch", 3));
    fenced_watch(c, 20, rows, 3 * USEC_PER_SEC);
    smap_put(&c->seen, "domains", json_object());
    c->domains_at_us = 4 * USEC_PER_SEC;
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", 5 * USEC_PER_SEC);
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (str_starts(json_text_of(a, "id"), "vm/db1/")) {
            assert_null(found);
            found = json_incref(json_object_get(a, "args"));
        }
    }
    return found;
}

static json_t *own_falls(const char *policy, const char *reason, uint64_t inc)
{
    json_t *found = own_step(policy, reason, inc, false);
    assert_non_null(found);
    return found;
}

/* "stopped" would let another host start it, while writes of before the reboot may still lie in bricks. */
static void nothing_is_said_of_a_machine_while_its_host_is_flushing(void **state)
{
    static const char *const policies[] = {"restart", "stay", "none"};
    for (size_t i = 0; i < ELEMENTS(policies); i++) {
        assert_null(own_step(policies[i], "crashed", 0, true));
    }
}

static void assert_starts_again(const char *policy, const char *reason, uint64_t inc)
{
    _cleanup_json_ json_t *t = own_falls(policy, reason, inc);
    assert_null(fenced_put(t, "db1", "spec"));
    assert_int_equal(vm_epoch(fenced_put(t, "db1", "own")), 4);
}

static void assert_stays_down(const char *policy, const char *reason, uint64_t inc, const char *says)
{
    _cleanup_json_ json_t *t = own_falls(policy, reason, inc);
    const char *why = json_text_of(json_object_get(fenced_put(t, "db1", "act"), "error"), "message");
    assert_string_equal(json_text_of(fenced_put(t, "db1", "spec"), "desired"), "stopped");
    assert_string_equal(json_text_of(fenced_put(t, "db1", "act"), "state"), "stopped");
    assert_null(fenced_put(t, "db1", "own"));
    if (says ? !why || !strstr(why, says) : why != NULL) {
        fail_msg("%s %s: %s", policy, reason, why);
    }
}

static void a_fallen_qemu_is_started_again_unless_the_policy_is_none(void **state)
{
    assert_starts_again("restart", "crashed", 1);
    assert_starts_again("stay", "crashed", 1);
    assert_stays_down("none", "crashed", 1, "QEMU ended by itself");
    assert_stays_down("restart", "shutdown", 1, NULL);
    assert_stays_down("none", "shutdown", 1, NULL);
}

static void a_host_that_comes_back_starts_its_machines_unless_the_policy_is_none(void **state)
{
    assert_starts_again("restart", "crashed", 0);
    assert_starts_again("stay", "crashed", 0);
    assert_stays_down("none", "crashed", 0, "its host was lost and came back");
}

/* --- order --------------------------------------------------------------------------------- */

/* @n machines "vm00"…; the last three are important, the first three are not. Caller frees. */
static char *many(unsigned n, const char *owner, const char *state)
{
    struct sbuf b = {0};
    for (unsigned i = 0; i < n; i++) {
        const char *priority = i < 3 ? "low" : i >= n - 3 ? "high" : "normal";
        sbuf_printf(&b, "%s[\"/mortar/v1/vm/vm%02u/spec\",11,{\"name\":\"vm%02u\",\"uuid\":\"u-%u\",\"desired\":"
                    "\"running\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":67108864,\"priority\":\"%s\"}],"
                    "[\"/mortar/v1/vm/vm%02u/own\",11,{\"owner\":\"%s\",\"inc\":1,\"epoch\":5,\"mig\":null}],"
                    "[\"/mortar/v1/vm/vm%02u/act\",11,{\"state\":\"%s\",\"host\":\"host2\",\"epoch\":4,\"ha\":true}]",
                    b.len ? "," : "", i, i, i, priority, i, owner, i, state);
    }
    return sbuf_take(&b);
}

static void the_first_take_over_has_the_most_important_machines(void **state)
{
    _cleanup_free_ char *rows = many(50, "host2", "stopped");
    _cleanup_(core_freep) struct core *c = fenced_world(rows);
    _cleanup_json_ json_t *t = fenced_take(c, 3 * USEC_PER_SEC);
    assert_true(json_array_size(json_object_get(t, "compares")) <= 128); /* what etcd takes */
    for (unsigned i = 0; i < 50; i++) {
        _cleanup_free_ char *name = str_printf("vm%02u", i);
        assert_int_equal(fenced_put(t, name, "own") != NULL, i >= 47 || (i >= 3 && i < 30)); /* 3 high and 27 normal ones */
    }
}

/* "vm47 vm48 …": whose @step is asked for in @actions, in their order. Caller frees. */
static char *asked(const json_t *actions, const char *step)
{
    struct sbuf b = {0};
    _cleanup_free_ char *part = str_printf("/%s", step);
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        const char *id = json_text_of(a, "id");
        if (str_starts(id, "vm/vm") && strstr(id, part)) {
            sbuf_printf(&b, "%s%.4s", b.len ? " " : "", id + strlen("vm/"));
        }
    }
    return b.len ? sbuf_take(&b) : str_dup("");
}

static void eight_machines_of_a_host_start_at_a_time_the_most_important_first(void **state)
{
    _cleanup_free_ char *rows = many(20, "host1", "stopped");
    _cleanup_(core_freep) struct core *c = fenced_world(rows);
    smap_put(&c->seen, "domains", json_object());
    c->domains_at_us = 4 * USEC_PER_SEC;
    see(c, "ha/guard", "{\"run_right\":true,\"enforce\":true}");
    _cleanup_json_ json_t *first = actions_of(c, "{\"ev\":\"tick\"}", 5 * USEC_PER_SEC);
    _cleanup_free_ char *claims = asked(first, "claim");
    assert_string_equal(claims, "vm17 vm18 vm19 vm03 vm04 vm05 vm06 vm07");
    /* One that fails makes room for one, and waits for its back-off. */
    _cleanup_json_ json_t *next = actions_of(c, "{\"ev\":\"done\",\"id\":\"vm/vm18/claim/u-18/5\",\"error\":{"
        "\"name\":\"store.unavailable\",\"message\":\"x\"}}", 5 * USEC_PER_SEC + 1);
    _cleanup_free_ char *more = asked(next, "claim");
    assert_string_equal(more, "vm08");
    /* One that is claimed keeps its place for the work that follows, also until it is seen to be absent. */
    _cleanup_json_ json_t *work = actions_of(c, "{\"ev\":\"done\",\"id\":\"vm/vm17/claim/u-17/5\",\"result\":{},"
        "\"store\":{\"revision\":30,\"dels\":[],\"puts\":[[\"/mortar/v1/vm/vm17/act\",30,{\"state\":\"starting\","
        "\"host\":\"host1\",\"epoch\":5,\"instance\":\"i\"}]]}}", 5 * USEC_PER_SEC + 2);
    _cleanup_free_ char *none = asked(work, "c");
    assert_string_equal(none, "");
    c->domains_at_us = 6 * USEC_PER_SEC;
    _cleanup_json_ json_t *look = actions_of(c, "{\"ev\":\"tick\"}", 7 * USEC_PER_SEC);
    _cleanup_free_ char *cleans = asked(look, "clean");
    _cleanup_free_ char *claim = asked(look, "claim");
    assert_string_equal(cleans, "vm17");
    assert_string_equal(claim, "");
    /* A brick host does not answer: it waits, and others go on meanwhile. */
    _cleanup_json_ json_t *later = actions_of(c, "{\"ev\":\"done\",\"id\":\"vm/vm17/clean/u-17/5\",\"error\":{"
        "\"name\":\"host.unreachable\",\"message\":\"x\"}}", 7 * USEC_PER_SEC + 1);
    _cleanup_free_ char *other = asked(later, "claim");
    assert_string_equal(other, "vm18"); /* its back-off is over, and it is important */
}

static void a_start_that_hangs_in_its_mount_keeps_nobody_up(void **state)
{
    _cleanup_free_ char *rows = many(20, "host1", "stopped");
    _cleanup_(core_freep) struct core *c = fenced_world(rows);
    smap_put(&c->seen, "domains", json_object());
    c->domains_at_us = 4 * USEC_PER_SEC;
    see(c, "ha/guard", "{\"run_right\":true,\"enforce\":true}");
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", 5 * USEC_PER_SEC));
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"vm/vm17/claim/u-17/5\",\"result\":{},"
        "\"store\":{\"revision\":30,\"dels\":[],\"puts\":[[\"/mortar/v1/vm/vm17/act\",30,{\"state\":\"starting\","
        "\"host\":\"host1\",\"epoch\":5,\"instance\":\"i\"}]]}}", 5 * USEC_PER_SEC + 2));
    c->domains_at_us = 6 * USEC_PER_SEC;
    _cleanup_json_ json_t *look = actions_of(c, "{\"ev\":\"tick\"}", 7 * USEC_PER_SEC);
    _cleanup_free_ char *cleans = asked(look, "clean");
    assert_string_equal(cleans, "vm17");
    c->domains_at_us = 70 * USEC_PER_SEC;
    _cleanup_json_ json_t *soon = actions_of(c, "{\"ev\":\"tick\"}", 80 * USEC_PER_SEC);
    _cleanup_free_ char *none = asked(soon, "claim");
    assert_string_equal(none, "");
    _cleanup_json_ json_t *late = actions_of(c, "{\"ev\":\"tick\"}", 83 * USEC_PER_SEC);
    _cleanup_free_ char *next = asked(late, "claim");
    assert_string_equal(next, "vm08");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_that_says_nothing_is_restarted_with_normal_priority),
        cmocka_unit_test(only_machines_that_may_leave_a_fenced_host_get_a_new_owner),
        cmocka_unit_test(a_machine_of_policy_none_is_let_down_when_its_host_is_fenced),
        cmocka_unit_test(a_machine_of_a_fenced_host_is_lost_not_running),
        cmocka_unit_test(nothing_is_said_of_a_machine_while_its_host_is_flushing),
        cmocka_unit_test(a_fallen_qemu_is_started_again_unless_the_policy_is_none),
        cmocka_unit_test(a_host_that_comes_back_starts_its_machines_unless_the_policy_is_none),
        cmocka_unit_test(the_first_take_over_has_the_most_important_machines),
        cmocka_unit_test(eight_machines_of_a_host_start_at_a_time_the_most_important_first),
        cmocka_unit_test(a_start_that_hangs_in_its_mount_keeps_nobody_up),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
