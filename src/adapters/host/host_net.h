/* SPDX-License-Identifier: Apache-2.0
 * Makes the cluster networks of this host what net_plan.h says. Nothing is written to disk: the
 * agent applies its networks at each start, and QEMU's taps come and go with libvirt. A host with
 * an uplink (host_uplink.h) has that instead of the tunnel. Not handled here: DHCP for guests. */
#pragma once

#include "adapters/host/net_plan.h"
#include "base/json.h"

/**
 * net_apply - bridge and tunnel, or bridge and uplink, are as they shall be; may be called at any
 * time, interrupts nothing when nothing changes
 * @ret_mtu: that guests get; may be NULL        @ret_changed: may be NULL
 * Return: 0; what net_make_plan() returns; -ERR_COMMAND, -ERR_TIMEOUT
 */
int net_apply(const struct net_spec *spec, uint64_t *ret_mtu, bool *ret_changed, struct err *e);

/** net_observe - what is there now. @ret: zero-initialised, ended with net_seen_done() */
int net_observe(const struct net_spec *spec, struct net_seen *ret, struct err *e);

/** net_remove - take bridge and tunnel away; absent is fine. Give an uplink back before: the host's
 * addresses may be on the bridge. Return: 0, -ERR_FOREIGN, -ERR_COMMAND */
int net_remove(const char *bridge, struct err *e);
