/* SPDX-License-Identifier: Apache-2.0
 * Choices that are not obvious:
 * - Nothing is relabelled (seclabel): images belong to QEMU's user already, kernels are readable by
 *   all, and libvirt's chown and xattr on both ends of a migration would be two writers of one file
 *   on the pool (design.md 6).
 * - Errors stop the guest (it waits for quorum) and are never shown to it (facts/ha.md 3.8).
 * - io=native: measured 2.2 times the writes of io=threads on the mount (facts/datapath.md 2).
 * - Logical blocks of 512 bytes also on disks with sectors of 4096: firmware and images expect them, and
 *   QEMU, which finds out what the mount takes, reads, changes and writes (docs/storage.md).
 * - Nothing that libvirt writes lies on the pool: sockets under /run, the console log local. */
#include "adapters/virt/domxml_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/xml.h"

#define PATH_MAX_BYTES 1024
#define MTU_MIN 68 /* RFC 791; also virtio-net's */
#define MTU_MAX 65535
#define TEXT_MAX_BYTES 2048 /* the kernel's own limit of a command line on x86 */
#define QEMU_NS "http://libvirt.org/schemas/domain/qemu/1.0"
#define QEMU_RAM_STEP_BYTES (8 * KIB) /* QEMU rounds the size of the memory to it */

bool dom_uuid_is_valid(const char *uuid)
{
    if (!uuid || strlen(uuid) != DOM_UUID_LEN) {
        return false;
    }
    for (size_t i = 0; i < DOM_UUID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? uuid[i] != '-' : !strchr("0123456789abcdef", uuid[i])) {
            return false;
        }
    }
    return true;
}

void dom_mac_of(const char *uuid, unsigned index, char ret[static 18])
{
    uint64_t h = 0xcbf29ce484222325U; /* FNV-1a */
    for (const char *p = uuid; *p; p++) {
        h = (h ^ (unsigned char)*p) * 0x100000001b3U;
    }
    h = (h ^ index) * 0x100000001b3U;
    h ^= h >> 32; /* its low bits alone are the weak ones */
    (void)snprintf(ret, 18, "52:%02x:%02x:%02x:%02x:%02x", (unsigned)(h >> 32) & 0xff,
                   (unsigned)(h >> 24) & 0xff, (unsigned)(h >> 16) & 0xff, (unsigned)(h >> 8) & 0xff,
                   (unsigned)h & 0xff);
}

char *dom_console_path(const char *name)
{
    return str_printf(DOM_CONSOLE_DIR "/%s.sock", name);
}

char *dom_console_log_path(const char *name, const struct dom_meta *meta)
{
    return str_printf(DOM_CONSOLE_LOG_DIR "/%s.%" PRIu64 "-%" PRIu64 ".log", name,
                      meta->restore_gen, meta->n);
}

char *dom_demo_path(const char *name)
{
    return str_printf(DOM_CHANNEL_DIR "/%s.demo.sock", name);
}

/* XML 1.0 cannot hold control characters, and nobody means them. */
static bool is_plain(const char *s, size_t max)
{
    if (strlen(s) > max) {
        return false;
    }
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_path(const char *s)
{
    return s && s[0] == '/' && is_plain(s, PATH_MAX_BYTES);
}

static bool is_word(const char *s, size_t max)
{
    size_t n = s ? strlen(s) : 0;
    return n >= 1 && n <= max &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static bool is_mac(const char *s)
{
    unsigned b[6];
    int end = 0;
    return s && sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                       &end) == 6 &&
           end == 17 && s[17] == '\0' && !(b[0] & 1);
}

static int check_devices(const struct dom_spec *s, struct err *e)
{
    if (s->disk_count > DOM_DISKS_MAX || s->nic_count > DOM_NICS_MAX) {
        return ERR_SET(e, INVALID, "a vm has at most %d disks and %d network cards", DOM_DISKS_MAX,
                       DOM_NICS_MAX);
    }
    for (size_t i = 0; i < s->disk_count; i++) {
        const struct dom_disk *d = &s->disks[i];
        if (!is_path(d->path)) {
            return ERR_SET(e, INVALID, "disk %zu has no usable path", i);
        }
        const char want[] = {'v', 'd', (char)('a' + i), '\0'};
        if (!str_eq(d->target, want)) {
            return ERR_SET(e, INVALID, "disk %zu must have target '%s'", i, want);
        }
        if (d->serial && !is_word(d->serial, 20)) {
            return ERR_SET(e, INVALID, "disk %zu has an unusable serial", i);
        }
    }
    for (size_t i = 0; i < s->nic_count; i++) {
        if (!is_word(s->nics[i].bridge, 15) || !is_mac(s->nics[i].mac)) {
            return ERR_SET(e, INVALID, "network card %zu has no usable bridge or MAC address", i);
        }
        if (s->nics[i].mtu && (s->nics[i].mtu < MTU_MIN || s->nics[i].mtu > MTU_MAX)) {
            return ERR_SET(e, INVALID, "network card %zu has an MTU of %u", i, s->nics[i].mtu);
        }
    }
    return 0;
}

static int check_boot(const struct dom_spec *s, struct err *e)
{
    if (!s->kernel && (s->initrd || s->cmdline)) {
        return ERR_SET(e, INVALID, "an initrd or a command line needs a kernel");
    }
    if (!s->kernel && s->disk_count == 0) {
        return ERR_SET(e, INVALID, "there is neither a disk nor a kernel to boot from");
    }
    if ((s->kernel && !is_path(s->kernel)) || (s->initrd && !is_path(s->initrd)) ||
        (s->seed_path && !is_path(s->seed_path))) {
        return ERR_SET(e, INVALID, "kernel, initrd and seed must be absolute paths");
    }
    if (s->cmdline && !is_plain(s->cmdline, TEXT_MAX_BYTES)) {
        return ERR_SET(e, INVALID, "the kernel command line is too long or has control characters");
    }
    return 0;
}

int dom_spec_check(const struct dom_spec *s, struct err *e)
{
    assert(s);
    assert(s->disk_count == 0 || s->disks);
    if (!s->name || !str_is_name(s->name)) {
        return ERR_SET(e, INVALID, "'%.80s' is not a legal vm name", s->name ? s->name : "");
    }
    if (!dom_uuid_is_valid(s->meta.uuid)) {
        return ERR_SET(e, INVALID, "'%s' is not a uuid", s->meta.uuid);
    }
    if (!str_is_name(s->meta.owner)) {
        return ERR_SET(e, INVALID, "'%s' is not a legal host name", s->meta.owner);
    }
    if (s->cpus < 1 || s->cpus > DOM_CPUS_MAX) {
        return ERR_SET(e, INVALID, "the number of cpus must be 1 to %d", DOM_CPUS_MAX);
    }
    if (s->memory_bytes < DOM_MEMORY_MIN_BYTES || s->memory_bytes > DOM_MEMORY_MAX_BYTES ||
        s->memory_bytes % MIB) {
        return ERR_SET(e, INVALID, "memory must be 16 MiB to 16 TiB in whole MiB");
    }
    if ((s->machine && !is_word(s->machine, 64)) || (s->cpu_model && !is_word(s->cpu_model, 64))) {
        return ERR_SET(e, INVALID, "machine or cpu model has illegal characters");
    }
    int r = check_boot(s, e);
    return r < 0 ? r : check_devices(s, e);
}

/* <tag>escaped text</tag>, or nothing for NULL */
static void element(struct sbuf *b, const char *indent, const char *tag, const char *text)
{
    if (!text) {
        return;
    }
    sbuf_printf(b, "%s<%s>", indent, tag);
    xml_escape(b, text);
    sbuf_printf(b, "</%s>\n", tag);
}

static void attribute(struct sbuf *b, const char *name, const char *text)
{
    sbuf_printf(b, " %s='", name);
    xml_escape(b, text);
    sbuf_printf(b, "'");
}

static void format_head(struct sbuf *b, const struct dom_spec *s)
{
    const struct dom_meta *m = &s->meta;
    sbuf_printf(b, "<domain type='%s'>\n",
                s->emulate ? "qemu' xmlns:qemu='" QEMU_NS : "kvm");
    element(b, "  ", "name", s->name);
    element(b, "  ", "uuid", m->uuid);
    sbuf_printf(b,
                "  <metadata>\n"
                "    <mortar:vm xmlns:mortar='" DOM_META_NS "' uuid='%s' restore_gen='%" PRIu64
                "' epoch='%" PRIu64 "' owner='%s' inc='%" PRIu64 "'/>\n"
                "  </metadata>\n",
                m->uuid, m->restore_gen, m->n, m->owner, m->inc);
    sbuf_printf(b, "  <memory unit='KiB'>%" PRIu64 "</memory>\n", s->memory_bytes / KIB);
    sbuf_printf(b, "  <vcpu placement='static'>%u</vcpu>\n", s->cpus);
    sbuf_printf(b, "  <resource>\n    <partition>%s</partition>\n  </resource>\n",
                s->ha ? DOM_PARTITION_HA : DOM_PARTITION_VMS);
}

static void format_platform(struct sbuf *b, const struct dom_spec *s)
{
    const char *cpu = s->emulate ? DOM_CPU_EMULATED : DOM_CPU_KVM;
    sbuf_printf(b, "  <os>\n    <type arch='x86_64' machine='%s'>hvm</type>\n",
                s->machine ? s->machine : DOM_MACHINE_DEFAULT);
    element(b, "    ", "kernel", s->kernel);
    element(b, "    ", "initrd", s->initrd);
    element(b, "    ", "cmdline", s->cmdline);
    if (!s->kernel) {
        sbuf_printf(b, "    <boot dev='hd'/>\n");
    }
    sbuf_printf(b, "  </os>\n"
                   "  <features>\n    <acpi/>\n    <apic/>\n  </features>\n");
    sbuf_printf(b,
                "  <cpu mode='custom' match='exact' check='%s'>\n"
                "    <model fallback='forbid'>%s</model>\n  </cpu>\n",
                s->emulate ? "none" : "partial", s->cpu_model ? s->cpu_model : cpu);
    sbuf_printf(b, "  <clock offset='utc'/>\n"
                   "  <on_poweroff>destroy</on_poweroff>\n"
                   "  <on_reboot>restart</on_reboot>\n"
                   "  <on_crash>destroy</on_crash>\n"
                   "  <pm>\n    <suspend-to-mem enabled='no'/>\n"
                   "    <suspend-to-disk enabled='no'/>\n  </pm>\n");
}

static void format_disk(struct sbuf *b, const struct dom_disk *d, bool readonly)
{
    sbuf_printf(b,
                "    <disk type='file' device='disk'>\n"
                "      <driver name='qemu' type='%s' cache='none' io='native' error_policy='stop'"
                " rerror_policy='stop' discard='ignore'/>\n      <source",
                d->format == DOM_FORMAT_QCOW2 ? "qcow2" : "raw");
    attribute(b, "file", d->path);
    sbuf_printf(b,
                "/>\n      <blockio logical_block_size='512' physical_block_size='4096'/>\n"
                "      <target dev='%s' bus='virtio'/>\n",
                d->target);
    element(b, "      ", "serial", d->serial);
    sbuf_printf(b, "%s    </disk>\n", readonly ? "      <readonly/>\n" : "");
}

static void format_disks(struct sbuf *b, const struct dom_spec *s)
{
    for (size_t i = 0; i < s->disk_count; i++) {
        format_disk(b, &s->disks[i], false);
    }
    if (s->seed_path) {
        const char target[] = {'v', 'd', (char)('a' + s->disk_count), '\0'};
        struct dom_disk seed = {.path = s->seed_path, .format = DOM_FORMAT_RAW, .target = target};
        format_disk(b, &seed, true);
    }
}

static void format_console(struct sbuf *b, const struct dom_spec *s)
{
    _cleanup_free_ char *console = dom_console_path(s->name);
    _cleanup_free_ char *log = dom_console_log_path(s->name, &s->meta);
    sbuf_printf(b,
                "    <serial type='unix'>\n      <source mode='bind' path='%s'/>\n"
                "      <log file='%s' append='on'/>\n      <target port='0'/>\n    </serial>\n",
                console, log);
}

static void format_channels(struct sbuf *b, const struct dom_spec *s)
{
    sbuf_printf(b, "    <channel type='unix'>\n      <source mode='bind'/>\n"
                   "      <target type='virtio' name='org.qemu.guest_agent.0'/>\n    </channel>\n");
    if (s->demo_channel) {
        _cleanup_free_ char *path = dom_demo_path(s->name);
        sbuf_printf(b,
                    "    <channel type='unix'>\n      <source mode='bind' path='%s'/>\n"
                    "      <target type='virtio' name='" DOM_CHANNEL_DEMO "'/>\n    </channel>\n",
                    path);
    }
}

/* Before 9.0 a migration by QEMU loses stores of emulated guests: it clears the dirty bits of memory in
 * words of 64 pages without telling TCG's TLB, so that stores through an entry that says "dirty already"
 * are never copied (docs/bugs.md B1). A block of memory that is no multiple of 64 pages is gone through
 * page by page, which tells it. libvirt rounds <memory> to MiB, hence by QEMU's own arguments. */
static void format_odd_memory(struct sbuf *b, uint64_t memory_bytes)
{
    uint64_t kib = (memory_bytes - QEMU_RAM_STEP_BYTES) / KIB;
    sbuf_printf(b,
                "  <qemu:commandline>\n"
                "    <qemu:arg value='-object'/>\n"
                "    <qemu:arg value='memory-backend-ram,id=mortar.ram,size=%" PRIu64 "k'/>\n"
                "    <qemu:arg value='-machine'/>\n"
                "    <qemu:arg value='memory-backend=mortar.ram'/>\n"
                "    <qemu:arg value='-m'/>\n"
                "    <qemu:arg value='size=%" PRIu64 "k'/>\n"
                "  </qemu:commandline>\n",
                kib, kib);
}

static void format_nic(struct sbuf *b, const struct dom_nic *nic)
{
    sbuf_printf(b,
                "    <interface type='bridge'>\n      <mac address='%s'/>\n"
                "      <source bridge='%s'/>\n      <model type='virtio'/>\n",
                nic->mac, nic->bridge);
    if (nic->mtu) {
        sbuf_printf(b, "      <mtu size='%u'/>\n", nic->mtu);
    }
    sbuf_printf(b, "    </interface>\n");
}

int dom_xml_format(const struct dom_spec *s, char **ret, struct err *e)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    int r = dom_spec_check(s, e);
    if (r < 0) {
        return r;
    }
    format_head(&b, s);
    format_platform(&b, s);
    sbuf_printf(&b, "  <devices>\n");
    format_disks(&b, s);
    for (size_t i = 0; i < s->nic_count; i++) {
        format_nic(&b, &s->nics[i]);
    }
    format_console(&b, s);
    format_channels(&b, s);
    sbuf_printf(&b, "    <controller type='usb' model='none'/>\n"
                    "    <video>\n      <model type='none'/>\n    </video>\n"
                    "    <memballoon model='none'/>\n"
                    "    <rng model='virtio'>\n"
                    "      <backend model='random'>/dev/urandom</backend>\n    </rng>\n"
                    "  </devices>\n"
                    "  <seclabel type='static' model='dac' relabel='no'>\n"
                    "    <label>" DOM_QEMU_USER ":" DOM_QEMU_USER "</label>\n  </seclabel>\n");
    if (s->emulate) {
        format_odd_memory(&b, s->memory_bytes);
    }
    sbuf_printf(&b, "</domain>\n");
    *ret = sbuf_take(&b);
    return 0;
}
