/* SPDX-License-Identifier: Apache-2.0
 * The last part of a fenced host's return: what is left to heal is looked at often, and no longer than that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/alarms.h"
#include "core/model/node.h"
#include "core/ha/ha.h"
#include "core_fenced.h"

#define STEP_US (100 * USEC_PER_MSEC)
#define START_US (30 * USEC_PER_SEC)
#define LOOK "observe/pool/vms"
#define NODE_OF(host, addr, fields)                                                                \
    "[\"/mortar/v1/node/" host "\",%u,{\"name\":\"" host "\",\"role\":\"converged\",\"inc\":1,\"boot_id\":\"b\",\"mgmt\":" \
    "\"" addr "\",\"storage\":\"" addr "\"," fields "}]"
#define LEFT_BY(n, proof) "{\"brick\":{\"state\":\"ready\",\"heal_pending_files\":" n "}," proof "\"mount\":{\"state\":\"mounted\"," \
    "\"quorum\":true,\"bricks_up\":7}}"
#define LEFT(n) LEFT_BY(n, "")

static const char tick_event[] = "{\"ev\":\"tick\"}";

#define OPEN "{\"open\":{\"host2\":1,\"host3\":1}}"

/* How long after a look that saw @left files does host1 look again, while host2 has @fields and @table is its filter's? */
static uint64_t pause_us(const char *fields, const char *left, const char *table)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    _cleanup_free_ char *row = str_printf(NODE_OF("host2", "10.0.0.2", "%s"), 30, fields);
    _cleanup_free_ char *seen = str_printf(
        "{\"ev\":\"done\",\"id\":\"" LOOK "\",\"result\":{\"brick\":{\"state\":\"ready\",\"heal_pending_files\":%s},\"mount\":"
        "{\"state\":\"mounted\",\"quorum\":true,\"bricks_up\":7}}}", left);
    see(c, "ha/table", table);
    fenced_watch(c, 30, row, 20 * USEC_PER_SEC);
    json_decref(actions_of(c, tick_event, START_US));
    json_decref(actions_of(c, seen, START_US));
    for (uint64_t us = STEP_US; us < 60 * USEC_PER_SEC; us += STEP_US) {
        _cleanup_json_ json_t *actions = actions_of(c, tick_event, START_US + us);
        if (action_of(actions, LOOK)) {
            return us;
        }
    }
    return UINT64_MAX;
}

static void what_is_left_is_looked_at_each_two_seconds_while_a_host_waits_for_its_heal(void **state)
{
    const uint64_t normal_us = 10 * USEC_PER_SEC;
    assert_int_equal(pause_us("\"state\":\"rejoining\",\"clean\":true", "3", OPEN), 2 * USEC_PER_SEC);
    assert_int_equal(pause_us("\"state\":\"rejoining\",\"clean\":true", "1001", OPEN), normal_us); /* a long list */
    assert_int_equal(pause_us("\"state\":\"rejoining\",\"clean\":false", "3", OPEN), normal_us); /* nobody heals it yet */
    assert_int_equal(pause_us("\"state\":\"rejoining\",\"clean\":true", "3", "{\"open\":{\"host3\":1}}"), normal_us); /* not here */
    assert_int_equal(pause_us("\"state\":\"fenced\"", "3", OPEN), normal_us);
    assert_int_equal(pause_us("\"state\":\"online\"", "3", OPEN), normal_us);
}

#define SEEN_BY(host, n) "[\"/mortar/v1/seen/" host "/pool/vms\",%u," LEFT_BY(n, "\"let_in\":{\"host1\":1},") "]"

/* host1 is let in, and nothing is left to heal on any brick. */
static struct core *healed(void)
{
    struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    _cleanup_free_ char *rows = str_printf(
        NODE_OF("host1", "10.0.0.1", "\"state\":\"rejoining\",\"clean\":true") ","
        NODE_OF("host2", "10.0.0.2", "\"state\":\"online\"") "," SEEN_BY("host1", "0") "," SEEN_BY("host2", "0") ","
        SEEN_BY("host3", "0"), 30, 30, 30, 30, 30);
    see(c, "pool/vms", LEFT_BY("0", "\"let_in\":{\"host1\":1},"));
    see(c, "ha/bricks", "{\"asked_us\":30000000}");
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 30, rows, START_US);
    beat(c, "host2", 31, START_US);
    beat(c, "host3", 32, START_US);
    c->store_is_lost = false;
    return c;
}

/* When after START_US does it say that it is a full member? */
static uint64_t t11_after_us(struct core *c, uint64_t from_us)
{
    for (uint64_t us = from_us; us < 20 * USEC_PER_SEC; us += STEP_US) {
        _cleanup_json_ json_t *actions = actions_of(c, tick_event, START_US + us);
        if (action_of(actions, "ha/t11")) {
            return us;
        }
    }
    return UINT64_MAX;
}

/* host.clean has ended the mount of before: what was seen of that one says nothing, for a host without bricks either. */
static void a_host_is_a_full_member_only_after_a_look_at_its_mount_since_it_was_let_in(void **state)
{
    _cleanup_(core_freep) struct core *c = healed();
    see(c, "pool/vms", LEFT("0"));
    assert_true(t11_after_us(c, 0) == UINT64_MAX);
}

static void a_host_is_a_full_member_when_nothing_has_been_left_for_longer_than_a_look(void **state)
{
    _cleanup_(core_freep) struct core *c = healed();
    assert_int_equal(t11_after_us(c, 0), HA_HEALED_US);
    assert_true(HA_HEALED_US > HA_RETURN_LOOK_US + 2 * USEC_PER_SEC);
}

static void what_others_told_last_is_compared_when_a_host_says_that_it_is_a_full_member(void **state)
{
    _cleanup_(core_freep) struct core *c = healed();
    json_decref(actions_of(c, tick_event, START_US));
    _cleanup_json_ json_t *actions = actions_of(c, tick_event, START_US + HA_HEALED_US);
    _cleanup_free_ char *compares = json_format(json_object_get(action_args(actions, "ha/t11"), "compares"));
    assert_string_equal(compares, "[[\"/mortar/v1/seen/host1/pool/vms\",30],[\"/mortar/v1/seen/host2/pool/vms\",30],"
                                  "[\"/mortar/v1/seen/host3/pool/vms\",30],[\"/mortar/v1/node/host1\",30]]");
}

/* Found by the simulator (seed 74001751 of failover): glusterd was not started at the first try, what its host had seen of its
 * brick was of before the fence, and the host was a full member before it tried again. Its brick stayed down. */
static void what_a_host_saw_of_its_brick_before_its_return_does_not_count(void **state)
{
    _cleanup_(core_freep) struct core *c = healed();
    see(c, "ha/bricks", "{\"asked_us\":29999999}");
    (void)smap_del(&c->attempts, "observe/gluster"); /* of the steps that made this world */
    json_decref(actions_of(c, tick_event, START_US));
    assert_int_equal(t11_after_us(c, STEP_US), UINT64_MAX);
    const struct attempt *look = act_find(c, "observe/gluster");
    assert_true(look && look->in_flight); /* it is asked for at once */
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"observe/gluster\",\"result\":{\"ready\":true,\"peers\":[],\"bricks\":{"
                              "\"vms\":true}}}", START_US + 20 * USEC_PER_SEC));
    for (uint64_t us = 20 * USEC_PER_SEC; us < 40 * USEC_PER_SEC; us += STEP_US) {
        _cleanup_json_ json_t *actions = actions_of(c, tick_event, START_US + us);
        if (action_of(actions, "ha/t11")) {
            assert_int_equal(us, 20 * USEC_PER_SEC + HA_HEALED_US);
            return;
        }
    }
    fail_msg("it never is a full member");
}

static void what_one_brick_still_lists_begins_that_time_anew(void **state)
{
    _cleanup_(core_freep) struct core *c = healed();
    _cleanup_free_ char *again = str_printf(SEEN_BY("host3", "1"), 40);
    _cleanup_free_ char *none = str_printf(SEEN_BY("host3", "0"), 41);
    json_decref(actions_of(c, tick_event, START_US));
    fenced_watch(c, 40, again, START_US + 4 * USEC_PER_SEC);
    fenced_watch(c, 41, none, START_US + 6 * USEC_PER_SEC);
    assert_int_equal(t11_after_us(c, 6 * USEC_PER_SEC), 6 * USEC_PER_SEC + HA_HEALED_US);
}

/* What it found is of a time in which this host was not let in there, or nobody knows of which: T11 waits for another. */
static void a_look_that_was_begun_before_the_host_was_let_in_proves_nothing(void **state)
{
    static const char *const old[] = {"", "\"let_in\":{},", "\"let_in\":{\"host1\":0},", "\"let_in\":{\"host2\":1},",
                                      "\"let_in\":{\"host1\":\"1\"},", "\"let_in\":1,", "\"let_in\":{\"host1\":2},"};
    for (size_t i = 0; i < ELEMENTS(old); i++) {
        for (int host = 1; host <= 3; host++) {
            _cleanup_(core_freep) struct core *c = healed();
            _cleanup_free_ char *row = str_printf("[\"/mortar/v1/seen/host%d/pool/vms\",40," LEFT_BY("0", "%s") "]", host, old[i]);
            _cleanup_free_ char *proof = str_printf("[\"/mortar/v1/seen/host%d/pool/vms\",41," LEFT_BY("0", "%s") "]", host,
                                                    "\"let_in\":{\"host1\":1},");
            fenced_watch(c, 40, row, START_US);
            if (t11_after_us(c, 0) != UINT64_MAX) {
                fail_msg("host%d, %s", host, old[i]);
            }
            fenced_watch(c, 41, proof, START_US + 20 * USEC_PER_SEC);
            json_decref(actions_of(c, tick_event, START_US + 20 * USEC_PER_SEC + HA_HEALED_US - STEP_US));
            _cleanup_json_ json_t *actions = actions_of(c, tick_event, START_US + 20 * USEC_PER_SEC + HA_HEALED_US);
            assert_non_null(action_of(actions, "ha/t11"));
        }
    }
}

static void a_look_carries_who_was_let_in_when_it_was_asked_for(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    _cleanup_free_ char *rows = str_printf(
        NODE_OF("host2", "10.0.0.2", "\"state\":\"rejoining\",\"clean\":true") ",[\"/mortar/v1/open/host1\",30,{\"hosts\":"
        "{\"host2\":1,\"host3\":1},\"instance\":\"i\"}]", 30);
    see(c, "ha/table", "{\"open\":{\"host3\":1}}");
    fenced_watch(c, 30, rows, 20 * USEC_PER_SEC);
    smap_del(&c->attempts, LOOK);
    _cleanup_json_ json_t *before = actions_of(c, tick_event, START_US);
    assert_non_null(action_args(before, LOOK));
    assert_null(json_object_get(action_args(before, LOOK), "let_in")); /* the record says so, its filter does not yet */
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"" LOOK "\",\"result\":" LEFT("0") "}", START_US));
    _cleanup_json_ json_t *after = actions_of(c, "{\"ev\":\"done\",\"id\":\"ha/table\",\"result\":{\"open\":{\"host2\":1,"
                                              "\"host3\":1}}}", START_US + STEP_US); /* at once, not 2 s after the last one */
    assert_non_null(json_object_get(action_args(after, LOOK), "let_in"));
    _cleanup_free_ char *let_in = json_format(json_object_get(action_args(after, LOOK), "let_in"));
    assert_string_equal(let_in, "{\"host2\":1}");
}

/* Others let it in a moment later than its record says so: then its mount has a quorum, which T11 waits for. */
static void a_host_that_was_just_let_in_looks_for_its_quorum_twice_a_second(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    static const char cut_off[] = "{\"mount\":{\"state\":\"mounted\",\"quorum\":false}}";
    _cleanup_free_ char *in = str_printf(NODE_OF("host1", "10.0.0.1", "\"state\":\"rejoining\",\"clean\":true") ","
                                         "[\"/mortar/v1/seen/host1/pool/vms\",30,%s]", 30, cut_off);
    _cleanup_free_ char *seen = str_printf("{\"ev\":\"done\",\"id\":\"" LOOK "\",\"result\":%s}", cut_off);
    unsigned looks[2] = {0}; /* in the first 10 s, and in those after */
    fenced_watch(c, 30, in, START_US);
    for (uint64_t us = STEP_US; us <= 20 * USEC_PER_SEC; us += STEP_US) {
        _cleanup_json_ json_t *actions = actions_of(c, seen, START_US + us);
        looks[us >= 10 * USEC_PER_SEC] += action_of(actions, LOOK) != NULL;
    }
    assert_in_range(looks[0], 15, 20);
    assert_in_range(looks[1], 4, 6);
}

/* The alarm host.waits of host1 as @asked sees it, while host2 has not been heard of for a minute or three; caller frees */
static char *told_by(const char *asked, const char *fields, const char *more, uint64_t silent_us)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    _cleanup_free_ char *mine = str_printf("[\"/mortar/v1/node/host1\",30,{\"name\":\"host1\",\"role\":\"converged\","
                                           "\"inc\":4,\"boot_id\":\"b\",\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\",%s}]",
                                           fields);
    _cleanup_free_ char *rows = str_printf("%s," NODE_OF("host2", "10.0.0.2", "\"state\":\"online\"") "%s", mine, 30, more);
    char *found = NULL;
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 30, rows, START_US);
    c->store_is_lost = false;
    beat(c, "host2", 31, START_US);
    beat(c, "host1", 32, START_US + silent_us);
    beat(c, "host3", 33, START_US + silent_us);
    see(c, "reach", str_eq(asked, "host1") ? "{\"host2\":false,\"host3\":false}" : "{\"host1\":true,\"host2\":true}");
    free(c->host);
    c->host = str_dup(asked);
    _cleanup_json_ json_t *alarms = alarms_list(c);
    size_t i;
    json_t *a;
    json_array_foreach(alarms, i, a) {
        if (str_eq(json_text_of(a, "alarm"), "host.waits") && str_eq(json_text_of(a, "object"), "host1")) {
            found = str_dup(json_text_of(a, "text"));
        }
    }
    return found ? found : str_dup("");
}

#define WASHED ",[\"/mortar/v1/washed/host1/4/host2\",30,{}]"
#define NOT_IN "\"state\":\"rejoining\",\"clean\":false"
#define IN "\"state\":\"rejoining\",\"clean\":true"

/* Somebody might start it elsewhere while what was read is still to be written (as in test_plan_vm.c, of a start). */
static void a_washing_that_nobody_waits_for_any_more_ends_before_the_machine_is_free(void **state)
{
    static const char washing[] = "[\"/mortar/v1/vm/y/act\",31,{\"state\":\"washing\",\"host\":\"host1\",\"epoch\":5}]";
    static const char clean[] = "ha/wash/host2/2/host1/y";
    _cleanup_(core_freep) struct core *c = fenced_world(
        FENCED_VM("y", "stopped", "", "stopped") ",[\"/mortar/v1/vm/y/own\",12,{\"owner\":\"host1\",\"inc\":1,\"epoch\":5,\"mig\":null}]");
    fenced_watch(c, 31, "[\"/mortar/v1/node/host2\",31,{\"name\":\"host2\",\"role\":\"converged\",\"inc\":2,\"boot_id\":\"b\",\"mgmt\":"
                        "\"10.0.0.2\",\"storage\":\"10.0.0.2\"," NOT_IN "}]", START_US);
    _cleanup_free_ char *claimed = str_printf("{\"ev\":\"watch\",\"revision\":31,\"puts\":[%s],\"dels\":[]}", washing);
    _cleanup_json_ json_t *begins = actions_of(c, claimed, START_US + 1);
    assert_non_null(action_of(begins, clean));
    _cleanup_json_ json_t *waits = actions_of(
        c, "{\"ev\":\"watch\",\"revision\":32,\"puts\":[[\"/mortar/v1/node/host2\",32,{\"name\":\"host2\",\"role\":\"converged\",\"inc\":2,"
           "\"boot_id\":\"b\",\"mgmt\":\"10.0.0.2\",\"storage\":\"10.0.0.2\",\"state\":\"fenced\"}]],\"dels\":[]}", START_US + 2);
    assert_null(action_of(waits, "vm/y/washed"));
    _cleanup_free_ char *done = str_printf("{\"ev\":\"done\",\"id\":\"%s\",\"result\":{}}", clean);
    _cleanup_json_ json_t *ends = actions_of(c, done, START_US + 3);
    assert_non_null(action_of(ends, "vm/y/washed"));
}

/* What is in host1's way 90 s and @more_us after host3 told of a look with @proof, while all are heard, and host3 is in @state;
 * caller frees */
static char *told_after_a_look(const char *proof, const char *state, uint64_t more_us)
{
    _cleanup_(core_freep) struct core *c = healed();
    _cleanup_free_ char *row = str_printf("[\"/mortar/v1/seen/host3/pool/vms\",40," LEFT_BY("0", "%s") "],"
                                          NODE_OF("host3", "10.0.0.3", "\"state\":\"%s\""), proof, 40, state);
    fenced_watch(c, 40, row, START_US);
    for (unsigned i = 1; i < 4; i++) {
        beat(c, "host2", 40 + 2 * i, START_US + 25 * i * USEC_PER_SEC);
        beat(c, "host3", 41 + 2 * i, START_US + 25 * i * USEC_PER_SEC);
    }
    json_decref(actions_of(c, tick_event, START_US + 90 * USEC_PER_SEC + more_us));
    return ha_return_text(c, "host1");
}

static void a_host_that_waits_for_a_look_says_whose(void **state)
{
    _cleanup_free_ char *proved = told_after_a_look("\"let_in\":{\"host1\":1},", "online", STEP_US);
    _cleanup_free_ char *soon = told_after_a_look("", "online", -STEP_US);
    _cleanup_free_ char *late = told_after_a_look("", "online", STEP_US);
    _cleanup_free_ char *out = told_after_a_look("", "fenced", STEP_US);
    assert_null(proved);
    assert_null(soon);
    assert_string_equal(out, "host3, which is fenced, has a copy of the disks, too, and has to tell what is left to heal: "
                             "bring host3 back");
    assert_string_equal(late, "host3 has not told what is left to heal since this host was let in: if that stays so, see whether "
                              "a disk hangs there, and install the same version of Mortar on all hosts");
}

static void a_host_that_waits_for_one_that_is_silent_says_for_which(void **state)
{
    static const char text[] = "it cannot come back yet: without host2, which does not answer, its copy of the disks cannot be "
                               "made safe: bring host2 back";
    static const struct {
        const char *asked;
        const char *fields;
        const char *more;
        uint64_t silent_us;
        bool is_told;
    } cases[] = {
        {"host3", NOT_IN, "", 180 * USEC_PER_SEC, true},
        {"host1", NOT_IN, "", 180 * USEC_PER_SEC, true},
        {"host3", NOT_IN, "", 20 * USEC_PER_SEC, false},
        {"host1", NOT_IN, "", 20 * USEC_PER_SEC, false}, /* though nobody answers it: they have cut it off */
        {"host3", NOT_IN, WASHED, 180 * USEC_PER_SEC, true}, /* its brick is needed for the heal */
        {"host3", IN, WASHED, 180 * USEC_PER_SEC, true},
        {"host3", "\"state\":\"online\"", "", 180 * USEC_PER_SEC, false},
        {"host3", "\"state\":\"fenced\"", "", 180 * USEC_PER_SEC, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *told = told_by(cases[i].asked, cases[i].fields, cases[i].more, cases[i].silent_us);
        if (!str_eq(told, cases[i].is_told ? text : "")) {
            fail_msg("case %zu: '%s'", i, told);
        }
    }
}

/* Does the alarm stand of @host? */
static bool stands(const struct core *c, const char *alarm, const char *host)
{
    _cleanup_json_ json_t *alarms = alarms_list(c);
    bool does = false;
    size_t i;
    json_t *a;
    json_array_foreach(alarms, i, a) {
        does = does || (str_eq(json_text_of(a, "alarm"), alarm) && str_eq(json_text_of(a, "object"), host));
    }
    return does;
}

/* A11: the witness is down, and nobody notices before the next loss. */
static void while_one_of_the_three_is_away_it_is_told_that_there_is_no_failover(void **state)
{
    static const struct {
        const char *fields;
        uint64_t silent_us;
        bool is_told;
    } cases[] = {
        {"\"state\":\"online\"", 0, false},
        {"\"state\":\"online\"", NODE_SILENT_US + USEC_PER_SEC, true},
        {"\"state\":\"fenced\"", 0, true},
        {"\"state\":\"rejoining\",\"clean\":true", 0, true},
        {"\"state\":\"online\",\"flush\":true", 0, true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
        _cleanup_free_ char *row = str_printf(NODE_OF("host2", "10.0.0.2", "\"state\":\"online\"") ","
                                              NODE_OF("host3", "10.0.0.3", "%s"), 30, 30, cases[i].fields);
        fenced_watch(c, 30, row, START_US);
        beat(c, "host2", 31, START_US);
        beat(c, "host3", 32, START_US);
        beat(c, "host2", 33, START_US + cases[i].silent_us);
        if (stands(c, "ha.impossible", "host3") != cases[i].is_told || stands(c, "ha.impossible", "host2") ||
            (cases[i].silent_us && stands(c, "guard.absent", "host3"))) {
            fail_msg("case %zu", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_one_of_the_three_is_away_it_is_told_that_there_is_no_failover),
        cmocka_unit_test(what_is_left_is_looked_at_each_two_seconds_while_a_host_waits_for_its_heal),
        cmocka_unit_test(a_host_is_a_full_member_only_after_a_look_at_its_mount_since_it_was_let_in),
        cmocka_unit_test(a_host_is_a_full_member_when_nothing_has_been_left_for_longer_than_a_look),
        cmocka_unit_test(what_others_told_last_is_compared_when_a_host_says_that_it_is_a_full_member),
        cmocka_unit_test(a_host_that_waits_for_one_that_is_silent_says_for_which),
        cmocka_unit_test(what_a_host_saw_of_its_brick_before_its_return_does_not_count),
        cmocka_unit_test(a_washing_that_nobody_waits_for_any_more_ends_before_the_machine_is_free),
        cmocka_unit_test(a_host_that_waits_for_a_look_says_whose),
        cmocka_unit_test(a_look_that_was_begun_before_the_host_was_let_in_proves_nothing),
        cmocka_unit_test(a_look_carries_who_was_let_in_when_it_was_asked_for),
        cmocka_unit_test(a_host_that_was_just_let_in_looks_for_its_quorum_twice_a_second),
        cmocka_unit_test(what_one_brick_still_lists_begins_that_time_anew),
    };
    return cmocka_run_group_tests_name("ha_return", tests, NULL, NULL);
}
