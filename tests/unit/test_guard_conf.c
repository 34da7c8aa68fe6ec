/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/str.h"
#include "guard/guard_status.h"

#define HEAD "mortar-guard 1\ngeneration 7\nself host1 3\nenforce 1\n"
#define TIMES "times 500000 3000000 3500000 4000000 6000000\n"
#define SLICE "slice /sys/fs/cgroup/mortar.slice/mortar-vms-ha.slice\n"
#define HOSTS                                     \
    "host host1 fencer 10.77.82.11 10.77.83.11\n" \
    "host host2 fencer 10.77.82.12\n"             \
    "host judge fencer 10.77.82.13\n"
#define GOOD HEAD TIMES SLICE HOSTS

static void configuration_is_read(void **state)
{
    static const char text[] = GOOD
        "host host4 member 10.0.0.4 10.1.0.4 10.2.0.4 10.3.0.4\ndeny host2 4\ndeny gone 1\n";
    struct guard_conf c;
    struct err e = {0};
    assert_int_equal(guard_conf_parse(text, strlen(text), &c, &e), 0);
    assert_int_equal(c.generation, 7);
    assert_string_equal(c.self, "host1");
    assert_true(c.inc == 3 && c.enforce && c.hosts_n == 4 && c.denials_n == 2);
    assert_int_equal(c.times.promise_us, 6000000);
    assert_string_equal(c.slice, "/sys/fs/cgroup/mortar.slice/mortar-vms-ha.slice");
    assert_true(c.hosts[0].is_fencer && c.hosts[0].addrs_n == 2);
    assert_int_equal(c.hosts[0].addrs[1], inet_addr("10.77.83.11"));
    assert_true(!c.hosts[3].is_fencer && c.hosts[3].addrs_n == 4);
    assert_string_equal(c.denials[1].name, "gone");
    assert_int_equal(c.denials[0].inc, 4);
}

static void expect_refused(const char *text, const char *why)
{
    struct guard_conf c;
    struct err e = {0};
    int r = guard_conf_parse(text, strlen(text), &c, &e);
    if (r == 0 || !strstr(e.msg, why)) {
        fail_msg("'%s': %d, '%s' instead of '%s'", text, r, e.msg, why);
    }
}

static void mistake_is_refused_with_its_line(void **state)
{
    expect_refused("", "'mortar-guard' is missing");
    expect_refused(HEAD TIMES HOSTS, "'slice' is missing");
    expect_refused("generation 7\n" GOOD, "line 1: 'generation' is not expected");
    expect_refused("mortar-guard 2\n", "line 1: version '2'");
    expect_refused(GOOD "surprise 1\n", "line 10: 'surprise'");
    expect_refused(GOOD "enforce 0\n", "line 10: 'enforce' comes twice");
    expect_refused(GOOD "deny host2\n", "line 10: 'deny'");
    expect_refused(GOOD "deny host2 0\n", "line 10: 0 is too small");
    expect_refused(GOOD "deny host2 4", "line 10: it does not end");
    expect_refused(GOOD "\n", "line 10: not words");
    expect_refused(GOOD " deny host2 4\n", "line 10: not words");
    expect_refused(GOOD "deny  host2 4\n", "line 10: not words");
    expect_refused(GOOD "deny host2 4 \n", "line 10: not words");
    expect_refused(GOOD "deny host2 4\r\n", "line 10: not words");
    expect_refused(GOOD "host host2 member 10.0.0.1\n", "line 10: a host comes twice");
    expect_refused(GOOD "host host5 judge 10.0.0.1\n", "neither fencer nor member");
    expect_refused(GOOD "host host5 member\n", "line 10: 'host'");
    expect_refused(GOOD "host host5 member fd00::1\n", "not an IPv4 address");
    expect_refused(GOOD "host host5 member 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5\n",
                   "line 10: not words");
    expect_refused(GOOD "host Host5 member 10.0.0.1\n", "not a host name");
    expect_refused(GOOD "host host5 fencer 10.0.0.1\n", "4 fencers");
    expect_refused(HEAD TIMES SLICE "host host2 member 10.0.0.1\n", "'host1' itself");
    expect_refused(HEAD TIMES SLICE "host host1 fencer 10.0.0.1\nhost host2 fencer 10.0.0.2\n",
                   "2 fencers");
    expect_refused(HEAD TIMES "slice /etc/passwd\n", "not a control group");
    expect_refused(HEAD TIMES "slice /sys/fs/cgroup/../../etc\n", "not a control group");
}

static void times_without_room_are_refused(void **state)
{
    expect_refused(HEAD "times 500000 3000000 3500000 3699999 6000000\n",
                   "before a freeze is verified");
    expect_refused(HEAD "times 500000 3000000 3500000 5000001 6000000\n",
                   "after promises have ended");
    expect_refused(HEAD "times 2000000 3000000 4500000 5000000 9000000\n", "two beats");
    expect_refused(HEAD "times 1 3000000 3500000 5000000 6000000\n", "line 5: 1 is too small");
    expect_refused(HEAD "times 500000 3000000 3500000 5000000 99999999999\n", "larger than");
}

static void two_hosts_without_witness_need_enforce_off(void **state)
{
    static const char text[] = "mortar-guard 1\ngeneration 0\nself host1 1\nenforce 0\n" TIMES SLICE
                               "host host1 fencer 10.0.0.1\nhost host2 fencer 10.0.0.2\n";
    struct guard_conf c;
    assert_int_equal(guard_conf_parse(text, strlen(text), &c, NULL), 0);
    assert_false(c.enforce);
}

static void add_hosts(struct sbuf *b, unsigned n)
{
    sbuf_printf(b, "%s", "mortar-guard 1\ngeneration 1\nself host0 1\nenforce 0\n" TIMES SLICE);
    for (unsigned i = 0; i < n; i++) {
        sbuf_printf(b, "host host%u member 10.0.%u.1 10.1.%u.1 10.2.%u.1 10.3.%u.1\n", i, i, i, i,
                    i);
    }
}

static void there_are_limits(void **state)
{
    _cleanup_sbuf_ struct sbuf most = {0};
    _cleanup_sbuf_ struct sbuf more = {0};
    struct guard_conf c;
    struct err e = {0};
    add_hosts(&most, GUARD_HOSTS_MAX);
    assert_int_equal(guard_conf_parse(most.data, most.len, &c, &e), 0);
    add_hosts(&more, GUARD_HOSTS_MAX + 1);
    assert_int_equal(guard_conf_parse(more.data, more.len, &c, &e), -ERR_PARSE);
    e = (struct err){0};
    while (most.len <= GUARD_CONF_MAX_BYTES) {
        sbuf_printf(&most, "deny host1 1\n");
    }
    assert_int_equal(guard_conf_parse(most.data, most.len, &c, &e), -ERR_LIMIT);
}

static void status_is_json_and_fits(void **state)
{
    static struct guard_conf c = {
        .generation = 1, .inc = INT64_MAX, .self = "self"}; /* too large for the stack */
    _cleanup_free_ struct promise *p = xcalloc(1, sizeof(*p));
    _cleanup_free_ char *text = xcalloc(1, GUARD_STATUS_SIZE);
    const struct guard_view v = {.generation = INT64_MAX,
                                 .is_frozen = true,
                                 .is_still = true,
                                 .freezes = INT64_MAX,
                                 .watchdog = "none",
                                 .would_fire = INT64_MAX,
                                 .can_cut = true,
                                 .refused = "line 1: 'a\"b\\c\n' is bad"};
    c.times = (struct guard_times){500000, 3000000, 3500000, 5000000, 600000000};
    c.hosts_n = GUARD_HOSTS_MAX;
    for (unsigned i = 0; i < c.hosts_n; i++) {
        (void)snprintf(c.hosts[i].name, sizeof(c.hosts[i].name), "h%061u%c", i, 'x');
        c.hosts[i].is_fencer = true;
    }
    promise_init(p, UINT64_MAX, UINT64_MAX / 4);
    promise_configure(p, &c, UINT64_MAX / 4);
    for (unsigned i = 0; i < p->n; i++) {
        p->peers[i].held_until_us = UINT64_MAX;
        assert_true(promise_deny(p, p->peers[i].name, INT64_MAX));
    }
    size_t len = guard_status_format(p, &v, UINT64_MAX / 2, text);
    assert_int_equal(len, strlen(text));
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_int_equal(json_object_size(json_object_get(root, "peers")), GUARD_HOSTS_MAX);
    assert_string_equal(json_string_value(json_object_get(root, "refused")),
                        "line 1: 'a?b?c?' is bad");
    assert_true(json_is_true(json_object_get(root, "frozen")));
    json_decref(root);
}

static void status_is_as_the_contract_says(void **state)
{
    static const char text[] = GOOD "deny host2 4\n";
    static struct guard_conf c;
    _cleanup_free_ struct promise *p = xcalloc(1, sizeof(*p));
    _cleanup_free_ char *said = xcalloc(1, GUARD_STATUS_SIZE);
    struct guard_view v = {.generation = 7, .watchdog = "none", .refused = ""};
    assert_int_equal(guard_conf_parse(text, strlen(text), &c, NULL), 0);
    promise_init(p, 0xabc, 1000000);
    promise_configure(p, &c, 1000000);
    (void)guard_status_format(p, &v, 1250000, said);
    assert_string_equal(
        said, "{\"instance\":\"0000000000000abc\",\"generation\":7,\"enforce\":true,\"run_right\":"
              "false,\"frozen\":false,"
              "\"verified\":false,\"freezes\":0,\"watchdog\":{\"kind\":\"none\",\"would_fire\":0},"
              "\"can_cut\":false,\"refused\":\"\",\"peers\":{"
              "\"host2\":{\"silent\":false,\"heard_ms\":250,\"promise_ms\":0,\"granted_ms\":5750,"
              "\"denied_inc\":4,\"denial_over\":false},"
              "\"judge\":{\"silent\":false,\"heard_ms\":250,\"promise_ms\":0,\"granted_ms\":5750,"
              "\"denied_inc\":0,\"denial_over\":false}}}");
    uint64_t edge = guard_status_edge(p, &v, 1250000);
    assert_int_equal(guard_status_edge(p, &v, 1250001), edge);
    assert_int_not_equal(guard_status_edge(p, &v, 4000000), edge); /* both are silent */
    v.is_frozen = true;
    assert_int_not_equal(guard_status_edge(p, &v, 1250000), edge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_is_read),
        cmocka_unit_test(mistake_is_refused_with_its_line),
        cmocka_unit_test(times_without_room_are_refused),
        cmocka_unit_test(two_hosts_without_witness_need_enforce_off),
        cmocka_unit_test(there_are_limits),
        cmocka_unit_test(status_is_json_and_fits),
        cmocka_unit_test(status_is_as_the_contract_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
