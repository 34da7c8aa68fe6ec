/* SPDX-License-Identifier: Apache-2.0
 * What libvirt says about a domain, read back: whose it is, its disks, its console. Pure; the text
 * may come from a domain of the user's own, so nothing in it is trusted. */
#pragma once

#include "adapters/virt/domxml_format.h"
#include "base/str.h"

#define DOM_XML_LIMIT_BYTES (1 * MIB)
#define DOM_PARSE_DISKS_MAX 64

enum dom_ours {
    DOM_OURS_NO,      /* no metadata of ours: the user's own domain, never touched */
    DOM_OURS_YES,     /* .meta is set */
    DOM_OURS_UNCLEAR, /* metadata of ours that cannot be read: touch nothing, raise an alarm (A5) */
};

struct dom_info {
    char *name;
    char uuid[DOM_UUID_LEN + 1];
    enum dom_ours ours;
    struct dom_meta meta;
    bool emulated;
    char *machine;     /* may be NULL */
    char *cpu_model;   /* may be NULL */
    char *partition;   /* may be NULL; begins with '/' */
    uint64_t memory_bytes;
    uint64_t cpus;
    struct strv disks; /* paths of all file disks */
    char *console;     /* unix socket of the first serial port, or NULL */
};
void dom_info_done(struct dom_info *d);
#define _cleanup_dom_info_ _cleanup_(dom_info_done)

/**
 * dom_xml_parse - read domain XML as virDomainGetXMLDesc() gives it
 * @ret: zero-initialised; set on success, the caller ends it with dom_info_done()
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int dom_xml_parse(const char *text, size_t len, struct dom_info *ret, struct err *e);

/**
 * dom_meta_parse - read Mortar's mark alone, as virDomainGetMetadata() gives it
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int dom_meta_parse(const char *text, size_t len, struct dom_meta *ret, struct err *e);

/**
 * dom_xml_reown - the same domain under another owner and epoch, for the target of a migration
 * @xml: of the running domain (VIR_DOMAIN_XML_MIGRATABLE)        @meta: what the target will be
 * @ret: set on success; differs in our metadata and the console's log only, so that libvirt sees
 *       the same guest ABI; caller frees
 * Return: 0, -ERR_STATE when the domain is not ours or is another VM, -ERR_PARSE or -ERR_LIMIT
 */
int dom_xml_reown(const char *xml, size_t len, const struct dom_meta *meta, char **ret,
                  struct err *e);

enum dom_job_phase {
    DOM_JOB_OTHER,     /* no migration, or one that has not ended */
    DOM_JOB_CONFIRMED, /* libvirt accepted the target's "finished"; it will not resume the source */
    DOM_JOB_CANCELLED, /* libvirt resumes the source */
};

struct dom_status {
    enum dom_job_phase phase;
    int64_t pid; /* of the QEMU that the file is about, 0 when it does not say */
};

/**
 * dom_status_parse - what libvirt's own /run/libvirt/qemu/NAME.xml says of an outgoing migration
 * @ret: set on success
 * Return: 0, -ERR_PARSE or -ERR_LIMIT.
 * Source: libvirt 9.0.0 src/qemu/qemu_migration.c, qemuMigrationJobPhase: confirm3_cancelled, confirm3
 */
int dom_status_parse(const char *text, size_t len, struct dom_status *ret, struct err *e);

/**
 * dom_status_parse_domain - the domain that such a file is about, as dom_xml_parse() reads it
 * @ret: zero-initialised; caller ends it with dom_info_done()
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int dom_status_parse_domain(const char *text, size_t len, struct dom_info *ret, struct err *e);

/**
 * dom_caps_parse_host - what virConnectGetCapabilities() says about x86_64 guests
 * @ret_emulator: set on success; NULL when there is none; caller frees
 * @ret_machines: zero-initialised; versioned machine types, caller ends it
 * @ret_emulation, @ret_kvm: whether domains of type qemu, kvm can be defined
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int dom_caps_parse_host(const char *text, size_t len, char **ret_emulator,
                        struct strv *ret_machines, bool *ret_emulation, bool *ret_kvm,
                        struct err *e);

/**
 * dom_caps_parse_models - CPU models that virConnectGetDomainCapabilities() calls usable
 * @ret: zero-initialised; caller ends it
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int dom_caps_parse_models(const char *text, size_t len, struct strv *ret, struct err *e);
