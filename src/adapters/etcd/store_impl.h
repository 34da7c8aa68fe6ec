/* SPDX-License-Identifier: Apache-2.0
 * What an implementation of the store provides. Only store.c, the implementations and tests that
 * inject faults see it. */
#pragma once

#include "adapters/etcd/store.h"

/* A transaction as it is sent: compares, then @ops, or else @looks_n ranges of single keys. */
struct store_raw_txn {
    const struct store_compare *compares;
    size_t compares_n;
    const struct store_op *ops;
    size_t ops_n;
    const char *const *looks;
    size_t looks_n;
};

struct store_raw_result {
    bool succeeded;
    uint64_t revision;
    struct store_list seen; /* when not succeeded: those of @looks that exist, in any order */
};

/* All with the returns of their namesakes in store.h, but for txn: it makes one attempt or several
 * as long as nothing was sent, and returns
 *   0 with the answer; -ERR_UNAVAILABLE: it did not happen and never will;
 *   -ERR_TIMEOUT: it may have happened or may still happen; -ERR_INVALID: etcd refused it unread.
 * store.c calls them one at a time. */
struct store_impl {
    int (*range)(void *impl, const char *prefix, uint64_t deadline_us, struct store_list *ret,
                 struct err *e);
    int (*txn)(void *impl, const struct store_raw_txn *t, uint64_t deadline_us,
               struct store_raw_result *ret, struct err *e);
    int (*compact)(void *impl, uint64_t revision, uint64_t deadline_us, struct err *e);
    int (*members)(void *impl, const struct store_member_change *change, uint64_t deadline_us,
                   struct store_members *ret, struct err *e);
    int (*status)(void *impl, const char *endpoint, uint64_t deadline_us, struct store_status *ret,
                  struct err *e);
    int (*set_endpoints)(void *impl, const struct strv *urls, struct err *e);
    void *(*watch_new)(void *impl, const char *prefix);
    void (*watch_free)(void *watch);
    int (*watch_run)(void *watch, uint64_t from_revision, uint64_t deadline_us, store_batch_fn fn,
                     void *arg, struct err *e);
    void (*watch_stop)(void *watch);
    void (*free)(void *impl);
};

/**
 * store_new - the common half around an implementation
 * @impl: owned from now on, freed with the store
 * @writer: legal name (str_is_name); one living handle per writer id in the whole cluster
 * @instance: text that no other handle with this writer id ever had or will have
 */
struct store *store_new(const struct store_impl *ops, void *impl, const char *writer,
                        const char *instance);

/** store_list_add - append an entry that the list owns from now on */
void store_list_add(struct store_list *l, struct store_kv kv);
/** store_list_sort - by key */
void store_list_sort(struct store_list *l);
/** store_kv_done - free what the entry owns */
void store_kv_done(struct store_kv *kv);
/** store_members_add - append a member that the list owns from now on */
void store_members_add(struct store_members *m, struct store_member member);
/** store_bytes_dup - a copy of @len bytes and a zero byte. Caller frees. */
char *store_bytes_dup(const void *data, size_t len);
