/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/etcd/etcd_member.h"
#include "adapters/etcd/store_impl.h"

#define HOSTS_MAX 7

static const char *const urls[HOSTS_MAX] = {"https://h0:2380", "https://h1:2380", "https://h2:2380",
                                            "https://h3:2380", "https://h4:2380", "https://h5:2380",
                                            "https://h6:2380"};

/* A cluster whose hosts, members and states are bit sets, so that all of them can be tried. */
struct world {
    unsigned hosts_n;
    unsigned removed; /* not in the list of hosts any more */
    unsigned leaving;
    unsigned down;
    unsigned voters;
    unsigned learner; /* at most one bit */
    bool learner_started;
    unsigned roles; /* two bits per host */
};

static size_t bits(unsigned set)
{
    return (size_t)__builtin_popcount(set);
}

static bool ask(const struct world *w, struct store_member_change *ret)
{
    struct etcd_host hosts[HOSTS_MAX];
    struct store_member members[HOSTS_MAX];
    struct store_members list = {.v = members};
    const char *why = NULL;
    size_t n = 0;
    for (unsigned i = 0; i < w->hosts_n; i++) {
        unsigned bit = 1u << i;
        if (!(w->removed & bit)) {
            hosts[n++] = (struct etcd_host){.name = urls[i] + 8,
                                            .peer_url = urls[i],
                                            .role = (enum etcd_role)(w->roles >> (2 * i) & 3),
                                            .up = !(w->down & bit),
                                            .leaving = w->leaving & bit};
        }
        if ((w->voters | w->learner) & bit) {
            bool started = (w->voters & bit) || w->learner_started;
            members[list.n++] = (struct store_member){.id = i + 1,
                                                      .name = (char *)(started ? "x" : ""),
                                                      .peer_url = (char *)urls[i],
                                                      .client_url = (char *)"",
                                                      .learner = w->learner & bit};
        }
    }
    bool is_step = etcd_plan_members(hosts, n, &list, ret, &why);
    assert_non_null(why);
    return is_step;
}

static unsigned bit_of(const struct store_member_change *c)
{
    for (unsigned i = 0; c->verb == STORE_MEMBER_ADD_LEARNER && i < HOSTS_MAX; i++) {
        if (str_eq(c->peer_url, urls[i])) {
            return 1u << i;
        }
    }
    return 1u << (c->id - 1);
}

/* Carries a step out as etcd does, and asserts that it is one of those that are safe. */
static void take_step(struct world *w, const struct store_member_change *c)
{
    unsigned bit = bit_of(c);
    unsigned before = w->voters;
    switch (c->verb) {
    case STORE_MEMBER_ADD_LEARNER:
        assert_false((w->voters | w->learner) & bit);
        assert_int_equal(w->learner, 0);
        assert_false((w->down | w->removed | w->leaving) & bit);
        w->learner = bit;
        w->learner_started = false;
        break;
    case STORE_MEMBER_PROMOTE:
        assert_int_equal(w->learner, bit);
        assert_true(w->learner_started);
        assert_false((w->down | w->removed | w->leaving) & bit);
        w->voters |= bit;
        w->learner = 0;
        break;
    case STORE_MEMBER_REMOVE:
        assert_true((w->voters | w->learner) & bit);
        w->voters &= ~bit;
        w->learner &= ~bit;
        break;
    }
    assert_true(w->voters != 0);
    if (w->voters != before) {
        unsigned up = w->voters & ~(w->down | w->removed);
        assert_true(bits(up) > bits(w->voters) / 2);
    }
}

/* Takes steps until there is none. Return: how many */
static int settle(struct world *w)
{
    struct store_member_change c = {0};
    int steps = 0;
    while (ask(w, &c)) {
        take_step(w, &c);
        assert_true(++steps < 40);
        w->learner_started = true;
    }
    return steps;
}

static void assert_ideal(const struct world *w)
{
    size_t able = w->hosts_n - bits((w->removed | w->leaving) & ((1u << w->hosts_n) - 1));
    assert_int_equal(bits(w->voters), etcd_members_wanted(able));
    assert_int_equal(w->learner, 0);
    assert_int_equal(w->voters & (w->removed | w->leaving), 0);
}

static void the_cluster_grows_to_one_three_and_five(void **state)
{
    static const size_t wanted[] = {1, 1, 3, 3, 5, 5, 5};
    struct world w = {.voters = 1, .roles = 0x1555};
    for (w.hosts_n = 1; w.hosts_n <= HOSTS_MAX; w.hosts_n++) {
        (void)settle(&w);
        assert_ideal(&w);
        assert_int_equal(bits(w.voters), wanted[w.hosts_n - 1]);
        assert_true(w.voters & 1);
    }
}

static void a_witness_is_taken_before_storage_and_storage_before_compute(void **state)
{
    /* host 0 storage, 1 compute, 2 storage, 3 witness */
    struct world w = {.hosts_n = 4, .voters = 1, .roles = 1 | 2 << 2 | 1 << 4 | 0 << 6};
    (void)settle(&w);
    assert_int_equal(w.voters, 1 | 4 | 8);
    struct world again = w;
    assert_int_equal(settle(&again), 0);
}

static void two_hosts_keep_one_member(void **state)
{
    struct world w = {.hosts_n = 2, .voters = 1};
    assert_int_equal(settle(&w), 0);
}

static void growth_waits_until_the_odd_number_can_be_reached(void **state)
{
    struct world w = {.hosts_n = 3, .voters = 1, .down = 4};
    assert_int_equal(settle(&w), 0);
    w.down = 0;
    assert_int_equal(settle(&w), 4);
}

static void a_dead_member_is_replaced_only_when_its_host_was_removed(void **state)
{
    struct store_member_change c = {0};
    struct world w = {.hosts_n = 4, .voters = 7, .down = 2, .roles = 0x55};
    assert_false(ask(&w, &c));
    w.removed = 2;
    assert_true(ask(&w, &c));
    assert_int_equal(c.verb, STORE_MEMBER_REMOVE); /* first, so that two of two decide */
    (void)settle(&w);
    assert_int_equal(w.voters, 1 | 4 | 8);
}

static void the_only_member_leaves_after_its_successor_came(void **state)
{
    struct world w = {.hosts_n = 2, .voters = 1, .leaving = 1};
    assert_int_equal(settle(&w), 3);
    assert_int_equal(w.voters, 2);
}

/* All memberships × hosts down × removed × leaving, for 1 to 5 hosts: every step is safe
 * (take_step asserts it), planning ends, and with all hosts up it ends where it should. */
static void check_all(unsigned hosts_n)
{
    unsigned all = 1u << hosts_n;
    for (unsigned voters = 1; voters < all; voters++) {
        for (unsigned down = 0; down < all; down++) {
            for (unsigned gone = 0; gone < all; gone++) {
                for (unsigned learner = 0; learner < all; learner = learner ? learner << 1 : 1) {
                    struct world w = {.hosts_n = hosts_n,
                                      .voters = voters,
                                      .down = down,
                                      .learner = learner & ~voters,
                                      .learner_started = gone & 1,
                                      .removed = gone & down,
                                      .leaving = gone & ~down,
                                      .roles = 0x2496};
                    (void)settle(&w);
                    w.down = w.removed;
                    w.learner_started = true;
                    bool has_quorum = bits(w.voters & w.removed) * 2 < bits(w.voters);
                    (void)settle(&w);
                    if (has_quorum && gone != all - 1) {
                        assert_ideal(&w);
                    }
                }
            }
        }
    }
}

static void every_step_is_safe_and_they_end(void **state)
{
    for (unsigned n = 1; n <= 5; n++) {
        check_all(n);
    }
}

/* With six and seven hosts: all memberships and hosts down. */
static void every_step_is_safe_with_many_hosts(void **state)
{
    for (unsigned n = 6; n <= HOSTS_MAX; n++) {
        for (unsigned voters = 1; voters < 1u << n; voters++) {
            for (unsigned down = 0; down < 1u << n; down++) {
                struct world w = {.hosts_n = n, .voters = voters, .down = down, .roles = 0x1599};
                (void)settle(&w);
                w.down = 0;
                w.learner_started = true;
                (void)settle(&w);
                assert_ideal(&w);
            }
        }
    }
}

/* ---- set-up ---- */

static const struct etcd_setup setup = {.name = "h1",
                                        .address = "10.0.0.11",
                                        .ca_file = "/etc/mortar/ca.crt",
                                        .cert_file = "/etc/mortar/etcd.crt",
                                        .key_file = "/etc/mortar/etcd.key",
                                        .cluster_token = "0f3c"};

static void a_first_member_is_set_up(void **state)
{
    static const char golden[] =
        "# Written by Mortar; changes are overwritten.\n"
        "ETCD_NAME=\"h1\"\n"
        "ETCD_DATA_DIR=\"/var/lib/etcd/mortar\"\n"
        "ETCD_LISTEN_CLIENT_URLS=\"https://10.0.0.11:2379,https://127.0.0.1:2379\"\n"
        "ETCD_ADVERTISE_CLIENT_URLS=\"https://10.0.0.11:2379\"\n"
        "ETCD_LISTEN_PEER_URLS=\"https://10.0.0.11:2380\"\n"
        "ETCD_INITIAL_ADVERTISE_PEER_URLS=\"https://10.0.0.11:2380\"\n"
        "ETCD_INITIAL_CLUSTER=\"h1=https://10.0.0.11:2380\"\n"
        "ETCD_INITIAL_CLUSTER_STATE=\"new\"\n"
        "ETCD_INITIAL_CLUSTER_TOKEN=\"0f3c\"\n"
        "ETCD_TRUSTED_CA_FILE=\"/etc/mortar/ca.crt\"\n"
        "ETCD_CERT_FILE=\"/etc/mortar/etcd.crt\"\n"
        "ETCD_KEY_FILE=\"/etc/mortar/etcd.key\"\n"
        "ETCD_CLIENT_CERT_AUTH=\"true\"\n"
        "ETCD_PEER_TRUSTED_CA_FILE=\"/etc/mortar/ca.crt\"\n"
        "ETCD_PEER_CERT_FILE=\"/etc/mortar/etcd.crt\"\n"
        "ETCD_PEER_KEY_FILE=\"/etc/mortar/etcd.key\"\n"
        "ETCD_PEER_CLIENT_CERT_AUTH=\"true\"\n"
        "ETCD_HEARTBEAT_INTERVAL=\"100\"\n"
        "ETCD_ELECTION_TIMEOUT=\"1000\"\n"
        "ETCD_PRE_VOTE=\"true\"\n"
        "ETCD_STRICT_RECONFIG_CHECK=\"true\"\n"
        "ETCD_SNAPSHOT_COUNT=\"10000\"\n"
        "ETCD_AUTO_COMPACTION_MODE=\"periodic\"\n"
        "ETCD_AUTO_COMPACTION_RETENTION=\"10m\"\n"
        "ETCD_QUOTA_BACKEND_BYTES=\"2147483648\"\n";
    _cleanup_free_ char *text = NULL;
    assert_int_equal(etcd_format_defaults(&setup, &text, NULL), 0);
    assert_string_equal(text, golden);
}

/* While a restored store is not marked as such nobody but this host may read it. */
static void a_private_member_listens_at_nobodys_endpoint(void **state)
{
    struct etcd_setup s = setup;
    _cleanup_free_ char *text = NULL;
    s.private = true;
    assert_int_equal(etcd_format_defaults(&s, &text, NULL), 0);
    assert_non_null(strstr(text, "ETCD_LISTEN_CLIENT_URLS=\"" ETCD_PRIVATE_URL "\"\n"));
    assert_non_null(strstr(text, "ETCD_CLIENT_CERT_AUTH=\"true\"\n"));
}

static void a_later_member_joins_the_existing_ones(void **state)
{
    struct store_member v[] = {
        {.id = 7, .name = (char *)"h0", .peer_url = (char *)"https://10.0.0.10:2380"},
        {.id = 9,
         .name = (char *)"",
         .peer_url = (char *)"https://10.0.0.11:2380",
         .learner = true}};
    struct store_members members = {.v = v, .n = 2};
    struct etcd_setup s = setup;
    _cleanup_free_ char *text = NULL;
    s.join = &members;
    s.slow_disk = true;
    assert_int_equal(etcd_format_defaults(&s, &text, NULL), 0);
    assert_non_null(strstr(text, "ETCD_INITIAL_CLUSTER=\"h0=https://10.0.0.10:2380,"
                                 "h1=https://10.0.0.11:2380\"\n"
                                 "ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"));
    assert_non_null(strstr(text, "ETCD_ELECTION_TIMEOUT=\"2500\"\n"));
    s.address = "10.0.0.12"; /* not among the members */
    assert_int_equal(etcd_format_defaults(&s, &text, NULL), -ERR_STATE);
}

static void a_value_that_would_break_the_file_is_refused(void **state)
{
    struct etcd_setup s = setup;
    char *text = NULL;
    s.ca_file = "/etc/x\"\nETCD_NAME=\"evil";
    assert_int_equal(etcd_format_defaults(&s, &text, NULL), -ERR_INVALID);
    s = setup;
    s.name = "UPPER";
    assert_int_equal(etcd_format_defaults(&s, &text, NULL), -ERR_INVALID);
}

static void six_has_its_brackets(void **state)
{
    _cleanup_free_ char *url = etcd_peer_url("fd00::1", 0);
    assert_string_equal(url, "https://[fd00::1]:2380");
}

static void a_host_follows_its_own_member_first(void **state)
{
    struct store_member v[] = {{.name = (char *)"host1", .client_url = (char *)"https://h1:2379"},
                               {.name = (char *)"host2", .client_url = (char *)"https://h2:2379", .learner = true},
                               {.name = (char *)"", .client_url = (char *)""},
                               {.name = (char *)"host3", .client_url = (char *)"https://h3:2379"}};
    const struct store_members members = {.v = v, .n = ELEMENTS(v)};
    const char *const owns[] = {"host1", "host3", "host2", "host9"};
    const char *const wanted[] = {"https://h1:2379 https://h3:2379", "https://h3:2379 https://h1:2379",
                                  "https://h1:2379 https://h3:2379", "https://h1:2379 https://h3:2379"};
    for (size_t i = 0; i < ELEMENTS(owns); i++) {
        _cleanup_strv_ struct strv got = {0};
        etcd_client_urls(&members, owns[i], &got);
        _cleanup_sbuf_ struct sbuf text = {0};
        for (size_t j = 0; j < got.n; j++) {
            sbuf_printf(&text, "%s%s", j ? " " : "", got.v[j]);
        }
        assert_string_equal(text.data, wanted[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cluster_grows_to_one_three_and_five),
        cmocka_unit_test(a_witness_is_taken_before_storage_and_storage_before_compute),
        cmocka_unit_test(two_hosts_keep_one_member),
        cmocka_unit_test(growth_waits_until_the_odd_number_can_be_reached),
        cmocka_unit_test(a_dead_member_is_replaced_only_when_its_host_was_removed),
        cmocka_unit_test(the_only_member_leaves_after_its_successor_came),
        cmocka_unit_test(every_step_is_safe_and_they_end),
        cmocka_unit_test(every_step_is_safe_with_many_hosts),
        cmocka_unit_test(a_first_member_is_set_up),
        cmocka_unit_test(a_private_member_listens_at_nobodys_endpoint),
        cmocka_unit_test(a_later_member_joins_the_existing_ones),
        cmocka_unit_test(a_value_that_would_break_the_file_is_refused),
        cmocka_unit_test(six_has_its_brackets),
        cmocka_unit_test(a_host_follows_its_own_member_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
