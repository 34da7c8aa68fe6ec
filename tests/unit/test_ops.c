/* SPDX-License-Identifier: Apache-2.0
 * Single phases of long operations, on host1 of core_world.h: what a phase commits, notes and asks for.
 * Whole operations are in tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/op/op.h"
#include "core_actions.h"
#include "core_world.h"

#define AT (2 * USEC_PER_SEC)

/* One step in which the records @puts ([key, mod, value] each) arrive. New reference: its actions */
static json_t *step(struct core *c, const char *puts, unsigned revision, uint64_t at_us)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":%u,\"puts\":[%s],\"dels\":[]}",
                                           revision, puts);
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    assert_non_null(event);
    assert_int_equal(core_step(c, event, at_us, at_us, &actions, &e), 0);
    return actions;
}

static const json_t *put_of(const json_t *actions, const char *id, const char *key)
{
    return json_object_get(json_object_get(action_args(actions, id), "puts"), key);
}

#define TASK(kind, name, phase, more)                                                              \
    "[\"/mortar/v1/task/t1\",12,{\"id\":\"t1\",\"kind\":\"" kind "\",\"object\":\"" name "\",\"runner\":"  \
    "\"host1\",\"state\":\"running\",\"phase\":\"" phase "\",\"args\":{\"name\":\"" name "\"},\"data\":{}" \
    more "}]"

/* A brick.prepare for a pool that is in use must never format. */
static void what_was_allowed_for_the_making_of_a_pool_ends_with_it(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions =
        step(c, TASK("pool.create", "p", "ready", "") ","
                "[\"/mortar/v1/pool/p\",12,{\"name\":\"p\",\"uuid\":\"u\",\"kind\":\"gluster\",\"state\":"
                "\"creating\",\"wipe\":true,\"force\":true,\"bricks\":[{\"host\":\"host2\",\"path\":"
                "\"/b\",\"role\":\"data\"}]}]", 12, AT);
    const json_t *pool = put_of(actions, "task/t1/ready/", "/mortar/v1/pool/p");
    assert_string_equal(json_text_of(pool, "state"), "ready");
    assert_null(json_object_get(pool, "wipe"));
    assert_null(json_object_get(pool, "force"));
}

/* The task as it is saved after a look at the mounts, while host3 says @witness of its brick. New reference. */
static json_t *made_with_witness(const char *witness)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s},s:{s:s,s:b}}", "brick", "state", "ready", "mount", "state",
                                             "mounted", "quorum", 1));
    smap_put(&c->seen, "gluster", json_pack("{s:b,s:{s:b}}", "ready", 1, "bricks", "vms", 1));
    _cleanup_free_ char *puts =
        str_printf(TASK("pool.create", "vms", "mounts", "") ",[\"/mortar/v1/seen/host3/gluster\",12,{\"ready\":true,"
                   "\"bricks\":{\"vms\":%s}}]", witness);
    _cleanup_json_ json_t *actions = step(c, puts, 12, AT);
    return json_incref((json_t *)put_of(actions, "save/t1", "/mortar/v1/task/t1"));
}

/* Two of three are quorum, but whoever looks next would see an alarm about the third. */
static void a_pool_is_made_once_every_brick_is_online_whose_host_answers(void **state)
{
    _cleanup_json_ json_t *waiting = made_with_witness("false");
    assert_string_equal(json_text_of(waiting, "note"), "waiting for the brick of host3 to be online");
    assert_string_equal(json_text_of(waiting, "state"), "running");
    _cleanup_json_ json_t *made = made_with_witness("true");
    assert_string_equal(json_text_of(made, "state"), "done");
}

#define CHILD(name, state, more)                                                                  \
    "[\"/mortar/v1/task/t1-" name "\",12,{\"id\":\"t1-" name "\",\"kind\":\"vm.migrate\",\"object\":\""     \
    name "\",\"runner\":\"host2\",\"state\":\"" state "\",\"phase\":\"copy\",\"args\":{},\"data\":{}" more \
    "}]"
#define IN_MAINTENANCE                                                                       \
    "[\"/mortar/v1/node/host1\",12,{\"name\":\"host1\",\"role\":\"converged\",\"state\":\"maintenance\"," \
    "\"inc\":1,\"boot_id\":\"b\",\"storage\":\"10.0.0.1\",\"mgmt\":\"10.0.0.1\"}]"

/* The record of the evacuation after a step, as it is saved; NULL when nothing was. New reference. */
static json_t *evacuate(const char *more_task, const char *records)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *puts = str_printf("%s," IN_MAINTENANCE "%s", more_task, records);
    _cleanup_json_ json_t *actions = step(c, puts, 12, AT);
    return json_incref((json_t *)put_of(actions, "save/t1", "/mortar/v1/task/t1"));
}

/* One machine that cannot be moved keeps nobody else on the host. */
static void an_evacuation_goes_on_past_what_cannot_be_moved(void **state)
{
    static const char failed[] =
        "," CHILD("db1", "failed", ",\"error\":{\"name\":\"op.state\",\"message\":\"no domain\"}");
    static const char other[] =
        ",[\"/mortar/v1/vm/web/spec\",12,{\"name\":\"web\",\"uuid\":\"u-web\",\"desired\":\"running\","
        "\"pool\":\"vms\",\"memory_bytes\":1073741824}]";
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *puts = str_printf(TASK("host.evacuate", "host1", "drain", "") "," IN_MAINTENANCE "%s%s",
                                           failed, other);
    _cleanup_json_ json_t *actions = step(c, puts, 12, AT);
    assert_non_null(put_of(actions, "task/t1/drain/web", "/mortar/v1/task/t1-web"));

    _cleanup_json_ json_t *end = evacuate(TASK("host.evacuate", "host1", "drain", ""), failed);
    assert_string_equal(json_text_of(end, "state"), "failed");
    assert_string_equal(json_text_of(json_object_get(end, "error"), "message"),
                        "1 virtual machine could not be moved: db1 (no domain)");
}

/* Moves of seed 50122109: a start on this host, asked for before, was made after the move; the evacuation never ended. */
static void an_evacuation_names_what_has_come_back_and_ends(void **state)
{
    _cleanup_json_ json_t *end = evacuate(TASK("host.evacuate", "host1", "drain", ""), "," CHILD("db1", "done", ""));
    assert_string_equal(json_text_of(end, "state"), "failed");
    assert_string_equal(json_text_of(json_object_get(end, "error"), "message"),
                        "1 virtual machine could not be moved: db1 (it was moved away, and has come back since)");
}

/* Seed 20023363: the task came by a watch, the machine is newer than the list that the agent has. */
static void a_start_fails_only_after_a_commit_has_compared_that_the_machine_is_gone(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *asks = step(c, TASK("vm.start", "new", "start", ""), 12, AT);
    assert_null(put_of(asks, "save/t1", "/mortar/v1/task/t1"));
    _cleanup_free_ char *compares = json_format(json_object_get(action_args(asks, "task/t1/start/absent"), "compares"));
    assert_string_equal(compares, "[[\"/mortar/v1/vm/new/spec\",0],[\"/mortar/v1/vm/new/own\",0],"
                                  "[\"/mortar/v1/task/t1\",12]]");
    _cleanup_json_ json_t *ends =
        actions_of(c, "{\"ev\":\"done\",\"id\":\"task/t1/start/absent\",\"result\":{}}", AT + USEC_PER_SEC);
    assert_string_equal(json_text_of(put_of(ends, "save/t1", "/mortar/v1/task/t1"), "state"), "failed");
}

static void a_cancelled_evacuation_ends_its_move_and_gives_the_host_back(void **state)
{
    static const char task[] = TASK("host.evacuate", "host1", "drain", ",\"cancel\":true");
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *puts = str_printf("%s," IN_MAINTENANCE "," CHILD("db1", "running", ""), task);
    _cleanup_json_ json_t *first = step(c, puts, 12, AT);
    const json_t *child = put_of(first, "task/t1/drain/cancel-db1", "/mortar/v1/task/t1-db1");
    assert_true(json_bool_of(child, "cancel", false));
    assert_null(action_args(first, "task/t1/drain/online"));

    _cleanup_(core_freep) struct core *d = core_world_new();
    _cleanup_free_ char *after = str_printf("%s," IN_MAINTENANCE "," CHILD("db1", "cancelled", ""), task);
    _cleanup_json_ json_t *second = step(d, after, 12, AT);
    assert_string_equal(json_text_of(put_of(second, "task/t1/drain/online", "/mortar/v1/node/host1"),
                                     "state"), "online");
    struct err e = {0};
    json_t *third = NULL;
    _cleanup_json_ json_t *done =
        json_loads("{\"ev\":\"done\",\"id\":\"task/t1/drain/online\",\"result\":{},\"store\":{\"revision\":13,"
                   "\"puts\":[[\"/mortar/v1/node/host1\",13,{\"role\":\"converged\",\"state\":\"online\","
                   "\"inc\":1,\"boot_id\":\"b\",\"storage\":\"10.0.0.1\"}]],\"dels\":[]}}", 0, NULL);
    assert_int_equal(core_step(d, done, AT + 1, 0, &third, &e), 0);
    assert_string_equal(json_text_of(put_of(third, "save/t1", "/mortar/v1/task/t1"), "state"), "cancelled");
    json_decref(third);
}

static void a_task_tells_why_its_host_was_chosen(void **state)
{
    _cleanup_json_ json_t *task = json_loads("{\"id\":\"t\",\"kind\":\"vm.start\",\"state\":\"done\","
                                             "\"phase\":\"wait\",\"data\":{\"why\":\"host1: as asked\"}}", 0, NULL);
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *view = op_task_view(c, task);
    assert_string_equal(json_text_of(view, "why"), "host1: as asked");
    json_t *actions = NULL;
    struct err e = {0};
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    _cleanup_json_ json_t *event = json_loads("{\"ev\":\"request\",\"verb\":\"vm.start\",\"task\":\"t2\","
                                              "\"args\":{\"name\":\"web\"}}", 0, NULL);
    assert_int_equal(core_step(c, event, AT, 0, &actions, &e), 0);
    const json_t *made = put_of(actions, "req/t2", "/mortar/v1/task/t2");
    assert_non_null(strstr(json_text_of(json_object_get(made, "data"), "why"), "the most of all that fit"));
    json_decref(actions);
}

/* init, join and leave are saved on their host alone, and name no runner. */
static void a_task_of_this_host_alone_waits_for_no_silent_host(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *task = json_loads("{\"id\":\"t\",\"kind\":\"join\",\"state\":\"running\","
                                             "\"phase\":\"peers\",\"runner\":\"\",\"data\":{}}", 0, NULL);
    _cleanup_json_ json_t *view = op_task_view(c, task);
    assert_null(json_text_of(view, "note"));
}

/* Moves of seed 74002062: an agent that had just begun read a list of before the machine. Its stop was said to be done, and
 * the claim of its move was never ended. */
static void a_machine_that_is_not_in_the_list_has_gone_only_after_a_commit_has_compared_it(void **state)
{
    static const struct {
        const char *task, *commit;
    } cases[] = {
        {TASK("vm.stop", "new", "wait", ""), "task/t1/wait/absent"},
        {TASK("vm.migrate", "new", "copy", ",\"undo\":true,\"error\":{\"name\":\"store.conflict\",\"message\":\"m\"}"),
         "task/t1/undo/absent"},
        {TASK("vm.migrate", "new", "handover", ""), "task/t1/handover/absent"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(core_freep) struct core *c = core_world_new();
        _cleanup_json_ json_t *asks = step(c, cases[i].task, 12, AT);
        assert_null(put_of(asks, "save/t1", "/mortar/v1/task/t1"));
        _cleanup_free_ char *compares = json_format(json_object_get(action_args(asks, cases[i].commit), "compares"));
        assert_non_null(strstr(compares, "[\"/mortar/v1/vm/new/own\",0]"));
    }
}

/* Also when the move was asked to end politely before. */
static void a_forced_cancel_of_an_evacuation_forces_its_move(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions =
        step(c, TASK("host.evacuate", "host1", "drain", ",\"cancel\":true,\"force\":true") "," IN_MAINTENANCE ","
             CHILD("db1", "running", ",\"cancel\":true"), 12, AT);
    const json_t *child = put_of(actions, "task/t1/drain/force-db1", "/mortar/v1/task/t1-db1");
    assert_true(json_bool_of(child, "force", false));
}

/* The commit that begins a move is on its way when the cancel comes: that move is waited for. */
static void a_cancel_waits_for_a_move_that_is_just_being_begun(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *first =
        step(c, TASK("host.evacuate", "host1", "drain", "") "," IN_MAINTENANCE, 12, AT);
    assert_non_null(action_args(first, "task/t1/drain/db1"));
    static const char cancelled[] =
        "[\"/mortar/v1/task/t1\",13,{\"id\":\"t1\",\"kind\":\"host.evacuate\",\"object\":\"host1\",\"runner\":"
        "\"host1\",\"state\":\"running\",\"phase\":\"drain\",\"args\":{\"name\":\"host1\"},\"data\":{},"
        "\"cancel\":true}]";
    _cleanup_json_ json_t *second = step(c, cancelled, 13, AT + 2);
    assert_null(action_args(second, "task/t1/drain/online"));
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"save/t1\",\"result\":{}}", AT + 2, NULL), 0);
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"task/t1/drain/db1\",\"error\":{\"name\":"
                                        "\"store.conflict\",\"message\":\"no\"}}", AT + 3, NULL), 0);
    assert_non_null(act_find(c, "task/t1/drain/online"));
}

/* Seed 265 of moves: an agent that had just started read of a task long ended, and claimed a migration for it
 * that nobody ever ended. */
static void what_a_task_commits_compares_that_it_still_runs(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions =
        step(c, TASK("host.evacuate", "host1", "maintenance", ""), 12, AT);
    _cleanup_free_ char *compares =
        json_format(json_object_get(action_args(actions, "task/t1/maintenance/maintenance"), "compares"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/task/t1\",12]"));
    assert_null(action_args(actions, "save/t1")); /* beside it that would be a conflict */
}

/* Seed 4787 of moves: own was read of before the claim, the task ended, and the claim stayed for ever. */
static void a_failed_migration_ends_without_t8_only_when_the_store_says_so(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions = step(
        c, TASK("vm.migrate", "db1", "copy", ",\"undo\":true,\"error\":{\"name\":\"store.conflict\",\"message\":\"m\"}"),
        12, AT);
    assert_null(action_args(actions, "save/t1"));
    _cleanup_free_ char *compares =
        json_format(json_object_get(action_args(actions, "task/t1/undo/unclaimed"), "compares"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/vm/db1/own\",4]"));
}

/* Seed 101036 of failover: the target had not heard that failover was on, was cut off, and did not freeze. */
static void a_move_waits_until_the_targets_guard_enforces(void **state)
{
    static const char pool[] =
        ",[\"/mortar/v1/pool/vms\",12,{\"name\":\"vms\",\"uuid\":\"u-vms\",\"kind\":\"gluster\",\"state\":\"ready\","
        "\"ha\":\"on\",\"bricks\":[{\"host\":\"host1\",\"role\":\"data\"},{\"host\":\"host2\",\"role\":\"data\"},"
        "{\"host\":\"host3\",\"role\":\"arbiter\"}]}],[\"/mortar/v1/seen/host2/failover\",12,{\"guard\":\"up\","
        "\"enforce\":%s}]";
    for (int enforces = 0; enforces < 2; enforces++) {
        _cleanup_(core_freep) struct core *c = core_world_new();
        smap_put(&c->seen, "domains", json_pack("{s:{s:s,s:i}}", "db1", "state", "running", "epoch", 3));
        smap_put(&c->seen, "gluster", json_pack("{s:b,s:{s:b}}", "ready", 1, "bricks", "vms", 1));
        c->domains_at_us = AT;
        _cleanup_free_ char *more = str_printf(pool, enforces ? "true" : "false");
        _cleanup_free_ char *puts = str_printf(TASK("vm.migrate", "db1", "check", "") "%s", more);
        _cleanup_json_ json_t *actions = step(c, puts, 12, AT);
        const json_t *task = put_of(actions, "save/t1", "/mortar/v1/task/t1");
        assert_string_equal(json_text_of(task, "phase"), enforces ? "claim" : "check");
        assert_string_equal(json_text_of(task, "state"), "running");
    }
}

#define MOVE_THAT_COPIES                                                                                           \
    "[\"/mortar/v1/task/t1\",12,{\"id\":\"t1\",\"kind\":\"vm.migrate\",\"object\":\"db1\",\"runner\":\"host1\","        \
    "\"state\":\"running\",\"phase\":\"copy\",\"args\":{\"name\":\"db1\"},\"data\":{\"dst\":\"host2\"}}],"             \
    "[\"/mortar/v1/vm/db1/own\",12,{\"owner\":\"host1\",\"inc\":1,\"epoch\":3,\"mig\":{\"id\":\"t1\",\"dst\":"          \
    "\"host2\",\"dst_inc\":1,\"epoch\":5,\"phase\":\"active\"}}]"

/* Moves of seed 90014412: the dead agent before had failed this move and undone it (T8); the new one, which had read of before
 * that, copied the guest once more, although the target had just said that nothing was left. */
static void an_agent_that_starts_asks_for_nothing_before_the_store_has_told_that_the_task_stands(void **state)
{
    for (int stands = 0; stands < 2; stands++) {
        _cleanup_(core_freep) struct core *c = core_world_new();
        _cleanup_json_ json_t *first = step(c, MOVE_THAT_COPIES, 12, AT);
        assert_null(action_find(first, "id", "task/t1/"));
        _cleanup_free_ char *compares = json_format(json_object_get(action_args(first, "save/t1"), "compares"));
        assert_string_equal(compares, "[[\"/mortar/v1/task/t1\",12]]");
        _cleanup_json_ json_t *then = stands ? action_saved(c, "t1", AT)
                                             : actions_of(c, "{\"ev\":\"done\",\"id\":\"save/t1\",\"error\":{\"name\":"
                                                             "\"store.conflict\",\"message\":\"\"}}", AT);
        assert_int_equal(!!action_of(then, "task/t1/copy/qemu"), stands);
        _cleanup_json_ json_t *later = actions_of(c, "{\"ev\":\"tick\"}", AT + 1);
        assert_null(action_find(later, "id", "task/t1/"));
    }
}

/* The target resumes at once when it hears of T7: one commit says who owns it and what is left to do (adr/0008). */
static void t7_says_in_the_same_commit_that_the_copy_is_to_be_resumed(void **state)
{
    static const char records[] =
        MOVE_THAT_COPIES ",[\"/mortar/v1/vm/db1/act\",12,{\"state\":"
        "\"running\",\"host\":\"host1\",\"epoch\":3,\"ha\":true,\"fails\":1,\"crashes\":{\"count\":2}}]";
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(step(c, records, 12, AT));
    _cleanup_json_ json_t *copying = action_saved(c, "t1", AT);
    assert_non_null(action_args(copying, "task/t1/copy/qemu"));
    _cleanup_json_ json_t *event =
        json_loads("{\"ev\":\"done\",\"id\":\"task/t1/copy/qemu\",\"result\":{}}", 0, NULL);
    json_t *all = NULL;
    assert_int_equal(core_step(c, event, AT + 1, 0, &all, NULL), 0);
    _cleanup_json_ json_t *actions = all;
    const json_t *own = put_of(actions, "task/t1/copy/own", "/mortar/v1/vm/db1/own");
    assert_string_equal(json_text_of(own, "owner"), "host2");
    assert_int_equal(json_u64_of(own, "epoch", 0), 5);
    _cleanup_json_ json_t *act = json_deep_copy(put_of(actions, "task/t1/copy/own", "/mortar/v1/vm/db1/act"));
    json_object_del(act, "since_ms");
    _cleanup_json_ json_t *want = json_loads("{\"state\":\"resuming\",\"host\":\"host2\",\"epoch\":5,\"ha\":true,"
                                             "\"crashes\":{\"count\":2}}", 0, NULL);
    assert_true(json_equal(act, want));
    _cleanup_free_ char *compares =
        json_format(json_object_get(action_args(actions, "task/t1/copy/own"), "compares"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/vm/db1/own\",12]"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/vm/db1/act\",12]"));
}

/* Found by the simulator: a stop elsewhere was not heard of, and the task waited five minutes for nobody. */
static void a_start_of_what_seems_to_run_compares_that_it_is_wanted(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions = step(c, TASK("vm.start", "db1", "start", ""), 12, AT);
    const json_t *args = action_args(actions, "task/t1/start/wanted");
    _cleanup_free_ char *compares = json_format(json_object_get(args, "compares"));
    assert_string_equal(compares, "[[\"/mortar/v1/vm/db1/spec\",4],[\"/mortar/v1/vm/db1/act\",4],"
                                  "[\"/mortar/v1/task/t1\",12]]");
}

static void a_start_that_a_stop_has_overtaken_ends_at_once(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions = step(c, TASK("vm.start", "web", "wait", ""), 12, AT);
    const json_t *task = put_of(actions, "save/t1", "/mortar/v1/task/t1");
    assert_string_equal(json_text_of(task, "state"), "failed");
    assert_string_equal(json_text_of(json_object_get(task, "error"), "message"),
                        "vm 'web' was stopped before it ran");
}

static void files_of_machines_that_have_a_record_are_kept(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *early = step(c, "", 12, AT);
    assert_null(action_args(early, "sweep-files"));
    _cleanup_json_ json_t *late = step(c, "", 12, AT + 600 * USEC_PER_SEC);
    _cleanup_json_ json_t *want = json_loads("{\"names\":[\"db1\",\"web\"],\"uuids\":[\"u-db1\",\"u-web\"]}", 0,
                                             NULL);
    assert_true(json_equal((json_t *)action_args(late, "sweep-files"), want));
}

#define DISK "/mnt/vms/vms/x/disk0.qcow2"
#define IMPORT(source)                                                                             \
    "[\"/mortar/v1/image/i\",12,{\"name\":\"i\",\"pool\":\"vms\",\"state\":\"importing\"}],"            \
    "[\"/mortar/v1/task/t1\",12,{\"id\":\"t1\",\"kind\":\"image.import\",\"object\":\"i\",\"runner\":\"host1\","  \
    "\"state\":\"running\",\"phase\":\"import\",\"args\":{\"name\":\"i\",\"source\":\"" source "\"},\"data\":{}}]"
#define OWNED(state, inc)                                                                          \
    "[\"/mortar/v1/vm/x/spec\",12,{\"name\":\"x\",\"uuid\":\"u-x\",\"desired\":\"stopped\",\"pool\":\"vms\","  \
    "\"disks\":[{\"name\":\"disk0\",\"path\":\"" DISK "\"}]}],"                                          \
    "[\"/mortar/v1/vm/x/own\",12,{\"owner\":\"host2\",\"inc\":" inc ",\"epoch\":5,\"mig\":null}],"          \
    "[\"/mortar/v1/vm/x/act\",12,{\"state\":\"" state "\",\"host\":\"host2\",\"epoch\":5}]"
#define POOL_WITH(ha)                                                                              \
    "[\"/mortar/v1/pool/vms\",12,{\"name\":\"vms\",\"kind\":\"gluster\",\"state\":\"ready\"" ha ",\"bricks\":["   \
    "{\"host\":\"host1\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":\"host2\",\"path\":\"/b\",\"role\":\"data\"},"  \
    "{\"host\":\"host3\",\"path\":\"/b\",\"role\":\"arbiter\"}]}]"
#define HOST2_IS(fields)                                                                           \
    "[\"/mortar/v1/node/host2\",12,{\"name\":\"host2\",\"role\":\"converged\",\"inc\":1,\"boot_id\":\"b\",\"mgmt\":"  \
    "\"10.0.0.2\",\"storage\":\"10.0.0.2\"," fields "}]"

/* What is asked for first: "vm.look", "image.import", or why the task ends. Caller frees */
static char *begins_by(const char *rows)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *first = step(c, rows, 12, AT);
    const json_t *task = put_of(first, "save/t1", "/mortar/v1/task/t1");
    if (json_object_get(task, "error")) {
        return str_dup(json_text_of(json_object_get(task, "error"), "message"));
    }
    _cleanup_json_ json_t *actions = action_saved(c, "t1", AT);
    const json_t *a = action_find(actions, "id", "task/t1/import/");
    assert_true(!action_of(actions, "task/t1/import/look") || !action_of(actions, "task/t1/import/copy"));
    return str_dup(json_text_of(a, "do"));
}

static void expect_begin(const char *rows, const char *expected)
{
    _cleanup_free_ char *found = begins_by(rows);
    assert_string_equal(found, expected);
}

#define HA POOL_WITH(",\"ha\":\"on\"") ","

static void a_machines_disk_is_imported_when_nothing_of_it_may_change_by_itself(void **state)
{
    static const char not_back[] = "the disk of vm 'x' was last written on host2, which is not back yet";
    expect_begin(HA OWNED("stopped", "1") "," IMPORT(DISK), "vm.look");
    expect_begin(HA OWNED("running", "1") "," IMPORT(DISK), "this is the disk of vm 'x', which is stopping, not stopped");
    expect_begin(HA OWNED("stopped", "1") "," HOST2_IS("\"state\":\"fenced\"") "," IMPORT(DISK), not_back);
    expect_begin(HA OWNED("stopped", "1") "," HOST2_IS("\"state\":\"online\",\"flush\":true") "," IMPORT(DISK), not_back);
    expect_begin(HA OWNED("running", "1") "," IMPORT("/root/a.qcow2"), "image.import");
    expect_begin(POOL_WITH("") "," OWNED("running", "1") "," IMPORT(DISK), "image.import");
}

/* Once the copy has begun, what becomes of the machine is a matter of the copy: it ends when its source changes. */
static void the_copy_follows_the_look_and_is_not_ended_by_a_start(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_decref(step(c, HA OWNED("stopped", "1") "," IMPORT(DISK), 12, AT));
    json_decref(action_saved(c, "t1", AT));
    _cleanup_json_ json_t *copy =
        actions_of(c, "{\"ev\":\"done\",\"id\":\"task/t1/import/look\",\"result\":{}}", AT + USEC_PER_SEC);
    assert_non_null(action_of(copy, "task/t1/import/copy"));
    _cleanup_json_ json_t *later = step(c, "[\"/mortar/v1/vm/x/act\",13,{\"state\":\"starting\",\"host\":\"host2\"}]", 13,
                                        AT + 2 * USEC_PER_SEC);
    assert_null(action_find(later, "id", "save/t1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machines_disk_is_imported_when_nothing_of_it_may_change_by_itself),
        cmocka_unit_test(the_copy_follows_the_look_and_is_not_ended_by_a_start),
        cmocka_unit_test(what_was_allowed_for_the_making_of_a_pool_ends_with_it),
        cmocka_unit_test(a_pool_is_made_once_every_brick_is_online_whose_host_answers),
        cmocka_unit_test(an_evacuation_goes_on_past_what_cannot_be_moved),
        cmocka_unit_test(an_evacuation_names_what_has_come_back_and_ends),
        cmocka_unit_test(a_start_fails_only_after_a_commit_has_compared_that_the_machine_is_gone),
        cmocka_unit_test(a_cancelled_evacuation_ends_its_move_and_gives_the_host_back),
        cmocka_unit_test(a_machine_that_is_not_in_the_list_has_gone_only_after_a_commit_has_compared_it),
        cmocka_unit_test(a_task_of_this_host_alone_waits_for_no_silent_host),
        cmocka_unit_test(a_forced_cancel_of_an_evacuation_forces_its_move),
        cmocka_unit_test(a_cancel_waits_for_a_move_that_is_just_being_begun),
        cmocka_unit_test(what_a_task_commits_compares_that_it_still_runs),
        cmocka_unit_test(a_failed_migration_ends_without_t8_only_when_the_store_says_so),
        cmocka_unit_test(a_move_waits_until_the_targets_guard_enforces),
        cmocka_unit_test(an_agent_that_starts_asks_for_nothing_before_the_store_has_told_that_the_task_stands),
        cmocka_unit_test(t7_says_in_the_same_commit_that_the_copy_is_to_be_resumed),
        cmocka_unit_test(a_start_of_what_seems_to_run_compares_that_it_is_wanted),
        cmocka_unit_test(a_start_that_a_stop_has_overtaken_ends_at_once),
        cmocka_unit_test(files_of_machines_that_have_a_record_are_kept),
        cmocka_unit_test(a_task_tells_why_its_host_was_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
