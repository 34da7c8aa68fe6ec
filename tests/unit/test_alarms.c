/* SPDX-License-Identifier: Apache-2.0
 * Each alarm that docs/cli.md lists: when it stands, since when, and that it goes again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alarms.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core_world.h"

static json_t *parse(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    return j;
}

static void tick(struct core *c, uint64_t at_us)
{
    assert_int_equal(core_world_step(c, "{\"ev\":\"tick\"}", at_us, NULL), 0);
}

static struct core *well(uint64_t at_us)
{
    struct core *c = core_world_new();
    smap_put(&c->seen, "gluster", parse("{\"ready\":true,\"bricks\":{\"vms\":true}}"));
    smap_put(&c->seen, "pool/vms", parse("{\"mount\":{\"state\":\"mounted\",\"quorum\":true}}"));
    tick(c, at_us);
    return c;
}

/* "alarm severity object @since_ms\n…" */
static char *told(const struct core *c)
{
    struct sbuf b = {0};
    _cleanup_json_ json_t *list = alarms_list(c);
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        sbuf_printf(&b, "%s%s %s %s @%llu", i ? "\n" : "", json_text_of(a, "alarm"),
                    json_text_of(a, "severity"), json_text_of(a, "object"),
                    (unsigned long long)json_u64_of(a, "since", 0));
        assert_true(strlen(json_text_of(a, "text")) > 10);
    }
    return b.len ? sbuf_take(&b) : str_dup("");
}

/* Time is 2 s when a thing happens, 5 s when it is looked at. */
static void expect(const char *event, const char *what, const char *seen, const char *expected)
{
    _cleanup_(core_freep) struct core *c = well(USEC_PER_SEC + 1);
    _cleanup_free_ char *before = told(c);
    assert_string_equal(before, "");
    if (event) {
        assert_int_equal(core_world_step(c, event, 2 * USEC_PER_SEC, NULL), 0);
    }
    if (what) {
        smap_put(&c->seen, what, parse(seen));
    }
    tick(c, 2 * USEC_PER_SEC);
    tick(c, 5 * USEC_PER_SEC);
    _cleanup_free_ char *text = told(c);
    assert_string_equal(text, expected);
}

#define PUT(key, value)                                                                      \
    "{\"ev\":\"watch\",\"revision\":20,\"puts\":[[\"/mortar/v1/" key "\",20," value "]],\"dels\":[]}"

static void each_alarm_says_what_and_since_when(void **state)
{
    expect("{\"ev\":\"lost\"}", NULL, NULL, "store.lost error store @2000");
    expect(NULL, "reach", "{\"host2\":false}",
           "host.silent error host2 @1000\nbrick.offline warning vms @2000");
    expect(NULL, "reach", "{\"host2\":false,\"host3\":false}",
           "host.silent error host2 @1000\nhost.silent error host3 @1000\nbrick.offline warning vms @2000\n"
           "brick.offline warning vms @2000\npool.no_quorum error vms @2000");
    expect(NULL, "gluster", "{\"ready\":true,\"bricks\":{\"vms\":false}}",
           "brick.offline warning vms @2000");
    expect(NULL, "gluster", "{\"ready\":true,\"bricks\":{\"vms\":true},\"portless\":{\"vms\":true}}",
           "brick.no_port warning vms @2000");
    expect(NULL, "pool/vms", "{\"brick\":{\"heal_pending_files\":3}}", "pool.heal notice vms @2000");
    expect(PUT("seen/host1/guard/vms", "{\"drift\":[{\"option\":\"a\"}]}"), NULL, NULL,
           "pool.options warning vms @2000");
    expect(PUT("seen/host2/others", "{\"foreign\":[\"theirs\"],\"unclear\":[\"odd\"]}"), NULL, NULL,
           "domain.unclear warning host2 @2000");
    expect(PUT("seen/host2/domains", "{\"db1\":{\"state\":\"running\",\"in_slice\":false}}"), NULL, NULL,
           "vm.outside_slice error db1 @2000");
    expect(PUT("node/host2", "{\"name\":\"host2\",\"role\":\"converged\",\"state\":\"fenced\",\"inc\":1,\"fences\":2,"
               "\"fenced_ms\":1700,\"why\":\"host1 and host3 heard nothing\"}"), NULL, NULL,
           "host.fenced error host2 @1700\nhost.held error host2 @1700");
    expect(PUT("vm/db1/act", "{\"state\":\"ioerror\",\"host\":\"host1\",\"epoch\":3,\"since_ms\":1500}"), NULL,
           NULL, "vm.ioerror error db1 @1500");
    expect(PUT("vm/db1/act", "{\"state\":\"stopped\",\"host\":\"host1\",\"epoch\":2,\"fails\":3,\"since_ms\":"
               "1600,\"error\":{\"name\":\"virt.failed\",\"message\":\"no\"}}"), NULL, NULL,
           "vm.given_up error db1 @1600");
    expect(PUT("seen/host2/host", "{\"lab_unsafe\":[\"fence\"]}"), NULL, NULL, "host.lab_unsafe error host2 @2000");
}

static void an_alarm_that_went_and_comes_again_is_a_new_one(void **state)
{
    _cleanup_(core_freep) struct core *c = well(2 * USEC_PER_SEC);
    smap_put(&c->seen, "gluster", parse("{\"bricks\":{\"vms\":false}}"));
    tick(c, 3 * USEC_PER_SEC);
    smap_put(&c->seen, "gluster", parse("{\"bricks\":{\"vms\":true}}"));
    tick(c, 4 * USEC_PER_SEC);
    _cleanup_free_ char *gone = told(c);
    assert_string_equal(gone, "");
    smap_put(&c->seen, "gluster", parse("{\"bricks\":{\"vms\":false}}"));
    tick(c, 5 * USEC_PER_SEC);
    tick(c, 6 * USEC_PER_SEC);
    _cleanup_free_ char *again = told(c);
    assert_string_equal(again, "brick.offline warning vms @5000");
}

/* What libvirt has beside our machines comes with the same look and is no machine. */
static void domains_of_others_are_known_apart(void **state)
{
    _cleanup_(core_freep) struct core *c = well(2 * USEC_PER_SEC);
    assert_int_equal(core_world_step(c, "{\"ev\":\"done\",\"id\":\"observe/domains\",\"result\":{\"db1\":{"
                                        "\"state\":\"running\",\"epoch\":3},\"@others\":{\"foreign\":["
                                        "\"theirs\"],\"unclear\":[]}}}", 3 * USEC_PER_SEC, NULL), 0);
    assert_non_null(vm_domain(c, "db1"));
    assert_int_equal(json_object_size(smap_get(&c->seen, "domains")), 1);
    assert_int_equal(json_array_size(json_object_get(smap_get(&c->seen, "others"), "foreign")), 1);
}

/* The option guard does not end with the first brick's host. */
static void the_first_living_brick_host_guards_the_options(void **state)
{
    _cleanup_(core_freep) struct core *c = well(2 * USEC_PER_SEC);
    assert_string_equal(pool_guard(c, pool_get(c, "vms")), "host1");
    free(c->host);
    c->host = str_dup("host2");
    smap_put(&c->seen, "reach", parse("{\"host1\":false,\"host3\":true}"));
    assert_string_equal(pool_guard(c, pool_get(c, "vms")), "host2");
    (void)smap_del(&c->attempts, "guard/vms"); /* host1's */
    json_t *actions = NULL;
    _cleanup_json_ json_t *event = parse("{\"ev\":\"tick\"}");
    bool is_guarding = false;
    size_t i;
    json_t *a;
    assert_int_equal(core_step(c, event, 3 * USEC_PER_SEC, 0, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        is_guarding = is_guarding || strcmp(json_text_of(a, "do"), "gluster.guard") == 0;
    }
    json_decref(actions);
    assert_true(is_guarding);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_alarm_says_what_and_since_when),
        cmocka_unit_test(an_alarm_that_went_and_comes_again_is_a_new_one),
        cmocka_unit_test(domains_of_others_are_known_apart),
        cmocka_unit_test(the_first_living_brick_host_guards_the_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
