/* SPDX-License-Identifier: Apache-2.0
 * Whose turn it is to say that a host is out (T1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/ha/timing.h"
#include "core_actions.h"
#include "core_well.h"

#define SAYS(host, other) ROW("silent/" host, "{\"hosts\":[\"" other "\"],\"inc\":1}")
#define DUE_US (20 * USEC_PER_SEC)

static bool does_t1(struct core *c, const char *text, uint64_t at_us)
{
    _cleanup_json_ json_t *actions = actions_of(c, text, at_us);
    return action_find(actions, "id", "ha/t1/") != NULL;
}

/* When after both reports does @host say that @silent is out? In steps of 10 ms */
static uint64_t delay_us(const char *host, const char *reports)
{
    static const char tick_event[] = "{\"ev\":\"tick\"}";
    _cleanup_(core_freep) struct core *c = well();
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_POOL ",%s],\"dels\":[]}",
                                           reports);
    free(c->host);
    c->host = str_dup(host);
    uint64_t at_us = DUE_US;
    for (bool is_done = does_t1(c, text, at_us); !is_done; is_done = does_t1(c, tick_event, at_us)) {
        at_us += 10 * USEC_PER_MSEC;
        assert_true(at_us < DUE_US + 5 * USEC_PER_SEC);
    }
    return at_us - DUE_US;
}

static void nobody_waits_for_the_turn_of_the_silent_host(void **state)
{
    assert_int_equal(delay_us("host2", SAYS("host2", "host1") "," SAYS("host3", "host1")), 0);
    assert_int_equal(delay_us("host3", SAYS("host1", "host2") "," SAYS("host3", "host2")), HA_RANK_US);
}

static void each_waits_for_those_before_it_that_are_heard(void **state)
{
    assert_int_equal(delay_us("host1", SAYS("host1", "host3") "," SAYS("host2", "host3")), 0);
    assert_int_equal(delay_us("host2", SAYS("host1", "host3") "," SAYS("host2", "host3")), HA_RANK_US);
}

/* tests/model/rejoin.pml, -DANYFENCER: else two hosts would be out, and nobody left to let them in. */
static void the_word_of_a_host_on_its_way_back_does_not_count(void **state)
{
    static const char tick_event[] = "{\"ev\":\"tick\"}";
    static const char *const states[] = {"online", "rejoining", "fenced"};
    for (size_t i = 0; i < ELEMENTS(states); i++) {
        _cleanup_(core_freep) struct core *c = well();
        _cleanup_free_ char *text = str_printf(
            "{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_POOL "," SAYS("host1", "host2") "," SAYS("host3", "host2")
            ",[\"/mortar/v1/node/host3\",20,{\"name\":\"host3\",\"role\":\"witness\",\"inc\":1,\"boot_id\":\"b\",\"state\":\"%s\","
            "\"mgmt\":\"10.0.0.3\",\"storage\":\"10.0.0.3\"}]],\"dels\":[]}", states[i]);
        bool is_done = does_t1(c, text, DUE_US);
        for (int k = 1; k < 60; k++) {
            is_done = does_t1(c, tick_event, DUE_US + (uint64_t)k * USEC_PER_SEC) || is_done;
        }
        assert_int_equal(is_done, i == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_for_the_turn_of_the_silent_host),
        cmocka_unit_test(the_word_of_a_host_on_its_way_back_does_not_count),
        cmocka_unit_test(each_waits_for_those_before_it_that_are_heard),
    };
    return cmocka_run_group_tests_name("ha_nodes", tests, NULL, NULL);
}
