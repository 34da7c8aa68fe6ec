/* SPDX-License-Identifier: Apache-2.0
 * Flapping guard: a host that is fenced again and again stays out until somebody has looked at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/ha/ha.h"
#include "core_fenced.h"

#define HOUR_US (UINT64_C(3600) * USEC_PER_SEC)

/* host1's core, of which @fields of the record of @host are set. */
static struct core *world_with(const char *host, const char *fields)
{
    struct core *c = fenced_world(FENCED_VM("x", "stopped", "", "stopped"));
    _cleanup_json_ json_t *set = json_loads(fields, 0, NULL);
    json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", host));
    assert_non_null(set);
    json_object_update(node, set);
    _cleanup_free_ char *text = json_format(node);
    _cleanup_free_ char *row = str_printf("[\"/mortar/v1/node/%s\",20,%s]", host, text);
    json_decref(node);
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 20, row, 2 * USEC_PER_SEC);
    c->store_is_lost = false;
    return c;
}

/* A step. Return: the record of @host that the commit @id puts, or NULL; caller frees */
static json_t *node_put(struct core *c, const char *id, const char *host, uint64_t now_us)
{
    json_t *found = NULL;
    _cleanup_free_ char *key = str_printf("/mortar/v1/node/%s", host);
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", now_us);
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (str_eq(json_text_of(a, "id"), id)) {
            found = json_incref(json_object_get(json_object_get(json_object_get(a, "args"), "puts"), key));
            assert_non_null(found);
        }
    }
    return found;
}

/* The store has compared the record that says that host1 is fenced. */
static void confirm(struct core *c, uint64_t now_us)
{
    json_decref(actions_of(c, "{\"ev\":\"tick\"}", now_us));
    json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"ha/sentence/20\",\"result\":{}}", now_us));
    (void)smap_del(&c->attempts, "ha/t9"); /* what was decided is decided again */
}

/* @more: further rows, each with a comma before it */
static json_t *fence_amid(const char *fields, const char *more)
{
    _cleanup_(core_freep) struct core *c = world_with("host2", fields);
    _cleanup_free_ char *rows = str_printf(
        "[\"/mortar/v1/silent/host1\",21,{\"hosts\":[\"host2\"],\"inc\":1}],"
        "[\"/mortar/v1/silent/host3\",21,{\"hosts\":[\"host2\"],\"inc\":1}]%s", more);
    fenced_watch(c, 21, rows, 20 * USEC_PER_SEC);
    (void)smap_del(&c->attempts, "ha/t1/host2");
    json_t *node = node_put(c, "ha/t1/host2", "host2", 21 * USEC_PER_SEC);
    assert_string_equal(json_text_of(node, "state"), "fencing");
    return node;
}

static json_t *next_fence(const char *fields)
{
    return fence_amid(fields, "");
}

#define DRILL(host, state, inc)                                                                  \
    ",[\"/mortar/v1/drilling\",21,{\"id\":\"d1\"}],[\"/mortar/v1/task/d1\",21,{\"kind\":\"drill\",\"state\":\"running\"," \
    "\"runner\":\"host9\"}],[\"/mortar/v1/drill/d1\",21,{\"id\":\"d1\",\"host\":\"" host "\",\"state\":\"" state "\",\"inc\":" inc "}]"

static void a_rehearsed_fence_is_not_counted(void **state)
{
    static const struct {
        const char *drill;
        uint64_t fences;
    } cases[] = {
        {DRILL("host2", "struck", "1"), 1},
        {DRILL("host2", "armed", "1"), 2},
        {DRILL("host1", "struck", "1"), 2},
        {DRILL("host2", "struck", "0"), 2}, /* it came back, and fell again by itself */
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_json_ json_t *node = fence_amid("{\"state\":\"online\",\"fences\":1}", cases[i].drill);
        if (json_u64_of(node, "fences", 0) != cases[i].fences) {
            fail_msg("%s", cases[i].drill);
        }
    }
}

static void each_fence_is_counted_in_the_hosts_record(void **state)
{
    _cleanup_json_ json_t *first = next_fence("{\"state\":\"online\"}");
    _cleanup_json_ json_t *second = next_fence("{\"state\":\"online\",\"fences\":1}");
    assert_int_equal(json_u64_of(first, "fences", 0), 1);
    assert_int_equal(json_u64_of(second, "fences", 0), 2);
    assert_false(ha_node_is_held(first));
    assert_true(ha_node_is_held(second));
}

static void a_host_that_was_fenced_twice_does_not_come_back_by_itself(void **state)
{
    static const struct {
        const char *fields;
        bool comes;
    } cases[] = {
        {"{\"state\":\"fenced\",\"boot_id\":\"a\",\"fences\":1}", true},
        {"{\"state\":\"fenced\",\"boot_id\":\"a\",\"fences\":2}", false},
        {"{\"state\":\"fenced\",\"boot_id\":\"a\",\"fences\":7}", false},
        {"{\"state\":\"fenced\",\"boot_id\":\"a\"}", true}, /* admitted, or of an older version */
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(core_freep) struct core *c = world_with("host1", cases[i].fields);
        smap_put(&c->seen, "domains", json_object());
        c->domains_at_us = 4 * USEC_PER_SEC;
        confirm(c, 4 * USEC_PER_SEC);
        _cleanup_json_ json_t *node = node_put(c, "ha/t9", "host1", 5 * USEC_PER_SEC);
        if ((node != NULL) != cases[i].comes) {
            fail_msg("%s", cases[i].fields);
        }
    }
}

static void a_host_comes_back_only_when_it_is_heard(void **state)
{
    static const char unheard[] = "[\"/mortar/v1/silent/host2\",21,{\"hosts\":[\"host1\"],\"inc\":1}],"
                                  "[\"/mortar/v1/silent/host3\",21,{\"hosts\":[\"host1\"],\"inc\":1}]";
    _cleanup_(core_freep) struct core *c = world_with("host1", "{\"state\":\"fenced\",\"boot_id\":\"a\",\"fences\":1}");
    _cleanup_json_ json_t *host2 = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host2"));
    json_object_set_new(host2, "state", json_string("online"));
    _cleanup_free_ char *text = json_format(host2);
    _cleanup_free_ char *rows = str_printf("[\"/mortar/v1/node/host2\",21,%s],%s", text, unheard);
    fenced_watch(c, 21, rows, 3 * USEC_PER_SEC);
    (void)smap_del(&c->attempts, "ha/t9");
    smap_put(&c->seen, "domains", json_object());
    c->domains_at_us = 4 * USEC_PER_SEC;
    confirm(c, 4 * USEC_PER_SEC);
    _cleanup_json_ json_t *early = node_put(c, "ha/t9", "host1", 5 * USEC_PER_SEC);
    assert_null(early); /* what they said of its former life would have it fenced again */
    fenced_watch(c, 22, "[\"/mortar/v1/silent/host2\",22,{\"hosts\":[],\"inc\":1}]", 6 * USEC_PER_SEC);
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", 7 * USEC_PER_SEC);
    struct attempt *a = act_find(c, "ha/t9");
    assert_non_null(a);
}

static void an_hour_as_a_full_member_clears_the_count(void **state)
{
    static const char *const not_yet[] = {"fencing", "fenced", "rejoining"};
    _cleanup_(core_freep) struct core *c = world_with("host1", "{\"state\":\"online\",\"fences\":1}");
    _cleanup_json_ json_t *early = node_put(c, "ha/settled", "host1", HOUR_US);
    _cleanup_json_ json_t *node = node_put(c, "ha/settled", "host1", HOUR_US + 3 * USEC_PER_SEC);
    assert_null(early);
    assert_string_equal(json_text_of(node, "state"), "online");
    assert_null(json_object_get(node, "fences"));
    for (size_t i = 0; i < ELEMENTS(not_yet); i++) {
        _cleanup_free_ char *fields = str_printf("{\"state\":\"%s\",\"fences\":1}", not_yet[i]);
        _cleanup_(core_freep) struct core *other = world_with("host1", fields);
        _cleanup_json_ json_t *none = node_put(other, "ha/settled", "host1", 2 * HOUR_US);
        assert_null(none);
    }
}

/* Return: the verdict on @verb of pool vms, while host2 has @fields */
static int ask_of_pool(const char *verb, const char *fields, struct err *e)
{
    _cleanup_(core_freep) struct core *c = world_with("host2", fields);
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:s,s:{s:s,s:b}}", "ev", "request", "verb", verb, "task", "t",
                                             "args", "name", "vms", "on", 0);
    json_t *actions = NULL;
    if (str_eq(verb, "pool.remove")) {
        json_object_del(json_object_get(event, "args"), "on");
    }
    int r = core_step(c, event, 5 * USEC_PER_SEC, 0, &actions, e);
    json_decref(actions);
    return r;
}

static void failover_is_not_switched_off_while_it_has_to_let_a_host_in(void **state)
{
    static const struct {
        const char *fields;
        const char *says; /* NULL: it is switched off */
        const char *hint;
    } cases[] = {
        {"{\"state\":\"fencing\"}", "host 'host2' is fencing", "wait until 'mortar host ls'"},
        {"{\"state\":\"fenced\",\"fences\":1}", "host 'host2' is fenced", "wait until 'mortar host ls'"},
        {"{\"state\":\"fenced\",\"fences\":2}", "host 'host2' is fenced", "'mortar host admit host2'"},
        {"{\"state\":\"rejoining\"}", "host 'host2' is rejoining", "wait until 'mortar host ls'"},
        {"{\"state\":\"online\",\"flush\":true}", "host 'host2' is coming back from a boot", "wait until"},
        {"{\"state\":\"online\",\"fences\":1}", NULL, NULL},
        {"{\"state\":\"maintenance\"}", NULL, NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        assert_int_equal(ask_of_pool("pool.ha", cases[i].fields, &e), cases[i].says ? -ERR_STATE : 0);
        if (cases[i].says) {
            assert_non_null(strstr(e.msg, cases[i].says));
            assert_non_null(strstr(e.hint, cases[i].hint));
        }
        e = (struct err){0};
        int r = ask_of_pool("pool.remove", cases[i].fields, &e); /* the pool has machines, too */
        assert_int_equal(r, -ERR_STATE);
        assert_true((strstr(e.msg, "failover of pool 'vms' stays on") != NULL) == (cases[i].says != NULL));
    }
}

/* Return: the verdict on "host.admit"; @ret: the record that it puts, or NULL; caller frees */
static int admit(const char *fields, const char *host, json_t **ret, struct err *e)
{
    _cleanup_(core_freep) struct core *c = world_with("host2", fields);
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:s,s:{s:s}}", "ev", "request", "verb", "host.admit", "task",
                                             "t", "args", "name", host);
    int r = core_step(c, event, 5 * USEC_PER_SEC, 0, &actions, e);
    size_t i;
    json_t *a;
    *ret = NULL;
    json_array_foreach(actions, i, a) {
        const json_t *args = json_object_get(a, "args");
        if (str_eq(json_text_of(a, "id"), "req/t")) {
            *ret = json_incref(json_object_get(json_object_get(args, "puts"), "/mortar/v1/node/host2"));
            assert_string_equal(json_string_value(json_array_get(json_array_get(json_object_get(args, "compares"), 0),
                                                                 0)), "/mortar/v1/node/host2");
            assert_int_equal(json_array_size(json_object_get(args, "compares")), 1);
        }
    }
    json_decref(actions);
    return r;
}

static void an_administrator_lets_in_a_host_that_is_held_and_no_other(void **state)
{
    struct err e = {0};
    json_t *put = NULL;
    assert_int_equal(admit("{\"state\":\"fenced\",\"fences\":2}", "host2", &put, &e), 0);
    assert_null(json_object_get(put, "fences"));
    assert_string_equal(json_text_of(put, "state"), "fenced"); /* it comes back by itself now */
    json_decref(put);
    assert_int_equal(admit("{\"state\":\"fenced\",\"fences\":1}", "host2", &put, &e), -ERR_STATE);
    assert_non_null(strstr(e.hint, "by itself"));
    e = (struct err){0};
    assert_int_equal(admit("{\"state\":\"online\",\"fences\":2}", "host2", &put, &e), -ERR_STATE);
    assert_non_null(strstr(e.msg, "host 'host2' is online, and is not held back"));
    e = (struct err){0};
    assert_int_equal(admit("{\"state\":\"fenced\",\"fences\":2}", "host9", &put, &e), -ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rehearsed_fence_is_not_counted),
        cmocka_unit_test(each_fence_is_counted_in_the_hosts_record),
        cmocka_unit_test(a_host_that_was_fenced_twice_does_not_come_back_by_itself),
        cmocka_unit_test(a_host_comes_back_only_when_it_is_heard),
        cmocka_unit_test(an_hour_as_a_full_member_clears_the_count),
        cmocka_unit_test(failover_is_not_switched_off_while_it_has_to_let_a_host_in),
        cmocka_unit_test(an_administrator_lets_in_a_host_that_is_held_and_no_other),
    };
    return cmocka_run_group_tests_name("flap", tests, NULL, NULL);
}
