/* SPDX-License-Identifier: Apache-2.0
 * The uplink: which cards are refused, what the plans say, and that the kernel does it. The trial with
 * its timer needs systemd: tests/lab/test_uplink.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <sched.h>

#include "adapters/host/host_net.h"
#include "adapters/host/host_uplink.h"
#include "golden.h"
#include "io/cmd.h"

static const struct uplink_wish wish = {
    .nic = "w0", .bridge = "mortar0", .mgmt = "10.1.1.2", .storage = "10.5.0.2"};

static void parse(const char *nic, struct uplink_seen *ret)
{
    _cleanup_free_ char *links = golden_read("host/uplink-links.json");
    _cleanup_free_ char *v4 = golden_read("host/uplink-routes4.json");
    _cleanup_free_ char *v6 = golden_read("host/uplink-routes6.json");
    assert_int_equal(uplink_parse_links(links, nic, "mortar0", ret, NULL), 0);
    assert_int_equal(uplink_parse_routes(v4, false, nic, "mortar0", ret, NULL), 0);
    assert_int_equal(uplink_parse_routes(v6, true, nic, "mortar0", ret, NULL), 0);
}

static char *format_plan(const struct uplink_plan *p)
{
    return str_printf("%s-- may fail\n%s", p->must.len ? p->must.data : "", p->may.len ? p->may.data : "");
}

static void a_move_takes_all_along_and_the_tunnel_goes_first(void **state)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    _cleanup_uplink_plan_ struct uplink_plan there = {0};
    _cleanup_uplink_plan_ struct uplink_plan back = {0};
    parse("w0", &seen);
    assert_int_equal(uplink_check(&wish, &seen, NULL), 0);
    _cleanup_json_ json_t *record = uplink_new_record(&wish, &seen);
    _cleanup_free_ char *text = json_dumps(record, JSON_INDENT(1) | JSON_SORT_KEYS);
    golden_check("host/uplink-record.json", text);
    uplink_plan_move(record, &seen, &there);
    _cleanup_free_ char *moved = format_plan(&there);
    golden_check("host/uplink-move.plan", moved);
    const char *tunnel = strstr(moved, "link del dev mortar0-vx");
    assert_non_null(tunnel);
    assert_true(tunnel < strstr(moved, "master mortar0"));
    uplink_plan_back(record, &seen, &back);
    assert_int_equal(back.must.len, 0); /* it has not moved yet */
    assert_int_equal(back.may.len, 0);
}

struct refusal {
    const char *nic;
    int code;
    const char *says;
};

static void cards_that_cannot_be_it_are_refused_with_a_next_step(void **state)
{
    static const struct refusal cases[] = {
        {"none", ERR_NOT_FOUND, "no network card"},
        {"lo", ERR_INVALID, "loopback"},
        {"port0", ERR_FOREIGN, "belongs to 'br9'"},
        {"br9", ERR_INVALID, "is a bridge"},
        {"lease0", ERR_STATE, "10.4.0.9 from DHCP"},
        {"ra0", ERR_STATE, "fd04::9 from DHCP or a router"},
        {"stor0", ERR_INVALID, "storage network"},
        {"multi0", ERR_STATE, "another card at once"},
        {"ev;il", ERR_NOT_FOUND, "no network card"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_uplink_seen_ struct uplink_seen seen = {0};
        struct uplink_wish w = wish;
        struct err e = {0};
        w.nic = cases[i].nic;
        parse(w.nic, &seen);
        int r = uplink_check(&w, &seen, &e);
        if (r != -cases[i].code || !strstr(e.msg, cases[i].says) || !e.hint[0]) {
            fail_msg("%s: '%s', hint '%s'", w.nic, e.msg, e.hint);
        }
    }
}

static void what_other_programs_would_take_back_is_refused(void **state)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    struct err e = {0};
    parse("w0", &seen);
    seen.manager = "NetworkManager";
    assert_int_equal(uplink_check(&wish, &seen, &e), -ERR_STATE);
    assert_non_null(strstr(e.hint, "nmcli device set w0 managed no"));
    e = (struct err){0};
    seen.manager = "systemd-networkd";
    assert_int_equal(uplink_check(&wish, &seen, &e), -ERR_STATE);
    assert_non_null(strstr(e.hint, "Unmanaged=yes"));
    e = (struct err){0};
    seen.manager = NULL;
    seen.wireless = true;
    assert_int_equal(uplink_check(&wish, &seen, &e), -ERR_INVALID);
    assert_non_null(strstr(e.msg, "wireless"));
    assert_true(uplink_is_managed("# x\nADMIN_STATE=configured\nOPER_STATE=routable\n"));
    assert_true(uplink_is_managed("ADMIN_STATE=configuring\n"));
    assert_false(uplink_is_managed("ADMIN_STATE=unmanaged\n"));
    assert_true(uplink_is_managed("[device]\nmanaged=true\n"));
    assert_false(uplink_is_managed("[device]\nmanaged=false\n"));
    assert_true(uplink_has_dhcp("auto w0\niface w0 inet dhcp\n", "w0"));
    assert_true(uplink_has_dhcp("iface w0 inet static\n address 1.2.3.4\niface  w0\tinet6 auto\n", "w0"));
    assert_false(uplink_has_dhcp("iface w0 inet static\niface w1 inet dhcp\n# iface w0 inet dhcp\n", "w0"));
}

static void what_the_host_sets_anew_is_adopted(void **state)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    parse("w0", &seen);
    _cleanup_json_ json_t *record = uplink_new_record(&wish, &seen);
    assert_false(uplink_adopt(record, &seen));
    _cleanup_json_ json_t *before = json_deep_copy(record);
    json_t *fewer = json_pack("[O]", json_array_get(seen.addrs, 0));
    json_decref(seen.addrs);
    seen.addrs = fewer;
    assert_true(uplink_adopt(record, &seen));
    assert_true(json_equal(json_object_get(record, "addrs"), fewer)); /* at boot: these count */
    json_decref(seen.bridge_addrs);
    seen.bridge_addrs = json_deep_copy(fewer);
    json_decref(seen.addrs);
    seen.addrs = json_deep_copy(json_object_get(before, "addrs"));
    json_array_remove(seen.addrs, 0);
    assert_true(uplink_adopt(record, &seen)); /* some came later: they are added */
    assert_true(json_equal(json_object_get(record, "addrs"), json_object_get(before, "addrs")));
    assert_false(uplink_adopt(record, &seen));
    json_decref(seen.addrs);
    seen.addrs = json_array();
    assert_false(uplink_adopt(record, &seen)); /* it is on the bridge, as it should be */
}

/* --- the kernel's word ---------------------------------------------------------------------- */

static void sh(const char *script)
{
    struct err e = {0};
    if (cmd_check(CMD("sh", "-ec", script), NULL, NULL, &e) < 0) {
        fail_msg("%s: %s", script, e.msg);
    }
}

static char *shown(const char *script)
{
    char *out = NULL;
    assert_int_equal(cmd_check(CMD("sh", "-c", script), NULL, &out, NULL), 0);
    return out;
}

#define ALL_OF(dev) "ip -o addr show dev " dev " scope global | sed 's/^[0-9]*: //; s/" dev "//g; s/:1 / /; s/ *$//';" \
                    "ip -4 route show dev " dev " proto boot; ip -6 route show dev " dev " proto boot"

static void make_card(void)
{
    struct err e = {0};
    if (unshare(CLONE_NEWNET) < 0 ||
        cmd_check(CMD("ip", "link", "add", "w0", "type", "veth", "peer", "name", "out0"), NULL, NULL,
                  &e) < 0) {
        skip();
    }
    sh("ip link set lo up; ip link set w0 mtu 1400 up; ip link set out0 up\n"
       "ip addr add 10.1.1.2/24 brd + dev w0; ip addr add 10.1.1.3/24 dev w0\n"
       "ip addr add fd00::5/64 dev w0 nodad\n"
       "ip route add 10.8.0.0/16 dev w0; ip route add default via 10.8.0.1 metric 100\n"
       "ip route add 10.9.0.0/16 via 10.1.1.7 src 10.1.1.3 table 77\n"
       "ip -6 route add default via fd00::1\n");
}

static void all_moves_to_the_bridge_and_comes_back(void **state)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    struct err e = {0};
    bool changed = false;
    make_card();
    _cleanup_free_ char *before = shown(ALL_OF("w0"));
    _cleanup_free_ char *links = shown("ip -j -d addr show");
    _cleanup_free_ char *v4 = shown("ip -j -4 route show table all");
    _cleanup_free_ char *v6 = shown("ip -j -6 route show table all");
    assert_int_equal(uplink_parse_links(links, "w0", "mortar0", &seen, &e), 0);
    assert_int_equal(uplink_parse_routes(v4, false, "w0", "mortar0", &seen, &e), 0);
    assert_int_equal(uplink_parse_routes(v6, true, "w0", "mortar0", &seen, &e), 0);
    _cleanup_json_ json_t *record = uplink_new_record(&wish, &seen);
    if (uplink_move(record, &changed, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_true(changed);
    _cleanup_free_ char *moved = shown(ALL_OF("mortar0"));
    _cleanup_free_ char *left = shown(ALL_OF("w0"));
    assert_string_equal(moved, before);
    assert_string_equal(left, "");
    sh("ip -4 route show table 77 | grep -q 'dev mortar0'; ip -o link show mortar0 | grep -q 'mtu 1400'\n"
       "test \"$(cat /proc/sys/net/ipv6/conf/mortar0/accept_ra)\" = 0");
    assert_int_equal(uplink_move(record, &changed, &e), 0);
    assert_false(changed);
    /* Half-way, as after a kill: one address and a route are at the old place. */
    sh("ip addr add 10.1.1.2/24 brd + dev w0; ip route del default metric 100");
    if (uplink_move_back(record, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    _cleanup_free_ char *after = shown(ALL_OF("w0"));
    _cleanup_free_ char *bare = shown(ALL_OF("mortar0"));
    assert_string_equal(after, before);
    assert_string_equal(bare, "");
    sh("ip -4 route show table 77 | grep -q 'dev w0'; ! ip -o link show w0 | grep -q master");
}

static void a_card_without_addresses_is_kept_at_once_and_replaces_the_tunnel(void **state)
{
    char dir[] = "/tmp/mortar-uplink-XXXXXX";
    struct err e = {0};
    _cleanup_json_ json_t *seen = NULL;
    _cleanup_json_ json_t *record = NULL;
    uint64_t mtu = 0;
    assert_non_null(mkdtemp(dir));
    make_card();
    sh("ip addr flush dev w0; ip -4 route flush dev w0; ip -4 route flush table 77; ip -6 route flush dev w0 proto boot\n"
       "ip link add under0 type bridge; ip addr add 10.5.0.2/24 dev under0; ip link set under0 up");
    const struct net_spec spec = {
        .bridge = "mortar0", .vni = 7, .local_addr = "10.5.0.2", .root = dir};
    assert_int_equal(net_apply(&spec, &mtu, NULL, &e), 0);
    assert_int_equal(mtu, 1450);
    if (uplink_take(dir, &wish, 60, &record, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_string_equal(json_text_of(record, "state"), "kept");
    sh("! ip link show mortar0-vx; ip -o link show w0 | grep -q 'master mortar0'");
    assert_int_equal(net_apply(&spec, &mtu, NULL, &e), 0); /* does not bring the tunnel back */
    assert_int_equal(mtu, 1400);
    sh("! ip link show mortar0-vx");
    sh("ip link set w0 nomaster");
    assert_int_equal(uplink_restore(dir, &e), 0);
    sh("ip -o link show w0 | grep -q 'master mortar0'");
    assert_int_equal(uplink_observe(dir, &seen, &e), 0);
    assert_string_equal(json_text_of(seen, "state"), "kept");
    struct uplink_wish other = wish;
    other.nic = "out0";
    json_t *none = NULL;
    assert_int_equal(uplink_take(dir, &other, 60, &none, &e), -ERR_STATE);
    assert_int_equal(uplink_keep(dir, &e), 0);
    assert_int_equal(uplink_return(dir, &e), 0); /* it is kept: a late timer does nothing */
    sh("ip -o link show w0 | grep -q 'master mortar0'");
    assert_int_equal(uplink_drop(dir, &e), 0);
    assert_false(uplink_exists(dir));
    assert_int_equal(net_apply(&spec, &mtu, NULL, &e), 0);
    sh("ip link show mortar0-vx; ! ip -o link show w0 | grep -q master");
    assert_int_equal(cmd_check(CMD("rm", "-r", dir), NULL, NULL, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_takes_all_along_and_the_tunnel_goes_first),
        cmocka_unit_test(cards_that_cannot_be_it_are_refused_with_a_next_step),
        cmocka_unit_test(what_other_programs_would_take_back_is_refused),
        cmocka_unit_test(what_the_host_sets_anew_is_adopted),
        cmocka_unit_test(all_moves_to_the_bridge_and_comes_back),
        cmocka_unit_test(a_card_without_addresses_is_kept_at_once_and_replaces_the_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
