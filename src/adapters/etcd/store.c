/* SPDX-License-Identifier: Apache-2.0
 * The common half of the store: lists, transactions, and the slot protocol of store.h. */
#include "adapters/etcd/store.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "adapters/etcd/store_impl.h"
#include "io/clock.h"

#define VOID_TRIES_MAX 64  /* lost answers in a row; usually the deadline comes first */
#define CLAIM_TRIES_MAX 16 /* foreign users of our writer key in a row */
#define COMMIT_TRIES_MAX 4 /* repetitions of a commit that surely did not happen */

struct store {
    pthread_mutex_t lock; /* guards all below; held during I/O, so that calls exclude one another */
    struct store_impl ops;
    void *impl;
    char *writer_key;
    char *id_prefix; /* what all request ids of this handle start with */
    uint64_t id_last;
    uint64_t slot; /* the modification revision that the writer key is believed to have */
    bool slot_is_ours; /* the last user of the writer key was this handle */
    char *doubt_id;    /* request id of the commit in doubt, else NULL */
};

struct store_watch {
    void (*run_free)(void *);
    int (*run)(void *, uint64_t, uint64_t, store_batch_fn, void *, struct err *);
    void (*stop)(void *);
    void *impl;
};

/* ---- values ---- */

char *store_bytes_dup(const void *data, size_t len)
{
    char *copy = xcalloc(len + 1, 1);
    if (len) {
        memcpy(copy, data, len);
    }
    return copy;
}

void store_kv_done(struct store_kv *kv)
{
    free(kv->key);
    free(kv->value);
    *kv = (struct store_kv){0};
}

void store_list_done(struct store_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        store_kv_done(&l->kvs[i]);
    }
    free(l->kvs);
    *l = (struct store_list){0};
}

/* Room for one more element behind @n; grows by powers of two. */
static void *grown(void *v, size_t n, size_t size)
{
    if (n && (n & (n - 1))) {
        return v;
    }
    v = reallocarray(v, n ? n * 2 : 1, size);
    if (!v) {
        abort();
    }
    return v;
}

void store_list_add(struct store_list *l, struct store_kv kv)
{
    l->kvs = grown(l->kvs, l->n, sizeof(*l->kvs));
    l->kvs[l->n++] = kv;
}

static int kv_order(const void *a, const void *b)
{
    return strcmp(((const struct store_kv *)a)->key, ((const struct store_kv *)b)->key);
}

void store_list_sort(struct store_list *l)
{
    if (l->n) {
        qsort(l->kvs, l->n, sizeof(*l->kvs), kv_order);
    }
}

const struct store_kv *store_list_find(const struct store_list *l, const char *key)
{
    const struct store_kv wanted = {.key = (char *)key};
    return l->n ? bsearch(&wanted, l->kvs, l->n, sizeof(*l->kvs), kv_order) : NULL;
}

void store_members_add(struct store_members *m, struct store_member member)
{
    m->v = grown(m->v, m->n, sizeof(*m->v));
    m->v[m->n++] = member;
}

void store_members_done(struct store_members *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->v[i].name);
        free(m->v[i].peer_url);
        free(m->v[i].client_url);
    }
    free(m->v);
    *m = (struct store_members){0};
}

void store_result_done(struct store_result *r)
{
    store_list_done(&r->seen);
    *r = (struct store_result){0};
}

/* ---- transactions ---- */

void store_txn_done(struct store_txn *t)
{
    for (size_t i = 0; i < t->compares_n; i++) {
        free(t->compares[i].key);
        free(t->compares[i].value);
    }
    for (size_t i = 0; i < t->ops_n; i++) {
        free(t->ops[i].key);
        free(t->ops[i].value);
    }
    free(t->compares);
    free(t->ops);
    *t = (struct store_txn){0};
}

static void add_compare(struct store_txn *t, struct store_compare c)
{
    t->compares = grown(t->compares, t->compares_n, sizeof(*t->compares));
    t->compares[t->compares_n++] = c;
}

static void add_op(struct store_txn *t, struct store_op op)
{
    t->ops = grown(t->ops, t->ops_n, sizeof(*t->ops));
    t->ops[t->ops_n++] = op;
}

void store_if(struct store_txn *t, const char *key, enum store_target target,
              enum store_relation relation, uint64_t number)
{
    assert(target != STORE_VALUE);
    add_compare(t, (struct store_compare){.key = str_dup(key),
                                          .target = target,
                                          .relation = relation,
                                          .number = number});
}

void store_if_mod(struct store_txn *t, const char *key, uint64_t mod_revision)
{
    store_if(t, key, STORE_MOD, STORE_EQUAL, mod_revision);
}

void store_if_absent(struct store_txn *t, const char *key)
{
    store_if(t, key, STORE_CREATE, STORE_EQUAL, 0);
}

void store_if_exists(struct store_txn *t, const char *key)
{
    store_if(t, key, STORE_CREATE, STORE_GREATER, 0);
}

void store_if_value(struct store_txn *t, const char *key, enum store_relation relation,
                    const void *value, size_t len)
{
    add_compare(t, (struct store_compare){.key = str_dup(key),
                                          .target = STORE_VALUE,
                                          .relation = relation,
                                          .value = store_bytes_dup(value, len),
                                          .value_len = len});
}

void store_put(struct store_txn *t, const char *key, const void *value, size_t len)
{
    add_op(t, (struct store_op){
                  .key = str_dup(key), .value = store_bytes_dup(value, len), .value_len = len});
}

void store_put_text(struct store_txn *t, const char *key, const char *text)
{
    store_put(t, key, text, strlen(text));
}

void store_delete(struct store_txn *t, const char *key)
{
    add_op(t, (struct store_op){.is_delete = true, .key = str_dup(key)});
}

static int check_keys(const struct store_txn *t, struct err *e)
{
    for (size_t i = 0; i < t->compares_n; i++) {
        if (!t->compares[i].key[0] || t->compares[i].number > INT64_MAX) {
            return ERR_SET(e, INVALID, "compare %zu has no key or too large a number", i);
        }
    }
    for (size_t i = 0; i < t->ops_n; i++) {
        const char *key = t->ops[i].key;
        if (!key[0] || str_starts(key, STORE_WRITER_PREFIX)) {
            return ERR_SET(e, INVALID, "operation %zu may not write the key '%s'", i, key);
        }
        for (size_t k = 0; k < i; k++) {
            if (str_eq(key, t->ops[k].key)) {
                return ERR_SET(e, INVALID, "the key '%s' is written twice", key);
            }
        }
    }
    return 0;
}

/* What etcd would refuse is refused here, so that its answers are never a surprise. */
static int check_txn(const struct store_txn *t, struct err *e)
{
    size_t bytes = 0;
    assert(t->ops_n > 0); /* a read-only transaction does not pass through Raft */
    if (t->compares_n > STORE_OPS_MAX || t->ops_n > STORE_OPS_MAX) {
        return ERR_SET(e, LIMIT, "a transaction of %zu compares and %zu operations is too large",
                       t->compares_n, t->ops_n);
    }
    for (size_t i = 0; i < t->compares_n; i++) {
        bytes += 2 * strlen(t->compares[i].key) + t->compares[i].value_len; /* compare and look */
    }
    for (size_t i = 0; i < t->ops_n; i++) {
        bytes += strlen(t->ops[i].key) + t->ops[i].value_len;
    }
    if (bytes > STORE_TXN_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "a transaction of %zu bytes is too large", bytes);
    }
    return check_keys(t, e);
}

/* ---- the slot protocol ---- */

/* Who used the slot that we wanted to use? */
enum slot_user {
    SLOT_US_NOW,  /* this very transaction */
    SLOT_DOUBT,   /* the commit in doubt */
    SLOT_OUR_VOID, /* an earlier void of ours whose answer was lost */
    SLOT_FOREIGN, /* another process, or an earlier one of this id, or nobody: the key is gone */
};

/* A fresh value for the writer key. */
static char *next_id(struct store *s)
{
    return str_printf("%s%llu\"}", s->id_prefix, (unsigned long long)++s->id_last);
}

static enum slot_user user_of(const struct store *s, const struct store_kv *writer)
{
    if (!writer || !str_starts(writer->value, s->id_prefix)) {
        return SLOT_FOREIGN;
    }
    return s->doubt_id && str_eq(writer->value, s->doubt_id) ? SLOT_DOUBT : SLOT_OUR_VOID;
}

/* Sends @t for the current slot under the id @id. Returns of store_impl.txn. */
static int send_for_slot(struct store *s, const struct store_txn *t, const char *id,
                         uint64_t deadline_us, struct store_raw_result *ret, struct err *e)
{
    _cleanup_free_ struct store_compare *compares = xcalloc(t->compares_n + 1, sizeof(*compares));
    _cleanup_free_ struct store_op *ops = xcalloc(t->ops_n + 1, sizeof(*ops));
    _cleanup_free_ const char **looks = xcalloc(t->compares_n + 1, sizeof(*looks));
    size_t looks_n = 1;
    compares[0] = (struct store_compare){.key = s->writer_key,
                                         .target = STORE_MOD,
                                         .relation = STORE_EQUAL,
                                         .number = s->slot};
    ops[0] = (struct store_op){
        .key = s->writer_key, .value = (char *)id, .value_len = strlen(id)};
    looks[0] = s->writer_key;
    for (size_t i = 0; i < t->compares_n; i++) {
        bool is_new = true;
        compares[i + 1] = t->compares[i];
        for (size_t k = 0; k < looks_n && is_new; k++) {
            is_new = !str_eq(looks[k], t->compares[i].key);
        }
        if (is_new) {
            looks[looks_n++] = t->compares[i].key;
        }
    }
    for (size_t i = 0; i < t->ops_n; i++) {
        ops[i + 1] = t->ops[i];
    }
    const struct store_raw_txn raw = {.compares = compares,
                                      .compares_n = t->compares_n + 1,
                                      .ops = ops,
                                      .ops_n = t->ops_n + 1,
                                      .looks = looks,
                                      .looks_n = looks_n};
    int r = s->ops.txn(s->impl, &raw, deadline_us, ret, e);
    store_list_sort(&ret->seen);
    return r;
}

/*
 * Uses the current slot for nothing, or learns who used it. Either way s->slot is current after.
 * Return: 0, or -ERR_UNAVAILABLE when there was no answer until the deadline
 */
static int void_slot(struct store *s, uint64_t deadline_us, enum slot_user *ret, struct err *e)
{
    const struct store_txn nothing = {0};
    struct err last = {0};
    int r = -ERR_TIMEOUT;
    for (int i = 0; r == -ERR_TIMEOUT && i < VOID_TRIES_MAX; i++) {
        _cleanup_free_ char *id = next_id(s);
        _cleanup_(store_list_done) struct store_list seen = {0};
        struct store_raw_result res = {0};
        last = (struct err){0};
        r = send_for_slot(s, &nothing, id, deadline_us, &res, &last);
        seen = res.seen;
        if (r == 0 && res.succeeded) {
            s->slot = res.revision;
            *ret = SLOT_US_NOW;
        } else if (r == 0) {
            const struct store_kv *writer = store_list_find(&seen, s->writer_key);
            s->slot = writer ? writer->mod_revision : 0;
            *ret = user_of(s, writer);
        }
        if (clock_boottime_us() >= deadline_us) {
            break;
        }
    }
    return r == 0 ? 0 : ERR_SET(e, UNAVAILABLE, "%s", last.msg);
}

/* Makes this handle the last user of its writer key. Return: 0 or -ERR_UNAVAILABLE */
static int claim_slot(struct store *s, uint64_t deadline_us, struct err *e)
{
    assert(!s->doubt_id);
    for (int i = 0; !s->slot_is_ours; i++) {
        enum slot_user user = SLOT_FOREIGN;
        int r = i < CLAIM_TRIES_MAX
                    ? void_slot(s, deadline_us, &user, e)
                    : ERR_SET(e, UNAVAILABLE, "another process writes '%s'", s->writer_key);
        if (r < 0) {
            return r;
        }
        s->slot_is_ours = user != SLOT_FOREIGN;
    }
    return 0;
}

static int settle(struct store *s, uint64_t deadline_us, enum store_outcome *ret, struct err *e)
{
    enum slot_user user = SLOT_FOREIGN;
    struct err why = {0};
    if (!s->doubt_id) {
        *ret = STORE_NONE;
        return 0;
    }
    assert(s->slot_is_ours); /* else the slot could have had two users since */
    if (void_slot(s, deadline_us, &user, &why) < 0) {
        return ERR_SET(e, TIMEOUT, "it is not known whether the last commit happened: %s", why.msg);
    }
    *ret = user == SLOT_DOUBT     ? STORE_HAPPENED
           : user == SLOT_FOREIGN ? STORE_UNKNOWN
                                  : STORE_NEVER;
    s->slot_is_ours = user != SLOT_FOREIGN;
    free(TAKE(s->doubt_id));
    return 0;
}

/* Hands what was seen to the caller, without our own key. */
static void give_seen(const struct store *s, struct store_list *from, struct store_list *to)
{
    for (size_t i = 0; i < from->n; i++) {
        if (str_eq(from->kvs[i].key, s->writer_key)) {
            store_kv_done(&from->kvs[i]);
        } else {
            store_list_add(to, from->kvs[i]);
        }
    }
    free(from->kvs);
    *from = (struct store_list){0};
}

/* Return: 0 with an answer in @ret, -ERR_CONFLICT when the slot was not ours: claim and repeat */
static int take_answer(struct store *s, struct store_raw_result *res, struct store_result *ret,
                       struct err *e)
{
    if (res->succeeded) {
        s->slot = res->revision;
        ret->succeeded = true;
        ret->revision = res->revision;
        return 0;
    }
    const struct store_kv *writer = store_list_find(&res->seen, s->writer_key);
    if ((writer ? writer->mod_revision : 0) != s->slot) {
        s->slot = writer ? writer->mod_revision : 0;
        s->slot_is_ours = false;
        return ERR_SET(e, CONFLICT, "another process writes '%s'", s->writer_key);
    }
    ret->succeeded = false;
    ret->revision = res->revision;
    give_seen(s, &res->seen, &ret->seen);
    ret->seen.revision = res->revision;
    return 0;
}

/* Return: as store_commit(), or -ERR_CONFLICT when it surely did not happen and may be repeated */
static int commit_once(struct store *s, const struct store_txn *t, uint64_t deadline_us,
                       struct store_result *ret, struct err *e)
{
    _cleanup_free_ char *id = next_id(s);
    struct store_raw_result res = {0};
    struct err why = {0};
    enum store_outcome outcome = STORE_UNKNOWN;
    int r = send_for_slot(s, t, id, deadline_us, &res, &why);
    if (r == 0) {
        r = take_answer(s, &res, ret, e);
        store_list_done(&res.seen);
        return r;
    }
    store_list_done(&res.seen);
    if (r != -ERR_TIMEOUT) {
        return err_copy(e, &why);
    }
    s->doubt_id = TAKE(id);
    r = settle(s, deadline_us, &outcome, e);
    if (r < 0) {
        return r;
    }
    if (outcome == STORE_HAPPENED) {
        ret->succeeded = true;
        ret->revision = s->slot;
        return 0;
    }
    return outcome == STORE_NEVER
               ? ERR_SET(e, CONFLICT, "%s", why.msg)
               : ERR_SET(e, TIMEOUT, "another process writes '%s': nobody can know whether the "
                         "commit happened", s->writer_key);
}

static int commit(struct store *s, const struct store_txn *t, uint64_t deadline_us,
                  struct store_result *ret, struct err *e)
{
    struct err why = {0};
    int r = settle(s, deadline_us, &ret->doubt, &why);
    if (r < 0) {
        ret->doubt = STORE_UNKNOWN;
        return ERR_SET(e, UNAVAILABLE, "%s", why.msg); /* @t itself was not sent */
    }
    r = -ERR_CONFLICT;
    for (int i = 0; r == -ERR_CONFLICT && i < COMMIT_TRIES_MAX; i++) {
        why = (struct err){0};
        r = claim_slot(s, deadline_us, &why);
        if (r == 0) {
            r = commit_once(s, t, deadline_us, ret, &why);
        }
        if (clock_boottime_us() >= deadline_us) {
            break;
        }
    }
    if (r == -ERR_CONFLICT) {
        return ERR_SET(e, UNAVAILABLE, "%s", why.msg);
    }
    return r < 0 ? err_copy(e, &why) : 0;
}

/* ---- the functions ---- */

struct store *store_new(const struct store_impl *ops, void *impl, const char *writer,
                        const char *instance)
{
    assert(str_is_name(writer) && instance[0]);
    assert(strpbrk(instance, "\"\\") == NULL);
    struct store *s = xcalloc(1, sizeof(*s));
    (void)pthread_mutex_init(&s->lock, NULL);
    s->ops = *ops;
    s->impl = impl;
    s->writer_key = str_printf("%s%s", STORE_WRITER_PREFIX, writer);
    s->id_prefix = str_printf("{\"request\":\"%s-", instance);
    return s;
}

void store_free(struct store *s)
{
    if (!s) {
        return;
    }
    s->ops.free(s->impl);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->writer_key);
    free(s->id_prefix);
    free(s->doubt_id);
    free(s);
}

/* Makes one call of another with the lock held. */
#define LOCKED(s, call)                             \
    ({                                              \
        (void)pthread_mutex_lock(&(s)->lock);       \
        int _locked_r = (call);                     \
        (void)pthread_mutex_unlock(&(s)->lock);     \
        _locked_r;                                  \
    })

int store_range(struct store *s, const char *prefix, uint64_t deadline_us, struct store_list *ret,
                struct err *e)
{
    assert(prefix[0]);
    struct store_list list = {0};
    int r = LOCKED(s, s->ops.range(s->impl, prefix, deadline_us, &list, e));
    if (r < 0) {
        store_list_done(&list);
        return r;
    }
    store_list_sort(&list);
    *ret = list;
    return 0;
}

int store_commit(struct store *s, const struct store_txn *t, uint64_t deadline_us,
                 struct store_result *ret, struct err *e)
{
    int r = check_txn(t, e);
    ret->doubt = STORE_NONE;
    return r < 0 ? r : LOCKED(s, commit(s, t, deadline_us, ret, e));
}

int store_settle(struct store *s, uint64_t deadline_us, enum store_outcome *ret, struct err *e)
{
    return LOCKED(s, settle(s, deadline_us, ret, e));
}

int store_compact(struct store *s, uint64_t revision, uint64_t deadline_us, struct err *e)
{
    assert(revision > 0 && revision <= INT64_MAX);
    return LOCKED(s, s->ops.compact(s->impl, revision, deadline_us, e));
}

int store_members(struct store *s, const struct store_member_change *change, uint64_t deadline_us,
                  struct store_members *ret, struct err *e)
{
    return LOCKED(s, s->ops.members(s->impl, change, deadline_us, ret, e));
}

int store_status(struct store *s, const char *endpoint, uint64_t deadline_us,
                 struct store_status *ret, struct err *e)
{
    return LOCKED(s, s->ops.status(s->impl, endpoint, deadline_us, ret, e));
}

int store_set_endpoints(struct store *s, const struct strv *urls, struct err *e)
{
    return LOCKED(s, s->ops.set_endpoints(s->impl, urls, e));
}

struct store_watch *store_watch_new(struct store *s, const char *prefix)
{
    struct store_watch *w = xcalloc(1, sizeof(*w));
    assert(prefix[0]);
    w->run_free = s->ops.watch_free;
    w->run = s->ops.watch_run;
    w->stop = s->ops.watch_stop;
    (void)pthread_mutex_lock(&s->lock);
    w->impl = s->ops.watch_new(s->impl, prefix);
    (void)pthread_mutex_unlock(&s->lock);
    return w;
}

void store_watch_free(struct store_watch *w)
{
    if (w) {
        w->run_free(w->impl);
        free(w);
    }
}

int store_watch_run(struct store_watch *w, uint64_t from_revision, uint64_t deadline_us,
                    store_batch_fn fn, void *arg, struct err *e)
{
    assert(from_revision > 0 && from_revision <= INT64_MAX);
    return w->run(w->impl, from_revision, deadline_us, fn, arg, e);
}

void store_watch_stop(struct store_watch *w)
{
    w->stop(w->impl);
}
