/* SPDX-License-Identifier: Apache-2.0
 * Nothing of failover is taken off a host because of what was read alone (I7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core_actions.h"
#include "core_well.h"

#define HA_PREPARED                                                                                  \
    ROW("pool/vms", "{\"name\":\"vms\",\"kind\":\"gluster\",\"state\":\"ready\",\"ha\":\"preparing\",\"copies\":2," \
        "\"arbiter\":true,\"bricks\":[{\"host\":\"host1\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":"      \
        "\"host2\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":\"host3\",\"path\":\"/b\",\"role\":"        \
        "\"arbiter\"}]}")

/* The action with this id prefix in the step of @text, or NULL. New reference. */
static json_t *asked(struct core *c, const char *text, uint64_t at_us, const char *prefix)
{
    _cleanup_json_ json_t *actions = actions_of(c, text, at_us);
    return json_incref((json_t *)action_find(actions, "id", prefix));
}

/* Found by the simulator (seed 506548 of failover): an agent that had just started read a list of before failover
 * was switched on, its guard stopped to enforce, and a host that hung and revived ran its machine twice. */
static void failover_goes_off_after_a_commit_has_compared_that_it_is(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    for (size_t i = smap_lower(&c->attempts, "ha/"); i < c->attempts.n && str_starts(c->attempts.items[i].key, "ha/");) {
        (void)smap_del(&c->attempts, c->attempts.items[i].key); /* of the steps that made this world */
    }
    _cleanup_json_ json_t *sure = asked(c, "{\"ev\":\"tick\"}", 2 * USEC_PER_SEC, "ha/off");
    assert_string_equal(json_text_of(sure, "id"), "ha/off-sure/0");
    _cleanup_free_ char *compares = json_format(json_object_get(json_object_get(sure, "args"), "compares"));
    assert_string_equal(compares, "[[\"/mortar/v1/ha\",0]]");
    _cleanup_json_ json_t *off =
        asked(c, "{\"ev\":\"done\",\"id\":\"ha/off-sure/0\",\"result\":{}}", 2 * USEC_PER_SEC + 1, "ha/off");
    assert_string_equal(json_text_of(off, "do"), "ha.off");
}

static void failover_that_is_on_after_all_is_left_alone(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    _cleanup_json_ json_t *off =
        asked(c, "{\"ev\":\"done\",\"id\":\"ha/off-sure/0\",\"error\":{\"name\":\"store.conflict\",\"message\":\"x\"}}",
              2 * USEC_PER_SEC + 1, "ha/off");
    assert_true(!off || !str_eq(json_text_of(off, "do"), "ha.off"));
}

/* Found by the simulator (seed 20004522 of failover): as above, but before the guard had said anything, and with a
 * list of the time when failover was being prepared. */
static void a_guard_that_has_not_spoken_yet_is_left_alone_by_an_old_list(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    _cleanup_json_ json_t *sure =
        asked(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_PREPARED ",[\"/mortar/v1/ha\",19,{\"vms\":true}]],"
                 "\"dels\":[]}", 2 * USEC_PER_SEC, "ha/off-sure/19");
    assert_non_null(sure);
    _cleanup_free_ char *compares = json_format(json_object_get(json_object_get(sure, "args"), "compares"));
    assert_string_equal(compares, "[[\"/mortar/v1/ha\",19],[\"/mortar/v1/pool/vms\",20]]");
    assert_null(act_find(c, "ha/config"));
    _cleanup_json_ json_t *config =
        asked(c, "{\"ev\":\"done\",\"id\":\"ha/off-sure/19\",\"result\":{}}", 2 * USEC_PER_SEC + 1, "ha/config");
    assert_string_equal(json_text_of(config, "do"), "guard.configure");
    assert_false(json_bool_of(json_object_get(config, "args"), "enforce", true));
}

#define MY_NODE(more)                                                                                    \
    ROW("node/host1", "{\"name\":\"host1\",\"uuid\":\"u-host1\",\"role\":\"converged\",\"state\":\"online\",\"inc\":1," \
        "\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\"," more "}")

/* The compares and puts of the commit @id in the step that brings @rows and the record `ha`. Caller frees both. */
static char *node_commit(const char *id, const char *rows, const char *ha, json_t **ret_put)
{
    _cleanup_(core_freep) struct core *c = well();
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[%s,[\"/mortar/v1/ha\",19,%s]],"
                                           "\"dels\":[]}", rows, ha);
    _cleanup_json_ json_t *actions = actions_of(c, text, 2 * USEC_PER_SEC);
    const json_t *args = action_args(actions, id);
    *ret_put = json_incref(json_object_get(json_object_get(args, "puts"), "/mortar/v1/node/host1"));
    return args ? json_format(json_object_get(args, "compares")) : NULL;
}

/* Found by the simulator (seed 289 of switch_off): failover had been switched off, and a host that had just booted
 * knew the pool as it was before. Nobody would have ended its flush. */
static void whether_a_boot_needs_a_flush_is_said_by_the_record_that_its_commit_compares(void **state)
{
    _cleanup_json_ json_t *off = NULL;
    _cleanup_json_ json_t *on = NULL;
    _cleanup_free_ char *compares = node_commit("node/reboot", HA_POOL "," MY_NODE("\"boot_id\":\"a\""), "{}", &off);
    assert_string_equal(compares, "[[\"/mortar/v1/ha\",19],[\"/mortar/v1/node/host1\",20]]");
    assert_non_null(off);
    assert_null(json_object_get(off, "flush"));
    _cleanup_free_ char *same = node_commit("node/reboot", MY_NODE("\"boot_id\":\"a\""), "{\"vms\":true}", &on);
    assert_string_equal(same, compares);
    assert_true(json_bool_of(on, "flush", false));
}

static void a_flush_that_nobody_would_end_is_given_up_by_its_host(void **state)
{
    _cleanup_json_ json_t *put = NULL;
    _cleanup_json_ json_t *none = NULL;
    _cleanup_free_ char *compares = node_commit("node/flushed", MY_NODE("\"boot_id\":\"b\",\"flush\":true"), "{}", &put);
    assert_string_equal(compares, "[[\"/mortar/v1/ha\",19],[\"/mortar/v1/node/host1\",20]]");
    assert_null(json_object_get(put, "flush"));
    _cleanup_free_ char *not = node_commit("node/flushed", MY_NODE("\"boot_id\":\"b\",\"flush\":true"), "{\"vms\":true}",
                                           &none);
    assert_null(not);
}

#define HOST(n, state) \
    ROW("node/host" n, "{\"name\":\"host" n "\",\"role\":\"converged\"," state ",\"inc\":1,\"mgmt\":\"10.0.0." n "\"," \
        "\"storage\":\"10.0.0." n "\"}")
/* host1 has no brick, and nothing runs on it. */
#define NOT_NEEDED                                                                                               \
    ROW("pool/vms", "{\"name\":\"vms\",\"kind\":\"gluster\",\"state\":\"ready\",\"ha\":\"on\",\"copies\":2,\"bricks\":[{\"host\":" \
        "\"host2\",\"role\":\"data\"},{\"host\":\"host3\",\"role\":\"data\"},{\"host\":\"host4\",\"role\":\"arbiter\"}]}") ","  \
    ROW("vm/db1/own", "{\"owner\":\"host2\",\"inc\":1,\"epoch\":4,\"mig\":null}")

static struct core *not_needed(const char *row)
{
    struct core *c = well();
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[" NOT_NEEDED ",%s],\"dels\":[]}", row);
    assert_int_equal(core_world_step(c, text, 2 * USEC_PER_SEC, NULL), 0);
    return c;
}

#define LEAVE "{\"ev\":\"request\",\"verb\":\"leave\",\"task\":\"t\",\"args\":{}}"

/* Its own fence, drain or return would end with its record, and who laundered for another one's would be missed. */
static void a_host_does_not_leave_while_failover_has_a_host_to_let_in(void **state)
{
    static const struct {
        const char *row, *says;
    } cases[] = {
        {HOST("1", "\"state\":\"online\",\"flush\":true"), "'host1' is coming back from a boot"},
        {HOST("1", "\"state\":\"fencing\""), "'host1' is fencing"},
        {HOST("1", "\"state\":\"rejoining\""), "'host1' is rejoining"},
        {HOST("2", "\"state\":\"fenced\""), "'host2' is fenced"},
        {HOST("2", "\"state\":\"rejoining\",\"clean\":true"), "'host2' is rejoining"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(core_freep) struct core *c = not_needed(cases[i].row);
        struct err e = {0};
        assert_int_equal(core_world_step(c, LEAVE, 3 * USEC_PER_SEC, &e), -ERR_STATE);
        assert_non_null(strstr(e.msg, cases[i].says));
        assert_true(e.hint[0]);
    }
    _cleanup_(core_freep) struct core *going = not_needed(HOST("1", "\"state\":\"leaving\"") "," HOST("2", "\"state\":\"fenced\""));
    assert_int_equal(core_world_step(going, LEAVE, 3 * USEC_PER_SEC, NULL), 0); /* what it began goes on */
}

/* The request was let through; then host2 fell, and this host heard of it or not. */
static void the_commit_of_a_leave_compares_that_no_host_has_fallen_out(void **state)
{
    _cleanup_(core_freep) struct core *c = not_needed(HOST("2", "\"state\":\"online\""));
    _cleanup_json_ json_t *begun = actions_of(c, LEAVE, 3 * USEC_PER_SEC);
    _cleanup_json_ json_t *retire = actions_of(c, "{\"ev\":\"done\",\"id\":\"req/t\",\"result\":{}}", 4 * USEC_PER_SEC);
    json_t *all = json_array();
    (void)json_array_extend(all, begun);
    (void)json_array_extend(all, retire);
    _cleanup_free_ char *compares = json_format(json_object_get(action_args(all, "task/t/retire/"), "compares"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/node/host1\",2]"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/node/host2\",20]"));
    assert_non_null(strstr(compares, "[\"/mortar/v1/node/host3\",2]"));
    json_decref(all);

    _cleanup_free_ char *row = str_dup("{\"ev\":\"watch\",\"revision\":21,\"puts\":[" HOST("2", "\"state\":\"fencing\"") "],"
                                       "\"dels\":[]}");
    memcpy(strstr(row, ",20,") + 1, "21", 2);
    assert_int_equal(core_world_step(c, row, 5 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"task/t/retire/\",\"error\":{\"name\":\"store.conflict\","
                                     "\"message\":\"m\"}}", 6 * USEC_PER_SEC, NULL), 0);
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"save/t\",\"result\":{}}", 7 * USEC_PER_SEC, NULL), 0);
    assert_string_equal(json_text_of(c->local_task, "state"), "failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failover_goes_off_after_a_commit_has_compared_that_it_is),
        cmocka_unit_test(failover_that_is_on_after_all_is_left_alone),
        cmocka_unit_test(whether_a_boot_needs_a_flush_is_said_by_the_record_that_its_commit_compares),
        cmocka_unit_test(a_flush_that_nobody_would_end_is_given_up_by_its_host),
        cmocka_unit_test(a_host_does_not_leave_while_failover_has_a_host_to_let_in),
        cmocka_unit_test(the_commit_of_a_leave_compares_that_no_host_has_fallen_out),
        cmocka_unit_test(a_guard_that_has_not_spoken_yet_is_left_alone_by_an_old_list),
    };
    return cmocka_run_group_tests_name("ha_off", tests, NULL, NULL);
}
