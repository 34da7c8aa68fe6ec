/* SPDX-License-Identifier: Apache-2.0
 * A cluster network without uplink: a bridge on each host, joined by VXLAN over the storage network.
 * Each VXLAN device floods to a static list of peers (head-end replication: no multicast needed)
 * and learns where guests are from their packets, so that a guest that moved is found by the frames
 * QEMU sends for it. The plan is pure: what is there and what is wanted → commands. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

#define NET_VXLAN_PORT 4789         /* RFC 7348 */
#define NET_LINK_GROUP "19794"      /* marks links as ours in the same call that makes them */
/* No spanning tree: a bridge of ours has one way out at a time, its tunnel or its uplink. */
#define NET_BRIDGE_OPTIONS "stp_state 0 forward_delay 0 mcast_snooping 0"
#define NET_VXLAN_OVERHEAD_V4 50    /* outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 */
#define NET_VXLAN_OVERHEAD_V6 70

struct net_spec {
    const char *bridge;     /* "mortar0"; at most 12 characters, legal by str_is_name() */
    uint64_t vni;           /* 1 … 2^24 − 1, one per network and cluster */
    const char *local_addr; /* of this host on the storage network */
    const char *const *peers; /* addresses of the other hosts; NULL when @peers_n is 0 */
    size_t peers_n;
    uint64_t mtu; /* of the guests; 0: what fits through the link of @local_addr */
    const char *root; /* where host_uplink.h has its files: NULL or "" for this host; for tests */
};

struct net_seen {
    bool bridge_exists;
    bool bridge_ours; /* a bridge of our group */
    bool bridge_up;
    uint64_t bridge_mtu;
    bool vxlan_exists;
    bool vxlan_ours;
    bool vxlan_up;
    bool vxlan_in_bridge;
    uint64_t vxlan_mtu;
    uint64_t vxlan_vni;
    char *vxlan_local;  /* or NULL */
    struct strv peers;  /* where it floods to */
    uint64_t under_mtu; /* of the link that carries @local_addr, 0 when no link does */
};
void net_seen_done(struct net_seen *s);
#define _cleanup_net_seen_ _cleanup_(net_seen_done)

/* Commands to run in order, each an argv. Zero-initialise. */
struct net_plan {
    struct strv cmds[64];
    size_t n;
};
void net_plan_done(struct net_plan *p);

/** net_parse_links - `ip -j -d address show` for the two links of @spec and the one below them */
int net_parse_links(const char *json, const struct net_spec *spec, struct net_seen *ret,
                    struct err *e);
/** net_parse_fdb - `bridge -j fdb show dev …`: the flood entries. Return: 0, -ERR_PARSE, -ERR_LIMIT */
int net_parse_fdb(const char *json, struct net_seen *ret, struct err *e);

/** net_vxlan_name - of the network's tunnel device. Caller frees. */
char *net_vxlan_name(const char *bridge);

/**
 * net_make_plan - what changes @seen into @spec; nothing when it is so already
 * @ret: zero-initialised; caller ends it with net_plan_done()        @ret_mtu: that guests get
 * Return: 0; -ERR_FOREIGN when a link of our names is not ours; -ERR_INVALID when @spec is wrong;
 *         -ERR_NOT_FOUND when no link has @local_addr; -ERR_LIMIT for more than 48 changes of peers
 */
int net_make_plan(const struct net_spec *spec, const struct net_seen *seen, struct net_plan *ret,
                  uint64_t *ret_mtu, struct err *e);
