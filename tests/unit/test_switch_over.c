/* SPDX-License-Identifier: Apache-2.0
 * While a guest stands still in a migration its two hosts commit and ask nothing that can wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/model/vm.h"
#include "core_actions.h"
#include "core_well.h"

#define OWN(owner, epoch, mig) \
    "[\"/mortar/v1/vm/db1/own\",12,{\"owner\":\"" owner "\",\"inc\":1,\"epoch\":" epoch ",\"mig\":" mig "}]"
#define ACTIVE OWN("host1", "3", "{\"id\":\"t1\",\"dst\":\"host2\",\"phase\":\"active\",\"epoch\":4}")
#define ARRIVING OWN("host2", "3", "{\"id\":\"t1\",\"dst\":\"host1\",\"phase\":\"active\",\"epoch\":4}")
#define HANDED_OVER OWN("host2", "4", "{\"id\":\"t1\",\"dst\":\"host2\",\"phase\":\"done\"}")
#define HAS_COME OWN("host1", "4", "{\"id\":\"t1\",\"dst\":\"host1\",\"phase\":\"done\"}")
#define PAUSED(epoch) "{\"db1\":{\"state\":\"paused\",\"epoch\":" epoch "}}"
#define RUNS_THERE \
    ",[\"/mortar/v1/vm/db1/act\",12,{\"state\":\"running\",\"host\":\"host2\",\"epoch\":4}]"
#define STOPPED_AT_S 3

/* What host1's libvirt says when a guest is stopped to leave, and when one has come (docs/virt.md). */
#define LEAVES "migrated"
#define CAME "user"

/* host1, which has something to publish and to list, @after_ms after its copy of db1 was stopped by QEMU.
 * @domains: what it knows of libvirt */
static struct core *stopped(const char *records, const char *reason, const char *domains, uint64_t after_ms,
                            json_t **ret_actions)
{
    struct err e = {0};
    struct core *c = well();
    _cleanup_free_ char *heard = str_printf("{\"ev\":\"watch\",\"revision\":12,\"puts\":[%s],\"dels\":[]}", records);
    assert_int_equal(core_world_step(c, heard, STOPPED_AT_S * USEC_PER_SEC, &e), 0);
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:s,s:s,s:I}", "ev", "domain", "kind", "suspended",
                                             "name", "db1", "reason", reason, "at_us",
                                             (json_int_t)(STOPPED_AT_S * USEC_PER_SEC));
    json_t *actions = NULL;
    assert_int_equal(core_step(c, event, STOPPED_AT_S * USEC_PER_SEC, 0, &actions, &e), 0);
    json_decref(actions);
    (void)smap_del(&c->attempts, "publish"); /* of the steps before: they would still be under way */
    (void)smap_del(&c->attempts, "observe/domains");
    see(c, "domains", domains);
    c->domains_stale = true;
    see(c, "pool/vms", "{\"mount\":{\"state\":\"mounted\",\"quorum\":true,\"bricks_up\":5}}");
    _cleanup_json_ json_t *tick = json_pack("{s:s}", "ev", "tick");
    assert_int_equal(core_step(c, tick, STOPPED_AT_S * USEC_PER_SEC + after_ms * USEC_PER_MSEC, 0, ret_actions, &e), 0);
    return c;
}

static void expect_quiet(const char *records, uint64_t after_ms, bool is_quiet)
{
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = stopped(records, LEAVES, "{}", after_ms, &actions);
    assert_int_equal(vm_is_switching_over(c), is_quiet);
    assert_int_equal(action_of(actions, "publish") != NULL, !is_quiet);
    json_decref(actions);
}

static void the_source_is_quiet_until_the_target_runs(void **state)
{
    expect_quiet(ACTIVE, 100, true);
    expect_quiet(HANDED_OVER, 100, true);
    expect_quiet(HANDED_OVER RUNS_THERE, 100, true); /* it gets warm */
    expect_quiet(HANDED_OVER RUNS_THERE, 300, false);
}

static void the_target_is_quiet_while_it_waits(void **state)
{
    expect_quiet(ARRIVING, 100, true);
}

static void expect_list(const char *records, const char *reason, const char *domains, uint64_t after_ms, bool is_asked)
{
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = stopped(records, reason, domains, after_ms, &actions);
    assert_int_equal(action_of(actions, "observe/domains") != NULL, is_asked);
    assert_int_equal(c->domains_stale, !is_asked); /* put off, not forgotten */
    json_decref(actions);
}

static void the_source_lists_its_domains_when_the_guest_runs(void **state)
{
    expect_list(ACTIVE, LEAVES, PAUSED("3"), 100, false);
    expect_list(HANDED_OVER, LEAVES, PAUSED("3"), 100, false);
    expect_list(HANDED_OVER RUNS_THERE, LEAVES, PAUSED("3"), 300, true);
    expect_list(ACTIVE, LEAVES, PAUSED("3"), 2001, true);
    expect_list(OWN("host1", "3", "{\"id\":\"t1\",\"dst\":\"host2\",\"phase\":\"aborted\",\"epoch\":4}"), LEAVES,
                PAUSED("3"), 100, true);
}

static void the_target_lists_its_domains_only_when_it_does_not_know_the_copy(void **state)
{
    expect_list(ARRIVING, CAME, PAUSED("4"), 100, false);
    expect_list(ARRIVING, CAME, PAUSED("3"), 100, true);
    expect_list(ARRIVING, CAME, "{}", 100, true);
    expect_list(HAS_COME, CAME, PAUSED("4"), 100, false);
    expect_list(HAS_COME, CAME, "{}", 100, true);
}

static void expect_kill(const char *records, uint64_t after_ms, bool is_asked)
{
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = stopped(records, LEAVES, PAUSED("3"), after_ms, &actions);
    assert_int_equal(action_of(actions, "vm/db1/kill") != NULL, is_asked);
    json_decref(actions);
}

static void what_libvirt_is_ending_is_not_killed_beside_it(void **state)
{
    expect_kill(HANDED_OVER, 100, false);
    expect_kill(HANDED_OVER, 2001, true);
    expect_kill(OWN("host2", "4", "null"), 100, true); /* taken away, not moved */
}

static void a_switch_over_that_hangs_silences_nobody(void **state)
{
    expect_quiet(ACTIVE, 2001, false);
}

static void a_guest_that_was_stopped_for_another_reason_silences_nobody(void **state)
{
    expect_quiet(OWN("host1", "3", "null"), 100, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_source_is_quiet_until_the_target_runs),
        cmocka_unit_test(the_target_is_quiet_while_it_waits),
        cmocka_unit_test(the_source_lists_its_domains_when_the_guest_runs),
        cmocka_unit_test(the_target_lists_its_domains_only_when_it_does_not_know_the_copy),
        cmocka_unit_test(what_libvirt_is_ending_is_not_killed_beside_it),
        cmocka_unit_test(a_switch_over_that_hangs_silences_nobody),
        cmocka_unit_test(a_guest_that_was_stopped_for_another_reason_silences_nobody),
    };
    return cmocka_run_group_tests_name("switch_over", tests, NULL, NULL);
}
