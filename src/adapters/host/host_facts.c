/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_facts.h"

#include <ctype.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <string.h>

#include "io/cmd.h"
#include "io/file.h"

#define TEXT_LIMIT_BYTES (16 * MIB) /* /proc/cpuinfo of 1024 processors is 1.5 MiB */

void host_facts_done(struct host_facts *f)
{
    free(f->name);
    free(f->machine_id);
    free(f->boot_id);
    host_cpu_done(&f->cpu);
    host_links_done(&f->links);
    free(f->qemu_version);
    free(f->qemu_machine);
    *f = (struct host_facts){0};
}

char *host_read_text(const char *root, const char *path)
{
    _cleanup_free_ char *full = str_printf("%s%s", root, path);
    char *text = NULL;
    size_t n = 0;
    if (file_read(full, TEXT_LIMIT_BYTES, &text, &n, NULL) < 0) {
        return str_dup("");
    }
    while (n && isspace((unsigned char)text[n - 1])) {
        text[--n] = '\0';
    }
    return text;
}

static bool exists_below(const char *root, const char *path)
{
    _cleanup_free_ char *full = str_printf("%s%s", root, path);
    return file_exists(full);
}

/* "-1" and an error mean that the driver does not know: 0 stays. */
static void read_speed(const char *link, uint64_t *ret_mbit)
{
    _cleanup_free_ char *path = str_printf("/sys/class/net/%s/speed", link);
    _cleanup_free_ char *speed = host_read_text("", path);
    (void)str_parse_u64(speed, UINT32_MAX, ret_mbit, NULL);
}

static bool has_address(const struct ifaddrs *a, const char *addr)
{
    char text[NI_MAXHOST];
    int family = a->ifa_addr ? a->ifa_addr->sa_family : AF_UNSPEC;
    socklen_t len = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    return (family == AF_INET || family == AF_INET6) &&
           getnameinfo(a->ifa_addr, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0 &&
           str_eq(text, addr);
}

uint64_t host_speed_of(const char *addr)
{
    struct ifaddrs *list = NULL;
    uint64_t mbit = 0;
    if (getifaddrs(&list) < 0) {
        return 0;
    }
    for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
        if (has_address(a, addr)) {
            read_speed(a->ifa_name, &mbit);
            break;
        }
    }
    freeifaddrs(list);
    return mbit;
}

int host_observe_links(struct host_links *ret, struct err *e)
{
    _cleanup_free_ char *out = NULL;
    int r = cmd_check(CMD("ip", "-j", "-d", "address", "show"), NULL, &out, e);
    if (r == 0) {
        r = host_parse_links(out, ret, e);
    }
    for (size_t i = 0; r == 0 && i < ret->n; i++) {
        read_speed(ret->v[i].name, &ret->v[i].speed_mbit);
    }
    return r;
}

void host_observe_qemu(struct host_facts *f)
{
    _cleanup_free_ char *out = NULL;
    free(f->qemu_version);
    free(f->qemu_machine);
    f->qemu_version = f->qemu_machine = NULL;
    if (cmd_check(CMD(HOST_QEMU_PATH, "--version"), NULL, &out, NULL) < 0 ||
        host_parse_qemu_version(out, &f->qemu_version, &f->qemu_machine, NULL) < 0) {
        f->qemu_version = str_dup("");
        f->qemu_machine = str_dup("");
    }
}

static void observe_abilities(const char *root, struct host_facts *f)
{
    _cleanup_free_ char *controllers = host_read_text(root, "/sys/fs/cgroup/cgroup.controllers");
    f->can.kvm_device = exists_below(root, "/dev/kvm");
    f->can.kvm = f->can.kvm_device && f->cpu.virt[0];
    f->can.watchdog = exists_below(root, "/dev/watchdog0");
    f->can.cgroup_unified = exists_below(root, "/sys/fs/cgroup/cgroup.controllers");
    f->can.cgroup_delegated = controllers[0] != '\0';
    f->can.systemd = exists_below(root, "/run/systemd/system");
}

int host_read_facts(const char *root, struct host_facts *ret, struct err *e)
{
    _cleanup_host_facts_ struct host_facts f = {0};
    _cleanup_free_ char *cpuinfo = host_read_text(root, "/proc/cpuinfo");
    _cleanup_free_ char *meminfo = host_read_text(root, "/proc/meminfo");
    f.name = host_read_text(root, "/proc/sys/kernel/hostname");
    f.machine_id = host_read_text(root, "/etc/machine-id");
    f.boot_id = host_read_text(root, "/proc/sys/kernel/random/boot_id");
    host_parse_cpuinfo(cpuinfo, &f.cpu);
    observe_abilities(root, &f);
    int r = host_parse_meminfo(meminfo, &f.memory_bytes, &f.memory_available_bytes, e);
    if (r < 0) {
        return r;
    }
    *ret = f;
    f = (struct host_facts){0};
    return 0;
}

int host_observe_facts(const char *root, struct host_facts *ret, struct err *e)
{
    int r = host_read_facts(root, ret, e);
    if (r < 0 || root[0]) {
        return r;
    }
    host_observe_qemu(ret);
    return host_observe_links(&ret->links, e);
}

static json_t *link_to_json(const struct host_link *l)
{
    json_t *addrs = json_array();
    for (size_t i = 0; i < l->addrs.n; i++) {
        json_array_append_new(addrs, json_string(l->addrs.v[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:o}", "name", l->name, "mac", l->mac,
                     "kind", l->kind, "master", l->master, "mtu", (json_int_t)l->mtu, "speed_mbit",
                     (json_int_t)l->speed_mbit, "up", l->up, "addresses", addrs);
}

json_t *host_facts_to_json(const struct host_facts *f)
{
    json_t *links = json_array();
    for (size_t i = 0; i < f->links.n; i++) {
        if (!f->links.v[i].loopback) {
            json_array_append_new(links, link_to_json(&f->links.v[i]));
        }
    }
    json_t *can = json_pack("{s:b, s:b, s:b, s:b, s:b, s:b}", "kvm", f->can.kvm, "kvm_device",
                            f->can.kvm_device, "watchdog", f->can.watchdog, "cgroup_unified",
                            f->can.cgroup_unified, "cgroup_delegated", f->can.cgroup_delegated,
                            "systemd", f->can.systemd);
    json_t *cpu = json_pack("{s:I, s:s, s:s, s:s}", "count", (json_int_t)f->cpu.count, "model",
                            f->cpu.model, "flags", f->cpu.flags, "virt", f->cpu.virt);
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:s, s:s, s:o}", "name", f->name,
                     "machine_id", f->machine_id, "boot_id", f->boot_id, "cpu", cpu, "memory_bytes",
                     (json_int_t)f->memory_bytes, "memory_available_bytes",
                     (json_int_t)f->memory_available_bytes, "links", links, "qemu_version",
                     f->qemu_version ? f->qemu_version : "", "qemu_machine",
                     f->qemu_machine ? f->qemu_machine : "", "can", can);
}
