/* SPDX-License-Identifier: Apache-2.0
 * What the owner of a machine commits of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core_well.h"

/* Found by the simulator (seed 120): a new owner had missed that the user wants the machine to run, wrote "stopped",
 * and the machine stood still until the next list of the store. */
static void a_stop_is_compared_with_what_the_user_wants(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    json_t *actions = NULL;
    size_t i;
    json_t *a;
    bool is_found = false;
    assert_int_equal(core_world_step(c, "{\"ev\":\"watch\",\"revision\":20,\"puts\":[[\"/mortar/v1/vm/web/own\",20,{\"owner\":"
                                        "\"host1\",\"inc\":1,\"epoch\":3,\"mig\":null}]],\"dels\":[]}", 2 * USEC_PER_SEC, NULL), 0);
    c->domains_at_us = 3 * USEC_PER_SEC;
    _cleanup_json_ json_t *event = json_loads("{\"ev\":\"tick\"}", 0, NULL);
    assert_int_equal(core_step(c, event, 3 * USEC_PER_SEC, 0, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        _cleanup_free_ char *text = json_format(json_object_get(a, "args"));
        if (strncmp(json_text_of(a, "id"), "vm/web/stopped", 14) == 0) {
            is_found = true;
            assert_non_null(strstr(text, "[\"/mortar/v1/vm/web/spec\",4]"));
            assert_non_null(strstr(text, "[\"/mortar/v1/vm/web/own\",20]"));
        }
    }
    json_decref(actions);
    assert_true(is_found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_is_compared_with_what_the_user_wants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
