/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_check.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>

#include "adapters/host/etcd_wal_parse.h"
#include "adapters/host/host_brick.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define FSYNC_BUDGET_US USEC_PER_SEC
#define FSYNC_MAX 300
#define FSYNC_BYTES 2300 /* facts/ha.md 2.4: fio --fdatasync=1 --bs=2300 */
#define DIR_MAX 65536    /* entries read of one directory */

/* Names in a directory that @pick accepts; an absent directory is empty. */
static void list_dir(const char *path, bool (*pick)(const char *name), struct strv *ret)
{
    DIR *d = opendir(path);
    if (!d) {
        return;
    }
    for (size_t i = 0; i < DIR_MAX; i++) {
        struct dirent *de = readdir(d);
        if (!de) {
            break;
        }
        if (de->d_name[0] != '.' && pick(de->d_name)) {
            strv_add(ret, de->d_name);
        }
    }
    (void)closedir(d); /* only read from */
}

static bool pick_all(const char *name)
{
    return name[0] != '\0';
}

static bool pick_xml(const char *name)
{
    return str_ends(name, ".xml");
}

static bool pick_wal(const char *name)
{
    return str_ends(name, ".wal");
}

static bool pick_snap(const char *name)
{
    return str_ends(name, ".snap");
}

static bool pick_pid(const char *name)
{
    return name[strspn(name, "0123456789")] == '\0';
}

/* Disks that nobody would give to a pool are left out: memory, floppies, CDs, other people's loops. */
static bool pick_disk(const char *name)
{
    static const char *const no[] = {"loop", "ram", "zram", "sr", "fd", "nbd", "dm-"};
    for (size_t i = 0; i < ELEMENTS(no); i++) {
        if (str_starts(name, no[i])) {
            return false;
        }
    }
    return true;
}

static void measure_fsync(uint64_t *ret_p99_us)
{
    char path[] = "/var/lib/.mortar-check-XXXXXX";
    uint64_t took[FSYNC_MAX];
    char data[FSYNC_BYTES];
    size_t n = 0;
    _cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return; /* stays 0: not measured */
    }
    (void)unlink(path); /* the file lives as long as the descriptor */
    memset(data, 'm', sizeof(data));
    uint64_t start = clock_boottime_us();
    for (uint64_t now = start; n < FSYNC_MAX && now - start < FSYNC_BUDGET_US; n++) {
        if (write(fd, data, sizeof(data)) != (ssize_t)sizeof(data) || fdatasync(fd) < 0) {
            break;
        }
        uint64_t then = now;
        now = clock_boottime_us();
        took[n] = now - then;
    }
    *ret_p99_us = n ? check_p99(took, n) : 0;
}

static void observe_clock(struct check_seen *s)
{
    struct timex t = {0};
    int state = adjtimex(&t); /* modes 0: reads only */
    s->clock_synced = state >= 0 && state != TIME_ERROR && !(t.status & STA_UNSYNC);
    s->clock_error_us = t.maxerror > 0 ? (uint64_t)t.maxerror : 0;
}

static void observe_kvm(struct check_seen *s)
{
    s->kvm_module = file_exists("/sys/module/kvm_intel") || file_exists("/sys/module/kvm_amd");
    if (s->facts.can.kvm_device) {
        s->kvm = kvm_probe(CMD("/proc/self/exe", KVM_PROBE_OPTION));
    }
}

static bool wal_is_unused(const char *path)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
        return false;
    }
    /* Mapped, since a log is 64 MB of which some kilobytes are used. etcd only appends to it. */
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    bool unused = etcd_wal_is_unused(p, (size_t)st.st_size);
    (void)munmap(p, (size_t)st.st_size); /* cannot fail for a whole mapping */
    return unused;
}

static enum check_etcd observe_etcd_dir(const char *dir)
{
    _cleanup_free_ char *wal = str_printf("%s/member/wal", dir);
    _cleanup_free_ char *snap = str_printf("%s/member/snap", dir);
    _cleanup_strv_ struct strv wals = {0};
    _cleanup_strv_ struct strv snaps = {0};
    list_dir(wal, pick_wal, &wals);
    list_dir(snap, pick_snap, &snaps);
    if (!wals.n && !snaps.n) {
        return CHECK_ETCD_NONE;
    }
    bool unused = wals.n == 1 && !snaps.n; /* a snapshot comes after thousands of entries */
    if (unused) {
        _cleanup_free_ char *path = str_printf("%s/%s", wal, wals.v[0]);
        unused = wal_is_unused(path);
    }
    return unused ? CHECK_ETCD_UNUSED : CHECK_ETCD_USED;
}

static void observe_etcd(const char *ours, struct check_seen *s)
{
    _cleanup_strv_ struct strv dirs = {0};
    strv_add(&dirs, "."); /* someone's data may lie in /var/lib/etcd itself */
    list_dir("/var/lib/etcd", pick_all, &dirs);
    for (size_t i = 0; i < dirs.n; i++) {
        _cleanup_free_ char *dir = str_printf("/var/lib/etcd/%s", dirs.v[i]);
        enum check_etcd found = str_eq(dirs.v[i], ours) ? CHECK_ETCD_NONE : observe_etcd_dir(dir);
        if (found > s->etcd) {
            s->etcd = found;
            free(s->etcd_dir);
            s->etcd_dir = TAKE(dir);
        }
    }
}

/* Our own run with our mark in their metadata (domxml_format.c). */
static bool is_our_domain(const char *name)
{
    _cleanup_free_ char *path = str_printf("/run/libvirt/qemu/%s.xml", name);
    _cleanup_free_ char *text = host_read_text("", path);
    return strstr(text, "<mortar:vm ") != NULL;
}

static void observe_libvirt(struct check_seen *s)
{
    static const char *const files[] = {"/etc/libvirt/qemu.conf", "/etc/libvirt/libvirtd.conf"};
    _cleanup_strv_ struct strv xml = {0};
    list_dir("/etc/libvirt/qemu", pick_xml, &xml);
    list_dir("/run/libvirt/qemu", pick_xml, &xml);
    for (size_t i = 0; i < xml.n; i++) {
        _cleanup_free_ char *name = str_printf("%.*s", (int)(strlen(xml.v[i]) - 4), xml.v[i]);
        if (!strv_has(&s->domains, name) && !is_our_domain(name)) {
            strv_add(&s->domains, name);
        }
    }
    for (size_t i = 0; i < ELEMENTS(files); i++) {
        _cleanup_free_ char *text = host_read_text("", files[i]);
        check_parse_settings(text, &s->libvirt_settings);
    }
}

static bool process_has_socket(const char *pid, const char *wanted)
{
    _cleanup_free_ char *dir = str_printf("/proc/%s/fd", pid);
    _cleanup_strv_ struct strv fds = {0};
    list_dir(dir, pick_pid, &fds);
    for (size_t i = 0; i < fds.n; i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", dir, fds.v[i]);
        char target[64] = "";
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        if (n > 0 && str_eq(target, wanted)) {
            return true;
        }
    }
    return false;
}

static char *find_socket_owner(uint64_t inode)
{
    _cleanup_free_ char *wanted = str_printf("socket:[%llu]", (unsigned long long)inode);
    _cleanup_strv_ struct strv pids = {0};
    list_dir("/proc", pick_pid, &pids);
    for (size_t i = 0; i < pids.n; i++) {
        if (process_has_socket(pids.v[i], wanted)) {
            _cleanup_free_ char *path = str_printf("/proc/%s/comm", pids.v[i]);
            return host_read_text("", path);
        }
    }
    return str_dup("?");
}

void host_check_ports(struct check_seen *ret)
{
    _cleanup_free_ char *tcp = host_read_text("", "/proc/net/tcp");
    _cleanup_free_ char *tcp6 = host_read_text("", "/proc/net/tcp6");
    _cleanup_free_ char *udp = host_read_text("", "/proc/net/udp");
    _cleanup_free_ char *udp6 = host_read_text("", "/proc/net/udp6");
    for (size_t i = 0; i < ELEMENTS(check_ports); i++) {
        const struct host_ports *at = &check_ports[i].ports;
        uint64_t inode = 0;
        bool busy = host_find_socket(at->udp ? udp : tcp, at, &inode) ||
                    host_find_socket(at->udp ? udp6 : tcp6, at, &inode);
        ret->ports[ret->ports_n++] =
            (struct check_port){.need = &check_ports[i], .owner = busy ? find_socket_owner(inode) : NULL};
    }
}

static bool is_whole_disk(const char *device)
{
    struct stat st;
    if (stat(device, &st) < 0 || !S_ISBLK(st.st_mode)) {
        return false;
    }
    _cleanup_free_ char *partition = str_printf("/sys/dev/block/%u:%u/partition", major(st.st_rdev),
                                                minor(st.st_rdev));
    return !file_exists(partition);
}

/* From /dev and not from /sys/class/block, which in a container shows every disk of the machine. */
static void observe_disks(struct check_seen *s)
{
    _cleanup_strv_ struct strv names = {0};
    list_dir("/dev", pick_disk, &names);
    for (size_t i = 0; i < names.n && s->disks_n < ELEMENTS(s->disks); i++) {
        _cleanup_free_ char *device = str_printf("/dev/%s", names.v[i]);
        struct brick_seen seen = {0};
        if (!is_whole_disk(device)) {
            continue;
        }
        if (brick_observe_device(&(struct brick_opts){.device = device}, &seen, NULL) < 0) {
            brick_seen_done(&seen); /* a card reader without card, for instance */
            continue;
        }
        s->disks[s->disks_n++] = (struct check_disk){.device = TAKE(device), .seen = seen};
    }
}

int host_check_observe(const struct check_opts *opts, struct check_seen *ret, struct err *e)
{
    int r = host_observe_facts("", &ret->facts, e);
    if (r < 0) {
        return r;
    }
    if (cmd_check(CMD("dpkg-query", "-W", "-f", "${Package} ${Status} ${Version}\n"), NULL,
                  &ret->packages, NULL) < 0) {
        ret->packages = str_dup(""); /* not a Debian: all packages count as missing */
    }
    ret->in_cluster = opts->in_cluster;
    ret->fuse = file_exists("/dev/fuse");
    ret->tun = file_exists("/dev/net/tun");
    ret->nft = file_exists("/usr/sbin/nft");
    _cleanup_free_ char *panic = host_read_text("", "/proc/sys/kernel/panic");
    ret->stays_down = str_eq(panic, "0");
    observe_clock(ret);
    observe_kvm(ret);
    measure_fsync(&ret->fsync_p99_us);
    observe_etcd(opts->etcd_dir ? opts->etcd_dir : "mortar", ret);
    list_dir("/var/lib/glusterd/peers", pick_all, &ret->gluster_peers);
    list_dir("/var/lib/glusterd/vols", pick_all, &ret->gluster_volumes);
    observe_libvirt(ret);
    host_check_ports(ret);
    observe_disks(ret);
    return 0;
}

int host_check_run(const struct check_opts *opts, struct check_list *ret, struct err *e)
{
    _cleanup_check_seen_ struct check_seen seen = {0};
    int r = host_check_observe(opts, &seen, e);
    if (r < 0) {
        err_prepend(e, "cannot examine this host");
        return r;
    }
    check_judge(&seen, ret);
    return 0;
}
