/* SPDX-License-Identifier: Apache-2.0
 * Files of virtual machines that are no more: persisted epochs (named by uuid) and console logs (by
 * name). What a domain of this host has, ours or not, stays. */
#include "adapters/host/host_sweep.h"
#include "adapters/virt/domxml_format.h"
#include "adapters/virt/virt_drive.h"
#include "agent/config.h"
#include "agent/env.h"
#include "base/str.h"
#include "io/clock.h"

/* Longer than this host takes to hear of a new machine: an epoch that is forgotten could run twice. */
#define YOUNG_US (600 * USEC_PER_SEC)

static void keep_all(struct smap *keep, const json_t *list)
{
    size_t i;
    json_t *text;
    json_array_foreach(list, i, text) {
        smap_put(keep, json_string_value(text), keep);
    }
}

int act_host_sweep(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    struct smap names = {0};
    struct smap uuids = {0};
    _cleanup_virt_list_ struct virt_list list = {0};
    int r = virt_observe(env->virt, &list, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < list.n; i++) {
        smap_put(&names, list.v[i].info.name, &names);
        smap_put(&uuids, list.v[i].info.uuid, &uuids);
        smap_put(&uuids, list.v[i].info.meta.uuid, &uuids);
    }
    keep_all(&names, json_object_get(args, "names"));
    keep_all(&uuids, json_object_get(args, "uuids"));
    uint64_t before = clock_wall_us() - YOUNG_US;
    host_sweep(PATH_EPOCHS, &uuids, '\0', before);
    host_sweep(DOM_CONSOLE_LOG_DIR, &names, '.', before);
    smap_done(&names);
    smap_done(&uuids);
    return 0;
}
