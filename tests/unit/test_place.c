/* SPDX-License-Identifier: Apache-2.0
 * Where machines and bricks are put, and why not elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/node.h"
#include "core/place/place.h"
#include "core_well.h"

#define AT (2 * USEC_PER_SEC)

static int place(struct core *c, const char *exclude, const char **ret_host, struct err *e)
{
    char why[128];
    const struct place_need need = {
        .vm = "db1", .pool = "vms", .memory_bytes = GIB, .cpus = 1, .exclude = exclude};
    return place_vm(c, &need, ret_host, why, sizeof(why), e);
}

static void a_machine_is_not_put_on_a_host_that_is_silent(void **state)
{
    struct err e = {0};
    const char *host = NULL;
    _cleanup_(core_freep) struct core *c = well();
    tick(c, AT);
    assert_int_equal(place(c, "host1", &host, &e), 0);
    assert_string_equal(host, "host2");
    see(c, "reach", "{\"host2\":false,\"host3\":true}");
    assert_int_equal(place(c, "host1", &host, &e), -ERR_NO_ROOM);
    assert_non_null(strstr(e.msg, "host2 is silent; its agent was last heard of 1 s ago"));
    see(c, "reach", "{}");
    beat(c, "host1", 20, AT + NODE_SILENT_US);
    tick(c, AT + 2 * NODE_SILENT_US);
    struct err late = {0};
    assert_int_equal(place(c, "host1", &host, &late), -ERR_NO_ROOM);
    assert_non_null(strstr(late.msg, "host2 is silent; its agent was last heard of 181 s ago"));
}

/* What becomes of a machine that may go to host2 only, after @rows have changed. */
static int place_after(const char *rows, struct err *e)
{
    _cleanup_(core_freep) struct core *c = well();
    const char *host = NULL;
    _cleanup_free_ char *text =
        str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[%s],\"dels\":[]}", rows);
    assert_int_equal(core_world_step(c, text, AT, e), 0);
    return place(c, "host1", &host, e);
}

#define FACTS(more) \
    "[\"/mortar/v1/seen/host2/host\",20,{\"cpus\":8,\"memory_bytes\":17179869184,\"memory_free_bytes\":8589934592," \
    more "}]"
#define BIG(state, bytes)                                                                                  \
    "[\"/mortar/v1/vm/big/spec\",20,{\"name\":\"big\",\"desired\":\"running\",\"pool\":\"vms\",\"memory_bytes\":" \
    bytes "}],[\"/mortar/v1/vm/big/own\",20,{\"owner\":\"host2\",\"inc\":1,\"epoch\":1,\"mig\":null}],"     \
    "[\"/mortar/v1/vm/big/act\",20,{\"state\":\"" state "\",\"host\":\"host2\",\"epoch\":1}]"

static void a_host_promises_no_more_memory_than_it_has(void **state)
{
    struct err e = {0};
    /* 16 GiB, of which 8 are free now: what runs with 15 has not taken all of it yet. */
    assert_int_equal(place_after(FACTS("\"kvm\":true") "," BIG("running", "14000000000"), &e), 0);
    assert_int_equal(place_after(FACTS("\"kvm\":true") "," BIG("running", "16106127360"), &e), -ERR_NO_ROOM);
    assert_non_null(strstr(e.msg, "host2 has 768 MiB of memory left, 1 GiB needed"));
    /* What does not run yet will take it from what is free now. */
    assert_int_equal(place_after(FACTS("\"kvm\":true") "," BIG("stopped", "7000000000"), &e), 0);
    assert_int_equal(place_after(FACTS("\"kvm\":true") "," BIG("stopped", "8000000000"), &e), -ERR_NO_ROOM);
}

static void a_host_that_cannot_run_guests_is_not_chosen(void **state)
{
    static const char no_emulation[] = "[\"/mortar/v1/cluster\",20,{\"name\":\"lab\"}],";
    struct err e = {0};
    _cleanup_free_ char *with = str_printf("%s%s", no_emulation, FACTS("\"kvm\":true"));
    _cleanup_free_ char *without = str_printf("%s%s", no_emulation, FACTS("\"kvm\":false"));
    assert_int_equal(place_after(with, &e), 0);
    assert_int_equal(place_after(FACTS("\"kvm\":false"), &e), 0); /* by emulation */
    assert_int_equal(place_after(without, &e), -ERR_NO_ROOM);
    assert_non_null(strstr(e.msg, "host2 has no KVM"));
    e = (struct err){0};
    assert_int_equal(place_after(FACTS("\"kvm\":true,\"guests\":{\"cpu\":\"Westmere\",\"cpus\":[\"qemu64\"]}"), &e),
                     -ERR_NO_ROOM);
    assert_non_null(strstr(e.msg, "host2 cannot give a guest the CPU model Westmere"));
}

static int bricks(struct core *c, const char *args, struct err *e)
{
    json_t *list = NULL;
    _cleanup_json_ json_t *j = json_loads(args, 0, NULL);
    int r = place_bricks(c, j, &list, e);
    json_decref(list);
    return r;
}

static void a_brick_is_not_put_on_a_host_that_is_silent(void **state)
{
    static const char *const cases[] = {
        "{\"name\":\"p\",\"copies\":2,\"hosts\":[\"host1\",\"host2\"]}",
        "{\"name\":\"p\",\"copies\":2}",
        "{\"name\":\"p\",\"kind\":\"dir\",\"hosts\":[\"host2\"]}",
    };
    _cleanup_(core_freep) struct core *c = well();
    tick(c, AT);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        see(c, "reach", "{\"host2\":true,\"host3\":true}");
        assert_int_equal(bricks(c, cases[i], &e), 0);
        see(c, "reach", "{\"host2\":false,\"host3\":true}");
        assert_true(bricks(c, cases[i], &e) < 0);
        assert_non_null(strstr(e.msg, i == 1 ? "online and answer, there is 1" : "is silent"));
    }
    struct err e = {0};
    see(c, "reach", "{\"host2\":true,\"host3\":false}");
    assert_int_equal(bricks(c, cases[1], &e), -ERR_POOL_POLICY); /* no arbiter */
}

/* Names of disks that survive a boot carry a serial number, and so differ from host to host. */
static void each_host_may_have_a_device_of_its_own(void **state)
{
    static const char both[] = "{\"name\":\"p\",\"copies\":2,\"device\":\"host2=/dev/disk/by-id/b,host1=/dev/disk/by-id/a\"}";
    static const struct {
        const char *devices;
        const char *says;
    } refused[] = {
        {"host1=/dev/a", "2 copies need 2 storage hosts"},                                /* no other one is chosen */
        {"host1=/dev/a,host2=/dev/b,host10=/dev/c", "named for 3 hosts, and 2 hold data"},
        {"host1=/dev/a,host10=/dev/b", "2 copies need 2 storage hosts"},
    };
    _cleanup_(core_freep) struct core *c = well();
    _cleanup_json_ json_t *args = json_loads(both, 0, NULL);
    _cleanup_json_ json_t *list = NULL;
    struct err e = {0};
    tick(c, AT);
    see(c, "reach", "{\"host2\":true,\"host3\":true}");
    assert_int_equal(place_bricks(c, args, &list, &e), 0);
    assert_string_equal(json_text_of(json_array_get(list, 0), "host"), "host1");
    assert_string_equal(json_text_of(json_array_get(list, 0), "device"), "/dev/disk/by-id/a");
    assert_string_equal(json_text_of(json_array_get(list, 1), "device"), "/dev/disk/by-id/b");
    assert_null(json_object_get(json_array_get(list, 2), "device")); /* the arbiter's */
    for (size_t i = 0; i < ELEMENTS(refused); i++) {
        _cleanup_free_ char *text = str_printf("{\"name\":\"p\",\"copies\":2,\"device\":\"%s\"}", refused[i].devices);
        struct err why = {0};
        assert_true(bricks(c, text, &why) < 0);
        if (!strstr(why.msg, refused[i].says)) {
            fail_msg("%s: %s", refused[i].devices, why.msg);
        }
    }
    _cleanup_free_ char *second = place_device_of("host10=/dev/x,host1=/dev/y", "host1");
    assert_string_equal(second, "/dev/y");
    struct err named = {0};
    assert_int_equal(bricks(c, "{\"name\":\"p\",\"copies\":2,\"hosts\":[\"host1\",\"host2\"],\"device\":\"host1=/dev/a\"}",
                            &named), -ERR_INVALID);
    assert_non_null(strstr(named.msg, "no device is named for host 'host2'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_host_may_have_a_device_of_its_own),
        cmocka_unit_test(a_machine_is_not_put_on_a_host_that_is_silent),
        cmocka_unit_test(a_host_promises_no_more_memory_than_it_has),
        cmocka_unit_test(a_host_that_cannot_run_guests_is_not_chosen),
        cmocka_unit_test(a_brick_is_not_put_on_a_host_that_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
