/* SPDX-License-Identifier: Apache-2.0
 * Which hosts carry etcd, and how a member is set up (pure). Sources: facts/ha.md 2.5 and 2.6. */
#pragma once

#include "adapters/etcd/store.h"

#define ETCD_CLIENT_PORT 2379
#define ETCD_PEER_PORT 2380
#define ETCD_PRIVATE_PORT 23790 /* nobody's endpoint */
#define ETCD_PRIVATE_URL "https://127.0.0.1:23790"
#define ETCD_DATA_DIR "/var/lib/etcd/mortar"

/* In this order hosts are taken: a witness is there to vote, a compute host for other things. */
enum etcd_role { ETCD_ROLE_WITNESS, ETCD_ROLE_STORAGE, ETCD_ROLE_COMPUTE };

struct etcd_host {
    const char *name;
    const char *peer_url; /* by which its member is known */
    enum etcd_role role;  /* STORAGE for converged hosts, too */
    bool up;              /* nobody suspects it */
    bool leaving;         /* it must not be a member any more */
};

/** etcd_members_wanted - voters for a cluster of @hosts: 1, from three hosts 3, from five 5 */
size_t etcd_members_wanted(size_t hosts);

/**
 * etcd_plan_members - the next change of the membership, one at a time
 * @hosts: those of the cluster in the order in which they joined; a removed host is not among them
 * @members: as etcd lists them just now
 * @ret: set when there is a step, borrows from @hosts; carry it out with store_members(), then ask
 *       again. A promotion that etcd refuses (-ERR_STATE) was too early: try again later
 * @ret_why: always set to a phrase for the log
 * A step never leaves fewer voters up than a majority, and while a host of a member that stays is
 * down nothing is done. A member that must go is removed before its successor is added, unless it
 * is the only one. Growth to an even number starts only when the odd one can be reached.
 * Return: whether there is a step
 */
bool etcd_plan_members(const struct etcd_host *hosts, size_t hosts_n,
                       const struct store_members *members, struct store_member_change *ret,
                       const char **ret_why);

struct etcd_setup {
    const char *name;                  /* host name, str_is_name */
    const char *address;               /* IPv4 or IPv6 address, without brackets */
    const char *ca_file;               /* PEM files, readable for user etcd */
    const char *cert_file;
    const char *key_file;
    const char *cluster_token;         /* id of this cluster; members of another refuse it */
    const struct store_members *join;  /* members after this one was added; NULL: a new cluster */
    bool private;                      /* clients on this host only, at ETCD_PRIVATE_PORT of 127.0.0.1 */
    bool slow_disk;                    /* WAL on a shared or slow device */
    const char *data_dir;              /* NULL means ETCD_DATA_DIR */
    unsigned client_port;              /* 0 means ETCD_CLIENT_PORT; others are for tests */
    unsigned peer_port;                /* 0 means ETCD_PEER_PORT */
};

/**
 * etcd_client_urls - where a host's requests and watches go, in this order
 * @own: name of the host; its own member comes first. A stream to a host that has lost its power is silent like
 *       one on which nothing happens; that to the own member ends with whoever would wait for it
 * @ret: URLs of all voters that have started, at most STORE_ENDPOINTS_MAX, are added
 */
void etcd_client_urls(const struct store_members *members, const char *own, struct strv *ret);

/** etcd_peer_url - the URL by which the member at @address is known. Caller frees. */
char *etcd_peer_url(const char *address, unsigned port);
/** etcd_client_url - its client URL. Caller frees. */
char *etcd_client_url(const char *address, unsigned port);

/**
 * etcd_format_defaults - /etc/default/etcd for Debian's etcd.service
 * @ret: set on success; the caller frees
 * Return: 0; -ERR_INVALID when a value cannot stand in the file; -ERR_STATE when @s->join does not
 *         have this member or has another one that never started
 */
int etcd_format_defaults(const struct etcd_setup *s, char **ret, struct err *e);
