/* SPDX-License-Identifier: Apache-2.0
 * The domain XML that Mortar gives to libvirt. Pure: a spec in, text out, the same text for the
 * same spec. What a migration needs to be equal on both hosts is in the spec, never probed here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DOM_META_NS "urn:mortar:vm:1"
#define DOM_NAME_MAX 63
#define DOM_UUID_LEN 36
#define DOM_DISKS_MAX 25 /* vda…vdy; the seed takes the next letter */
#define DOM_NICS_MAX 8
#define DOM_CPUS_MAX 1024
#define DOM_MEMORY_MIN_BYTES (16 * MIB)
#define DOM_MEMORY_MAX_BYTES (16 * TIB)

#define DOM_MACHINE_DEFAULT "pc-q35-7.2" /* newest versioned q35 of Debian 12's QEMU, 2026-11 */
#define DOM_CPU_EMULATED "qemu64"        /* what TCG runs on every host */
#define DOM_CPU_KVM "Westmere"           /* x86-64-v2 with AES; every host since 2010 */

#define DOM_QEMU_USER "libvirt-qemu" /* and group; Debian: 64055 on every host */

/* libvirt makes the slice name of a partition by writing '-' for '/' and \\x2d for '-' (libvirt 9.0
 * virSystemdMakeSliceName): these are mortar-vms.slice and mortar-vms-ha.slice. */
#define DOM_PARTITION_VMS "/mortar/vms"
#define DOM_PARTITION_HA "/mortar/vms/ha" /* the only one the guard freezes (facts/ha.md A7) */
#define DOM_SLICE_VMS "mortar-vms.slice"
#define DOM_SLICE_HA "mortar-vms-ha.slice"
#define DOM_CONSOLE_DIR "/run/mortar/console"
#define DOM_CHANNEL_DIR "/run/mortar/channel"
#define DOM_CONSOLE_LOG_DIR "/var/log/mortar/console"
#define DOM_CHANNEL_DEMO "org.mortar.demo.0"

/* Who may run this instance. Stored in the domain's metadata, so that an agent that restarts knows
 * what is ours and whether it is current (facts/ha.md A5, I1, I6). */
struct dom_meta {
    char uuid[DOM_UUID_LEN + 1]; /* of the VM */
    uint64_t restore_gen;        /* the epoch is the pair (restore_gen, n) */
    uint64_t n;
    char owner[DOM_NAME_MAX + 1]; /* host */
    uint64_t inc;                 /* incarnation of the owner */
};

enum dom_format { DOM_FORMAT_QCOW2, DOM_FORMAT_RAW };

struct dom_disk {
    const char *path; /* absolute; the same on every host */
    enum dom_format format;
    const char *target; /* vda… */
    const char *serial; /* may be NULL; at most 20 of [A-Za-z0-9_-] (virtio's limit) */
};

struct dom_nic {
    const char *bridge;
    const char *mac; /* dom_mac_of() makes one */
    unsigned mtu;    /* told to the guest; 0: virtio's default of 1500 */
};

struct dom_spec {
    const char *name; /* str_is_name() */
    struct dom_meta meta;
    unsigned cpus;
    uint64_t memory_bytes; /* multiple of 1 MiB */
    bool emulate;          /* TCG; else KVM */
    const char *machine;   /* NULL = DOM_MACHINE_DEFAULT */
    const char *cpu_model; /* NULL = DOM_CPU_EMULATED or DOM_CPU_KVM */
    const struct dom_disk *disks;
    size_t disk_count;
    const struct dom_nic *nics;
    size_t nic_count;
    const char *kernel; /* NULL = boot from the first disk; else direct boot */
    const char *initrd;
    const char *cmdline;
    const char *seed_path; /* cloud-init seed (ISO), read-only, or NULL */
    bool ha;               /* DOM_PARTITION_HA instead of DOM_PARTITION_VMS */
    bool demo_channel;     /* DOM_CHANNEL_DEMO on DOM_CHANNEL_DIR/NAME.demo.sock */
};

/**
 * dom_spec_check - would dom_xml_format() accept it?
 * Return: 0 or -ERR_INVALID naming the field
 */
int dom_spec_check(const struct dom_spec *s, struct err *e);

/**
 * dom_xml_format - the XML of a transient domain
 * @ret: set on success; caller frees
 * Return: 0 or -ERR_INVALID naming the field
 */
int dom_xml_format(const struct dom_spec *s, char **ret, struct err *e);

/**
 * dom_mac_of - the MAC address of the @index-th network card of a VM, always the same one
 * @ret: at least 18 bytes; locally administered unicast, 40 bits from the uuid
 */
void dom_mac_of(const char *uuid, unsigned index, char ret[static 18]);

/** dom_console_path - where the console's unix socket of VM @name is. Caller frees. */
char *dom_console_path(const char *name);
/** dom_console_log_path - the console's log on this host, one file per epoch. Caller frees. */
char *dom_console_log_path(const char *name, const struct dom_meta *meta);
/** dom_demo_path - the unix socket of the demo channel of VM @name. Caller frees. */
char *dom_demo_path(const char *name);

/** dom_uuid_is_valid - 8-4-4-4-12 lower-case hex digits */
bool dom_uuid_is_valid(const char *uuid);
