/* SPDX-License-Identifier: Apache-2.0
 * The packet filter of the fence: table `inet mortar_fence`. Pure.
 *
 * Closed by default: packets from and to addresses of the cluster are dropped in both directions
 * unless the address is open. Everybody else, the loopback device and this host's own addresses
 * are never touched. The table is always written whole, in one transaction of the kernel. */
#pragma once

#include "adapters/fence/fence_record_parse.h"

#define FENCE_TABLE "mortar_fence"
#define FENCE_TABLE_ADDRS_MAX 256

struct fence_table {
    struct strv cluster; /* storage addresses of all hosts, this one's may be among them */
    struct strv own;     /* this host's addresses: never filtered, whatever the others say */
    struct strv open;    /* those of @cluster that may talk to us */
    bool single_network; /* storage and management share addresses: also a host that is closed
                            reaches etcd, guard, mortar-api, SSH and ICMP */
};
void fence_table_done(struct fence_table *t);
#define _cleanup_fence_table_ _cleanup_(fence_table_done)

/* What the kernel holds, or is to hold, in one order: equal tables are equal texts. */
struct fence_sets {
    struct strv cluster;
    struct strv open;
    struct strv marks; /* "input filter input -300 accept" of a chain, "input#2 closed4" of a rule */
};
void fence_sets_done(struct fence_sets *s);
#define _cleanup_fence_sets_ _cleanup_(fence_sets_done)

/**
 * fence_sets_of - what the table @t means: canonical addresses, sorted, without doubles and own ones
 * @ret: zero-initialised; set on success; fence_sets_done() frees
 * Return: 0, -ERR_INVALID for what is no address, -ERR_LIMIT
 */
int fence_sets_of(const struct fence_table *t, struct fence_sets *ret, struct err *e);

/**
 * fence_sets_compare - is @seen exactly @want?
 * Return: 0, or -ERR_STATE naming the first difference
 */
int fence_sets_compare(const struct fence_sets *want, const struct fence_sets *seen, struct err *e);

/** fence_sets_sort - into the one order, without doubles */
void fence_sets_sort(struct fence_sets *s);

/**
 * format_fence_ruleset - input of `nft -f` that replaces the table, whatever was there
 * @s: as fence_sets_of() made it        @single_network: of the same table
 * Return: never NULL; caller frees
 */
char *format_fence_ruleset(const struct fence_sets *s, bool single_network);

/**
 * format_fence_closing - input of `nft -f` that takes @addrs out of the open ones of a table that is
 * there: without exchanging its hooks, for which the kernel waits some 10 ms. Not among them: no error
 * @addrs: canonical        Return: never NULL; caller frees
 */
char *format_fence_closing(const struct strv *addrs);

/**
 * format_fence_filter - filter of `ss` for all TCP sockets from and to @addrs that a cut ends
 * @single_network: spare those of the services that stay open. Not spared are our ends at the other's
 *      SSH port: 22 is a port that a GlusterFS client could have bound (it takes those below 1024)
 * Return: never NULL; caller frees
 */
char *format_fence_filter(const struct strv *addrs, bool single_network);
