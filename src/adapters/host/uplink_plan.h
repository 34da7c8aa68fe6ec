/* SPDX-License-Identifier: Apache-2.0
 * A network card of this host as port of the bridge of a cluster network: may it be, and how its
 * addresses and routes get to the bridge and back. Pure: what `ip` shows → a record and lines for
 * `ip -batch`. Moving is level-triggered in both directions: a plan begins from what is there, so
 * that a move that was cut off anywhere is finished, or undone, by the next plan.
 *
 * Invariant: no plan leaves the tunnel of the network and the card in the bridge at the same time,
 * since two hosts with both make a loop (docs/adr/0007).
 *
 * Not handled: leases (DHCP, router advertisements), routes over several cards, `ip rule`s that name
 * the card: the first two are refused. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

struct uplink_seen {
    bool nic_exists;
    bool loopback;
    bool ether;            /* frames are Ethernet's */
    bool nic_up;
    char *kind;            /* of the card: "veth", "vlan", …; "" for a real one */
    char *master;          /* bridge or bond it belongs to, or "" */
    char *mac;
    uint64_t mtu;
    unsigned index;
    bool multipath;        /* a route goes over this card and another */
    char *lent;            /* an address or a route that is on loan, or NULL */
    json_t *addrs;         /* of the card: [{"id","text","addr"}], in the kernel's order */
    json_t *routes;        /* over the card: [text, …]; links before gateways */
    json_t *bridge_addrs;
    json_t *bridge_routes;
    bool bridge_exists;
    bool bridge_ours;
    bool bridge_up;
    char *bridge_mac;
    uint64_t bridge_mtu;
    bool vxlan_exists;
    /* Filled by host_uplink.c, not from `ip`: */
    bool wireless;
    const char *manager;   /* program that would take the card back, or NULL; static text */
};
void uplink_seen_done(struct uplink_seen *s);
#define _cleanup_uplink_seen_ _cleanup_(uplink_seen_done)

/** uplink_is_nic_name - can @name be the name of a card, and a word of a batch of `ip`? */
bool uplink_is_nic_name(const char *name);

/** uplink_parse_links - `ip -j -d address show`. @ret: zero-initialised, ended by its user.
 * Return: 0 or -ERR_PARSE */
int uplink_parse_links(const char *json, const char *nic, const char *bridge,
                       struct uplink_seen *ret, struct err *e);
/** uplink_parse_routes - `ip -j -4 (-6) route show table all`; adds to @ret. Return: 0, -ERR_PARSE */
int uplink_parse_routes(const char *json, bool is_v6, const char *nic, const char *bridge,
                        struct uplink_seen *ret, struct err *e);
/** uplink_has_dhcp - does interfaces(5) @text give @nic an address by dhcp, ppp or the like? */
bool uplink_has_dhcp(const char *text, const char *nic);
/** uplink_is_managed - does the state file of systemd-networkd or NetworkManager say so? */
bool uplink_is_managed(const char *text);

struct uplink_wish {
    const char *nic;
    const char *bridge;
    const char *mgmt;    /* addresses of this host in the cluster */
    const char *storage;
};

/**
 * uplink_check - may the card of @w be the uplink?
 * Return: 0; -ERR_NOT_FOUND, -ERR_INVALID, -ERR_FOREIGN or -ERR_STATE with reason and next step
 */
int uplink_check(const struct uplink_wish *w, const struct uplink_seen *seen, struct err *e);
/** uplink_check_lease - does nothing on the card end by itself? Return: 0 or -ERR_STATE */
int uplink_check_lease(const char *nic, const struct uplink_seen *seen, struct err *e);

/** uplink_new_record - what undoing has to bring back: {nic, bridge, mtu, up, addrs[], routes[]} */
json_t *uplink_new_record(const struct uplink_wish *w, const struct uplink_seen *seen);
/**
 * uplink_adopt - addresses that the card has got since, from the host's own settings, become the
 * record's: instead of the old ones while none of those is in use (at boot), else besides them
 * Return: did @record change?
 */
bool uplink_adopt(json_t *record, const struct uplink_seen *seen);

/* Two batches: the first must succeed, the second tidies up. */
struct uplink_plan {
    struct sbuf must;
    struct sbuf may;
};
void uplink_plan_done(struct uplink_plan *p);
#define _cleanup_uplink_plan_ _cleanup_(uplink_plan_done)

/** uplink_plan_move - the card into the bridge; empty when it is so. @ret: zero-initialised */
void uplink_plan_move(const json_t *record, const struct uplink_seen *seen, struct uplink_plan *ret);
/** uplink_plan_back - the card as it was; empty when it is so. @ret: zero-initialised */
void uplink_plan_back(const json_t *record, const struct uplink_seen *seen, struct uplink_plan *ret);
