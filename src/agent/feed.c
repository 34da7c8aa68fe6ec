/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "adapters/etcd/store.h"
#include "agent/agent.h"
#include "agent/store_open.h"
#include "base/log.h"
#include "base/str.h"
#include "core/model/keys.h"
#include "io/clock.h"

#define LIST_EVERY_US (20 * USEC_PER_SEC)
#define LIST_TIMEOUT_US (5 * USEC_PER_SEC)
#define PAUSE_MS 500 /* after a failure, so that a dead store costs no CPU */

struct feed {
    struct mailbox *mailbox;
    struct store *store; /* of its own: lists must not wait for commits, nor commits for lists */
    struct store_watch *watch;
    struct lane *lane;
    atomic_bool is_closing;
};

/* [key, mod, value], or NULL for what is not ours to look at. */
static json_t *row_of(const struct store_kv *kv)
{
    struct err e = {0};
    json_t *value = NULL;
    if (str_starts(kv->key, STORE_WRITER_PREFIX)) {
        return NULL;
    }
    if (json_parse(kv->value, kv->value_len, &value, &e) < 0) {
        log_warning("a record is not JSON", "key=%s", kv->key);
        return NULL;
    }
    return json_pack("[s,I,o]", kv->key, (json_int_t)kv->mod_revision, value);
}

static int list_all(struct feed *f, uint64_t *ret_revision, struct err *e)
{
    _cleanup_store_list_ struct store_list list = {0};
    int r = store_range(f->store, KEY_ROOT, clock_boottime_us() + LIST_TIMEOUT_US, &list, e);
    if (r < 0) {
        return r;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list.n; i++) {
        json_t *row = row_of(&list.kvs[i]);
        if (row) {
            json_array_append_new(rows, row);
        }
    }
    mailbox_post(f->mailbox, json_pack("{s:s,s:I,s:o}", "ev", "list", "revision",
                                       (json_int_t)list.revision, "rows", rows));
    *ret_revision = list.revision;
    return 0;
}

static void on_batch(void *arg, const struct store_batch *batch)
{
    struct feed *f = arg;
    json_t *puts = json_array();
    json_t *dels = json_array();
    for (size_t i = 0; i < batch->n; i++) {
        const struct store_event *ev = &batch->events[i];
        json_t *row = ev->deleted ? NULL : row_of(&ev->kv);
        if (row) {
            json_array_append_new(puts, row);
        } else if (ev->deleted) {
            json_array_append_new(dels, json_string(ev->kv.key));
        }
    }
    if (!json_array_size(puts) && !json_array_size(dels)) {
        json_decref(puts);
        json_decref(dels);
        return;
    }
    mailbox_post(f->mailbox, json_pack("{s:s,s:I,s:o,s:o}", "ev", "watch", "revision",
                                       (json_int_t)batch->revision, "puts", puts, "dels", dels));
}

static void follow(void *arg)
{
    struct feed *f = arg;
    bool is_lost = false; /* a watch that breaks alone is no loss: other members may answer */
    while (!atomic_load(&f->is_closing)) {
        struct err e = {0};
        uint64_t revision = 0;
        int r = list_all(f, &revision, &e);
        if (r < 0 && !is_lost) {
            mailbox_post(f->mailbox, json_pack("{s:s}", "ev", "lost"));
        }
        is_lost = r < 0;
        if (r == 0) {
            r = store_watch_run(f->watch, revision + 1, clock_boottime_us() + LIST_EVERY_US, on_batch,
                                f, &e);
        }
        if (r < 0 && !atomic_load(&f->is_closing)) {
            log_err(LOG_LV_INFO, "the store is not followed", &e);
            clock_sleep_ms(PAUSE_MS);
        }
    }
}

int feed_new(struct agent *a, struct feed **ret, struct err *e)
{
    struct feed *f = xcalloc(1, sizeof(*f));
    _cleanup_free_ char *reader = str_printf("%s-feed", json_text_of(a->env.config, "host"));
    int r = store_open_for(a->env.config, reader, &f->store, e);
    if (r == 0 && !a->env.store) {
        r = store_open_for(a->env.config, json_text_of(a->env.config, "host"), &a->env.store, e);
    }
    if (r < 0) {
        store_free(f->store);
        free(f);
        return r;
    }
    a->env.feed_store = f->store;
    f->mailbox = a->mailbox;
    f->watch = store_watch_new(f->store, KEY_ROOT);
    f->lane = lane_new("feed", 1, 1);
    r = lane_run(f->lane, follow, f, e);
    *ret = f;
    return r;
}

void feed_free(struct feed *f)
{
    if (!f) {
        return;
    }
    atomic_store(&f->is_closing, true);
    store_watch_stop(f->watch);
    lane_free(f->lane);
    store_watch_free(f->watch);
    store_free(f->store);
    free(f);
}
