/* SPDX-License-Identifier: Apache-2.0
 * The egress cut: table `inet mortar_guard` drops GlusterFS traffic (TCP 24007, 49152–60999)
 * between this host as a client and the bricks of the other fencers, so that what a mount still
 * has to send stays here while the VMs are frozen. Written as netlink messages by hand into fixed
 * buffers when the configuration comes; the cut itself is one sendmsg() of one of them, whose
 * answer has arrived when it returns. The own brick is not cut: it is a heal sink when this host
 * is fenced (I8). A table that somebody flushed is made anew by the next cut. Source:
 * linux/netfilter/nf_tables.h. */
#pragma once

#include "guard/guard_conf.h"

#define EGRESS_TABLE "mortar_guard"
#define EGRESS_BYTES 4096

struct egress_batch {
    _Alignas(4) uint8_t data[EGRESS_BYTES];
    size_t len;
};

struct egress {
    int fd; /* NETLINK_NETFILTER */
    uint32_t seq;
    unsigned addrs_n;
    struct egress_batch table; /* everything, with an empty set */
    struct egress_batch cut;   /* the addresses into the set */
    struct egress_batch open;  /* the set is emptied */
};

/** egress_init - open the socket. Return: 0 or -ERR_IO */
int egress_init(struct egress *g, struct err *e);
void egress_done(struct egress *g);

/**
 * egress_configure - prepare the messages for a configuration and make the table anew
 * @is_cut: VMs are frozen: the table that is there stays, and is cut; addresses that went stay cut
 *   until it opens
 * Return: 0 or -ERR_IO
 */
int egress_configure(struct egress *g, const struct guard_conf *c, bool is_cut, struct err *e);

/**
 * egress_apply - cut or open; again is nothing. Return: 0 when the kernel confirmed it, else
 * -ERR_IO
 */
int egress_apply(struct egress *g, bool cut, struct err *e);
