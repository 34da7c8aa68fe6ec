/* SPDX-License-Identifier: Apache-2.0
 * Drills: what refuses them, that a host strikes itself once and only in the life that said so, and the report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/beats.h"
#include "core/act.h"
#include "core/drill.h"
#include "core/model/keys.h"
#include "core_well.h"
#include "golden.h"

#define POOL_ON                                                                                       \
    "[\"/mortar/v1/pool/vms\",20,{\"name\":\"vms\",\"uuid\":\"u-vms\",\"kind\":\"gluster\",\"state\":\"ready\"," \
    "\"ha\":\"on\",\"copies\":2,\"bricks\":[{\"host\":\"host1\",\"role\":\"data\"},{\"host\":\"host2\",\"role\":" \
    "\"data\"},{\"host\":\"host3\",\"role\":\"arbiter\"}]}]"
#define READY(host) "[\"/mortar/v1/seen/" host "/failover\",20,{\"guard\":\"up\",\"fence\":true,\"run_right\":true}]"
#define OWN(vm, host) "[\"/mortar/v1/vm/" vm "/own\",20,{\"owner\":\"" host "\",\"inc\":1,\"epoch\":3,\"mig\":null}]"
#define RUNS(vm, host, more) \
    "[\"/mortar/v1/vm/" vm "/act\",20,{\"state\":\"running\",\"host\":\"" host "\",\"epoch\":3" more "}]"
#define MEMBER(n) "{\"name\":\"host" n "\",\"peer_url\":\"https://10.0.0." n ":2380\",\"client_url\":\"https://10.0.0." n ":2379\"}"

/* A watch event of @rows, whose revisions become @revision (two digits). Caller frees. */
static char *watch_of(unsigned revision, const char *rows)
{
    char *text = str_printf("{\"ev\":\"watch\",\"revision\":%u,\"puts\":[%s],\"dels\":[]}", revision, rows);
    for (char *p = text; (p = strstr(p, "\",20,")); p++) {
        char number[8];
        (void)snprintf(number, sizeof(number), "%u", revision);
        assert_int_equal(strlen(number), 2);
        memcpy(p + 2, number, 2);
    }
    return text;
}

static void put(struct core *c, unsigned revision, const char *rows)
{
    _cleanup_free_ char *text = watch_of(revision, rows);
    assert_int_equal(core_world_step(c, text, c->now_us + USEC_PER_MSEC, NULL), 0);
}

/* host1's core: all is well, db1 runs on host2 and is covered, web stands still. */
static struct core *covered(void)
{
    struct core *c = well();
    see(c, "etcd", "{\"list\":[" MEMBER("1") "," MEMBER("2") "," MEMBER("3") "],\"healthy\":3}");
    put(c, 20, POOL_ON "," READY("host1") "," READY("host2") "," READY("host3") "," OWN("db1", "host2") ","
        RUNS("db1", "host2", ",\"ha\":true"));
    return c;
}

static int plan(struct core *c, const char *host, const char *kind, struct err *e)
{
    json_t *p = NULL;
    *e = (struct err){0};
    int r = drill_plan(c, host, kind, NULL, &p, e);
    json_decref(p);
    return r;
}

/* @rows: what has changed since all was well */
static void assert_refused(const char *rows, const char *says)
{
    _cleanup_(core_freep) struct core *c = covered();
    struct err e = {0};
    put(c, 21, rows);
    int r = plan(c, "host2", "power", &e);
    if (r == 0 || !strstr(e.msg, says) || !e.hint[0]) {
        fail_msg("%s: %d %s; hint: %s", rows, r, e.msg, e.hint);
    }
}

static void a_drill_is_planned_when_all_is_well_and_says_what_it_does(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    json_t *p = NULL;
    struct err e = {0};
    if (drill_plan(c, NULL, NULL, NULL, &p, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_string_equal(json_text_of(p, "host"), "host2");
    assert_string_equal(json_text_of(p, "kind"), "power");
    assert_int_equal(json_u64_of(p, "seconds", 0), 30);
    assert_int_equal(json_array_size(json_object_get(p, "vms")), 1);
    assert_int_equal(json_array_size(json_object_get(p, "stay")), 0);
    golden_check("why/drill-power.txt", json_text_of(p, "text"));
    json_decref(p);
    assert_int_equal(drill_plan(c, NULL, "hang", NULL, &p, &e), 0);
    golden_check("why/drill-hang.txt", json_text_of(p, "text"));
    json_decref(p);
}

static void a_drill_is_refused_with_the_reason_and_the_next_step(void **state)
{
    assert_refused("[\"/mortar/v1/pool/vms\",20,{\"name\":\"vms\",\"kind\":\"gluster\",\"state\":\"ready\",\"bricks\":[]}]",
                   "failover is on for no pool");
    assert_refused("[\"/mortar/v1/node/host3\",20,{\"name\":\"host3\",\"role\":\"witness\",\"state\":\"fenced\",\"inc\":1,"
                   "\"mgmt\":\"10.0.0.3\",\"storage\":\"10.0.0.3\"}]", "host 'host3' is fenced");
    assert_refused("[\"/mortar/v1/node/host3\",20,{\"name\":\"host3\",\"role\":\"witness\",\"state\":\"online\",\"inc\":1,"
                   "\"flush\":true,\"mgmt\":\"10.0.0.3\",\"storage\":\"10.0.0.3\"}]", "host3' was booted just now");
    assert_refused("[\"/mortar/v1/seen/host3/failover\",20,{\"guard\":\"absent\"}]", "host 'host3': its guard");
    assert_refused("[\"/mortar/v1/silent/host3\",20,{\"hosts\":[\"host1\"],\"inc\":1}]",
                   "the guard of host 'host3' hears nothing of host 'host1'");
    assert_refused("[\"/mortar/v1/seen/host2/pool/vms\",20,{\"brick\":{\"heal_pending_files\":4,\"heal_since_us\":1,\"heal_stays\":true}}]",
                   "4 files of pool 'vms' wait for heal on host2");
    assert_refused("[\"/mortar/v1/seen/host3/gluster\",20,{\"ready\":true,\"bricks\":{\"vms\":false}}]",
                   "the brick of pool 'vms' on host3 is offline");
    assert_refused("[\"/mortar/v1/task/t\",20,{\"id\":\"t\",\"kind\":\"drill\",\"object\":\"host3\",\"state\":\"running\","
                   "\"runner\":\"host3\",\"phase\":\"arm\",\"args\":{},\"data\":{}}]", "drill of 'host3' is under way");
    assert_refused("[\"/mortar/v1/task/t\",20,{\"id\":\"t\",\"kind\":\"vm.migrate\",\"object\":\"db1\",\"state\":\"running\","
                   "\"runner\":\"host3\",\"phase\":\"copy\",\"args\":{\"name\":\"db1\"},\"data\":{}}]",
                   "vm.migrate of 'db1' is under way on host2");
    assert_refused(RUNS("db1", "host2", ""), "vm 'db1' on host2 would not be started elsewhere: it runs since before");
    assert_refused("[\"/mortar/v1/seen/host1/host\",20,{\"cpus\":8,\"kvm\":true,\"memory_free_bytes\":1000}]",
                   "without host2 there is no room for vm 'db1'");
}

static void what_this_host_sees_refuses_a_drill_too(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    struct err e = {0};
    if (plan(c, "host2", "power", &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_int_equal(plan(c, "host2", "flood", &e), -ERR_INVALID);
    assert_int_equal(plan(c, "host9", "power", &e), -ERR_NOT_FOUND);
    assert_int_equal(plan(c, "host1", "power", &e), -ERR_STATE);
    assert_string_equal(e.hint, "run it on another host");
    see(c, "etcd", "{\"list\":[" MEMBER("1") "," MEMBER("2") "," MEMBER("3") "],\"healthy\":2}");
    assert_int_equal(plan(c, "host2", "power", &e), -ERR_STATE);
    assert_non_null(strstr(e.msg, "no majority"));
    see(c, "etcd", "{\"list\":[" MEMBER("1") "," MEMBER("2") "," MEMBER("3") "],\"healthy\":3}");
    see(c, "reach", "{\"host2\":true,\"host3\":false}");
    assert_int_equal(plan(c, "host2", "power", &e), -ERR_STATE);
    assert_non_null(strstr(e.msg, "'host3'"));
}

/* --- striking ------------------------------------------------------------------------------ */

#define TASK "[\"/mortar/v1/task/d\",20,{\"id\":\"d\",\"kind\":\"drill\",\"object\":\"host1\",\"state\":\"running\",\"runner\":" \
             "\"host2\",\"phase\":\"strike\",\"args\":{},\"data\":{}}],[\"/mortar/v1/drilling\",20,{\"id\":\"d\"}]"

/* The drill's record, for this host; armed at @armed_ms. Caller frees. */
static char *drill_row(const char *state, unsigned armed_ms, const char *more)
{
    return str_printf("[\"/mortar/v1/drill/d\",20,{\"id\":\"d\",\"host\":\"host1\",\"inc\":1,\"kind\":\"hang\",\"seconds\":"
                      "30,\"vms\":[],\"stay\":[],\"state\":\"%s\",\"armed_ms\":%u%s}]", state, armed_ms, more);
}

/* host1, which runs nothing: db1 is elsewhere and web stands still. */
static struct core *armed(unsigned armed_ms)
{
    struct core *c = covered();
    _cleanup_free_ char *row = drill_row("armed", armed_ms, "");
    _cleanup_free_ char *rows = str_printf(TASK ",%s", row);
    put(c, 21, rows);
    return c;
}

static void done(struct core *c, const char *id, const char *result)
{
    _cleanup_free_ char *text = str_printf("{\"ev\":\"done\",\"id\":\"%s\",%s}", id, result);
    assert_int_equal(core_world_step(c, text, c->now_us + USEC_PER_MSEC, NULL), 0);
}

/* The arguments of the action @id that a step asks for. Caller frees. */
static json_t *asked(struct core *c, const char *text, uint64_t after_us, const char *id)
{
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    _cleanup_json_ json_t *actions = NULL;
    size_t i;
    json_t *a;
    assert_non_null(event);
    assert_int_equal(core_step(c, event, c->now_us + after_us, c->now_us + after_us, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        if (str_eq(json_text_of(a, "id"), id)) {
            return json_incref(json_object_get(a, "args"));
        }
    }
    fail_msg("%s is not asked for", id);
    return NULL;
}

static bool is_asked(const struct core *c, const char *id)
{
    return act_find(c, id) != NULL;
}

static void a_host_strikes_when_its_own_commit_said_so(void **state)
{
    _cleanup_(core_freep) struct core *c = armed(1000);
    assert_true(is_asked(c, "drill/d/ready"));
    assert_false(is_asked(c, "drill/d/go"));
    done(c, "drill/d/ready", "\"result\":{}");
    assert_true(is_asked(c, "drill/d/go"));
    assert_false(is_asked(c, "drill/d/strike"));
    _cleanup_free_ char *row = drill_row("struck", 1000, ",\"instance\":\"i\",\"strike_ms\":1001");
    _cleanup_free_ char *store = str_printf("\"result\":{},\"store\":{\"revision\":22,\"puts\":[%s],\"dels\":[]}", row);
    memcpy(strstr(store, ",20,") + 1, "22", 2);
    _cleanup_free_ char *gone = str_printf("{\"ev\":\"done\",\"id\":\"drill/d/go\",%s}", store);
    _cleanup_json_ json_t *strike = asked(c, gone, 1, "drill/d/strike");
    assert_int_equal(json_u64_of(strike, "until_us", 0), c->now_us + 10 * USEC_PER_SEC);
    done(c, "drill/d/strike", "\"result\":{}");
    tick(c, c->now_us + 30 * USEC_PER_SEC);
    assert_false(act_find(c, "drill/d/strike")->in_flight);
}

/* The agent was started again, or an old record is read: what another life decided is not done. */
static void a_later_life_never_strikes(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    _cleanup_free_ char *row = drill_row("struck", 1000, ",\"instance\":\"i\",\"strike_ms\":1001");
    _cleanup_free_ char *rows = str_printf(TASK ",%s", row);
    put(c, 21, rows);
    tick(c, c->now_us + USEC_PER_SEC);
    assert_false(is_asked(c, "drill/d/strike"));

    _cleanup_(core_freep) struct core *other = armed(1000);
    done(other, "drill/d/ready", "\"result\":{}");
    _cleanup_free_ char *theirs = drill_row("struck", 1000, ",\"instance\":\"x\",\"strike_ms\":1001");
    _cleanup_free_ char *store = str_printf("\"result\":{},\"store\":{\"revision\":22,\"puts\":[%s],\"dels\":[]}", theirs);
    memcpy(strstr(store, ",20,") + 1, "22", 2);
    done(other, "drill/d/go", store);
    assert_false(is_asked(other, "drill/d/strike"));
}

static void a_host_that_hears_too_late_or_cannot_refuses(void **state)
{
    _cleanup_(core_freep) struct core *late = armed(1000);
    assert_int_equal(core_world_step(late, "{\"ev\":\"tick\"}", 60 * USEC_PER_SEC, NULL), 0);
    done(late, "drill/d/ready", "\"result\":{}");
    assert_true(is_asked(late, "drill/d/refuse"));
    assert_false(is_asked(late, "drill/d/go"));

    _cleanup_(core_freep) struct core *unable = armed(1000);
    done(unable, "drill/d/ready", "\"error\":{\"name\":\"object.state\",\"message\":\"no sysrq\"}");
    assert_true(is_asked(unable, "drill/d/refuse"));
    assert_false(is_asked(unable, "drill/d/go"));

    _cleanup_(core_freep) struct core *unwell = armed(1000);
    put(unwell, 22, "[\"/mortar/v1/seen/host3/failover\",20,{\"guard\":\"absent\"}]");
    done(unwell, "drill/d/ready", "\"result\":{}");
    assert_true(is_asked(unwell, "drill/d/refuse"));
    assert_false(is_asked(unwell, "drill/d/go"));
}

static void without_a_running_task_nobody_listens_or_strikes(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    _cleanup_free_ char *row = drill_row("armed", 1000, "");
    put(c, 21, row);
    put(c, 22, "[\"/mortar/v1/drilling\",20,{\"id\":\"d\"}]");
    assert_false(is_asked(c, DRILL_LISTEN));
    assert_false(is_asked(c, "drill/d/ready"));
}

/* --- the task ------------------------------------------------------------------------------ */

static unsigned revision = 22; /* of the store that the task's commits reach; only grows, two digits */

/* One step after which every commit that it asks for succeeds; other actions stay. @dels: keys that went. */
static void step(struct core *c, const char *text, uint64_t after_us, struct strv *dels)
{
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    json_t *actions = NULL;
    struct err e = {0};
    assert_non_null(event);
    if (core_step(c, event, c->now_us + after_us, c->now_us + after_us, &actions, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    for (size_t i = 0; i < json_array_size(actions); i++) { /* grows meanwhile */
        const json_t *a = json_array_get(actions, i);
        const json_t *args = json_object_get(a, "args");
        const char *key;
        json_t *value;
        size_t k;
        if (!str_eq(json_text_of(a, "do"), "store.commit")) {
            continue;
        }
        json_t *puts = json_array();
        revision++;
        json_object_foreach(json_object_get(args, "puts"), key, value) {
            json_array_append_new(puts, json_pack("[s,i,O]", key, (int)revision, value));
        }
        json_array_foreach(json_object_get(args, "dels"), k, value) {
            if (dels) {
                strv_add(dels, json_string_value(value));
            }
        }
        _cleanup_json_ json_t *done_event =
            json_pack("{s:s,s:s,s:{},s:{s:i,s:o,s:O}}", "ev", "done", "id", json_text_of(a, "id"), "result", "store",
                      "revision", (int)revision, "puts", puts, "dels", json_object_get(args, "dels"));
        json_t *more = NULL;
        assert_int_equal(core_step(c, done_event, c->now_us + 1, c->now_us + 1, &more, NULL), 0);
        (void)json_array_extend(actions, more);
        json_decref(more);
    }
    json_decref(actions);
}

static const json_t *drill_of(const struct core *c)
{
    return world_get(&c->world, KEY_DRILL, "d");
}

static const char *phase_of(const struct core *c)
{
    return json_text_of(world_get(&c->world, KEY_TASK, "d"), "phase");
}

#define TICK "{\"ev\":\"tick\"}"
#define ASK "{\"ev\":\"request\",\"verb\":\"drill\",\"task\":\"d\",\"args\":{\"kind\":\"hang\"}}"

static void a_drill_listens_first_and_arms_only_when_all_is_still_well(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    revision = 22;
    step(c, ASK, 1, NULL);
    assert_string_equal(json_text_of(drill_of(c), "state"), "listening");
    assert_true(is_asked(c, DRILL_LISTEN));
    step(c, TICK, 2 * USEC_PER_SEC, NULL);
    assert_string_equal(json_text_of(drill_of(c), "state"), "listening");
    step(c, TICK, 3 * USEC_PER_SEC, NULL);
    assert_string_equal(json_text_of(drill_of(c), "state"), "armed");
    assert_string_equal(phase_of(c), "strike");

    _cleanup_(core_freep) struct core *unwell = covered();
    step(unwell, ASK, 1, NULL);
    put(unwell, 80, "[\"/mortar/v1/seen/host3/failover\",20,{\"guard\":\"absent\"}]");
    step(unwell, TICK, 6 * USEC_PER_SEC, NULL);
    step(unwell, TICK, USEC_PER_SEC, NULL);
    assert_string_equal(json_text_of(world_get(&unwell->world, KEY_TASK, "d"), "state"), "failed");
    assert_null(drill_of(unwell));
}

static void put_live(struct core *c, const char *rows)
{
    _cleanup_free_ char *text = watch_of(++revision, rows);
    step(c, text, 1, NULL);
}

/* host2's brick as its last look found it. */
static void host2_lists(struct core *c, const char *brick)
{
    _cleanup_free_ char *row = str_printf("[\"/mortar/v1/seen/host2/pool/vms\",20,{\"brick\":{%s},\"mount\":{\"state\":"
                                          "\"mounted\",\"quorum\":true,\"bricks_up\":7}}]", brick);
    put_live(c, row);
}

/* A guest that writes may have a file listed for heal in the moment of the look. */
static void a_file_listed_at_one_look_delays_a_drill_until_the_next_one(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    revision = 22;
    host2_lists(c, "\"heal_pending_files\":1,\"heal_since_us\":9,\"heal_stays\":false");
    step(c, ASK, 1, NULL);
    step(c, TICK, 5 * USEC_PER_SEC, NULL);
    step(c, TICK, USEC_PER_SEC, NULL);
    assert_string_equal(json_text_of(drill_of(c), "state"), "listening");
    host2_lists(c, "\"heal_pending_files\":0");
    assert_string_equal(json_text_of(drill_of(c), "state"), "armed");

    _cleanup_(core_freep) struct core *unwell = covered();
    host2_lists(unwell, "\"heal_pending_files\":1,\"heal_since_us\":9,\"heal_stays\":false");
    step(unwell, ASK, 1, NULL);
    step(unwell, TICK, 5 * USEC_PER_SEC, NULL);
    host2_lists(unwell, "\"heal_pending_files\":1,\"heal_since_us\":9,\"heal_stays\":true");
    assert_string_equal(json_text_of(world_get(&unwell->world, KEY_TASK, "d"), "state"), "failed");
    assert_null(drill_of(unwell));
}

static void a_host_strikes_only_when_its_last_look_lists_nothing(void **state)
{
    _cleanup_(core_freep) struct core *c = armed(1000);
    revision = 22;
    host2_lists(c, "\"heal_pending_files\":1,\"heal_since_us\":9,\"heal_stays\":false");
    done(c, "drill/d/ready", "\"result\":{}");
    assert_false(is_asked(c, "drill/d/go"));
    assert_false(is_asked(c, "drill/d/refuse"));
    host2_lists(c, "\"heal_pending_files\":0");
    assert_true(is_asked(c, "drill/d/go"));

    _cleanup_(core_freep) struct core *unwell = armed(1000);
    host2_lists(unwell, "\"heal_pending_files\":1,\"heal_since_us\":9,\"heal_stays\":true");
    done(unwell, "drill/d/ready", "\"result\":{}");
    assert_true(is_asked(unwell, "drill/d/refuse"));
    assert_false(is_asked(unwell, "drill/d/go"));
}

/* The own look at a brick, that began @after_us after the last step and found @files. */
static const json_t *look_at_brick(struct core *c, uint64_t after_us, unsigned files)
{
    _cleanup_free_ char *found = str_printf("{\"ev\":\"done\",\"id\":\"observe/pool/vms\",\"result\":{\"brick\":{\"state\":"
                                            "\"ready\",\"heal_pending_files\":%u},\"mount\":{\"state\":\"mounted\"}}}", files);
    act_forget(c, "observe/pool/vms");
    tick(c, c->now_us + after_us);
    assert_true(act_find(c, "observe/pool/vms")->in_flight);
    assert_int_equal(core_world_step(c, found, c->now_us + 1, NULL), 0);
    return json_object_get(smap_get(&c->seen, "pool/vms"), "brick");
}

static void what_every_look_lists_for_five_seconds_stays(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    assert_false(json_bool_of(look_at_brick(c, USEC_PER_SEC, 2), "heal_stays", true));
    assert_false(json_bool_of(look_at_brick(c, 2 * USEC_PER_SEC, 3), "heal_stays", true)); /* asked for out of turn */
    assert_true(json_bool_of(look_at_brick(c, 4 * USEC_PER_SEC, 1), "heal_stays", false));
    assert_null(json_object_get(look_at_brick(c, USEC_PER_SEC, 0), "heal_stays"));
    assert_false(json_bool_of(look_at_brick(c, 10 * USEC_PER_SEC, 1), "heal_stays", true));
}

static void assert_compares_silence(const json_t *commit)
{
    static const char *const keys[] = {"/mortar/v1/silent/host1", "/mortar/v1/silent/host2", "/mortar/v1/silent/host3"};
    for (size_t k = 0; k < ELEMENTS(keys); k++) {
        bool is_compared = false;
        size_t i;
        json_t *pair;
        json_array_foreach(json_object_get(commit, "compares"), i, pair) {
            is_compared = is_compared || str_eq(json_string_value(json_array_get(pair, 0)), keys[k]);
        }
        assert_true(is_compared);
    }
}

static void what_fencers_do_not_hear_is_compared_when_a_drill_arms_and_when_it_goes(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    revision = 22;
    step(c, ASK, 1, NULL);
    _cleanup_json_ json_t *arm = asked(c, TICK, 5 * USEC_PER_SEC, "task/d/arm/arm");
    assert_compares_silence(arm);

    _cleanup_(core_freep) struct core *struck = armed(1000);
    _cleanup_json_ json_t *go = asked(struck, "{\"ev\":\"done\",\"id\":\"drill/d/ready\",\"result\":{}}", 1, "drill/d/go");
    assert_compares_silence(go);
}

static void a_drill_can_be_cancelled_until_the_strike(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    revision = 22;
    step(c, ASK, 1, NULL);
    step(c, TICK, 5 * USEC_PER_SEC, NULL);
    assert_string_equal(json_text_of(drill_of(c), "state"), "armed");
    step(c, "{\"ev\":\"request\",\"verb\":\"task.cancel\",\"task\":\"x\",\"args\":{\"id\":\"d\"}}", 1, NULL);
    step(c, TICK, USEC_PER_SEC, NULL);
    assert_string_equal(json_text_of(world_get(&c->world, KEY_TASK, "d"), "state"), "cancelled");
    assert_null(drill_of(c));
}

static void a_second_drill_waits_for_the_end_of_the_first(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    struct err e = {0};
    step(c, ASK, 1, NULL);
    assert_int_equal(core_world_step(c, "{\"ev\":\"request\",\"verb\":\"drill\",\"task\":\"e\",\"args\":{}}", c->now_us + 1, &e),
                     -ERR_BUSY);
    assert_true(e.hint[0]);
}

/* The record as the struck host leaves it, with @n older ones beside it. */
static void strike_with_older(struct core *c, unsigned n)
{
    json_t *next = json_deep_copy(drill_of(c));
    json_object_set_new(next, "state", json_string("struck"));
    json_object_set_new(next, "strike_ms", json_integer(7000));
    _cleanup_free_ char *text = json_format(next);
    _cleanup_free_ char *row = str_printf("[\"/mortar/v1/drill/d\",20,%s]", text);
    put_live(c, row);
    json_decref(next);
    for (unsigned i = 0; i < n; i++) {
        _cleanup_free_ char *old = str_printf("[\"/mortar/v1/drill/o%02u\",20,{\"id\":\"o\",\"state\":\"done\",\"started_ms\":%u}]",
                                              i, 100 + i);
        put_live(c, old);
    }
}

static void a_report_is_kept_and_the_oldest_beyond_ten_goes(void **state)
{
    revision = 22;
    _cleanup_(core_freep) struct core *c = covered();
    _cleanup_strv_ struct strv dels = {0};
    step(c, ASK, 1, NULL);
    step(c, TICK, 5 * USEC_PER_SEC, NULL);
    strike_with_older(c, DRILLS_KEPT);
    put_live(c, OWN("db1", "host1") "," RUNS("db1", "host1", ",\"ha\":true"));
    put_live(c, "[\"/mortar/v1/node/host2\",20,{\"name\":\"host2\",\"role\":\"converged\",\"state\":\"online\",\"inc\":2,"
               "\"mgmt\":\"10.0.0.2\",\"storage\":\"10.0.0.2\"}]");
    for (int i = 0; i < 12 && !str_eq(phase_of(c), "report"); i++) {
        step(c, TICK, USEC_PER_SEC, NULL);
    }
    assert_string_equal(phase_of(c), "report");
    step(c, "{\"ev\":\"done\",\"id\":\"task/d/report/gather\",\"result\":{\"host\":\"host2\"}}", 1, &dels);
    step(c, TICK, USEC_PER_SEC, &dels);
    assert_string_equal(json_text_of(drill_of(c), "state"), "done");
    assert_string_equal(json_text_of(world_get(&c->world, KEY_TASK, "d"), "state"), "done");
    assert_true(strv_has(&dels, "/mortar/v1/drill/o00") && dels.n == 1);
    _cleanup_json_ json_t *list = drill_list(c);
    const json_t *items = json_object_get(list, "items");
    assert_int_equal(json_array_size(items), DRILLS_KEPT);
    assert_string_equal(json_text_of(json_array_get(items, 0), "id"), "d");
    assert_int_equal(json_u64_of(json_array_get(items, DRILLS_KEPT - 1), "started_ms", 0), 101);
}

/* --- guests -------------------------------------------------------------------------------- */

#define HEARD(first, last, wrote_first, wrote_last, stall) \
    "\"result\":{\"vms\":{\"db1\":{\"first_ms\":" first ",\"last_ms\":" last ",\"wrote_first_ms\":" wrote_first \
    ",\"wrote_last_ms\":" wrote_last ",\"stall_ms\":" stall "}}}"

static uint64_t heard(const struct core *c, const char *field)
{
    return json_u64_of(json_object_get(json_object_get(smap_get(&c->seen, "beats"), "vms"), "db1"), field, 0);
}

static void stalls_count_from_the_strike_on_also_between_windows(void **state)
{
    _cleanup_(core_freep) struct core *c = covered();
    _cleanup_free_ char *before = drill_row("armed", 1000, "");
    _cleanup_free_ char *rows = str_printf(TASK ",%s", before);
    put(c, 21, rows);
    done(c, DRILL_LISTEN, HEARD("500", "1400", "510", "1390", "9000"));
    _cleanup_free_ char *struck = drill_row("struck", 1000, ",\"strike_ms\":1500,\"instance\":\"x\"");
    put(c, 22, struck);
    done(c, DRILL_LISTEN, HEARD("1600", "1900", "1600", "1850", "40"));
    assert_int_equal(heard(c, "stall_ms"), 210); /* 1390 to 1600 */
    done(c, DRILL_LISTEN, "\"result\":{\"vms\":{}}");
    done(c, DRILL_LISTEN, HEARD("2000", "4000", "0", "0", "0")); /* it beats, but no write is acknowledged */
    assert_int_equal(heard(c, "stall_ms"), 2150);
    done(c, DRILL_LISTEN, HEARD("4010", "5000", "4900", "4990", "20"));
    assert_int_equal(heard(c, "stall_ms"), 3050); /* 1850 to 4900 */
    assert_int_equal(heard(c, "first_ms"), 500);
}

static void take(struct beats *b, const char *text, uint64_t now_ms)
{
    beats_take(b, text, strlen(text), now_ms);
}

static void beats_are_heard_whatever_pieces_they_come_in(void **state)
{
    struct beats b = {0};
    take(&b, "k 1 mono_ns=1 issued=9 acked=900\nti", 100); /* the end of a line whose beginning was missed */
    assert_int_equal(b.first_ms, 0);
    take(&b, "ck 2 mono_ns=1 issued=5 ac", 200);
    take(&b, "ked=4 flushed=1\n", 210);
    assert_int_equal(b.first_ms, 210);
    assert_int_equal(b.wrote_first_ms, 0);
    take(&b, "hello\ntick 3 mono_ns=2 issued=6 acked=5 flushed=1\ntick 4\n", 450);
    take(&b, "tick 5 mono_ns=3 issued=9 acked=5 flushed=1\n", 900);
    take(&b, "tick 6 mono_ns=3 issued=9 acked=8 flushed=1\n", 1450);
    take(&b, "tick 7 mono_ns=3 issued=9 acked=9", 2000);
    assert_int_equal(b.last_ms, 1450);
    assert_int_equal(b.wrote_first_ms, 450);
    assert_int_equal(b.wrote_last_ms, 1450);
    assert_int_equal(b.stall_ms, 1000);
}

static void a_line_of_any_length_does_no_harm(void **state)
{
    struct beats b = {0};
    take(&b, "tick 1 ", 10);
    for (int i = 0; i < 100; i++) {
        take(&b, "xxxxxxxxxx", 10);
    }
    take(&b, " acked=5\ntick 2 acked=99999999999999999999999\ntick 3 acked=\n", 20);
    assert_int_equal(b.last_ms, 20);
}

/* --- the report ---------------------------------------------------------------------------- */

static json_t *parse(const char *name)
{
    _cleanup_free_ char *path = str_printf("why/%s", name);
    _cleanup_free_ char *text = golden_read(path);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    return j;
}

static void a_report_has_each_step_of_each_machine(void **state)
{
    _cleanup_json_ json_t *failover = parse("failover.json");
    _cleanup_json_ json_t *drill = json_loads(
        "{\"host\":\"host1\",\"kind\":\"power\",\"strike_ms\":1789999997000,\"vms\":[{\"vm\":\"demo\",\"channel\":true},{"
        "\"vm\":\"web\"},{\"vm\":\"none\"}],\"stay\":[{\"vm\":\"calm\",\"host\":\"host2\"},{\"vm\":\"mute\",\"host\":\"host2\"}]}",
        0, NULL);
    _cleanup_json_ json_t *beats = json_loads(
        "{\"host2\":{\"demo\":{\"first_ms\":1790000009000,\"last_ms\":1790000012000,\"stall_ms\":30},\"calm\":{\"first_ms\":"
        "1789999990000,\"last_ms\":1790000012000,\"wrote_last_ms\":1790000012000,\"stall_ms\":1200},\"mute\":{\"first_ms\":5,"
        "\"last_ms\":1790000012000,\"wrote_last_ms\":0,\"stall_ms\":0}}}", 0, NULL);
    _cleanup_json_ json_t *report = drill_report(drill, beats, json_object_get(failover, "parts"));
    assert_non_null(report);
    _cleanup_free_ char *text = json_dumps(report, JSON_INDENT(1));
    golden_check("why/report.txt", text);
}

static void a_report_of_nothing_says_null(void **state)
{
    _cleanup_json_ json_t *drill = json_loads("{\"host\":\"host1\",\"kind\":\"hang\",\"strike_ms\":5,\"vms\":[{\"vm\":\"v\"}],"
                                              "\"stay\":[]}", 0, NULL);
    _cleanup_json_ json_t *parts = json_array();
    _cleanup_json_ json_t *report = drill_report(drill, NULL, parts);
    assert_non_null(report);
    assert_true(json_is_null(json_object_get(report, "fenced_ms")));
    const json_t *vm = json_array_get(json_object_get(report, "vms"), 0);
    assert_true(json_is_null(json_object_get(vm, "guest_ms")) && json_is_null(json_object_get(vm, "guest_by")));

    _cleanup_json_ json_t *same = json_loads(
        "[{\"host\":\"a\",\"items\":[{\"at\":3,\"k\":\"own\",\"vm\":\"v\",\"owner\":\"x\",\"epoch\":1,\"rev\":1},{\"at\":900,\"k\":"
        "\"own\",\"vm\":\"v\",\"owner\":\"host1\",\"was\":\"host1\",\"epoch\":2,\"rev\":2}]}]", 0, NULL);
    _cleanup_json_ json_t *stayed = drill_report(drill, NULL, same);
    const json_t *there = json_array_get(json_object_get(stayed, "vms"), 0);
    assert_string_equal(json_text_of(there, "to"), "host1");
    assert_int_equal(json_u64_of(there, "owner_ms", 0), 895);

    _cleanup_json_ json_t *failover = parse("failover.json"); /* one of before the strike */
    json_object_set_new(drill, "strike_ms", json_integer(1790000090000));
    _cleanup_json_ json_t *later = drill_report(drill, NULL, json_object_get(failover, "parts"));
    assert_true(json_is_null(json_object_get(later, "silent_ms")) && json_is_null(json_object_get(later, "back_ms")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drill_is_planned_when_all_is_well_and_says_what_it_does),
        cmocka_unit_test(a_drill_is_refused_with_the_reason_and_the_next_step),
        cmocka_unit_test(what_this_host_sees_refuses_a_drill_too),
        cmocka_unit_test(a_host_strikes_when_its_own_commit_said_so),
        cmocka_unit_test(a_later_life_never_strikes),
        cmocka_unit_test(a_host_that_hears_too_late_or_cannot_refuses),
        cmocka_unit_test(without_a_running_task_nobody_listens_or_strikes),
        cmocka_unit_test(a_drill_listens_first_and_arms_only_when_all_is_still_well),
        cmocka_unit_test(a_file_listed_at_one_look_delays_a_drill_until_the_next_one),
        cmocka_unit_test(a_host_strikes_only_when_its_last_look_lists_nothing),
        cmocka_unit_test(what_every_look_lists_for_five_seconds_stays),
        cmocka_unit_test(what_fencers_do_not_hear_is_compared_when_a_drill_arms_and_when_it_goes),
        cmocka_unit_test(a_drill_can_be_cancelled_until_the_strike),
        cmocka_unit_test(a_second_drill_waits_for_the_end_of_the_first),
        cmocka_unit_test(a_report_is_kept_and_the_oldest_beyond_ten_goes),
        cmocka_unit_test(stalls_count_from_the_strike_on_also_between_windows),
        cmocka_unit_test(beats_are_heard_whatever_pieces_they_come_in),
        cmocka_unit_test(a_line_of_any_length_does_no_harm),
        cmocka_unit_test(a_report_has_each_step_of_each_machine),
        cmocka_unit_test(a_report_of_nothing_says_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
