/* SPDX-License-Identifier: Apache-2.0
 * Sends to one endpoint at a time, starting at the last that answered. Patience with one request
 * starts short, because a request that was on its way through a dead leader is lost and its sender
 * would wait for nothing (facts/probes.md 1.4); it doubles with each silence. */
#include "adapters/etcd/etcd_drive.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "adapters/etcd/etcd_parse.h"
#include "base/json.h"
#include "io/clock.h"
#include "io/http.h"

#define CONNECT_TIMEOUT_US (1 * USEC_PER_SEC) /* TCP and TLS on a loaded machine: probes.md 1.4 */
#define PATIENCE_MIN_US (250 * USEC_PER_MSEC) /* with another endpoint to ask */
#define PATIENCE_ALONE_US (2 * USEC_PER_SEC)  /* with a single one */
#define PATIENCE_MAX_US (4 * USEC_PER_SEC)    /* etcd's own limit is 7 s */
#define ROUND_PAUSE_MS 100                    /* when all endpoints failed in a row */
#define FIRST_ILL_US (120 * USEC_PER_SEC)
#define MUTE_US (3 * USEC_PER_SEC) /* a watch hears nothing for hours; who died with its power answers no probe */
#define WATCH_CREATED_TIMEOUT_US (2 * USEC_PER_SEC) /* etcd ignores unknown bodies: probes.md 1.3 */
#define PAGE_KEYS 256
#define RANGE_RESTARTS_MAX 3

struct etcd {
    pthread_mutex_t lock; /* guards urls, which watches read from their lanes */
    struct strv urls;
    char *ca_file;
    char *cert_file;
    char *key_file;
    struct http *clients[STORE_ENDPOINTS_MAX]; /* as urls; NULL until used */
    size_t at;                                 /* endpoint to ask next */
    size_t failures;                           /* in a row, over all calls */
    uint64_t patience_us;
};

struct etcd_watch {
    struct etcd *d;
    char *prefix;
    size_t at;            /* endpoint of the next run */
    uint64_t first_ill_until_us; /* CLOCK_BOOTTIME; the first endpoint began no stream */
    pthread_mutex_t lock; /* guards client and stopped */
    struct http *client;
    bool stopped;
};

/* ---- asking ---- */

static const char *const gateway_headers[] = {
    "Content-Type: application/json",
    /* Else a member without leader keeps the call for 7 s and a watch for ever: probes.md 1.3 */
    "Grpc-Metadata-hasleader: true",
    NULL,
};

static int client_new(const struct etcd *d, const char *url, uint64_t mute_us, struct http **ret, struct err *e)
{
    return http_new(&(struct http_opts){.base = url,
                                        .ca_file = d->ca_file,
                                        .cert_file = d->cert_file,
                                        .key_file = d->key_file,
                                        .connect_timeout_us = CONNECT_TIMEOUT_US,
                                        .mute_timeout_us = mute_us},
                    ret, e);
}

static uint64_t first_patience(const struct etcd *d)
{
    return d->urls.n > 1 ? PATIENCE_MIN_US : PATIENCE_ALONE_US;
}

static void note_answer(struct etcd *d)
{
    d->failures = 0;
    d->patience_us = first_patience(d);
}

static void note_failure(struct etcd *d, bool was_silent)
{
    d->failures++;
    d->at = (d->at + 1) % d->urls.n;
    if (was_silent) {
        uint64_t twice_us = d->patience_us * 2;
        d->patience_us = twice_us < PATIENCE_MAX_US ? twice_us : PATIENCE_MAX_US;
    }
}

/* An answer that is not 200. Return: -ERR_REMOTE when it did not happen and another may do it;
 * -ERR_TIMEOUT when it may have happened; else what etcd refused it for */
static int refusal(const struct http_reply *reply, struct err *e)
{
    struct etcd_error why;
    etcd_parse_error(reply->body, reply->body_len, &why);
    if (why.no_leader) {
        return ERR_SET(e, REMOTE, "%s", why.message);
    }
    switch (why.code) {
    case ETCD_INVALID:
        return ERR_SET(e, INVALID, "etcd refused the request: %s", why.message);
    case ETCD_NOT_FOUND:
        return ERR_SET(e, NOT_FOUND, "%s", why.message);
    case ETCD_PRECONDITION:
        return ERR_SET(e, STATE, "%s", why.message);
    case ETCD_OUT_OF_RANGE:
        return why.compacted ? ERR_SET(e, CONFLICT, "%s", why.message)
                             : ERR_SET(e, INVALID, "%s", why.message);
    default:
        return ERR_SET(e, TIMEOUT, "HTTP status %d, %s", reply->status, why.message);
    }
}

/* One attempt at the current endpoint. Return: 0 with status 200; -ERR_REMOTE: did not happen;
 * -ERR_TIMEOUT: perhaps; -ERR_LIMIT: the answer is too large; or a refusal */
static int ask_once(struct etcd *d, const char *path, const char *body, uint64_t deadline_us,
                    struct http_reply *ret, struct err *e)
{
    struct http **client = &d->clients[d->at];
    int r = *client ? 0 : client_new(d, d->urls.v[d->at], 0, client, e);
    if (r == 0) {
        r = http_call(*client,
                      &(struct http_request){.path = path,
                                             .headers = gateway_headers,
                                             .body = body,
                                             .body_len = strlen(body),
                                             .deadline_us = deadline_us,
                                             .first_byte_timeout_us = d->patience_us,
                                             .idle_timeout_us = d->patience_us,
                                             .body_limit_bytes = JSON_LIMIT_BYTES},
                      ret, e);
    }
    bool was_silent = r == -ERR_TIMEOUT;
    if (r == 0 && ret->status != 200) {
        r = refusal(ret, e);
    } else if (r < 0 && r != -ERR_TIMEOUT && r != -ERR_LIMIT) {
        r = -ERR_REMOTE; /* not sent: no connection, or TLS failed */
    }
    if (r == -ERR_REMOTE || r == -ERR_TIMEOUT) {
        note_failure(d, was_silent);
    } else {
        note_answer(d);
    }
    return r;
}

/*
 * Asks until there is an answer. @repeat: harmless to send again after a lost answer.
 * Return: 0 with status 200; -ERR_UNAVAILABLE: did not happen, or @repeat; -ERR_TIMEOUT: not
 * @repeat, and it may have happened; -ERR_LIMIT: the answer is too large; or a refusal
 */
static int ask(struct etcd *d, const char *path, const char *body, bool repeat,
               uint64_t deadline_us, struct http_reply *ret, struct err *e)
{
    struct err why = {0};
    assert(deadline_us);
    for (;;) {
        int left_ms = clock_left_ms(deadline_us);
        if (left_ms == 0) {
            return ERR_SET(e, UNAVAILABLE, "no answer from etcd%s%s", why.code ? ": " : " in time",
                           why.msg);
        }
        if (d->failures && d->failures % d->urls.n == 0) {
            (void)poll(NULL, 0, left_ms < ROUND_PAUSE_MS ? left_ms : ROUND_PAUSE_MS);
        }
        why = (struct err){0};
        http_reply_done(ret);
        int r = ask_once(d, path, body, deadline_us, ret, &why);
        if (r == 0) {
            return 0;
        }
        if (r == -ERR_TIMEOUT && !repeat) {
            return ERR_SET(e, TIMEOUT, "%s", why.msg);
        }
        if (r != -ERR_REMOTE && r != -ERR_TIMEOUT) {
            (void)err_copy(e, &why);
            return r;
        }
    }
}

/* ---- range, txn, compact ---- */

/* One page. Return: as ask(), -ERR_CONFLICT: compacted meanwhile */
static int read_page(struct etcd *d, const char *prefix, uint64_t page_keys, uint64_t deadline_us,
                     struct store_list *list, bool *ret_more, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    const char *after = list->n ? list->kvs[list->n - 1].key : NULL;
    uint64_t revision = list->revision;
    _cleanup_free_ char *body = etcd_format_range(prefix, after, revision, page_keys);
    int r = ask(d, "/v3/kv/range", body, true, deadline_us, &reply, e);
    if (r < 0) {
        return r;
    }
    struct err why = {0};
    r = etcd_parse_range(reply.body, reply.body_len, list, ret_more, &why);
    if (r == -ERR_PARSE) {
        r = ERR_SET(e, UNAVAILABLE, "%s", why.msg);
    } else if (r < 0) {
        (void)err_copy(e, &why);
    }
    list->revision = revision ? revision : list->revision; /* all pages have the first's */
    return r;
}

static size_t list_bytes(const struct store_list *l, size_t from)
{
    size_t bytes = 0;
    for (size_t i = from; i < l->n; i++) {
        bytes += strlen(l->kvs[i].key) + l->kvs[i].value_len + sizeof(l->kvs[i]);
    }
    return bytes;
}

static int range_once(struct etcd *d, const char *prefix, uint64_t deadline_us,
                      struct store_list *list, struct err *e)
{
    uint64_t page_keys = PAGE_KEYS;
    size_t bytes = 0;
    bool more = true;
    while (more) {
        struct err why = {0};
        size_t before = list->n;
        int r = read_page(d, prefix, page_keys, deadline_us, list, &more, &why);
        if (r == -ERR_LIMIT && page_keys > 1 && list->n == before) {
            page_keys /= 4; /* large values: smaller pages */
            continue;
        }
        if (r < 0) {
            (void)err_copy(e, &why);
            return r;
        }
        bytes += list_bytes(list, before);
        if (bytes > STORE_LIST_LIMIT_BYTES) {
            return ERR_SET(e, LIMIT, "the keys below '%s' are too many", prefix);
        }
    }
    return 0;
}

static int drive_range(void *impl, const char *prefix, uint64_t deadline_us,
                       struct store_list *ret, struct err *e)
{
    int r = -ERR_CONFLICT;
    struct err why = {0};
    for (int i = 0; r == -ERR_CONFLICT && i < RANGE_RESTARTS_MAX; i++) {
        why = (struct err){0};
        store_list_done(ret);
        r = range_once(impl, prefix, deadline_us, ret, &why);
    }
    if (r < 0 && r != -ERR_LIMIT) {
        return ERR_SET(e, UNAVAILABLE, "%s", why.msg);
    }
    return r < 0 ? err_copy(e, &why) : 0;
}

static int drive_txn(void *impl, const struct store_raw_txn *t, uint64_t deadline_us,
                     struct store_raw_result *ret, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_free_ char *body = etcd_format_txn(t);
    struct err why = {0};
    int r = ask(impl, "/v3/kv/txn", body, false, deadline_us, &reply, &why);
    if (r == 0) {
        r = etcd_parse_txn(reply.body, reply.body_len, t, ret, &why);
    }
    if (r == 0) {
        return 0;
    }
    if (r == -ERR_UNAVAILABLE || r == -ERR_INVALID) {
        return err_copy(e, &why);
    }
    /* An answer that we cannot read, or a refusal that no transaction of ours should get. */
    return ERR_SET(e, TIMEOUT, "%s", why.msg);
}

static int drive_compact(void *impl, uint64_t revision, uint64_t deadline_us, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_free_ char *body = etcd_format_compact(revision);
    struct err why = {0};
    int r = ask(impl, "/v3/kv/compaction", body, true, deadline_us, &reply, &why);
    if (r == 0 || r == -ERR_CONFLICT) { /* compacted already */
        return 0;
    }
    return r == -ERR_INVALID ? err_copy(e, &why) : ERR_SET(e, UNAVAILABLE, "%s", why.msg);
}

/* ---- members, status, endpoints ---- */

static int drive_members(void *impl, const struct store_member_change *change,
                         uint64_t deadline_us, struct store_members *ret, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    const char *path = "/v3/cluster/member/list";
    _cleanup_free_ char *body =
        change ? etcd_format_member_change(change, &path) : str_dup("{}");
    struct err why = {0};
    int r = ask(impl, path, body, !change, deadline_us, &reply, &why);
    if (r == 0) {
        r = etcd_parse_members(reply.body, reply.body_len, ret, &why);
    }
    bool expected = r == -ERR_NOT_FOUND || r == -ERR_STATE || r == -ERR_UNAVAILABLE;
    if (r == 0 || expected) {
        return r == 0 ? 0 : err_copy(e, &why);
    }
    if (!change) {
        return ERR_SET(e, UNAVAILABLE, "%s", why.msg);
    }
    return r == -ERR_INVALID ? ERR_SET(e, STATE, "%s", why.msg)
                             : ERR_SET(e, TIMEOUT, "%s", why.msg);
}

/* Asks one given member, which need not be among our endpoints. */
static int ask_member(struct etcd *d, const char *url, const char *path, uint64_t deadline_us,
                      struct http_reply *ret, struct err *e)
{
    _cleanup_(http_freep) struct http *client = NULL;
    struct err why = {0};
    int r = client_new(d, url, 0, &client, &why);
    if (r == 0) {
        r = http_call(client,
                      &(struct http_request){.path = path,
                                             .headers = gateway_headers,
                                             .body = "{}",
                                             .body_len = 2,
                                             .deadline_us = deadline_us,
                                             .body_limit_bytes = JSON_LIMIT_BYTES},
                      ret, &why);
    }
    if (r == 0 && ret->status != 200) {
        r = refusal(ret, &why);
    }
    return r == 0 ? 0 : ERR_SET(e, UNAVAILABLE, "%s", why.msg);
}

static int drive_status(void *impl, const char *endpoint, uint64_t deadline_us,
                        struct store_status *ret, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    const char *path = "/v3/maintenance/status";
    struct err why = {0};
    int r = endpoint ? ask_member(impl, endpoint, path, deadline_us, &reply, &why)
                     : ask(impl, path, "{}", true, deadline_us, &reply, &why);
    if (r == 0) {
        r = etcd_parse_status(reply.body, reply.body_len, ret, &why);
    }
    return r == 0 ? 0 : ERR_SET(e, UNAVAILABLE, "%s", why.msg);
}

static int check_url(const struct etcd *d, const char *url, struct err *e)
{
    if (str_starts(url, "https://")) {
        return d->ca_file && d->cert_file && d->key_file
                   ? 0
                   : ERR_SET(e, INVALID, "'%s' needs an authority, a certificate and a key", url);
    }
    return str_starts(url, "http://") ? 0 : ERR_SET(e, INVALID, "'%s' is no URL of etcd", url);
}

static void drop_clients(struct etcd *d)
{
    for (size_t i = 0; i < ELEMENTS(d->clients); i++) {
        http_free(TAKE(d->clients[i]));
    }
}

static bool same_urls(const struct strv *a, const struct strv *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        same = str_eq(a->v[i], b->v[i]);
    }
    return same;
}

static int drive_set_endpoints(void *impl, const struct strv *urls, struct err *e)
{
    struct etcd *d = impl;
    struct strv copy = {0};
    int r = 0;
    if (urls->n < 1 || urls->n > STORE_ENDPOINTS_MAX) {
        return ERR_SET(e, INVALID, "etcd needs 1 to %d endpoints, not %zu", STORE_ENDPOINTS_MAX,
                       urls->n);
    }
    for (size_t i = 0; r == 0 && i < urls->n; i++) {
        r = check_url(d, urls->v[i], e);
    }
    if (r < 0 || same_urls(&d->urls, urls)) {
        return r;
    }
    for (size_t i = 0; i < urls->n; i++) {
        strv_add(&copy, urls->v[i]);
    }
    (void)pthread_mutex_lock(&d->lock);
    struct strv old = d->urls;
    d->urls = copy;
    (void)pthread_mutex_unlock(&d->lock);
    strv_done(&old);
    drop_clients(d);
    d->at = 0;
    note_answer(d);
    return 0;
}

/* ---- watch ---- */

static void *drive_watch_new(void *impl, const char *prefix)
{
    struct etcd_watch *w = xcalloc(1, sizeof(*w));
    w->d = impl;
    w->prefix = str_dup(prefix);
    w->at = w->d->at;
    (void)pthread_mutex_init(&w->lock, NULL);
    return w;
}

static void drive_watch_free(void *watch)
{
    struct etcd_watch *w = watch;
    (void)pthread_mutex_destroy(&w->lock);
    free(w->prefix);
    free(w);
}

static void drive_watch_stop(void *watch)
{
    struct etcd_watch *w = watch;
    (void)pthread_mutex_lock(&w->lock);
    w->stopped = true;
    if (w->client) {
        http_cancel(w->client);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

/* What one run knows. */
struct stream {
    struct sbuf line; /* the part of a line that has come so far */
    bool created;
    uint64_t next_revision; /* what is older was delivered already */
    store_batch_fn fn;
    void *arg;
    struct err why; /* why it must end */
};

static void deliver(struct stream *s, const struct etcd_watch_line *l)
{
    size_t skip = 0;
    while (skip < l->n && l->events[skip].kv.mod_revision < s->next_revision) {
        skip++; /* a watch of etcd 3.4 may go back in time (facts/ha.md 2.2) */
    }
    if (skip == l->n) {
        return;
    }
    const struct store_batch batch = {
        .revision = l->revision, .events = l->events + skip, .n = l->n - skip};
    s->fn(s->arg, &batch);
    s->next_revision = l->events[l->n - 1].kv.mod_revision + 1;
}

/* Return: whether the stream may go on */
static bool take_line(struct stream *s, const char *text, size_t len)
{
    struct etcd_watch_line l = {0};
    if (len == 0) {
        return true;
    }
    if (etcd_parse_watch_line(text, len, &l, &s->why) < 0) {
        return false;
    }
    if (l.ended) {
        (void)ERR_SET(&s->why, UNAVAILABLE, "%s", l.why);
    } else if (!s->created && !l.created) {
        (void)ERR_SET(&s->why, UNAVAILABLE, "etcd's watch began without its confirmation");
    } else {
        s->created = true;
        deliver(s, &l);
    }
    etcd_watch_line_done(&l);
    return !s->why.code;
}

static bool on_stream(void *arg, const struct http_reply *head, const char *piece, size_t len)
{
    struct stream *s = arg;
    while (len) {
        const char *nl = memchr(piece, '\n', len);
        size_t part = nl ? (size_t)(nl - piece) : len;
        if (sbuf_add(&s->line, piece, part) < 0) {
            (void)ERR_SET(&s->why, LIMIT, "a line of etcd's watch is too large");
            return false;
        }
        if (!nl) {
            return true;
        }
        bool go_on = take_line(s, s->line.data ? s->line.data : "", s->line.len);
        s->line.len = 0;
        if (!go_on) {
            return false;
        }
        piece = nl + 1;
        len -= part + 1;
    }
    return true;
}

/* Makes the client of this run, unless the watch was stopped before. */
static int watch_connect(struct etcd_watch *w, struct err *e)
{
    struct http *client = NULL;
    (void)pthread_mutex_lock(&w->d->lock);
    _cleanup_free_ char *url = str_dup(w->d->urls.v[w->at % w->d->urls.n]);
    (void)pthread_mutex_unlock(&w->d->lock);
    int r = client_new(w->d, url, MUTE_US, &client, e);
    if (r < 0) {
        return r;
    }
    (void)pthread_mutex_lock(&w->lock);
    bool stopped = w->stopped;
    w->client = client;
    if (stopped) {
        http_cancel(client);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return 0;
}

static void watch_disconnect(struct etcd_watch *w)
{
    (void)pthread_mutex_lock(&w->lock);
    struct http *client = TAKE(w->client);
    (void)pthread_mutex_unlock(&w->lock);
    http_free(client);
}

static bool watch_stopped(struct etcd_watch *w)
{
    (void)pthread_mutex_lock(&w->lock);
    bool stopped = w->stopped;
    (void)pthread_mutex_unlock(&w->lock);
    return stopped;
}

static int stream_until_end(struct etcd_watch *w, struct stream *s, uint64_t deadline_us,
                            struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_free_ char *body = etcd_format_watch(w->prefix, s->next_revision);
    struct err why = {0};
    int r = http_call(w->client,
                      &(struct http_request){.path = "/v3/watch",
                                             .headers = gateway_headers,
                                             .body = body,
                                             .body_len = strlen(body),
                                             .deadline_us = deadline_us,
                                             .first_byte_timeout_us = WATCH_CREATED_TIMEOUT_US,
                                             .on_data = on_stream,
                                             .on_data_arg = s},
                      &reply, &why);
    if (watch_stopped(w)) {
        return ERR_SET(e, CANCELLED, "the watch was stopped");
    }
    if (r == -ERR_TIMEOUT && s->created && clock_left_ms(deadline_us) == 0) {
        return 0;
    }
    if (r == 0 && reply.status != 200) {
        (void)refusal(&reply, &s->why);
    } else if (r == 0) {
        /* An error at the end of a stream has no newline behind it. */
        (void)take_line(s, s->line.data ? s->line.data : "", s->line.len);
        (void)ERR_SET(&s->why, UNAVAILABLE, "etcd ended the watch");
    }
    return ERR_SET(e, UNAVAILABLE, "%s", s->why.code ? s->why.msg : why.msg);
}

static int drive_watch_run(void *watch, uint64_t from_revision, uint64_t deadline_us,
                           store_batch_fn fn, void *arg, struct err *e)
{
    struct etcd_watch *w = watch;
    struct stream s = {
        .line.limit = JSON_LIMIT_BYTES, .next_revision = from_revision, .fn = fn, .arg = arg};
    int r = watch_connect(w, e);
    if (r == 0) {
        r = stream_until_end(w, &s, deadline_us, e);
    }
    watch_disconnect(w);
    sbuf_done(&s.line);
    /* Another member may do better. The first, which is this host's own where it has one, is tried again with the
     * next run: streams to others are silent when their hosts are lost. Only one that does not begin a stream is
     * left alone for longer, or it would make us deaf for seconds each time. */
    bool is_first = w->at % w->d->urls.n == 0;
    if (r < 0) {
        w->first_ill_until_us = is_first && !s.created ? clock_boottime_us() + FIRST_ILL_US : w->first_ill_until_us;
        w->at++;
    } else if (clock_boottime_us() >= w->first_ill_until_us) {
        w->at = 0;
    }
    return r;
}

/* ---- the handle ---- */

static void drive_free(void *impl)
{
    struct etcd *d = impl;
    drop_clients(d);
    (void)pthread_mutex_destroy(&d->lock);
    strv_done(&d->urls);
    free(d->ca_file);
    free(d->cert_file);
    free(d->key_file);
    free(d);
}

static void random_hex(char ret[33])
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        abort(); /* 16 bytes are never interrupted (getrandom(2)) */
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    }
}

int etcd_open(const struct etcd_opts *o, struct store **ret, struct err *e)
{
    static const struct store_impl ops = {.range = drive_range,
                                          .txn = drive_txn,
                                          .compact = drive_compact,
                                          .members = drive_members,
                                          .status = drive_status,
                                          .set_endpoints = drive_set_endpoints,
                                          .watch_new = drive_watch_new,
                                          .watch_free = drive_watch_free,
                                          .watch_run = drive_watch_run,
                                          .watch_stop = drive_watch_stop,
                                          .free = drive_free};
    _cleanup_strv_ struct strv urls = {0};
    char instance[33];
    if (!str_is_name(o->writer)) {
        return ERR_SET(e, INVALID, "'%s' is not a legal writer id", o->writer ? o->writer : "");
    }
    for (const char *const *u = o->urls; *u; u++) {
        strv_add(&urls, *u);
    }
    struct etcd *d = xcalloc(1, sizeof(*d));
    (void)pthread_mutex_init(&d->lock, NULL);
    d->ca_file = str_dup(o->tls.ca_file);
    d->cert_file = str_dup(o->tls.cert_file);
    d->key_file = str_dup(o->tls.key_file);
    int r = drive_set_endpoints(d, &urls, e);
    if (r < 0) {
        drive_free(d);
        return r;
    }
    random_hex(instance);
    *ret = store_new(&ops, d, o->writer, instance);
    return 0;
}
