/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/uplink_plan.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "adapters/host/net_plan.h"

#define FOREVER 4294967295U /* ip's word for no end */
#define NIC_NAME_MAX 15     /* IFNAMSIZ less the final zero */

void uplink_seen_done(struct uplink_seen *s)
{
    free(s->kind);
    free(s->master);
    free(s->mac);
    free(s->lent);
    free(s->bridge_mac);
    json_decref(s->addrs);
    json_decref(s->routes);
    json_decref(s->bridge_addrs);
    json_decref(s->bridge_routes);
    *s = (struct uplink_seen){0};
}

void uplink_plan_done(struct uplink_plan *p)
{
    sbuf_done(&p->must);
    sbuf_done(&p->may);
}

bool uplink_is_nic_name(const char *name)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return name && name[0] && name[0] != '-' && name[0] != '.' && strlen(name) <= NIC_NAME_MAX &&
           strspn(name, legal) == strlen(name);
}

/* --- what ip shows ------------------------------------------------------------------------- */

/* What becomes a word of a batch is nothing but one, whatever the kernel or ip may say. */
static bool is_word(const char *s)
{
    return s && s[0] && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/_-")];
}

static void add_word(struct sbuf *b, const char *key, const char *value)
{
    if (is_word(value)) {
        sbuf_printf(b, "%s%s %s", b->len ? " " : "", key, value);
    }
}

static bool has_flag(const json_t *flags, const char *flag)
{
    size_t i = 0;
    json_t *f = NULL;
    json_array_foreach(flags, i, f) {
        if (str_eq(json_string_value(f), flag)) {
            return true;
        }
    }
    return false;
}

/* "id" is what `ip address del` needs, "text" what `ip address replace` does. */
static json_t *address_of(const json_t *j)
{
    const char *local = json_text_of(j, "local");
    const char *peer = json_text_of(j, "address");
    unsigned plen = (unsigned)json_u64_of(j, "prefixlen", 0);
    if (!is_word(local) || (peer && !is_word(peer))) {
        return NULL;
    }
    _cleanup_free_ char *id = peer ? str_printf("%s peer %s/%u", local, peer, plen)
                                   : str_printf("%s/%u", local, plen);
    _cleanup_sbuf_ struct sbuf text = {0};
    sbuf_printf(&text, "%s", id);
    add_word(&text, "brd", json_text_of(j, "broadcast"));
    add_word(&text, "scope", json_text_of(j, "scope"));
    if (json_u64_of(j, "metric", 0)) {
        sbuf_printf(&text, " metric %llu", (unsigned long long)json_u64_of(j, "metric", 0));
    }
    sbuf_printf(&text, "%s%s", json_bool_of(j, "noprefixroute", false) ? " noprefixroute" : "",
                str_eq(json_text_of(j, "family"), "inet6") ? " nodad" : "");
    return json_pack("{s:s,s:s,s:s}", "id", id, "text", text.data, "addr", local);
}

static void note_lent(struct uplink_seen *s, const char *what)
{
    if (!s->lent) {
        s->lent = str_dup(what ? what : "?");
    }
}

static bool is_global(const json_t *a)
{
    return !str_eq(json_text_of(a, "scope"), "link") && !str_eq(json_text_of(a, "scope"), "host");
}

/* A link-local address moves along only where a global one of IPv6 needs it. */
static json_t *addresses_of(const json_t *link, struct uplink_seen *lender)
{
    json_t *list = json_array();
    size_t i = 0;
    json_t *a = NULL;
    bool has_v6 = false;
    json_array_foreach(json_object_get(link, "addr_info"), i, a) {
        has_v6 = has_v6 || (str_eq(json_text_of(a, "family"), "inet6") && is_global(a));
    }
    json_array_foreach(json_object_get(link, "addr_info"), i, a) {
        bool is_lent = json_bool_of(a, "dynamic", false) ||
                       json_u64_of(a, "valid_life_time", FOREVER) != FOREVER;
        bool is_v4 = str_eq(json_text_of(a, "family"), "inet");
        json_t *one = is_v4 || has_v6 ? address_of(a) : NULL;
        if (one && is_lent && lender) {
            note_lent(lender, json_text_of(a, "local"));
        }
        if (one && !is_lent) {
            json_array_append(list, one);
        }
        json_decref(one);
    }
    return list;
}

static void see_nic(const json_t *j, struct uplink_seen *s)
{
    const char *kind = json_text_of(json_object_get(j, "linkinfo"), "info_kind");
    const char *master = json_text_of(j, "master");
    const char *mac = json_text_of(j, "address");
    s->nic_exists = true;
    s->loopback = has_flag(json_object_get(j, "flags"), "LOOPBACK");
    s->nic_up = has_flag(json_object_get(j, "flags"), "UP");
    s->ether = str_eq(json_text_of(j, "link_type"), "ether");
    s->kind = str_dup(kind ? kind : "");
    s->master = str_dup(master ? master : "");
    s->mac = str_dup(is_word(mac) ? mac : "");
    s->mtu = json_u64_of(j, "mtu", 0);
    s->index = (unsigned)json_u64_of(j, "ifindex", 0);
    s->addrs = addresses_of(j, s);
}

static void see_bridge(const json_t *j, struct uplink_seen *s)
{
    const char *mac = json_text_of(j, "address");
    s->bridge_exists = true;
    s->bridge_ours = str_eq(json_text_of(json_object_get(j, "linkinfo"), "info_kind"), "bridge") &&
                     str_eq(json_text_of(j, "group"), NET_LINK_GROUP);
    s->bridge_up = has_flag(json_object_get(j, "flags"), "UP");
    s->bridge_mac = str_dup(mac ? mac : "");
    s->bridge_mtu = json_u64_of(j, "mtu", 0);
    s->bridge_addrs = addresses_of(j, NULL);
}

int uplink_parse_links(const char *json, const char *nic, const char *bridge,
                       struct uplink_seen *ret, struct err *e)
{
    _cleanup_free_ char *vxlan = net_vxlan_name(bridge);
    _cleanup_json_ json_t *root = NULL;
    size_t i = 0;
    json_t *j = NULL;
    int r = json_parse(json, strlen(json), &root, e);
    if (r < 0) {
        return r;
    }
    json_array_foreach(root, i, j) {
        const char *name = json_text_of(j, "ifname");
        if (str_eq(name, nic) && !ret->nic_exists) {
            see_nic(j, ret);
        } else if (str_eq(name, bridge) && !ret->bridge_exists) {
            see_bridge(j, ret);
        } else if (str_eq(name, vxlan)) {
            ret->vxlan_exists = true;
        }
    }
    return 0;
}

static void add_metrics(struct sbuf *b, const json_t *route)
{
    size_t i = 0;
    json_t *group = NULL;
    json_array_foreach(json_object_get(route, "metrics"), i, group) {
        const char *key = NULL;
        json_t *value = NULL;
        json_object_foreach(group, key, value) {
            if (is_word(key) && json_is_integer(value)) {
                sbuf_printf(b, " %s %lld", key, (long long)json_integer_value(value));
            }
        }
    }
}

/* A route as `ip route replace` takes it, without the card; the family can be told from it. */
static char *route_text(const json_t *j, bool is_v6)
{
    const char *dst = json_text_of(j, "dst");
    const json_t *via = json_object_get(j, "via"); /* a gateway of the other family */
    struct sbuf b = {0};
    if (str_eq(dst, "default")) {
        dst = is_v6 ? "::/0" : "0.0.0.0/0";
    }
    sbuf_printf(&b, "%s", is_word(dst) ? dst : "");
    add_word(&b, "via", json_text_of(j, "gateway"));
    if (via) {
        _cleanup_free_ char *family = str_printf("via %s", json_text_of(via, "family"));
        add_word(&b, family, json_text_of(via, "host"));
    }
    add_word(&b, "src", json_text_of(j, "prefsrc"));
    add_word(&b, "table", json_text_of(j, "table"));
    add_word(&b, "proto", json_text_of(j, "protocol"));
    add_word(&b, "scope", json_text_of(j, "scope"));
    if (json_object_get(j, "metric")) {
        sbuf_printf(&b, " metric %llu", (unsigned long long)json_u64_of(j, "metric", 0));
    }
    add_metrics(&b, j);
    sbuf_printf(&b, "%s", has_flag(json_object_get(j, "flags"), "onlink") ? " onlink" : "");
    return sbuf_take(&b);
}

static bool is_over(const json_t *route, const char *nic)
{
    size_t i = 0;
    json_t *hop = NULL;
    json_array_foreach(json_object_get(route, "nexthops"), i, hop) {
        if (str_eq(json_text_of(hop, "dev"), nic)) {
            return true;
        }
    }
    return false;
}

/* What the kernel makes by itself, with an address or an interface, it makes again. */
static bool is_automatic(const json_t *route)
{
    const char *type = json_text_of(route, "type");
    return str_eq(json_text_of(route, "table"), "local") ||
           str_eq(json_text_of(route, "protocol"), "kernel") || (type && !str_eq(type, "unicast"));
}

static void see_route(const json_t *j, bool is_v6, const char *nic, const char *bridge,
                      struct uplink_seen *s)
{
    const char *dev = json_text_of(j, "dev");
    const char *proto = json_text_of(j, "protocol");
    bool is_nic = str_eq(dev, nic);
    if (is_over(j, nic)) {
        s->multipath = true;
    }
    if ((!is_nic && !str_eq(dev, bridge)) || is_automatic(j)) {
        return;
    }
    _cleanup_free_ char *text = route_text(j, is_v6);
    if (is_nic && (str_eq(proto, "dhcp") || str_eq(proto, "ra") || str_eq(proto, "redirect"))) {
        note_lent(s, json_text_of(j, "dst"));
        return;
    }
    json_t *list = is_nic ? s->routes : s->bridge_routes;
    bool has_gateway = json_object_get(j, "gateway") || json_object_get(j, "via");
    if (has_gateway) {
        json_array_append_new(list, json_string(text));
    } else {
        json_array_insert_new(list, 0, json_string(text)); /* a gateway may need it */
    }
}

int uplink_parse_routes(const char *json, bool is_v6, const char *nic, const char *bridge,
                        struct uplink_seen *ret, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    size_t i = 0;
    json_t *j = NULL;
    ret->routes = ret->routes ? ret->routes : json_array();
    ret->bridge_routes = ret->bridge_routes ? ret->bridge_routes : json_array();
    int r = json[0] ? json_parse(json, strlen(json), &root, e) : 0;
    if (r < 0) {
        return r;
    }
    json_array_foreach(root, i, j) {
        see_route(j, is_v6, nic, bridge, ret);
    }
    return 0;
}

/* --- who else sets the card ---------------------------------------------------------------- */

bool uplink_has_dhcp(const char *text, const char *nic)
{
    static const char *const lent[] = {"dhcp", "bootp", "ppp", "wvdial", "auto"};
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        _cleanup_strv_ struct strv words = {0};
        strv_split(&words, lines.v[i], " \t\r");
        if (words.n < 4 || !str_eq(words.v[0], "iface") || !str_eq(words.v[1], nic)) {
            continue;
        }
        for (size_t k = 0; k < ELEMENTS(lent); k++) {
            if (str_eq(words.v[3], lent[k])) {
                return true;
            }
        }
    }
    return false;
}

/* networkd: ADMIN_STATE=configured, configuring, … or unmanaged, and initialized or pending before it
 * has decided (systemd 252, networkd-link.c). NetworkManager: managed=true (nm-config.c). */
bool uplink_is_managed(const char *text)
{
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        const char *l = lines.v[i];
        if (str_eq(l, "managed=true") ||
            (str_starts(l, "ADMIN_STATE=") && !str_eq(l, "ADMIN_STATE=unmanaged") &&
             !str_eq(l, "ADMIN_STATE=initialized") && !str_eq(l, "ADMIN_STATE=pending"))) {
            return true;
        }
    }
    return false;
}

/* --- may it be ----------------------------------------------------------------------------- */

static bool has_address(const json_t *addrs, const char *addr)
{
    size_t i = 0;
    json_t *a = NULL;
    json_array_foreach(addrs, i, a) {
        if (addr && str_eq(json_text_of(a, "addr"), addr)) {
            return true;
        }
    }
    return false;
}

static int check_kind(const char *nic, const struct uplink_seen *s, struct err *e)
{
    static const char *const fit[] = {"", "veth", "vlan", "bond", "team"};
    bool fits = s->ether;
    if (s->loopback) {
        (void)ERR_SET(e, INVALID, "'%s' is this host's loopback, which leads nowhere", nic);
        err_hint(e, "choose a network card: 'ip -br link'");
        return -ERR_INVALID;
    }
    if (s->wireless) {
        (void)ERR_SET(e, INVALID, "'%s' is wireless: an access point drops the frames of guests", nic);
        err_hint(e, "choose a card with a cable: 'ip -br link'");
        return -ERR_INVALID;
    }
    for (size_t i = 0; fits && i <= ELEMENTS(fit); i++) {
        if (i == ELEMENTS(fit)) {
            fits = false;
        } else if (str_eq(s->kind, fit[i])) {
            break;
        }
    }
    if (!fits) {
        (void)ERR_SET(e, INVALID, "'%s' is a %s, no Ethernet card", nic,
                      s->kind[0] ? s->kind : "link of another kind");
        err_hint(e, "choose a network card, a VLAN on one, or a bond: 'ip -br link'");
        return -ERR_INVALID;
    }
    return 0;
}

static int check_free(const struct uplink_wish *w, const struct uplink_seen *s, struct err *e)
{
    if (s->master[0] && !str_eq(s->master, w->bridge)) {
        (void)ERR_SET(e, FOREIGN, "'%s' belongs to '%s' already", w->nic, s->master);
        err_hint(e, "choose another card; or, for a bond, give the bond: --uplink %s", s->master);
        return -ERR_FOREIGN;
    }
    if (s->bridge_exists && !s->bridge_ours) {
        (void)ERR_SET(e, FOREIGN, "this host has a link '%s' that is not Mortar's", w->bridge);
        err_hint(e, "remove or rename it: ip -d link show dev %s", w->bridge);
        return -ERR_FOREIGN;
    }
    if (s->manager) {
        (void)ERR_SET(e, STATE, "%s manages '%s' and would take it back", s->manager, w->nic);
        err_hint(e, str_eq(s->manager, "NetworkManager")
                        ? "release it first, its addresses stay: nmcli device set %s managed no"
                        : "give it 'Unmanaged=yes' ([Link], systemd.network(5)) and a static address "
                          "by interfaces(5), or choose another card than %s", w->nic);
        return -ERR_STATE;
    }
    if (s->multipath) {
        (void)ERR_SET(e, STATE, "a route goes over '%s' and another card at once", w->nic);
        err_hint(e, "give each card its own route: 'ip route'");
        return -ERR_STATE;
    }
    return 0;
}

int uplink_check_lease(const char *nic, const struct uplink_seen *s, struct err *e)
{
    if (s->lent) {
        (void)ERR_SET(e, STATE, "'%s' has %s from DHCP or a router, and a lease cannot move to a bridge",
                      nic, s->lent);
        err_hint(e, "give it static addresses and routes first (interfaces(5); for IPv6 also "
                    "net.ipv6.conf.%s.autoconf=0 and accept_ra=0)", nic);
        return -ERR_STATE;
    }
    return 0;
}

int uplink_check(const struct uplink_wish *w, const struct uplink_seen *s, struct err *e)
{
    if (!uplink_is_nic_name(w->nic) || !s->nic_exists) {
        (void)ERR_SET(e, NOT_FOUND, "this host has no network card '%.40s'", w->nic);
        err_hint(e, "see 'ip -br link'");
        return -ERR_NOT_FOUND;
    }
    int r = check_kind(w->nic, s, e);
    r = r < 0 ? r : check_free(w, s, e);
    r = r < 0 ? r : uplink_check_lease(w->nic, s, e);
    bool is_storage = has_address(s->addrs, w->storage) && !has_address(s->addrs, w->mgmt);
    if (r == 0 && is_storage) {
        (void)ERR_SET(e, INVALID, "'%s' is the card of the storage network (%s): guests would share "
                      "it with the bricks", w->nic, w->storage);
        err_hint(e, "choose the card that leads to the outside: 'ip -br address'");
        return -ERR_INVALID;
    }
    return r;
}

/* --- plans --------------------------------------------------------------------------------- */

json_t *uplink_new_record(const struct uplink_wish *w, const struct uplink_seen *s)
{
    return json_pack("{s:s,s:s,s:I,s:b,s:O,s:O}", "nic", w->nic, "bridge", w->bridge, "mtu",
                     (json_int_t)s->mtu, "up", s->nic_up, "addrs", s->addrs, "routes", s->routes);
}

static bool has_id(const json_t *addrs, const char *id)
{
    size_t i = 0;
    json_t *a = NULL;
    json_array_foreach(addrs, i, a) {
        if (str_eq(json_text_of(a, "id"), id)) {
            return true;
        }
    }
    return false;
}

/* The addresses of @record from one link to the other. Each is there twice for a moment, so that it
 * never ceases to be an address of this host and no connection ends. */
static bool move_addresses(const json_t *record, const json_t *at_from, const json_t *at_to,
                           const char *from, const char *to, struct sbuf *out)
{
    const json_t *addrs = json_object_get(record, "addrs");
    bool is_moved = false;
    for (size_t i = 0; i < json_array_size(addrs); i++) {
        const json_t *a = json_array_get(addrs, i);
        if (!has_id(at_to, json_text_of(a, "id"))) {
            sbuf_printf(out, "address replace %s dev %s\n", json_text_of(a, "text"), to);
            is_moved = true;
        }
    }
    /* Backwards: the first of a subnet would take the others with it. */
    for (size_t i = json_array_size(addrs); i-- > 0;) {
        const char *id = json_text_of(json_array_get(addrs, i), "id");
        if (has_id(at_from, id)) {
            sbuf_printf(out, "address del %s dev %s\n", id, from);
            is_moved = true;
        }
    }
    return is_moved;
}

static bool is_in_use(const json_t *record, const struct uplink_seen *s)
{
    size_t i = 0;
    json_t *a = NULL;
    json_array_foreach(json_object_get(record, "addrs"), i, a) {
        if (has_id(s->bridge_addrs, json_text_of(a, "id"))) {
            return true;
        }
    }
    return false;
}

static void add_missing(json_t *list, const json_t *more)
{
    size_t i = 0;
    json_t *v = NULL;
    json_array_foreach(more, i, v) {
        const char *id = json_text_of(v, "id");
        if (id ? !has_id(list, id) : !json_has_text(list, json_string_value(v))) {
            json_array_append(list, v);
        }
    }
}

bool uplink_adopt(json_t *record, const struct uplink_seen *s)
{
    bool adds = is_in_use(record, s);
    if (!json_array_size(s->addrs)) {
        return false;
    }
    json_t *addrs = adds ? json_deep_copy(json_object_get(record, "addrs")) : json_array();
    json_t *routes = adds || !json_array_size(s->routes)
                         ? json_deep_copy(json_object_get(record, "routes"))
                         : json_array();
    add_missing(addrs, s->addrs);
    add_missing(routes, s->routes);
    bool is_new = !json_equal(addrs, json_object_get(record, "addrs")) ||
                  !json_equal(routes, json_object_get(record, "routes"));
    json_object_set_new(record, "addrs", addrs);
    json_object_set_new(record, "routes", routes);
    return is_new;
}

/* The routes of @record; others over the same link are not ours to touch. @is_due: also those that
 * are nowhere now, since the address or the link that they hung on has moved. */
static void move_routes(const json_t *record, const json_t *at_from, bool is_due, const char *from,
                        const char *to, struct uplink_plan *p)
{
    size_t i = 0;
    json_t *route = NULL;
    json_array_foreach(json_object_get(record, "routes"), i, route) {
        const char *text = json_string_value(route);
        bool is_there = json_has_text(at_from, text);
        if (is_due || is_there) {
            sbuf_printf(&p->must, "route replace %s dev %s\n", text, to);
        }
        if (is_there) {
            sbuf_printf(&p->may, "route del %s dev %s\n", text, from);
        }
    }
}

static void plan_bridge(const json_t *record, const struct uplink_seen *s, struct sbuf *out)
{
    const char *bridge = json_text_of(record, "bridge");
    uint64_t mtu = json_u64_of(record, "mtu", 0);
    if (s->vxlan_exists) {
        sbuf_printf(out, "link del dev %s-vx\n", bridge); /* before the card comes in: no loop */
    }
    if (!s->bridge_exists) {
        sbuf_printf(out, "link add name %s group " NET_LINK_GROUP " type bridge " NET_BRIDGE_OPTIONS "\n",
                    bridge);
    }
    /* The card's own MAC: neighbours know this host by it. */
    if (!str_eq(s->bridge_mac, s->mac) || s->bridge_mtu != mtu || !s->bridge_up) {
        sbuf_printf(out, "link set dev %s address %s mtu %llu addrgenmode none up\n", bridge, s->mac,
                    (unsigned long long)mtu);
    }
}

void uplink_plan_move(const json_t *record, const struct uplink_seen *s, struct uplink_plan *ret)
{
    const char *bridge = json_text_of(record, "bridge");
    const char *nic = json_text_of(record, "nic");
    assert(bridge && nic && s->nic_exists);
    bool is_port = str_eq(s->master, bridge);
    plan_bridge(record, s, &ret->must);
    if (!is_port || !s->nic_up) {
        sbuf_printf(&ret->must, "link set dev %s master %s up\n", nic, bridge);
    }
    bool is_moved = move_addresses(record, s->addrs, s->bridge_addrs, nic, bridge, &ret->must);
    move_routes(record, s->routes, is_moved || !is_port, nic, bridge, ret);
}

void uplink_plan_back(const json_t *record, const struct uplink_seen *s, struct uplink_plan *ret)
{
    const char *bridge = json_text_of(record, "bridge");
    const char *nic = json_text_of(record, "nic");
    bool wants_up = json_bool_of(record, "up", true);
    assert(bridge && nic && s->nic_exists);
    bool is_port = str_eq(s->master, bridge);
    if (is_port) {
        sbuf_printf(&ret->must, "link set dev %s nomaster\n", nic);
    }
    if (wants_up && !s->nic_up) {
        sbuf_printf(&ret->must, "link set dev %s up\n", nic);
    }
    bool is_moved = move_addresses(record, s->bridge_addrs, s->addrs, bridge, nic, &ret->must);
    move_routes(record, s->bridge_routes, is_moved || is_port, bridge, nic, ret);
    if (!wants_up && s->nic_up) {
        sbuf_printf(&ret->may, "link set dev %s down\n", nic);
    }
}
