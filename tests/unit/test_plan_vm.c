/* SPDX-License-Identifier: Apache-2.0
 * What the owner of a machine does from records that may be old and lists that may be older than what an
 * agent before it had asked for. Each was found by the simulator; on host1 of core_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core_actions.h"
#include "core_well.h"

#define SPEC(desired)                                                                              \
    "[\"/mortar/v1/vm/db1/spec\",11,{\"name\":\"db1\",\"uuid\":\"u-db1\",\"desired\":\"" desired        \
    "\",\"stop\":\"force\",\"pool\":\"vms\",\"cpus\":2,\"memory_bytes\":1073741824,\"networks\":[]}]"
#define ACT(state, instance)                                                                       \
    "[\"/mortar/v1/vm/db1/act\",11,{\"state\":\"" state "\",\"host\":\"host1\",\"epoch\":3,\"instance\":\"" \
    instance "\"}]"

/* One step at @at_us seconds, in which host1 knows @domains by a list of @listed_us. New reference: actions */
static json_t *step(struct core *c, const char *event, const char *domains, uint64_t listed_us, uint64_t at_us)
{
    json_t *actions = NULL;
    struct err e = {0};
    _cleanup_json_ json_t *j = json_loads(event, 0, NULL);
    assert_non_null(j);
    smap_put(&c->seen, "domains", json_loads(domains, 0, NULL));
    c->domains_at_us = listed_us * USEC_PER_SEC;
    assert_int_equal(core_step(c, j, at_us * USEC_PER_SEC, at_us * USEC_PER_SEC, &actions, &e), 0);
    return actions;
}

#define WATCH(puts) "{\"ev\":\"watch\",\"revision\":11,\"puts\":[" puts "],\"dels\":[]}"
#define STOPPED "vm/db1/stopped/u-db1/3"
#define BURN "vm/db1/burn/u-db1/3"
#define BURNT "{\"ev\":\"done\",\"id\":\"" BURN "\",\"result\":{}}"

/* Seed 179 of moves: the QEMU that a dead agent had asked for came after "stopped", beside the next one. */
static void a_claim_of_a_dead_agent_is_burnt_before_it_counts_as_stopped(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *first = step(c, WATCH(SPEC("stopped") "," ACT("starting", "old")), "{}", 3, 2);
    assert_non_null(action_of(first, BURN));
    assert_null(action_of(first, STOPPED));
    _cleanup_json_ json_t *burnt = step(c, BURNT, "{}", 3, 4);
    assert_null(action_of(burnt, STOPPED)); /* the list is of before */
    _cleanup_json_ json_t *listed = step(c, "{\"ev\":\"tick\"}", "{}", 5, 6);
    assert_non_null(action_of(listed, STOPPED));
}

static void a_claim_of_a_dead_agent_is_burnt_before_the_next_start(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *first = step(c, WATCH(SPEC("running") "," ACT("starting", "old")), "{}", 3, 2);
    assert_non_null(action_of(first, BURN));
    assert_null(action_of(first, "vm/db1/raise"));
    _cleanup_json_ json_t *burnt = step(c, BURNT, "{}", 3, 4);
    _cleanup_json_ json_t *listed = step(c, "{\"ev\":\"tick\"}", "{}", 5, 6);
    assert_non_null(action_of(listed, "vm/db1/raise"));
}

/* Seed 323 of moves: an agent that had just started read a list of long ago. */
static void a_stop_that_is_older_than_what_runs_ends_nothing(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    static const char records[] = WATCH(SPEC("stopped") "," ACT("stopping", "i"));
    _cleanup_json_ json_t *newer = step(c, records, "{\"db1\":{\"state\":\"running\",\"epoch\":4}}", 3, 2);
    assert_null(action_of(newer, "vm/db1/destroy"));
    _cleanup_json_ json_t *same =
        step(c, "{\"ev\":\"tick\"}", "{\"db1\":{\"state\":\"running\",\"epoch\":3}}", 3, 4);
    assert_non_null(action_of(same, "vm/db1/destroy"));
}

/* The arguments of the commit with this id, as text to be freed. */
static char *commit_of(const json_t *actions, const char *id)
{
    const json_t *args = action_args(actions, id);
    assert_non_null(args);
    return json_format(args);
}

/* The pool says whether the start rule holds; what an agent read at its start may be older than that. */
static void a_claim_compares_the_pool(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    _cleanup_json_ json_t *actions =
        step(c, WATCH(SPEC("running") ",[\"/mortar/v1/vm/db1/act\",11,{\"state\":\"stopped\",\"epoch\":2}]"), "{}",
             3, 2);
    _cleanup_free_ char *claim = commit_of(actions, "vm/db1/claim/u-db1/3");
    assert_non_null(strstr(claim, "[\"/mortar/v1/pool/vms\",2]"));
}

/* Seed 201 of failover: the host had read of the time before failover was switched on, did not wait until
 * what its former life had written was drained, and started its machine. */
static void a_reboot_compares_whether_failover_is_on(void **state)
{
    static const char node[] =
        "{\"ev\":\"watch\",\"revision\":11,\"puts\":[%s[\"/mortar/v1/node/host1\",11,{\"name\":\"host1\",\"role\":"
        "\"converged\",\"state\":\"online\",\"inc\":1,\"boot_id\":\"old\"}]],\"dels\":[]}";
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *off = str_printf(node, "");
    _cleanup_json_ json_t *without = step(c, off, "{}", 3, 2);
    _cleanup_free_ char *commit = commit_of(without, "node/reboot");
    assert_non_null(strstr(commit, "[\"/mortar/v1/ha\",0]"));
    assert_null(strstr(commit, "flush"));
    _cleanup_(core_freep) struct core *other = core_world_new();
    _cleanup_free_ char *on = str_printf(node, "[\"/mortar/v1/ha\",11,{\"vms\":true}],");
    _cleanup_json_ json_t *with = step(other, on, "{}", 3, 2);
    _cleanup_free_ char *flushing = commit_of(with, "node/reboot");
    assert_non_null(strstr(flushing, "[\"/mortar/v1/ha\",11]"));
    assert_non_null(strstr(flushing, "\"flush\":true"));
}

/* Found by the simulator (seed 120): a new owner had missed that the user wants the machine to run, wrote "stopped",
 * and the machine stood still until the next list of the store. */
static void a_stop_is_compared_with_what_the_user_wants(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    json_t *actions = NULL;
    size_t i;
    json_t *a;
    bool is_found = false;
    assert_int_equal(core_world_step(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[[\"/mortar/v1/vm/web/own\",20,{\"owner\":"
                                        "\"host1\",\"inc\":1,\"epoch\":3,\"mig\":null}]],\"dels\":[]}", 2 * USEC_PER_SEC, NULL), 0);
    c->domains_at_us = 3 * USEC_PER_SEC;
    _cleanup_json_ json_t *event = json_loads("{\"ev\":\"tick\"}", 0, NULL);
    assert_int_equal(core_step(c, event, 3 * USEC_PER_SEC, 0, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        _cleanup_free_ char *text = json_format(json_object_get(a, "args"));
        if (strncmp(json_text_of(a, "id"), "vm/web/stopped", 14) == 0) {
            is_found = true;
            assert_non_null(strstr(text, "[\"/mortar/v1/vm/web/spec\",4]"));
            assert_non_null(strstr(text, "[\"/mortar/v1/vm/web/own\",20]"));
        }
    }
    json_decref(actions);
    assert_true(is_found);
}

/* --- the target's part of a migration (docs/adr/0008) ----------------------------------------- */

#define OWN(owner, epoch, mig)                                                                     \
    "[\"/mortar/v1/vm/db1/own\",11,{\"owner\":\"" owner "\",\"inc\":1,\"epoch\":" epoch ",\"mig\":" mig "}]"
#define COMES OWN("host2", "3", "{\"id\":\"t\",\"dst\":\"host1\",\"epoch\":4,\"phase\":\"active\"}")
#define HAS_COME OWN("host1", "4", "{\"id\":\"t\",\"dst\":\"host1\",\"phase\":\"done\"}")
#define RESUMING(more)                                                                             \
    "[\"/mortar/v1/vm/db1/act\",11,{\"state\":\"resuming\",\"host\":\"host1\",\"epoch\":4" more "}]"
#define PAUSED(more) "{\"db1\":{\"state\":\"paused\",\"reason\":\"user\",\"epoch\":4" more "}}"

static struct core *with_pool(void)
{
    struct core *c = core_world_new();
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    return c;
}

static void the_epoch_of_a_copy_is_on_disk_before_t7(void **state)
{
    _cleanup_(core_freep) struct core *c = with_pool();
    _cleanup_json_ json_t *actions = step(c, WATCH(COMES), PAUSED(""), 3, 2);
    _cleanup_free_ char *args = commit_of(actions, "vm/db1/epoch/4");
    assert_non_null(strstr(args, "\"epoch\":4"));
    assert_null(action_of(actions, "vm/db1/resume"));
    _cleanup_json_ json_t *again = step(c, "{\"ev\":\"tick\"}", PAUSED(""), 3, 4);
    assert_null(action_of(again, "vm/db1/epoch/4"));
}

static void a_copy_is_resumed_when_t7_is_heard_of_without_a_commit(void **state)
{
    _cleanup_(core_freep) struct core *c = with_pool();
    _cleanup_json_ json_t *actions = step(c, WATCH(HAS_COME "," RESUMING("")), PAUSED(""), 1, 2);
    assert_non_null(action_of(actions, "vm/db1/resume"));
    assert_null(action_of(actions, "vm/db1/handover"));
}

/* Seed 92214235 of failover: a machine was stopped by force while its disk was laundered in a mount that hung, and started
 * elsewhere; what the laundering had read would have been written over what the machine wrote there. */
static void a_start_that_is_stopped_has_not_ended_before_its_laundering(void **state)
{
    static const char clean[] = "vm/db1/clean/u-db1/3";
    _cleanup_(core_freep) struct core *c = well();
    smap_put(&c->seen, "net/default", json_object());
    c->store_is_lost = true; /* so that nothing is decided before all is known */
    json_decref(step(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_POOL "],\"dels\":[]}", "{}", 3, 2));
    c->store_is_lost = false;
    _cleanup_json_ json_t *begins = step(c, WATCH(SPEC("running") "," ACT("starting", "i")), "{}", 3, 2);
    assert_non_null(action_of(begins, clean));
    _cleanup_json_ json_t *waits = step(c, "{\"ev\":\"watch\",\"revision\":21,\"puts\":[[\"/mortar/v1/vm/db1/spec\",21,{\"name\":\"db1\","
                                           "\"uuid\":\"u-db1\",\"desired\":\"stopped\",\"stop\":\"force\",\"pool\":\"vms\",\"cpus\":2,"
                                           "\"memory_bytes\":1073741824,\"networks\":[]}]],\"dels\":[]}", "{}", 3, 4);
    assert_null(action_of(waits, STOPPED));
    _cleanup_free_ char *done = str_printf("{\"ev\":\"done\",\"id\":\"%s\",\"error\":{\"name\":\"call.timeout\",\"message\":\"\"}}", clean);
    _cleanup_json_ json_t *ends = step(c, done, "{}", 3, 5);
    assert_non_null(action_of(ends, STOPPED));
}

#define SPEC_AT(rev, desired)                                                                       \
    "{\"ev\":\"watch\",\"revision\":" rev ",\"puts\":[[\"/mortar/v1/vm/db1/spec\"," rev ",{\"name\":\"db1\",\"uuid\":\"u-db1\","  \
    "\"desired\":\"" desired "\",\"pool\":\"vms\",\"cpus\":2,\"memory_bytes\":1073741824,\"networks\":[]}]],\"dels\":[]}"

/* Claimed, then stopped by its user before QEMU was asked for: "stopped" is on its way. */
static struct core *that_states_its_end(void)
{
    struct core *c = with_pool();
    _cleanup_json_ json_t *ends = step(c, WATCH(SPEC("stopped") "," ACT("starting", "i")), "{}", 3, 2);
    assert_non_null(action_of(ends, STOPPED));
    return c;
}

#define CREATE "vm/db1/create/u-db1/3"
#define ENDED(error) "{\"ev\":\"done\",\"id\":\"" STOPPED "\",\"error\":{\"name\":\"" error "\",\"message\":\"\"}}"

/* Seed 99302119 of moves: two hosts ran it. Another one had started it, since "stopped" was in the store; this one had heard
 * neither that nor of the new owner, only that its user wants it to run again. */
static void nothing_is_started_under_an_epoch_that_was_stated_to_be_over(void **state)
{
    _cleanup_(core_freep) struct core *c = that_states_its_end();
    _cleanup_json_ json_t *wanted = step(c, SPEC_AT("22", "running"), "{}", 3, 5);
    assert_null(action_of(wanted, CREATE));
    assert_null(action_of(wanted, "vm/db1/raise"));
    _cleanup_json_ json_t *lost = step(c, ENDED("call.timeout"), "{}", 3, 6);
    assert_null(action_of(lost, CREATE));
    assert_non_null(action_of(lost, "vm/db1/raise"));
}

static void a_statement_that_is_known_to_have_failed_hinders_no_start(void **state)
{
    _cleanup_(core_freep) struct core *c = that_states_its_end();
    json_decref(step(c, SPEC_AT("22", "running"), "{}", 3, 5));
    _cleanup_json_ json_t *failed = step(c, ENDED("store.conflict"), "{}", 3, 6);
    assert_non_null(action_of(failed, CREATE));
}

/* The agent that had claimed it is dead, and so is the child by which it laundered; a request of that may hang in the mount. */
static void a_claim_of_a_dead_agent_stands_until_its_laundering_has_ended(void **state)
{
    static const char left[] = "ha/old-laundering";
    _cleanup_(core_freep) struct core *c = core_world_new();
    c->store_is_lost = true; /* so that nothing is decided before all is known */
    json_decref(step(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[" HA_POOL "],\"dels\":[]}", "{}", 3, 2));
    c->store_is_lost = false;
    _cleanup_json_ json_t *asks = step(c, WATCH(SPEC("stopped") "," ACT("starting", "old")), "{}", 3, 2);
    assert_null(action_of(asks, BURN));
    _cleanup_json_ json_t *hangs = step(c, "{\"ev\":\"done\",\"id\":\"ha/old-laundering\",\"error\":{\"name\":\"object.busy\",\"message\":\"\"}}",
                                        "{}", 3, 3);
    assert_null(action_of(hangs, BURN));
    assert_non_null(action_of(hangs, left)); /* once more */
    _cleanup_json_ json_t *over = step(c, "{\"ev\":\"done\",\"id\":\"ha/old-laundering\",\"result\":{}}", "{}", 3, 6);
    assert_non_null(action_of(over, BURN));
}

/* The claim of a start tells whether the guard will be able to freeze it: whoever reads it may take the machine over. */
static void what_was_claimed_as_freezable_is_born_so_although_failover_was_switched_off_since(void **state)
{
    for (int is_told = 0; is_told < 2; is_told++) {
        _cleanup_(core_freep) struct core *c = with_pool();
        smap_put(&c->seen, "net/default", json_object());
        _cleanup_free_ char *claimed = str_printf(
            "{\"ev\":\"watch\",\"revision\":11,\"puts\":[" SPEC("running") ",[\"/mortar/v1/vm/db1/act\",11,{\"state\":\"starting\","
            "\"host\":\"host1\",\"epoch\":3,\"instance\":\"i\",\"ha\":%s}]],\"dels\":[]}", is_told ? "true" : "false");
        _cleanup_json_ json_t *actions = step(c, claimed, "{}", 3, 2);
        const json_t *args = action_args(actions, "vm/db1/create/u-db1/3");
        assert_non_null(args);
        assert_int_equal(json_bool_of(args, "freezable", true), is_told);
    }
}

/* Failover takes a machine away when act says that the guard can freeze it: that must be so before it runs. */
static void a_copy_that_no_guard_can_freeze_does_not_run_while_act_says_so(void **state)
{
    _cleanup_(core_freep) struct core *c = with_pool();
    static const char records[] = WATCH(HAS_COME "," RESUMING(",\"ha\":true"));
    _cleanup_json_ json_t *outside = step(c, records, PAUSED(",\"freezable\":false"), 1, 2);
    assert_null(action_of(outside, "vm/db1/resume"));
    _cleanup_free_ char *commit = commit_of(outside, "vm/db1/handover");
    assert_non_null(strstr(commit, "\"state\":\"resuming\""));
    assert_null(strstr(commit, "\"ha\""));
    _cleanup_(core_freep) struct core *other = with_pool();
    _cleanup_json_ json_t *inside = step(other, records, PAUSED(",\"freezable\":true"), 1, 2);
    assert_non_null(action_of(inside, "vm/db1/resume"));
    assert_null(action_of(inside, "vm/db1/handover"));
}

static void a_copy_that_has_gone_before_it_ran_costs_its_epoch_and_is_no_crash(void **state)
{
    _cleanup_(core_freep) struct core *c = with_pool();
    _cleanup_json_ json_t *actions = step(c, WATCH(HAS_COME "," RESUMING("")), "{}", 3, 2);
    _cleanup_free_ char *commit = commit_of(actions, "vm/db1/raise");
    assert_non_null(strstr(commit, "\"epoch\":5"));
    assert_null(strstr(commit, "crashes"));
    assert_null(action_of(actions, "vm/db1/create/u-db1/4"));
}

static void a_copy_that_was_resumed_runs_before_a_list_says_so(void **state)
{
    _cleanup_(core_freep) struct core *c = with_pool();
    _cleanup_json_ json_t *asked = step(c, WATCH(HAS_COME "," RESUMING("")), PAUSED(""), 1, 2);
    _cleanup_json_ json_t *early = step(c, "{\"ev\":\"tick\"}", PAUSED(""), 1, 3);
    assert_null(action_of(early, "vm/db1/running"));
    static const char done[] = "{\"ev\":\"done\",\"id\":\"vm/db1/resume\",\"result\":{}}";
    _cleanup_json_ json_t *resumed = step(c, done, PAUSED(""), 3, 4);
    _cleanup_free_ char *commit = commit_of(resumed, "vm/db1/running");
    assert_non_null(strstr(commit, "\"epoch\":4"));
    (void)smap_del(&c->attempts, "vm/db1/running");
    _cleanup_json_ json_t *paused = step(c, "{\"ev\":\"tick\"}", PAUSED(""), 5, 6); /* a list of after it */
    assert_null(action_of(paused, "vm/db1/running"));
}

/* The file would go back in time: what was asked for first may be written last. */
static void no_claim_while_the_epoch_of_a_copy_is_being_written(void **state)
{
    _cleanup_(core_freep) struct core *c = with_pool();
    static const char undone[] = WATCH(SPEC("running") ",[\"/mortar/v1/vm/db1/own\",12,{\"owner\":\"host1\",\"inc\":1,"
                                       "\"epoch\":5,\"mig\":null}]");
    _cleanup_json_ json_t *comes = step(c, WATCH(COMES), PAUSED(""), 3, 2);
    assert_non_null(action_of(comes, "vm/db1/epoch/4"));
    _cleanup_json_ json_t *taken = step(c, undone, "{}", 5, 4);
    assert_null(action_of(taken, "vm/db1/claim/u-db1/5"));
    _cleanup_json_ json_t *kept =
        step(c, "{\"ev\":\"done\",\"id\":\"vm/db1/epoch/4\",\"result\":{}}", "{}", 6, 6);
    assert_non_null(action_of(kept, "vm/db1/claim/u-db1/5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_of_a_dead_agent_is_burnt_before_it_counts_as_stopped),
        cmocka_unit_test(a_claim_of_a_dead_agent_is_burnt_before_the_next_start),
        cmocka_unit_test(a_stop_that_is_older_than_what_runs_ends_nothing),
        cmocka_unit_test(a_claim_compares_the_pool),
        cmocka_unit_test(a_reboot_compares_whether_failover_is_on),
        cmocka_unit_test(a_stop_is_compared_with_what_the_user_wants),
        cmocka_unit_test(the_epoch_of_a_copy_is_on_disk_before_t7),
        cmocka_unit_test(a_copy_is_resumed_when_t7_is_heard_of_without_a_commit),
        cmocka_unit_test(a_start_that_is_stopped_has_not_ended_before_its_laundering),
        cmocka_unit_test(nothing_is_started_under_an_epoch_that_was_stated_to_be_over),
        cmocka_unit_test(a_statement_that_is_known_to_have_failed_hinders_no_start),
        cmocka_unit_test(a_claim_of_a_dead_agent_stands_until_its_laundering_has_ended),
        cmocka_unit_test(what_was_claimed_as_freezable_is_born_so_although_failover_was_switched_off_since),
        cmocka_unit_test(a_copy_that_no_guard_can_freeze_does_not_run_while_act_says_so),
        cmocka_unit_test(a_copy_that_has_gone_before_it_ran_costs_its_epoch_and_is_no_crash),
        cmocka_unit_test(a_copy_that_was_resumed_runs_before_a_list_says_so),
        cmocka_unit_test(no_claim_while_the_epoch_of_a_copy_is_being_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
