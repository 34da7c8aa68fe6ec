/* SPDX-License-Identifier: Apache-2.0
 * A flight record, fed to a fresh core, gives the same actions step by step. One sample is the record
 * of a host of a simulated cluster, one that of a host of the lab; MORTAR_GOLDEN=update makes the first
 * anew after the core has changed, and the actions of the second.
 * MORTAR_REPLAY=FILE replays a record from the field: either file of /var/lib/mortar/record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include <cmocka.h>

#include "agent/recorder.h"
#include "base/str.h"
#include "core/flight.h"
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

/* The record of a real host: only what the core asks for can be made anew. */
static void renew_actions(const char *path)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_sbuf_ struct sbuf all = {0};
    size_t size = 0;
    struct core *c = NULL;
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (getline(&text, &size, f) > 0) {
        json_t *actions = NULL;
        _cleanup_json_ json_t *line = json_loads(text, 0, NULL);
        assert_int_equal(flight_step(&c, line, &actions, NULL), 0);
        if (actions) {
            json_object_set_new(line, "actions", actions);
        }
        _cleanup_free_ char *out = json_format(line);
        sbuf_printf(&all, "%s\n", out);
    }
    assert_int_equal(fclose(f), 0);
    core_free(c);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(all.data, 1, all.len, f), all.len);
    assert_int_equal(fclose(f), 0);
}

static void replay_line(struct core **c, const char *text, int line)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_json_ json_t *step = json_loads(text, 0, NULL);
    if (flight_step(c, step, &actions, &e) < 0) {
        fail_msg("line %d: %s", line, e.msg);
    }
    if (actions && !json_equal(actions, json_object_get(step, "actions"))) {
        _cleanup_free_ char *got = json_format(actions);
        _cleanup_free_ char *want = json_format(json_object_get(step, "actions"));
        fail_msg("line %d: got %.2000s\nwant %.2000s\nIf the core was changed: MORTAR_GOLDEN=update",
                 line, got, want);
    }
    json_decref(actions);
}

/* Calls @fn for each line; returns their number. */
static int each_line(const char *path, void (*fn)(void *arg, const char *text, int line), void *arg)
{
    _cleanup_free_ char *text = NULL;
    size_t size = 0;
    int lines = 0;
    FILE *f = fopen(path, "re");
    if (!f) {
        fail_msg("cannot read %s", path);
    }
    while (getline(&text, &size, f) > 0) {
        fn(arg, text, ++lines);
    }
    assert_int_equal(fclose(f), 0);
    return lines;
}

static void on_replay(void *arg, const char *text, int line)
{
    replay_line(arg, text, line);
}

static int replay_file(const char *path)
{
    struct core *c = NULL;
    int lines = each_line(path, on_replay, &c);
    core_free(c);
    return lines;
}

static void a_flight_record_gives_the_same_actions_again(void **state)
{
    _cleanup_free_ char *path = sample_path();
    if (str_eq(getenv("MORTAR_GOLDEN"), "update")) {
        record_sample(path);
    }
    assert_true(replay_file(path) > 50);
}

static void the_record_of_a_real_host_gives_the_same_actions_again(void **state)
{
    const char *root = getenv("MORTAR_SOURCE");
    _cleanup_free_ char *path = str_printf("%s/tests/golden/replay/lab-host1.jsonl", root ? root : ".");
    if (str_eq(getenv("MORTAR_GOLDEN"), "update")) {
        renew_actions(path);
    }
    assert_true(replay_file(path) > 50);
}

/* A core that is saved and loaded again after each step. */
static void on_replay_reloaded(void *arg, const char *text, int line)
{
    struct core **c = arg;
    struct core *loaded = NULL;
    replay_line(c, text, line);
    _cleanup_json_ json_t *saved = flight_save(*c);
    _cleanup_free_ char *as_text = json_format(saved); /* as a file has it */
    _cleanup_json_ json_t *read = json_loads(as_text, 0, NULL);
    assert_int_equal(flight_load(read, &loaded, NULL), 0);
    core_free(*c);
    *c = loaded;
    _cleanup_json_ json_t *again = flight_save(*c);
    assert_true(json_equal(saved, again));
}

static void a_core_that_is_saved_and_loaded_goes_on_the_same(void **state)
{
    _cleanup_free_ char *path = sample_path();
    struct core *c = NULL;
    assert_true(each_line(path, on_replay_reloaded, &c) > 50);
    core_free(c);
}

/* --- the ring ------------------------------------------------------------------------------ */

#define TINY_BYTES ((size_t)(32 * KIB))

struct ring {
    struct recorder *recorder;
    struct core *c;
};

static void on_record(void *arg, const char *text, int line)
{
    struct ring *ring = arg;
    json_t *actions = NULL;
    _cleanup_json_ json_t *step = json_loads(text, 0, NULL);
    json_t *event = json_object_get(step, "event");
    _cleanup_json_ json_t *packed = flight_pack(ring->c, event);
    (void)core_step(ring->c, event, json_u64_of(step, "now_us", 0), json_u64_of(step, "wall_us", 0),
                    &actions, NULL);
    recorder_add(ring->recorder, ring->c, packed, actions);
    json_decref(actions);
}

static void each_file_of_the_ring_can_be_replayed_alone(void **state)
{
    char dir[] = "/tmp/mortar-replay-XXXXXX";
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *path = sample_path();
    _cleanup_free_ char *newest = str_printf("%s/" RECORDER_FILE, dir);
    _cleanup_free_ char *older = str_printf("%s.1", newest);
    struct ring ring = {.c = core_new()};
    ring.recorder = recorder_new(dir, TINY_BYTES, ring.c);
    int all = each_line(path, on_record, &ring);
    recorder_free(ring.recorder);
    core_free(ring.c);
    int in_newest = replay_file(newest);
    int in_older = replay_file(older);
    assert_true(in_newest > 1 && in_older > 10);
    assert_true(in_newest + in_older < all); /* it has turned more than once */
    assert_int_equal(unlink(newest), 0);
    assert_int_equal(unlink(older), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_list_without_news_is_recorded_in_short(void **state)
{
    _cleanup_(core_freep) struct core *c = core_new();
    json_t *rows = json_array();
    for (int i = 0; i < 100; i++) {
        json_array_append_new(rows, json_pack("[o,i,{s:i}]", json_sprintf("/mortar/v1/x/%d", i), 1 + i,
                                              "value", i));
    }
    _cleanup_json_ json_t *list =
        json_pack("{s:s,s:i,s:o}", "ev", "list", "revision", 200, "rows", rows);
    _cleanup_json_ json_t *first = flight_pack(c, list);
    assert_int_equal(json_array_size(json_object_get(first, "changed")), 100);
    json_t *actions = NULL;
    assert_int_equal(core_step(c, list, 1, 1, &actions, NULL), 0);
    json_decref(actions);
    _cleanup_json_ json_t *again = flight_pack(c, list);
    _cleanup_free_ char *text = json_format(again);
    assert_string_equal(text, "{\"changed\":[],\"ev\":\"list\",\"gone\":[],\"revision\":200}");
    json_array_remove(rows, 7);
    json_array_set_new(rows, 8, json_pack("[s,i,i]", "/mortar/v1/x/9", 150, 5));
    _cleanup_json_ json_t *news = flight_pack(c, list);
    _cleanup_free_ char *told = json_format(news);
    assert_string_equal(told, "{\"changed\":[[\"/mortar/v1/x/9\",150,5]],\"ev\":\"list\",\"gone\":["
                              "\"/mortar/v1/x/7\"],\"revision\":200}");
}

static void what_is_no_record_is_refused(void **state)
{
    static const char *const bad[] = {
        "{}", "[]", "{\"event\":{\"ev\":\"tick\"}}", "{\"now_us\":1,\"event\":{\"ev\":\"reboot\"}}",
        "{\"state\":5}", "{\"state\":{\"records\":[[\"k\",0,1,1]]}}", "{\"state\":{\"records\":[5]}}",
    };
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct core *c = NULL;
        json_t *actions = NULL;
        struct err e = {0};
        _cleanup_json_ json_t *line = json_loads(bad[i], 0, NULL);
        assert_int_equal(flight_step(&c, line, &actions, &e), -ERR_PARSE);
        assert_null(actions);
        core_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flight_record_gives_the_same_actions_again),
        cmocka_unit_test(the_record_of_a_real_host_gives_the_same_actions_again),
        cmocka_unit_test(a_core_that_is_saved_and_loaded_goes_on_the_same),
        cmocka_unit_test(each_file_of_the_ring_can_be_replayed_alone),
        cmocka_unit_test(a_list_without_news_is_recorded_in_short),
        cmocka_unit_test(what_is_no_record_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
