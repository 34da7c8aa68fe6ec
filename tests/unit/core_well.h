/* SPDX-License-Identifier: Apache-2.0
 * The small cluster of core_world.h as host1 sees it when all is well, and time that passes in it. */
#pragma once

#include "core_world.h"

/* A record of revision 20, and the pool of that cluster with failover on. */
#define ROW(key, value) "[\"/mortar/v1/" key "\",20," value "]"
#define HA_POOL                                                                                     \
    ROW("pool/vms", "{\"name\":\"vms\",\"kind\":\"gluster\",\"state\":\"ready\",\"ha\":\"on\",\"copies\":2,"   \
        "\"arbiter\":true,\"bricks\":[{\"host\":\"host1\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":"     \
        "\"host2\",\"path\":\"/b\",\"role\":\"data\"},{\"host\":\"host3\",\"path\":\"/b\",\"role\":"       \
        "\"arbiter\"}]}")

/** see - what the agent of this core observes */
static inline _unused_ void see(struct core *c, const char *what, const char *text)
{
    json_t *value = json_loads(text, 0, NULL);
    assert(value);
    smap_put(&c->seen, what, value);
}

/** nothing_is_left - this agent has seen that no laundering of the one before it runs any more (ha.h) */
static inline _unused_ void nothing_is_left(struct core *c)
{
    struct attempt *a = xcalloc(1, sizeof(*a));
    a->has_ended = a->was_good = true;
    smap_put(&c->attempts, "ha/old-laundering", a);
}

/** well - host1, whose own brick and mount are well and which reaches everybody */
static inline _unused_ struct core *well(void)
{
    struct core *c = core_world_new();
    see(c, "gluster", "{\"ready\":true,\"bricks\":{\"vms\":true}}");
    see(c, "pool/vms", "{\"mount\":{\"state\":\"mounted\",\"quorum\":true,\"bricks_up\":7}}");
    see(c, "reach", "{\"host2\":true,\"host3\":true}");
    nothing_is_left(c);
    return c;
}

/** tick - nothing but time passes */
static inline _unused_ void tick(struct core *c, uint64_t at_us)
{
    struct err e = {0};
    int r = core_world_step(c, "{\"ev\":\"tick\"}", at_us, &e);
    assert(r == 0);
}

/** beat - an agent says that it lives */
static inline _unused_ void beat(struct core *c, const char *host, unsigned revision, uint64_t at_us)
{
    struct err e = {0};
    _cleanup_free_ char *text = str_printf(
        "{\"ev\":\"watch\",\"revision\":%u,\"puts\":[[\"/mortar/v1/seen/%s/host\",%u,{\"cpus\":8,"
        "\"cpu_model\":\"m\",\"kvm\":true,\"qemu\":\"7.2\",\"memory_free_bytes\":4294967296}]],"
        "\"dels\":[]}", revision, host, revision);
    int r = core_world_step(c, text, at_us, &e);
    assert(r == 0);
}
