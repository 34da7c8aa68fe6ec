/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/etcd/etcd_fake.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "adapters/etcd/store_impl.h"
#include "base/smap.h"
#include "io/clock.h"

#define FAULTS_MAX 64
#define DELAYED_MAX 64
#define HISTORY_MAX 100000

/* A request on its way, with its own copies. */
struct delayed {
    struct store_txn txn;
};

struct change {
    uint64_t revision;
    bool deleted;
    struct store_kv kv;
};

struct etcd_fake {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct smap keys; /* struct store_kv, whose key is the map's */
    uint64_t revision;
    uint64_t compacted;
    struct change *history;
    size_t history_n;
    enum etcd_fake_fault faults[FAULTS_MAX];
    size_t faults_n;
    size_t faults_at;
    struct delayed delayed[DELAYED_MAX];
    size_t delayed_n;
    struct store_members members;
    uint64_t member_id_last;
};

struct fake_watch {
    struct etcd_fake *f;
    char *prefix;
    bool stopped; /* under f->lock */
};

static void free_kv(void *p)
{
    store_kv_done(p);
    free(p);
}

struct etcd_fake *etcd_fake_new(void)
{
    struct etcd_fake *f = xcalloc(1, sizeof(*f));
    pthread_condattr_t attr;
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    f->keys.free_value = free_kv;
    f->revision = 1; /* as etcd */
    f->history = xcalloc(HISTORY_MAX, sizeof(*f->history));
    const struct store_member only = {.id = ++f->member_id_last,
                                      .name = str_dup("fake"),
                                      .peer_url = str_dup("http://fake:2380"),
                                      .client_url = str_dup("http://fake:2379")};
    store_members_add(&f->members, only);
    return f;
}

void etcd_fake_free(struct etcd_fake *f)
{
    if (!f) {
        return;
    }
    smap_done(&f->keys);
    for (size_t i = 0; i < f->history_n; i++) {
        store_kv_done(&f->history[i].kv);
    }
    for (size_t i = 0; i < f->delayed_n; i++) {
        store_txn_done(&f->delayed[i].txn);
    }
    free(f->history);
    store_members_done(&f->members);
    (void)pthread_cond_destroy(&f->changed);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

static struct store_kv kv_copy(const struct store_kv *kv)
{
    struct store_kv copy = *kv;
    copy.key = str_dup(kv->key);
    copy.value = store_bytes_dup(kv->value, kv->value_len);
    return copy;
}

static int sign_of(int64_t n)
{
    return n < 0 ? -1 : n > 0;
}

static bool holds(const struct etcd_fake *f, const struct store_compare *c)
{
    const struct store_kv *kv = smap_get(&f->keys, c->key);
    int order = 0;
    if (c->target == STORE_VALUE) {
        if (!kv) {
            return false;
        }
        size_t n = kv->value_len < c->value_len ? kv->value_len : c->value_len;
        order = sign_of(memcmp(kv->value, c->value, n));
        order = order ? order : sign_of((int64_t)kv->value_len - (int64_t)c->value_len);
    } else {
        uint64_t seen = !kv                             ? 0
                        : c->target == STORE_MOD      ? kv->mod_revision
                        : c->target == STORE_CREATE   ? kv->create_revision
                                                      : kv->version;
        order = sign_of((int64_t)seen - (int64_t)c->number);
    }
    return c->relation == STORE_EQUAL       ? order == 0
           : c->relation == STORE_NOT_EQUAL ? order != 0
           : c->relation == STORE_GREATER   ? order > 0
                                            : order < 0;
}

static void record(struct etcd_fake *f, bool deleted, struct store_kv kv)
{
    assert(f->history_n < HISTORY_MAX);
    f->history[f->history_n++] =
        (struct change){.revision = f->revision, .deleted = deleted, .kv = kv};
}

static void apply_op(struct etcd_fake *f, const struct store_op *op)
{
    struct store_kv *kv = smap_get(&f->keys, op->key);
    if (op->is_delete) {
        if (smap_del(&f->keys, op->key)) {
            record(f, true, (struct store_kv){.key = str_dup(op->key),
                                              .value = str_dup(""),
                                              .mod_revision = f->revision});
        }
        return;
    }
    struct store_kv *next = xcalloc(1, sizeof(*next));
    *next = (struct store_kv){.key = str_dup(op->key),
                              .value = store_bytes_dup(op->value, op->value_len),
                              .value_len = op->value_len,
                              .mod_revision = f->revision,
                              .create_revision = kv ? kv->create_revision : f->revision,
                              .version = kv ? kv->version + 1 : 1};
    smap_put(&f->keys, op->key, next);
    record(f, false, kv_copy(next));
}

/* Deletes of what is not there change nothing and take no revision, as in etcd. */
static bool changes_something(const struct etcd_fake *f, const struct store_raw_txn *t)
{
    for (size_t i = 0; i < t->ops_n; i++) {
        if (!t->ops[i].is_delete || smap_get(&f->keys, t->ops[i].key)) {
            return true;
        }
    }
    return false;
}

static void apply(struct etcd_fake *f, const struct store_raw_txn *t, struct store_raw_result *ret)
{
    ret->succeeded = true;
    for (size_t i = 0; i < t->compares_n && ret->succeeded; i++) {
        ret->succeeded = holds(f, &t->compares[i]);
    }
    if (ret->succeeded) {
        f->revision += changes_something(f, t);
        for (size_t i = 0; i < t->ops_n; i++) {
            apply_op(f, &t->ops[i]);
        }
        (void)pthread_cond_broadcast(&f->changed);
    }
    ret->revision = f->revision;
    for (size_t i = 0; i < t->looks_n && !ret->succeeded; i++) {
        const struct store_kv *kv = smap_get(&f->keys, t->looks[i]);
        if (kv) {
            store_list_add(&ret->seen, kv_copy(kv));
        }
    }
}

static void delay(struct etcd_fake *f, const struct store_raw_txn *t)
{
    assert(f->delayed_n < DELAYED_MAX);
    struct store_txn *copy = &f->delayed[f->delayed_n++].txn;
    for (size_t i = 0; i < t->compares_n; i++) {
        const struct store_compare *c = &t->compares[i];
        if (c->target == STORE_VALUE) {
            store_if_value(copy, c->key, c->relation, c->value, c->value_len);
        } else {
            store_if(copy, c->key, c->target, c->relation, c->number);
        }
    }
    for (size_t i = 0; i < t->ops_n; i++) {
        const struct store_op *op = &t->ops[i];
        if (op->is_delete) {
            store_delete(copy, op->key);
        } else {
            store_put(copy, op->key, op->value, op->value_len);
        }
    }
}

size_t etcd_fake_deliver(struct etcd_fake *f)
{
    size_t changed = 0;
    (void)pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->delayed_n; i++) {
        struct store_txn *t = &f->delayed[i].txn;
        const struct store_raw_txn raw = {.compares = t->compares,
                                          .compares_n = t->compares_n,
                                          .ops = t->ops,
                                          .ops_n = t->ops_n};
        struct store_raw_result ignored = {0};
        apply(f, &raw, &ignored);
        changed += ignored.succeeded;
        store_txn_done(t);
    }
    f->delayed_n = 0;
    (void)pthread_mutex_unlock(&f->lock);
    return changed;
}

void etcd_fake_plan(struct etcd_fake *f, const enum etcd_fake_fault *faults, size_t n)
{
    assert(n <= FAULTS_MAX);
    (void)pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < n; i++) {
        f->faults[i] = faults[i];
    }
    f->faults_n = n;
    f->faults_at = 0;
    (void)pthread_mutex_unlock(&f->lock);
}

static int fake_txn(void *impl, const struct store_raw_txn *t, uint64_t deadline_us,
                    struct store_raw_result *ret, struct err *e)
{
    struct etcd_fake *f = impl;
    int r = 0;
    (void)pthread_mutex_lock(&f->lock);
    enum etcd_fake_fault fault =
        f->faults_at < f->faults_n ? f->faults[f->faults_at++] : ETCD_FAKE_OK;
    if (fault == ETCD_FAKE_OK) {
        apply(f, t, ret);
    } else if (fault == ETCD_FAKE_REFUSE) {
        r = ERR_SET(e, UNAVAILABLE, "the fake refuses");
    } else {
        r = ERR_SET(e, TIMEOUT, "the fake does not answer");
    }
    if (fault == ETCD_FAKE_LOSE_AFTER) {
        struct store_raw_result lost = {0};
        apply(f, t, &lost);
        store_list_done(&lost.seen);
    }
    if (fault == ETCD_FAKE_DELAY) {
        delay(f, t);
    }
    (void)pthread_mutex_unlock(&f->lock);
    return r;
}

static int fake_range(void *impl, const char *prefix, uint64_t deadline_us, struct store_list *ret,
                      struct err *e)
{
    struct etcd_fake *f = impl;
    (void)pthread_mutex_lock(&f->lock);
    ret->revision = f->revision;
    for (size_t i = smap_lower(&f->keys, prefix);
         i < f->keys.n && str_starts(f->keys.items[i].key, prefix); i++) {
        store_list_add(ret, kv_copy(f->keys.items[i].value));
    }
    (void)pthread_mutex_unlock(&f->lock);
    return 0;
}

static int fake_compact(void *impl, uint64_t revision, uint64_t deadline_us, struct err *e)
{
    struct etcd_fake *f = impl;
    (void)pthread_mutex_lock(&f->lock);
    bool future = revision > f->revision;
    if (!future && revision > f->compacted) {
        f->compacted = revision;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return future ? ERR_SET(e, INVALID, "revision %llu is in the future",
                            (unsigned long long)revision)
                  : 0;
}

static struct store_member *find_member(struct etcd_fake *f, uint64_t id)
{
    for (size_t i = 0; i < f->members.n; i++) {
        if (f->members.v[i].id == id) {
            return &f->members.v[i];
        }
    }
    return NULL;
}

static int change_members(struct etcd_fake *f, const struct store_member_change *c, struct err *e)
{
    if (c->verb == STORE_MEMBER_ADD_LEARNER) {
        for (size_t i = 0; i < f->members.n; i++) {
            if (f->members.v[i].learner || str_eq(f->members.v[i].peer_url, c->peer_url)) {
                return ERR_SET(e, STATE, "there is a learner, or this member, already");
            }
        }
        store_members_add(&f->members, (struct store_member){.id = ++f->member_id_last,
                                                             .name = str_dup(""),
                                                             .peer_url = str_dup(c->peer_url),
                                                             .client_url = str_dup(""),
                                                             .learner = true});
        return 0;
    }
    struct store_member *m = find_member(f, c->id);
    if (!m) {
        return ERR_SET(e, NOT_FOUND, "there is no such member");
    }
    if (c->verb == STORE_MEMBER_PROMOTE) {
        if (!m->learner) {
            return ERR_SET(e, STATE, "the member is no learner");
        }
        m->learner = false;
        return 0;
    }
    struct store_member gone = *m;
    *m = f->members.v[f->members.n - 1];
    f->members.n--;
    free(gone.name);
    free(gone.peer_url);
    free(gone.client_url);
    return 0;
}

static int fake_members(void *impl, const struct store_member_change *change, uint64_t deadline_us,
                        struct store_members *ret, struct err *e)
{
    struct etcd_fake *f = impl;
    (void)pthread_mutex_lock(&f->lock);
    int r = change ? change_members(f, change, e) : 0;
    for (size_t i = 0; r == 0 && i < f->members.n; i++) {
        struct store_member m = f->members.v[i];
        m.name = str_dup(m.name);
        m.peer_url = str_dup(m.peer_url);
        m.client_url = str_dup(m.client_url);
        store_members_add(ret, m);
    }
    (void)pthread_mutex_unlock(&f->lock);
    return r;
}

static int fake_status(void *impl, const char *endpoint, uint64_t deadline_us,
                       struct store_status *ret, struct err *e)
{
    struct etcd_fake *f = impl;
    (void)pthread_mutex_lock(&f->lock);
    *ret = (struct store_status){.member_id = 1,
                                 .leader_id = 1,
                                 .revision = f->revision,
                                 .raft_index = f->revision,
                                 .raft_term = 1};
    (void)snprintf(ret->version, sizeof(ret->version), "fake");
    (void)pthread_mutex_unlock(&f->lock);
    return 0;
}

static int fake_set_endpoints(void *impl, const struct strv *urls, struct err *e)
{
    return urls->n >= 1 && urls->n <= STORE_ENDPOINTS_MAX
               ? 0
               : ERR_SET(e, INVALID, "%zu endpoints", urls->n);
}

static void *fake_watch_new(void *impl, const char *prefix)
{
    struct fake_watch *w = xcalloc(1, sizeof(*w));
    w->f = impl;
    w->prefix = str_dup(prefix);
    return w;
}

static void fake_watch_free(void *watch)
{
    struct fake_watch *w = watch;
    free(w->prefix);
    free(w);
}

static void fake_watch_stop(void *watch)
{
    struct fake_watch *w = watch;
    (void)pthread_mutex_lock(&w->f->lock);
    w->stopped = true;
    (void)pthread_cond_broadcast(&w->f->changed);
    (void)pthread_mutex_unlock(&w->f->lock);
}

/* The events of the first revision >= @from below the prefix, copied. Called with the lock held. */
static size_t next_batch(const struct fake_watch *w, uint64_t from, struct store_event **ret)
{
    const struct etcd_fake *f = w->f;
    struct store_event *events = xcalloc(f->history_n, sizeof(*events));
    size_t n = 0;
    for (size_t i = 0; i < f->history_n; i++) {
        const struct change *c = &f->history[i];
        bool wanted = c->revision >= from && str_starts(c->kv.key, w->prefix);
        if (wanted && (n == 0 || events[0].kv.mod_revision == c->revision)) {
            events[n++] = (struct store_event){.deleted = c->deleted, .kv = kv_copy(&c->kv)};
        }
    }
    *ret = events;
    return n;
}

static void wait_for_change(struct etcd_fake *f, uint64_t deadline_us)
{
    struct timespec until;
    uint64_t left_us = (uint64_t)clock_left_ms(deadline_us) * USEC_PER_MSEC;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nsec = (uint64_t)until.tv_nsec + left_us % USEC_PER_SEC * NSEC_PER_USEC;
    until.tv_sec += (time_t)(left_us / USEC_PER_SEC + nsec / (USEC_PER_SEC * NSEC_PER_USEC));
    until.tv_nsec = (long)(nsec % (USEC_PER_SEC * NSEC_PER_USEC));
    (void)pthread_cond_timedwait(&f->changed, &f->lock, &until); /* all is looked at again after */
}

/* Return: 1 with a batch, 0 at the deadline, or an error. Called with the lock held. */
static int await_batch(struct fake_watch *w, uint64_t from, uint64_t deadline_us,
                       struct store_batch *ret, struct store_event **ret_events, struct err *e)
{
    for (;;) {
        if (w->stopped) {
            return ERR_SET(e, CANCELLED, "the watch was stopped");
        }
        if (from < w->f->compacted) {
            return ERR_SET(e, UNAVAILABLE, "the wanted revision has been compacted");
        }
        size_t n = next_batch(w, from, ret_events);
        if (n) {
            *ret = (struct store_batch){
                .revision = w->f->revision, .events = *ret_events, .n = n};
            return 1;
        }
        free(*ret_events);
        if (clock_left_ms(deadline_us) == 0) {
            return 0;
        }
        wait_for_change(w->f, deadline_us);
    }
}

static int fake_watch_run(void *watch, uint64_t from_revision, uint64_t deadline_us,
                          store_batch_fn fn, void *arg, struct err *e)
{
    struct fake_watch *w = watch;
    for (;;) {
        struct store_batch batch = {0};
        struct store_event *events = NULL;
        (void)pthread_mutex_lock(&w->f->lock);
        int r = await_batch(w, from_revision, deadline_us, &batch, &events, e);
        (void)pthread_mutex_unlock(&w->f->lock);
        if (r <= 0) {
            return r;
        }
        fn(arg, &batch);
        from_revision = events[0].kv.mod_revision + 1;
        for (size_t i = 0; i < batch.n; i++) {
            store_kv_done(&events[i].kv);
        }
        free(events);
    }
}

static void fake_free(void *impl)
{
    (void)impl; /* the fake outlives its handles */
}

struct store *etcd_fake_open(struct etcd_fake *f, const char *writer, const char *instance)
{
    static const struct store_impl ops = {.range = fake_range,
                                          .txn = fake_txn,
                                          .compact = fake_compact,
                                          .members = fake_members,
                                          .status = fake_status,
                                          .set_endpoints = fake_set_endpoints,
                                          .watch_new = fake_watch_new,
                                          .watch_free = fake_watch_free,
                                          .watch_run = fake_watch_run,
                                          .watch_stop = fake_watch_stop,
                                          .free = fake_free};
    return store_new(&ops, f, writer, instance);
}
