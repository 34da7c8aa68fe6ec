/* SPDX-License-Identifier: Apache-2.0
 * A host that was fenced and comes back without a boot ends its own bricks first: what they had received before
 * would land when they count again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/alarms.h"
#include "core/ha/ha.h"
#include "core_fenced.h"

#define END "ha/fence/host1/1/end"
#define DONE(id) "{\"ev\":\"done\",\"id\":\"" id "\",\"result\":{}}"
#define FAILED(id) "{\"ev\":\"done\",\"id\":\"" id "\",\"error\":{\"name\":\"call.timeout\",\"message\":\"it hangs\"}}"

static const char tick_event[] = "{\"ev\":\"tick\"}";

/* host1's core; host1 itself is in @state, and boot @boot_id was the last in which it was in good standing. */
static struct core *world_of(const char *role, const char *state, const char *boot_id)
{
    struct core *c = fenced_world(FENCED_VM("x", "stopped", "", "stopped"));
    _cleanup_free_ char *rows = str_printf(
        "[\"/mortar/v1/node/host1\",20,{\"name\":\"host1\",\"role\":\"%s\",\"state\":\"%s\",\"inc\":1,\"boot_id\":\"%s\","
        "\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\"}],[\"/mortar/v1/pool/local\",20,{\"name\":\"local\",\"kind\":"
        "\"dir\",\"state\":\"ready\",\"bricks\":[{\"host\":\"host1\",\"path\":\"/l\"}]}],[\"/mortar/v1/pool/more\",20,{\"name\":"
        "\"more\",\"kind\":\"gluster\",\"state\":\"ready\",\"bricks\":[{\"host\":\"host1\",\"path\":\"/m\"}]}]", role, state, boot_id);
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 20, rows, 2 * USEC_PER_SEC);
    c->store_is_lost = false;
    json_decref(actions_of(c, tick_event, 2 * USEC_PER_SEC));
    json_decref(actions_of(c, DONE("ha/sentence/20"), 2 * USEC_PER_SEC)); /* the store has compared the record */
    (void)smap_del(&c->attempts, "ha/clean/1"); /* what was decided all the same is asked for again */
    (void)smap_del(&c->attempts, "ha/start");
    smap_put(&c->seen, "domains", json_object());
    c->domains_at_us = 4 * USEC_PER_SEC;
    return c;
}

/* Which of the actions that matter here one step asks for, in their order. */
static char *asked(struct core *c, const char *event, uint64_t now_us)
{
    static const char *const names[] = {"host.clean", "host.end_bricks", "host.start_bricks"};
    _cleanup_json_ json_t *actions = actions_of(c, event, now_us);
    struct sbuf b = {0};
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        for (size_t k = 0; k < ELEMENTS(names); k++) {
            if (str_eq(json_text_of(a, "do"), names[k])) {
                sbuf_printf(&b, "%s ", names[k]);
            }
        }
        if (str_eq(json_text_of(a, "id"), "ha/t9")) {
            sbuf_printf(&b, "T9 ");
        }
    }
    return b.len ? sbuf_take(&b) : str_dup("");
}

static void expect(struct core *c, const char *event, uint64_t now_us, const char *expected)
{
    _cleanup_free_ char *found = asked(c, event, now_us);
    assert_string_equal(found, expected);
}

static void t9_waits_for_the_end_of_all_own_bricks(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "fenced", "b");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.clean ");
    expect(c, DONE("ha/clean/1"), 6 * USEC_PER_SEC, "host.end_bricks ");
    expect(c, tick_event, 7 * USEC_PER_SEC, "");
    expect(c, DONE(END), 8 * USEC_PER_SEC, "T9 ");
}

static void bricks_are_ended_with_failover_and_without_and_no_directory(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "fenced", "b");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.clean ");
    _cleanup_json_ json_t *actions = actions_of(c, DONE("ha/clean/1"), 6 * USEC_PER_SEC);
    json_t *volumes = NULL;
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        volumes = str_eq(json_text_of(a, "id"), END) ? json_object_get(json_object_get(a, "args"), "volumes") : volumes;
    }
    assert_int_equal(json_array_size(volumes), 2);
    assert_string_equal(json_text_of(json_array_get(volumes, 0), "volume"), "more");
    assert_string_equal(json_text_of(json_object_get(json_array_get(volumes, 1), "brick"), "path"), "/b");
}

static void nothing_is_ended_before_all_others_have_cut_the_host_off(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "fencing", "b");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.clean ");
    expect(c, DONE("ha/clean/1"), 6 * USEC_PER_SEC, "");
}

static void mounts_are_killed_while_a_guest_does_not_end_and_bricks_are_not(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "fenced", "b");
    see(c, "domains", "{\"x\":{\"state\":\"running\",\"epoch\":5}}");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.clean ");
    expect(c, DONE("ha/clean/1"), 6 * USEC_PER_SEC, "");
    see(c, "domains", "{}");
    expect(c, tick_event, 7 * USEC_PER_SEC, "host.end_bricks ");
}

static void after_a_boot_there_is_nothing_to_end(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "fenced", "an earlier one");
    expect(c, tick_event, 5 * USEC_PER_SEC, "T9 ");
}

static void a_host_that_runs_no_machines_does_so_too(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("witness", "fenced", "b");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.clean ");
    expect(c, DONE("ha/clean/1"), 6 * USEC_PER_SEC, "host.end_bricks ");
}

static void what_was_ended_is_started_after_t9_and_again_after_a_new_agent(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "rejoining", "b");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.start_bricks ");
    expect(c, DONE("ha/start"), 6 * USEC_PER_SEC, "");
    expect(c, tick_event, 17 * USEC_PER_SEC, "host.start_bricks ");
}

static void a_brick_that_does_not_end_is_told_of_until_it_does(void **state)
{
    _cleanup_(core_freep) struct core *c = world_of("converged", "fenced", "b");
    expect(c, tick_event, 5 * USEC_PER_SEC, "host.clean ");
    expect(c, DONE("ha/clean/1"), 6 * USEC_PER_SEC, "host.end_bricks ");
    expect(c, FAILED(END), 7 * USEC_PER_SEC, "");
    assert_string_equal(json_text_of(json_array_get(c->facts, 0), "what"), "end");
    assert_string_equal(ha_return_waits(c, "host1"), "it hangs");
    _cleanup_json_ json_t *alarms = alarms_list(c);
    size_t i;
    json_t *a;
    bool is_told = false;
    json_array_foreach(alarms, i, a) {
        is_told = is_told || str_eq(json_text_of(a, "alarm"), "host.waits");
    }
    assert_true(is_told);
    expect(c, tick_event, 9 * USEC_PER_SEC, "host.end_bricks ");
    assert_string_equal(ha_return_waits(c, "host1"), "it hangs");
    expect(c, DONE(END), 10 * USEC_PER_SEC, "T9 ");
    assert_null(ha_return_waits(c, "host1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t9_waits_for_the_end_of_all_own_bricks),
        cmocka_unit_test(bricks_are_ended_with_failover_and_without_and_no_directory),
        cmocka_unit_test(nothing_is_ended_before_all_others_have_cut_the_host_off),
        cmocka_unit_test(mounts_are_killed_while_a_guest_does_not_end_and_bricks_are_not),
        cmocka_unit_test(after_a_boot_there_is_nothing_to_end),
        cmocka_unit_test(a_host_that_runs_no_machines_does_so_too),
        cmocka_unit_test(what_was_ended_is_started_after_t9_and_again_after_a_new_agent),
        cmocka_unit_test(a_brick_that_does_not_end_is_told_of_until_it_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
