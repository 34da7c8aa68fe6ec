/* SPDX-License-Identifier: Apache-2.0
 * A glusterd that has lost a volume from its memory (docs/bugs.md B5) is started anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_actions.h"
#include "core_well.h"

/* Is glusterd started anew at second @at, when it has said @gluster from the second on? */
static bool is_restarted(const char *gluster, unsigned at)
{
    bool is_found = false;
    _cleanup_(core_freep) struct core *c = well();
    see(c, "gluster", gluster);
    for (unsigned s = 2; s <= at; s++) {
        _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", s * USEC_PER_SEC);
        is_found = action_find(actions, "do", "gluster.restart") != NULL;
    }
    return is_found;
}

static void a_volume_of_ours_that_it_does_not_know_for_half_a_minute_starts_it_anew(void **state)
{
    assert_false(is_restarted("{\"ready\":true,\"bricks\":{}}", 31));
    assert_true(is_restarted("{\"ready\":true,\"bricks\":{}}", 32));
    assert_false(is_restarted("{\"ready\":true,\"bricks\":{}}", 60)); /* once, for ten minutes */
}

static void a_brick_that_is_down_or_a_glusterd_that_does_not_answer_does_not(void **state)
{
    assert_false(is_restarted("{\"ready\":true,\"bricks\":{\"vms\":false}}", 32));
    assert_false(is_restarted("{\"ready\":false}", 32));
}

static void nor_is_that_tried_again_soon_when_it_fails(void **state)
{
    _cleanup_(core_freep) struct core *c = well();
    see(c, "gluster", "{\"ready\":true,\"bricks\":{}}");
    size_t n = 0;
    for (unsigned s = 2; s <= 700; s++) {
        _cleanup_json_ json_t *actions = actions_of(c, "{\"ev\":\"tick\"}", s * USEC_PER_SEC);
        if (action_find(actions, "do", "gluster.restart")) {
            n++;
            json_decref(actions_of(c, "{\"ev\":\"done\",\"id\":\"gluster/restart\",\"error\":{\"name\":\"call.timeout\","
                                      "\"message\":\"m\"}}", s * USEC_PER_SEC));
        }
    }
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_of_ours_that_it_does_not_know_for_half_a_minute_starts_it_anew),
        cmocka_unit_test(nor_is_that_tried_again_soon_when_it_fails),
        cmocka_unit_test(a_brick_that_is_down_or_a_glusterd_that_does_not_answer_does_not),
    };
    return cmocka_run_group_tests_name("forgotten_volume", tests, NULL, NULL);
}
