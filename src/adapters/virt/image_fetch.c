/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/image_fetch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "adapters/virt/image_file.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/http.h"

#define REDIRECTIONS_MAX 5
#define CONNECT_TIMEOUT_US (15 * USEC_PER_SEC)
#define SILENCE_TIMEOUT_US (60 * USEC_PER_SEC)
#define FETCH_TIMEOUT_US (11 * 3600 * USEC_PER_SEC) /* less than the task's phase may take */

bool image_is_url(const char *source)
{
    return str_starts(source, "http://") || str_starts(source, "https://");
}

char *image_source_public(const char *source)
{
    return image_is_url(source) ? str_printf("%.*s", (int)strcspn(source, "?#"), source)
                                : str_dup(source);
}

/* One download; @failed keeps what on_data cannot return. */
struct transfer {
    const struct image_fetch *f;
    int fd;
    struct digest *digest;
    struct sbuf head; /* the first bytes, until they were judged */
    uint64_t done;
    struct err failed;
};

static int judge_head(struct transfer *t, uint64_t total, const char *piece, size_t len)
{
    struct image_head head;
    if (t->done >= IMAGE_HEAD_BYTES) {
        return 0;
    }
    size_t room = IMAGE_HEAD_BYTES - t->head.len;
    if (sbuf_add(&t->head, piece, len < room ? len : room) < 0 || t->head.len < IMAGE_HEAD_BYTES) {
        return 0; /* smaller images are judged when they are here */
    }
    return image_parse_head(t->head.data, t->head.len, total ? total : UINT64_MAX, t->f->want,
                            &head, &t->failed);
}

static int begin(struct transfer *t, uint64_t total)
{
    if (total > IMAGE_SOURCE_MAX_BYTES) {
        return ERR_SET(&t->failed, LIMIT, "the source is larger than 1 TiB");
    }
    return image_need_room(t->f->path, total, &t->failed);
}

static bool on_data(void *arg, const struct http_reply *reply, const char *piece, size_t len)
{
    struct transfer *t = arg;
    int r = t->done == 0 ? begin(t, reply->content_length) : 0;
    r = r < 0 ? r : judge_head(t, reply->content_length, piece, len);
    r = r < 0 ? r : image_write_all(t->fd, piece, len, t->f->path, &t->failed);
    if (r < 0) {
        return false;
    }
    digest_add(t->digest, piece, len);
    t->done += len;
    if (t->done > IMAGE_SOURCE_MAX_BYTES) {
        (void)ERR_SET(&t->failed, LIMIT, "the source is larger than 1 TiB");
        return false;
    }
    if (t->f->on_bytes) {
        t->f->on_bytes(t->f->on_bytes_arg, t->done, reply->content_length);
    }
    return true;
}

/* A password would be stored with the task and shown with it. */
static int split_url(const char *url, char **ret_base, char **ret_path, struct err *e)
{
    const char *host = strstr(url, "://") + strlen("://");
    size_t n = strcspn(host, "/?#");
    size_t path_len = strcspn(host + n, "#");
    for (const char *p = url; *p; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f) {
            return ERR_SET(e, INVALID, "the address has a character that must be written as %%XX");
        }
    }
    if (n == 0 || memchr(host, '@', n)) {
        return ERR_SET(e, INVALID, "the address needs a host, and no user or password");
    }
    *ret_base = str_printf("%.*s", (int)(host + n - url), url);
    *ret_path = str_printf("%s%.*s", host[n] == '/' ? "" : "/", (int)path_len, host + n);
    return 0;
}

static int judge_status(const struct http_reply *reply, const char *base, struct err *e)
{
    if (reply->status / 100 == 2) {
        return 0;
    }
    return reply->status == 404 || reply->status == 410
               ? ERR_SET(e, NOT_FOUND, "%s has no such file", base)
               : ERR_SET(e, REMOTE, "%s refuses with status %d", base, reply->status);
}

/* @ret_next: the address of a redirection; NULL when the file is here */
static int fetch_from(struct transfer *t, const char *url, char **ret_next, struct err *e)
{
    _cleanup_free_ char *base = NULL;
    _cleanup_free_ char *path = NULL;
    _cleanup_(http_freep) struct http *h = NULL;
    _cleanup_http_reply_ struct http_reply reply = {0};
    int r = split_url(url, &base, &path, e);
    const struct http_opts opts = {.base = base, .connect_timeout_us = CONNECT_TIMEOUT_US};
    const struct http_request q = {
        .path = path,
        .deadline_us = clock_boottime_us() + FETCH_TIMEOUT_US,
        .first_byte_timeout_us = SILENCE_TIMEOUT_US,
        .idle_timeout_us = SILENCE_TIMEOUT_US,
        .on_data = on_data,
        .on_data_arg = t,
    };
    r = r < 0 ? r : http_new(&opts, &h, e);
    if (r < 0) {
        return r;
    }
    struct err why = {0};
    r = http_call(h, &q, &reply, &why);
    if (t->failed.code) {
        return err_copy(e, &t->failed);
    }
    if (r == -ERR_TIMEOUT) { /* a download that broke off has changed nothing */
        return ERR_SET(e, REMOTE, "%s", why.msg);
    }
    if (r < 0) {
        return err_copy(e, &why);
    }
    *ret_next = reply.location ? str_dup(reply.location) : NULL;
    return *ret_next ? 0 : judge_status(&reply, base, e);
}

static int follow(struct transfer *t, struct err *e)
{
    _cleanup_free_ char *url = str_dup(t->f->url);
    for (int i = 0; i <= REDIRECTIONS_MAX; i++) {
        char *next = NULL;
        int r = fetch_from(t, url, &next, e);
        if (r < 0 || !next) {
            return r;
        }
        bool is_worse = str_starts(url, "https://") && !str_starts(next, "https://");
        free(url);
        url = next;
        if (is_worse || !image_is_url(url)) {
            return ERR_SET(e, REMOTE, "the server sends us to an address that is not secure");
        }
    }
    return ERR_SET(e, REMOTE, "the server sends us from address to address");
}

int image_fetch(const struct image_fetch *f, char ret_sha256[static DIGEST_HEX_LEN + 1],
                struct err *e)
{
    _cleanup_close_ int fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    _cleanup_(digest_freep) struct digest *digest = digest_new();
    struct transfer t = {.f = f, .fd = fd, .digest = digest, .head.limit = IMAGE_HEAD_BYTES};
    assert(image_is_url(f->url));
    int r = fd < 0 ? image_fail_write(f->path, errno, e) : follow(&t, e);
    sbuf_done(&t.head);
    if (r == 0) {
        digest_finish(digest, ret_sha256);
    }
    return r;
}
