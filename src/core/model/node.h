/* SPDX-License-Identifier: Apache-2.0
 * Hosts as the cluster knows them: record node/HOST {name, uuid, role, state, inc, boot_id, mgmt,
 * storage, etcd}. What a role brings along is decided here and nowhere else. */
#pragma once

#include "core/core.h"

/** node_is_role - converged, storage, compute or witness */
bool node_is_role(const char *role);
/** node_has_bricks - does it hold bricks (and so run glusterd)? A witness holds arbiter bricks only. */
bool node_has_bricks(const json_t *node);
/** node_has_data - may it hold a data brick? */
bool node_has_data(const json_t *node);
/** node_has_vms - may it run virtual machines? */
bool node_has_vms(const json_t *node);
/** node_is_online - state online: it may own virtual machines and take new work */
bool node_is_online(const json_t *node);

/** node_may_run_vms - online or in maintenance: what it owns it runs */
bool node_may_run_vms(const json_t *node);

/** node_is_out - fencing or fenced: it owns nothing that may run */
bool node_is_out(const json_t *node);

/** node_get - record of @host, or NULL. Borrowed. */
const json_t *node_get(const struct core *c, const char *host);
/** node_seen - what @host's agent published under @what ("host", "domains", "pool/vms"), or NULL */
const json_t *node_seen(const struct core *c, const char *host, const char *what);
/** node_seen_now - the same, but of this host what it sees itself, published or not yet */
const json_t *node_seen_now(const struct core *c, const char *host, const char *what);
/**
 * node_is_first - is this host the first by name among the online hosts that are not silent and for
 * which @has is true? Used to let one host begin work that any may do; safety never rests on it.
 */
bool node_is_first(const struct core *c, bool (*has)(const json_t *node));

/** node_has_others - does the cluster have a host besides this one? */
bool node_has_others(const struct core *c);

/**
 * node_find_peer - @node among the storage peers that an agent saw
 * @gluster: {peers: [{addr, connected}]}, may be NULL. A peer whose address could not be found out is
 * listed by its name; then its first label must be that of the host.
 * Return: the entry, or NULL. Borrowed.
 */
const json_t *node_find_peer(const json_t *gluster, const json_t *node);

/** node_uplink_seen - what was last seen of @host's uplink; of this host's without the way through the store, once it
 * has looked. May be NULL. Borrowed. */
const json_t *node_uplink_seen(const struct core *c, const char *host);
/** node_uplink - the card under @host's guests' network, also on trial, or NULL. Borrowed. */
const char *node_uplink(const struct core *c, const char *host);
/** node_some_uplink - does a host have a confirmed uplink? Then guests are placed on such hosts only */
bool node_some_uplink(const struct core *c);

/** node_addresses - {host: storage address} of all hosts. New reference. */
json_t *node_addresses(const struct core *c);

/** node_seen_age_us - time since @host's agent last published something of itself; its agents do so
 * at least each minute. UINT64_MAX when it never has. */
uint64_t node_seen_age_us(const struct core *c, const char *host);
/** node_was_heard - is that less than @within_us? Unlike the age, this does not differ at each moment */
bool node_was_heard(const struct core *c, const char *host, uint64_t within_us);
#define NODE_SILENT_US (90 * USEC_PER_SEC)

/**
 * node_is_silent - does nothing at @host's storage address answer this host, or has its agent published
 * nothing for NODE_SILENT_US? Never true of this host. For what is shown and chosen; no proof of death.
 */
bool node_is_silent(const struct core *c, const char *host);
/** node_is_cut_off - only the first half of it: its network or its power is gone, as seen from here */
bool node_is_cut_off(const struct core *c, const char *host);
/** node_silence - "is silent; its agent was last heard of 95 s ago", in @buf. Return: @buf */
const char *node_silence(const struct core *c, const char *host, char *buf, size_t size);

/** node_list - [{name, role, mgmt, up, leaving}] in the order of joining. New reference. */
json_t *node_list(const struct core *c);

/** node_count_staying - hosts of a node_list() that are not leaving */
size_t node_count_staying(const json_t *list);

/**
 * node_is_needed - does a brick, or a virtual machine that runs or shall run, stand on @host?
 * @why: says which, in at most @size bytes
 */
bool node_is_needed(const struct core *c, const char *host, char *why, size_t size);

/** etcd_must_start - was this host made a member of the store that has not started yet? */
bool etcd_must_start(const struct core *c);
/** etcd_is_settled - is no change of the membership due or under way, as this host sees it? */
bool etcd_is_settled(const struct core *c);
/** etcd_find_member - the store's member at @node, of any kind, as it lists it, or NULL. Borrowed. */
const json_t *etcd_find_member(const struct core *c, const json_t *node);
/** etcd_is_member - does @node carry a voting member? */
bool etcd_is_member(const struct core *c, const json_t *node);
