/* SPDX-License-Identifier: Apache-2.0
 * What a core believes of hosts that do not answer any more: bricks, quorum, and who does what only one
 * host does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/node.h"
#include "core/model/pool.h"
#include "core_well.h"

#define AT (2 * USEC_PER_SEC)

static unsigned bricks_online(const struct core *c, bool *ret_quorum)
{
    unsigned n = 0;
    *ret_quorum = pool_quorum(c, "vms", &n);
    return n;
}

static void a_host_that_does_not_answer_has_no_brick_online(void **state)
{
    bool has_quorum;
    _cleanup_(core_freep) struct core *c = well();
    tick(c, AT);
    assert_int_equal(bricks_online(c, &has_quorum), 3);
    see(c, "reach", "{\"host2\":false,\"host3\":true}");
    assert_false(pool_brick_is_online(c, "vms", "host2"));
    assert_true(pool_brick_is_online(c, "vms", "host3"));
    assert_int_equal(bricks_online(c, &has_quorum), 2);
    assert_true(has_quorum);
    see(c, "reach", "{\"host2\":false,\"host3\":false}");
    assert_int_equal(bricks_online(c, &has_quorum), 1);
    assert_false(has_quorum);
    see(c, "reach", "{\"host2\":true,\"host3\":true}");
    assert_int_equal(bricks_online(c, &has_quorum), 3);
}

static void a_brick_that_the_mount_has_lost_is_offline(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    tick(c, AT);
    see(c, "pool/vms", "{\"mount\":{\"state\":\"mounted\",\"quorum\":true,\"bricks_up\":5}}");
    assert_false(pool_brick_is_online(c, "vms", "host2"));
    assert_true(pool_brick_is_online(c, "vms", "host3"));
    /* A mount without quorum cannot tell its bricks: then it is no witness. */
    see(c, "pool/vms", "{\"mount\":{\"state\":\"mounted\",\"quorum\":false,\"bricks_up\":0}}");
    assert_true(pool_brick_is_online(c, "vms", "host2"));
}

static void of_a_silent_agent_only_the_mounts_connection_counts(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    uint64_t late = AT + 2 * NODE_SILENT_US;
    tick(c, late);
    assert_true(node_is_silent(c, "host2"));
    assert_true(pool_brick_is_online(c, "vms", "host2")); /* its brick lives on */
    see(c, "pool/vms", "{\"mount\":{\"state\":\"absent\"}}");
    assert_false(pool_brick_is_online(c, "vms", "host2"));
    assert_true(pool_brick_is_online(c, "vms", "host1")); /* this host believes itself */
}

static void a_store_that_does_not_answer_makes_nobody_silent(void **state)
{
    struct err e = {0};
    _cleanup_(core_freep) struct core *c = well();
    assert_int_equal(core_world_step(c, "{\"ev\":\"lost\"}", AT, &e), 0);
    tick(c, AT + 2 * NODE_SILENT_US);
    assert_false(node_is_silent(c, "host2"));
    see(c, "reach", "{\"host2\":false,\"host3\":true}");
    assert_true(node_is_silent(c, "host2"));
}

static bool has_bricks(const json_t *node)
{
    return node_has_bricks(node);
}

static void the_first_host_is_one_that_answers(void **state)
{
    struct err e = {0};
    _cleanup_(core_freep) struct core *c = well();
    free(c->host);
    c->host = str_dup("host2");
    see(c, "reach", "{\"host1\":true,\"host3\":true}");
    assert_int_equal(core_world_step(c, "{\"ev\":\"tick\"}", AT, &e), 0);
    assert_false(node_is_first(c, has_bricks));
    see(c, "reach", "{\"host1\":false,\"host3\":true}");
    assert_true(node_is_first(c, has_bricks));
    see(c, "reach", "{}");
    beat(c, "host2", 20, AT + NODE_SILENT_US);
    tick(c, AT + 2 * NODE_SILENT_US);
    assert_true(node_is_first(c, has_bricks));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_does_not_answer_has_no_brick_online),
        cmocka_unit_test(a_brick_that_the_mount_has_lost_is_offline),
        cmocka_unit_test(of_a_silent_agent_only_the_mounts_connection_counts),
        cmocka_unit_test(a_store_that_does_not_answer_makes_nobody_silent),
        cmocka_unit_test(the_first_host_is_one_that_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
