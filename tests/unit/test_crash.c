/* SPDX-License-Identifier: Apache-2.0
 * A machine whose QEMU falls again and again is started with longer and longer pauses, and not for ever,
 * on whichever hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alarms.h"
#include "core/ha/ha.h"
#include "core/model/vm.h"
#include "core_fenced.h"

#define CRASHES(n) "\"crashes\":{\"count\":" n ",\"message\":\"QEMU ended by itself\",\"host\":\"host2\",\"when_ms\":1}"
#define AT (10 * USEC_PER_SEC)

/* host1 owns db1 under epoch @own; @act: its act record but for the host. Its QEMU is (@dom) in the list of AT. */
static struct core *with_act(int own, const char *act, const char *dom)
{
    struct core *c = fenced_world(FENCED_VM("x", "stopped", "", "stopped"));
    _cleanup_free_ char *rows = str_printf(
        "[\"/mortar/v1/vm/db1/spec\",20,{\"name\":\"db1\",\"uuid\":\"u-db1\",\"desired\":\"running\",\"pool\":\"vms\","
        "\"cpus\":1,\"memory_bytes\":1073741824}],[\"/mortar/v1/vm/db1/own\",20,{\"owner\":\"host1\",\"inc\":1,"
        "\"epoch\":%d,\"mig\":null}],[\"/mortar/v1/vm/db1/act\",20,{\"host\":\"host1\",%s}]", own, act);
    c->store_is_lost = true;
    c->domains_stale = false;
    fenced_watch(c, 20, rows, 2 * USEC_PER_SEC);
    c->store_is_lost = false;
    json_t *domains = json_object();
    if (dom) {
        json_object_set_new(domains, "db1", json_loads(dom, 0, NULL));
    }
    smap_put(&c->seen, "domains", domains);
    c->domains_at_us = AT - 1;
    for (size_t i = smap_lower(&c->attempts, "vm/"); i < c->attempts.n && str_starts(c->attempts.items[i].key, "vm/");) {
        (void)smap_del(&c->attempts, c->attempts.items[i].key); /* of the steps so far */
    }
    return c;
}

/* What the commit of db1 in the step of @now_us puts as @which; NULL when there is none. Caller frees. */
static json_t *put_at(struct core *c, const char *which, uint64_t now_us)
{
    json_t *found = NULL;
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", now_us);
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (str_starts(json_text_of(a, "id"), "vm/db1/")) {
            found = json_incref((json_t *)fenced_put(json_object_get(a, "args"), "db1", which));
        }
    }
    return found;
}

static void each_fall_is_counted_with_its_reason(void **state)
{
    static const struct {
        const char *act;
        uint64_t crashes;
        uint64_t fails;
    } cases[] = {
        {"\"state\":\"running\",\"epoch\":3", 1, 0},
        {"\"state\":\"running\",\"epoch\":3," CRASHES("4"), 5, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(core_freep) struct core *c = with_act(3, cases[i].act, NULL);
        _cleanup_json_ json_t *act = put_at(c, "act", AT);
        assert_int_equal(vm_crashes(act), cases[i].crashes);
        assert_int_equal(json_u64_of(act, "fails", 0), cases[i].fails);
    }
    _cleanup_(core_freep) struct core *c = with_act(3, "\"state\":\"running\",\"epoch\":3", NULL);
    _cleanup_json_ json_t *act = put_at(c, "act", AT);
    assert_string_equal(json_text_of(json_object_get(act, "crashes"), "host"), "host1");
    assert_string_equal(json_text_of(json_object_get(act, "error"), "message"), "QEMU ended by itself");
}

static void the_count_outlives_a_change_of_owner_and_the_next_start(void **state)
{
    /* Taken over: act is still what its former host said. */
    _cleanup_(core_freep) struct core *c = with_act(6, "\"state\":\"running\",\"epoch\":5,\"fails\":1," CRASHES("2"), NULL);
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    _cleanup_json_ json_t *claim = put_at(c, "act", AT);
    assert_string_equal(json_text_of(claim, "state"), "starting");
    assert_int_equal(vm_crashes(claim), 2);
    assert_int_equal(json_u64_of(claim, "fails", 0), 1);
    _cleanup_(core_freep) struct core *d = with_act(
        6, "\"state\":\"starting\",\"epoch\":6,\"instance\":\"i\"," CRASHES("2"),
        "{\"state\":\"running\",\"epoch\":6,\"freezable\":true}");
    _cleanup_json_ json_t *running = put_at(d, "act", AT);
    assert_string_equal(json_text_of(running, "state"), "running");
    assert_int_equal(vm_crashes(running), 2);
}

static void ten_minutes_of_running_make_up_for_all_falls(void **state)
{
    _cleanup_(core_freep) struct core *c = with_act(3, "\"state\":\"running\",\"epoch\":3," CRASHES("7"),
                                                    "{\"state\":\"running\",\"epoch\":3,\"freezable\":true}");
    _cleanup_json_ json_t *early = put_at(c, "act", 2 * USEC_PER_SEC + VM_WELL_US - 1);
    assert_null(early);
    _cleanup_json_ json_t *act = put_at(c, "act", 2 * USEC_PER_SEC + VM_WELL_US);
    assert_string_equal(json_text_of(act, "state"), "running");
    assert_null(json_object_get(act, "crashes"));
}

static void pauses_grow_with_the_falls(void **state)
{
    _cleanup_(core_freep) struct core *c = with_act(4, "\"state\":\"stopped\",\"epoch\":3," CRASHES("4"), NULL);
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    c->domains_at_us = 3 * USEC_PER_SEC;
    _cleanup_json_ json_t *early = put_at(c, "act", 10 * USEC_PER_SEC - 1); /* known since 2 s; then 1 + 2 + 4 … */
    assert_null(early);
    _cleanup_json_ json_t *claim = put_at(c, "act", 10 * USEC_PER_SEC);
    assert_string_equal(json_text_of(claim, "state"), "starting");
}

static void after_eight_falls_it_is_not_started_any_more(void **state)
{
    _cleanup_(core_freep) struct core *c = with_act(
        4, "\"state\":\"stopped\",\"epoch\":3,\"error\":{\"name\":\"virt.failed\",\"message\":\"QEMU ended by itself\"},"
        CRASHES("8"), NULL);
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    _cleanup_json_ json_t *act = put_at(c, "act", 3600 * USEC_PER_SEC);
    assert_null(act);
    assert_string_equal(vm_state(c, "db1"), "failed");
    _cleanup_json_ json_t *alarms = alarms_list(c);
    size_t i;
    json_t *a;
    const char *text = NULL;
    json_array_foreach(alarms, i, a) {
        text = str_eq(json_text_of(a, "alarm"), "vm.given_up") ? json_text_of(a, "text") : text;
    }
    assert_non_null(text);
    assert_non_null(strstr(text, "after 8 crashes: QEMU ended by itself; 'mortar vm start db1'"));
}

static void one_that_is_given_up_is_not_carried_to_another_host(void **state)
{
    static const struct {
        const char *act;
        bool moves;
    } cases[] = {
        {"\"epoch\":4,\"fails\":3", false},
        {"\"epoch\":4," CRASHES("8"), false},
        {"\"epoch\":4,\"fails\":2," CRASHES("7"), true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *rows = str_printf("%s,[\"/mortar/v1/vm/bad/act\",12,{\"state\":\"stopped\",\"host\":\"host2\",%s}]",
                                               FENCED_VM("bad", "running", "", "stopped"), cases[i].act);
        _cleanup_(core_freep) struct core *c = fenced_world(rows);
        _cleanup_json_ json_t *t = fenced_take(c, 3 * USEC_PER_SEC);
        _cleanup_json_ json_t *waiting = ha_waiting(c);
        assert_int_equal(fenced_put(t, "bad", "own") != NULL, cases[i].moves);
        assert_int_equal(json_object_size(waiting), 0); /* it waits for nobody but its user */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fall_is_counted_with_its_reason),
        cmocka_unit_test(the_count_outlives_a_change_of_owner_and_the_next_start),
        cmocka_unit_test(ten_minutes_of_running_make_up_for_all_falls),
        cmocka_unit_test(pauses_grow_with_the_falls),
        cmocka_unit_test(after_eight_falls_it_is_not_started_any_more),
        cmocka_unit_test(one_that_is_given_up_is_not_carried_to_another_host),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
