/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/etcd/store_impl.h"
#include "io/clock.h"
#include "io/worker.h"

#define T STORE_PREFIX "test/"

uint64_t contract_deadline(void)
{
    return clock_boottime_us() + 30 * USEC_PER_SEC;
}

static void explain(int r, const struct err *e)
{
    if (r < 0) {
        print_error("%s: %s (%s)\n", err_name(-r), e->msg, e->where ? e->where : "");
    }
}

/* Commits and ends the transaction; fails the test when there is no answer. Return: succeeded */
static bool commit(struct store *s, struct store_txn *t, struct store_result *ret)
{
    struct err e = {0};
    struct store_result own = {0};
    int r = store_commit(s, t, contract_deadline(), &own, &e);
    bool succeeded = own.succeeded;
    explain(r, &e);
    assert_int_equal(r, 0);
    assert_true(own.revision > 0);
    assert_int_equal(own.doubt, STORE_NONE);
    store_txn_done(t);
    if (ret) {
        *ret = own;
    } else {
        store_result_done(&own);
    }
    return succeeded;
}

static void put(struct store *s, const char *key, const char *text)
{
    struct store_txn t = {0};
    store_put_text(&t, key, text);
    assert_true(commit(s, &t, NULL));
}

static struct store_list list(struct store *s, const char *prefix)
{
    struct store_list l = {0};
    struct err e = {0};
    int r = store_range(s, prefix, contract_deadline(), &l, &e);
    explain(r, &e);
    assert_int_equal(r, 0);
    return l;
}

static void a_key_is_created_once(struct store *s)
{
    struct store_txn t = {0};
    struct store_result r = {0};
    store_if_absent(&t, T "once");
    store_put_text(&t, T "once", "first");
    assert_true(commit(s, &t, &r));
    uint64_t revision = r.revision;
    assert_int_equal(r.seen.n, 0);
    store_result_done(&r);
    store_if_absent(&t, T "once");
    store_if_exists(&t, T "nothing");
    store_put_text(&t, T "once", "second");
    assert_false(commit(s, &t, &r));
    assert_int_equal(r.seen.n, 1);
    assert_string_equal(r.seen.kvs[0].key, T "once");
    assert_string_equal(r.seen.kvs[0].value, "first");
    assert_int_equal(r.seen.kvs[0].mod_revision, revision);
    assert_int_equal(r.seen.kvs[0].create_revision, revision);
    assert_int_equal(r.seen.kvs[0].version, 1);
    store_result_done(&r);
}

static void a_stale_writer_changes_nothing(struct store *s)
{
    struct store_txn t = {0};
    put(s, T "cas", "1");
    struct store_list before = list(s, T "cas");
    put(s, T "cas", "2");
    store_if_mod(&t, T "cas", before.kvs[0].mod_revision);
    store_put_text(&t, T "cas", "stale");
    store_put_text(&t, T "cas-other", "stale");
    assert_false(commit(s, &t, NULL));
    struct store_list after = list(s, T "cas");
    assert_int_equal(after.n, 1);
    assert_string_equal(after.kvs[0].value, "2");
    assert_int_equal(after.kvs[0].version, 2);
    assert_true(after.kvs[0].mod_revision > before.kvs[0].mod_revision);
    assert_true(after.revision >= after.kvs[0].mod_revision);
    store_list_done(&before);
    store_list_done(&after);
}

static bool compare_holds(struct store *s, struct store_txn t)
{
    store_put_text(&t, T "sink", "x");
    return commit(s, &t, NULL);
}

static bool number_holds(struct store *s, const char *key, enum store_target target,
                         enum store_relation relation, uint64_t n)
{
    struct store_txn t = {0};
    store_if(&t, key, target, relation, n);
    return compare_holds(s, t);
}

static bool value_holds(struct store *s, const char *key, enum store_relation relation,
                        const char *value, size_t len)
{
    struct store_txn t = {0};
    store_if_value(&t, key, relation, value, len);
    return compare_holds(s, t);
}

static void compares_mean_what_they_say(struct store *s)
{
    put(s, T "cmp", "b");
    put(s, T "cmp", "m");
    assert_true(number_holds(s, T "cmp", STORE_VERSION, STORE_EQUAL, 2));
    assert_true(number_holds(s, T "cmp", STORE_VERSION, STORE_GREATER, 1));
    assert_true(number_holds(s, T "cmp", STORE_VERSION, STORE_LESS, 3));
    assert_true(number_holds(s, T "cmp", STORE_VERSION, STORE_NOT_EQUAL, 1));
    assert_false(number_holds(s, T "cmp", STORE_VERSION, STORE_NOT_EQUAL, 2));
    assert_false(number_holds(s, T "cmp", STORE_VERSION, STORE_GREATER, 2));
    assert_true(number_holds(s, T "cmp", STORE_CREATE, STORE_GREATER, 0));
    assert_true(number_holds(s, T "absent", STORE_CREATE, STORE_EQUAL, 0));
    assert_true(number_holds(s, T "absent", STORE_MOD, STORE_EQUAL, 0));
    assert_true(number_holds(s, T "absent", STORE_VERSION, STORE_EQUAL, 0));
    assert_true(value_holds(s, T "cmp", STORE_EQUAL, "m", 1));
    assert_false(value_holds(s, T "cmp", STORE_EQUAL, "mm", 2));
    assert_true(value_holds(s, T "cmp", STORE_GREATER, "b", 1));
    assert_true(value_holds(s, T "cmp", STORE_LESS, "ma", 2));
    assert_true(value_holds(s, T "cmp", STORE_NOT_EQUAL, "", 0));
    assert_false(value_holds(s, T "absent", STORE_EQUAL, "", 0));
    assert_false(value_holds(s, T "absent", STORE_NOT_EQUAL, "x", 1));
}

static void any_bytes_come_back(struct store *s)
{
    static const char bytes[] = "\0\xff\"{\\\n\x80 z";
    struct store_txn t = {0};
    store_put(&t, T "bytes/a", bytes, sizeof(bytes));
    store_put(&t, T "bytes/empty", "", 0);
    store_put_text(&t, T "bytes/\xc3\xa9\"\\", "key");
    assert_true(commit(s, &t, NULL));
    struct store_list l = list(s, T "bytes/");
    assert_int_equal(l.n, 3);
    assert_int_equal(l.kvs[0].value_len, sizeof(bytes));
    assert_memory_equal(l.kvs[0].value, bytes, sizeof(bytes));
    assert_int_equal(l.kvs[1].value_len, 0);
    assert_string_equal(l.kvs[1].value, "");
    assert_string_equal(l.kvs[2].key, T "bytes/\xc3\xa9\"\\");
    store_list_done(&l);
}

static void deleted_keys_are_gone(struct store *s)
{
    struct store_txn t = {0};
    put(s, T "gone", "x");
    store_if_exists(&t, T "gone");
    store_delete(&t, T "gone");
    store_delete(&t, T "was-never-there");
    assert_true(commit(s, &t, NULL));
    struct store_list l = list(s, T "gone");
    assert_int_equal(l.n, 0);
    assert_true(l.revision > 0);
    store_list_done(&l);
    store_if_exists(&t, T "gone");
    store_put_text(&t, T "gone", "y");
    assert_false(commit(s, &t, NULL));
}

static void a_long_list_comes_in_one_piece(struct store *s)
{
    for (int batch = 0; batch < 6; batch++) {
        struct store_txn t = {0};
        for (int i = 0; i < 100; i++) {
            char key[64];
            (void)snprintf(key, sizeof(key), T "many/%03d", batch * 100 + i);
            store_put_text(&t, key, key);
        }
        assert_true(commit(s, &t, NULL));
    }
    put(s, T "many", "not below it");
    put(s, T "many0", "behind it");
    struct store_list l = list(s, T "many/");
    assert_int_equal(l.n, 600);
    for (int i = 0; i < 600; i++) {
        char key[64];
        (void)snprintf(key, sizeof(key), T "many/%03d", i);
        assert_string_equal(l.kvs[i].key, key);
        assert_string_equal(l.kvs[i].value, key);
    }
    assert_non_null(store_list_find(&l, T "many/077"));
    assert_null(store_list_find(&l, T "many/600"));
    store_list_done(&l);
}

static void large_values_come_back(struct store *s)
{
    size_t len = 900 * KIB;
    _cleanup_free_ char *large = xcalloc(len, 1);
    memset(large, 'x', len);
    for (int i = 0; i < 6; i++) {
        struct store_txn t = {0};
        _cleanup_free_ char *key = str_printf(T "large/%d", i);
        store_put(&t, key, large, len);
        assert_true(commit(s, &t, NULL));
    }
    struct store_list l = list(s, T "large/");
    assert_int_equal(l.n, 6);
    for (size_t i = 0; i < l.n; i++) {
        assert_int_equal(l.kvs[i].value_len, len);
        assert_memory_equal(l.kvs[i].value, large, len);
    }
    store_list_done(&l);
}

static int try_commit(struct store *s, struct store_txn *t)
{
    struct store_result r = {0};
    int code = store_commit(s, t, contract_deadline(), &r, NULL);
    store_result_done(&r);
    store_txn_done(t);
    return code;
}

static void what_cannot_be_sent_is_refused(struct store *s)
{
    struct store_txn t = {0};
    store_put_text(&t, T "twice", "1");
    store_delete(&t, T "twice");
    assert_int_equal(try_commit(s, &t), -ERR_INVALID);
    store_put_text(&t, STORE_WRITER_PREFIX "somebody", "1");
    assert_int_equal(try_commit(s, &t), -ERR_INVALID);
    for (int i = 0; i <= STORE_OPS_MAX; i++) {
        _cleanup_free_ char *key = str_printf(T "ops/%d", i);
        store_put_text(&t, key, "");
    }
    assert_int_equal(try_commit(s, &t), -ERR_LIMIT);
    _cleanup_free_ char *large = xcalloc(STORE_TXN_LIMIT_BYTES, 1);
    store_put(&t, T "huge", large, STORE_TXN_LIMIT_BYTES);
    assert_int_equal(try_commit(s, &t), -ERR_LIMIT);
    for (int i = 0; i < STORE_OPS_MAX; i++) {
        _cleanup_free_ char *key = str_printf(T "ops/%d", i);
        store_if_absent(&t, key);
        store_put_text(&t, key, "");
    }
    assert_int_equal(try_commit(s, &t), 0);
}

static unsigned increment(struct store *s)
{
    struct store_txn t = {0};
    struct store_list l = list(s, T "counter");
    unsigned n = l.n ? (unsigned)strtoul(l.kvs[0].value, NULL, 10) : 0;
    _cleanup_free_ char *text = str_printf("%u", n + 1);
    store_if_mod(&t, T "counter", l.n ? l.kvs[0].mod_revision : 0);
    store_put_text(&t, T "counter", text);
    bool done = commit(s, &t, NULL);
    store_list_done(&l);
    return done;
}

/* The handles of one writer id take the writer key from each other with every commit. */
static void handles_do_not_disturb_each_other(const struct contract *c, const char *writer_b)
{
    _cleanup_(store_freep) struct store *a = c->open(c->ctx, "handle-a");
    _cleanup_(store_freep) struct store *b = c->open(c->ctx, writer_b);
    struct store_txn t = {0};
    store_delete(&t, T "counter");
    assert_true(commit(a, &t, NULL));
    unsigned sum = 0;
    for (int i = 0; i < 20; i++) {
        sum += increment(a);
        sum += increment(b);
    }
    assert_int_equal(sum, 40);
    struct store_list l = list(a, T "counter");
    assert_string_equal(l.kvs[0].value, "40");
    store_list_done(&l);
}

/* ---- watch ---- */

struct witness {
    struct store_watch *w;
    struct sbuf said; /* "revision-bumps|key=value,key=value|key-|…" */
    uint64_t revision;
};

static void on_batch(void *arg, const struct store_batch *b)
{
    struct witness *x = arg;
    for (size_t i = 0; i < b->n; i++) {
        const struct store_event *v = &b->events[i];
        assert_true(v->kv.mod_revision > x->revision);
        assert_true(v->kv.mod_revision <= b->revision);
        sbuf_printf(&x->said, "%s%s%s%s", i ? "," : "", v->kv.key + strlen(T "w/"),
                    v->deleted ? "-" : "=", v->deleted ? "" : v->kv.value);
    }
    sbuf_printf(&x->said, "|");
    x->revision = b->events[b->n - 1].kv.mod_revision;
    if (strstr(x->said.data, "live=now|")) { /* nothing comes after it */
        store_watch_stop(x->w);
    }
}

static uint64_t in_ms(unsigned ms)
{
    return clock_boottime_us() + ms * USEC_PER_MSEC;
}

struct writer_job {
    struct store *s;
    struct witness *x;
};

static void write_while_watched(void *arg)
{
    struct writer_job *j = arg;
    put(j->s, T "w/live", "now");
}

static void a_watch_delivers_what_changes(const struct contract *c, struct store *s)
{
    struct err e = {0};
    struct witness x = {0};
    struct store_txn t = {0};
    _cleanup_(store_freep) struct store *other = c->open(c->ctx, "watch-writer");
    struct store_list l = list(s, T "w/");
    store_put_text(&t, T "w/a", "1");
    store_put_text(&t, T "w/b", "2");
    assert_true(commit(s, &t, NULL));
    put(s, T "outside", "x");
    put(s, T "w/a", "3");
    store_delete(&t, T "w/b");
    assert_true(commit(s, &t, NULL));
    x.w = store_watch_new(s, T "w/");
    struct lane *lane = lane_new("writer", 1, 1);
    struct writer_job job = {.s = other, .x = &x};
    assert_int_equal(lane_run(lane, write_while_watched, &job, &e), 0);
    /* How etcd cuts history into batches is its affair, but a transaction is never cut. */
    int r = store_watch_run(x.w, l.revision + 1, in_ms(30000), on_batch, &x, &e);
    lane_free(lane);
    explain(r == -ERR_CANCELLED ? 0 : r, &e);
    assert_true(r == 0 || r == -ERR_CANCELLED);
    for (char *p = x.said.data; (p = strchr(p, '|')); p++) {
        *p = ',';
    }
    assert_string_equal(x.said.data, "a=1,b=2,a=3,b-,live=now,");
    sbuf_done(&x.said);
    store_watch_free(x.w);
    store_list_done(&l);
}

static void a_quiet_watch_ends_at_its_deadline(struct store *s)
{
    struct err e = {0};
    struct witness x = {0};
    x.w = store_watch_new(s, T "quiet/");
    uint64_t start = clock_boottime_us();
    int r = store_watch_run(x.w, 2, in_ms(300), on_batch, &x, &e);
    explain(r, &e);
    assert_int_equal(r, 0);
    assert_true(clock_boottime_us() - start >= 290 * USEC_PER_MSEC);
    store_watch_free(x.w);
}

static void stop_soon(void *arg)
{
    struct store_list l = list(arg, T "quiet/"); /* a round trip, so that the watch stands */
    store_list_done(&l);
}

struct stopper {
    struct store *s;
    struct store_watch *w;
    uint64_t at_us;
};

static void stop_watch(void *arg)
{
    struct stopper *x = arg;
    stop_soon(x->s);
    x->at_us = clock_boottime_us();
    store_watch_stop(x->w);
}

static void a_watch_is_stopped_at_once(struct store *s)
{
    struct err e = {0};
    struct witness x = {0};
    struct stopper stopper = {.s = s, .w = store_watch_new(s, T "quiet/")};
    struct lane *lane = lane_new("stopper", 1, 1);
    assert_int_equal(lane_run(lane, stop_watch, &stopper, &e), 0);
    assert_int_equal(store_watch_run(stopper.w, 2, contract_deadline(), on_batch, &x, &e),
                     -ERR_CANCELLED);
    assert_true(clock_boottime_us() - stopper.at_us < 20 * USEC_PER_SEC);
    assert_int_equal(store_watch_run(stopper.w, 2, contract_deadline(), on_batch, &x, NULL),
                     -ERR_CANCELLED);
    lane_free(lane);
    store_watch_free(stopper.w);
}

static void a_compacted_watch_says_so(struct store *s)
{
    struct err e = {0};
    struct witness x = {0};
    put(s, T "w/old", "1");
    put(s, T "w/old", "2");
    struct store_list l = list(s, T "w/old");
    assert_int_equal(store_compact(s, l.revision, contract_deadline(), &e), 0);
    assert_int_equal(store_compact(s, l.revision, contract_deadline(), &e), 0);
    assert_int_equal(store_compact(s, l.revision + 1000, contract_deadline(), NULL), -ERR_INVALID);
    x.w = store_watch_new(s, T "w/");
    int r = store_watch_run(x.w, 2, contract_deadline(), on_batch, &x, &e);
    assert_int_equal(r, -ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, "compacted"));
    store_watch_free(x.w);
    store_list_done(&l);
    sbuf_done(&x.said);
}

/* ---- members, status ---- */

static void members_come_and_go(struct store *s)
{
    struct err e = {0};
    struct store_members m = {0};
    struct store_member_change add = {.verb = STORE_MEMBER_ADD_LEARNER,
                                      .peer_url = "http://127.0.0.1:1"};
    assert_int_equal(store_members(s, NULL, contract_deadline(), &m, &e), 0);
    assert_int_equal(m.n, 1);
    assert_true(m.v[0].id != 0 && m.v[0].name[0] && m.v[0].peer_url[0] && m.v[0].client_url[0]);
    assert_false(m.v[0].learner);
    store_members_done(&m);
    int r = store_members(s, &add, contract_deadline(), &m, &e);
    explain(r, &e);
    assert_int_equal(r, 0);
    assert_int_equal(m.n, 2);
    size_t at = m.v[0].learner ? 0 : 1;
    assert_true(m.v[at].learner);
    assert_string_equal(m.v[at].peer_url, add.peer_url);
    assert_string_equal(m.v[at].name, "");
    assert_string_equal(m.v[at].client_url, "");
    struct store_member_change remove = {.verb = STORE_MEMBER_REMOVE, .id = m.v[at].id};
    store_members_done(&m);
    assert_int_equal(store_members(s, &remove, contract_deadline(), &m, &e), 0);
    assert_int_equal(m.n, 1);
    store_members_done(&m);
    assert_int_equal(store_members(s, &remove, contract_deadline(), &m, NULL), -ERR_NOT_FOUND);
}

static void status_is_told(struct store *s)
{
    struct err e = {0};
    struct store_status st = {0};
    assert_int_equal(store_status(s, NULL, contract_deadline(), &st, &e), 0);
    assert_true(st.revision > 0 && st.member_id && st.leader_id == st.member_id);
    assert_true(st.version[0] && !st.learner && !st.has_errors);
}

void contract_run(const struct contract *c)
{
    _cleanup_(store_freep) struct store *s = c->open(c->ctx, "contract");
    a_key_is_created_once(s);
    a_stale_writer_changes_nothing(s);
    compares_mean_what_they_say(s);
    any_bytes_come_back(s);
    deleted_keys_are_gone(s);
    a_long_list_comes_in_one_piece(s);
    large_values_come_back(s);
    what_cannot_be_sent_is_refused(s);
    handles_do_not_disturb_each_other(c, "handle-b");
    handles_do_not_disturb_each_other(c, "handle-a");
    a_watch_delivers_what_changes(c, s);
    a_quiet_watch_ends_at_its_deadline(s);
    a_watch_is_stopped_at_once(s);
    a_compacted_watch_says_so(s);
    members_come_and_go(s);
    status_is_told(s);
}
