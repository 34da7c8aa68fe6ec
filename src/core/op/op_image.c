/* SPDX-License-Identifier: Apache-2.0
 * Images: record image/NAME {name, pool, state, format, path, virtual_bytes, sha256}. They lie on
 * the pool as qcow2, whatever came in, and are never changed afterwards. */
#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/pool.h"
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
    enum op_verdict v = op_do(o, "copy", "image.import", image_args(o), &result);
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
