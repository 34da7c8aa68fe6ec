/* SPDX-License-Identifier: Apache-2.0
 * When the option guard looks: each minute, and at once after glusterd's files changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_actions.h"
#include "core_well.h"

#define GUARD "guard/vms"
#define DONE "{\"ev\":\"done\",\"id\":\"" GUARD "\",\"result\":{\"drift\":[]}}"
#define FAILED "{\"ev\":\"done\",\"id\":\"" GUARD "\",\"error\":{\"name\":\"gluster.failed\",\"message\":\"no\"}}"

/* At second @at. Return: does the guard look? */
static bool looks_after(struct core *c, const char *event, unsigned at)
{
    _cleanup_json_ json_t *actions = actions_of(c, event, at * USEC_PER_SEC);
    return action_of(actions, GUARD) != NULL;
}

/* What the glance at second @at saw, which began in the step before it. Return: does the guard look? */
static bool looks_after_glance(struct core *c, const char *text, unsigned at)
{
    _cleanup_free_ char *event =
        str_printf("{\"ev\":\"done\",\"id\":\"observe/glance\",\"result\":{\"text\":\"%s\"}}", text);
    return looks_after(c, event, at);
}

/* host1 at second 10: the guard has looked at the options, and the glance saw "a" before it. */
static struct core *guarded(void)
{
    struct core *c = core_world_new(); /* the first look at glusterd's files and the guard's are under way */
    assert_false(looks_after_glance(c, "a", 2));
    assert_true(looks_after(c, DONE, 3)); /* that look was of before */
    assert_false(looks_after(c, DONE, 10));
    return c;
}

static void options_are_looked_at_each_minute(void **state)
{
    _cleanup_(core_freep) struct core *c = guarded();
    for (unsigned at = 11; at < 70; at++) {
        assert_false(looks_after(c, "{\"ev\":\"tick\"}", at));
    }
    assert_true(looks_after(c, "{\"ev\":\"tick\"}", 70));
}

static void options_are_looked_at_as_soon_as_files_of_glusterd_changed(void **state)
{
    _cleanup_(core_freep) struct core *c = guarded();
    assert_false(looks_after_glance(c, "a", 15)); /* nothing changed */
    assert_false(looks_after(c, "{\"ev\":\"tick\"}", 20));
    assert_true(looks_after_glance(c, "b", 25));
    assert_false(looks_after(c, DONE, 26));
    assert_false(looks_after(c, "{\"ev\":\"tick\"}", 31));
    assert_false(looks_after_glance(c, "b", 32)); /* seen again: no change */
}

static void a_change_while_options_are_looked_at_is_looked_at_after_it(void **state)
{
    _cleanup_(core_freep) struct core *c = guarded();
    assert_true(looks_after_glance(c, "b", 15));
    assert_false(looks_after(c, "{\"ev\":\"tick\"}", 20)); /* the next glance */
    assert_false(looks_after_glance(c, "c", 21));            /* one at a time */
    assert_true(looks_after(c, DONE, 22));
    assert_false(looks_after(c, DONE, 23));
}

/* glusterd is down, and comes again while the guard would wait before it tries once more. */
static void a_change_ends_the_wait_after_a_failure(void **state)
{
    _cleanup_(core_freep) struct core *c = guarded();
    assert_true(looks_after_glance(c, "b", 15));
    for (unsigned at = 16; at < 120; at += 2) {
        (void)looks_after(c, "{\"ev\":\"tick\"}", at); /* tries again */
        (void)looks_after(c, FAILED, at + 1);
    }
    assert_false(looks_after(c, "{\"ev\":\"tick\"}", 121));
    assert_true(looks_after_glance(c, "c", 122));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_looked_at_each_minute),
        cmocka_unit_test(options_are_looked_at_as_soon_as_files_of_glusterd_changed),
        cmocka_unit_test(a_change_while_options_are_looked_at_is_looked_at_after_it),
        cmocka_unit_test(a_change_ends_the_wait_after_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
