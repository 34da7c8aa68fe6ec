/* SPDX-License-Identifier: Apache-2.0
 * When a host that does not reach its guests' disks says that it is out (case 7); the simulator plays the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/ha/timing.h"
#include "core_fenced.h"

#define DUE_US (30 * USEC_PER_SEC)
#define CUT "{\"mount\":{\"state\":\"mounted\",\"quorum\":false,\"bricks_up\":1}}"
#define WELL "{\"mount\":{\"state\":\"mounted\",\"quorum\":true,\"bricks_up\":7}}"
#define HERE(desired, freezable) HERE_AS(desired, freezable, "")
/* @more: fields of the spec, ",\"ha\":\"stay\"" */
#define HERE_AS(desired, freezable, more)                                                          \
    "[\"/mortar/v1/vm/x/spec\",30,{\"name\":\"x\",\"uuid\":\"u-x\",\"desired\":\"" desired "\",\"pool\":\"vms\"" more "}]," \
    "[\"/mortar/v1/vm/x/own\",30,{\"owner\":\"host1\",\"inc\":1,\"epoch\":5,\"mig\":null}],"        \
    "[\"/mortar/v1/vm/x/act\",30,{\"state\":\"running\",\"host\":\"host1\",\"epoch\":5,\"ha\":" freezable "}]"

#define BEAT(instance) \
    "[\"/mortar/v1/seen/host2/host\",31,{\"cpus\":8,\"kvm\":true,\"memory_free_bytes\":4294967296,\"instance\":\"" instance "\"}]"
#define LOOKED "[\"/mortar/v1/seen/host2/pool/vms\",31," WELL "]"
#define LOOKED_IN_VAIN "[\"/mortar/v1/seen/host2/pool/vms\",31," CUT "]"

/* Does host1 do T1 on itself, 20 s after its mount was seen as @mine says and host2's as @others? */
static bool gives_up_when(const char *mine, const char *others, const char *vm, const char *beat)
{
    bool is_found = false;
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host2"));
    json_object_set_new(node, "state", json_string("online"));
    _cleanup_free_ char *text = json_format(node);
    _cleanup_free_ char *rows = str_printf("[\"/mortar/v1/node/host2\",30,%s],[\"/mortar/v1/seen/host2/pool/vms\",30,%s],%s",
                                           text, others, vm);
    json_decref(node);
    see(c, "pool/vms", mine);
    see(c, "reach", "{\"host2\":false,\"host3\":false}"); /* nobody answers on the network that is down */
    see(c, "domains", "{\"x\":{\"state\":\"running\",\"reason\":\"x\",\"epoch\":5}}");
    fenced_watch(c, 29, "[\"/mortar/v1/open/host2\",29,{\"hosts\":{},\"instance\":\"i\"}]", 2 * USEC_PER_SEC);
    fenced_watch(c, 30, rows, DUE_US - HA_STRANDED_US);
    if (beat) { /* 16 s after it must have noticed, too */
        fenced_watch(c, 31, beat, DUE_US - 4 * USEC_PER_SEC);
    }
    for (int i = 0; i < 2; i++) {
        _cleanup_json_ json_t *actions =
            actions_of(c, "{\"ev\":\"tick\"}", i ? DUE_US : DUE_US - 100 * USEC_PER_MSEC);
        is_found = action_find(actions, "id", "ha/stranded") != NULL;
        assert_false(is_found && i == 0); /* not before 20 s are over */
    }
    return is_found;
}

static bool gives_up(const char *mine, const char *others, const char *vm)
{
    return gives_up_when(mine, others, vm, BEAT("i"));
}

/* Agents that are stopped leave what they said in the store. */
static void the_word_of_an_agent_that_has_not_spoken_since_is_not_taken(void **state)
{
    assert_false(gives_up_when(CUT, WELL, HERE("running", "true"), NULL));
    assert_false(gives_up_when(CUT, WELL, HERE("running", "true"), BEAT("j"))); /* it has begun anew, and not looked yet */
    assert_true(gives_up_when(CUT, WELL, HERE("running", "true"), LOOKED));
    assert_false(gives_up_when(CUT, WELL, HERE("running", "true"), LOOKED_IN_VAIN));
}

static void only_who_is_alone_cut_off_from_a_running_guests_disk_gives_up(void **state)
{
    assert_true(gives_up(CUT, WELL, HERE("running", "true")));
    assert_false(gives_up(WELL, WELL, HERE("running", "true")));
    assert_false(gives_up(CUT, CUT, HERE("running", "true"))); /* the others would have no better luck */
    assert_false(gives_up(CUT, WELL, HERE("stopped", "true")));
    assert_false(gives_up(CUT, WELL, HERE("running", "false"))); /* it could not be started elsewhere */
    assert_false(gives_up(CUT, WELL, HERE_AS("running", "true", ",\"ha\":\"stay\"")));
    assert_false(gives_up(CUT, WELL, HERE_AS("running", "true", ",\"ha\":\"none\""))); /* it would stay down */
    assert_false(gives_up(CUT, WELL, HERE_AS("running", "true", ",\"memory_bytes\":1099511627776"))); /* no room */
}

/* Seed 5001886: two hosts that were being fenced waited for each other's acknowledgement for ever. */
static void nobody_gives_up_while_another_brick_host_is_not_there(void **state)
{
    static const char *const fields[] = {"\"state\":\"fencing\"", "\"state\":\"rejoining\"",
                                         "\"state\":\"online\",\"flush\":true"};
    for (size_t i = 0; i < ELEMENTS(fields); i++) {
        _cleanup_free_ char *rows = str_printf(
            HERE("running", "true") ",[\"/mortar/v1/node/host3\",30,{\"name\":\"host3\",\"role\":\"witness\",\"inc\":1,"
            "\"boot_id\":\"b\",\"mgmt\":\"10.0.0.3\",\"storage\":\"10.0.0.3\",%s}]", fields[i]);
        assert_false(gives_up(CUT, WELL, rows));
    }
}

static void who_only_does_not_answer_in_time_does_not(void **state)
{
    assert_false(gives_up("{\"mount\":{\"state\":\"hanging\"}}", WELL, HERE("running", "true")));
    assert_false(gives_up("{\"mount\":{\"state\":\"absent\"}}", WELL, HERE("running", "true")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_is_alone_cut_off_from_a_running_guests_disk_gives_up),
        cmocka_unit_test(the_word_of_an_agent_that_has_not_spoken_since_is_not_taken),
        cmocka_unit_test(nobody_gives_up_while_another_brick_host_is_not_there),
        cmocka_unit_test(who_only_does_not_answer_in_time_does_not),
    };
    return cmocka_run_group_tests_name("stranded", tests, NULL, NULL);
}
