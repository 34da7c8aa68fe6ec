/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/check_judge.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "adapters/host/net_plan.h"
#include "base/units.h"

#define MEMORY_MIN_BYTES (1 * GIB)
#define MEMORY_WANTED_BYTES (4 * GIB)
#define FSYNC_WARN_US (10 * USEC_PER_MSEC) /* etcd's own advice, facts/ha.md 2.4 */
#define FSYNC_HA_US (50 * USEC_PER_MSEC)
#define SPEED_WANTED_MBIT 1000
#define MTU_WANTED 1500

void check_list_done(struct check_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i].subject);
        free(l->v[i].value);
        json_decref(l->v[i].measured);
    }
    free(l->v);
    *l = (struct check_list){0};
}

void check_seen_done(struct check_seen *s)
{
    host_facts_done(&s->facts);
    free(s->packages);
    free(s->etcd_dir);
    strv_done(&s->gluster_peers);
    strv_done(&s->gluster_volumes);
    strv_done(&s->domains);
    strv_done(&s->libvirt_settings);
    for (size_t i = 0; i < s->ports_n; i++) {
        free(s->ports[i].owner);
    }
    for (size_t i = 0; i < s->disks_n; i++) {
        free(s->disks[i].device);
        brick_seen_done(&s->disks[i].seen);
    }
    s->ports_n = s->disks_n = 0;
}

/* Takes @value. Return: valid until the next call, for its measured numbers. */
static struct check_finding *add(struct check_list *l, const char *id, const char *subject,
                                 const char *title, enum check_severity severity, char *value,
                                 const char *meaning, const char *action)
{
    struct check_finding *grown = reallocarray(l->v, l->n + 1, sizeof(*grown));
    if (!grown) {
        abort();
    }
    l->v = grown;
    l->v[l->n++] = (struct check_finding){.id = id,
                                          .severity = severity,
                                          .subject = str_dup(subject),
                                          .title = title,
                                          .value = value,
                                          .meaning = severity == CHECK_OK ? "" : meaning,
                                          .action = severity == CHECK_OK ? "" : action};
    return &l->v[l->n - 1];
}

static char *join(const struct strv *v)
{
    struct sbuf b = {0};
    for (size_t i = 0; i < v->n && i < 10; i++) {
        sbuf_printf(&b, "%s%s", i ? ", " : "", v->v[i]);
    }
    if (v->n > 10) {
        sbuf_printf(&b, " and %zu more", v->n - 10);
    }
    return b.len ? sbuf_take(&b) : str_dup("none");
}

static void judge_identity(const struct host_facts *f, struct check_list *l)
{
    bool named = f->name[0] && !str_eq(f->name, "localhost") && !str_starts(f->name, "localhost.");
    add(l, "host.name", "", "host name", named ? CHECK_OK : CHECK_REFUSE, str_dup(f->name),
        "the cluster knows its hosts by name", "set one: hostnamectl set-hostname NAME");
    add(l, "host.machine-id", "", "machine id", strlen(f->machine_id) == 32 ? CHECK_OK : CHECK_REFUSE,
        str_dup(f->machine_id), "the host has no identity of its own",
        "make one: systemd-machine-id-setup");
    add(l, "host.systemd", "", "init system", f->can.systemd ? CHECK_OK : CHECK_REFUSE,
        str_dup(f->can.systemd ? "systemd" : "not systemd"),
        "Mortar supervises all daemons by systemd units", "use a Debian with systemd as init");
}

static bool is_guest(const struct host_facts *f)
{
    _cleanup_strv_ struct strv flags = {0};
    strv_split(&flags, f->cpu.flags, " ");
    return strv_has(&flags, "hypervisor");
}

static void judge_cpu(const struct host_facts *f, struct check_list *l)
{
    char *value = str_printf("%llu × %s, %s", (unsigned long long)f->cpu.count, f->cpu.model,
                             f->cpu.virt[0] ? f->cpu.virt : "no vmx or svm");
    struct check_finding *found = add(
        l, "cpu.virtualisation", "", "processor", f->cpu.virt[0] ? CHECK_OK : CHECK_WARNING, value,
        is_guest(f) ? "this host is itself a virtual machine, and its hypervisor does not hand VT-x or "
                      "AMD-V on: guests are emulated, some 10 to 50 times slower"
                    : "the processor has no VT-x or AMD-V, or the firmware has switched it off: guests "
                      "are emulated, some 10 to 50 times slower",
        is_guest(f) ? "allow nested virtualisation in that hypervisor (with KVM: nested=1 and CPU "
                      "model host-passthrough)"
                    : "switch on VT-x (Intel) or SVM (AMD) in the firmware's setup");
    found->measured = json_pack("{s:I,s:s,s:b}", "count", (json_int_t)f->cpu.count, "flag", f->cpu.virt,
                                "virtual_machine", is_guest(f));
}

struct kvm_verdict {
    enum check_severity severity;
    const char *value;
    const char *meaning;
    const char *action;
};

static struct kvm_verdict judge_no_kvm_device(const struct check_seen *s)
{
    if (!s->facts.cpu.virt[0]) {
        return (struct kvm_verdict){CHECK_WARNING, "none",
                                    "guests are emulated, and only in a cluster that allows emulation",
                                    "see to the processor's finding first"};
    }
    if (!s->kvm_module) {
        return (struct kvm_verdict){CHECK_WARNING, "module not loaded",
                                    "the processor can virtualise, but the kernel's module is not there",
                                    "modprobe kvm_intel or kvm_amd; 'Operation not supported' means "
                                    "that the firmware has switched it off"};
    }
    return (struct kvm_verdict){CHECK_WARNING, "no /dev/kvm",
                                "the module is loaded, but this system has no device for it",
                                "in a container: hand /dev/kvm in; else: udevadm trigger --name-match=kvm"};
}

/* The device is there; what did the probe say? */
static struct kvm_verdict judge_kvm_probe(const struct check_seen *s)
{
    const struct kvm_seen *k = &s->kvm;
    if (k->failed_at == KVM_STEP_OPEN && (k->sys == EACCES || k->sys == EPERM)) {
        return (struct kvm_verdict){CHECK_WARNING, "/dev/kvm may not be opened",
                                    "something keeps even root from it, as a container's device rules do",
                                    "allow the device c 10:232 for this system"};
    }
    if (k->failed_at == KVM_STEP_OPEN) {
        return (struct kvm_verdict){CHECK_WARNING, "/dev/kvm does not open",
                                    "the kernel has no KVM behind the device",
                                    "modprobe kvm_intel or kvm_amd; see dmesg when that fails"};
    }
    if (k->failed_at == KVM_STEP_VM && k->sys == EBUSY) {
        return (struct kvm_verdict){CHECK_WARNING, "held by another hypervisor",
                                    "another program (VirtualBox, VMware) has the processor's virtualisation",
                                    "stop that program or unload its modules"};
    }
    if (k->timed_out) {
        return (struct kvm_verdict){CHECK_WARNING, "the probe hung",
                                    "a guest of four bytes never came back: this KVM does not work, "
                                    "which defects of nested virtualisation can cause",
                                    "update the kernel here and below; see dmesg"};
    }
    if (k->failed_at != KVM_STEP_DONE) {
        return (struct kvm_verdict){CHECK_WARNING, "the probe failed",
                                    "KVM could not run a guest of four bytes",
                                    "see dmesg; mortard --probe-kvm tries again and names the step"};
    }
    if (!s->facts.cpu.virt[0]) {
        return (struct kvm_verdict){CHECK_WARNING, "a guest of four bytes ran, without vmx or svm",
                                    "this KVM is no hardware virtualisation; such devices start and then "
                                    "hang a Linux guest, so Mortar emulates",
                                    "see to the processor's finding"};
    }
    return (struct kvm_verdict){CHECK_OK, "a guest of four bytes ran", "", ""};
}

static void judge_kvm(const struct check_seen *s, struct check_list *l)
{
    bool device = s->facts.can.kvm_device;
    struct kvm_verdict v = device ? judge_kvm_probe(s) : judge_no_kvm_device(s);
    struct check_finding *found =
        add(l, "cpu.kvm", "", "KVM", v.severity, str_dup(v.value), v.meaning, v.action);
    found->measured = json_pack("{s:b,s:b,s:s,s:i}", "device", device, "module", s->kvm_module, "probe",
                                device ? kvm_step_name(s->kvm.failed_at) : "none", "errno", s->kvm.sys);
}

static void judge_memory(const struct host_facts *f, struct check_list *l)
{
    char total[24];
    char available[24];
    enum check_severity severity = f->memory_bytes < MEMORY_MIN_BYTES      ? CHECK_REFUSE
                                   : f->memory_bytes < MEMORY_WANTED_BYTES ? CHECK_NOTE
                                                                           : CHECK_OK;
    struct check_finding *found =
        add(l, "memory.size", "", "memory", severity,
            str_printf("%s, %s available", units_format_size(f->memory_bytes, total, sizeof(total)),
                       units_format_size(f->memory_available_bytes, available, sizeof(available))),
            "etcd, GlusterFS and libvirt take about 1 GiB; the rest is for guests",
            "enough for a witness; add memory to run guests");
    found->measured = json_pack("{s:I,s:I}", "bytes", (json_int_t)f->memory_bytes, "available_bytes",
                                (json_int_t)f->memory_available_bytes);
}

static void judge_fsync(const struct check_seen *s, struct check_list *l)
{
    uint64_t us = s->fsync_p99_us;
    bool slow = us > FSYNC_HA_US;
    struct check_finding *found = add(
        l, "disk.fsync", "/var/lib", "disk latency",
        !us ? CHECK_NOTE : us > FSYNC_WARN_US ? CHECK_WARNING : CHECK_OK,
        us ? str_printf("fdatasync p99 %llu.%llu ms", (unsigned long long)(us / 1000),
                        (unsigned long long)(us / 100 % 10))
           : str_dup("not measured"),
        !us    ? "it could not be measured"
        : slow ? "etcd loses its leader on such a disk (more than 50 ms): failover would be refused"
               : "etcd wants less than 10 ms; a busy disk can cost it its leader",
        "put /var/lib/etcd on an SSD that serves nothing else");
    found->measured = us ? json_pack("{s:I}", "p99_us", (json_int_t)us) : NULL;
}

static void judge_disk(const struct check_disk *d, struct check_list *l)
{
    char size[24];
    const struct brick_seen *s = &d->seen;
    const char *content = s->mounted_at        ? "mounted"
                          : s->busy            ? "in use"
                          : s->fs_type         ? s->fs_type
                          : s->partition_table ? s->partition_table
                          : s->has_bytes       ? "unknown data"
                                               : "empty";
    bool empty = str_eq(content, "empty");
    (void)units_format_size(s->size_bytes, size, sizeof(size));
    struct check_finding *found = add(
        l, "disk.device", d->device, "disk", empty ? CHECK_OK : CHECK_NOTE,
        str_printf("%s, sectors of %llu bytes, %s%s%s", size, (unsigned long long)s->sector_bytes, content,
                   s->mounted_at ? " at " : "", s->mounted_at ? s->mounted_at : ""),
        "it holds something: Mortar formats it only with --wipe, and never while it is in use",
        "nothing, unless it is meant for a brick");
    found->measured = json_pack("{s:I,s:I,s:s}", "size_bytes", (json_int_t)s->size_bytes, "sector_bytes",
                                (json_int_t)s->sector_bytes, "content", content);
    if (s->sector_bytes > 512) {
        add(l, "disk.sector", d->device, "sector size", CHECK_NOTE,
            str_printf("%llu bytes", (unsigned long long)s->sector_bytes),
            "all bricks of a pool must have the same sector size, else writes fail on some of them",
            "use it in pools whose other bricks have such sectors too");
    }
}

static void judge_link(const struct host_link *k, struct check_list *l)
{
    _cleanup_free_ char *addrs = join(&k->addrs);
    bool slow = k->speed_mbit && k->speed_mbit < SPEED_WANTED_MBIT;
    bool small = k->mtu < MTU_WANTED;
    char *speed = k->speed_mbit ? str_printf("%llu Mbit/s", (unsigned long long)k->speed_mbit)
                                : str_dup("speed unknown");
    struct check_finding *found = add(
        l, "link.state", k->name, "network link",
        !k->up ? CHECK_NOTE : slow || small ? CHECK_WARNING : CHECK_OK,
        str_printf("%s, MTU %llu, %s, %s", k->up ? "up" : "down", (unsigned long long)k->mtu, speed,
                   addrs),
        !k->up ? "it has no carrier or is switched off"
        : slow ? "each guest's write travels this network once per copy"
               : "guests get an MTU 50 smaller than this link's: below 1500 some protocols suffer",
        !k->up ? "connect it or ignore it"
        : slow ? "use at least 1 Gbit/s for storage, better 10"
               : "raise the MTU, for instance to 9000, on all hosts and the switch");
    found->measured = json_pack("{s:b,s:I,s:o}", "up", k->up, "mtu", (json_int_t)k->mtu, "speed_mbit",
                                k->speed_mbit ? json_integer((json_int_t)k->speed_mbit) : json_null());
    free(speed);
}

/* Safety does not need it: whoever is silent is fenced. facts/ha.md 3.6 */
static void judge_panic(const struct check_seen *s, struct check_list *l)
{
    add(l, "kernel.panic", "", "after a panic", s->stays_down ? CHECK_NOTE : CHECK_OK,
        str_dup(s->stays_down ? "the kernel stands still" : "the kernel boots again"),
        "its guests start elsewhere, but the host and its copy of their disks come back only when somebody resets it",
        "put kernel.panic=10 and kernel.hardlockup_panic=1 into a file in /etc/sysctl.d, then run sysctl --system");
}

static void judge_system(const struct check_seen *s, struct check_list *l)
{
    const struct host_facts *f = &s->facts;
    bool cgroup = f->can.cgroup_unified && f->can.cgroup_delegated;
    struct check_finding *clock =
        add(l, "clock.sync", "", "clock", s->clock_synced ? CHECK_OK : CHECK_WARNING,
            s->clock_synced ? str_printf("synchronised, at most %llu ms off",
                                         (unsigned long long)((s->clock_error_us + 999) / 1000))
                            : str_dup("not synchronised"),
            "certificates and logs need the time; no decision about guests does",
            "apt install chrony, and check that it reaches a server: chronyc sources");
    clock->measured = json_pack("{s:b,s:I}", "synchronised", s->clock_synced, "max_error_us",
                                (json_int_t)s->clock_error_us);
    add(l, "kernel.cgroup", "", "control groups", cgroup ? CHECK_OK : CHECK_WARNING,
        str_dup(!f->can.cgroup_unified ? "not version 2 alone"
                : cgroup               ? "version 2 with controllers"
                                       : "version 2 without controllers"),
        "libvirt then ignores the slice of the guests, and failover is refused on this host",
        "boot with systemd.unified_cgroup_hierarchy=1; in a container delegate a controller");
    add(l, "kernel.fuse", "", "/dev/fuse", s->fuse ? CHECK_OK : CHECK_REFUSE,
        str_dup(s->fuse ? "there" : "missing"), "pools are mounted by FUSE", "modprobe fuse");
    add(l, "kernel.tun", "", "/dev/net/tun", s->tun ? CHECK_OK : CHECK_WARNING,
        str_dup(s->tun ? "there" : "missing"), "guests on this host would have no network",
        "modprobe tun");
    add(l, "kernel.nft", "", "nftables", s->nft ? CHECK_OK : CHECK_WARNING,
        str_dup(s->nft ? "there" : "missing"), "the failover cuts hosts off with nft",
        "apt install nftables");
    add(l, "kernel.watchdog", "", "watchdog", f->can.watchdog ? CHECK_OK : CHECK_NOTE,
        str_dup(f->can.watchdog ? "/dev/watchdog0" : "none"),
        "with failover mortar-guard then uses softdog, which resets a host that hangs, but not one "
        "whose kernel itself stands still; a container has neither",
        "switch the board's watchdog on in its firmware, or load its driver");
    judge_panic(s, l);
}

static void judge_packages(const struct check_seen *s, struct check_list *l)
{
    static const char *const wanted[] = {"etcd-server", "glusterfs-server", "libvirt-daemon-system",
                                         "qemu-system-x86", "xfsprogs"};
    for (size_t i = 0; i < ELEMENTS(wanted); i++) {
        char *version = host_find_package(s->packages, wanted[i]);
        add(l, "package.version", wanted[i], "package", version ? CHECK_OK : CHECK_REFUSE,
            version ? version : str_dup("not installed"), "Mortar needs it", "install it with apt");
    }
}

/* Each as its owner's own header has it; tests/unit/test_host_check.c compares them. */
const struct check_port_need check_ports[CHECK_PORTS] = {
    {{2379, 2379, false}, "etcd", CHECK_PORT_ALONE},
    {{2380, 2380, false}, "etcd", CHECK_PORT_ALONE},
    {{8843, 8843, false}, "mortar-api", CHECK_PORT_ALONE},
    {{24007, 24007, false}, "glusterd", CHECK_PORT_ALONE},
    {{16514, 16514, false}, "libvirtd", CHECK_PORT_ALONE},
    {{8844, 8844, true}, "mortar-guard", CHECK_PORT_ALONE},
    {{NET_VXLAN_PORT, NET_VXLAN_PORT, true}, "", CHECK_PORT_TUNNEL},
    {{61152, 61215, false}, "", CHECK_PORT_ANY}, /* QEMU, while a guest moves in */
};

static bool port_is_ours(const struct check_port *p)
{
    /* systemd listens in place of libvirtd (socket activation) */
    return str_eq(p->owner, p->need->owner) ||
           (str_eq(p->need->owner, "libvirtd") && str_eq(p->owner, "systemd"));
}

static void judge_port(const struct check_port *p, struct check_list *l)
{
    const struct host_ports *at = &p->need->ports;
    bool is_kernel = p->need->use == CHECK_PORT_TUNNEL && str_eq(p->owner, "?");
    _cleanup_free_ char *subject = at->first == at->last ? str_printf("%u", at->first)
                                                         : str_printf("%u-%u", at->first, at->last);
    const char *title = at->udp ? "UDP port" : "TCP port";
    char *value = !p->owner   ? str_dup("free")
                  : is_kernel ? str_dup("used by the kernel")
                              : str_printf("used by %s", p->owner);
    if (!p->owner || port_is_ours(p)) {
        add(l, "port.free", subject, title, CHECK_OK, value, "", "");
    } else if (is_kernel) {
        add(l, "port.free", subject, title, CHECK_WARNING, value,
            "there is a VXLAN already; networks of VMs share its port only if it has a number, and another one than theirs",
            "look whether it is 'external' (Open vSwitch and the like), then it must use another port: ip -d link show type vxlan");
    } else if (p->need->use == CHECK_PORT_ANY) {
        add(l, "port.free", subject, title, CHECK_WARNING, value,
            "each VM that moves to this host takes one of these ports; one that is taken is passed over, "
            "without any that is free no VM can move here",
            "move that program to a port outside of them");
    } else {
        add(l, "port.free", subject, title, CHECK_REFUSE, value,
            "another program has a port that Mortar's daemons need", "move or stop that program");
    }
}

static void judge_foreign(const struct check_seen *s, struct check_list *l)
{
    static const char *const etcd_values[] = {"none", "as Debian's package starts it, unused", "in use"};
    bool etcd = s->etcd == CHECK_ETCD_USED;
    add(l, "foreign.etcd", s->etcd_dir ? s->etcd_dir : "", "etcd data", etcd ? CHECK_REFUSE : CHECK_OK,
        str_dup(etcd_values[s->etcd]),
        "somebody's data is in this host's etcd; making it a member of the cluster would destroy that",
        "move that etcd to another machine, or, if nobody needs it: stop etcd and remove the directory");
    add(l, "foreign.gluster-peers", "", "GlusterFS peers",
        s->gluster_peers.n ? CHECK_REFUSE : CHECK_OK, join(&s->gluster_peers),
        "this host belongs to a trusted pool that Mortar does not manage",
        "detach it there: gluster peer detach");
    add(l, "foreign.gluster-volumes", "", "GlusterFS volumes",
        s->gluster_volumes.n ? CHECK_REFUSE : CHECK_OK, join(&s->gluster_volumes),
        "Mortar enforces its options on every volume of the cluster's hosts",
        "move their data away and delete them: gluster volume delete");
}

static void judge_libvirt(const struct check_seen *s, struct check_list *l)
{
    add(l, "foreign.domains", "", "other virtual machines", s->domains.n ? CHECK_NOTE : CHECK_OK,
        join(&s->domains), "Mortar lists them and never touches them; they take memory",
        "nothing, or import their disks into a pool");
    add(l, "foreign.libvirt-settings", "", "libvirt settings",
        s->libvirt_settings.n ? CHECK_NOTE : CHECK_OK, join(&s->libvirt_settings),
        "these were set by hand; Mortar adds a block of its own and keeps them, where they do not collide",
        "compare /etc/libvirt/qemu.conf and libvirtd.conf after init");
}

void check_judge(const struct check_seen *seen, struct check_list *ret)
{
    judge_identity(&seen->facts, ret);
    judge_cpu(&seen->facts, ret);
    judge_kvm(seen, ret);
    judge_memory(&seen->facts, ret);
    judge_fsync(seen, ret);
    for (size_t i = 0; i < seen->disks_n; i++) {
        judge_disk(&seen->disks[i], ret);
    }
    for (size_t i = 0; i < seen->facts.links.n; i++) {
        const struct host_link *k = &seen->facts.links.v[i];
        /* taps, tunnels and bridges of guests are made by us and others at run time */
        if (!k->loopback && (!k->kind[0] || k->addrs.n)) {
            judge_link(k, ret);
        }
    }
    judge_system(seen, ret);
    judge_packages(seen, ret);
    if (!seen->in_cluster) {
        for (size_t i = 0; i < seen->ports_n; i++) {
            judge_port(&seen->ports[i], ret);
        }
        judge_foreign(seen, ret);
    }
    judge_libvirt(seen, ret);
}

enum check_severity check_worst(const struct check_list *l)
{
    enum check_severity worst = CHECK_OK;
    for (size_t i = 0; i < l->n; i++) {
        worst = l->v[i].severity > worst ? l->v[i].severity : worst;
    }
    return worst;
}

const char *check_severity_name(enum check_severity s)
{
    static const char *const names[] = {"ok", "note", "warning", "refuse"};
    assert(s < ELEMENTS(names));
    return names[s];
}

json_t *check_list_to_json(const struct check_list *l)
{
    json_t *findings = json_array();
    for (size_t i = 0; i < l->n; i++) {
        const struct check_finding *f = &l->v[i];
        json_array_append_new(
            findings, json_pack("{s:s, s:s, s:s, s:s, s:s, s:O?, s:s, s:s}", "id", f->id, "severity",
                                check_severity_name(f->severity), "subject", f->subject, "title",
                                f->title, "value", f->value, "measured", f->measured, "meaning",
                                f->meaning, "action", f->action));
    }
    return json_pack("{s:s, s:o}", "verdict", check_severity_name(check_worst(l)), "findings", findings);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t check_p99(uint64_t *values, size_t n)
{
    assert(n > 0);
    qsort(values, n, sizeof(*values), compare_u64);
    size_t rank = (n * 99 + 99) / 100; /* nearest rank, 1 … n */
    return values[rank - 1];
}

void check_parse_settings(const char *text, struct strv *ret)
{
    _cleanup_strv_ struct strv lines = {0};
    bool in_block = false;
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        const char *p = lines.v[i];
        in_block = str_starts(p, "# BEGIN mortar ") || (in_block && !str_starts(p, "# END mortar "));
        p += strspn(p, " \t");
        size_t n = strcspn(p, " \t=");
        if (!in_block && n && (isalpha((unsigned char)*p) || *p == '_') && strchr(p, '=')) {
            strv_addf(ret, "%.*s", (int)n, p);
        }
    }
}
