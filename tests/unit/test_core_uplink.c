/* SPDX-License-Identifier: Apache-2.0
 * What the cluster does with what hosts tell of their uplinks: tunnels, placement, status, requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/view.h"
#include "core/place/place.h"
#include "core_world.h"

#define SEEN_UPLINK(host, nic, state, attached, more)                                             \
    "[\"/mortar/v1/seen/" host "/uplink\",12,{\"nic\":\"" nic "\",\"bridge\":\"mortar0\",\"state\":\""  \
    state "\",\"attached\":" attached more "}]"

/* One step. Return: the arguments of the action @name that it asks for, or NULL. */
static json_t *step_for(struct core *c, const char *name, const json_t *event, uint64_t at_us)
{
    json_t *actions = NULL;
    json_t *found = NULL;
    size_t i = 0;
    json_t *a = NULL;
    assert_int_equal(core_step(c, event, at_us, at_us, &actions, NULL), 0);
    json_array_foreach(actions, i, a) {
        if (str_eq(json_text_of(a, "do"), name)) {
            found = json_incref(json_object_get(a, "args"));
        }
    }
    json_decref(actions);
    return found;
}

static json_t *step(struct core *c, const json_t *event, uint64_t at_us)
{
    return step_for(c, "net.apply", event, at_us);
}

/* Records change; their revision is the time. */
static json_t *heard(const char *rows, uint64_t at_us)
{
    _cleanup_free_ char *text = str_printf("[%s]", rows);
    json_t *puts = json_loads(text, 0, NULL);
    size_t i = 0;
    json_t *row = NULL;
    assert_non_null(puts);
    json_array_foreach(puts, i, row) {
        json_array_set_new(row, 1, json_integer((json_int_t)at_us));
    }
    return json_pack("{s:s,s:I,s:o,s:[]}", "ev", "watch", "revision", (json_int_t)at_us, "puts", puts,
                     "dels");
}

static json_t *hear(struct core *c, const char *rows, uint64_t at_us)
{
    _cleanup_json_ json_t *event = heard(rows, at_us);
    return step(c, event, at_us);
}

/* The network action ends as it was asked for. */
static void end_net_apply(struct core *c, const json_t *args, uint64_t at_us)
{
    _cleanup_json_ json_t *event =
        json_pack("{s:s,s:s,s:{s:O,s:s*,s:i}}", "ev", "done", "id", "net/default", "result", "peers",
                  json_object_get(args, "peers"), "uplink", json_text_of(args, "uplink"), "mtu", 1450);
    json_decref(step(c, event, at_us));
}

static void expect_peers(const json_t *args, const char *peers)
{
    _cleanup_free_ char *text = args ? json_format(json_object_get(args, "peers")) : str_dup("nothing");
    assert_string_equal(text, peers);
}

static void hosts_with_uplinks_are_no_peers_of_the_tunnel(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *first = json_pack("{s:[s]}", "peers", "10.0.0.2");
    end_net_apply(c, first, 2 * USEC_PER_SEC);
    _cleanup_json_ json_t *without =
        hear(c, SEEN_UPLINK("host2", "eth1", "trial", "true", ""), 10 * USEC_PER_SEC);
    expect_peers(without, "[]");
    end_net_apply(c, without, 11 * USEC_PER_SEC);
    _cleanup_json_ json_t *with =
        hear(c, SEEN_UPLINK("host2", "eth1", "returned", "false", ""), 20 * USEC_PER_SEC);
    expect_peers(with, "[\"10.0.0.2\"]");
    end_net_apply(c, with, 21 * USEC_PER_SEC);
    _cleanup_json_ json_t *tick = json_pack("{s:s}", "ev", "tick");
    assert_null(step(c, tick, 30 * USEC_PER_SEC)); /* all is as it was told */
    smap_put(&c->seen, "uplink", json_pack("{s:s,s:s,s:b}", "nic", "eth1", "state", "kept", "attached", 1));
    _cleanup_json_ json_t *own = step(c, tick, 31 * USEC_PER_SEC);
    assert_string_equal(json_text_of(own, "uplink"), "eth1"); /* looked at soon, not in a minute */
}

static void what_a_host_said_before_its_reboot_is_looked_at_again(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *tick = json_pack("{s:s}", "ev", "tick");
    assert_null(step_for(c, "observe.uplink", tick, 2 * USEC_PER_SEC)); /* there is none */
    _cleanup_json_ json_t *event = heard(SEEN_UPLINK("host1", "eth1", "trial", "true", ""), 3 * USEC_PER_SEC);
    _cleanup_json_ json_t *asked = step_for(c, "observe.uplink", event, 3 * USEC_PER_SEC);
    assert_non_null(asked);
}

static void note(struct core *c, const char *rows, uint64_t at_us)
{
    json_decref(hear(c, rows, at_us));
}

static int place(const struct core *c, const char *only, const char **ret, struct err *e)
{
    char why[160];
    const struct place_need need = {
        .vm = "x", .pool = "vms", .memory_bytes = GIB, .cpus = 1, .only = only};
    return place_vm(c, &need, ret, why, sizeof(why), e);
}

static void guests_go_to_hosts_with_uplinks_once_one_is_confirmed(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    struct err e = {0};
    const char *host = NULL;
    smap_put(&c->seen, "pool/vms", json_pack("{s:{s:s,s:b}}", "mount", "state", "mounted", "quorum", 1));
    note(c, SEEN_UPLINK("host2", "eth1", "trial", "true", ""), 2 * USEC_PER_SEC);
    assert_int_equal(place(c, "host1", &host, &e), 0); /* a trial changes nothing for others */
    note(c, SEEN_UPLINK("host2", "eth1", "kept", "true", ""), 3 * USEC_PER_SEC);
    assert_int_equal(place(c, NULL, &host, &e), 0);
    assert_string_equal(host, "host2");
    assert_int_equal(place(c, "host1", &host, &e), -ERR_NO_ROOM);
    assert_non_null(strstr(e.msg, "host1 has no uplink, while others have"));
    note(c, SEEN_UPLINK("host2", "eth1", "kept", "false", ""), 4 * USEC_PER_SEC);
    e = (struct err){0};
    assert_int_equal(place(c, "host2", &host, &e), -ERR_NO_ROOM); /* its card is not in place */
}

static bool has_alarm(const struct core *c, const char *object, const char *text)
{
    _cleanup_json_ json_t *status = view_status(c);
    size_t i = 0;
    json_t *a = NULL;
    json_array_foreach(json_object_get(status, "alarms"), i, a) {
        if (str_eq(json_text_of(a, "object"), object) && strstr(json_text_of(a, "text"), text)) {
            return true;
        }
    }
    return false;
}

static void status_tells_what_is_true(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *none = view_network(c, "default");
    assert_int_equal(json_array_size(json_object_get(none, "uplinks")), 0);
    assert_non_null(strstr(json_text_of(none, "outside"), "not the outside world"));
    note(c, SEEN_UPLINK("host1", "eth1", "trial", "true", ",\"until_ms\":32000"), 2 * USEC_PER_SEC);
    _cleanup_json_ json_t *one = view_network(c, "default");
    assert_string_equal(json_text_of(one, "uplink"), "host1 eth1");
    assert_non_null(strstr(json_text_of(one, "outside"), "no uplink on host2:"));
    assert_false(json_bool_of(json_array_get(json_object_get(one, "uplinks"), 0), "confirmed", true));
    assert_true(has_alarm(c, "host1", "goes back in 30 s unless confirmed"));
    note(c, SEEN_UPLINK("host1", "eth1", "kept", "true", "") "," SEEN_UPLINK("host2", "ens3", "kept", "true", ""),
         3 * USEC_PER_SEC);
    _cleanup_json_ json_t *both = view_network(c, "default");
    assert_string_equal(json_text_of(both, "uplink"), "host1 eth1, host2 ens3");
    assert_true(json_is_null(json_object_get(both, "outside"))); /* the witness needs none */
    note(c, SEEN_UPLINK("host2", "ens3", "kept", "false", ""), 4 * USEC_PER_SEC);
    _cleanup_json_ json_t *broken = view_network(c, "default");
    assert_string_equal(json_text_of(broken, "uplink"), "host1 eth1");
    assert_true(has_alarm(c, "host2", "uplink ens3 is not in place"));
    note(c, SEEN_UPLINK("host2", "ens3", "returned", "false", ",\"why\":\"it was not confirmed\""),
         5 * USEC_PER_SEC);
    assert_true(has_alarm(c, "host2", "uplink ens3 was undone: it was not confirmed"));
}

/* The host on which a user has just set it, or confirmed it. */
static void a_host_tells_of_its_own_trial_before_the_store_does(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    smap_put(&c->seen, "uplink", json_pack("{s:s,s:s,s:b,s:i}", "nic", "eth1", "state", "trial", "attached", 1,
                                           "until_ms", 32000));
    assert_true(has_alarm(c, "host1", "unless confirmed there"));
    smap_put(&c->seen, "uplink", json_pack("{s:s,s:s,s:b}", "nic", "eth1", "state", "kept", "attached", 1));
    _cleanup_json_ json_t *kept = view_network(c, "default");
    assert_true(json_bool_of(json_array_get(json_object_get(kept, "uplinks"), 0), "confirmed", false));
    assert_false(has_alarm(c, "host1", "unless confirmed there"));
}

static int ask(struct core *c, const char *verb, const char *args, struct err *e)
{
    _cleanup_free_ char *text = str_printf(
        "{\"ev\":\"request\",\"verb\":\"%s\",\"task\":\"t-%s\",\"args\":%s}", verb, verb, args);
    *e = (struct err){0};
    return core_world_step(c, text, 2 * USEC_PER_SEC, e);
}

static void requests_are_refused_by_name_and_do_not_need_the_store_to_end(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_(core_freep) struct core *bare = core_new();
    struct err e = {0};
    assert_int_equal(ask(c, "uplink.set", "{}", &e), -ERR_INVALID);
    assert_int_equal(ask(c, "uplink.set", "{\"uplink\":\"e\",\"uplink_confirm_s\":9}", &e), -ERR_INVALID);
    assert_int_equal(ask(c, "uplink.set", "{\"uplink\":\"e\",\"uplink_confirm_s\":601}", &e), -ERR_INVALID);
    assert_true(e.hint[0]);
    assert_int_equal(ask(bare, "init", "{\"name\":\"x\",\"role\":\"storage\",\"uplink\":\"e\"}", &e),
                     -ERR_INVALID);
    assert_int_equal(ask(bare, "join", "{\"address\":\"a\",\"token\":\"t\",\"role\":\"witness\","
                                       "\"uplink\":\"e\"}", &e), -ERR_INVALID);
    assert_int_equal(ask(bare, "uplink.confirm", "{}", &e), -ERR_NO_CLUSTER);
    assert_int_equal(core_world_step(c, "{\"ev\":\"lost\"}", 2 * USEC_PER_SEC, &e), 0);
    assert_int_equal(ask(c, "uplink.set", "{\"uplink\":\"e\"}", &e), -ERR_UNAVAILABLE);
    assert_int_equal(ask(c, "uplink.confirm", "{}", &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_with_uplinks_are_no_peers_of_the_tunnel),
        cmocka_unit_test(what_a_host_said_before_its_reboot_is_looked_at_again),
        cmocka_unit_test(guests_go_to_hosts_with_uplinks_once_one_is_confirmed),
        cmocka_unit_test(status_tells_what_is_true),
        cmocka_unit_test(a_host_tells_of_its_own_trial_before_the_store_does),
        cmocka_unit_test(requests_are_refused_by_name_and_do_not_need_the_store_to_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
