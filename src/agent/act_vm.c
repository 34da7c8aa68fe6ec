/* SPDX-License-Identifier: Apache-2.0
 * QEMUs of this host. Starting obeys I5: the epoch must be higher than any this host has persisted
 * for the machine, and is persisted before QEMU exists. */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "adapters/virt/domxml_format.h"
#include "adapters/virt/virt_drive.h"
#include "adapters/virt/virt_host.h"
#include "adapters/virt/virt_migrate.h"
#include "agent/config.h"
#include "agent/env.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"
#include "io/worker.h"

#define VMS_MAX_NICS 8
#define DISKS_MAX 8

/* --- epochs -------------------------------------------------------------------------------- */

static int read_epoch(const char *uuid, uint64_t *ret, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/%s", PATH_EPOCHS, uuid);
    json_t *j = NULL;
    int r = json_file_load(path, &j, e);
    *ret = json_u64_of(j, "epoch", 0);
    json_decref(j);
    return r;
}

static int save_epoch(const char *uuid, uint64_t epoch, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/%s", PATH_EPOCHS, uuid);
    _cleanup_json_ json_t *j = json_pack("{s:I}", "epoch", (json_int_t)epoch);
    int r = file_mkdirs(PATH_EPOCHS, 0700, e);
    return r < 0 ? r : json_file_save(path, j, 0600, e);
}

/**
 * take_epoch - persist @epoch for this machine unless it is too old
 * @may_repeat: the same epoch again is fine (resume after a migration), else it must be higher
 */
static int take_epoch(const char *uuid, uint64_t epoch, bool may_repeat, struct err *e)
{
    uint64_t highest = 0;
    int r = read_epoch(uuid, &highest, e);
    if (r < 0) {
        return r;
    }
    if (epoch < highest || (epoch == highest && !may_repeat)) {
        return ERR_SET(e, STATE, "epoch %llu is not newer than %llu, which this host has seen",
                       (unsigned long long)epoch, (unsigned long long)highest);
    }
    return epoch == highest ? 0 : save_epoch(uuid, epoch, e);
}

/* --- domain specs -------------------------------------------------------------------------- */

/* Everything a dom_spec borrows, in one place. */
struct spec_parts {
    struct dom_disk disks[DISKS_MAX];
    char targets[DISKS_MAX][8];
    struct dom_nic nics[VMS_MAX_NICS];
    char macs[VMS_MAX_NICS][18];
};

static void fill_disks(const json_t *spec, struct dom_spec *d, struct spec_parts *p)
{
    size_t i;
    json_t *disk;
    json_array_foreach(json_object_get(spec, "disks"), i, disk) {
        if (i >= DISKS_MAX) {
            break;
        }
        (void)snprintf(p->targets[i], sizeof(p->targets[i]), "vd%c", (char)('a' + i));
        p->disks[i] = (struct dom_disk){
            .path = json_text_of(disk, "path"),
            .format = str_eq(json_text_of(disk, "format"), "raw") ? DOM_FORMAT_RAW : DOM_FORMAT_QCOW2,
            .target = p->targets[i],
        };
        d->disk_count = i + 1;
    }
    d->disks = p->disks;
}

static void fill_nics(const json_t *spec, struct dom_spec *d, struct spec_parts *p)
{
    size_t i;
    json_t *nic;
    json_array_foreach(json_object_get(spec, "nics"), i, nic) {
        if (i >= VMS_MAX_NICS) {
            break;
        }
        dom_mac_of(json_text_of(spec, "uuid"), (unsigned)i, p->macs[i]);
        p->nics[i] = (struct dom_nic){.bridge = json_text_of(nic, "bridge"),
                                      .mac = p->macs[i],
                                      .mtu = (unsigned)json_u64_of(nic, "mtu", 0)};
        d->nic_count = i + 1;
    }
    d->nics = p->nics;
}

static void fill_meta(struct dom_meta *m, const char *uuid, const char *owner, uint64_t inc,
                      uint64_t epoch)
{
    (void)snprintf(m->uuid, sizeof(m->uuid), "%s", uuid);
    (void)snprintf(m->owner, sizeof(m->owner), "%s", owner);
    m->inc = inc;
    m->n = epoch;
}

static int format_domain(const json_t *args, bool emulate, char **ret_xml, struct err *e)
{
    const json_t *spec = json_object_get(args, "spec");
    const json_t *own = json_object_get(args, "own");
    struct spec_parts parts = {0};
    struct dom_spec d = {
        .name = json_text_of(args, "name"),
        .cpus = (unsigned)json_u64_of(spec, "cpus", 1),
        .memory_bytes = json_u64_of(spec, "memory_bytes", 0) / MIB * MIB,
        .emulate = emulate,
        .kernel = json_text_of(spec, "kernel_path"),
        .initrd = json_text_of(spec, "initrd_path"),
        .cmdline = json_text_of(spec, "kernel_path") ? json_text_of(spec, "cmdline") : NULL,
        .seed_path = json_text_of(spec, "seed_path"),
        .demo_channel = true,
    };
    fill_meta(&d.meta, json_text_of(spec, "uuid"), json_text_of(own, "owner"),
              json_u64_of(own, "inc", 0), json_u64_of(own, "epoch", 0));
    fill_disks(spec, &d, &parts);
    fill_nics(spec, &d, &parts);
    return dom_xml_format(&d, ret_xml, e);
}

/* KVM when the host has it, else emulation when the cluster allows it. */
static int choose_emulation(const json_t *args, bool *ret, struct err *e)
{
    bool has_kvm = json_bool_of(args, "kvm", false);
    if (!has_kvm && !json_bool_of(args, "emulation", false)) {
        (void)ERR_SET(e, PREFLIGHT, "this host has no KVM");
        err_hint(e, "switch on virtualisation in the firmware; a cluster for tests may be made with "
                 "--allow-emulation");
        return -ERR_PREFLIGHT;
    }
    *ret = !has_kvm;
    return 0;
}

/* --- actions ------------------------------------------------------------------------------- */

/* A domain of exactly this epoch is what we want; any other one is in the way. */
static int adopt(const struct env *env, const char *name, uint64_t epoch, bool *ret_adopted,
                 struct err *e)
{
    struct err why = {0};
    struct virt_domain d = {0};
    int r = virt_find(env->virt, name, &d, &why);
    if (r == -ERR_NOT_FOUND) {
        return 0;
    }
    if (r < 0) {
        return err_copy(e, &why);
    }
    bool is_same = d.info.ours == DOM_OURS_YES && d.info.meta.n == epoch;
    bool is_foreign = d.info.ours != DOM_OURS_YES;
    dom_info_done(&d.info);
    *ret_adopted = is_same;
    if (is_same) {
        return 0;
    }
    return is_foreign ? ERR_SET(e, FOREIGN, "a libvirt domain called '%s', which is not Mortar's, "
                                "exists on this host", name)
                      : ERR_SET(e, BUSY, "an older instance still exists on this host");
}

static int check_slice(const char *name, struct err *e)
{
    pid_t pid = 0;
    bool is_in = false;
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *cgroup = NULL;
    int r = virt_pidfd(name, &pid, &fd, e);
    r = r < 0 ? r : virt_in_slice(pid, DOM_SLICE_VMS, &is_in, &cgroup, e);
    if (r == 0 && !is_in) {
        log_warning("QEMU is not in its slice; failover would not be safe", "vm=%s cgroup=%s", name,
                    cgroup ? cgroup : "?");
    }
    return r;
}

int act_vm_create(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                  struct err *e)
{
    const char *name = json_text_of(args, "name");
    const char *uuid = json_text_of(json_object_get(args, "spec"), "uuid");
    uint64_t epoch = json_u64_of(json_object_get(args, "own"), "epoch", 0);
    _cleanup_free_ char *xml = NULL;
    bool emulate = false;
    bool is_adopted = false;
    int r = adopt(env, name, epoch, &is_adopted, e);
    if (r < 0 || is_adopted) {
        return r;
    }
    r = choose_emulation(args, &emulate, e);
    r = r < 0 ? r : format_domain(args, emulate, &xml, e);
    r = r < 0 ? r : take_epoch(uuid, epoch, false, e);
    r = r < 0 ? r : virt_host_dirs(e);
    r = r < 0 ? r : virt_create(env->virt, xml, false, e);
    return r < 0 ? r : check_slice(name, e);
}

/* Only the instance that the caller means: between its decision and now another one may be here, for
 * instance the copy of a migration that must not run yet. @ret: false when there is none at all */
static int find_meant(const struct env *env, const json_t *args, bool *ret, struct err *e)
{
    struct err why = {0};
    struct virt_domain d = {0};
    const char *name = json_text_of(args, "name");
    int r = virt_find(env->virt, name, &d, &why);
    *ret = r == 0;
    if (r < 0) {
        return r == -ERR_NOT_FOUND ? 0 : err_copy(e, &why);
    }
    bool is_meant = d.info.ours == DOM_OURS_YES && d.info.meta.n == json_u64_of(args, "epoch", 0);
    dom_info_done(&d.info);
    return is_meant ? 0 : ERR_SET(e, STATE, "the domain '%s' is not the instance that is meant", name);
}

int act_vm_destroy(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    bool is_here = false;
    int r = find_meant(env, args, &is_here, e);
    return r < 0 || !is_here ? r : virt_destroy(env->virt, json_text_of(args, "name"), false, e);
}

int act_vm_shutdown(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    bool is_here = false;
    int r = find_meant(env, args, &is_here, e);
    return r < 0 || !is_here ? r : virt_shutdown(env->virt, json_text_of(args, "name"), e);
}

int act_vm_reset(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                 struct err *e)
{
    return virt_reset(env->virt, json_text_of(args, "name"), e);
}

/* A write that fails here fails again in act_vm_resume(), where it counts. */
int act_vm_keep_epoch(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    return take_epoch(json_text_of(args, "uuid"), json_u64_of(args, "epoch", 0), true, e);
}

int act_vm_resume(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                  struct err *e)
{
    const char *uuid = json_text_of(args, "uuid");
    bool is_here = false;
    int r = find_meant(env, args, &is_here, e);
    if (r == 0 && !is_here) {
        r = ERR_SET(e, STATE, "there is no domain '%s' to resume", json_text_of(args, "name"));
    }
    r = r < 0 ? r : take_epoch(uuid, json_u64_of(args, "epoch", 0), true, e);
    return r < 0 ? r : virt_resume(env->virt, json_text_of(args, "name"), e);
}

/* --- migration ----------------------------------------------------------------------------- */

#define PROGRESS_MS 100
#define OUTCOME_POLL_MS 100
#define CONFIRM_TRIES 100       /* libvirt writes its verdict within milliseconds of QEMU's end */
#define CONFIRM_MS 2
#define OUTCOME_TIMEOUT_US (30 * USEC_PER_SEC)
#define VERDICT_TIMEOUT_US (10 * USEC_PER_SEC) /* also for a libvirtd that starts again */

/* What the migrating thread and the one that watches the source's QEMU share. */
struct migration {
    const struct env *env;
    struct act_ctx *ctx;
    const char *name;
    pid_t pid;
    int pidfd;
    uint64_t started_us;
    atomic_bool is_over;
    atomic_uint_fast64_t bytes;       /* copied, as last seen */
    atomic_uint_fast64_t downtime_ms; /* expected or measured by QEMU, as last seen */
};

static json_t *migration_result(struct migration *m)
{
    return json_pack("{s:I,s:I,s:I}", "bytes", (json_int_t)atomic_load(&m->bytes),
                     "downtime_ms", (json_int_t)atomic_load(&m->downtime_ms), "total_ms",
                     (json_int_t)((clock_boottime_us() - m->started_us) / USEC_PER_MSEC));
}

/* On a thread of its own: libvirt may hold the question back while it finishes the migration. */
static void show_progress(void *arg)
{
    struct migration *m = arg;
    while (!atomic_load(&m->is_over)) {
        struct virt_job job = {0};
        if (virt_job(m->env->virt, m->name, &job, NULL) == 0 && job.active) {
            atomic_store(&m->bytes, job.done_bytes);
            atomic_store(&m->downtime_ms, job.downtime_ms);
            act_progress(m->ctx, job.done_bytes, job.done_bytes + job.remaining_bytes, "bytes");
        }
        clock_sleep_ms(PROGRESS_MS);
    }
}

/* libvirt answers up to 200 ms after QEMU's end; the owner must change at once (issue 2 point 7). */
static void watch_source(void *arg)
{
    struct migration *m = arg;
    struct pollfd p = {.fd = m->pidfd, .events = POLLIN};
    while (!atomic_load(&m->is_over) && poll(&p, 1, PROGRESS_MS) == 0) {
    }
    for (int i = 0; p.revents && i < CONFIRM_TRIES && !atomic_load(&m->is_over); i++) {
        if (virt_migration_is_confirmed(m->name, m->pid)) {
            act_done_early(m->ctx, migration_result(m));
            return;
        }
        clock_sleep_ms(CONFIRM_MS);
    }
}

/* The source's QEMU has gone and nobody watched: libvirt's log keeps its verdict. Without one that says
 * "migrated" the guest is lost here, and the copy on the target must not run. */
static int judge_end(const char *name, struct err *e)
{
    enum virt_end end = VIRT_END_UNTOLD;
    uint64_t deadline = clock_boottime_us() + VERDICT_TIMEOUT_US;
    while ((end = virt_last_end(name)) == VIRT_END_UNTOLD && clock_boottime_us() < deadline) {
        clock_sleep_ms(OUTCOME_POLL_MS);
    }
    if (end == VIRT_END_MIGRATED) {
        return 0;
    }
    return ERR_SET(e, STATE, "the guest's QEMU ended during the migration; it is started again");
}

/* virt_migrate() failed, but the guest is known to be here. */
static int stays_here(enum virt_outcome left, const struct err *said, struct err *e)
{
    if (left == VIRT_LEFT_PAUSED) { /* not worth a second try while it stands still */
        return ERR_SET(e, STATE, "broken off at the switch-over: %.300s", said->msg);
    }
    if (said->code == ERR_TIMEOUT) {
        return ERR_SET(e, VIRT, "%.300s", said->msg);
    }
    return err_copy(e, said);
}

/* libvirt says that it failed; what is left here decides. The target's copy is never promoted on the
 * strength of its own completeness: libvirt may have resumed the source in between, and the source
 * may have written before it died (facts/ha.md 3.9 case 23). Only libvirt's verdict counts, which
 * the watcher has told already or its log keeps. Return: 0 when it was "migrated", -ERR_TIMEOUT while nobody knows, -ERR_STATE when
 * the guest is lost here, else as in @said */
static int judge_failure(struct migration *m, const struct err *said, struct err *e)
{
    uint64_t deadline = clock_boottime_us() + OUTCOME_TIMEOUT_US;
    enum virt_outcome left = VIRT_LEFT_UNKNOWN;
    do {
        virt_migration_outcome(m->env->virt, m->name, &left);
        if (left == VIRT_LEFT_GONE) {
            return judge_end(m->name, e);
        }
        if (left != VIRT_LEFT_BUSY && left != VIRT_LEFT_UNKNOWN) {
            return stays_here(left, said, e);
        }
        clock_sleep_ms(OUTCOME_POLL_MS);
    } while (clock_boottime_us() < deadline);
    return ERR_SET(e, TIMEOUT, "it is not known how the migration ends: %.300s", said->msg);
}

static int migrate_watched(struct migration *m, const struct virt_migrate_args *args, struct err *e)
{
    struct err said = {0};
    struct lane *watchers = lane_new("migwatch", 2, 2);
    int r = lane_run(watchers, watch_source, m, &said);
    r = r < 0 ? r : lane_run(watchers, show_progress, m, &said);
    r = r < 0 ? r : virt_migrate(m->env->virt, args, &said);
    r = r < 0 ? judge_failure(m, &said, e) : r; /* watched to the end: the verdict may come late */
    atomic_store(&m->is_over, true);
    lane_free(watchers);
    return r;
}

int act_vm_migrate(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    const json_t *own = json_object_get(args, "own");
    const json_t *node = json_object_get(args, "node");
    if (!json_text_of(node, "storage")) {
        return ERR_SET(e, STATE, "host '%s' has left the cluster", json_text_of(args, "dst"));
    }
    struct migration m = {.env = env, .ctx = ctx, .name = json_text_of(args, "name")};
    struct dom_meta meta = {0};
    struct err why = {0};
    _cleanup_close_ int pidfd = -1;
    fill_meta(&meta, json_text_of(json_object_get(args, "spec"), "uuid"), json_text_of(args, "dst"),
              json_u64_of(node, "inc", 0), json_u64_of(json_object_get(own, "mig"), "epoch", 0));
    m.started_us = clock_boottime_us();
    int r = virt_pidfd(m.name, &m.pid, &pidfd, &why);
    if (r == -ERR_NOT_FOUND) {
        r = judge_end(m.name, e); /* an agent before us began it */
        *ret = r == 0 ? migration_result(&m) : NULL;
        return r;
    }
    m.pidfd = pidfd;
    const struct virt_migrate_args margs = {
        .name = m.name,
        .dest_addr = json_text_of(node, "storage"),
        .storage_addr = json_text_of(node, "storage"),
        .dest_meta = &meta,
    };
    r = r < 0 ? err_copy(e, &why) : migrate_watched(&m, &margs, e);
    *ret = r == 0 ? migration_result(&m) : NULL;
    return r;
}

int act_vm_migrate_abort(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                         struct err *e)
{
    return virt_migrate_abort(env->virt, json_text_of(args, "name"), e);
}
