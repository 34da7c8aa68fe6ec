/* SPDX-License-Identifier: Apache-2.0
 * A brick that cannot prove a fence (facts/ha.md 3.9 case 19): when it is ended, by what commit, and how it comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/alarms.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core_actions.h"
#include "core_well.h"

#define FENCE "ha/fence/host4/1/"
#define CLAIM FENCE "claim/vms"
#define KILL FENCE "kill/vms"
#define START "ha/ended/vms"
#define BACK "ha/put-back/vms"
#define POOL_IS(state) POOL_CALLED("vms", state)
#define POOL_CALLED(pool, state)                                                                                                \
    ROW("pool/" pool, "{\"name\":\"" pool "\",\"uuid\":\"u-" pool "\",\"kind\":\"gluster\",\"state\":\"" state "\",\"ha\":\"on\",\"copies\":2," \
        "\"arbiter\":true,\"bricks\":[{\"host\":\"host1\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":\"host2\",\"path\":"        \
        "\"/b\",\"role\":\"data\"},{\"host\":\"host3\",\"path\":\"/b\",\"role\":\"arbiter\"}]}")
#define NODE_IS(name, role, state, inc)                                                                                         \
    ROW("node/" name, "{\"name\":\"" name "\",\"role\":\"" role "\",\"state\":\"" state "\",\"inc\":" inc ",\"boot_id\":\"b\","  \
        "\"mgmt\":\"10.0.0.9\",\"storage\":\"10.0.0.9\"}")
#define SEES(host, files, up) SEES_OF(host, "vms", files, up)
#define SEES_OF(host, pool, files, up)                                                                                          \
    ROW("seen/" host "/pool/" pool, "{\"brick\":{\"state\":\"ready\",\"heal_pending_files\":" files "},\"mount\":{\"state\":"     \
        "\"mounted\",\"quorum\":true,\"bricks_up\":" up "}}")
#define LISTS(host, files) SEES(host, files, "7")
#define ENDED(host, more) ROW("ended/vms", "{\"host\":\"" host "\",\"foe\":\"host4\",\"inc\":1,\"uuid\":\"u-vms\",\"at_ms\":7" more "}")
#define OWN_SEES(files, up)                                                                                                     \
    "{\"brick\":{\"state\":\"ready\",\"heal_pending_files\":" files "},\"mount\":{\"state\":\"mounted\",\"quorum\":true,"         \
    "\"bricks_up\":" up "}}"
#define OWN_LISTS(files) OWN_SEES(files, "7")

/* Later records of a test have higher revisions than those of ROW. */
static json_t *change(struct core *c, const char *rows, uint64_t at_us)
{
    static const char mark[] = "\",20,";
    _cleanup_sbuf_ struct sbuf later = {0};
    uint64_t rev = 100 + at_us / USEC_PER_MSEC;
    for (const char *at = rows, *next; *at; at = next) {
        const char *found = strstr(at, mark);
        next = found ? found + strlen(mark) : at + strlen(at);
        sbuf_printf(&later, "%.*s", (int)((found ? found : next) - at), at);
        if (found) {
            sbuf_printf(&later, "\",%llu,", (unsigned long long)rev);
        }
    }
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":%llu,\"puts\":[%s],\"dels\":[]}",
                                           (unsigned long long)rev, later.data);
    return actions_of(c, text, at_us);
}

static json_t *done(struct core *c, const char *id, const char *more, uint64_t at_us)
{
    _cleanup_free_ char *text = str_printf("{\"ev\":\"done\",\"id\":\"%s\",%s}", id, more);
    return actions_of(c, text, at_us);
}

#define OK "\"result\":{}"
#define DRAINED(running) "\"result\":[{\"volume\":\"vms\",\"running\":" running "}]"
#define TIMEOUT "\"error\":{\"name\":\"call.timeout\",\"message\":\"still 4 operations\"}"

#define ACK(host, drained) ROW("ack/host4/1/" host, "{\"instance\":\"g\",\"drained\":" drained "}")
#define RUNS "[{\"volume\":\"other\",\"running\":false},{\"volume\":\"vms\",\"running\":true}]"
#define BOTH_RUN "[{\"volume\":\"vms\",\"running\":true},{\"volume\":\"vms2\",\"running\":true}]"
#define GLUSTER(host) ROW("seen/" host "/gluster", "{\"ready\":true,\"bricks\":{\"vms\":true,\"vms2\":true}}")
#define BOTH_ACKED ACK("host2", RUNS) "," ACK("host3", RUNS)

/* host1 as it has cut host4 off, which has no brick, at 2 s; @acks: the others'; @more: what is not well by then */
static struct core *cut_with(const char *acks, const char *more)
{
    struct core *c = well();
    see(c, "pool/vms", OWN_LISTS("0"));
    see(c, "ha/table", "{\"open\":{\"host2\":1,\"host3\":1,\"host4\":1}}");
    _cleanup_free_ char *rows = str_printf(
        "%s,%s,%s", POOL_IS("ready") "," LISTS("host2", "0") "," LISTS("host3", "0") "," NODE_IS("host4", "compute", "fencing", "1") ","
        ROW("open/host1", "{\"hosts\":{\"host2\":1,\"host3\":1},\"instance\":\"i\"}") "," ROW("cut/host4/1/host3", "{}"), acks, more);
    json_decref(change(c, rows, 2 * USEC_PER_SEC));
    json_decref(done(c, FENCE "cut", OK, 2 * USEC_PER_SEC));
    assert_true(act_find(c, FENCE "drain")->in_flight);
    return c;
}

static struct core *cut(const char *more)
{
    return cut_with(BOTH_ACKED, more);
}

#define NOTHING_ELSE ROW("silent/host1", "{\"hosts\":[\"host4\"],\"inc\":1}")

static json_t *drain_fails(struct core *c, uint64_t at_us)
{
    return done(c, FENCE "drain", TIMEOUT, at_us);
}

static bool compares(const json_t *commit, const char *key)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(commit, "compares"), i, row) {
        if (str_eq(json_string_value(json_array_get(row, 0)), key)) {
            return true;
        }
    }
    return false;
}

static void it_ends_by_a_commit_that_compares_what_it_rests_on(void **state)
{
    static const char *const keys[] = {"ended/vms",  "pool/vms",           "node/host1",         "node/host2",
                                       "node/host3", "node/host4",         "seen/host2/pool/vms", "seen/host3/pool/vms",
                                       "use/pool/vms", "seen/host2/gluster", "seen/host3/gluster", "ack/host4/1/host2",
                                       "ack/host4/1/host3", "silent/host1", "silent/host2", "silent/host3"};
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    _cleanup_json_ json_t *claims = drain_fails(c, 5200 * USEC_PER_MSEC);
    const json_t *commit = action_args(claims, CLAIM);
    const json_t *record = json_object_get(json_object_get(commit, "puts"), "/mortar/v1/ended/vms");
    assert_string_equal(json_text_of(record, "host"), "host1");
    assert_string_equal(json_text_of(record, "foe"), "host4");
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        _cleanup_free_ char *key = str_printf("/mortar/v1/%s", keys[i]);
        assert_true(compares(commit, key));
    }
    assert_null(action_of(claims, KILL));
    json_decref(change(c, ENDED("host1", ""), 5300 * USEC_PER_MSEC));
    _cleanup_json_ json_t *kills = done(c, CLAIM, OK, 5300 * USEC_PER_MSEC);
    const json_t *args = action_args(kills, KILL);
    assert_string_equal(json_text_of(args, "volume"), "vms");
    assert_string_equal(json_text_of(json_object_get(args, "brick"), "host"), "host1");
    assert_int_equal(json_u64_of(args, "index", 9), 0);
    const json_t *others = json_object_get(args, "others");
    assert_int_equal(json_array_size(others), 2);
    assert_string_equal(json_text_of(json_array_get(others, 1), "host"), "host3");
    assert_string_equal(json_text_of(json_array_get(others, 1), "mgmt"), "10.0.0.3");
    assert_string_equal(json_text_of(json_object_get(json_array_get(others, 1), "brick"), "role"), "arbiter");
    assert_int_equal(json_u64_of(json_array_get(others, 1), "index", 0), 2);
    assert_int_equal(json_u64_of(args, "until_us", 0), 15200 * USEC_PER_MSEC); /* of what the commit compared */
    assert_null(action_find(kills, "do", "fence.drain"));
}

/* The store was slow: what the commit compared is as old as the question. */
static void an_old_claim_ends_nothing(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(drain_fails(c, 5200 * USEC_PER_MSEC));
    json_decref(change(c, ENDED("host1", ""), 6 * USEC_PER_SEC));
    _cleanup_json_ json_t *late = done(c, CLAIM, OK, 15300 * USEC_PER_MSEC);
    assert_null(action_of(late, KILL));
    assert_non_null(action_of(late, CLAIM));
}

/* The fence's table was found gone. */
static void cut_again(struct core *c, uint64_t at_us)
{
    static const char gone[] = "\"result\":{\"open\":{\"host2\":1,\"host3\":1},\"changed\":true}";
    json_decref(actions_of(c, "{\"ev\":\"table\"}", at_us));
    assert_true(act_find(c, "ha/table")->in_flight);
    json_decref(done(c, "ha/table", gone, at_us));
    assert_true(act_find(c, FENCE "cut")->in_flight);
    json_decref(done(c, FENCE "cut", OK, at_us));
}

static void a_drain_of_before_the_last_cut_ends_nothing(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    cut_again(c, 4 * USEC_PER_SEC);
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", 5 * USEC_PER_SEC));
    _cleanup_json_ json_t *old = drain_fails(c, 8 * USEC_PER_SEC);
    assert_null(action_of(old, CLAIM));
    assert_non_null(action_find(old, "do", "fence.drain"));
    _cleanup_json_ json_t *next = drain_fails(c, 11 * USEC_PER_SEC);
    assert_non_null(action_of(next, CLAIM));
}

static void asked_to_end(struct core *c, const char *result)
{
    json_decref(drain_fails(c, 5200 * USEC_PER_MSEC));
    json_decref(change(c, ENDED("host1", ""), 5250 * USEC_PER_MSEC));
    json_decref(done(c, CLAIM, OK, 5250 * USEC_PER_MSEC));
    json_decref(done(c, KILL, result, 5300 * USEC_PER_MSEC));
}

/* It had proved it at the second look, and must prove it again: what came through since may not leave it. */
static void a_brick_that_had_proved_it_before_the_last_cut_may_be_ended(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    asked_to_end(c, "\"result\":{\"ended\":false}");
    json_decref(done(c, FENCE "drain", DRAINED("true"), 5400 * USEC_PER_MSEC));
    json_decref(actions_of(c, "{\"ev\":\"watch\",\"revision\":5600,\"puts\":[],\"dels\":[\"/mortar/v1/ended/vms\"]}",
                           5600 * USEC_PER_MSEC));
    json_decref(done(c, "ha/unend/vms", OK, 5600 * USEC_PER_MSEC));
    cut_again(c, 6 * USEC_PER_SEC);
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", 6050 * USEC_PER_MSEC));
    _cleanup_json_ json_t *actions = drain_fails(c, 9100 * USEC_PER_MSEC);
    assert_non_null(action_of(actions, CLAIM));
}

/* The same before any drain could tell of it. */
static void what_proved_it_before_the_last_cut_is_forgotten_without_a_drain(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    asked_to_end(c, "\"result\":{\"ended\":false}");
    cut_again(c, 5400 * USEC_PER_MSEC);
    _cleanup_json_ json_t *old = drain_fails(c, 8300 * USEC_PER_MSEC);
    assert_null(action_of(old, CLAIM));
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", 10400 * USEC_PER_MSEC));
    _cleanup_json_ json_t *next = drain_fails(c, 13400 * USEC_PER_MSEC);
    assert_non_null(action_of(next, CLAIM));
}

/* It had proved it at the second look, and hangs again; or it had ended, and glusterd has started another process. */
static void one_that_cannot_prove_it_again_is_ended_again(void **state)
{
    static const char *const before[] = {"\"result\":{\"ended\":false}", "\"result\":{\"ended\":true}"};
    for (size_t i = 0; i < ELEMENTS(before); i++) {
        _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
        asked_to_end(c, before[i]);
        assert_null(act_find(c, CLAIM));
        _cleanup_json_ json_t *next = drain_fails(c, 11 * USEC_PER_SEC);
        assert_non_null(action_of(next, CLAIM));
    }
}

/* A pool whose name is the beginning of another's, and that would not do without its brick. */
static void what_keeps_one_pool_does_not_keep_another(void **state)
{
    _cleanup_(core_freep) struct core *c = cut_with(ACK("host2", BOTH_RUN) "," ACK("host3", BOTH_RUN),
                                                    POOL_CALLED("vms2", "ready") "," SEES_OF("host2", "vms2", "0", "7") ","
                                                    SEES_OF("host3", "vms2", "0", "7"));
    see(c, "pool/vms2", OWN_LISTS("0"));
    json_decref(change(c, LISTS("host2", "1") "," GLUSTER("host2") "," GLUSTER("host3"), 3 * USEC_PER_SEC));
    _cleanup_json_ json_t *claims = drain_fails(c, 5200 * USEC_PER_MSEC);
    assert_null(action_of(claims, CLAIM));
    assert_non_null(action_of(claims, CLAIM "2"));
    json_decref(change(c, ROW("ended/vms2", "{\"host\":\"host1\",\"foe\":\"host4\",\"inc\":1,\"uuid\":\"u-vms2\",\"at_ms\":7}"),
                       5250 * USEC_PER_MSEC));
    _cleanup_json_ json_t *kills = done(c, CLAIM "2", OK, 5300 * USEC_PER_MSEC);
    assert_non_null(action_of(kills, KILL "2"));
}

static void one_that_has_ended_is_not_ended_twice(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    asked_to_end(c, "\"result\":{\"ended\":true}");
    json_decref(done(c, FENCE "drain", DRAINED("false"), 5400 * USEC_PER_MSEC));
    cut_again(c, 6 * USEC_PER_SEC);
    assert_true(act_has_succeeded(c, KILL));
}

#define DENIED                                                                                                                  \
    "{\"ev\":\"guard\",\"status\":{\"instance\":\"g\",\"peers\":{\"host4\":{\"denied_inc\":1,\"denial_over\":true}}}}"

static bool tells_that_it_has_ended(const json_t *actions)
{
    const json_t *puts = json_object_get(action_args(actions, "ha/put-ended/vms"), "puts");
    return json_bool_of(json_object_get(puts, "/mortar/v1/ended/vms"), "ended", false);
}

/* Another try of the drain finds it gone. Whoever reads the acknowledgement may know by then which brick is not asked. */
static void that_it_has_ended_is_told_when_a_drain_says_so_and_then_acknowledged(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(actions_of(c, DENIED, 5 * USEC_PER_SEC));
    asked_to_end(c, "\"result\":{\"ended\":true}");
    assert_true(act_find(c, FENCE "drain")->in_flight);
    assert_null(act_find(c, "ha/put-ended/vms"));
    _cleanup_json_ json_t *gone = done(c, FENCE "drain", DRAINED("false"), 5400 * USEC_PER_MSEC);
    assert_true(tells_that_it_has_ended(gone));
    assert_null(action_of(gone, FENCE "ack"));
    json_decref(change(c, ENDED("host1", ",\"ended\":true"), 5500 * USEC_PER_MSEC));
    assert_true(act_find(c, FENCE "ack")->in_flight);
}

/* The agent that ended it is no more: what it did is in the record, and the drain sees the rest. */
static void an_agent_that_did_not_end_it_tells_that_it_has_ended(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(ENDED("host1", ""));
    json_decref(actions_of(c, DENIED, 3 * USEC_PER_SEC));
    _cleanup_json_ json_t *gone = done(c, FENCE "drain", DRAINED("false"), 4 * USEC_PER_SEC);
    assert_true(tells_that_it_has_ended(gone));
    assert_null(action_of(gone, FENCE "ack"));
}

static void a_brick_that_does_not_run_and_was_not_to_end_is_not_told_of(void **state)
{
    static const char *const others[] = {NOTHING_ELSE, ENDED("host2", ""),
        ROW("ended/vms", "{\"host\":\"host1\",\"foe\":\"host4\",\"inc\":1,\"uuid\":\"another\"}"),
        ROW("ended/vms", "{\"host\":\"host1\",\"foe\":\"host5\",\"inc\":1,\"uuid\":\"u-vms\"}")};
    for (size_t i = 0; i < ELEMENTS(others); i++) {
        _cleanup_(core_freep) struct core *c = cut(others[i]);
        json_decref(actions_of(c, DENIED, 3 * USEC_PER_SEC));
        _cleanup_json_ json_t *gone = done(c, FENCE "drain", DRAINED("false"), 4 * USEC_PER_SEC);
        assert_false(tells_that_it_has_ended(gone));
        assert_non_null(action_of(gone, FENCE "ack"));
    }
}

/* Two tries at once would take each other's dumps. */
static void no_drain_is_tried_while_it_is_being_ended(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(drain_fails(c, 5200 * USEC_PER_MSEC));
    _cleanup_json_ json_t *claiming = actions_of(c, "{\"ev\":\"tick\"}", 9 * USEC_PER_SEC);
    assert_null(action_find(claiming, "do", "fence.drain"));
    json_decref(change(c, ENDED("host1", ""), 9 * USEC_PER_SEC));
    json_decref(done(c, CLAIM, OK, 9 * USEC_PER_SEC));
    _cleanup_json_ json_t *killing = actions_of(c, "{\"ev\":\"tick\"}", 15 * USEC_PER_SEC);
    assert_null(action_find(killing, "do", "fence.drain"));
    _cleanup_json_ json_t *after = done(c, KILL, TIMEOUT, 19 * USEC_PER_SEC);
    assert_non_null(action_find(after, "do", "fence.drain"));
}

static void a_commit_that_comes_to_nothing_does_not_hold_the_drain_back(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(drain_fails(c, 5200 * USEC_PER_MSEC));
    json_decref(change(c, NODE_IS("host1", "converged", "maintenance", "1"), 6 * USEC_PER_SEC));
    json_decref(done(c, CLAIM, "\"error\":{\"name\":\"store.unavailable\",\"message\":\"m\"}", 6100 * USEC_PER_MSEC));
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", 10 * USEC_PER_SEC));
    assert_true(act_find(c, FENCE "drain")->in_flight);
    assert_null(act_find(c, KILL));
}

/* Of two bricks here one may be in the way only: the other one has no record then, and no alarm. */
static void a_brick_that_proves_it_after_all_is_not_told_of(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    asked_to_end(c, "\"result\":{\"ended\":false}");
    _cleanup_json_ json_t *runs = done(c, FENCE "drain", DRAINED("true"), 5400 * USEC_PER_MSEC);
    const json_t *dels = json_object_get(action_args(runs, "ha/unend/vms"), "dels");
    assert_string_equal(json_string_value(json_array_get(dels, 0)), "/mortar/v1/ended/vms");
    assert_null(action_of(runs, "ha/put-ended/vms"));
}

static void nor_is_it_ended_before_three_seconds_or_a_whole_try(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    _cleanup_(core_freep) struct core *tries = cut(NOTHING_ELSE);
    _cleanup_json_ json_t *early = drain_fails(c, 2500 * USEC_PER_MSEC);
    _cleanup_json_ json_t *still = actions_of(tries, "{\"ev\":\"tick\"}", 9 * USEC_PER_SEC);
    assert_null(action_of(early, CLAIM));
    assert_null(action_of(still, CLAIM));
}

#define REFUSED "\"error\":{\"name\":\"object.busy\",\"message\":\"the brick on host3 lists a for heal, which host2 does not\"}"

/* Nothing was ended, and what the record rests on was not so: should the brick end by itself it counts as any other. */
static void a_record_is_taken_back_when_the_other_bricks_lists_refuse_it(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(drain_fails(c, 5200 * USEC_PER_MSEC));
    json_decref(change(c, ENDED("host1", ""), 5250 * USEC_PER_MSEC));
    json_decref(done(c, CLAIM, OK, 5250 * USEC_PER_MSEC));
    _cleanup_json_ json_t *refused = done(c, KILL, REFUSED, 8300 * USEC_PER_MSEC);
    const json_t *dels = json_object_get(action_args(refused, "ha/unend/vms"), "dels");
    assert_string_equal(json_string_value(json_array_get(dels, 0)), "/mortar/v1/ended/vms");
    assert_null(action_of(refused, CLAIM));
    json_decref(actions_of(c, "{\"ev\":\"watch\",\"revision\":8400,\"puts\":[],\"dels\":[\"/mortar/v1/ended/vms\"]}",
                           8400 * USEC_PER_MSEC));
    json_decref(done(c, "ha/unend/vms", OK, 8400 * USEC_PER_MSEC));
    assert_true(act_find(c, FENCE "drain")->in_flight);
    _cleanup_json_ json_t *again = drain_fails(c, 11400 * USEC_PER_MSEC);
    assert_non_null(action_of(again, CLAIM));
}

/* A fence does not wait for a back-off of a minute. */
static void it_is_tried_again_each_ten_seconds(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    uint64_t at_us = 5 * USEC_PER_SEC;
    for (int i = 0; i < 8; i++) {
        json_decref(drain_fails(c, at_us + 200 * USEC_PER_MSEC));
        json_decref(change(c, ENDED("host1", ""), at_us + 250 * USEC_PER_MSEC));
        json_decref(done(c, CLAIM, OK, at_us + 250 * USEC_PER_MSEC));
        const struct attempt *kill = act_find(c, KILL);
        assert_true(kill && kill->in_flight);
        json_decref(done(c, KILL, TIMEOUT, at_us + 3300 * USEC_PER_MSEC));
        at_us += 11 * USEC_PER_SEC;
        json_decref(actions_of(c, "{\"ev\":\"tick\"}", at_us - 2 * USEC_PER_SEC)); /* the drain is on its way */
    }
}

/* A brick whose kill had no end is tried again, by another commit: what the first one compared is old. */
static void each_try_to_end_it_has_its_own_commit(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(drain_fails(c, 5200 * USEC_PER_MSEC));
    json_decref(change(c, ENDED("host1", ""), 5250 * USEC_PER_MSEC));
    json_decref(done(c, CLAIM, OK, 5250 * USEC_PER_MSEC));
    json_decref(done(c, KILL, TIMEOUT, 15 * USEC_PER_SEC));
    json_decref(drain_fails(c, 18 * USEC_PER_SEC));
    const struct attempt *claim = act_find(c, CLAIM);
    assert_true(claim && claim->in_flight);
}

static void it_runs_on_while(const char *own, const char *more)
{
    _cleanup_(core_freep) struct core *c = cut(more);
    see(c, "reach", "{\"host2\":true,\"host3\":true,\"host5\":true}");
    if (own) {
        see(c, "pool/vms", own);
    }
    _cleanup_json_ json_t *actions = drain_fails(c, 5200 * USEC_PER_MSEC);
    assert_null(action_of(actions, CLAIM));
}

static void it_runs_on_where_the_others_do_not_do_without_it(void **state)
{
    it_runs_on_while(OWN_LISTS("1"), NOTHING_ELSE);
    it_runs_on_while("{\"brick\":{\"state\":\"ready\"}}", NOTHING_ELSE); /* nobody knows */
    it_runs_on_while(NULL, ROW("seen/host2/gluster", "{\"ready\":true,\"bricks\":{\"vms\":false}}"));
    it_runs_on_while(NULL, ROW("seen/host3/gluster", "{\"ready\":true,\"bricks\":{}}"));
    it_runs_on_while(NULL, NODE_IS("host2", "converged", "rejoining", "2"));
    it_runs_on_while(NULL, NODE_IS("host2", "converged", "fencing", "1"));
    it_runs_on_while(NULL, NODE_IS("host3", "witness", "maintenance", "1"));
    it_runs_on_while(NULL, ROW("silent/host2", "{\"hosts\":[\"host3\"],\"inc\":1}") ","
                           ROW("silent/host1", "{\"hosts\":[\"host3\"],\"inc\":1}"));
    it_runs_on_while(NULL, ROW("silent/host2", "{\"hosts\":[\"host3\"],\"inc\":1}"));
    it_runs_on_while(NULL, ROW("silent/host3", "{\"hosts\":[\"host4\",\"host1\"],\"inc\":1}"));
    it_runs_on_while(NULL, ROW("silent/host1", "{\"hosts\":[\"host2\"],\"inc\":1}"));
    it_runs_on_while(NULL, ENDED("host2", ""));
    it_runs_on_while(NULL, ENDED("host2", ",\"ended\":true"));
    it_runs_on_while(NULL, ROW("use/pool/vms", "{}")); /* perhaps its port is being cured elsewhere */
}

/* Who has drained has a brick that works, and does not need to be ended itself. */
static void it_runs_on_until_all_others_have_proved_it_and_run(void **state)
{
    static const char *const acks[] = {ACK("host2", RUNS), ACK("host3", RUNS), ROW("ack/host4/2/host3", "{}") "," ACK("host2", RUNS),
        ACK("host2", RUNS) "," ACK("host3", "[{\"volume\":\"vms\",\"running\":false}]"), ACK("host2", RUNS) "," ACK("host3", "[]"),
        ACK("host3", RUNS) "," ROW("ack/host4/1/host2", "{\"instance\":\"g\"}")};
    for (size_t i = 0; i < ELEMENTS(acks); i++) {
        _cleanup_(core_freep) struct core *c = cut_with(acks[i], NOTHING_ELSE);
        _cleanup_json_ json_t *actions = drain_fails(c, 5200 * USEC_PER_MSEC);
        assert_null(action_of(actions, CLAIM));
    }
}

/* Hosts that are out write nothing, and their mounts see nothing. */
static void it_runs_on_while_a_mount_needs_it(void **state)
{
    it_runs_on_while(OWN_SEES("0", "3"), NOTHING_ELSE);
    it_runs_on_while("{\"brick\":{\"state\":\"ready\",\"heal_pending_files\":0},\"mount\":{\"state\":\"absent\"}}", NOTHING_ELSE);
    it_runs_on_while(NULL, NODE_IS("host5", "compute", "online", "1"));
    it_runs_on_while(NULL, NODE_IS("host5", "compute", "online", "1") "," ROW("seen/host5/host", "{}") "," SEES("host5", "0", "5"));
    static const char *const spares[] = {NODE_IS("host5", "compute", "fenced", "1"),
        NODE_IS("host5", "compute", "online", "1") "," ROW("seen/host5/host", "{}") "," SEES("host5", "0", "6")};
    for (size_t i = 0; i < ELEMENTS(spares); i++) {
        _cleanup_(core_freep) struct core *c = cut(spares[i]);
        see(c, "reach", "{\"host2\":true,\"host3\":true,\"host5\":true}");
        _cleanup_json_ json_t *actions = drain_fails(c, 5200 * USEC_PER_MSEC);
        assert_non_null(action_of(actions, CLAIM));
    }
}

static void what_the_others_list_keeps_it(void **state)
{
    static const char *const rows[] = {LISTS("host2", "1"), LISTS("host3", "1"), SEES("host2", "0", "3"),
                                       ROW("seen/host2/pool/vms", "{\"brick\":{\"state\":\"ready\"}}")};
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
        json_decref(change(c, rows[i], 3 * USEC_PER_SEC));
        _cleanup_json_ json_t *actions = drain_fails(c, 5200 * USEC_PER_MSEC);
        assert_null(action_of(actions, CLAIM));
    }
}

/* A record of a pool that had that name before is in nobody's way. */
static void an_earlier_pool_of_that_name_does_not_count(void **state)
{
    _cleanup_(core_freep) struct core *c =
        cut(ROW("ended/vms", "{\"host\":\"host2\",\"foe\":\"host4\",\"inc\":1,\"uuid\":\"another\",\"ended\":true}"));
    _cleanup_json_ json_t *actions = drain_fails(c, 5200 * USEC_PER_MSEC);
    assert_non_null(action_of(actions, CLAIM));
    assert_null(pool_ended_brick(c, "vms"));
}

/* --- afterwards ----------------------------------------------------------------------------- */

static void pass(struct core *c, unsigned from, unsigned until)
{
    for (unsigned s = from; s <= until; s++) {
        beat(c, "host2", 50000 + 2 * s, s * USEC_PER_SEC);
        beat(c, "host3", 50001 + 2 * s, s * USEC_PER_SEC);
        tick(c, s * USEC_PER_SEC);
    }
}

/* host1's brick has ended, and the fence is over at 3 s */
static struct core *over(void)
{
    struct core *c = cut(ENDED("host1", ",\"ended\":true"));
    see(c, "gluster", "{\"ready\":true,\"bricks\":{\"vms\":false}}");
    json_decref(change(c, NODE_IS("host4", "compute", "fenced", "1"), 3 * USEC_PER_SEC));
    return c;
}

static void see_brick(struct core *c, uint64_t asked_us)
{
    _cleanup_free_ char *look = str_printf("{\"asked_us\":%llu}", (unsigned long long)asked_us);
    see(c, "gluster", "{\"ready\":true,\"bricks\":{\"vms\":true}}");
    see(c, "ha/bricks", look);
}

static bool is_taken_away(const struct core *c)
{
    const struct attempt *a = act_find(c, "ha/unend/vms");
    return a && a->in_flight;
}

static void it_is_started_after_the_fence_and_told_of_until_all_is_whole(void **state)
{
    _cleanup_(core_freep) struct core *c = over();
    pass(c, 4, 10);
    assert_null(act_find(c, START));
    pass(c, 11, 14);
    assert_true(act_find(c, BACK)->in_flight);
    assert_null(act_find(c, START)); /* starts ask it again, before it is there */
    json_decref(change(c, ENDED("host1", ",\"ended\":true,\"back\":true"), 14 * USEC_PER_SEC));
    json_decref(done(c, BACK, OK, 14 * USEC_PER_SEC));
    pass(c, 15, 15);
    assert_true(act_find(c, START)->in_flight);
    json_decref(done(c, START, OK, 15 * USEC_PER_SEC));
    see_brick(c, 5 * USEC_PER_SEC); /* of before */
    pass(c, 16, 70);
    assert_false(is_taken_away(c));
    json_decref(done(c, START, OK, 70 * USEC_PER_SEC));
    see_brick(c, 70 * USEC_PER_SEC);
    json_decref(change(c, LISTS("host2", "3"), 71 * USEC_PER_SEC));
    pass(c, 72, 110);
    assert_false(is_taken_away(c));
    json_decref(change(c, LISTS("host2", "0") "," ROW("seen/host3/gluster", "{\"ready\":true,\"bricks\":{\"vms\":false}}"),
                       110 * USEC_PER_SEC));
    pass(c, 111, 145);
    assert_false(is_taken_away(c));
    json_decref(change(c, ROW("seen/host3/gluster", "{\"ready\":true,\"bricks\":{\"vms\":true}}"), 145 * USEC_PER_SEC));
    pass(c, 146, 170);
    assert_false(is_taken_away(c));
    pass(c, 171, 180);
    assert_true(is_taken_away(c));
}

static void while_the_fence_lasts_it_is_not_started(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(ENDED("host1", ",\"ended\":true"));
    pass(c, 4, 60);
    assert_null(act_find(c, START));
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

static void all_are_told_what_happens_to_it_and_what_to_do(void **state)
{
    _cleanup_(core_freep) struct core *ends = cut(ENDED("host2", ""));
    _cleanup_(core_freep) struct core *ended = cut(ENDED("host2", ",\"ended\":true"));
    _cleanup_json_ json_t *first = alarms_list(ends);
    _cleanup_json_ json_t *then = alarms_list(ended);
    assert_non_null(strstr(text_of(first, "brick.ended"), "'mortar host fence host2'"));
    assert_non_null(strstr(text_of(then, "brick.ended"), "could not prove that nothing of host4 was left in it"));
}

static void its_end_and_return_are_events(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(change(c, ENDED("host1", ""), 3 * USEC_PER_SEC));
    json_decref(change(c, ENDED("host1", ",\"ended\":true"), 4 * USEC_PER_SEC));
    json_decref(actions_of(c, "{\"ev\":\"watch\",\"revision\":6000,\"puts\":[],\"dels\":[\"/mortar/v1/ended/vms\"]}", 5 * USEC_PER_SEC));
    size_t n = json_array_size(c->events);
    assert_in_range(n, 2, 100);
    assert_string_equal(json_text_of(json_array_get(c->events, n - 2), "text"),
                        "the brick of pool 'vms' on host1 was ended: it did not prove that nothing of host4 was left in it");
    assert_string_equal(json_text_of(json_array_get(c->events, n - 1), "text"), "the brick of pool 'vms' on host1 is whole again");
}

#define HOST2_IS_DOWN ROW("seen/host2/gluster", "{\"ready\":true,\"bricks\":{\"vms\":false}}")

static void one_that_did_not_end_is_not_said_to_be_whole_again(void **state)
{
    _cleanup_(core_freep) struct core *c = cut(NOTHING_ELSE);
    json_decref(change(c, ENDED("host1", ""), 3 * USEC_PER_SEC));
    size_t before = json_array_size(c->events);
    json_decref(actions_of(c, "{\"ev\":\"watch\",\"revision\":6000,\"puts\":[],\"dels\":[\"/mortar/v1/ended/vms\"]}", 5 * USEC_PER_SEC));
    assert_int_equal(json_array_size(c->events), before);
    const json_t *fact = json_array_get(c->facts, json_array_size(c->facts) - 1);
    assert_string_equal(json_text_of(fact, "what"), "kept");
}

static void a_start_asks_it_for_nothing(void **state)
{
    _cleanup_(core_freep) struct core *ends = cut(ENDED("host2", "") "," HOST2_IS_DOWN);
    _cleanup_(core_freep) struct core *ended = cut(ENDED("host2", ",\"ended\":true") "," HOST2_IS_DOWN);
    _cleanup_json_ json_t *three = vm_clean_args(ends, "db1");
    _cleanup_json_ json_t *two = vm_clean_args(ended, "db1");
    const json_t *bricks = json_object_get(two, "bricks");
    assert_int_equal(json_array_size(json_object_get(three, "bricks")), 3);
    assert_int_equal(json_array_size(bricks), 2);
    assert_string_equal(json_text_of(json_array_get(bricks, 1), "host"), "host3");
    assert_int_equal(json_u64_of(json_array_get(bricks, 1), "index", 0), 2);
}

/* Somebody has started it by hand, or it is about to come back: it takes part in each write, and lists what the others do not. */
static void a_start_asks_one_that_runs_again(void **state)
{
    _cleanup_(core_freep) struct core *comes = cut(ENDED("host2", ",\"ended\":true,\"back\":true") "," HOST2_IS_DOWN);
    _cleanup_json_ json_t *all = vm_clean_args(comes, "db1");
    assert_int_equal(json_array_size(json_object_get(all, "bricks")), 3);
    _cleanup_(core_freep) struct core *runs = cut(ENDED("host2", ",\"ended\":true"));
    _cleanup_json_ json_t *three = vm_clean_args(runs, "db1");
    assert_int_equal(json_array_size(json_object_get(three, "bricks")), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_by_a_commit_that_compares_what_it_rests_on),
        cmocka_unit_test(an_old_claim_ends_nothing),
        cmocka_unit_test(a_drain_of_before_the_last_cut_ends_nothing),
        cmocka_unit_test(a_brick_that_had_proved_it_before_the_last_cut_may_be_ended),
        cmocka_unit_test(what_proved_it_before_the_last_cut_is_forgotten_without_a_drain),
        cmocka_unit_test(one_that_has_ended_is_not_ended_twice),
        cmocka_unit_test(one_that_cannot_prove_it_again_is_ended_again),
        cmocka_unit_test(what_keeps_one_pool_does_not_keep_another),
        cmocka_unit_test(that_it_has_ended_is_told_when_a_drain_says_so_and_then_acknowledged),
        cmocka_unit_test(an_agent_that_did_not_end_it_tells_that_it_has_ended),
        cmocka_unit_test(a_brick_that_does_not_run_and_was_not_to_end_is_not_told_of),
        cmocka_unit_test(no_drain_is_tried_while_it_is_being_ended),
        cmocka_unit_test(a_commit_that_comes_to_nothing_does_not_hold_the_drain_back),
        cmocka_unit_test(a_brick_that_proves_it_after_all_is_not_told_of),
        cmocka_unit_test(nor_is_it_ended_before_three_seconds_or_a_whole_try),
        cmocka_unit_test(a_record_is_taken_back_when_the_other_bricks_lists_refuse_it),
        cmocka_unit_test(it_is_tried_again_each_ten_seconds),
        cmocka_unit_test(each_try_to_end_it_has_its_own_commit),
        cmocka_unit_test(it_runs_on_where_the_others_do_not_do_without_it),
        cmocka_unit_test(it_runs_on_until_all_others_have_proved_it_and_run),
        cmocka_unit_test(it_runs_on_while_a_mount_needs_it),
        cmocka_unit_test(what_the_others_list_keeps_it),
        cmocka_unit_test(an_earlier_pool_of_that_name_does_not_count),
        cmocka_unit_test(it_is_started_after_the_fence_and_told_of_until_all_is_whole),
        cmocka_unit_test(while_the_fence_lasts_it_is_not_started),
        cmocka_unit_test(all_are_told_what_happens_to_it_and_what_to_do),
        cmocka_unit_test(its_end_and_return_are_events),
        cmocka_unit_test(one_that_did_not_end_is_not_said_to_be_whole_again),
        cmocka_unit_test(a_start_asks_it_for_nothing),
        cmocka_unit_test(a_start_asks_one_that_runs_again),
    };
    return cmocka_run_group_tests_name("brick_ended", tests, NULL, NULL);
}
