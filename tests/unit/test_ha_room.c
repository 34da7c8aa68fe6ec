/* SPDX-License-Identifier: Apache-2.0
 * Where the machines of a lost host go, which of them wait, and the warning before (N+1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/act.h"
#include "core/alarms.h"
#include "core/ha/ha.h"
#include "core_fenced.h"

#define AT (3 * USEC_PER_SEC)

/* host1 has 8 GiB free, less 256 MiB for itself: three of these fit, four do not. */
#define VM_2G(name, more)                                                                        \
    "[\"/mortar/v1/vm/" name "/spec\",11,{\"name\":\"" name "\",\"uuid\":\"u-" name              \
    "\",\"desired\":\"running\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":2147483648" more "}]," \
    "[\"/mortar/v1/vm/" name "/own\",11,{\"owner\":\"host2\",\"inc\":1,\"epoch\":5,\"mig\":null}]," \
    "[\"/mortar/v1/vm/" name "/act\",11,{\"state\":\"running\",\"host\":\"host2\",\"epoch\":5,\"ha\":true}]"
#define HIGH ",\"priority\":\"high\""
#define LOW ",\"priority\":\"low\""

#define HOST4(free, more)                                                                          \
    "[\"/mortar/v1/node/host4\",11,{\"name\":\"host4\",\"uuid\":\"u4\",\"role\":\"compute\",\"state\":\"online\"," \
    "\"inc\":1,\"boot_id\":\"b\",\"mgmt\":\"10.0.0.4\",\"storage\":\"10.0.0.4\",\"joined_ms\":1}],"   \
    "[\"/mortar/v1/seen/host4/host\",11,{\"cpus\":8,\"kvm\":true,\"qemu\":\"7.2\",\"memory_free_bytes\":" free      \
    more "}],"                                                                                     \
    "[\"/mortar/v1/seen/host4/pool/vms\",11,{\"mount\":{\"state\":\"mounted\",\"quorum\":true}}]"
#define GUESTS(cpu) "{\"cpu\":\"" cpu "\",\"machine\":\"q35\",\"cpus\":[\"" cpu "\"],\"machines\":[\"q35\"]}"

static void host2_is_online_again(struct core *c, uint64_t now_us)
{
    json_t *node = json_deep_copy(world_get(&c->world, "/mortar/v1/node/", "host2"));
    json_object_set_new(node, "state", json_string("online"));
    _cleanup_free_ char *text = json_format(node);
    _cleanup_free_ char *row = str_printf("[\"/mortar/v1/node/host2\",19,%s]", text);
    json_decref(node);
    fenced_watch(c, 19, row, now_us);
}

/* "alarm object: text\n…" of those with @name. Caller frees. */
static char *told(const struct core *c, const char *name)
{
    struct sbuf b = {0};
    _cleanup_json_ json_t *list = alarms_list(c);
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        if (str_eq(json_text_of(a, "alarm"), name)) {
            sbuf_printf(&b, "%s: %s\n", json_text_of(a, "object"), json_text_of(a, "text"));
        }
    }
    return b.len ? sbuf_take(&b) : str_dup("");
}

static void the_least_important_wait_when_there_is_no_room(void **state)
{
    _cleanup_(core_freep) struct core *c =
        fenced_world(VM_2G("a", LOW) "," VM_2G("b", "") "," VM_2G("c", HIGH) "," VM_2G("d", ""));
    _cleanup_json_ json_t *t = fenced_take(c, AT);
    assert_non_null(fenced_put(t, "b", "own"));
    assert_non_null(fenced_put(t, "c", "own"));
    assert_non_null(fenced_put(t, "d", "own"));
    assert_null(fenced_put(t, "a", "own"));
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    assert_int_equal(json_object_size(waiting), 1);
    assert_non_null(strstr(json_text_of(waiting, "a"), "host1 has 1.8 GiB of memory left, 2 GiB needed"));
    _cleanup_free_ char *alarm = told(c, "vm.waiting");
    assert_non_null(strstr(alarm, "a: no host can take vm 'a'"));
}

static void a_smaller_machine_takes_the_room_that_a_larger_one_cannot(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        VM_2G("a", HIGH) "," VM_2G("b", HIGH) "," VM_2G("c", HIGH) "," VM_2G("d", HIGH) ","
        FENCED_VM("small", "running", LOW, "running"));
    _cleanup_json_ json_t *t = fenced_take(c, AT);
    assert_null(fenced_put(t, "d", "own"));
    assert_non_null(fenced_put(t, "small", "own"));
}

static void nothing_is_asked_for_while_all_wait(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        "[\"/mortar/v1/seen/host1/host\",11,{\"cpus\":8,\"kvm\":true,\"memory_free_bytes\":1073741824}],"
        VM_2G("a", ""));
    _cleanup_json_ json_t *t = fenced_take(c, AT);
    assert_null(t);
    assert_null(act_find(c, "ha/since/t4/host2")); /* nor is it looked at ten times a second */
    fenced_watch(c, 20, "[\"/mortar/v1/seen/host1/host\",20,{\"cpus\":8,\"kvm\":true,\"memory_free_bytes\":8589934592}]",
                 AT + 1);
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    assert_int_equal(json_object_size(waiting), 0);
}

/* In how many of these seconds, each with another free memory, it is told of @vm that it waits. */
static size_t tellings(struct core *c, const char *vm, unsigned from, unsigned to)
{
    size_t n = 0;
    for (unsigned i = from; i < to; i++) {
        size_t k;
        json_t *fact;
        _cleanup_free_ char *row = str_printf("[\"/mortar/v1/seen/host1/host\",%u,{\"cpus\":8,\"kvm\":true,\"memory_free_bytes\":%u}]",
                                              20 + i, (600 + i) << 20);
        (void)smap_del(&c->attempts, "observe/domains"); /* libvirtd is no part of this: it answers */
        fenced_watch(c, 20 + i, row, AT + i * USEC_PER_SEC);
        json_array_foreach(c->facts, k, fact) {
            n += str_eq(json_text_of(fact, "k"), "wait") && str_eq(json_text_of(fact, "vm"), vm);
        }
    }
    return n;
}

static void why_a_machine_waits_is_told_at_most_once_a_minute(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(VM_2G("a", "") "," VM_2G("b", ""));
    assert_int_equal(tellings(c, "a", 0, 121), 3);
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    assert_non_null(strstr(json_text_of(waiting, "a"), "464 MiB"));
}

static void why_a_machine_waits_is_told_by_one_host(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        "[\"/mortar/v1/node/host0\",11,{\"name\":\"host0\",\"role\":\"witness\",\"state\":\"online\",\"inc\":1,"
        "\"boot_id\":\"b\",\"mgmt\":\"10.0.0.9\",\"storage\":\"10.0.0.9\"}],"
        "[\"/mortar/v1/seen/host0/host\",11,{\"cpus\":8}]," VM_2G("a", ""));
    assert_int_equal(tellings(c, "a", 0, 3), 0);
    see(c, "reach", "{\"host0\":false,\"host2\":true,\"host3\":true}");
    assert_int_equal(tellings(c, "a", 3, 6), 1);
}

static void machines_are_spread_by_the_room_that_is_left(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        HOST4("7516192768", ",\"cpu_model\":\"m\"") "," VM_2G("a", "") "," VM_2G("b", "") "," VM_2G("c", "") "," VM_2G("d", ""));
    _cleanup_json_ json_t *t = fenced_take(c, AT);
    static const char *const expected[] = {"host1", "host4", "host1", "host4"};
    for (size_t i = 0; i < ELEMENTS(expected); i++) {
        const char name[] = {(char)('a' + i), '\0'};
        assert_string_equal(json_text_of(fenced_put(t, name, "own"), "owner"), expected[i]);
    }
}

static void a_host_like_the_lost_one_is_taken_first(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        "[\"/mortar/v1/seen/host2/host\",11,{\"cpus\":8,\"kvm\":true,\"qemu\":\"7.2\",\"guests\":" GUESTS("Westmere") "}],"
        "[\"/mortar/v1/seen/host1/host\",11,{\"cpus\":8,\"kvm\":true,\"qemu\":\"7.2\",\"memory_free_bytes\":8589934592,"
        "\"guests\":" GUESTS("qemu64") "}]," HOST4("3221225472", ",\"guests\":" GUESTS("Westmere")) "," VM_2G("a", "") ","
        VM_2G("b", ""));
    _cleanup_json_ json_t *t = fenced_take(c, AT);
    assert_string_equal(json_text_of(fenced_put(t, "a", "own"), "owner"), "host4");
    assert_string_equal(json_text_of(fenced_put(t, "b", "own"), "owner"), "host1"); /* rather another than none */
}

static void those_that_wait_for_their_host_say_why(void **state)
{
    static const struct {
        const char *vm;
        const char *says;
    } cases[] = {
        {"stays", "waits for host2, which is fenced: its policy is 'stay'; 'mortar vm set stays --ha restart'"},
        {"early", "it was started before failover was on"},
        {"local", "its disk is on local storage there"},
        {"plain", "failover of its pool is off"},
    };
    _cleanup_(core_freep) struct core *c = fenced_world(
        VM_2G("stays", ",\"ha\":\"stay\"") "," VM_2G("early", "") "," VM_2G("local", ",\"x\":1") "," VM_2G("plain", "") ","
        "[\"/mortar/v1/vm/early/act\",12,{\"state\":\"running\",\"host\":\"host2\",\"epoch\":5}],"
        "[\"/mortar/v1/vm/local/spec\",12,{\"name\":\"local\",\"desired\":\"running\",\"pool\":\"d\",\"memory_bytes\":1}],"
        "[\"/mortar/v1/vm/plain/spec\",12,{\"name\":\"plain\",\"desired\":\"running\",\"pool\":\"p\",\"memory_bytes\":1}],"
        "[\"/mortar/v1/pool/d\",12,{\"name\":\"d\",\"kind\":\"dir\",\"state\":\"ready\",\"bricks\":[{\"host\":\"host2\"}]}],"
        "[\"/mortar/v1/pool/p\",12,{\"name\":\"p\",\"kind\":\"gluster\",\"state\":\"ready\",\"bricks\":[]}]");
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    assert_int_equal(json_object_size(waiting), ELEMENTS(cases));
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const char *why = json_text_of(waiting, cases[i].vm);
        if (!why || !strstr(why, cases[i].says)) {
            fail_msg("%s: %s", cases[i].vm, why);
        }
    }
    host2_is_online_again(c, AT);
    _cleanup_json_ json_t *none = ha_waiting(c);
    assert_int_equal(json_object_size(none), 0);
}

static void an_alarm_names_machines_that_the_loss_of_one_host_would_leave_without_room(void **state)
{
    _cleanup_(core_freep) struct core *c = fenced_world(
        VM_2G("a", LOW) "," VM_2G("b", "") "," VM_2G("c", HIGH) "," VM_2G("d", "") ","
        VM_2G("s", ",\"ha\":\"stay\"") "," VM_2G("n", ",\"ha\":\"none\""));
    host2_is_online_again(c, AT);
    _cleanup_json_ json_t *lacking = ha_no_spare(c);
    assert_int_equal(json_object_size(lacking), 1);
    assert_int_equal(json_array_size(json_object_get(lacking, "host2")), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(lacking, "host2"), 0)), "a");
    _cleanup_free_ char *alarm = told(c, "ha.no-spare");
    assert_non_null(strstr(alarm, "host2: if host2 is lost, no other host has room for a;"));
    /* One that may wait needs no room; nor does any while failover is off. */
    fenced_watch(c, 21, "[\"/mortar/v1/vm/a/spec\",21,{\"name\":\"a\",\"desired\":\"running\",\"pool\":\"vms\","
                        "\"memory_bytes\":2147483648,\"ha\":\"stay\"}]", AT + 1);
    _cleanup_json_ json_t *enough = ha_no_spare(c);
    assert_int_equal(json_object_size(enough), 0);
}

static void without_failover_nobody_is_told_of_spare_room(void **state)
{
    _cleanup_(core_freep) struct core *c =
        fenced_world(VM_2G("a", "") "," VM_2G("b", "") "," VM_2G("c", "") "," VM_2G("d", ""));
    host2_is_online_again(c, AT);
    json_t *pool = json_deep_copy(world_get(&c->world, "/mortar/v1/pool/", "vms"));
    json_object_del(pool, "ha");
    _cleanup_free_ char *text = json_format(pool);
    _cleanup_free_ char *row = str_printf("[\"/mortar/v1/pool/vms\",20,%s]", text);
    json_decref(pool);
    _cleanup_free_ char *before = told(c, "ha.no-spare");
    assert_true(strlen(before) > 0);
    fenced_watch(c, 20, row, AT + 1);
    _cleanup_free_ char *after = told(c, "ha.no-spare");
    assert_string_equal(after, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_important_wait_when_there_is_no_room),
        cmocka_unit_test(a_smaller_machine_takes_the_room_that_a_larger_one_cannot),
        cmocka_unit_test(nothing_is_asked_for_while_all_wait),
        cmocka_unit_test(why_a_machine_waits_is_told_at_most_once_a_minute),
        cmocka_unit_test(why_a_machine_waits_is_told_by_one_host),
        cmocka_unit_test(machines_are_spread_by_the_room_that_is_left),
        cmocka_unit_test(a_host_like_the_lost_one_is_taken_first),
        cmocka_unit_test(those_that_wait_for_their_host_say_why),
        cmocka_unit_test(an_alarm_names_machines_that_the_loss_of_one_host_would_leave_without_room),
        cmocka_unit_test(without_failover_nobody_is_told_of_spare_room),
    };
    return cmocka_run_group_tests_name("ha_room", tests, NULL, NULL);
}
