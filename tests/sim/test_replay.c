/* SPDX-License-Identifier: Apache-2.0
 * A flight record, fed to a fresh core, gives the same actions step by step. The sample is the record
 * of one host of a simulated cluster; MORTAR_GOLDEN=update makes it anew after the core has changed.
 * MORTAR_REPLAY=FILE replays a record from the field, from /var/lib/mortar/record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "sim.h"

static char *sample_path(void)
{
    const char *field = getenv("MORTAR_REPLAY");
    const char *root = getenv("MORTAR_SOURCE");
    return field ? str_dup(field)
                 : str_printf("%s/tests/golden/replay/host1.jsonl", root ? root : ".");
}

static void ask(struct sim *s, const char *verb, json_t *args)
{
    struct err e = {0};
    _cleanup_free_ char *task = sim_request(s, 0, verb, args, &e);
    if (!task) {
        fail_msg("%s: %s", verb, e.msg);
    }
    assert_string_equal(sim_wait(s, task, 300 * USEC_PER_SEC), "done");
    sim_run(s, 12 * USEC_PER_SEC);
}

static void record_sample(const char *path)
{
    struct sim s;
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    sim_init(&s, 1, 3);
    s.deaf_percent = 0;
    sim_kill_agent(&s, 0); /* a record begins with the start of an agent */
    s.record = f;
    s.record_host = 0;
    sim_start_agent(&s, 0);
    sim_run(&s, 3 * USEC_PER_SEC);
    ask(&s, "pool.create", json_pack("{s:s}", "name", "vms"));
    ask(&s, "vm.create", json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", "db1", "pool", "vms", "cpus", 1,
                                   "memory_bytes", (json_int_t)GIB, "disk_bytes", (json_int_t)GIB));
    ask(&s, "vm.migrate", json_pack("{s:s}", "name", "db1"));
    ask(&s, "vm.stop", json_pack("{s:s}", "name", "db1"));
    s.record = NULL;
    assert_int_equal(fclose(f), 0);
    sim_done(&s);
}

static void replay_line(struct core *c, const char *text, int line)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_json_ json_t *step = json_loads(text, 0, NULL);
    assert_non_null(step);
    (void)core_step(c, json_object_get(step, "event"), json_u64_of(step, "now_us", 0),
                    json_u64_of(step, "wall_us", 0), &actions, &e);
    if (!json_equal(actions, json_object_get(step, "actions"))) {
        _cleanup_free_ char *got = json_format(actions);
        _cleanup_free_ char *want = json_format(json_object_get(step, "actions"));
        fail_msg("line %d: got %.2000s\nwant %.2000s\nIf the core was changed: MORTAR_GOLDEN=update",
                 line, got, want);
    }
    json_decref(actions);
}

static void a_flight_record_gives_the_same_actions_again(void **state)
{
    _cleanup_free_ char *path = sample_path();
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    int lines = 0;
    if (str_eq(getenv("MORTAR_GOLDEN"), "update")) {
        record_sample(path);
    }
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    _cleanup_(core_freep) struct core *c = core_new();
    while (getline(&text, &size, f) > 0) {
        replay_line(c, text, ++lines);
    }
    assert_int_equal(fclose(f), 0);
    assert_true(lines > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flight_record_gives_the_same_actions_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
