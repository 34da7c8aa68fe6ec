/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/http.h"
#include "wire/names.h"

#define STORE_GRACE_US (10 * USEC_PER_SEC) /* an election takes three seconds at most (facts/probes.md) */
#define STORE_RETRY_MS 500
#define STREAM_TIMEOUT_US (30 * USEC_PER_SEC)

struct client {
    struct http *http;
    char *base;
    char *socket; /* of this host's agent, or NULL */
    char *host;   /* another one, or NULL; then with these three files */
    char *ca;
    char *cert;
    char *key;
};

void client_free(struct client *c)
{
    if (c) {
        http_free(c->http);
        free(c->base);
        free(c->socket);
        free(c->host);
        free(c->ca);
        free(c->cert);
        free(c->key);
        free(c);
    }
}

/* The user's own certificate, else (for root) that of this host. */
static int find_pki(char **ret_dir, struct err *e)
{
    const char *home = getenv("HOME");
    _cleanup_free_ char *own = str_printf("%s/.config/mortar", home ? home : "");
    const char *dirs[] = {own, "/etc/mortar/pki"};
    for (size_t i = 0; i < ELEMENTS(dirs); i++) {
        _cleanup_free_ char *key = str_printf("%s/host.key", dirs[i]);
        if (access(key, R_OK) == 0) {
            *ret_dir = str_dup(dirs[i]);
            return 0;
        }
    }
    (void)ERR_SET(e, DENIED, "there is no certificate to speak to another host with");
    err_hint(e, "run it as root on a member, or put ca.crt, host.crt and host.key into %s", own);
    return -ERR_DENIED;
}

static int open_remote(const char *host, struct client *c, struct err *e)
{
    _cleanup_free_ char *dir = NULL;
    int r = find_pki(&dir, e);
    if (r < 0) {
        return r;
    }
    bool v6 = strchr(host, ':') && host[0] != '[';
    c->host = str_dup(host);
    c->base = str_printf("https://%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", WIRE_API_PORT);
    c->ca = str_printf("%s/ca.crt", dir);
    c->cert = str_printf("%s/host.crt", dir);
    c->key = str_printf("%s/host.key", dir);
    return 0;
}

static struct http_opts opts_of(const struct client *c)
{
    return (struct http_opts){
        .base = c->base,
        .unix_path = c->socket,
        .ca_file = c->ca,
        .cert_file = c->cert,
        .key_file = c->key,
    };
}

int client_new(const char *socket, const char *host, struct client **ret, struct err *e)
{
    _cleanup_(client_freep) struct client *c = xcalloc(1, sizeof(*c));
    int r = 0;
    if (host) {
        r = open_remote(host, c, e);
    } else {
        c->socket = str_dup(socket);
        c->base = str_dup("http://localhost");
    }
    if (r == 0) {
        const struct http_opts o = opts_of(c);
        r = http_new(&o, &c->http, e);
    }
    if (r < 0) {
        return r;
    }
    *ret = TAKE(c);
    return 0;
}

static int no_agent(const char *socket, struct err *e)
{
    if (access(socket, W_OK) < 0 && errno == EACCES) {
        (void)ERR_SET(e, DENIED, "you may not use the agent's socket %s", socket);
        err_hint(e, "run it as root: sudo mortar …");
        return -ERR_DENIED;
    }
    (void)ERR_SET(e, NO_AGENT, "the agent does not answer at %s", socket);
    err_hint(e, "start it: systemctl start mortard; its log: journalctl -u mortard");
    return -ERR_NO_AGENT;
}

/* The connection failed, not the request. */
static int not_answered(const struct client *c, struct err *failed, struct err *e)
{
    if (failed->code == ERR_REMOTE && c->socket) {
        return no_agent(c->socket, e);
    }
    err_prepend(failed, "%s", c->host ? c->host : "agent");
    return err_copy(e, failed);
}

int client_reply(int status, const char *body, size_t len, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    struct err bad = {0};
    int r = len ? json_parse(body, len, &j, &bad) : 0;
    if (status >= 200 && status < 300) {
        if (r < 0) {
            return ERR_SET(e, BUG, "the agent's answer is not JSON: %s", bad.msg);
        }
        *ret = j ? TAKE(j) : json_null();
        return 0;
    }
    const json_t *error = json_object_get(j, "error");
    if (!json_is_object(error)) {
        return ERR_SET(e, BUG, "the agent answered with HTTP status %d", status);
    }
    struct err remote = {0};
    err_from_json(&remote, error);
    return err_copy(e, &remote);
}

static char *new_request_id(void)
{
    uint64_t half[2] = {0};
    if (getrandom(half, sizeof(half), 0) != (ssize_t)sizeof(half)) {
        abort(); /* small requests are always filled whole, random(7) */
    }
    return str_printf(WIRE_REQUEST_ID_HEADER ": %016" PRIx64 "%016" PRIx64, half[0], half[1]);
}

/* @id_header: of a change, which the agent makes once however often it is sent; NULL with GET */
static int call_as(struct client *c, const char *id_header, const char *method, const char *path, const json_t *body,
                   uint64_t timeout_us, json_t **ret, struct err *e)
{
    struct err failed = {0};
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_free_ char *text = body ? json_format(body) : NULL;
    const char *headers[] = {id_header ? id_header : "Accept: application/json",
                             text ? "Content-Type: application/json" : NULL, NULL};
    struct http_request q = {
        .method = method,
        .path = path,
        .headers = headers,
        .body = text,
        .body_len = text ? strlen(text) : 0,
        .deadline_us = clock_boottime_us() + timeout_us,
    };
    int r = http_call(c->http, &q, &reply, &failed);
    if (r < 0) {
        return not_answered(c, &failed, e);
    }
    return client_reply(reply.status, reply.body, reply.body_len, ret, e);
}

int client_call(struct client *c, const char *method, const char *path, const json_t *body,
                uint64_t timeout_us, json_t **ret, struct err *e)
{
    _cleanup_free_ char *id = method ? new_request_id() : NULL;
    return call_as(c, id, method, path, body, timeout_us, ret, e);
}

int client_change(struct client *c, const char *method, const char *path, const json_t *body,
                  uint64_t timeout_us, json_t **ret, struct err *e)
{
    _cleanup_free_ char *id = new_request_id();
    uint64_t give_up_us = clock_boottime_us() + STORE_GRACE_US;
    for (;;) {
        struct err failed = {0};
        int r = call_as(c, id, method, path, body, timeout_us, ret, &failed);
        if (r != -ERR_UNAVAILABLE || clock_boottime_us() >= give_up_us) {
            return r < 0 ? err_copy(e, &failed) : r;
        }
        clock_sleep_ms(STORE_RETRY_MS);
    }
}

int client_stream(const struct client *c, const char *path, const char *protocol,
                  struct http_stream **ret, struct err *e)
{
    struct err failed = {0};
    _cleanup_json_ json_t *nothing = NULL;
    _cleanup_http_reply_ struct http_reply refusal = {0};
    const struct http_opts o = opts_of(c);
    int r = http_stream_open(&o, path, protocol, clock_boottime_us() + STREAM_TIMEOUT_US, ret,
                             &refusal, &failed);
    if (r == -ERR_STATE) {
        r = client_reply(refusal.status, refusal.body, refusal.body_len, &nothing, e);
        return r < 0 ? r : ERR_SET(e, BUG, "the agent opened no stream");
    }
    return r < 0 ? not_answered(c, &failed, e) : 0;
}
