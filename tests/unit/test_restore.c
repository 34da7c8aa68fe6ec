/* SPDX-License-Identifier: Apache-2.0
 * What one core does after the store was restored (core/restore.h); whole clusters are in tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/guard/guard_text.h"
#include "core/alarms.h"
#include "core/model/vm.h"
#include "core/restore.h"
#include "core_well.h"

#define GEN(n, more) "[\"/mortar/v1/restore_gen\",30,{\"n\":" n more "}]"
#define SAID(host, domains) \
    "[\"/mortar/v1/restored/" host "\",31,{\"gen\":1,\"boot_id\":\"b\",\"domains\":{" domains "},\"cut\":{},\"silent\":[]}]"
#define DB1(epoch, state) \
    "\"db1\":{\"state\":\"" state "\",\"reason\":\"x\",\"uuid\":\"u-db1\",\"epoch\":" epoch ",\"freezable\":true}"
#define HOSTS ",\"hosts\":true"

/* As the commit that says HOSTS has done with all nodes. */
static void give_standings(json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (str_starts(json_string_value(json_array_get(row, 0)), "/mortar/v1/node/")) {
            json_object_set_new(json_array_get(row, 2), "inc", json_integer((1 << 20) + 1));
        }
    }
}

/* host1's core, whose agent began when the store had @rows beside those of core_world.h. @heard: also of HOSTS, if it is in them */
static struct core *core_that(const char *rows, bool heard)
{
    struct core *c = core_new();
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_free_ char *text = str_printf("[%s]", rows);
    _cleanup_json_ json_t *list = json_loads(core_world_rows, 0, NULL);
    _cleanup_json_ json_t *more = json_loads(text, 0, NULL);
    assert_non_null(more);
    (void)core_world_step(c, "{\"ev\":\"start\",\"host\":\"host1\",\"boot_id\":\"b\",\"instance\":\"i\"}", USEC_PER_SEC, NULL);
    nothing_is_left(c);
    json_array_extend(json_object_get(list, "rows"), more);
    if (heard && strstr(rows, HOSTS)) {
        give_standings(json_object_get(list, "rows"));
    }
    assert_int_equal(core_step(c, list, USEC_PER_SEC, 0, &actions, &e), 0);
    json_decref(actions);
    return c;
}

static struct core *core_with(const char *rows)
{
    return core_that(rows, true);
}

static json_t *actions_of(struct core *c, const char *text, uint64_t at_us)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    assert_non_null(event);
    (void)core_step(c, event, at_us, 0, &actions, &e);
    return actions;
}

static void a_core_that_meets_a_restored_store_does_nothing_but_begin_anew(void **state)
{
    static const char *const ways[] = {
        "{\"ev\":\"watch\",\"revision\":12,\"puts\":[" GEN("1", "") "],\"dels\":[]}",
        "{\"ev\":\"list\",\"revision\":12,\"rows\":[" GEN("1", ",\"settled\":true") "]}",
        "{\"ev\":\"done\",\"id\":\"x\",\"error\":{\"name\":\"store.conflict\",\"message\":\"m\"},\"store\":{\"revision\":12,\"puts\":["
        GEN("1", "") "],\"dels\":[]}}",
    };
    for (size_t i = 0; i < ELEMENTS(ways); i++) {
        struct err e = {0};
        _cleanup_(core_freep) struct core *c = well();
        _cleanup_json_ json_t *actions = actions_of(c, ways[i], 2 * USEC_PER_SEC);
        assert_int_equal(json_array_size(actions), 1);
        assert_string_equal(json_text_of(json_array_get(actions, 0), "do"), "agent.restart");
        _cleanup_json_ json_t *later = actions_of(c, "{\"ev\":\"tick\"}", 60 * USEC_PER_SEC);
        assert_int_equal(json_array_size(later), 0);
        assert_true(core_world_step(c, "{\"ev\":\"request\",\"verb\":\"vm.stop\",\"args\":{\"name\":\"db1\"},\"task\":\"t\"}",
                                    61 * USEC_PER_SEC, &e) < 0);
    }
}

/* Seed 30908 of the schedules with restores: revisions of a restored store are lower, so the record would have stayed. */
static void what_a_watch_told_before_the_first_list_may_be_of_the_store_of_before(void **state)
{
    _cleanup_(core_freep) struct core *c = core_new();
    (void)core_world_step(c, "{\"ev\":\"start\",\"host\":\"host1\",\"boot_id\":\"b\",\"instance\":\"i\"}", USEC_PER_SEC, NULL);
    (void)core_world_step(c, "{\"ev\":\"watch\",\"revision\":99,\"puts\":[" ROW("node/host2", "{}") "],\"dels\":[]}", USEC_PER_SEC, NULL);
    _cleanup_json_ json_t *actions =
        actions_of(c, "{\"ev\":\"list\",\"revision\":12,\"rows\":[" GEN("1", "") "]}", 2 * USEC_PER_SEC);
    assert_int_equal(json_array_size(actions), 1);
    assert_string_equal(json_text_of(json_array_get(actions, 0), "do"), "agent.restart");
}

static void a_list_of_the_store_of_before_is_not_believed(void **state)
{
    _cleanup_(core_freep) struct core *c = core_with(GEN("2", ",\"settled\":true"));
    assert_int_equal(core_world_step(c, core_world_rows, 2 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(restore_gen(c), 2);
}

/* Does @actions have a commit that puts a key that begins with @prefix? Borrowed: its arguments */
static const json_t *commit_of(const json_t *actions, const char *prefix)
{
    size_t i;
    json_t *action;
    json_array_foreach(actions, i, action) {
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(json_object_get(action, "args"), "puts"), key, value) {
            if (str_starts(key, prefix)) {
                return json_object_get(action, "args");
            }
        }
    }
    return NULL;
}

static void commits_to_a_restored_store_compare_its_number(void **state)
{
    _cleanup_(core_freep) struct core *c = core_with(GEN("1", ",\"settled\":true"));
    _cleanup_json_ json_t *actions = actions_of(
        c, "{\"ev\":\"request\",\"verb\":\"vm.stop\",\"args\":{\"name\":\"db1\"},\"task\":\"t\"}", 2 * USEC_PER_SEC);
    const json_t *args = commit_of(actions, "/mortar/v1/task/");
    assert_non_null(args);
    _cleanup_free_ char *compares = json_format(json_object_get(args, "compares"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/restore_gen\",30]"));
}

static bool is_harmless(const json_t *action)
{
    static const char *const names[] = {"restore.look", "launder.left", "net.apply", "libvirt.restart"};
    const char *what = json_text_of(action, "do");
    const json_t *puts = json_object_get(json_object_get(action, "args"), "puts");
    const char *key;
    json_t *value;
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        if (str_eq(what, names[i])) {
            return true;
        }
    }
    json_object_foreach((json_t *)puts, key, value) {
        if (!str_starts(key, "/mortar/v1/seen/") && !str_starts(key, "/mortar/v1/restored/")) {
            return false;
        }
    }
    return puts || str_starts(what, "observe.");
}

/* db1 shall run, and nothing of it is here; the host's record is of another boot; a task is under way. */
static void nothing_is_done_while_hosts_have_to_report(void **state)
{
    _cleanup_(core_freep) struct core *c = core_with(
        GEN("1", "") ",[\"/mortar/v1/task/t\",20,{\"id\":\"t\",\"kind\":\"vm.create\",\"phase\":\"disk\",\"state\":\"running\","
        "\"runner\":\"host1\",\"args\":{},\"data\":{}}]," NODE("host1", "converged", "10.0.0.9") SAID("host1", ""));
    see(c, "domains", "{}");
    see(c, "gluster", "{\"ready\":true,\"bricks\":{\"vms\":true}}");
    for (uint64_t s = 2; s < 100; s++) {
        size_t i;
        json_t *action;
        c->domains_at_us = s * USEC_PER_SEC;
        _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", s * USEC_PER_SEC);
        json_array_foreach(actions, i, action) {
            _cleanup_free_ char *text = json_format(action);
            if (!is_harmless(action)) {
                fail_msg("%s", text);
            }
        }
    }
}

/* Return: what the alarm says, or NULL; caller frees */
static char *alarm_text(const struct core *c)
{
    _cleanup_json_ json_t *list = alarms_list(c);
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        if (str_eq(json_text_of(a, "alarm"), "store.restored")) {
            return str_dup(json_text_of(a, "text"));
        }
    }
    return NULL;
}

static void expect_wait(const char *rows, const char *words)
{
    _cleanup_(core_freep) struct core *c = core_with(rows);
    struct err e = {0};
    for (uint64_t s = 2; s < 60; s++) {
        _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", s * USEC_PER_SEC);
        assert_null(commit_of(actions, "/mortar/v1/node/"));
        assert_null(commit_of(actions, "/mortar/v1/vm/"));
    }
    _cleanup_free_ char *text = alarm_text(c);
    assert_non_null(text);
    assert_non_null(strstr(text, words));
    assert_true(core_world_step(c, "{\"ev\":\"request\",\"verb\":\"vm.stop\",\"args\":{\"name\":\"db1\"},\"task\":\"t\"}",
                                60 * USEC_PER_SEC, &e) < 0);
    assert_non_null(strstr(e.msg, words));
}

static void what_is_waited_for_is_told(void **state)
{
    /* without failover nobody is fenced: who is silent is waited for */
    expect_wait(GEN("1", "") "," SAID("host1", "") "," SAID("host3", ""), "host2: it has not reported");
    expect_wait(GEN("1", "") "," SAID("host1", "") "," SAID("host2", "") "," SAID("host3", "") ","
                SAID("host9", DB1("4", "running")), "host9, which joined after the snapshot, runs db1");
    expect_wait(GEN("1", HOSTS) "," SAID("host1", DB1("3", "running")) "," SAID("host2", DB1("4", "running")) ","
                SAID("host3", ""), "db1 runs on host2 and on host1");
    expect_wait(GEN("1", HOSTS) "," SAID("host1", DB1("3", "paused")) "," SAID("host2", DB1("4", "paused")) ","
                SAID("host3", ""), "db1 stands still on host2 and on host1");
    expect_wait(GEN("1", HOSTS) "," SAID("host1", "") "," SAID("host2", ""), "has not heard yet what host3 reports");
    expect_wait(GEN("1", HOSTS) "," SAID("host1", "") "," SAID("host2", "") "," SAID("host3", "") "," SAID("host9", DB1("4", "running")),
                "host9, which joined after the snapshot, runs db1");
}

/* The answer to a commit may tell of restore_gen alone: the nodes beside it are of the snapshot. */
static void hosts_of_the_snapshot_are_not_believed_although_it_is_said_that_all_have_a_standing(void **state)
{
    _cleanup_(core_freep) struct core *c = core_that(GEN("1", HOSTS) "," SAID("host1", "") "," SAID("host2", "") "," SAID("host3", ""),
                                                     false);
    for (uint64_t s = 2; s < 60; s++) {
        _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", s * USEC_PER_SEC);
        assert_null(commit_of(actions, "/mortar/v1/"));
    }
    assert_int_equal(restore_stage(c), RESTORE_HOSTS);
}

/* What host1 commits of host2, which is @state in the snapshot and has reported @domains, when all hosts get a standing. */
static const char *standing_by(const char *state, const char *domains, json_t **ret_held)
{
    _cleanup_free_ char *rows = str_printf(
        "%s,[\"/mortar/v1/node/host2\",3,{\"name\":\"host2\",\"role\":\"converged\",\"state\":\"%s\",\"inc\":1,\"boot_id\":\"b\"}],%s,%s,"
        "[\"/mortar/v1/restored/host2\",31,{\"gen\":1,\"boot_id\":\"b\",\"domains\":{%s},\"cut\":{},\"silent\":[]}]",
        GEN("1", ""), state, SAID("host1", ""), SAID("host3", ""), domains);
    _cleanup_(core_freep) struct core *c = core_with(rows);
    for (uint64_t s = 2; s < 90; s++) {
        _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", s * USEC_PER_SEC);
        const json_t *args = commit_of(actions, "/mortar/v1/node/");
        if (args) {
            assert_true(s > 30); /* a host that no record names may report until then */
            *ret_held = json_incref(json_object_get(json_object_get(args, "puts"), "/mortar/v1/node/host2"));
            return json_text_of(*ret_held, "state");
        }
    }
    return NULL;
}

static void who_runs_machines_has_joined_since(void **state)
{
    _cleanup_json_ json_t *idle = NULL;
    _cleanup_json_ json_t *runs = NULL;
    assert_string_equal(standing_by("joining", "", &idle), "joining");
    assert_string_equal(standing_by("joining", DB1("4", "running"), &runs), "online");
}

/* What host1 commits when hosts have reported so. New reference, or NULL */
static json_t *puts_by(const char *first, const char *second)
{
    _cleanup_free_ char *rows = str_printf("%s,%s,%s,%s", GEN("1", HOSTS), first, second, SAID("host3", ""));
    _cleanup_(core_freep) struct core *c = core_with(rows);
    _cleanup_json_ json_t *lost = actions_of(c, "{\"ev\":\"done\",\"id\":\"restore/vms\",\"error\":{\"name\":\"call.timeout\","
                                                "\"message\":\"m\"}}", 2 * USEC_PER_SEC); /* it was asked for with the list */
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", 10 * USEC_PER_SEC);
    const json_t *args = commit_of(actions, "/mortar/v1/vm/db1/own");
    return json_incref(json_object_get(args, "puts"));
}

/* And of db1's owner. */
static json_t *owner_by(const char *first, const char *second)
{
    _cleanup_json_ json_t *puts = puts_by(first, second);
    return json_incref(json_object_get(puts, "/mortar/v1/vm/db1/own"));
}

static void what_executes_is_kept_and_what_stands_still_beside_it_ends(void **state)
{
    _cleanup_json_ json_t *own = owner_by(SAID("host1", DB1("3", "paused")), SAID("host2", DB1("4", "running")));
    assert_string_equal(json_text_of(own, "owner"), "host2");
    assert_true(vm_epoch(own) == 4);
    assert_true(json_is_null(json_object_get(own, "mig"))); /* the other one is older */
    _cleanup_json_ json_t *back = owner_by(SAID("host1", DB1("3", "running")), SAID("host2", DB1("4", "paused")));
    const json_t *mig = json_object_get(back, "mig");
    assert_string_equal(json_text_of(back, "owner"), "host1");
    assert_true(vm_epoch(back) == 3);
    assert_string_equal(json_text_of(mig, "phase"), "aborted");
    assert_string_equal(json_text_of(mig, "dst"), "host2");
    assert_true(vm_epoch(mig) == 4);
}

static void what_stands_still_alone_ends_where_it_is_before_it_begins_anew(void **state)
{
    _cleanup_json_ json_t *own = owner_by(SAID("host1", ""), SAID("host2", DB1("4", "paused")));
    assert_string_equal(json_text_of(own, "owner"), "host2");
    assert_true(vm_epoch(own) == epoch_of(1, 1));
}

/* A machine that has another uuid is another one, and the files at that name are its own: the one of the store does not start. */
static void a_namesake_is_no_machine_of_the_store(void **state)
{
    _cleanup_json_ json_t *puts = puts_by(
        SAID("host1", ""), SAID("host2", "\"db1\":{\"state\":\"running\",\"uuid\":\"u-other\",\"epoch\":4}"));
    const json_t *own = json_object_get(puts, "/mortar/v1/vm/db1/own");
    assert_string_equal(json_text_of(own, "owner"), "host1");
    assert_true(vm_epoch(own) == epoch_of(1, 1));
    assert_string_equal(json_text_of(json_object_get(puts, "/mortar/v1/vm/db1/spec"), "desired"), "stopped");
    _cleanup_(core_freep) struct core *c = well();
    see(c, "domains", "{\"db1\":{\"state\":\"running\",\"uuid\":\"u-other\",\"epoch\":1}}");
    assert_null(vm_domain(c, "db1")); /* so nobody ends it */
    see(c, "domains", "{\"db1\":{\"state\":\"running\",\"uuid\":\"u-db1\",\"epoch\":1}}");
    assert_non_null(vm_domain(c, "db1"));
}

static void a_guard_knows_the_life_that_its_host_has_begun(void **state)
{
    assert_int_equal(guard_config_inc("mortar-guard 1\ngeneration 7\nself host1 3\ndeny host10 9\ndeny host2 4\n"), 3);
    assert_int_equal(guard_config_inc("mortar-guard 1\nself host1 3\ndeny host1 2\n"), 3);
    assert_int_equal(guard_config_inc("mortar-guard 1\nself host1 3\ndeny host1 3\n"), 0);
    assert_int_equal(guard_config_inc("mortar-guard 1\ngeneration 7\n"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_core_that_meets_a_restored_store_does_nothing_but_begin_anew),
        cmocka_unit_test(what_a_watch_told_before_the_first_list_may_be_of_the_store_of_before),
        cmocka_unit_test(a_list_of_the_store_of_before_is_not_believed),
        cmocka_unit_test(commits_to_a_restored_store_compare_its_number),
        cmocka_unit_test(nothing_is_done_while_hosts_have_to_report),
        cmocka_unit_test(what_is_waited_for_is_told),
        cmocka_unit_test(hosts_of_the_snapshot_are_not_believed_although_it_is_said_that_all_have_a_standing),
        cmocka_unit_test(who_runs_machines_has_joined_since),
        cmocka_unit_test(what_executes_is_kept_and_what_stands_still_beside_it_ends),
        cmocka_unit_test(what_stands_still_alone_ends_where_it_is_before_it_begins_anew),
        cmocka_unit_test(a_namesake_is_no_machine_of_the_store),
        cmocka_unit_test(a_guard_knows_the_life_that_its_host_has_begun),
    };
    return cmocka_run_group_tests_name("restore", tests, NULL, NULL);
}
