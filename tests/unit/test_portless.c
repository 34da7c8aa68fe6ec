/* SPDX-License-Identifier: Apache-2.0
 * A brick whose glusterd has lost its port (docs/bugs.md B6): told of, and started anew when nobody needs it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/alarms.h"
#include "core/model/pool.h"
#include "core_actions.h"
#include "core_well.h"

#define CLAIM "port/claim/vms"
#define LACKS "{\"ready\":true,\"bricks\":{\"vms\":true},\"portless\":{\"vms\":true}}"
#define HAS "{\"ready\":true,\"bricks\":{\"vms\":true}}"
#define CLEAN "{\"brick\":{\"state\":\"ready\",\"heal_pending_files\":0},\"mount\":{\"state\":\"mounted\",\"quorum\":true," \
              "\"bricks_up\":7}}"

#define HOST2_SEES(mod, fields, up)                                                                                             \
    "[\"/mortar/v1/seen/host2/pool/vms\"," mod ",{" fields "\"mount\":{\"state\":\"mounted\",\"quorum\":true,\"bricks_up\":" up "}}]"

static void watch(struct core *c, const char *puts, unsigned at)
{
    struct err e = {0};
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":%u,\"puts\":[%s],\"dels\":[]}", 5000 + at, puts);
    assert_int_equal(core_world_step(c, text, at * USEC_PER_SEC, &e), 0);
}

/* host1, which has just seen that its own brick has no port, and host2's mount that has lost it; all else is well */
static struct core *portless(void)
{
    struct core *c = well();
    see(c, "pool/vms", CLEAN);
    see(c, "gluster", LACKS);
    assert_int_equal(core_world_step(c, "{\"ev\":\"watch\",\"revision\":4000,\"puts\":[" HOST2_SEES("4000", "", "6") "],"
                                     "\"dels\":[]}", USEC_PER_SEC, NULL), 0);
    return c;
}

/* Time passes until second @until, while others are heard. Return: when the claim is asked for, or 0 */
static unsigned claimed_at(struct core *c, unsigned from, unsigned until)
{
    for (unsigned s = from; s <= until; s++) {
        beat(c, "host2", 100 + 2 * s, s * USEC_PER_SEC);
        beat(c, "host3", 101 + 2 * s, s * USEC_PER_SEC);
        tick(c, s * USEC_PER_SEC);
        const struct attempt *claim = act_find(c, CLAIM);
        if (claim && claim->in_flight) {
            return s;
        }
    }
    return 0;
}

static const char *text_of(const json_t *list, const char *alarm)
{
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        if (str_eq(json_text_of(a, "alarm"), alarm)) {
            return json_text_of(a, "text");
        }
    }
    return NULL;
}

static void it_is_started_anew_after_half_a_minute_and_a_commit_and_not_again_that_day(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    unsigned at = claimed_at(c, 2, 60);
    assert_in_range(at, 31, 34);
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"done\",\"id\":\"" CLAIM "\",\"result\":{}}", at * USEC_PER_SEC);
    const json_t *args = action_args(actions, "port/restart/vms");
    assert_non_null(args);
    assert_string_equal(json_text_of(json_object_get(args, "brick"), "host"), "host1");
    assert_true(json_bool_of(args, "mount", false));
    assert_int_equal(json_u64_of(args, "until_us", 0), (at + 10) * USEC_PER_SEC);
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"port/restart/vms\",\"error\":{\"name\":\"call.timeout\",\"message\":"
                              "\"m\"}}", (at + 1) * USEC_PER_SEC));
    assert_int_equal(claimed_at(c, at + 2, at + 2000), 0);
}

static void a_port_that_was_missing_for_a_moment_ends_nothing(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    assert_int_equal(claimed_at(c, 2, 25), 0);
    see(c, "gluster", HAS);
    assert_int_equal(claimed_at(c, 26, 28), 0);
    see(c, "gluster", LACKS);
    assert_int_equal(claimed_at(c, 29, 55), 0);
    assert_in_range(claimed_at(c, 56, 70), 58, 62);
}

static void waits_while(const char *what, const char *seen, const char *put)
{
    _cleanup_(core_freep) struct core *c = portless();
    if (what) {
        see(c, what, seen);
    }
    if (put) {
        watch(c, put, 1);
    }
    assert_int_equal(claimed_at(c, 2, 100), 0);
}

static void it_runs_on_while_anybody_may_need_it(void **state)
{
    waits_while("pool/vms", "{\"brick\":{\"heal_pending_files\":1},\"mount\":{\"state\":\"mounted\",\"quorum\":true,"
                "\"bricks_up\":7}}", NULL);
    waits_while("pool/vms", "{\"brick\":{\"heal_pending_files\":0},\"mount\":{\"state\":\"mounted\",\"quorum\":true,"
                "\"bricks_up\":3}}", NULL); /* the arbiter is not reached from here */
    waits_while("pool/vms", "{\"brick\":{\"heal_pending_files\":0},\"mount\":{\"state\":\"hanging\"}}", NULL);
    waits_while(NULL, NULL, "[\"/mortar/v1/seen/host2/pool/vms\",5001,{\"mount\":{\"state\":\"mounted\",\"quorum\":true,"
                "\"bricks_up\":3}}]");      /* nor from there */
    waits_while(NULL, NULL, "[\"/mortar/v1/seen/host2/gluster\",5001,{\"ready\":true,\"bricks\":{\"vms\":false}}]");
    waits_while("reach", "{\"host2\":false,\"host3\":true}", NULL);
    waits_while(NULL, NULL, "[\"/mortar/v1/node/host2\",5001,{\"name\":\"host2\",\"role\":\"converged\",\"state\":"
                "\"rejoining\",\"inc\":2,\"clean\":true,\"storage\":\"10.0.0.2\",\"mgmt\":\"10.0.0.2\"}]");
    waits_while(NULL, NULL, "[\"/mortar/v1/task/1\",5001,{\"id\":\"1\",\"kind\":\"vm.migrate\",\"state\":\"running\","
                "\"runner\":\"host2\"}]");
    waits_while(NULL, NULL, "[\"/mortar/v1/node/host2\",5001,{\"name\":\"host2\",\"role\":\"converged\",\"state\":"
                "\"maintenance\",\"inc\":1,\"storage\":\"10.0.0.2\",\"mgmt\":\"10.0.0.2\"}]");
    waits_while("gluster", "{\"ready\":true,\"bricks\":{\"vms\":false},\"portless\":{\"vms\":true}}", NULL);
}

/* A brick that ends while a guest writes is behind for a moment: for nobody's sake that is not done. */
static void it_runs_on_while_nobody_has_lost_it(void **state)
{
    waits_while(NULL, NULL, HOST2_SEES("5001", "", "7"));
    waits_while(NULL, NULL, HOST2_SEES("5001", "\"brick\":{\"heal_pending_files\":3},", "7"));
    _cleanup_(core_freep) struct core *c = portless();
    watch(c, HOST2_SEES("5001", "\"brick\":{\"heal_pending_files\":3,\"heal_stays\":true},", "7"), 1);
    assert_in_range(claimed_at(c, 2, 60), 31, 34);
}

static void nor_is_it_ended_without_the_store_or_in_a_pool_that_is_removed(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    assert_int_equal(core_world_step(c, "{\"ev\":\"lost\"}", USEC_PER_SEC, NULL), 0);
    assert_int_equal(claimed_at(c, 2, 100), 0);
    waits_while(NULL, NULL, "[\"/mortar/v1/pool/vms\",5001,{\"name\":\"vms\",\"uuid\":\"u-vms\",\"kind\":\"gluster\","
                "\"state\":\"making\",\"copies\":2,\"arbiter\":true,\"bricks\":[{\"host\":\"host1\",\"path\":\"/b\","
                "\"role\":\"data\"},{\"host\":\"host2\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":\"host3\","
                "\"path\":\"/b\",\"role\":\"arbiter\"}]}]");
}

#define SAYS(host) "," ROW("silent/" host, "{\"hosts\":[\"host2\"],\"inc\":1}")

/* With failover on, too; but not while fencers say that they hear nothing of a host. */
static void nor_while_a_host_is_about_to_be_fenced(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    _cleanup_(core_freep) struct core *reported = portless();
    watch(c, ROW("ha", "{\"vms\":true}") "," HA_POOL, 1);
    watch(reported, ROW("ha", "{\"vms\":true}") "," HA_POOL SAYS("host1") SAYS("host3"), 1);
    assert_in_range(claimed_at(c, 2, 60), 31, 34);
    assert_int_equal(claimed_at(reported, 2, 60), 0);
}

/* What this brick lacks the others list, and heal cannot get through to it: that is what the cure is for. */
static void what_it_lacks_itself_does_not_keep_it(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    watch(c, "[\"/mortar/v1/seen/host2/pool/vms\",5001,{\"brick\":{\"heal_pending_files\":9},\"mount\":{\"state\":"
             "\"mounted\",\"quorum\":true,\"bricks_up\":6}}]", 1);
    assert_in_range(claimed_at(c, 2, 60), 31, 34);
}

/* Two of one pool at once would take its quorum. */
static void another_of_the_pool_that_was_just_claimed_is_awaited(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    unsigned at = claimed_at(c, 2, 60);
    assert_in_range(at, 31, 34);
    watch(c, "[\"/mortar/v1/use/pool/vms\",5040,{}]", at);
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"" CLAIM "\",\"error\":{\"name\":\"store.conflict\",\"message\":\"m\"}}",
                           at * USEC_PER_SEC));
    assert_in_range(claimed_at(c, at + 1, at + 300), at + 120, at + 125);
}

static void everybody_is_told_of_it(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    watch(c, "[\"/mortar/v1/seen/host2/gluster\",5001," LACKS "]", 2);
    _cleanup_json_ json_t *list = alarms_list(c);
    assert_string_equal(text_of(list, "brick.no_port"),
                        "the brick on host2 runs, but glusterd there has lost its port: who loses the connection to it may "
                        "not get it back; when a mount has lost it, it is started anew by itself, once a day, while all else is "
                        "well and it lists nothing to heal");
    assert_true(pool_brick_is_online(c, "vms", "host2"));
}

static void of_two_bricks_none_is_ended_and_the_alarm_says_how(void **state)
{
    _cleanup_(core_freep) struct core *c = portless();
    watch(c, "[\"/mortar/v1/pool/vms\",5001,{\"name\":\"vms\",\"uuid\":\"u-vms\",\"kind\":\"gluster\",\"state\":\"ready\","
             "\"copies\":2,\"bricks\":[{\"host\":\"host1\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":\"host2\","
             "\"path\":\"/b\",\"role\":\"data\"}]}]", 1);
    assert_int_equal(claimed_at(c, 2, 100), 0);
    _cleanup_json_ json_t *list = alarms_list(c);
    const char *text = text_of(list, "brick.no_port");
    assert_non_null(text);
    assert_non_null(strstr(text, "'gluster volume start vms force'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_started_anew_after_half_a_minute_and_a_commit_and_not_again_that_day),
        cmocka_unit_test(a_port_that_was_missing_for_a_moment_ends_nothing),
        cmocka_unit_test(it_runs_on_while_anybody_may_need_it),
        cmocka_unit_test(it_runs_on_while_nobody_has_lost_it),
        cmocka_unit_test(nor_is_it_ended_without_the_store_or_in_a_pool_that_is_removed),
        cmocka_unit_test(nor_while_a_host_is_about_to_be_fenced),
        cmocka_unit_test(what_it_lacks_itself_does_not_keep_it),
        cmocka_unit_test(another_of_the_pool_that_was_just_claimed_is_awaited),
        cmocka_unit_test(everybody_is_told_of_it),
        cmocka_unit_test(of_two_bricks_none_is_ended_and_the_alarm_says_how),
    };
    return cmocka_run_group_tests_name("portless", tests, NULL, NULL);
}
