/* SPDX-License-Identifier: Apache-2.0
 * Requests from outside: any JSON in any field is taken or refused by name, and never ends the
 * agent. MORTAR_SEED repeats one row of mutations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "core/request.h"
#include "core_world.h"

static const struct {
    const char *verb;
    const char *args; /* a request that is right, or nearly */
} requests[] = {
    {"init", "{\"name\":\"lab\",\"role\":\"converged\",\"mgmt\":\"1.2.3.4\",\"storage\":\"1.2.3.4\","
             "\"allow_emulation\":true}"},
    {"join", "{\"address\":\"1.2.3.4\",\"token\":\"t\",\"role\":\"witness\"}"},
    {"leave", "{}"},
    {"uplink.set", "{\"uplink\":\"eth0\",\"uplink_confirm_s\":60}"},
    {"uplink.confirm", "{}"},
    {"uplink.remove", "{}"},
    {"token.create", "{\"hash\":\"aa\",\"role\":\"witness\",\"valid_s\":600}"},
    {"join.admit", "{\"hash\":\"aa\",\"name\":\"host4\",\"uuid\":\"u4\",\"mgmt\":\"10.0.0.4\","
                   "\"storage\":\"10.0.0.4\",\"role\":\"converged\"}"},
    {"host.evacuate", "{\"name\":\"host1\"}"},
    {"host.activate", "{\"name\":\"host1\"}"},
    {"host.admit", "{\"name\":\"host1\"}"},
    {"host.fence", "{\"name\":\"host1\"}"},
    {"pool.create", "{\"name\":\"p2\",\"kind\":\"gluster\",\"copies\":2,\"hosts\":[\"host1\","
                    "\"host2\"],\"arbiter\":\"host3\",\"device\":\"/dev/sdb\",\"path\":\"/b2\","
                    "\"wipe\":true,\"force\":true,\"no_ha\":false}"},
    {"pool.create", "{\"name\":\"p3\",\"kind\":\"dir\",\"hosts\":[\"host1\"]}"},
    {"pool.remove", "{\"name\":\"vms\"}"},
    {"image.import", "{\"name\":\"i\",\"pool\":\"vms\",\"source\":\"/a\",\"checksum\":\"sha256:0\","
                     "\"format\":\"raw\"}"},
    {"image.remove", "{\"name\":\"debian\"}"},
    {"image.export", "{\"name\":\"debian\",\"path\":\"/x\",\"format\":\"raw\"}"},
    {"vm.create", "{\"name\":\"n\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824,"
                  "\"disk_bytes\":1073741824,\"image\":\"debian\",\"networks\":[\"default\"],"
                  "\"ssh_keys\":[\"k\"],\"cloud_init\":\"c\",\"kernel\":\"/k\",\"initrd\":\"/i\","
                  "\"cmdline\":\"x\",\"host\":\"host1\",\"start\":true,\"ha\":\"stay\",\"priority\":\"low\"}"},
    {"vm.start", "{\"name\":\"web\",\"host\":\"host2\"}"},
    {"vm.stop", "{\"name\":\"db1\",\"force\":true}"},
    {"vm.reset", "{\"name\":\"db1\"}"},
    {"vm.migrate", "{\"name\":\"db1\",\"to\":\"host2\"}"},
    {"vm.remove", "{\"name\":\"web\"}"},
    {"vm.set", "{\"name\":\"web\",\"cpus\":2,\"memory_bytes\":1073741824,\"ha\":\"none\",\"priority\":\"high\"}"},
    {"task.cancel", "{\"id\":\"t\"}"},
};

static const char *const hostile[] = {
    "null", "true", "false", "0", "-1", "5", "9223372036854775807", "-9223372036854775808", "1.5",
    "\"\"", "\"../../etc\"", "\"\\u0000x\"", "\"%s%n\"", "\"\\ud83d\\ude00\"", "\"a\\nb\"", "[]",
    "[[]]", "[1,null,{}]", "[\"host1\",\"host1\",\"host1\",\"host1\"]", "{}", "{\"a\":{\"b\":[]}}",
    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
};

static json_t *parse(const char *text)
{
    json_t *j = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(j);
    return j;
}

/* A step with the request. Return: the verdict; what is accepted is one action "req/ID" with puts. */
static int ask(const char *verb, json_t *args, struct err *e)
{
    static unsigned n;
    struct err none = {0};
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = core_world_new();
    char id[32];
    (void)snprintf(id, sizeof(id), "id-%u", n++);
    (void)core_world_step(c, "{\"ev\":\"watch\",\"revision\":11,\"puts\":[[\"/mortar/v1/token/aa\",11,"
                             "{\"expires_ms\":9999999}]],\"dels\":[]}", USEC_PER_SEC, &none);
    smap_put(&c->seen, "pool/vms", parse("{\"mount\":{\"state\":\"mounted\",\"quorum\":true}}"));
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:o,s:s}", "ev", "request", "verb", verb,
                                             "args", args, "task", id);
    int r = core_step(c, event, 2 * USEC_PER_SEC, 0, &actions, e);
    _cleanup_free_ char *commit = str_printf("req/%s", id);
    bool is_there = false;
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (strcmp(json_text_of(a, "id"), commit) == 0) {
            const json_t *puts = json_object_get(json_object_get(a, "args"), "puts");
            is_there = strcmp(json_text_of(a, "do"), "local.save") == 0 || json_object_size(puts) > 0;
        }
    }
    json_decref(actions);
    assert_true(r == 0 ? is_there : e->code != 0 && e->msg[0] && e->hint[0]);
    return r;
}

static void right_requests_are_taken(void **state)
{
    size_t taken = 0;
    for (size_t i = 0; i < ELEMENTS(requests); i++) {
        struct err e = {0};
        taken += ask(requests[i].verb, parse(requests[i].args), &e) == 0;
    }
    assert_true(taken >= 12); /* the others are refused by the state of things */
}

static void every_field_refuses_every_wrong_type(void **state)
{
    for (size_t i = 0; i < ELEMENTS(requests); i++) {
        _cleanup_json_ json_t *good = parse(requests[i].args);
        const char *key;
        json_t *old;
        json_object_foreach(good, key, old) {
            for (size_t k = 0; k < ELEMENTS(hostile); k++) {
                struct err e = {0};
                json_t *args = json_deep_copy(good);
                json_t *bad = parse(hostile[k]);
                bool is_wrong = json_typeof(bad) != json_typeof(old) && !json_is_null(bad) &&
                                !(json_is_boolean(bad) && json_is_boolean(old));
                json_object_set_new(args, key, bad);
                int r = ask(requests[i].verb, args, &e);
                if (is_wrong && r != -ERR_INVALID && r != -ERR_IN_CLUSTER) {
                    fail_msg("%s takes %s as '%s': %s", requests[i].verb, hostile[k], key, e.msg);
                }
            }
        }
    }
}

static void random_requests_never_end_the_agent(void **state)
{
    const char *seed = getenv("MORTAR_SEED");
    struct prng p = {seed ? strtoull(seed, NULL, 10) : 1};
    for (int n = 0; n < 3000; n++) {
        struct err e = {0};
        size_t i = (size_t)prng_below(&p, ELEMENTS(requests));
        size_t k = (size_t)prng_below(&p, ELEMENTS(requests));
        json_t *args = parse(requests[i].args);
        _cleanup_json_ json_t *more = parse(requests[k].args);
        const char *key;
        json_t *v;
        json_object_foreach(more, key, v) {
            uint64_t what = prng_below(&p, 4);
            if (what == 0) {
                json_object_set_new(args, key, parse(hostile[prng_below(&p, ELEMENTS(hostile))]));
            } else if (what == 1) {
                json_object_set(args, key, v);
            } else if (what == 2) {
                (void)json_object_del(args, key);
            }
        }
        (void)ask(requests[i].verb, args, &e);
    }
}

static void a_newcomer_is_one_host_with_real_addresses(void **state)
{
    static const struct {
        const char *args;
        int code;
    } cases[] = {
        {"{\"hash\":\"aa\",\"name\":\"h4\",\"uuid\":\"u\",\"mgmt\":\"--x\",\"storage\":\"10.0.0.4\"}",
         ERR_INVALID},
        {"{\"hash\":\"aa\",\"name\":\"h4\",\"uuid\":\"u\",\"mgmt\":\"10.0.0.4\",\"storage\":\"h;x\"}",
         ERR_INVALID},
        {"{\"hash\":\"bb\",\"name\":\"h4\",\"uuid\":\"u\",\"mgmt\":\"10.0.0.4\",\"storage\":\"10.0.0.4\"}",
         ERR_TOKEN},
        {"{\"hash\":\"aa\",\"name\":\"h4\",\"uuid\":\"u\",\"mgmt\":\"10.0.0.1\",\"storage\":\"10.0.0.4\"}",
         ERR_EXISTS},
        {"{\"hash\":\"aa\",\"name\":\"host2\",\"uuid\":\"u\",\"mgmt\":\"10.0.0.4\",\"storage\":"
         "\"10.0.0.4\"}", ERR_EXISTS},
        {"{\"hash\":\"aa\",\"name\":\"h4\",\"uuid\":\"u-host2\",\"mgmt\":\"10.0.0.4\",\"storage\":"
         "\"10.0.0.4\"}", ERR_EXISTS},
        {"{\"hash\":\"aa\",\"name\":\"h4\",\"uuid\":\"u\",\"mgmt\":\"10.0.0.4\",\"storage\":\"fd00::4\"}",
         0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        (void)ask("join.admit", parse(cases[i].args), &e);
        if (e.code != cases[i].code) {
            fail_msg("%s: %s", cases[i].args, e.msg);
        }
    }
}

static void the_same_init_is_followed_and_another_one_refused(void **state)
{
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = core_new();
    _cleanup_json_ json_t *first = parse("{\"ev\":\"request\",\"verb\":\"init\",\"task\":\"t1\","
                                         "\"args\":{\"name\":\"lab\"}}");
    _cleanup_json_ json_t *other = parse("{\"ev\":\"request\",\"verb\":\"init\",\"task\":\"t2\","
                                         "\"args\":{\"name\":\"lab2\"}}");
    const json_t *args = json_object_get(first, "args");
    assert_null(request_under_way(c, "init", args));
    assert_int_equal(core_step(c, first, USEC_PER_SEC, 0, &actions, &e), 0);
    json_decref(actions);
    assert_string_equal(request_under_way(c, "init", args), "t1");
    assert_null(request_under_way(c, "join", args));
    assert_null(request_under_way(c, "init", json_object_get(other, "args")));
    assert_int_equal(core_step(c, other, USEC_PER_SEC, 0, &actions, &e), -ERR_BUSY);
    json_decref(actions);
}

/* Its volume may be there already: it stays where it was begun. */
static void a_half_made_pool_is_finished_on_its_own_hosts(void **state)
{
    static const char half[] =
        "{\"ev\":\"watch\",\"revision\":11,\"dels\":[],\"puts\":[[\"/mortar/v1/pool/p\",11,{\"name\":"
        "\"p\",\"uuid\":\"u-p\",\"state\":\"creating\",\"copies\":2,\"arbiter\":true,\"bricks\":["
        "{\"host\":\"host2\",\"role\":\"data\"},{\"host\":\"host1\",\"role\":\"data\"},"
        "{\"host\":\"host3\",\"role\":\"arbiter\"}]}]]}";
    struct err e = {0};
    json_t *actions = NULL;
    _cleanup_(core_freep) struct core *c = core_world_new();
    (void)core_world_step(c, half, USEC_PER_SEC, &e);
    _cleanup_json_ json_t *again = parse("{\"ev\":\"request\",\"verb\":\"pool.create\",\"task\":\"t\","
                                         "\"args\":{\"name\":\"p\"}}");
    _cleanup_json_ json_t *elsewhere =
        parse("{\"ev\":\"request\",\"verb\":\"pool.create\",\"task\":\"t2\",\"args\":{\"name\":\"p\","
              "\"hosts\":[\"host1\",\"host2\",\"host3\"]}}");
    assert_int_equal(core_step(c, elsewhere, 2 * USEC_PER_SEC, 0, &actions, &e), -ERR_POOL_POLICY);
    json_decref(actions);
    assert_non_null(strstr(e.hint, "mortar pool rm p"));
    assert_int_equal(core_step(c, again, 2 * USEC_PER_SEC, 0, &actions, &e), 0);
    _cleanup_json_ json_t *all = actions;
    const json_t *pool = NULL;
    size_t i;
    json_t *a;
    json_array_foreach(all, i, a) {
        if (str_eq(json_text_of(a, "id"), "req/t")) {
            pool = json_object_get(json_object_get(json_object_get(a, "args"), "puts"),
                                   "/mortar/v1/pool/p");
        }
    }
    const json_t *first = json_array_get(json_object_get(pool, "bricks"), 0);
    assert_string_equal(json_text_of(first, "host"), "host2");
    assert_string_equal(json_text_of(pool, "uuid"), "u-p");
}

/* Bad input, one by one: the reason, and the next step. */
static void each_refusal_names_reason_and_next_step(void **state)
{
    static const struct {
        const char *verb;
        const char *args;
        int code;
        const char *says;
        const char *hint;
    } cases[] = {
        {"vm.start", "{\"name\":\"nowhere\"}", ERR_NOT_FOUND, "no vm 'nowhere'", "mortar vm ls"},
        {"vm.migrate", "{\"name\":\"db1\",\"to\":\"host9\"}", ERR_NOT_FOUND, "no host 'host9'",
         "mortar host ls"},
        {"pool.remove", "{\"name\":\"nowhere\"}", ERR_NOT_FOUND, "no pool", "mortar pool ls"},
        {"pool.remove", "{\"name\":\"vms\"}", ERR_STATE, "still holds", "mortar pool show vms"},
        {"image.remove", "{\"name\":\"nowhere\"}", ERR_NOT_FOUND, "no image", "mortar image ls"},
        {"host.evacuate", "{\"name\":\"host9\"}", ERR_NOT_FOUND, "no host", "mortar host ls"},
        {"task.cancel", "{\"id\":\"t\"}", ERR_NOT_FOUND, "no task", "mortar task ls"},
        {"vm.create", "{\"name\":\"db1\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824,"
                      "\"disk_bytes\":1073741824}", ERR_EXISTS, "a vm 'db1' already", "mortar vm ls"},
        {"vm.create", "{\"name\":\"No Good\"}", ERR_INVALID, "is not a name", "a-z, 0-9"},
        {"vm.create", "{\"name\":\"n\",\"pool\":\"vms\",\"cpus\":0,\"memory_bytes\":1073741824,"
                      "\"disk_bytes\":1073741824}", ERR_INVALID, "must be 1 to", "mortar help vm create"},
        {"vm.create", "{\"name\":\"n\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1024,"
                      "\"disk_bytes\":1073741824}", ERR_INVALID, "must be", "mortar help vm create"},
        {"vm.create", "{\"name\":\"n\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824,"
                      "\"disk_bytes\":4096}", ERR_INVALID, "disk's size must be",
         "mortar help vm create"},
        {"pool.create", "{\"name\":\"vms\",\"kind\":\"gluster\",\"copies\":2}", ERR_EXISTS,
         "a pool 'vms' already", "mortar pool ls"},
        {"pool.create", "{\"name\":\"p\",\"kind\":\"gluster\",\"copies\":7}", ERR_INVALID,
         "2 or 3 copies", "mortar help pool create"},
        {"pool.create", "{\"name\":\"p\",\"kind\":\"tape\"}", ERR_INVALID, "type gluster or dir",
         "mortar help pool create"},
        {"pool.create", "{\"name\":\"p\",\"kind\":\"gluster\",\"copies\":2,\"device\":\"sdb\"}",
         ERR_INVALID, "absolute", "mortar help pool create"},
        {"pool.create", "{\"name\":\"p\",\"kind\":\"gluster\",\"copies\":2,\"device\":\"host1=/dev/sdb,host2=sdb\"}",
         ERR_INVALID, "absolute", "mortar help pool create"},
        {"pool.create", "{\"name\":\"p\",\"kind\":\"gluster\",\"copies\":2,\"device\":\"=/dev/sdb\"}",
         ERR_INVALID, "absolute", "mortar help pool create"},
        {"vm.set", "{\"name\":\"db1\"}", ERR_USAGE, "nothing to set", "mortar help vm set"},
        {"vm.set", "{\"name\":\"db1\",\"ha\":\"always\"}", ERR_INVALID, "restart, stay and none",
         "mortar help vm set"},
        {"vm.set", "{\"name\":\"db1\",\"priority\":\"top\"}", ERR_INVALID, "high, normal and low",
         "mortar help vm set"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        (void)ask(cases[i].verb, parse(cases[i].args), &e);
        if (e.code != cases[i].code || !strstr(e.msg, cases[i].says) ||
            !strstr(e.hint, cases[i].hint)) {
            fail_msg("%s %s: %s; hint: %s", cases[i].verb, cases[i].args, e.msg, e.hint);
        }
    }
}

/* The commit that host1 makes of a request when @puts ([key, mod, value] each) have come before. New
 * reference; NULL when it is refused (@e). */
static json_t *commit_of(const char *puts, const char *verb, const char *args, struct err *e)
{
    json_t *actions = NULL;
    json_t *found = NULL;
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *watch =
        str_printf("{\"ev\":\"watch\",\"revision\":20,\"puts\":[%s],\"dels\":[]}", puts);
    assert_int_equal(core_world_step(c, watch, USEC_PER_SEC, e), 0);
    smap_put(&c->seen, "pool/vms", parse("{\"mount\":{\"state\":\"mounted\",\"quorum\":true}}"));
    _cleanup_json_ json_t *event = json_pack("{s:s,s:s,s:o,s:s}", "ev", "request", "verb", verb,
                                             "args", parse(args), "task", "t1");
    (void)core_step(c, event, 2 * USEC_PER_SEC, 0, &actions, e);
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (strcmp(json_text_of(a, "id"), "req/t1") == 0) {
            found = json_incref(json_object_get(a, "args"));
        }
    }
    json_decref(actions);
    return found;
}

/* Asked for again the same command succeeds: the command line does so by itself. */
static void a_request_to_an_agent_that_has_not_looked_at_its_pool_yet_is_to_be_sent_again(void **state)
{
    static const struct {
        const char *asked;
        bool is_alone; /* nobody else knows of the pool's bricks */
    } cases[] = {
        {"\"verb\":\"vm.start\",\"args\":{\"name\":\"web\"}", true},
        {"\"verb\":\"image.import\",\"args\":{\"name\":\"i\",\"pool\":\"vms\",\"source\":\"/i\"}", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        _cleanup_(core_freep) struct core *c = core_world_new();
        _cleanup_free_ char *event = str_printf("{\"ev\":\"request\",\"task\":\"t1\",%s}", cases[i].asked);
        if (cases[i].is_alone) {
            assert_int_equal(core_world_step(c, "{\"ev\":\"watch\",\"revision\":12,\"puts\":[],\"dels\":["
                                                "\"/mortar/v1/seen/host2/gluster\",\"/mortar/v1/seen/host3/gluster\"]}",
                                             2 * USEC_PER_SEC, NULL), 0);
        }
        assert_int_equal(core_world_step(c, event, 2 * USEC_PER_SEC, &e), -ERR_UNAVAILABLE);
        assert_non_null(strstr(e.msg, "has not looked at pool 'vms' yet"));
        smap_put(&c->seen, "pool/vms", parse("{\"mount\":{\"state\":\"mounted\",\"quorum\":true}}"));
        smap_put(&c->seen, "gluster", parse("{\"ready\":true,\"bricks\":{\"vms\":true}}"));
        if (!cases[i].is_alone) {
            assert_int_equal(core_world_step(c, event, 3 * USEC_PER_SEC, &e), 0);
        }
    }
}

static bool compares(const json_t *commit, const char *key)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(commit, "compares"), i, row) {
        if (strcmp(json_string_value(json_array_get(row, 0)), key) == 0) {
            return true;
        }
    }
    return false;
}

#define TASK(kind, object)                                                                         \
    "[\"/mortar/v1/task/t0\",12,{\"id\":\"t0\",\"kind\":\"" kind "\",\"object\":\"" object            \
    "\",\"runner\":\"host2\",\"state\":\"running\",\"phase\":\"x\",\"args\":{},\"data\":{}}]"
#define NEW_VM "{\"name\":\"n\",\"pool\":\"vms\",\"cpus\":1,\"memory_bytes\":1073741824," \
               "\"image\":\"debian\"}"

/* Names of different things may be the same. */
static void a_task_makes_busy_what_it_works_on_and_nothing_else(void **state)
{
    static const struct {
        const char *task;
        const char *verb;
        const char *args;
        bool is_busy;
    } cases[] = {
        {TASK("vm.migrate", "debian"), "image.remove", "{\"name\":\"debian\"}", false},
        {TASK("image.export", "debian"), "image.remove", "{\"name\":\"debian\"}", true},
        {TASK("image.export", "web"), "vm.start", "{\"name\":\"web\"}", false},
        {TASK("vm.stop", "web"), "vm.start", "{\"name\":\"web\"}", true},
        {TASK("vm.stop", "p"), "pool.create", "{\"name\":\"p\",\"copies\":2}", false},
        {TASK("pool.remove", "p"), "pool.create", "{\"name\":\"p\",\"copies\":2}", true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        _cleanup_json_ json_t *t = commit_of(cases[i].task, cases[i].verb, cases[i].args, &e);
        if (!t != cases[i].is_busy || (!t && e.code != ERR_BUSY)) {
            fail_msg("%s after %s: %s", cases[i].verb, cases[i].task, t ? "taken" : e.msg);
        }
    }
}

static void an_image_stays_while_a_disk_is_copied_from_it(void **state)
{
    struct err e = {0};
    assert_null(commit_of("[\"/mortar/v1/vm/n/spec\",12,{\"name\":\"n\",\"uuid\":\"u-n\",\"image\":"
                          "\"debian\",\"desired\":\"stopped\",\"making\":\"creating\"}]",
                          "image.remove", "{\"name\":\"debian\"}", &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.msg, "vm 'n'"));
}

/* Whoever comes second of the two fails: each compares what the other one writes. */
static void removal_of_an_image_and_a_copy_from_it_exclude_each_other(void **state)
{
    struct err e = {0};
    _cleanup_json_ json_t *create = commit_of("", "vm.create", NEW_VM, &e);
    _cleanup_json_ json_t *rm = commit_of("", "image.remove", "{\"name\":\"debian\"}", &e);
    assert_true(create && rm);
    const json_t *puts = json_object_get(rm, "puts");
    assert_string_equal(json_text_of(json_object_get(puts, "/mortar/v1/image/debian"), "state"),
                        "removing");
    assert_true(compares(create, "/mortar/v1/image/debian"));
    assert_non_null(json_object_get(json_object_get(create, "puts"), "/mortar/v1/use/image/debian"));
    assert_true(compares(rm, "/mortar/v1/use/image/debian"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_requests_are_taken),
        cmocka_unit_test(every_field_refuses_every_wrong_type),
        cmocka_unit_test(random_requests_never_end_the_agent),
        cmocka_unit_test(a_newcomer_is_one_host_with_real_addresses),
        cmocka_unit_test(the_same_init_is_followed_and_another_one_refused),
        cmocka_unit_test(a_half_made_pool_is_finished_on_its_own_hosts),
        cmocka_unit_test(each_refusal_names_reason_and_next_step),
        cmocka_unit_test(a_task_makes_busy_what_it_works_on_and_nothing_else),
        cmocka_unit_test(an_image_stays_while_a_disk_is_copied_from_it),
        cmocka_unit_test(removal_of_an_image_and_a_copy_from_it_exclude_each_other),
        cmocka_unit_test(a_request_to_an_agent_that_has_not_looked_at_its_pool_yet_is_to_be_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
