/* SPDX-License-Identifier: Apache-2.0
 * The small cluster of core_world.h with failover on and host2 fenced, as host1 sees it. */
#pragma once

#include "core_actions.h"
#include "core_well.h"

/* A machine of host2, of epoch 5, that the guard could freeze. @more: fields of the spec, ",\"ha\":\"stay\"" */
#define FENCED_VM(name, desired, more, state)                                                    \
    "[\"/mortar/v1/vm/" name "/spec\",11,{\"name\":\"" name "\",\"uuid\":\"u-" name              \
    "\",\"desired\":\"" desired "\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824" more "}]," \
    "[\"/mortar/v1/vm/" name "/own\",11,{\"owner\":\"host2\",\"inc\":1,\"epoch\":5,\"mig\":null}]," \
    "[\"/mortar/v1/vm/" name "/act\",11,{\"state\":\"" state "\",\"host\":\"host2\",\"epoch\":5,\"ha\":true}]"

/** fenced_watch - records change; what the core asks for is dropped */
static inline _unused_ void fenced_watch(struct core *c, unsigned revision, const char *rows, uint64_t now_us)
{
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":%u,\"puts\":[%s],\"dels\":[]}",
                                           revision, rows);
    json_decref(actions_of(c, text, now_us));
}

/** fenced_world - at 1 s host1 has heard of the machines in @rows and that failover is on; host2 was fenced */
static inline _unused_ struct core *fenced_world(const char *rows)
{
    struct core *c = well();
    json_t *pool = json_deep_copy(world_get(&c->world, "/mortar/v1/pool/", "vms"));
    json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host2"));
    json_object_set_new(pool, "ha", json_string("on"));
    json_object_set_new(node, "state", json_string("fenced"));
    _cleanup_free_ char *pool_text = json_format(pool);
    _cleanup_free_ char *node_text = json_format(node);
    _cleanup_free_ char *all = str_printf("%s,[\"/mortar/v1/node/host2\",11,%s],[\"/mortar/v1/pool/vms\",11,%s]",
                                          rows, node_text, pool_text);
    json_decref(pool);
    json_decref(node);
    c->store_is_lost = true; /* so that nothing is decided in this step */
    fenced_watch(c, 11, all, USEC_PER_SEC);
    c->store_is_lost = false;
    return c;
}

/** fenced_take - the arguments of host1's commit T4 in the step of this time, or NULL; caller frees */
static inline _unused_ json_t *fenced_take(struct core *c, uint64_t now_us)
{
    _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", now_us);
    return json_incref((json_t *)action_args(actions, "ha/t4/host2"));
}

/** fenced_put - what a commit puts as record @which of @vm, or NULL. Borrowed. */
static inline _unused_ const json_t *fenced_put(const json_t *commit, const char *vm, const char *which)
{
    _cleanup_free_ char *key = str_printf("/mortar/v1/vm/%s/%s", vm, which);
    return json_object_get(json_object_get(commit, "puts"), key);
}
