/* SPDX-License-Identifier: Apache-2.0 */
#include "io/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <string.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/http_curl.h"

#define CONNECT_TIMEOUT_US (3 * USEC_PER_SEC)

struct http {
    char *base;
    char *unix_path;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *pinned_key;
    bool unverified;
    uint64_t connect_timeout_us;
    unsigned mute_timeout_ms;
    CURLM *multi; /* owns the kept connection */
    CURL *easy;
    atomic_bool cancelled;
};

/* What belongs to one http_call(). */
struct call {
    struct http *h;
    const struct http_request *q;
    struct http_reply *reply;
    struct sbuf body;
    bool sent;      /* the request may be on the wire */
    bool too_large; /* the answer */
    bool refused;   /* by on_data */
    uint64_t sent_at_us;
    uint64_t last_byte_us; /* 0 before the first one */
    char why[CURL_ERROR_SIZE];
};

void http_reply_done(struct http_reply *r)
{
    free(r->body);
    free(r->location);
    *r = (struct http_reply){0};
}

int http_new(const struct http_opts *o, struct http **ret, struct err *e)
{
    bool plain = str_starts(o->base, "http://");
    if (!plain && !str_starts(o->base, "https://")) {
        return ERR_SET(e, INVALID, "'%.80s' is not an http or https address", o->base);
    }
    if (!o->cert_file != !o->key_file) {
        return ERR_SET(e, INVALID, "a certificate and its key must be given together");
    }
    struct http *h = xcalloc(1, sizeof(*h));
    h->base = str_dup(o->base);
    h->unix_path = str_dup(o->unix_path);
    h->ca_file = str_dup(o->ca_file);
    h->cert_file = str_dup(o->cert_file);
    h->key_file = str_dup(o->key_file);
    h->pinned_key = str_dup(o->pinned_key);
    h->unverified = o->unverified;
    h->connect_timeout_us = o->connect_timeout_us ? o->connect_timeout_us : CONNECT_TIMEOUT_US;
    h->mute_timeout_ms = (unsigned)(o->mute_timeout_us / USEC_PER_MSEC);
    /* Counted by libcurl, thread-safe since 7.84. It fails only without memory, as the next two. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(h->multi = curl_multi_init()) ||
        !(h->easy = curl_easy_init())) {
        abort();
    }
    *ret = h;
    return 0;
}

void http_free(struct http *h)
{
    if (!h) {
        return;
    }
    curl_easy_cleanup(h->easy);
    (void)curl_multi_cleanup(h->multi); /* fails only for handles that are none */
    curl_global_cleanup();
    free(h->base);
    free(h->unix_path);
    free(h->ca_file);
    free(h->cert_file);
    free(h->key_file);
    free(h->pinned_key);
    free(h);
}

void http_cancel(struct http *h)
{
    atomic_store(&h->cancelled, true);
    (void)curl_multi_wakeup(h->multi); /* if it fails, the call sees the flag within a second */
}

/* libcurl calls it when the connection stands and before it writes the first byte of a request; a
 * second time when it wants to repeat one whose kept connection was lost. */
static int on_ready(void *arg, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    struct call *c = arg;
    if (c->sent) {
        return CURL_PREREQFUNC_ABORT;
    }
    c->sent = true;
    c->sent_at_us = clock_boottime_us();
    return CURL_PREREQFUNC_OK;
}

static void read_head(struct call *c)
{
    long status = 0;
    curl_off_t length = 0;
    (void)curl_easy_getinfo(c->h->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(c->h->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    c->reply->status = (int)status;
    c->reply->content_length = length > 0 ? (uint64_t)length : 0;
}

/* Taking less than was given makes libcurl end the transfer. */
static size_t on_body(char *piece, size_t size, size_t count, void *arg)
{
    struct call *c = arg;
    size_t len = size * count;
    c->last_byte_us = clock_boottime_us();
    read_head(c);
    if (c->q->on_data && c->reply->status / 100 == 2) {
        c->refused = !c->q->on_data(c->q->on_data_arg, c->reply, piece, len);
        return c->refused ? CURL_WRITEFUNC_ERROR : len;
    }
    c->too_large = sbuf_add(&c->body, piece, len) < 0;
    return c->too_large ? CURL_WRITEFUNC_ERROR : len;
}

static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    const struct http *h = arg; /* tcp(7): with keepalive it overrides the number of probes. No TCP, no harm */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &h->mute_timeout_ms, sizeof(h->mute_timeout_ms));
    return CURL_SOCKOPT_OK;
}

/* Options that can only fail for lack of memory or by our mistake are checked together. */
#define SET(option, value) (bad |= curl_easy_setopt(easy, option, value) != CURLE_OK)

bool http_curl_set_transport(const struct http *h, CURL *easy)
{
    bool bad = false;
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, 1L); /* 1/1 s: facts/ha.md 2.3 */
    SET(CURLOPT_TCP_KEEPINTVL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(h->connect_timeout_us / USEC_PER_MSEC));
    if (h->mute_timeout_ms) {
        SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
        SET(CURLOPT_SOCKOPTDATA, (void *)h);
    }
    if (h->unix_path) {
        SET(CURLOPT_UNIX_SOCKET_PATH, h->unix_path);
    }
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (h->ca_file) {
        SET(CURLOPT_CAINFO, h->ca_file);
        SET(CURLOPT_CAPATH, NULL); /* else the system's authorities are trusted beside ours */
    }
    if (h->cert_file) {
        SET(CURLOPT_SSLCERT, h->cert_file);
        SET(CURLOPT_SSLKEY, h->key_file);
    }
    if (h->pinned_key) {
        SET(CURLOPT_PINNEDPUBLICKEY, h->pinned_key);
    }
    if (h->pinned_key || h->unverified) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return !bad;
}

static bool set_request(struct call *c, CURL *easy, const char *url, struct curl_slist *headers)
{
    const struct http_request *q = c->q;
    bool bad = false;
    SET(CURLOPT_URL, url);
    SET(CURLOPT_HTTPHEADER, headers);
    if (q->body) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
        SET(CURLOPT_POSTFIELDS, q->body);
    }
    if (q->method && str_eq(q->method, "HEAD")) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (q->method) {
        SET(CURLOPT_CUSTOMREQUEST, q->method);
    }
    SET(CURLOPT_PREREQFUNCTION, on_ready);
    SET(CURLOPT_PREREQDATA, c);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, c);
    SET(CURLOPT_ERRORBUFFER, c->why);
    return !bad;
}

/* The moment at which the call fails unless something arrives before. */
static uint64_t give_up_at(const struct call *c)
{
    uint64_t at = c->q->deadline_us;
    uint64_t limit = 0;
    if (c->last_byte_us && c->q->idle_timeout_us) {
        limit = c->last_byte_us + c->q->idle_timeout_us;
    } else if (!c->last_byte_us && c->sent && c->q->first_byte_timeout_us) {
        limit = c->sent_at_us + c->q->first_byte_timeout_us;
    }
    return limit && limit < at ? limit : at;
}

static int fail_unanswered(const struct call *c, const char *why, struct err *e)
{
    if (!c->sent) {
        return ERR_SET(e, REMOTE, "cannot reach %s: %s",
                       c->h->unix_path ? c->h->unix_path : c->h->base, why);
    }
    return ERR_SET(e, TIMEOUT, "no whole answer from %s: %s",
                   c->h->unix_path ? c->h->unix_path : c->h->base, why);
}

bool http_curl_is_tls_code(CURLcode code)
{
    return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_PINNEDPUBKEYNOTMATCH || code == CURLE_SSL_ISSUER_ERROR ||
           code == CURLE_SSL_CIPHER || code == CURLE_SSL_CRL_BADFILE ||
           code == CURLE_SSL_INVALIDCERTSTATUS;
}

static int translate(const struct call *c, CURLcode code, struct err *e)
{
    if (code == CURLE_OK) {
        return 0;
    }
    if (c->too_large) {
        return ERR_SET(e, LIMIT, "the answer of %s is too large", c->h->base);
    }
    if (c->refused) {
        return ERR_SET(e, CANCELLED, "the transfer was ended by its receiver");
    }
    const char *why = c->why[0] ? c->why : curl_easy_strerror(code);
    if (!c->sent && http_curl_is_tls_code(code)) {
        return ERR_SET(e, TLS, "no secure connection to %s: %s", c->h->base, why);
    }
    return fail_unanswered(c, why, e);
}

static int converse(struct call *c, struct err *e)
{
    struct http *h = c->h;
    for (;;) {
        int running = 0;
        int queued = 0;
        if (curl_multi_perform(h->multi, &running) != CURLM_OK) {
            return fail_unanswered(c, "the HTTP library failed", e);
        }
        const CURLMsg *done = curl_multi_info_read(h->multi, &queued);
        if (done) {
            assert(done->msg == CURLMSG_DONE && done->easy_handle == h->easy);
            return translate(c, done->data.result, e);
        }
        if (atomic_load(&h->cancelled)) {
            return ERR_SET(e, CANCELLED, "the call was cancelled");
        }
        int left_ms = clock_left_ms(give_up_at(c));
        if (left_ms == 0) {
            return fail_unanswered(c, "it took too long", e);
        }
        /* libcurl shortens the wait to its own timers; the second is for http_cancel(). */
        if (curl_multi_poll(h->multi, NULL, 0, left_ms < 1000 ? left_ms : 1000, NULL) != CURLM_OK) {
            return fail_unanswered(c, "the HTTP library failed", e);
        }
    }
}

static struct curl_slist *header_list(const struct http_request *q)
{
    /* Expect: 100-continue would cost a round trip and a second's wait. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (const char *const *p = q->headers; list && p && *p; p++) {
        struct curl_slist *longer = curl_slist_append(list, *p);
        if (!longer) {
            abort();
        }
        list = longer;
    }
    if (!list) {
        abort();
    }
    return list;
}

int http_call(struct http *h, const struct http_request *q, struct http_reply *ret, struct err *e)
{
    assert(q->path && q->path[0] == '/');
    assert(q->deadline_us);
    uint64_t limit = q->body_limit_bytes ? q->body_limit_bytes : HTTP_BODY_LIMIT_BYTES;
    struct call c = {.h = h, .q = q, .reply = ret, .body.limit = limit};
    _cleanup_free_ char *url = str_printf("%s%s", h->base, q->path);
    struct curl_slist *headers = header_list(q);
    curl_easy_reset(h->easy); /* keeps the connection */
    if (!http_curl_set_transport(h, h->easy) || !set_request(&c, h->easy, url, headers) ||
        curl_multi_add_handle(h->multi, h->easy) != CURLM_OK) {
        curl_slist_free_all(headers);
        return ERR_SET(e, REMOTE, "the HTTP library refused an option for %s", h->base);
    }
    int r = converse(&c, e);
    read_head(&c);
    char *location = NULL;
    (void)curl_easy_getinfo(h->easy, CURLINFO_REDIRECT_URL, &location);
    free(ret->location);
    ret->location = str_dup(location);
    /* Closes the connection, too, when the transfer is not at its end. */
    (void)curl_multi_remove_handle(h->multi, h->easy);
    curl_easy_reset(h->easy); /* it must not keep pointers into this frame */
    curl_slist_free_all(headers);
    free(ret->body);
    ret->body_len = c.body.len;
    ret->body = sbuf_take(&c.body);
    return r;
}
