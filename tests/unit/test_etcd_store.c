/* SPDX-License-Identifier: Apache-2.0
 * The contract on the fake, and the slot protocol under every fate of requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/etcd/etcd_fake.h"
#include "etcd_contract.h"
#include "io/clock.h"

static struct store *open_fake(void *ctx, const char *writer)
{
    static unsigned handles; /* every handle needs an instance of its own */
    _cleanup_free_ char *instance = str_printf("i%u", ++handles);
    return etcd_fake_open(ctx, writer, instance);
}

static void the_fake_keeps_the_contract(void **state)
{
    _cleanup_(etcd_fake_freep) struct etcd_fake *f = etcd_fake_new();
    contract_run(&(struct contract){.open = open_fake, .ctx = f});
}

#define K STORE_PREFIX "fate"

static bool exists(struct store *s, const char *key)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    assert_int_equal(store_range(s, key, contract_deadline(), &l, NULL), 0);
    assert_true(l.n == 0 || l.kvs[0].version == 1);
    return l.n > 0;
}

/* A put without any compare: nothing but the slot keeps a late copy from taking effect. */
static int put_once(struct store *s, uint64_t deadline_us, struct store_result *ret)
{
    _cleanup_store_txn_ struct store_txn t = {0};
    store_put_text(&t, K, "x");
    return store_commit(s, &t, deadline_us, ret, NULL);
}

/* With these fates of the next requests: is what the caller was told true, now and for ever? */
static void check_fates(const enum etcd_fake_fault *fates, size_t n, bool claimed)
{
    _cleanup_(etcd_fake_freep) struct etcd_fake *f = etcd_fake_new();
    _cleanup_(store_freep) struct store *s = open_fake(f, "w");
    _cleanup_store_result_ struct store_result res = {0};
    _cleanup_store_result_ struct store_result later = {0};
    _cleanup_store_txn_ struct store_txn t = {0};
    if (claimed) {
        store_put_text(&t, STORE_PREFIX "other", "x");
        assert_int_equal(store_commit(s, &t, contract_deadline(), &later, NULL), 0);
    }
    etcd_fake_plan(f, fates, n);
    int r = put_once(s, contract_deadline(), &res);
    assert_true(r == 0 || r == -ERR_UNAVAILABLE || r == -ERR_TIMEOUT);
    bool happened = r == 0;
    assert_true(r != 0 || res.succeeded);
    etcd_fake_plan(f, NULL, 0);
    if (r == -ERR_TIMEOUT) {
        enum store_outcome outcome = STORE_NONE;
        assert_int_equal(store_settle(s, contract_deadline(), &outcome, NULL), 0);
        assert_true(outcome == STORE_HAPPENED || outcome == STORE_NEVER);
        happened = outcome == STORE_HAPPENED;
    }
    assert_int_equal(exists(s, K), happened);
    (void)etcd_fake_deliver(f);
    assert_int_equal(exists(s, K), happened);
    store_txn_done(&t);
    store_put_text(&t, STORE_PREFIX "after", "x");
    store_result_done(&later);
    assert_int_equal(store_commit(s, &t, contract_deadline(), &later, NULL), 0);
    assert_true(later.succeeded);
    assert_int_equal(later.doubt, STORE_NONE);
}

static void what_a_writer_is_told_stays_true(void **state)
{
    enum etcd_fake_fault fates[5];
    for (unsigned row = 0; row < 5 * 5 * 5 * 5 * 5; row++) {
        unsigned rest = row;
        for (size_t i = 0; i < ELEMENTS(fates); i++, rest /= 5) {
            fates[i] = (enum etcd_fake_fault)(rest % 5);
        }
        check_fates(fates, ELEMENTS(fates), true);
        check_fates(fates, ELEMENTS(fates), false);
    }
}

static void a_commit_costs_one_request(void **state)
{
    _cleanup_(etcd_fake_freep) struct etcd_fake *f = etcd_fake_new();
    _cleanup_(store_freep) struct store *s = open_fake(f, "w");
    struct store_result res = {0};
    /* The claim and two commits; then whatever is sent is refused. */
    etcd_fake_plan(f, (enum etcd_fake_fault[]){0, 0, 0, ETCD_FAKE_REFUSE}, 4);
    assert_int_equal(put_once(s, contract_deadline(), &res), 0);
    assert_int_equal(put_once(s, contract_deadline(), &res), 0);
    assert_int_equal(put_once(s, contract_deadline(), &res), -ERR_UNAVAILABLE);
}

static void a_lost_answer_is_found_again(void **state)
{
    _cleanup_(etcd_fake_freep) struct etcd_fake *f = etcd_fake_new();
    _cleanup_(store_freep) struct store *s = open_fake(f, "w");
    struct store_result res = {0};
    _cleanup_store_list_ struct store_list l = {0};
    etcd_fake_plan(f, (enum etcd_fake_fault[]){ETCD_FAKE_OK, ETCD_FAKE_LOSE_AFTER}, 2);
    assert_int_equal(put_once(s, contract_deadline(), &res), 0);
    assert_true(res.succeeded);
    assert_int_equal(store_range(s, K, contract_deadline(), &l, NULL), 0);
    assert_int_equal(res.revision, l.kvs[0].mod_revision);
}

static void the_next_commit_tells_what_became_of_the_last(void **state)
{
    enum etcd_fake_fault silence[64];
    for (int applied = 0; applied < 2; applied++) {
        _cleanup_(etcd_fake_freep) struct etcd_fake *f = etcd_fake_new();
        _cleanup_(store_freep) struct store *s = open_fake(f, "w");
        struct store_result res = {0};
        for (size_t i = 0; i < ELEMENTS(silence); i++) {
            silence[i] = ETCD_FAKE_LOSE_BEFORE;
        }
        silence[0] = ETCD_FAKE_OK; /* the claim */
        silence[1] = applied ? ETCD_FAKE_LOSE_AFTER : ETCD_FAKE_LOSE_BEFORE;
        etcd_fake_plan(f, silence, ELEMENTS(silence));
        assert_int_equal(put_once(s, clock_boottime_us() + 1, &res), -ERR_TIMEOUT);
        assert_int_equal(put_once(s, clock_boottime_us() + 1, &res), -ERR_UNAVAILABLE);
        assert_int_equal(res.doubt, STORE_UNKNOWN);
        etcd_fake_plan(f, NULL, 0);
        _cleanup_store_txn_ struct store_txn t = {0};
        store_put_text(&t, STORE_PREFIX "next", "x");
        assert_int_equal(store_commit(s, &t, contract_deadline(), &res, NULL), 0);
        assert_int_equal(res.doubt, applied ? STORE_HAPPENED : STORE_NEVER);
        assert_int_equal(exists(s, K), applied);
    }
}

static void a_second_process_of_one_writer_id_makes_the_outcome_unknowable(void **state)
{
    _cleanup_(etcd_fake_freep) struct etcd_fake *f = etcd_fake_new();
    _cleanup_(store_freep) struct store *s = open_fake(f, "w");
    _cleanup_(store_freep) struct store *twin = open_fake(f, "w");
    struct store_result res = {0};
    enum store_outcome outcome = STORE_NONE;
    enum etcd_fake_fault fates[64] = {ETCD_FAKE_OK, ETCD_FAKE_LOSE_AFTER};
    for (size_t i = 2; i < ELEMENTS(fates); i++) {
        fates[i] = ETCD_FAKE_LOSE_BEFORE;
    }
    etcd_fake_plan(f, fates, ELEMENTS(fates));
    assert_int_equal(put_once(s, clock_boottime_us() + 1, &res), -ERR_TIMEOUT);
    etcd_fake_plan(f, NULL, 0);
    _cleanup_store_txn_ struct store_txn t = {0};
    store_put_text(&t, STORE_PREFIX "twin", "x");
    assert_int_equal(store_commit(twin, &t, contract_deadline(), &res, NULL), 0);
    assert_int_equal(store_settle(s, contract_deadline(), &outcome, NULL), 0);
    assert_int_equal(outcome, STORE_UNKNOWN);
    assert_int_equal(store_commit(s, &t, contract_deadline(), &res, NULL), 0);
    assert_true(res.succeeded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fake_keeps_the_contract),
        cmocka_unit_test(what_a_writer_is_told_stays_true),
        cmocka_unit_test(a_commit_costs_one_request),
        cmocka_unit_test(a_lost_answer_is_found_again),
        cmocka_unit_test(the_next_commit_tells_what_became_of_the_last),
        cmocka_unit_test(a_second_process_of_one_writer_id_makes_the_outcome_unknowable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
