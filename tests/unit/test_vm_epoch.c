/* SPDX-License-Identifier: Apache-2.0
 * Epochs as pairs (facts/ha.md I1, 2.7), and what a restored store does to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/vm.h"
#include "core_well.h"

#define OWN_DB1 "/mortar/v1/vm/db1/own"
#define ACT_DB1 "/mortar/v1/vm/db1/act"
/* db1 is to run; epoch 3 is granted to host1, which has not claimed it. */
#define UNCLAIMED                                                                             \
    "[\"" ACT_DB1 "\",12,{\"state\":\"stopped\",\"host\":\"host1\",\"epoch\":2}]"

/* Its agent began after the @n-th restore, when it was known again what runs where. */
static void restored(struct core *c, int n)
{
    _cleanup_json_ json_t *record = json_pack("{s:i,s:b}", "n", n, "settled", 1);
    world_put(&c->world, "/mortar/v1/restore_gen", record, 11, USEC_PER_SEC);
}

/* What host1 wants to write to @key when it hears of @puts and no domain is there, in a store that was restored @n times.
 * New reference. */
static json_t *written(const char *puts, int n, const char *key)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = well();
    see(c, "domains", "{}");
    if (n) {
        restored(c, n);
    }
    c->domains_at_us = 3 * USEC_PER_SEC;
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":12,\"puts\":[%s],\"dels\":[]}", puts);
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    assert_non_null(event);
    assert_int_equal(core_step(c, event, 2 * USEC_PER_SEC, 0, &actions, &e), 0);
    json_t *found = NULL;
    size_t i;
    json_t *action;
    json_array_foreach(actions, i, action) {
        json_t *put = json_object_get(json_object_get(json_object_get(action, "args"), "puts"), key);
        if (put && !found) {
            found = json_incref(put);
        }
    }
    json_decref(actions);
    return found;
}

static void pairs_are_ordered_by_restore_first(void **state)
{
    assert_true(epoch_of(1, 1) > epoch_of(0, EPOCH_N_MAX));
    assert_true(epoch_of(1, 2) > epoch_of(1, 1));
    assert_int_equal(epoch_restore_gen(epoch_of(8191, EPOCH_N_MAX)), 8191);
    assert_true(epoch_n(epoch_of(8191, 77)) == 77);
    assert_true(epoch_of(8191, EPOCH_N_MAX) < UINT64_C(1) << 53); /* exact in JSON */
}

static void an_epoch_that_was_granted_is_claimed(void **state)
{
    _cleanup_json_ json_t *act = written(UNCLAIMED, 0, ACT_DB1);
    assert_string_equal(json_text_of(act, "state"), "starting");
    assert_true(vm_epoch(act) == 3);
}

static void an_epoch_of_before_a_restore_is_never_claimed(void **state)
{
    _cleanup_json_ json_t *act = written(UNCLAIMED, 1, ACT_DB1);
    assert_string_equal(json_text_of(act, "state"), "stopped");
    _cleanup_json_ json_t *own = written(UNCLAIMED, 1, OWN_DB1);
    assert_true(vm_epoch(own) == epoch_of(1, 1));
    assert_string_equal(json_text_of(own, "owner"), "host1");
}

static void after_a_restore_epochs_begin_anew_above_all_former_ones(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    restored(c, 2);
    _cleanup_json_ json_t *old = json_pack("{s:I}", "epoch", (json_int_t)epoch_of(1, 900));
    _cleanup_json_ json_t *now = json_pack("{s:I}", "epoch", (json_int_t)epoch_of(2, 5));
    assert_true(vm_next_epoch(c, NULL) == epoch_of(2, 1));
    assert_true(vm_next_epoch(c, old) == epoch_of(2, 1));
    assert_true(vm_next_epoch(c, now) == epoch_of(2, 6));
}

/* It was kept as it ran, under its epoch; then its user powers it off. */
static void a_guest_that_was_kept_ends_as_any_other(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    restored(c, 1);
    see(c, "domains", "{}");
    see(c, "gone/db1", "{\"epoch\":3,\"reason\":\"shutdown\",\"at_us\":1}");
    c->domains_at_us = 4 * USEC_PER_SEC;
    json_t *actions = NULL;
    struct err e = {0};
    _cleanup_json_ json_t *tick = json_pack("{s:s}", "ev", "tick");
    assert_int_equal(core_step(c, tick, 5 * USEC_PER_SEC, 0, &actions, &e), 0);
    _cleanup_free_ char *text = json_format(actions);
    json_decref(actions);
    assert_null(strstr(text, "\"epoch\":1099511627777")); /* epoch_of(1, 1): nothing starts */
    assert_non_null(strstr(text, "poweroff"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_ordered_by_restore_first),
        cmocka_unit_test(an_epoch_that_was_granted_is_claimed),
        cmocka_unit_test(an_epoch_of_before_a_restore_is_never_claimed),
        cmocka_unit_test(a_guest_that_was_kept_ends_as_any_other),
        cmocka_unit_test(after_a_restore_epochs_begin_anew_above_all_former_ones),
    };
    return cmocka_run_group_tests_name("vm_epoch", tests, NULL, NULL);
}
