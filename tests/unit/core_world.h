/* SPDX-License-Identifier: Apache-2.0
 * A core that has heard of a small cluster: two converged hosts, a witness, a pool, a stopped and a
 * running machine. For tests of single modules; whole clusters are in tests/sim. */
#pragma once

#include <assert.h>

#include "base/str.h"
#include "core/core.h"

#define NODE(name, role, addr)                                                              \
    "[\"/mortar/v1/node/" name "\",2,{\"name\":\"" name "\",\"uuid\":\"u-" name             \
    "\",\"role\":\"" role "\",\"state\":\"online\",\"inc\":1,\"boot_id\":\"b\",\"mgmt\":\"" addr \
    "\",\"storage\":\"" addr "\",\"joined_ms\":1}],"
#define SEEN(name, free)                                                                        \
    "[\"/mortar/v1/seen/" name "/host\",3,{\"cpus\":8,\"cpu_model\":\"m\",\"kvm\":true,\"qemu\":" \
    "\"7.2\",\"memory_bytes\":17179869184,\"memory_free_bytes\":" free "}],"                     \
    "[\"/mortar/v1/seen/" name "/gluster\",3,{\"ready\":true,\"bricks\":{\"vms\":true}}],"       \
    "[\"/mortar/v1/seen/" name "/pool/vms\",3,{\"brick\":{\"state\":\"ready\"},\"mount\":{"      \
    "\"state\":\"mounted\",\"quorum\":true,\"size_bytes\":1000,\"free_bytes\":500}}],"
#define VM(name, desired, epoch, state)                                                          \
    "[\"/mortar/v1/vm/" name "/spec\",4,{\"name\":\"" name "\",\"uuid\":\"u-" name               \
    "\",\"desired\":\"" desired "\",\"pool\":\"vms\",\"cpus\":2,\"memory_bytes\":1073741824,"    \
    "\"networks\":[\"default\"]}],"                                                              \
    "[\"/mortar/v1/vm/" name "/own\",4,{\"owner\":\"host1\",\"inc\":1,\"epoch\":" epoch          \
    ",\"mig\":null}],"                                                                           \
    "[\"/mortar/v1/vm/" name "/act\",4,{\"state\":\"" state "\",\"host\":\"host1\",\"epoch\":" epoch \
    "}],"

static const char core_world_rows[] =
    "{\"ev\":\"list\",\"revision\":10,\"rows\":["
    "[\"/mortar/v1/cluster\",1,{\"name\":\"lab\",\"uuid\":\"c\",\"emulation\":true}],"
    NODE("host1", "converged", "10.0.0.1") NODE("host2", "converged", "10.0.0.2")
    NODE("host3", "witness", "10.0.0.3")
    SEEN("host1", "8589934592") SEEN("host2", "4294967296") SEEN("host3", "1073741824")
    VM("db1", "running", "3", "running") VM("web", "stopped", "2", "stopped")
    "[\"/mortar/v1/image/debian\",5,{\"name\":\"debian\",\"pool\":\"vms\",\"state\":\"ready\","
    "\"virtual_bytes\":1048576}],"
    "[\"/mortar/v1/network/default\",5,{\"name\":\"default\",\"bridge\":\"mortar0\",\"vni\":1}],"
    "[\"/mortar/v1/pool/vms\",2,{\"name\":\"vms\",\"uuid\":\"u-vms\",\"kind\":\"gluster\",\"state\":"
    "\"ready\",\"copies\":2,\"arbiter\":true,\"bricks\":["
    "{\"host\":\"host1\",\"path\":\"/b\",\"role\":\"data\"},"
    "{\"host\":\"host2\",\"path\":\"/b\",\"role\":\"data\"},"
    "{\"host\":\"host3\",\"path\":\"/b\",\"role\":\"arbiter\"}]}]]}";

/** core_world_step - one step with a text as event. Return: the core's verdict; actions are dropped */
static inline _unused_ int core_world_step(struct core *c, const char *text, uint64_t now_us,
                                           struct err *e)
{
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    assert(event);
    int r = core_step(c, event, now_us, now_us, &actions, e);
    json_decref(actions);
    return r;
}

/** core_world_new - host1's core, at time 1 s */
static inline _unused_ struct core *core_world_new(void)
{
    struct core *c = core_new();
    (void)core_world_step(c, "{\"ev\":\"start\",\"host\":\"host1\",\"boot_id\":\"b\",\"instance\":\"i\","
                             "\"uuid\":\"u-host1\"}", USEC_PER_SEC, NULL);
    (void)core_world_step(c, core_world_rows, USEC_PER_SEC, NULL);
    return c;
}
