/* SPDX-License-Identifier: Apache-2.0
 * Requests byte for byte, since etcd ignores misspelt fields; answers as recorded from Debian's
 * etcd 3.4.23 on 2026-11-22 (cluster and member ids shortened), and what they may not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/etcd/etcd_parse.h"

#define HEADER "\"header\":{\"cluster_id\":\"324952591200643719\",\"member_id\":\"33\"," \
               "\"revision\":\"3\",\"raft_term\":\"2\"}"

static void a_transaction_is_spelt_right(void **state)
{
    _cleanup_store_txn_ struct store_txn t = {0};
    static const char *const looks[] = {"/k/a"};
    store_if_mod(&t, "/k/a", 17);
    store_if(&t, "/k/b", STORE_CREATE, STORE_GREATER, 0);
    store_if(&t, "/k/c", STORE_VERSION, STORE_LESS, 9007199254740993);
    store_if_value(&t, "/k/d", STORE_NOT_EQUAL, "\xff\xfe\xfd", 3);
    store_put_text(&t, "/k/a", "one");
    store_put(&t, "/k/b", "", 0);
    store_delete(&t, "/k/z");
    _cleanup_free_ char *text = etcd_format_txn(
        &(struct store_raw_txn){t.compares, t.compares_n, t.ops, t.ops_n, looks, 1});
    assert_string_equal(
        text,
        "{\"compare\":["
        "{\"key\":\"L2svYQ==\",\"mod_revision\":\"17\",\"result\":\"EQUAL\",\"target\":\"MOD\"},"
        "{\"create_revision\":\"0\",\"key\":\"L2svYg==\",\"result\":\"GREATER\","
        "\"target\":\"CREATE\"},"
        "{\"key\":\"L2svYw==\",\"result\":\"LESS\",\"target\":\"VERSION\","
        "\"version\":\"9007199254740993\"},"
        "{\"key\":\"L2svZA==\",\"result\":\"NOT_EQUAL\",\"target\":\"VALUE\",\"value\":\"//79\"}],"
        "\"failure\":[{\"request_range\":{\"key\":\"L2svYQ==\"}}],"
        "\"success\":[{\"request_put\":{\"key\":\"L2svYQ==\",\"value\":\"b25l\"}},"
        "{\"request_put\":{\"key\":\"L2svYg==\",\"value\":\"\"}},"
        "{\"request_delete_range\":{\"key\":\"L2sveg==\"}}]}");
}

static void assert_text(char *text, const char *golden)
{
    assert_string_equal(text, golden);
    free(text);
}

static void the_other_requests_are_spelt_right(void **state)
{
    const char *path = NULL;
    assert_text(etcd_format_range("/k/", NULL, 0, 256),
                "{\"key\":\"L2sv\",\"limit\":\"256\",\"range_end\":\"L2sw\"}");
    assert_text(etcd_format_range("/k/", "/k/a", 5, 1),
                "{\"key\":\"L2svYQA=\",\"limit\":\"1\",\"range_end\":\"L2sw\",\"revision\":\"5\"}");
    assert_text(etcd_format_range("\xff\xff", NULL, 0, 1),
                "{\"key\":\"//8=\",\"limit\":\"1\",\"range_end\":\"AA==\"}");
    assert_text(etcd_format_compact(12), "{\"revision\":\"12\"}");
    assert_text(etcd_format_watch("/k/", 7),
                "{\"create_request\":{\"key\":\"L2sv\",\"range_end\":\"L2sw\","
                "\"start_revision\":\"7\"}}");
    assert_text(etcd_format_member_change(
                    &(struct store_member_change){STORE_MEMBER_ADD_LEARNER, "https://a:2380", 0},
                    &path),
                "{\"isLearner\":true,\"peerURLs\":[\"https://a:2380\"]}");
    assert_string_equal(path, "/v3/cluster/member/add");
    assert_text(etcd_format_member_change(&(struct store_member_change){STORE_MEMBER_PROMOTE, NULL,
                                                                        UINT64_MAX},
                                          &path),
                "{\"ID\":\"18446744073709551615\"}");
    assert_string_equal(path, "/v3/cluster/member/promote");
    assert_text(etcd_format_member_change(
                    &(struct store_member_change){STORE_MEMBER_REMOVE, NULL, 1}, &path),
                "{\"ID\":\"1\"}");
    assert_string_equal(path, "/v3/cluster/member/remove");
}

static int range_of(const char *text, struct store_list *l, bool *more)
{
    *l = (struct store_list){0};
    return etcd_parse_range(text, strlen(text), l, more, NULL);
}

static void ranges_are_understood(void **state)
{
    struct store_list l;
    bool more = true;
    assert_int_equal(range_of("{" HEADER "}", &l, &more), 0);
    assert_int_equal(l.n, 0);
    assert_int_equal(l.revision, 3);
    assert_false(more);
    assert_int_equal(
        range_of("{" HEADER ",\"kvs\":[{\"key\":\"L2svYQ==\",\"create_revision\":\"2\","
                 "\"mod_revision\":\"2\",\"version\":\"1\",\"value\":\"b25l\"},"
                 "{\"key\":\"L2svYg==\",\"create_revision\":\"3\",\"mod_revision\":\"3\","
                 "\"version\":\"1\"}],\"more\":true,\"count\":\"9\"}",
                 &l, &more),
        0);
    assert_true(more);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.kvs[0].key, "/k/a");
    assert_string_equal(l.kvs[0].value, "one");
    assert_int_equal(l.kvs[1].mod_revision, 3);
    assert_int_equal(l.kvs[1].value_len, 0);
    store_list_done(&l);
}

static void strange_ranges_are_refused(void **state)
{
    static const char *const bad[] = {
        "", "[]", "7", "{}", "{\"header\":{}}", "{" HEADER ",\"kvs\":7}",
        "{" HEADER ",\"kvs\":[7]}", "{" HEADER ",\"kvs\":[{\"key\":\"\",\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L2svYQ==\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L2s_YQ==\",\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"AGEA\",\"mod_revision\":\"1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L2svYQ==\",\"mod_revision\":\"-1\"}]}",
        "{" HEADER ",\"kvs\":[{\"key\":\"L2svYQ==\",\"mod_revision\":\"99999999999999999999\"}]}",
        "{" HEADER ",\"more\":true}", "{" HEADER ",\"more\":\"yes\"}",
    };
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct store_list l;
        bool more = false;
        assert_int_equal(range_of(bad[i], &l, &more), -ERR_PARSE);
        store_list_done(&l);
    }
}

static int txn_of(const char *text, struct store_raw_result *ret)
{
    static const struct store_op ops[] = {{.key = (char *)"/k/a"},
                                          {.is_delete = true, .key = (char *)"/k/z"}};
    static const char *const looks[] = {"/k/a", "/k/q"};
    const struct store_raw_txn asked = {.ops = ops, .ops_n = 2, .looks = looks, .looks_n = 2};
    *ret = (struct store_raw_result){0};
    return etcd_parse_txn(text, strlen(text), &asked, ret, NULL);
}

static void transactions_are_understood(void **state)
{
    struct store_raw_result r;
    assert_int_equal(txn_of("{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":"
                            "{\"header\":{\"revision\":\"3\"}}},{\"response_delete_range\":"
                            "{\"header\":{\"revision\":\"3\"}}}]}",
                            &r),
                     0);
    assert_true(r.succeeded);
    assert_int_equal(r.revision, 3);
    assert_int_equal(txn_of("{" HEADER ",\"responses\":[{\"response_range\":{\"header\":"
                            "{\"revision\":\"2\"},\"kvs\":[{\"key\":\"L2svYQ==\","
                            "\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\","
                            "\"value\":\"b25l\"}],\"count\":\"1\"}},{\"response_range\":"
                            "{\"header\":"
                            "{\"revision\":\"2\"}}}]}",
                            &r),
                     0);
    assert_false(r.succeeded);
    assert_int_equal(r.seen.n, 1);
    assert_string_equal(r.seen.kvs[0].key, "/k/a");
    store_list_done(&r.seen);
}

static void half_transactions_are_refused(void **state)
{
    static const char *const bad[] = {
        "{" HEADER "}", "{\"succeeded\":true}", "{" HEADER ",\"succeeded\":1}",
        "{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}",
        "{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{}},{}]}",
        "{" HEADER ",\"responses\":[{\"response_range\":{}}]}",
        "{" HEADER ",\"responses\":[{\"response_put\":{}},{\"response_range\":{}}]}",
        "{" HEADER ",\"responses\":[{\"response_range\":{\"kvs\":[{\"key\":\"L2svYQ==\","
        "\"mod_revision\":\"2\"}]}},{\"response_range\":{\"kvs\":[{}]}}]}",
    };
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct store_raw_result r;
        assert_int_equal(txn_of(bad[i], &r), -ERR_PARSE);
        assert_int_equal(r.seen.n, 0);
    }
}

static void members_and_status_are_understood(void **state)
{
    static const char members[] =
        "{\"header\":{\"raft_term\":\"2\"},\"members\":[{\"ID\":\"14072211767928052940\","
        "\"peerURLs\":[\"http://127.0.0.1:23999\"],\"isLearner\":true},{\"ID\":\"33\",\"name\":"
        "\"n1\",\"peerURLs\":[\"http://127.0.0.1:23800\"],\"clientURLs\":"
        "[\"http://127.0.0.1:23790\"]}]}";
    static const char status[] =
        "{" HEADER ",\"version\":\"3.4.23\",\"dbSize\":\"20480\",\"leader\":\"33\",\"raftIndex\":"
        "\"10\",\"raftTerm\":\"2\",\"raftAppliedIndex\":\"10\",\"dbSizeInUse\":\"16384\"}";
    struct store_members m = {0};
    struct store_status s = {0};
    assert_int_equal(etcd_parse_members(members, strlen(members), &m, NULL), 0);
    assert_int_equal(m.n, 2);
    assert_true(m.v[0].id == 14072211767928052940u);
    assert_true(m.v[0].learner);
    assert_string_equal(m.v[0].name, "");
    assert_string_equal(m.v[0].client_url, "");
    assert_string_equal(m.v[1].client_url, "http://127.0.0.1:23790");
    store_members_done(&m);
    assert_int_equal(etcd_parse_members("{}", 2, &m, NULL), -ERR_PARSE);
    assert_int_equal(etcd_parse_status(status, strlen(status), &s, NULL), 0);
    assert_string_equal(s.version, "3.4.23");
    assert_int_equal(s.db_size_bytes, 20480);
    assert_int_equal(s.leader_id, 33);
    assert_int_equal(s.raft_index, 10);
    assert_false(s.has_errors);
}

static struct etcd_error error_of(const char *text)
{
    struct etcd_error e;
    etcd_parse_error(text, strlen(text), &e);
    return e;
}

static void errors_are_told_apart(void **state)
{
    struct etcd_error e = error_of("{\"error\":\"x\",\"message\":\"etcdserver: mvcc: required rev"
                                   "ision"
                                   " has been compacted\",\"code\":11}");
    assert_true(e.code == ETCD_OUT_OF_RANGE && e.compacted);
    e = error_of("{\"error\":\"etcdserver: no leader\",\"message\":\"etcdserver: no leader\","
                 "\"code\":14}");
    assert_true(e.code == ETCD_UNAVAILABLE && e.no_leader);
    e = error_of("{\"message\":\"etcdserver: request timed out\",\"code\":14}");
    assert_true(e.code == ETCD_UNAVAILABLE && !e.no_leader);
    e = error_of("<html>proxy</html>");
    assert_true(e.code == 0 && !e.no_leader && e.message[0]);
}

static int line_of(const char *text, struct etcd_watch_line *l)
{
    *l = (struct etcd_watch_line){0};
    return etcd_parse_watch_line(text, strlen(text), l, NULL);
}

static void watch_lines_are_understood(void **state)
{
    struct etcd_watch_line l;
    assert_int_equal(line_of("{\"result\":{" HEADER ",\"created\":true}}", &l), 0);
    assert_true(l.created && !l.ended);
    etcd_watch_line_done(&l);
    assert_int_equal(line_of("{\"result\":{" HEADER ",\"events\":[{\"kv\":{\"key\":\"L2svYQ==\","
                             "\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\","
                             "\"value\":\"b25l\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":"
                             "\"L2svYg==\",\"mod_revision\":\"3\"}}]}}",
                             &l),
                     0);
    assert_int_equal(l.n, 2);
    assert_false(l.events[0].deleted);
    assert_string_equal(l.events[0].kv.value, "one");
    assert_true(l.events[1].deleted);
    assert_int_equal(l.events[1].kv.mod_revision, 3);
    etcd_watch_line_done(&l);
    assert_int_equal(line_of("{\"result\":{\"header\":{\"raft_term\":\"2\"},\"canceled\":true,"
                             "\"compact_revision\":\"2\"}}",
                             &l),
                     0);
    assert_true(l.ended);
    assert_non_null(strstr(l.why, "compacted"));
    etcd_watch_line_done(&l);
    assert_int_equal(line_of("{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":"
                             "\"etcdserver: no leader\",\"http_status\":\"Service Unavailable\"}}",
                             &l),
                     0);
    assert_true(l.ended);
    assert_string_equal(l.why, "etcdserver: no leader");
    etcd_watch_line_done(&l);
    assert_int_equal(line_of("{}", &l), -ERR_PARSE);
    assert_int_equal(line_of("{\"result\":{\"events\":[{\"kv\":{}}]}}", &l), -ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transaction_is_spelt_right),
        cmocka_unit_test(the_other_requests_are_spelt_right),
        cmocka_unit_test(ranges_are_understood),
        cmocka_unit_test(strange_ranges_are_refused),
        cmocka_unit_test(transactions_are_understood),
        cmocka_unit_test(half_transactions_are_refused),
        cmocka_unit_test(members_and_status_are_understood),
        cmocka_unit_test(errors_are_told_apart),
        cmocka_unit_test(watch_lines_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
