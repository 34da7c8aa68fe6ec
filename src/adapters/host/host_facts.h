/* SPDX-License-Identifier: Apache-2.0
 * What this host is: identity, processors, memory, links, and what it can do. Read from /proc, /sys
 * and /etc below a root, so that tests bring their own. */
#pragma once

#include "adapters/host/host_facts_parse.h"
#include "base/json.h"

struct host_facts {
    char *name;        /* the kernel's host name */
    char *machine_id;  /* /etc/machine-id: 32 hex digits, "" when there is none */
    char *boot_id;     /* changes at each boot */
    struct host_cpu cpu;
    uint64_t memory_bytes;
    uint64_t memory_available_bytes;
    struct host_links links;
    char *qemu_version; /* "7.2.22", "" when QEMU is not installed */
    char *qemu_machine; /* newest machine type, "pc-q35-7.2", "" without QEMU */
    struct {
        bool kvm;              /* /dev/kvm and a vmx or svm flag: facts/probes.md 5.3 */
        bool kvm_device;       /* /dev/kvm exists; alone it proves nothing */
        bool watchdog;         /* /dev/watchdog0 */
        bool cgroup_unified;   /* /sys/fs/cgroup is cgroup2 */
        bool cgroup_delegated; /* … with a controller: else libvirt ignores <partition> (probes.md 4.3) */
        bool systemd;          /* systemd is PID 1 */
    } can;
};
void host_facts_done(struct host_facts *f);
#define _cleanup_host_facts_ _cleanup_(host_facts_done)

#define HOST_QEMU_PATH "/usr/bin/qemu-system-x86_64"

/**
 * host_read_facts - what files tell, so all but links and QEMU; starts no child
 * @root: "" for this host; else a directory that holds proc/, sys/, etc/, dev/, run/
 * @ret: zero-initialised; caller ends it with host_facts_done()
 * Return: 0 or -ERR_PARSE
 */
int host_read_facts(const char *root, struct host_facts *ret, struct err *e);

/** host_observe_qemu - fill in the version and the newest machine; "" when QEMU cannot be asked */
void host_observe_qemu(struct host_facts *f);

/**
 * host_observe_facts - read them all; takes some 0.1 s since it asks ip and qemu
 * @root: "" for this host; else a directory that holds proc/, sys/, etc/, dev/, run/. Links and
 *        QEMU are then not looked at.
 * @ret: zero-initialised; caller ends it with host_facts_done()
 * Return: 0, -ERR_IO, -ERR_PARSE or -ERR_COMMAND
 */
int host_observe_facts(const char *root, struct host_facts *ret, struct err *e);

/** host_observe_links - links with addresses, and their speed from /sys/class/net */
int host_observe_links(struct host_links *ret, struct err *e);

/**
 * host_speed_of - Mbit/s of the link that carries @addr, by the driver's word; 0 = not known
 * Starts no child.
 */
uint64_t host_speed_of(const char *addr);

/** host_facts_to_json - for `seen` records and --json; one reference owned by the caller. Pure. */
json_t *host_facts_to_json(const struct host_facts *f);

/** host_read_text - a small file below @root without surrounding space; "" when it cannot be read. Caller frees. */
char *host_read_text(const char *root, const char *path);
