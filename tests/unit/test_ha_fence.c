/* SPDX-License-Identifier: Apache-2.0
 * What a brick host does first when another one is being fenced (facts/ha.md A8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core_actions.h"
#include "core_well.h"

#define FENCING                                                                                      \
    ROW("node/host2", "{\"name\":\"host2\",\"role\":\"converged\",\"state\":\"fencing\",\"inc\":1,\"boot_id\":" \
        "\"b\",\"mgmt\":\"10.0.0.2\",\"storage\":\"10.0.0.2\"}")
#define ALLOWED ROW("open/host1", "{\"hosts\":{\"host3\":1},\"instance\":\"i\"}")

/* Words of all actions of a step that change the table. */
static char *table_actions(struct core *c, const char *text, uint64_t at_us)
{
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    struct sbuf b = {0};
    size_t i;
    json_t *a;
    assert_non_null(event);
    assert_int_equal(core_step(c, event, at_us, at_us, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        if (strncmp(json_text_of(a, "do"), "fence.", 6) == 0) {
            sbuf_printf(&b, "%s ", json_text_of(a, "do"));
        }
    }
    json_decref(actions);
    return b.len ? sbuf_take(&b) : str_dup("");
}

static void expect(struct core *c, const char *text, uint64_t at_us, const char *expected)
{
    _cleanup_free_ char *done = table_actions(c, text, at_us);
    assert_string_equal(done, expected);
}

/* host1's table is open to all, and host2 is being fenced; the commit that lets nobody but host3 in was made. */
static struct core *fencing(void)
{
    struct core *c = well();
    see(c, "ha/table", "{\"open\":{\"host2\":1,\"host3\":1}}");
    expect(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_POOL "," FENCING "," ALLOWED "],\"dels\":[]}",
           2 * USEC_PER_SEC, "");
    return c;
}

static const char tick_event[] = "{\"ev\":\"tick\"}";

static void a_data_brick_closes_after_the_arbiter_and_by_the_cut_alone(void **state)
{
    _cleanup_(core_freep) struct core *c = fencing();
    expect(c, "{\"ev\":\"watch\",\"revision\":21,\"puts\":[[\"/mortar/v1/cut/host2/1/host3\",21,{}]],\"dels\":[]}",
           2 * USEC_PER_SEC + 10000, "fence.cut ");
    expect(c, tick_event, 2 * USEC_PER_SEC + 200000, "");
    expect(c, "{\"ev\":\"done\",\"id\":\"ha/fence/host2/1/cut\",\"result\":{}}", 2 * USEC_PER_SEC + 210000,
           "fence.drain fence.table ");
}

static void a_data_brick_does_not_wait_for_ever_for_the_arbiter(void **state)
{
    _cleanup_(core_freep) struct core *c = fencing();
    expect(c, tick_event, 2 * USEC_PER_SEC + 200000, "");
    expect(c, tick_event, 2 * USEC_PER_SEC + 400000, "fence.cut ");
}

static const char table_event[] = "{\"ev\":\"table\"}";
static const char table_stands[] =
    "{\"ev\":\"done\",\"id\":\"ha/table\",\"result\":{\"open\":{\"host3\":1},\"changed\":false}}";
static const char table_was_gone[] =
    "{\"ev\":\"done\",\"id\":\"ha/table\",\"result\":{\"open\":{\"host3\":1},\"changed\":true}}";

#define CUT_DONE(changed) "{\"ev\":\"done\",\"id\":\"ha/fence/host2/1/cut\",\"result\":{\"changed\":" changed "}}"
#define DRAINED "{\"ev\":\"done\",\"id\":\"ha/fence/host2/1/drain\",\"result\":[]}"
#define ARBITER_HAS_CUT                                                                                            \
    "{\"ev\":\"watch\",\"revision\":21,\"puts\":[[\"/mortar/v1/cut/host2/1/host3\",21,{}]],\"dels\":[]}"

/* host2 is cut off, and its writes are drained; the table, which the cut has closed, is being looked at. */
static struct core *drained(uint64_t at_us)
{
    struct core *c = fencing();
    expect(c, ARBITER_HAS_CUT, at_us, "fence.cut ");
    expect(c, CUT_DONE("false"), at_us + 1, "fence.drain fence.table ");
    expect(c, DRAINED, at_us + 3, "");
    return c;
}

/* As drained(), and the table was found as it was to be. */
static struct core *cut_off(uint64_t at_us)
{
    struct core *c = drained(at_us);
    expect(c, table_stands, at_us + 4, "");
    return c;
}

/* "nft flush ruleset" lets a host in that is cut off. */
static void the_table_is_looked_at_as_soon_as_somebody_has_touched_it(void **state)
{
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = cut_off(at_us);
    expect(c, tick_event, at_us + USEC_PER_SEC, "");
    expect(c, table_event, at_us + USEC_PER_SEC + 1, "fence.table ");
    expect(c, table_event, at_us + USEC_PER_SEC + 2, ""); /* while it is looked at: once more afterwards, not at once */
    expect(c, table_stands, at_us + USEC_PER_SEC + 3, "");
    expect(c, tick_event, at_us + USEC_PER_SEC + 100003, "fence.table ");
    expect(c, table_stands, at_us + USEC_PER_SEC + 100004, "");
    expect(c, tick_event, at_us + 12 * USEC_PER_SEC, "fence.table ");
}

/* Meanwhile the host may have come through: what was proved before proves nothing any more. */
static void a_table_that_was_taken_away_is_followed_by_another_cut_and_drain(void **state)
{
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = cut_off(at_us);
    expect(c, table_event, at_us + USEC_PER_SEC, "fence.table ");
    expect(c, table_was_gone, at_us + USEC_PER_SEC + 1, "fence.cut ");
    expect(c, CUT_DONE("false"), at_us + USEC_PER_SEC + 2, "fence.drain ");
}

/* The first look after a cut has let in fewer than the one before it: also then it may have been another hand. */
static void a_table_that_was_gone_at_the_first_look_after_a_cut_is_followed_by_another_one(void **state)
{
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = drained(at_us);
    expect(c, table_was_gone, at_us + 4, "fence.cut ");
}

/* Who finds the table gone within the cut of one host cuts the others once more. */
static void a_cut_that_finds_the_table_gone_has_the_others_cut_again(void **state)
{
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = cut_off(at_us);
    expect(c, "{\"ev\":\"watch\",\"revision\":22,\"puts\":[[\"/mortar/v1/node/host4\",22,{\"name\":\"host4\",\"role\":\"compute\","
              "\"state\":\"fencing\",\"inc\":1,\"boot_id\":\"b\",\"mgmt\":\"10.0.0.4\",\"storage\":\"10.0.0.4\"}],"
              "[\"/mortar/v1/cut/host4/1/host3\",22,{}]],\"dels\":[]}", at_us + 5, "fence.cut ");
    expect(c, "{\"ev\":\"done\",\"id\":\"ha/fence/host4/1/cut\",\"result\":{\"changed\":true}}", at_us + 6, "fence.cut fence.drain ");
}

/* The commit that allows a table may be long in coming, or the store away: closing needs none. */
static void a_touched_table_is_looked_at_without_the_store(void **state)
{
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = cut_off(at_us);
    expect(c, "{\"ev\":\"watch\",\"revision\":22,\"puts\":[[\"/mortar/v1/open/host1\",22,{\"hosts\":{},\"instance\":\"i\"}]],"
              "\"dels\":[]}", at_us + 5, "");
    expect(c, "{\"ev\":\"lost\"}", at_us + 6, "");
    expect(c, table_event, at_us + USEC_PER_SEC, "fence.table ");
}

static bool acknowledges(struct core *c, const char *text, uint64_t at_us)
{
    _cleanup_json_ json_t *actions = actions_of(c, text, at_us);
    return action_of(actions, "ha/fence/host2/1/ack");
}

/* What is known to have been touched may have been gone: the acknowledgement waits for the look, but no longer than a second. */
static void nobody_acknowledges_while_the_table_is_in_doubt(void **state)
{
    static const char denied[] = "{\"ev\":\"guard\",\"status\":{\"instance\":\"g\",\"peers\":{\"host2\":{\"denied_inc\":1,"
                                 "\"denial_over\":true}}}}";
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *sure = cut_off(at_us);
    assert_true(acknowledges(sure, denied, at_us + 10));
    _cleanup_(core_freep) struct core *c = cut_off(at_us);
    expect(c, table_event, at_us + USEC_PER_SEC, "fence.table ");
    assert_false(acknowledges(c, denied, at_us + USEC_PER_SEC + 1));
    assert_true(acknowledges(c, table_stands, at_us + USEC_PER_SEC + 2));
    _cleanup_(core_freep) struct core *late = cut_off(at_us);
    expect(late, table_event, at_us + USEC_PER_SEC, "fence.table ");
    assert_false(acknowledges(late, denied, at_us + USEC_PER_SEC + 1));
    assert_true(acknowledges(late, tick_event, at_us + 2 * USEC_PER_SEC + 1));
}

/* A drain that was under way when the cut had to be made once more tells nothing of who came through between. */
static void a_drain_counts_only_when_it_was_begun_after_the_cut(void **state)
{
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = fencing();
    expect(c, ARBITER_HAS_CUT, at_us, "fence.cut ");
    expect(c, CUT_DONE("false"), at_us + 1, "fence.drain fence.table ");
    expect(c, table_was_gone, at_us + 4, "fence.cut ");
    expect(c, CUT_DONE("false"), at_us + 5, "");
    expect(c, DRAINED, at_us + 6, "fence.drain ");
}

/* A brick that could not prove it may do so at the next try: everything waits for that. */
static void a_drain_that_fails_is_asked_for_again_each_five_seconds(void **state)
{
    static const char failed[] = "{\"ev\":\"done\",\"id\":\"ha/fence/host2/1/drain\",\"error\":{\"name\":\"call.timeout\",\"message\":"
                                 "\"still 1 operations\"}}";
    uint64_t at_us = 3 * USEC_PER_SEC;
    _cleanup_(core_freep) struct core *c = fencing();
    expect(c, ARBITER_HAS_CUT, at_us, "fence.cut ");
    expect(c, CUT_DONE("false"), at_us, "fence.drain fence.table ");
    for (int i = 0; i < 10; i++) {
        _cleanup_free_ char *early = table_actions(c, failed, at_us + 3 * USEC_PER_SEC);
        assert_null(strstr(early, "fence.drain"));
        at_us += 5 * USEC_PER_SEC;
        _cleanup_free_ char *again = table_actions(c, tick_event, at_us);
        assert_non_null(strstr(again, "fence.drain"));
    }
}

/* The open record that the commit of the step asks for, as text; "" without one. */
static char *asks_for(struct core *c, const char *text, uint64_t at_us)
{
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    char *found = NULL;
    size_t i;
    json_t *a;
    assert_int_equal(core_step(c, event, at_us, at_us, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        const json_t *puts = json_object_get(json_object_get(a, "args"), "puts");
        const json_t *open = json_object_get(puts, "/mortar/v1/open/host1");
        found = open ? json_format(json_object_get(open, "hosts")) : found;
    }
    json_decref(actions);
    return found ? found : str_dup("");
}

static void who_has_booted_lets_nobody_in_before_its_record_says_so(void **state)
{
    static const char node[] =
        "{\"ev\":\"watch\",\"revision\":%d,\"puts\":[[\"/mortar/v1/node/host1\",%d,{\"name\":\"host1\",\"role\":"
        "\"converged\",\"state\":\"%s\",\"inc\":1,\"boot_id\":\"%s\",\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\"}]]"
        ",\"dels\":[]}";
    static const struct {
        const char *state;
        const char *boot_id;
        const char *hosts;
    } cases[] = {
        {"online", "an earlier one", "{}"},
        {"fenced", "an earlier one", "{}"},
        {"online", "b", "{\"host2\":1,\"host3\":1}"},
        {"joining", "", "{\"host2\":1,\"host3\":1}"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(core_freep) struct core *c = well();
        _cleanup_free_ char *text = str_printf(node, 21, 21, cases[i].state, cases[i].boot_id);
        c->store_is_lost = true;
        free(asks_for(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_POOL "],\"dels\":[]}", 2 * USEC_PER_SEC));
        free(asks_for(c, text, 3 * USEC_PER_SEC));
        c->store_is_lost = false;
        (void)smap_del(&c->attempts, "ha/ask");
        _cleanup_free_ char *hosts = asks_for(c, tick_event, 4 * USEC_PER_SEC);
        assert_string_equal(hosts, cases[i].hosts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_data_brick_closes_after_the_arbiter_and_by_the_cut_alone),
        cmocka_unit_test(the_table_is_looked_at_as_soon_as_somebody_has_touched_it),
        cmocka_unit_test(a_table_that_was_taken_away_is_followed_by_another_cut_and_drain),
        cmocka_unit_test(a_table_that_was_gone_at_the_first_look_after_a_cut_is_followed_by_another_one),
        cmocka_unit_test(a_cut_that_finds_the_table_gone_has_the_others_cut_again),
        cmocka_unit_test(a_touched_table_is_looked_at_without_the_store),
        cmocka_unit_test(nobody_acknowledges_while_the_table_is_in_doubt),
        cmocka_unit_test(a_drain_that_fails_is_asked_for_again_each_five_seconds),
        cmocka_unit_test(a_drain_counts_only_when_it_was_begun_after_the_cut),
        cmocka_unit_test(a_data_brick_does_not_wait_for_ever_for_the_arbiter),
        cmocka_unit_test(who_has_booted_lets_nobody_in_before_its_record_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
