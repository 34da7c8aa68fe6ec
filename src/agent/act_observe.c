/* SPDX-License-Identifier: Apache-2.0
 * What this host sees of itself. Results become seen/HOST/… when they differ from the last ones,
 * so what flickers is rounded here: an idle cluster writes almost nothing (facts/ha.md 2.4). */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "adapters/gluster/gluster_drive.h"
#include "adapters/gluster/gluster_unit.h"
#include "adapters/host/host_facts.h"
#include "adapters/host/host_reach.h"
#include "adapters/host/host_uplink.h"
#include "adapters/host/hosts_parse.h"
#include "adapters/systemd/systemd.h"
#include "adapters/virt/domxml_format.h"
#include "adapters/virt/virt_drive.h"
#include "agent/act_vm.h"
#include "agent/brick_dir.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/lab_unsafe.h"
#include "base/str.h"
#include "core/model/vm.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define MEMORY_STEP_BYTES (64 * MIB)
#define SPACE_STEP_BYTES (64 * MIB)
#define BEAT_US (30 * USEC_PER_SEC)
#define STATE_TIMEOUT_US (10 * USEC_PER_SEC)
#define MOUNT_TIMEOUT_US (3 * USEC_PER_SEC)
#define REACH_TIMEOUT_US (2 * USEC_PER_SEC) /* one lost packet is sent again after a second */
#define HEAL_SHOWN_MAX 1000000

static json_t *round_down(uint64_t bytes, uint64_t step)
{
    return json_integer((json_int_t)(bytes / step * step));
}

/* A version can only change with the program's file: asking each time would cost a QEMU start. */
static void add_qemu(json_t *seen, const json_t *last, struct host_facts *f)
{
    struct stat st = {0};
    json_int_t made_us = 0;
    if (stat(HOST_QEMU_PATH, &st) == 0) {
        made_us = (json_int_t)((uint64_t)st.st_ctim.tv_sec * USEC_PER_SEC +
                               (uint64_t)st.st_ctim.tv_nsec / 1000);
    }
    json_t *version = json_object_get(last, "qemu");
    if (version && json_integer_value(json_object_get(last, "qemu_file_us")) == made_us) {
        json_object_set(seen, "qemu", version);
    } else {
        host_observe_qemu(f);
        json_object_set_new(seen, "qemu", json_string(f->qemu_version));
    }
    json_object_set_new(seen, "qemu_file_us", json_integer(made_us));
}

/* The CPU models that guests of any version of Mortar get: a host that offers one can take its guests. */
static const char *const cpu_models_given[] = {DOM_CPU_EMULATED, DOM_CPU_KVM};

static void add_words(json_t *list, const struct strv *words, const char *prefix)
{
    for (size_t i = 0; i < words->n; i++) {
        if (str_starts(words->v[i], prefix)) {
            json_array_append_new(list, json_string(words->v[i]));
        }
    }
}

/* What guests get here, and what libvirt says that this host can give them: of a migration both are compared
 * (place_vm.c). Asked again only when QEMU or KVM changes, like its version. */
static void add_guests(const struct env *env, json_t *seen, const json_t *last)
{
    _cleanup_virt_caps_ struct virt_caps caps = {0};
    json_t *known = json_object_get(last, "guests");
    bool has_kvm = json_bool_of(seen, "kvm", false);
    if (known && json_equal(json_object_get(last, "qemu_file_us"), json_object_get(seen, "qemu_file_us")) &&
        json_bool_of(last, "kvm", false) == has_kvm) {
        json_object_set(seen, "guests", known);
        return;
    }
    if (virt_capabilities(env->virt, !has_kvm, &caps, NULL) < 0) {
        return; /* libvirtd starts: the next look tells */
    }
    json_t *cpus = json_array();
    json_t *machines = json_array();
    for (size_t i = 0; i < ELEMENTS(cpu_models_given); i++) {
        if (strv_has(&caps.cpu_models, cpu_models_given[i])) {
            json_array_append_new(cpus, json_string(cpu_models_given[i]));
        }
    }
    add_words(machines, &caps.machines, "pc-q35-");
    json_object_set_new(seen, "guests",
                        json_pack("{s:s,s:s,s:o,s:o}", "cpu", has_kvm ? DOM_CPU_KVM : DOM_CPU_EMULATED,
                                  "machine", DOM_MACHINE_DEFAULT, "cpus", cpus, "machines", machines));
}

int act_observe_host(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    _cleanup_host_facts_ struct host_facts f = {0};
    int r = host_read_facts("", &f, e);
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:I,s:s,s:b,s:s,s:{s:b,s:b,s:b,s:b}}", "cpus", (json_int_t)f.cpu.count,
                     "cpu_model", f.cpu.model, "kvm", f.can.kvm, "version",
                     MORTAR_VERSION, "capabilities", "kvm", f.can.kvm, "watchdog", f.can.watchdog,
                     "cgroup_delegated", f.can.cgroup_delegated, "systemd", f.can.systemd);
    add_qemu(*ret, json_object_get(args, "last"), &f);
    if (json_bool_of(args, "has_vms", false)) {
        add_guests(env, *ret, json_object_get(args, "last"));
    }
    if (json_text_of(args, "storage")) {
        json_object_set_new(*ret, "storage_mbit",
                            json_integer((json_int_t)host_speed_of(json_text_of(args, "storage"))));
    }
    json_object_set_new(*ret, "virt", json_string(f.cpu.virt));
    json_object_set_new(*ret, "memory_bytes", json_integer((json_int_t)f.memory_bytes));
    json_object_set_new(*ret, "memory_free_bytes",
                        round_down(f.memory_available_bytes, MEMORY_STEP_BYTES));
    json_t *unsafe = lab_unsafe_parts();
    if (unsafe) {
        json_object_set_new(*ret, "lab_unsafe", unsafe);
    }
    json_object_set_new(*ret, "boot_id", json_string(env->boot_id));
    json_object_set_new(*ret, "uplink", json_boolean(uplink_exists("")));
    json_object_set_new(*ret, "ca", json_boolean(file_exists(PATH_PKI "/ca.key")));
    /* Changes now and then on an idle host too: who publishes nothing is silent (NODE_SILENT_US). */
    json_object_set_new(*ret, "instance", json_string(env->instance)); /* whose beat it is: core/ha/ha_stranded.c */
    json_object_set_new(*ret, "beat", json_integer((json_int_t)(clock_boottime_us() / BEAT_US)));
    return 0;
}

static const char *state_name(enum virt_state s)
{
    switch (s) {
    case VIRT_RUNNING:
    case VIRT_STOPPING:
        return "running";
    case VIRT_PAUSED:
        return "paused";
    case VIRT_OFF:
    case VIRT_CRASHED:
        return "off";
    case VIRT_OTHER:
        break;
    }
    return "other";
}

/* A QEMU whose cgroup cannot be read is not accused: it may be ending. */
static bool is_in_slice(const char *name)
{
    pid_t pid = 0;
    bool is_in = true;
    _cleanup_close_ int fd = -1;
    if (virt_pidfd(name, &pid, &fd, NULL) == 0) {
        (void)virt_in_slice(pid, DOM_SLICE_VMS, &is_in, NULL, NULL); /* then as if it were in it */
    }
    return is_in;
}

static json_t *domain_json(const struct virt_domain *d)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:I,s:s,s:b}", "state", state_name(d->state), "reason",
                          str_eq(d->reason, "io-error") ? "ioerror" : d->reason, "uuid", d->info.uuid,
                          "epoch", (json_int_t)act_vm_epoch_of(&d->info.meta), "owner", d->info.meta.owner,
                          "freezable", str_eq(d->info.partition, DOM_PARTITION_HA));
    if (!is_in_slice(d->info.name)) {
        json_object_set_new(j, "in_slice", json_false());
    }
    return j;
}

/* The user's own domains are named and never touched; neither are those that may be ours (A5). */
int act_observe_domains(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    _cleanup_virt_list_ struct virt_list list = {0};
    int r = virt_observe(env->virt, &list, e);
    if (r < 0) {
        return r;
    }
    json_t *foreign = json_array();
    json_t *unclear = json_array();
    *ret = json_object();
    for (size_t i = 0; i < list.n; i++) {
        const struct virt_domain *d = &list.v[i];
        if (d->info.ours == DOM_OURS_YES) {
            json_object_set_new(*ret, d->info.name, domain_json(d));
        } else {
            json_array_append_new(d->info.ours == DOM_OURS_NO ? foreign : unclear,
                                  json_string(d->info.name));
        }
    }
    json_object_set_new(*ret, DOMAINS_OTHERS, json_pack("{s:o,s:o}", "foreign", foreign, "unclear",
                                                        unclear));
    act_done_early(ctx, *ret);
    *ret = NULL;
    virt_warm(env->virt);
    return 0;
}

/* glusterd names the host that probed it as /etc/hosts or DNS names its address, while the cluster
 * knows hosts by address. Never through DNS: a name that is in no file is passed on as it is. */
static void add_peer(json_t *list, const struct gluster_peer *p, const char *hosts)
{
    _cleanup_strv_ struct strv names = {0};
    strv_add(&names, p->address);
    strv_split(&names, p->others ? p->others : "", ", ");
    for (size_t i = 0; i < names.n; i++) {
        const char *name = names.v[i];
        _cleanup_free_ char *found = hosts_is_address(name) ? NULL : hosts_find_address(hosts, name);
        json_t *row = json_pack("{s:s,s:b}", "addr", found ? found : name, "connected",
                                p->connected && p->in_cluster);
        if (row) { /* NULL: a name that is no UTF-8 */
            json_array_append_new(list, row);
        }
    }
}

int act_observe_glance(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                       struct err *e)
{
    _cleanup_free_ char *text = gluster_fingerprint("");
    *ret = json_pack("{s:s}", "text", text);
    return 0;
}

/* Who answers, by host. Who does not is asked a second time before it is called silent. */
int act_observe_reach(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    json_t *hosts = json_object_get(args, "hosts");
    *ret = json_object();
    for (int pass = 0; pass < 2; pass++) {
        const char *host;
        json_t *addr;
        size_t n = 0;
        const char **addrs = xcalloc(json_object_size(hosts) + 1, sizeof(*addrs));
        const char **names = xcalloc(json_object_size(hosts) + 1, sizeof(*names));
        bool *answers = xcalloc(json_object_size(hosts) + 1, sizeof(*answers));
        json_object_foreach(hosts, host, addr) {
            if (!json_bool_of(*ret, host, false)) {
                addrs[n] = json_string_value(addr);
                names[n++] = host;
            }
        }
        host_reach(addrs, n, API_PORT, clock_boottime_us() + REACH_TIMEOUT_US, answers);
        for (size_t i = 0; i < n; i++) {
            json_object_set_new(*ret, names[i], json_boolean(answers[i]));
        }
        free(answers);
        free(names);
        free(addrs);
    }
    return 0;
}

int act_observe_gluster(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    _cleanup_gluster_peers_ struct gluster_peers peers = {0};
    if (!unit_is_active("glusterd.service")) {
        *ret = json_pack("{s:b}", "ready", 0);
        return 0;
    }
    _cleanup_gluster_state_ struct gluster_state state = {0};
    int r = gluster_state_local(&state, clock_boottime_us() + STATE_TIMEOUT_US, e);
    if (r < 0) {
        return r;
    }
    json_t *list = json_array();
    _cleanup_free_ char *hosts = host_read_text("", "/etc/hosts");
    for (size_t i = 0; i < state.peers.n; i++) {
        add_peer(list, &state.peers.v[i], hosts ? hosts : "");
    }
    json_t *bricks = json_object(); /* volume → does this host's brick of it live? */
    json_t *portless = NULL;        /* volume → true: it does, and nobody is told its port (docs/bugs.md B6) */
    for (size_t i = 0; i < state.volumes.n; i++) {
        const struct gluster_volume *v = &state.volumes.v[i];
        for (size_t k = 0; k < v->n_bricks; k++) {
            if (v->bricks[k].seen != GLUSTER_BRICK_UNKNOWN) {
                json_object_set_new(bricks, v->name,
                                    json_boolean(v->bricks[k].seen == GLUSTER_BRICK_ONLINE));
            }
            if (v->bricks[k].seen == GLUSTER_BRICK_ONLINE && v->bricks[k].no_port) {
                portless = portless ? portless : json_object();
                json_object_set_new(portless, v->name, json_true());
            }
        }
    }
    *ret = json_pack("{s:b,s:o,s:o,s:o*}", "ready", 1, "peers", list, "bricks", bricks, "portless", portless);
    return 0;
}

/* The brick of this host: prepared? How much is left to heal? */
static json_t *observe_brick(const json_t *pool, const json_t *brick)
{
    bool is_dir = str_eq(json_text_of(pool, "kind"), "dir");
    _cleanup_free_ char *dir = brick_dir_of(brick, is_dir);
    struct gluster_heal_pending heal = {0};
    json_t *seen = brick_seen_record(json_text_of(pool, "name"));
    if (is_dir || gluster_heal_pending_local(dir, &heal, NULL) == 0) { /* else nobody knows: T11 waits */
        uint64_t pending = is_dir ? 0 : heal.xattrop + heal.entry_changes;
        json_object_set_new(seen, "heal_pending_files",
                            json_integer((json_int_t)(pending > HEAL_SHOWN_MAX ? HEAL_SHOWN_MAX : pending)));
    }
    return seen;
}

/* Sizes through a child: statvfs() on a hung mount would hold this thread. */
static void add_space(json_t *mount, const char *path)
{
    char *out = NULL;
    unsigned long long size = 0;
    unsigned long long avail = 0;
    if (cmd_check(CMD("df", "-B1", "--output=size,avail", path),
                  &(struct cmd_opts){.timeout_us = MOUNT_TIMEOUT_US}, &out, NULL) < 0) {
        return;
    }
    const char *line = strchr(out, '\n');
    if (line && sscanf(line, "%llu %llu", &size, &avail) == 2) {
        json_object_set_new(mount, "size_bytes", round_down(size, 1));
        json_object_set_new(mount, "free_bytes", round_down(avail, SPACE_STEP_BYTES));
    }
    free(out);
}

static json_t *observe_mount(const char *pool)
{
    _cleanup_free_ char *path = gluster_mount_path(pool);
    struct gluster_quorum q = {0};
    struct err e = {0};
    int r = gluster_mount_quorum(path, pool, clock_boottime_us() + MOUNT_TIMEOUT_US, &q, &e);
    if (r < 0) {
        return json_pack("{s:s,s:s}", "state", r == -ERR_TIMEOUT ? "hanging" : "absent", "why", e.msg);
    }
    json_t *mount = json_pack("{s:s,s:b,s:I}", "state", "mounted", "quorum", q.met, "bricks_up",
                              (json_int_t)q.children_up);
    add_space(mount, path);
    return mount;
}

static json_t *observe_dir(const json_t *brick)
{
    const char *path = json_text_of(brick, "path");
    bool is_there = file_exists(path);
    json_t *mount = json_pack("{s:s,s:b}", "state", is_there ? "mounted" : "absent", "quorum", is_there);
    if (is_there) {
        add_space(mount, path);
    }
    return mount;
}

int act_observe_pool(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    const json_t *pool = json_object_get(args, "pool");
    const char *host = json_text_of(env->config, "host");
    bool is_dir = str_eq(json_text_of(pool, "kind"), "dir");
    json_t *let_in = json_object_get(args, "let_in"); /* when this was asked for: so much the look proves (T11) */
    *ret = json_object();
    if (let_in) {
        json_object_set(*ret, "let_in", let_in);
    }
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(pool, "bricks"), i, brick) {
        if (str_eq(json_text_of(brick, "host"), host)) {
            json_object_set_new(*ret, "brick", observe_brick(pool, brick));
            if (is_dir) {
                json_object_set_new(*ret, "mount", observe_dir(brick));
            }
        }
    }
    if (!is_dir) {
        json_object_set_new(*ret, "mount", observe_mount(json_text_of(pool, "name")));
    }
    return 0;
}
