/* SPDX-License-Identifier: Apache-2.0
 * What Linux says about a host: text of /proc, of iproute2's JSON and of dpkg to values. Pure. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

struct host_cpu {
    uint64_t count;   /* logical processors */
    char *model;      /* "AMD EPYC 7543P 32-Core Processor", "" when not given */
    char *flags;      /* of the first processor, separated by spaces */
    const char *virt; /* "vmx", "svm" or "" : static text */
};
void host_cpu_done(struct host_cpu *c);

/** host_parse_cpuinfo - /proc/cpuinfo. @ret: zero-initialised; caller ends it with host_cpu_done() */
void host_parse_cpuinfo(const char *text, struct host_cpu *ret);

/** host_parse_meminfo - MemTotal and MemAvailable of /proc/meminfo. Return: 0 or -ERR_PARSE */
int host_parse_meminfo(const char *text, uint64_t *ret_total_bytes, uint64_t *ret_available_bytes,
                       struct err *e);

struct host_link {
    char *name;        /* "eth0" */
    char *mac;         /* "02:00:00:00:00:01" */
    char *kind;        /* "bridge", "vxlan", "veth", … or "" for a real NIC */
    char *master;      /* the bridge it belongs to, or "" */
    uint64_t mtu;
    uint64_t speed_mbit; /* 0 = not known; filled from /sys by host_observe_facts() */
    bool up;           /* carrier and switched on */
    bool loopback;
    struct strv addrs; /* "10.0.0.1/24", global ones only */
};
struct host_links {
    struct host_link *v;
    size_t n;
};
void host_links_done(struct host_links *l);
/** host_parse_links - `ip -j -d address show`, at most 4096 links. Return: 0, -ERR_PARSE, -ERR_LIMIT */
int host_parse_links(const char *json, struct host_links *ret, struct err *e);
/** host_find_link - by name, or NULL */
const struct host_link *host_find_link(const struct host_links *l, const char *name);
/** host_find_link_of - the link that carries @addr (without prefix length), or NULL */
const struct host_link *host_find_link_of(const struct host_links *l, const char *addr);

/**
 * host_parse_qemu_version - first line of `qemu-system-x86_64 --version` to "7.2.22"
 * @ret_machine: newest q35 machine type of that version, "pc-q35-7.2". Caller frees both.
 * Return: 0 or -ERR_PARSE
 */
int host_parse_qemu_version(const char *text, char **ret_version, char **ret_machine,
                            struct err *e);

/**
 * host_find_package - version of @package in `dpkg-query -W -f '${Package} ${Status} ${Version}\n'`
 * Return: the version when it is installed, else NULL. Caller frees.
 */
char *host_find_package(const char *text, const char *package);

struct host_ports {
    unsigned first;
    unsigned last; /* the same for a single one */
    bool udp;
};
/**
 * host_find_socket - does text of /proc/net (tcp, tcp6; for UDP udp, udp6) hold a socket that takes one of @ports?
 * Of TCP only a listener does: a connection leaves its port to others.
 * @ret_inode: set when it does; names the socket in /proc/PID/fd
 */
bool host_find_socket(const char *text, const struct host_ports *ports, uint64_t *ret_inode);
