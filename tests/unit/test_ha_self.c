/* SPDX-License-Identifier: Apache-2.0
 * A host that reads that it was fenced: what it ends before it comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/act.h"
#include "core_fenced.h"

#define OWN(epoch, mig) \
    "[\"/mortar/v1/vm/x/spec\",30,{\"name\":\"x\",\"uuid\":\"u-x\",\"desired\":\"running\",\"pool\":\"vms\"}]," \
    "[\"/mortar/v1/vm/x/own\",30,{\"owner\":\"host1\",\"inc\":1,\"epoch\":" epoch ",\"mig\":" mig "}]"
#define COPY "{\"id\":\"t\",\"dst\":\"host1\",\"dst_inc\":1,\"epoch\":6,\"phase\":\"active\"}"

/* Does host1, fenced as it reads, end its QEMU of x that runs under epoch 6? @own: the row, or "" */
static bool is_ended_of(const char *own, const char *uuid)
{
    _cleanup_(core_freep) struct core *c = fenced_world(FENCED_VM("y", "stopped", "", "stopped"));
    json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host1"));
    json_object_set_new(node, "state", json_string("fenced"));
    _cleanup_free_ char *text = json_format(node);
    _cleanup_free_ char *rows =
        str_printf("[\"/mortar/v1/node/host1\",30,%s]%s%s", text, own[0] ? "," : "", own);
    json_decref(node);
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 30, rows, 2 * USEC_PER_SEC);
    c->store_is_lost = false;
    smap_put(&c->seen, "domains", json_pack("{s:{s:s,s:s,s:s,s:I}}", "x", "uuid", uuid, "state", "running", "reason",
                                            "x", "epoch", (json_int_t)6));
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", 3 * USEC_PER_SEC);
    return action_of(actions, "vm/x/kill") != NULL;
}

static bool is_ended(const char *own)
{
    return is_ended_of(own, "u-x");
}

static void a_fenced_host_ends_what_it_had_the_right_to_run(void **state)
{
    assert_true(is_ended(OWN("6", "null")));
    assert_true(is_ended(OWN("7", "null"))); /* its new owner's */
    assert_true(is_ended(OWN("5", COPY)));
    assert_true(is_ended("")); /* removed meanwhile */
}

/* Seed 3000285: an agent that began anew was given an old list, in which its host was still fenced. */
static void what_runs_under_an_epoch_not_heard_of_yet_is_not_ended(void **state)
{
    assert_false(is_ended(OWN("5", "null")));
}

/* Removed and made anew while this host was out: the epochs of another machine say nothing of this one. */
static void what_runs_under_a_name_that_was_given_again_is_ended(void **state)
{
    assert_true(is_ended_of(OWN("1", "null"), "u-before"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fenced_host_ends_what_it_had_the_right_to_run),
        cmocka_unit_test(what_runs_under_a_name_that_was_given_again_is_ended),
        cmocka_unit_test(what_runs_under_an_epoch_not_heard_of_yet_is_not_ended),
    };
    return cmocka_run_group_tests_name("ha_self", tests, NULL, NULL);
}
