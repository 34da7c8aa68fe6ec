/* SPDX-License-Identifier: Apache-2.0
 * Single phases of long operations, on host1 of core_world.h: what a phase commits, notes and asks for.
 * Whole operations are in tests/sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/op/op.h"
#include "core_world.h"

#define AT (2 * USEC_PER_SEC)

/* One step in which the records @puts ([key, mod, value] each) arrive. New reference: its actions */
static json_t *step(struct core *c, const char *puts, unsigned revision, uint64_t at_us)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_free_ char *text = str_printf("{\"ev\":\"watch\",\"revision\":%u,\"puts\":[%s],\"dels\":[]}",
                                           revision, puts);
    _cleanup_json_ json_t *event = json_loads(text, 0, NULL);
    assert_non_null(event);
    assert_int_equal(core_step(c, event, at_us, at_us, &actions, &e), 0);
    return actions;
}

/* The arguments of the action with this id, or NULL. Borrowed. */
static const json_t *args_of(const json_t *actions, const char *id)
{
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (strcmp(json_text_of(a, "id"), id) == 0) {
            return json_object_get(a, "args");
        }
    }
    return NULL;
}

static const json_t *put_of(const json_t *actions, const char *id, const char *key)
{
    return json_object_get(json_object_get(args_of(actions, id), "puts"), key);
}

#define TASK(kind, name, phase, more)                                                              \
    "[\"/mortar/v1/task/t1\",12,{\"id\":\"t1\",\"kind\":\"" kind "\",\"object\":\"" name "\",\"runner\":"  \
    "\"host1\",\"state\":\"running\",\"phase\":\"" phase "\",\"args\":{\"name\":\"" name "\"},\"data\":{}" \
    more "}]"

/* A brick.prepare for a pool that is in use must never format. */
static void what_was_allowed_for_the_making_of_a_pool_ends_with_it(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *actions =
        step(c, TASK("pool.create", "p", "ready", "") ","
                "[\"/mortar/v1/pool/p\",12,{\"name\":\"p\",\"uuid\":\"u\",\"kind\":\"gluster\",\"state\":"
                "\"creating\",\"wipe\":true,\"force\":true,\"bricks\":[{\"host\":\"host2\",\"path\":"
                "\"/b\",\"role\":\"data\"}]}]", 12, AT);
    const json_t *pool = put_of(actions, "task/t1/ready/", "/mortar/v1/pool/p");
    assert_string_equal(json_text_of(pool, "state"), "ready");
    assert_null(json_object_get(pool, "wipe"));
    assert_null(json_object_get(pool, "force"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_allowed_for_the_making_of_a_pool_ends_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
