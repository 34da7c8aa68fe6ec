/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <sched.h>

#include "adapters/host/host_net.h"
#include "golden.h"
#include "io/cmd.h"

static const char *const peers[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
static const struct net_spec spec = {
    .bridge = "mortar0", .vni = 4711, .local_addr = "10.0.0.1", .peers = peers, .peers_n = 3};

static char *format_plan(const struct net_plan *p)
{
    struct sbuf b = {0};
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; k < p->cmds[i].n; k++) {
            sbuf_printf(&b, "%s%s", k ? " " : "", p->cmds[i].v[k]);
        }
        sbuf_printf(&b, "\n");
    }
    return sbuf_take(&b);
}

static void expect_plan(const struct net_seen *seen, const char *golden)
{
    _cleanup_(net_plan_done) struct net_plan p = {0};
    uint64_t mtu = 0;
    assert_int_equal(net_make_plan(&spec, seen, &p, &mtu, NULL), 0);
    assert_int_equal(mtu, 1450);
    _cleanup_free_ char *text = format_plan(&p);
    golden_check(golden, text);
}

static void plan_makes_moves_and_keeps(void **state)
{
    char local[] = "10.0.0.1";
    char old_local[] = "10.9.0.1";
    char peer2[] = "10.0.0.2";
    char peer9[] = "10.0.0.9";
    char *have[] = {peer2, peer9};
    const struct net_seen bare = {.under_mtu = 1500};
    struct net_seen full = {
        .under_mtu = 1500, .bridge_exists = true, .bridge_ours = true, .bridge_up = true,
        .bridge_mtu = 1450, .vxlan_exists = true, .vxlan_ours = true, .vxlan_up = true,
        .vxlan_in_bridge = true, .vxlan_mtu = 1450, .vxlan_vni = 4711, .vxlan_local = local,
        .peers = {.v = have, .n = 2}};
    expect_plan(&bare, "host/net-bare.plan");
    expect_plan(&full, "host/net-peers.plan");
    full.vxlan_local = old_local;
    expect_plan(&full, "host/net-readdressed.plan");
}

static void plan_refuses_what_is_not_ours_or_does_not_fit(void **state)
{
    struct net_plan p = {0};
    uint64_t mtu = 0;
    struct net_seen seen = {.under_mtu = 1500, .bridge_exists = true};
    struct net_spec s = spec;
    assert_int_equal(net_make_plan(&s, &seen, &p, &mtu, NULL), -ERR_FOREIGN);
    seen = (struct net_seen){.under_mtu = 0};
    assert_int_equal(net_make_plan(&s, &seen, &p, &mtu, NULL), -ERR_NOT_FOUND);
    seen.under_mtu = 1500;
    s.mtu = 1500;
    assert_int_equal(net_make_plan(&s, &seen, &p, &mtu, NULL), -ERR_INVALID);
    s = spec;
    s.bridge = "much-too-long-a-name";
    assert_int_equal(net_make_plan(&s, &seen, &p, &mtu, NULL), -ERR_INVALID);
    s = spec;
    s.vni = 1 << 24;
    assert_int_equal(net_make_plan(&s, &seen, &p, &mtu, NULL), -ERR_INVALID);
    s = spec;
    s.local_addr = "10.0.0.1 dev lo";
    assert_int_equal(net_make_plan(&s, &seen, &p, &mtu, NULL), -ERR_INVALID);
    assert_int_equal(p.n, 0);
}

/* In a network namespace of its own, where the kernel allows that. */
static void network_is_applied_once_and_removed(void **state)
{
    bool changed = false;
    uint64_t mtu = 0;
    struct err e = {0};
    if (unshare(CLONE_NEWNET) < 0 ||
        cmd_check(CMD("ip", "link", "add", "u0", "mtu", "1400", "type", "bridge"), NULL, NULL, &e) < 0) {
        skip();
    }
    assert_int_equal(cmd_check(CMD("ip", "addr", "add", "10.0.0.1/24", "dev", "u0"), NULL, NULL, &e), 0);
    char dir[] = "/tmp/mortar-net-XXXXXX";
    struct net_spec one = spec;
    assert_non_null(mkdtemp(dir));
    one.root = dir;
    if (net_apply(&one, &mtu, &changed, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_true(changed);
    assert_int_equal(mtu, 1350);
    struct net_spec two = one;
    two.peers_n = 2;
    assert_int_equal(net_apply(&two, &mtu, &changed, &e), 0);
    assert_true(changed);
    assert_int_equal(net_apply(&two, &mtu, &changed, &e), 0);
    assert_false(changed);
    _cleanup_net_seen_ struct net_seen seen = {0};
    assert_int_equal(net_observe(&two, &seen, &e), 0);
    assert_int_equal(seen.peers.n, 1);
    assert_string_equal(seen.peers.v[0], "10.0.0.2");
    assert_int_equal(net_remove("mortar0", &e), 0);
    assert_int_equal(net_remove("mortar0", &e), 0);
    assert_int_equal(net_remove("u0", &e), -ERR_FOREIGN);
    assert_int_equal(cmd_check(CMD("rm", "-r", dir), NULL, NULL, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_makes_moves_and_keeps),
        cmocka_unit_test(plan_refuses_what_is_not_ours_or_does_not_fit),
        cmocka_unit_test(network_is_applied_once_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
