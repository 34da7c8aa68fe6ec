/* SPDX-License-Identifier: Apache-2.0
 * Migrations that cannot go well are refused when they are asked for, with what is in the way of which
 * host and what to do next; those that can are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core_world.h"

#define GUESTS(cpus, machines) \
    "\"guests\":{\"cpu\":\"Westmere\",\"machine\":\"pc-q35-7.2\",\"cpus\":[" cpus "],\"machines\":[" machines "]},"
#define FITTING GUESTS("\"qemu64\",\"Westmere\"", "\"pc-q35-6.2\",\"pc-q35-7.2\"")
#define FACTS(host, more)                                                                           \
    "[\"/mortar/v1/seen/" host "/host\",20,{\"cpus\":8,\"memory_free_bytes\":8589934592," more "\"x\":0}]"
#define ALIKE "\"cpu_model\":\"m\",\"kvm\":true,\"virt\":\"vmx\",\"qemu\":\"7.2.22\","

/* host1, where db1 runs, and host2 as they are told. Return: what becomes of the request */
static int ask(const char *rows, const char *args, struct err *e)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *watch =
        str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[%s],\"dels\":[]}", rows);
    _cleanup_free_ char *request = str_printf(
        "{\"ev\":\"request\",\"verb\":\"vm.migrate\",\"task\":\"t\",\"args\":%s}", args);
    *e = (struct err){0};
    smap_put(&c->seen, "gluster", json_pack("{s:b,s:{s:b}}", "ready", 1, "bricks", "vms", 1)); /* host1's own */
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    assert_int_equal(core_world_step(c, watch, 2 * USEC_PER_SEC, e), 0);
    return core_world_step(c, request, 3 * USEC_PER_SEC, e);
}

static void assert_refused(const char *rows, int code, const char *says)
{
    static const char *const ways[] = {"{\"name\":\"db1\",\"to\":\"host2\"}", "{\"name\":\"db1\"}"};
    for (size_t i = 0; i < ELEMENTS(ways); i++) {
        struct err e = {0};
        int r = ask(rows, ways[i], &e);
        if (r != -code || !strstr(e.msg, says) || !e.hint[0]) {
            fail_msg("%s: %d %s; hint: %s", ways[i], r, e.msg, e.hint);
        }
    }
}

static void assert_taken(const char *rows)
{
    struct err e = {0};
    if (ask(rows, "{\"name\":\"db1\",\"to\":\"host2\"}", &e) != 0) {
        fail_msg("refused: %s", e.msg);
    }
}

static void a_host_that_offers_the_guests_cpu_and_machine_is_taken(void **state)
{
    assert_taken(FACTS("host1", ALIKE FITTING) "," FACTS("host2", ALIKE FITTING));
    /* Another processor of the same vendor, and a newer QEMU or Debian's fixes, are no obstacle. */
    assert_taken(FACTS("host1", ALIKE FITTING) ","
                 FACTS("host2", "\"cpu_model\":\"n\",\"kvm\":true,\"virt\":\"vmx\",\"qemu\":\"8.0.1\"," FITTING));
    assert_taken(FACTS("host1", ALIKE FITTING) ","
                 FACTS("host2", "\"cpu_model\":\"m\",\"kvm\":true,\"virt\":\"vmx\",\"qemu\":\"7.2.9\"," FITTING));
}

static void other_cpu_models_are_refused(void **state)
{
    assert_refused(FACTS("host1", ALIKE FITTING) ","
                   FACTS("host2", ALIKE GUESTS("\"qemu64\"", "\"pc-q35-7.2\"")),
                   ERR_NO_ROOM, "host2 cannot give a guest the CPU model Westmere");
    assert_refused(FACTS("host1", ALIKE FITTING) ","
                   FACTS("host2", "\"cpu_model\":\"m\",\"kvm\":true,\"virt\":\"svm\",\"qemu\":\"7.2.22\"," FITTING),
                   ERR_NO_ROOM, "host2 has processors of another vendor");
}

static void unknown_machine_types_and_older_qemus_are_refused(void **state)
{
    assert_refused(FACTS("host1", ALIKE FITTING) ","
                   FACTS("host2", ALIKE GUESTS("\"Westmere\"", "\"pc-q35-6.2\"")),
                   ERR_NO_ROOM, "host2 does not know the machine type pc-q35-7.2");
    assert_refused(FACTS("host1", ALIKE FITTING) ","
                   FACTS("host2", "\"cpu_model\":\"m\",\"kvm\":true,\"virt\":\"vmx\",\"qemu\":\"7.1.30\"," FITTING),
                   ERR_NO_ROOM, "host2 has an older QEMU: 7.1.30");
}

static void kvm_and_emulation_do_not_mix(void **state)
{
    assert_refused(FACTS("host1", ALIKE FITTING) ","
                   FACTS("host2", "\"cpu_model\":\"m\",\"kvm\":false,\"virt\":\"\",\"qemu\":\"7.2.22\"," FITTING),
                   ERR_NO_ROOM, "host2 has no KVM");
    assert_refused(FACTS("host1", "\"cpu_model\":\"m\",\"kvm\":false,\"virt\":\"\",\"qemu\":\"7.2.22\"," FITTING) ","
                   FACTS("host2", ALIKE FITTING), ERR_NO_ROOM, "host2 has KVM");
}

static void while_libvirt_was_not_asked_only_what_is_alike_is_taken(void **state)
{
    assert_taken(FACTS("host1", ALIKE) "," FACTS("host2", ALIKE FITTING));
    assert_refused(FACTS("host1", ALIKE) ","
                   FACTS("host2", "\"cpu_model\":\"n\",\"kvm\":true,\"qemu\":\"7.2.22\"," FITTING),
                   ERR_NO_ROOM, "host2 has another CPU model");
    assert_refused(FACTS("host1", ALIKE) ","
                   FACTS("host2", "\"cpu_model\":\"m\",\"kvm\":true,\"qemu\":\"7.2.9\"," FITTING),
                   ERR_NO_ROOM, "host2 has another QEMU version");
}

static void too_little_memory_is_refused(void **state)
{
    assert_refused("[\"/mortar/v1/seen/host2/host\",20,{\"cpus\":8,\"cpu_model\":\"m\",\"kvm\":true,"
                   "\"qemu\":\"7.2\",\"memory_free_bytes\":1073741824}]",
                   ERR_NO_ROOM, "host2 has 768 MiB of memory left, 1 GiB needed");
    assert_refused("[\"/mortar/v1/seen/host2/host\",20,{\"cpus\":1,\"cpu_model\":\"m\",\"kvm\":true,"
                   "\"qemu\":\"7.2\",\"memory_free_bytes\":8589934592}]",
                   ERR_NO_ROOM, "host2 has fewer CPUs");
}

static void a_pool_without_quorum_is_refused(void **state)
{
    assert_refused("[\"/mortar/v1/seen/host2/gluster\",20,{\"ready\":true,\"bricks\":{\"vms\":false}}],"
                   "[\"/mortar/v1/seen/host3/gluster\",20,{\"ready\":true,\"bricks\":{\"vms\":false}}]",
                   ERR_NO_QUORUM, "pool 'vms' has no quorum: 1 of its 3 bricks are online");
    assert_refused("[\"/mortar/v1/seen/host2/pool/vms\",20,{\"mount\":{\"state\":\"mounted\",\"quorum\":false}}]",
                   ERR_NO_ROOM, "host2 cannot use pool vms now");
}

static void a_host_in_maintenance_is_no_target(void **state)
{
    assert_refused("[\"/mortar/v1/node/host2\",20,{\"name\":\"host2\",\"uuid\":\"u-host2\",\"role\":\"converged\","
                   "\"state\":\"maintenance\",\"inc\":1,\"boot_id\":\"b\",\"mgmt\":\"10.0.0.2\","
                   "\"storage\":\"10.0.0.2\"}]",
                   ERR_NO_ROOM, "host2 is maintenance");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_offers_the_guests_cpu_and_machine_is_taken),
        cmocka_unit_test(other_cpu_models_are_refused),
        cmocka_unit_test(unknown_machine_types_and_older_qemus_are_refused),
        cmocka_unit_test(kvm_and_emulation_do_not_mix),
        cmocka_unit_test(while_libvirt_was_not_asked_only_what_is_alike_is_taken),
        cmocka_unit_test(too_little_memory_is_refused),
        cmocka_unit_test(a_pool_without_quorum_is_refused),
        cmocka_unit_test(a_host_in_maintenance_is_no_target),
    };
    return cmocka_run_group_tests_name("place_move", tests, NULL, NULL);
}
