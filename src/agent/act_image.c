/* SPDX-License-Identifier: Apache-2.0
 * Actions on images and on the files of VMs; adapters/virt/image_drive.c does the work. */
#include "adapters/virt/domxml_format.h"
#include "adapters/virt/image_drive.h"
#include "adapters/virt/image_fetch.h"
#include "adapters/virt/seed_format.h"
#include "adapters/virt/virt_host.h"
#include "adapters/virt/vm_files.h"
#include "agent/env.h"
#include "base/str.h"

static void on_progress(void *ctx, unsigned percent, uint64_t bytes, uint64_t of_bytes)
{
    act_progress_percent(ctx, percent, bytes, of_bytes);
}

static int image_env_of(struct act_ctx *ctx, struct image_env *ret, struct err *e)
{
    *ret = (struct image_env){.on_progress = on_progress, .on_progress_arg = ctx};
    return virt_qemu_ids(&ret->uid, &ret->gid, e);
}

static char *images_dir(const json_t *args)
{
    return str_printf("%s/images", json_text_of(args, "mount"));
}

int act_image_import(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    const json_t *asked = json_object_get(args, "args");
    _cleanup_free_ char *dir = images_dir(args);
    _cleanup_free_ char *source = image_source_public(json_text_of(asked, "source"));
    _cleanup_image_file_ struct image_file made = {0};
    struct image_env ie;
    const struct image_import_args a = {
        .dir = dir,
        .name = json_text_of(asked, "name"),
        .source = json_text_of(asked, "source"),
        .format = json_text_of(asked, "format"),
        .checksum = json_text_of(asked, "checksum"),
    };
    int r = image_env_of(ctx, &ie, e);
    r = r < 0 ? r : image_import(&ie, &a, &made, e);
    if (r == 0) {
        *ret = json_pack("{s:s,s:s,s:I,s:s,s:s}", "path", made.path, "format", "qcow2",
                         "virtual_bytes", (json_int_t)made.virtual_bytes, "sha256", made.sha256,
                         "source", source);
    }
    return r;
}

int act_image_remove(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    _cleanup_free_ char *dir = images_dir(args);
    return image_remove(dir, json_text_of(json_object_get(args, "args"), "name"), e);
}

/* The copy belongs to root: it is not QEMU's any more. */
int act_image_export(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    const json_t *asked = json_object_get(args, "args");
    const char *image = json_text_of(json_object_get(args, "image"), "path");
    enum image_format format = IMAGE_QCOW2;
    struct image_env ie = {
        .uid = (uid_t)-1, .gid = (gid_t)-1, .on_progress = on_progress, .on_progress_arg = ctx};
    const char *name = json_text_of(asked, "format");
    if (name && !image_format_by_name(name, &format)) {
        return ERR_SET(e, INVALID, "'%.20s' is no format; there are qcow2, raw and vmdk", name);
    }
    if (!image) {
        return ERR_SET(e, STATE, "the image has no file yet");
    }
    return image_export(&ie, image, json_text_of(asked, "path"), format, e);
}

/* --- files of VMs -------------------------------------------------------------------------- */

static char *vm_dir(const json_t *args)
{
    return str_printf("%s/vms/%s", json_text_of(args, "mount"), json_text_of(args, "name"));
}

static bool wants_seed(const json_t *spec)
{
    return json_text_of(spec, "cloud_init") ||
           json_array_size(json_object_get(spec, "ssh_keys")) > 0;
}

static void make_seed(const json_t *args, struct sbuf *ret)
{
    const json_t *spec = json_object_get(args, "spec");
    const char *uuid = json_text_of(spec, "uuid");
    char mac[DOM_NICS_MAX][18];
    const char *macs[DOM_NICS_MAX + 1] = {0};
    size_t nics = json_array_size(json_object_get(spec, "networks"));
    for (size_t i = 0; i < nics && i < DOM_NICS_MAX; i++) {
        dom_mac_of(uuid, (unsigned)i, mac[i]);
        macs[i] = mac[i];
    }
    const struct seed_spec seed = {
        .uuid = uuid,
        .hostname = json_text_of(args, "name"),
        .ssh_keys = json_object_get(spec, "ssh_keys"),
        .user_data = json_text_of(spec, "cloud_init"),
        .macs = macs,
    };
    seed_format(&seed, ret);
}

static void set_path(json_t *result, const char *field, const char *dir, const char *name)
{
    json_object_set_new(result, field, json_sprintf("%s/%s", dir, name));
}

static json_t *disks_result(const struct vm_files_args *a, const json_t *spec)
{
    json_t *result = json_pack("{s:[{s:s,s:s,s:I,s:s?}]}", "disks", "name", "disk0", "format",
                               "qcow2", "size_bytes", (json_int_t)a->disk_bytes, "pool",
                               json_text_of(spec, "pool"));
    json_t *disk = json_array_get(json_object_get(result, "disks"), 0);
    set_path(disk, "path", a->dir, VM_FILE_DISK);
    if (a->kernel) {
        set_path(result, "kernel_path", a->dir, VM_FILE_KERNEL);
    }
    if (a->initrd) {
        set_path(result, "initrd_path", a->dir, VM_FILE_INITRD);
    }
    if (a->seed) {
        set_path(result, "seed_path", a->dir, VM_FILE_SEED);
    }
    return result;
}

int act_vm_make_disks(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    const json_t *spec = json_object_get(args, "spec");
    const json_t *image = json_object_get(args, "image");
    uint64_t image_bytes = json_u64_of(image, "virtual_bytes", 0);
    _cleanup_free_ char *dir = vm_dir(args);
    _cleanup_sbuf_ struct sbuf seed = {0};
    struct image_env ie;
    struct vm_files_args a = {
        .dir = dir,
        .uuid = json_text_of(spec, "uuid"),
        .disk_bytes = (json_u64_of(spec, "disk_bytes", image_bytes) + 511) / 512 * 512,
        .image = json_text_of(image, "path"),
        .kernel = json_text_of(spec, "kernel"),
        .initrd = json_text_of(spec, "initrd"),
    };
    if (json_text_of(spec, "image") && !a.image) {
        return ERR_SET(e, NOT_FOUND, "the image '%s' is gone", json_text_of(spec, "image"));
    }
    if (a.disk_bytes == 0 || a.disk_bytes < image_bytes) {
        return ERR_SET(e, INVALID, "the disk is smaller than its image");
    }
    if (wants_seed(spec)) {
        make_seed(args, &seed);
        a.seed = seed.data;
        a.seed_len = seed.len;
    }
    int r = image_env_of(ctx, &ie, e);
    r = r < 0 ? r : vm_files_make(&ie, &a, e);
    if (r == 0) {
        *ret = disks_result(&a, spec);
    }
    return r;
}

int act_vm_remove_disks(const struct env *env, const json_t *args, struct act_ctx *ctx,
                        json_t **ret, struct err *e)
{
    _cleanup_free_ char *dir = vm_dir(args);
    return vm_files_remove(dir, json_text_of(json_object_get(args, "spec"), "uuid"), e);
}
