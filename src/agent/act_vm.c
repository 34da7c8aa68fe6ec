/* SPDX-License-Identifier: Apache-2.0
 * QEMUs of this host. Starting obeys I5: the epoch must be higher than any this host has persisted
 * for the machine, and is persisted before QEMU exists. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "adapters/virt/domxml_format.h"
#include "adapters/virt/virt_drive.h"
#include "adapters/virt/virt_host.h"
#include "adapters/virt/vm_files.h"
#include "agent/act_vm.h"
#include "agent/config.h"
#include "agent/env.h"
#include "base/log.h"
#include "base/str.h"
#include "core/model/epoch.h"
#include "io/cmd.h"
#include "io/file.h"

#define VMS_MAX_NICS 8
#define DISKS_MAX 8
#define FILES_US (10 * USEC_PER_SEC)

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

int act_vm_read_gen(uint64_t *ret, struct err *e)
{
    json_t *j = NULL;
    int r = json_file_load(PATH_GEN, &j, e);
    *ret = json_u64_of(j, "n", 0);
    json_decref(j);
    return r;
}

int act_vm_keep_gen(uint64_t gen, struct err *e)
{
    uint64_t known = 0;
    int r = act_vm_read_gen(&known, e);
    if (r == 0 && known > gen) {
        return ERR_SET(e, STATE, "the store was restored as number %llu, and this host knows of number %llu: it needs a higher one",
                       (unsigned long long)gen, (unsigned long long)known);
    }
    if (r < 0 || known == gen) {
        return r;
    }
    _cleanup_json_ json_t *next = json_pack("{s:I}", "n", (json_int_t)gen);
    return json_file_save(PATH_GEN, next, 0600, e);
}

/* Nothing begins under an epoch of a store that was restored since, although this machine may never have run here. */
static int check_gen(uint64_t epoch, struct err *e)
{
    uint64_t least = 0;
    int r = act_vm_read_gen(&least, e);
    return r < 0 || epoch_restore_gen(epoch) >= least
               ? r
               : ERR_SET(e, STATE, "epoch %llu is of a store that was restored since", (unsigned long long)epoch);
}

/**
 * take_epoch - persist @epoch for this machine unless it is too old
 * @may_repeat: the same epoch again is fine (resume after a migration), else it must be higher
 */
static int take_epoch(const char *uuid, uint64_t epoch, bool may_repeat, struct err *e)
{
    uint64_t highest = 0;
    int r = may_repeat ? 0 : check_gen(epoch, e);
    r = r < 0 ? r : read_epoch(uuid, &highest, e);
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

uint64_t act_vm_epoch_of(const struct dom_meta *m)
{
    return epoch_of(m->restore_gen, m->n);
}

void act_vm_fill_meta(struct dom_meta *m, const char *uuid, const char *owner, uint64_t inc,
                      uint64_t epoch)
{
    (void)snprintf(m->uuid, sizeof(m->uuid), "%s", uuid);
    (void)snprintf(m->owner, sizeof(m->owner), "%s", owner);
    m->inc = inc;
    m->restore_gen = epoch_restore_gen(epoch);
    m->n = epoch_n(epoch);
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
        .demo_channel = json_bool_of(spec, "demo_channel", false),
        .ha = json_bool_of(args, "freezable", false),
    };
    act_vm_fill_meta(&d.meta, json_text_of(spec, "uuid"), json_text_of(own, "owner"),
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
    bool is_same = d.info.ours == DOM_OURS_YES && act_vm_epoch_of(&d.info.meta) == epoch;
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

/* A machine that failover covers must be born where the guard can freeze it, or not at all (I5). */
static int check_slice(const struct env *env, const char *name, bool freezable, struct err *e)
{
    pid_t pid = 0;
    bool is_in = false;
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *cgroup = NULL;
    int r = virt_pidfd(name, &pid, &fd, e);
    r = r < 0 ? r : virt_in_slice(pid, freezable ? DOM_SLICE_HA : DOM_SLICE_VMS, &is_in, &cgroup, e);
    if (r == 0 && !is_in) {
        log_warning("QEMU is not in its slice", "vm=%s cgroup=%s", name, cgroup ? cgroup : "?");
    }
    if (r == 0 && !is_in && freezable) {
        (void)virt_destroy(env->virt, name, false, NULL); /* refused either way; an orphan is found later */
        r = ERR_SET(e, STATE, "its QEMU is in cgroup %s, where it could not be frozen", cgroup);
        err_hint(e, "see 'mortar check': libvirt needs a delegated cgroup controller");
    }
    return r;
}

int act_vm_check_files(const json_t *spec, struct err *e)
{
    const struct cmd_opts opts = {.timeout_us = FILES_US};
    const char *disk = json_text_of(json_array_get(json_object_get(spec, "disks"), 0), "path");
    const char *slash = disk ? strrchr(disk, '/') : NULL;
    _cleanup_free_ char *path = slash ? str_printf("%.*s/" VM_FILE_OWNER, (int)(slash - disk), disk) : NULL;
    _cleanup_free_ char *owner = NULL;
    struct err why = {0};
    uint64_t gen = 0;
    int r = act_vm_read_gen(&gen, e);
    if (r < 0 || !gen || !path) {
        return r; /* names come twice by a restore alone */
    }
    /* What waits in a mount does not end by SIGKILL: timeout can be ended, and is waited for in its place. */
    r = cmd_check(CMD("timeout", "-s", "KILL", "86400", "cat", "--", path), &opts, &owner, &why);
    if (r < 0) {
        return r == -ERR_COMMAND && strstr(why.msg, "No such file") ? 0 : err_copy(e, &why);
    }
    if (str_eq(owner, json_text_of(spec, "uuid"))) {
        return 0;
    }
    (void)ERR_SET(e, FOREIGN, "the files at %s are another machine's that has the name '%s'", path, json_text_of(spec, "name"));
    err_hint(e, "remove this machine: the other one's files are left as they are");
    return -ERR_FOREIGN;
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
    r = act_vm_check_files(json_object_get(args, "spec"), e);
    r = r < 0 ? r : choose_emulation(args, &emulate, e);
    r = r < 0 ? r : format_domain(args, emulate, &xml, e);
    r = r < 0 ? r : take_epoch(uuid, epoch, false, e);
    r = r < 0 ? r : virt_host_dirs(e);
    r = r < 0 ? r : virt_create(env->virt, xml, false, e);
    return r < 0 ? r : check_slice(env, name, json_bool_of(args, "freezable", false), e);
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
    bool is_meant = d.info.ours == DOM_OURS_YES && act_vm_epoch_of(&d.info.meta) == json_u64_of(args, "epoch", 0);
    dom_info_done(&d.info);
    return is_meant ? 0 : ERR_SET(e, STATE, "the domain '%s' is not the instance that is meant", name);
}

/* What is frozen hears no SIGTERM: libvirt would wait for 10 s until it sends what needs no ear. */
static void kill_frozen(const char *name)
{
    pid_t pid = 0;
    bool is_in = false;
    struct err why = {0};
    _cleanup_close_ int fd = -1;
    int r = act_guard_froze() ? virt_pidfd(name, &pid, &fd, &why) : -ERR_NOT_FOUND;
    r = r < 0 ? r : virt_in_slice(pid, DOM_SLICE_HA, &is_in, NULL, &why);
    if (r == 0 && is_in && pidfd_send_signal(fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH) {
        log_warning("cannot kill a QEMU that is frozen", "vm=%s errno=%d", name, errno);
    }
}

int act_vm_end_by_libvirt(const struct env *env, const json_t *args, struct err *e)
{
    bool is_here = false;
    int r = find_meant(env, args, &is_here, e);
    if (r < 0 || !is_here) {
        return r;
    }
    kill_frozen(json_text_of(args, "name"));
    return virt_destroy(env->virt, json_text_of(args, "name"), false, e);
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
    uint64_t epoch = json_u64_of(args, "epoch", 0);
    struct dom_meta meant = {0};
    act_vm_fill_meta(&meant, uuid, "", 0, epoch);
    int r = take_epoch(uuid, epoch, true, e);
    r = r < 0 ? r : virt_resume(env->virt, json_text_of(args, "name"), &meant, e);
    return r;
}
