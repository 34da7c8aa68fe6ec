/* SPDX-License-Identifier: Apache-2.0
 * Images: record image/NAME {name, pool, state, format, path, virtual_bytes, sha256}. They lie on
 * the pool as qcow2, whatever came in, and are never changed afterwards. */
#include <stdlib.h>

#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/ops.h"

#define HOURS(n) ((n) * 3600 * USEC_PER_SEC)

static const char *name_of(const struct op *o)
{
    return json_text_of(o->args, "name");
}

static json_t *image_args(struct op *o)
{
    const json_t *image = world_get(&o->c->world, KEY_IMAGE, name_of(o));
    const char *pool = json_text_of(image, "pool");
    _cleanup_free_ char *mount = pool_mount_path(pool_get(o->c, pool), pool);
    return json_pack("{s:O,s:O,s:s}", "args", o->args, "image", image, "mount", mount);
}

/* The machine whose disk is to be imported, or NULL. Caller frees. A path spelled otherwise is not known as one. */
static char *vm_of_disk(const struct core *c, const char *path)
{
    char *vm = NULL;
    for (struct world_iter it = {0}; (vm = vm_next(c, &it)); free(vm)) {
        size_t i;
        json_t *disk;
        json_array_foreach(json_object_get(vm_spec(c, vm), "disks"), i, disk) {
            if (str_eq(json_text_of(disk, "path"), path)) {
                return vm;
            }
        }
    }
    return NULL;
}

/* Who reads a machine's disk sees to it, as who starts the machine does, that no piece of it may still change by itself (A2).
 * An image needs none of it: it is written once, before it has a name, and has its name when all was acknowledged. */
static enum op_verdict settle_source(struct op *o)
{
    struct core *c = o->c;
    _cleanup_free_ char *vm = vm_of_disk(c, json_text_of(o->args, "source"));
    const char *owner = vm ? json_text_of(vm_own(c, vm), "owner") : NULL;
    const json_t *node = owner ? node_get(c, owner) : NULL;
    if (!vm || !ha_pool_is_on(c, json_text_of(vm_spec(c, vm), "pool"))) {
        return OP_NEXT;
    }
    if (vm_act(c, vm) && !str_eq(json_text_of(vm_act(c, vm), "state"), "stopped")) { /* none: it has never run */
        return op_fail(o, STATE, "this is the disk of vm '%s', which is %s, not stopped", vm, vm_state(c, vm));
    }
    if (!node_may_run_vms(node) || ha_node_is_flushing(node)) {
        return op_fail(o, STATE, "the disk of vm '%s' was last written on %s, which is not back yet", vm,
                       owner ? owner : "a host");
    }
    return op_do(o, "look", "vm.look", vm_clean_args(c, vm), NULL);
}

static enum op_verdict import_file(struct op *o)
{
    const json_t *result = NULL;
    const json_t *image = world_get(&o->c->world, KEY_IMAGE, name_of(o));
    if (!image) {
        return op_fail(o, NOT_FOUND, "the image's record is gone");
    }
    if (str_eq(json_text_of(image, "state"), "ready")) {
        return OP_NEXT;
    }
    enum op_verdict v = op_has_asked(o, "copy") ? OP_NEXT : settle_source(o);
    v = v == OP_NEXT ? op_do(o, "copy", "image.import", image_args(o), &result) : v;
    if (v != OP_NEXT) {
        return v;
    }
    json_t *next = json_deep_copy(image);
    struct commit t = commit_new();
    json_object_update(next, (json_t *)result);
    json_object_set_new(next, "state", json_string("ready"));
    commit_put(o->c, &t, KEY_IMAGE, name_of(o), next);
    return op_commit(o, "register", &t);
}

/* The file first, then the record: a crash between them repeats the first. */
static enum op_verdict remove_image(struct op *o)
{
    if (!world_get(&o->c->world, KEY_IMAGE, name_of(o))) {
        return OP_NEXT;
    }
    enum op_verdict v = op_do(o, "file", "image.remove", image_args(o), NULL);
    if (v != OP_NEXT) {
        return v;
    }
    struct commit t = commit_new();
    commit_del(o->c, &t, KEY_IMAGE, name_of(o));
    commit_del(o->c, &t, KEY_USE "image/", name_of(o));
    return op_commit(o, "record", &t);
}

static enum op_verdict export_image(struct op *o)
{
    if (!world_get(&o->c->world, KEY_IMAGE, name_of(o))) {
        return op_fail(o, NOT_FOUND, "there is no image '%s'", name_of(o));
    }
    return op_do(o, "", "image.export", image_args(o), NULL);
}

static const struct op_phase import_phases[] = {
    {"import", "Check and copy the image", import_file, HOURS(12), .is_bound = true},
    {0},
};

const struct op_kind op_image_import = {"image.import", import_phases, remove_image, true};

static const struct op_phase remove_phases[] = {
    {"remove", "Delete the image", remove_image, HOURS(1), .is_bound = true},
    {0},
};

const struct op_kind op_image_remove = {"image.remove", remove_phases, NULL, false};

static const struct op_phase export_phases[] = {
    {"export", "Write the image", export_image, HOURS(12), .is_bound = true},
    {0},
};

const struct op_kind op_image_export = {"image.export", export_phases, NULL, true};
