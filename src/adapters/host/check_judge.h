/* SPDX-License-Identifier: Apache-2.0
 * Preflight: what was seen on a host → findings, each with its meaning and what to do. Pure; the
 * ids are part of the interface (`mortar check --json`). */
#pragma once

#include "adapters/host/brick_plan.h"
#include "adapters/host/host_facts.h"
#include "adapters/host/kvm_probe.h"

enum check_severity {
    CHECK_OK,
    CHECK_NOTE,    /* worth knowing */
    CHECK_WARNING, /* it works, but worse than it could or without failover */
    CHECK_REFUSE,  /* init and join stop here */
};

struct check_finding {
    const char *id; /* stable: "disk.fsync"; several findings may share one and differ in subject */
    enum check_severity severity;
    char *subject; /* "eth0", "/dev/sdb", "2379" or "" */
    const char *title;
    char *value;         /* what was measured */
    const char *meaning; /* "" when all is well */
    const char *action;
    json_t *measured; /* the numbers in it, for programs; NULL when there are none */
};
struct check_list {
    struct check_finding *v;
    size_t n;
};
void check_list_done(struct check_list *l);
#define _cleanup_check_list_ _cleanup_(check_list_done)

enum check_etcd {
    CHECK_ETCD_NONE,
    CHECK_ETCD_UNUSED, /* what Debian's package starts by itself: nothing is lost with it */
    CHECK_ETCD_USED,
};

enum check_port_use {
    CHECK_PORT_ALONE,  /* nobody else may have it */
    CHECK_PORT_TUNNEL, /* the kernel's own socket may be another tunnel's, which VXLAN shares */
    CHECK_PORT_ANY,    /* one of a range: what is taken is passed over */
};
struct check_port_need {
    struct host_ports ports;
    const char *owner; /* command name of the daemon that may have it already, or "" */
    enum check_port_use use;
};
#define CHECK_PORTS 8
/** check_ports - what Mortar and the daemons below it listen on */
extern const struct check_port_need check_ports[CHECK_PORTS];

struct check_port {
    const struct check_port_need *need;
    char *owner; /* command name of who has it, "?" when no process does, NULL when free */
};

struct check_disk {
    char *device;
    struct brick_seen seen;
};

struct check_seen {
    struct host_facts facts;
    bool in_cluster; /* then etcd, gluster and ports are ours and are not judged */
    bool fuse;       /* /dev/fuse */
    bool tun;        /* /dev/net/tun */
    bool nft;        /* the nft command */
    bool stays_down; /* after a panic: kernel.panic is 0 */
    uint64_t fsync_p99_us; /* 0: not measured */
    struct kvm_seen kvm; /* not probed when there is no device */
    bool kvm_module;     /* kvm_intel, kvm_amd or built in */
    bool clock_synced;
    uint64_t clock_error_us; /* the kernel's own bound; grows while nobody corrects it */
    char *packages; /* dpkg-query's list, see host_find_package() */
    enum check_etcd etcd;
    char *etcd_dir; /* the directory that is in use, for the message; or NULL */
    struct strv gluster_peers;
    struct strv gluster_volumes;
    struct strv domains; /* libvirt's, defined or running, not ours */
    struct strv libvirt_settings; /* keys of qemu.conf and libvirtd.conf that the user has set */
    struct check_port ports[CHECK_PORTS];
    size_t ports_n;
    struct check_disk disks[64];
    size_t disks_n;
};
void check_seen_done(struct check_seen *s);
#define _cleanup_check_seen_ _cleanup_(check_seen_done)

/** check_judge - @ret: zero-initialised; findings in a fixed order, ended with check_list_done() */
void check_judge(const struct check_seen *seen, struct check_list *ret);

/** check_worst - the highest severity in @l */
enum check_severity check_worst(const struct check_list *l);
/** check_severity_name - "ok", "note", "warning", "refuse" */
const char *check_severity_name(enum check_severity s);
/**
 * check_list_to_json - {"verdict","findings":[{id, severity, subject, title, value, measured, meaning,
 *                      action}]}; one reference owned by the caller
 */
json_t *check_list_to_json(const struct check_list *l);

/** check_p99 - 99th percentile of @n > 0 values, which are sorted in place */
uint64_t check_p99(uint64_t *values, size_t n);
/** check_parse_settings - keys that are set in a libvirt .conf text outside of Mortar's blocks */
void check_parse_settings(const char *text, struct strv *ret);
