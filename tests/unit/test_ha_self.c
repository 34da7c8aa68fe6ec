/* SPDX-License-Identifier: Apache-2.0
 * A host that reads that it was fenced: it ends nothing before the store has confirmed that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/act.h"
#include "core_fenced.h"

#define SURE "ha/sentence/30"

/* host1 reads that it is fenced, and its QEMU of x runs. */
static struct core *sentenced(void)
{
    struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host1"));
    json_object_set_new(node, "state", json_string("fenced"));
    _cleanup_free_ char *text = json_format(node);
    _cleanup_free_ char *rows = str_printf("[\"/mortar/v1/node/host1\",30,%s]", text);
    json_decref(node);
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 30, rows, 2 * USEC_PER_SEC);
    c->store_is_lost = false;
    (void)smap_del(&c->attempts, SURE); /* what was decided all the same is asked for again */
    see(c, "domains", "{\"x\":{\"state\":\"running\",\"reason\":\"x\",\"epoch\":6}}");
    return c;
}

static bool ends_something(const json_t *actions)
{
    return action_of(actions, "vm/x/kill") || action_find(actions, "do", "host.clean");
}

static void a_fenced_host_ends_its_guests_after_a_commit_has_compared_its_record(void **state)
{
    _cleanup_(core_freep) struct core *c = sentenced();
    _cleanup_json_ json_t *asks = actions_of(c, "{\"ev\":\"tick\"}", 3 * USEC_PER_SEC);
    _cleanup_free_ char *compares = json_format(json_object_get(action_args(asks, SURE), "compares"));
    assert_string_equal(compares, "[[\"/mortar/v1/node/host1\",30]]");
    assert_false(ends_something(asks));
    _cleanup_json_ json_t *does = actions_of(c, "{\"ev\":\"done\",\"id\":\"" SURE "\",\"result\":{}}", 4 * USEC_PER_SEC);
    assert_true(ends_something(does));
}

/* Seeds 3000285 and 6002845: an agent that began anew was given a list of when its host was fenced before. */
static void an_old_sentence_ends_nothing(void **state)
{
    _cleanup_(core_freep) struct core *c = sentenced();
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", 3 * USEC_PER_SEC));
    _cleanup_json_ json_t *told = actions_of(
        c, "{\"ev\":\"done\",\"id\":\"" SURE "\",\"error\":{\"name\":\"store.conflict\",\"message\":\"m\"},\"store\":{\"revision\":40,"
           "\"puts\":[[\"/mortar/v1/node/host1\",40,{\"name\":\"host1\",\"role\":\"converged\",\"state\":\"online\",\"inc\":2,"
           "\"boot_id\":\"b\",\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.1\"}]],\"dels\":[]}}", 4 * USEC_PER_SEC);
    assert_false(ends_something(told));
    _cleanup_json_ json_t *later = actions_of(c, "{\"ev\":\"tick\"}", 9 * USEC_PER_SEC);
    assert_false(ends_something(later));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fenced_host_ends_its_guests_after_a_commit_has_compared_its_record),
        cmocka_unit_test(an_old_sentence_ends_nothing),
    };
    return cmocka_run_group_tests_name("ha_self", tests, NULL, NULL);
}
