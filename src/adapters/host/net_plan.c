/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/net_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/host/host_facts_parse.h"
#include "base/json.h"

#define BRIDGE_NAME_MAX 12 /* IFNAMSIZ is 16 with the final zero, and "-vx" is appended */
#define VNI_MAX ((1U << 24) - 1)
#define MTU_MIN 1280 /* what IPv6 asks of every link, RFC 8200 */
#define PEERS_MAX 256
#define PEER_CHANGES_MAX 48
#define FLOOD_MAC "00:00:00:00:00:00"

void net_seen_done(struct net_seen *s)
{
    free(s->vxlan_local);
    strv_done(&s->peers);
    *s = (struct net_seen){0};
}

void net_plan_done(struct net_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        strv_done(&p->cmds[i]);
    }
    p->n = 0;
}

char *net_vxlan_name(const char *bridge)
{
    return str_printf("%s-vx", bridge);
}

static bool is_up(const json_t *link)
{
    size_t i = 0;
    json_t *f = NULL;
    json_array_foreach(json_object_get(link, "flags"), i, f) {
        if (str_eq(json_string_value(f), "UP")) {
            return true;
        }
    }
    return false;
}

static bool is_ours(const json_t *link, const char *kind)
{
    return str_eq(json_text_of(json_object_get(link, "linkinfo"), "info_kind"), kind) &&
           str_eq(json_text_of(link, "group"), NET_LINK_GROUP);
}

static void see_bridge(const json_t *j, struct net_seen *s)
{
    s->bridge_exists = true;
    s->bridge_ours = is_ours(j, "bridge");
    s->bridge_up = is_up(j);
    s->bridge_mtu = json_u64_of(j, "mtu", 0);
}

static void see_vxlan(const json_t *j, const char *bridge, struct net_seen *s)
{
    const json_t *data = json_object_get(json_object_get(j, "linkinfo"), "info_data");
    const char *local = json_text_of(data, "local");
    s->vxlan_exists = true;
    s->vxlan_ours = is_ours(j, "vxlan");
    s->vxlan_up = is_up(j);
    s->vxlan_in_bridge = str_eq(json_text_of(j, "master"), bridge);
    s->vxlan_mtu = json_u64_of(j, "mtu", 0);
    s->vxlan_vni = json_u64_of(data, "id", 0);
    s->vxlan_local = str_dup(local ? local : json_text_of(data, "local6"));
}

int net_parse_links(const char *json, const struct net_spec *spec, struct net_seen *ret,
                    struct err *e)
{
    _cleanup_free_ char *vxlan = net_vxlan_name(spec->bridge);
    _cleanup_json_ json_t *root = NULL;
    struct host_links links = {0};
    size_t i = 0;
    json_t *j = NULL;
    int r = host_parse_links(json, &links, e);
    if (r < 0) {
        return r;
    }
    const struct host_link *under = host_find_link_of(&links, spec->local_addr);
    ret->under_mtu = under ? under->mtu : 0;
    host_links_done(&links);
    r = json_parse(json, strlen(json), &root, e);
    if (r < 0) {
        return r;
    }
    json_array_foreach(root, i, j) {
        const char *name = json_text_of(j, "ifname");
        if (str_eq(name, spec->bridge)) {
            see_bridge(j, ret);
        } else if (str_eq(name, vxlan) && !ret->vxlan_exists) {
            see_vxlan(j, spec->bridge, ret);
        }
    }
    return 0;
}

int net_parse_fdb(const char *json, struct net_seen *ret, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    size_t i = 0;
    json_t *j = NULL;
    size_t n = strlen(json);
    int r = n ? json_parse(json, n, &root, e) : 0;
    if (r < 0) {
        return r;
    }
    json_array_foreach(root, i, j) {
        const char *dst = json_text_of(j, "dst");
        if (!dst || !str_eq(json_text_of(j, "mac"), FLOOD_MAC)) {
            continue;
        }
        if (ret->peers.n == PEERS_MAX) {
            return ERR_SET(e, LIMIT, "the tunnel floods to more than %d hosts", PEERS_MAX);
        }
        strv_add(&ret->peers, dst);
    }
    return 0;
}

static void add_cmd(struct net_plan *p, const char *line)
{
    strv_split(&p->cmds[p->n++], line, " "); /* our words hold no spaces */
}

static void _printf_(2, 3) add(struct net_plan *p, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap); /* names and addresses are checked and short */
    va_end(ap);
    add_cmd(p, line);
}

static bool is_address(const char *s)
{
    return s && s[0] && strlen(s) <= 45 && strspn(s, "0123456789abcdefABCDEF.:") == strlen(s);
}

static int check_spec(const struct net_spec *spec, struct err *e)
{
    if (!str_is_name(spec->bridge) || strlen(spec->bridge) > BRIDGE_NAME_MAX) {
        return ERR_SET(e, INVALID, "'%.40s' cannot be the name of a bridge (at most %d of a-z 0-9 -)",
                       spec->bridge, BRIDGE_NAME_MAX);
    }
    if (spec->vni < 1 || spec->vni > VNI_MAX) {
        return ERR_SET(e, INVALID, "a VXLAN number lies between 1 and %u", VNI_MAX);
    }
    bool ok = is_address(spec->local_addr) && spec->peers_n <= PEERS_MAX;
    for (size_t i = 0; ok && i < spec->peers_n; i++) {
        ok = is_address(spec->peers[i]);
    }
    return ok ? 0 : ERR_SET(e, INVALID, "the addresses of network '%s' are wrong", spec->bridge);
}

static int check_foreign(const struct net_spec *spec, const struct net_seen *seen, struct err *e)
{
    bool bridge = seen->bridge_exists && !seen->bridge_ours;
    if (!bridge && (!seen->vxlan_exists || seen->vxlan_ours)) {
        return 0;
    }
    int r = ERR_SET(e, FOREIGN, "this host has a link '%s%s' that is not Mortar's", spec->bridge,
                    bridge ? "" : "-vx");
    err_hint(e, "remove or rename it: ip -d link show dev %s%s", spec->bridge, bridge ? "" : "-vx");
    return r;
}

static int find_mtu(const struct net_spec *spec, const struct net_seen *seen, uint64_t *ret,
                    struct err *e)
{
    uint64_t overhead = strchr(spec->local_addr, ':') ? NET_VXLAN_OVERHEAD_V6 : NET_VXLAN_OVERHEAD_V4;
    if (!seen->under_mtu) {
        return ERR_SET(e, NOT_FOUND, "no link of this host has the address %s", spec->local_addr);
    }
    uint64_t most = seen->under_mtu > overhead ? seen->under_mtu - overhead : 0;
    uint64_t mtu = spec->mtu ? spec->mtu : most;
    if (mtu > most || mtu < MTU_MIN) {
        int r = ERR_SET(e, INVALID, "an MTU of %llu does not go through a tunnel over a link with %llu",
                        (unsigned long long)mtu, (unsigned long long)seen->under_mtu);
        err_hint(e, "it must lie between %d and the link's MTU less %llu", MTU_MIN,
                 (unsigned long long)overhead);
        return r;
    }
    *ret = mtu;
    return 0;
}

static void plan_bridge(const struct net_spec *spec, const struct net_seen *seen, struct net_plan *p)
{
    if (!seen->bridge_exists) {
        add(p, "ip link add name %s group " NET_LINK_GROUP
               " type bridge " NET_BRIDGE_OPTIONS,
            spec->bridge);
    }
}

static bool plan_vxlan(const struct net_spec *spec, const struct net_seen *seen, const char *vxlan,
                       struct net_plan *p)
{
    bool fits = seen->vxlan_exists && seen->vxlan_vni == spec->vni &&
                str_eq(seen->vxlan_local, spec->local_addr);
    if (fits) {
        return true;
    }
    if (seen->vxlan_exists) {
        add(p, "ip link del dev %s", vxlan);
    }
    add(p, "ip link add name %s group " NET_LINK_GROUP " type vxlan id %llu local %s dstport %d",
        vxlan, (unsigned long long)spec->vni, spec->local_addr, NET_VXLAN_PORT);
    return false;
}

static bool is_peer(const struct net_spec *spec, const char *addr)
{
    for (size_t i = 0; i < spec->peers_n; i++) {
        if (str_eq(spec->peers[i], addr) && !str_eq(addr, spec->local_addr)) {
            return true;
        }
    }
    return false;
}

static int plan_peers(const struct net_spec *spec, const struct strv *have, const char *vxlan,
                      struct net_plan *p, struct err *e)
{
    size_t first = p->n;
    for (size_t i = 0; i < spec->peers_n && p->n - first <= PEER_CHANGES_MAX; i++) {
        if (!strv_has(have, spec->peers[i]) && is_peer(spec, spec->peers[i])) {
            add(p, "bridge fdb append " FLOOD_MAC " dev %s dst %s self permanent", vxlan,
                spec->peers[i]);
        }
    }
    for (size_t i = 0; i < have->n && p->n - first <= PEER_CHANGES_MAX; i++) {
        if (!is_peer(spec, have->v[i])) {
            add(p, "bridge fdb del " FLOOD_MAC " dev %s dst %s self", vxlan, have->v[i]);
        }
    }
    return p->n - first <= PEER_CHANGES_MAX
               ? 0
               : ERR_SET(e, LIMIT, "more than %d peers change at once", PEER_CHANGES_MAX);
}

int net_make_plan(const struct net_spec *spec, const struct net_seen *seen, struct net_plan *ret,
                  uint64_t *ret_mtu, struct err *e)
{
    static const struct strv nobody = {0};
    _cleanup_free_ char *vxlan = net_vxlan_name(spec->bridge);
    uint64_t mtu = 0;
    int r = check_spec(spec, e);
    r = r == 0 ? check_foreign(spec, seen, e) : r;
    r = r == 0 ? find_mtu(spec, seen, &mtu, e) : r;
    if (r < 0) {
        return r;
    }
    plan_bridge(spec, seen, ret);
    bool kept = plan_vxlan(spec, seen, vxlan, ret);
    /* addrgenmode none: the host itself is not on the guests' network, not even by IPv6. */
    if (!kept || seen->vxlan_mtu != mtu || !seen->vxlan_in_bridge || !seen->vxlan_up) {
        add(ret, "ip link set dev %s mtu %llu master %s addrgenmode none up", vxlan, (unsigned long long)mtu,
            spec->bridge);
    }
    if (seen->bridge_mtu != mtu || !seen->bridge_up) {
        add(ret, "ip link set dev %s mtu %llu addrgenmode none up", spec->bridge, (unsigned long long)mtu);
    }
    r = plan_peers(spec, kept ? &seen->peers : &nobody, vxlan, ret, e);
    *ret_mtu = mtu;
    return r;
}
