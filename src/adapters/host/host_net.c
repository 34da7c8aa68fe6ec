/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_net.h"

#include "adapters/host/host_uplink.h"
#include "base/util.h"
#include "io/cmd.h"

int net_observe(const struct net_spec *spec, struct net_seen *ret, struct err *e)
{
    _cleanup_free_ char *vxlan = net_vxlan_name(spec->bridge);
    _cleanup_free_ char *links = NULL;
    _cleanup_free_ char *fdb = NULL;
    int r = cmd_check(CMD("ip", "-j", "-d", "address", "show"), NULL, &links, e);
    r = r == 0 ? net_parse_links(links, spec, ret, e) : r;
    if (r < 0 || !ret->vxlan_exists) {
        return r;
    }
    r = cmd_check(CMD("bridge", "-j", "fdb", "show", "dev", vxlan), NULL, &fdb, e);
    return r < 0 ? r : net_parse_fdb(fdb, ret, e);
}

static int apply_tunnel(const struct net_spec *spec, uint64_t *ret_mtu, bool *ret_changed,
                        struct err *e)
{
    _cleanup_net_seen_ struct net_seen seen = {0};
    _cleanup_(net_plan_done) struct net_plan plan = {0};
    int r = net_observe(spec, &seen, e);
    r = r == 0 ? net_make_plan(spec, &seen, &plan, ret_mtu, e) : r;
    for (size_t i = 0; r == 0 && i < plan.n; i++) {
        r = cmd_check((const char *const *)plan.cmds[i].v, NULL, NULL, e);
    }
    *ret_changed = plan.n > 0;
    return r;
}

int net_apply(const struct net_spec *spec, uint64_t *ret_mtu, bool *ret_changed, struct err *e)
{
    const char *root = spec->root ? spec->root : "";
    _cleanup_close_ int lock = -1;
    _cleanup_json_ json_t *uplink = NULL;
    bool changed = false;
    uint64_t mtu = 0;
    int r = net_lock(root, &lock, e);
    r = r < 0 ? r : uplink_ensure(root, &uplink, &changed, e);
    if (r == 0 && !str_eq(json_text_of(uplink, "bridge"), spec->bridge)) {
        r = apply_tunnel(spec, &mtu, &changed, e);
    } else if (r == 0) {
        mtu = json_u64_of(uplink, "mtu", 0);
    }
    if (r < 0) {
        err_prepend(e, "cannot set up network '%s'", spec->bridge);
        return r;
    }
    if (ret_mtu) {
        *ret_mtu = mtu;
    }
    if (ret_changed) {
        *ret_changed = changed;
    }
    return 0;
}

int net_remove(const char *bridge, struct err *e)
{
    _cleanup_free_ char *vxlan = net_vxlan_name(bridge);
    _cleanup_net_seen_ struct net_seen seen = {0};
    int r = net_observe(&(struct net_spec){.bridge = bridge, .local_addr = ""}, &seen, e);
    if (r == 0 && ((seen.bridge_exists && !seen.bridge_ours) || (seen.vxlan_exists && !seen.vxlan_ours))) {
        r = ERR_SET(e, FOREIGN, "the links of network '%s' are not Mortar's", bridge);
    }
    if (r == 0 && seen.vxlan_exists) {
        r = cmd_check(CMD("ip", "link", "del", "dev", vxlan), NULL, NULL, e);
    }
    if (r == 0 && seen.bridge_exists) {
        r = cmd_check(CMD("ip", "link", "del", "dev", bridge), NULL, NULL, e);
    }
    return r;
}
