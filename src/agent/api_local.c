/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api_local.h"

#include <string.h>

#include "adapters/host/host_check.h"
#include "agent/config.h"
#include "agent/console.h"
#include "base/str.h"
#include "core/drill.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/why.h"
#include "io/clock.h"
#include "io/file.h"
#include "io/pki.h"
#include "wire/names.h"
#include "wire/token.h"

#define CERT_DAYS 3650
#define WHY_SINCE_S (24 * 3600) /* unless the user says how far back */

void api_version(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    httpd_reply_json(req, 200, json_pack("{s:s,s:s}", "version", MORTAR_VERSION, "host",
                                         a->env.hostname));
}

/* --- preflight ----------------------------------------------------------------------------- */

void api_check(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    agent_run_aside(a, "host.check", json_pack("{s:b}", "in_cluster", a->core->host != NULL), req);
}

int act_host_check(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    _cleanup_check_list_ struct check_list list = {0};
    const struct check_opts opts = {.in_cluster = json_bool_of(args, "in_cluster", false)};
    int r = host_check_run(&opts, &list, e);
    if (r < 0) {
        return r;
    }
    *ret = check_list_to_json(&list);
    return 0;
}

/* --- failover ------------------------------------------------------------------------------ */

void api_guard_key(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    agent_run_aside(a, "guard.key", json_object(), req);
}

void api_index(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    const json_t *brick = pool_brick_of(pool_get(a->core, name), a->core->host);
    struct err e = {0};
    if (!brick) {
        (void)ERR_SET(&e, NOT_FOUND, "pool '%.64s' has no brick on this host", name);
        httpd_reply_err(req, &e);
        return;
    }
    agent_run_aside(a, "fence.index", json_pack("{s:s,s:O}", "volume", name, "brick", brick), req);
}

/* --- snapshots of the store ---------------------------------------------------------------- */

void api_store_save(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    agent_run_aside(a, "store.save", json_incref(body), req);
}

void api_store_restore(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    agent_run_aside(a, "store.restore", json_incref(body), req);
}

void api_store_clear(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    agent_run_aside(a, "store.clear", json_object(), req);
}

/* --- what happened ------------------------------------------------------------------------- */

static int number_in_query(const struct httpd_req *req, const char *name, uint64_t max, uint64_t fallback, uint64_t *ret,
                           struct err *e)
{
    const char *text = httpd_query(req, name);
    *ret = fallback;
    if (!text || str_parse_u64(text, max, ret, NULL) == 0) {
        return 0;
    }
    return ERR_SET(e, INVALID, "%s is a number of at most %llu", name, (unsigned long long)max);
}

void api_history(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    struct err e = {0};
    uint64_t since_ms = 0;
    const char *vm = httpd_query(req, "vm");
    if (number_in_query(req, "since_ms", INT64_MAX, 0, &since_ms, &e) < 0) {
        httpd_reply_err(req, &e);
        return;
    }
    json_t *args = json_pack("{s:s*,s:I}", "vm", vm, "since_ms", (json_int_t)since_ms);
    agent_run_aside(a, "history.read", args ? args : json_object(), req);
}

void api_why(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    struct err e = {0};
    uint64_t since_s = 0;
    uint64_t now_ms = clock_wall_us() / USEC_PER_MSEC;
    int r = number_in_query(req, "since_s", WIRE_WHY_SINCE_MAX_S, WHY_SINCE_S, &since_s, &e);
    json_t *question = r < 0 ? NULL : why_question(a->core, name, now_ms - since_s * 1000);
    if (r == 0 && !question) {
        (void)ERR_SET(&e, NOT_FOUND, "there is no vm '%.64s'", name);
        err_hint(&e, "see 'mortar vm ls'");
    }
    if (question) {
        agent_run_aside(a, "vm.why", question, req);
    } else {
        httpd_reply_err(req, &e);
    }
}

void api_drill_plan(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    struct err e = {0};
    json_t *plan = NULL;
    if (drill_plan(a->core, httpd_query(req, "host"), httpd_query(req, "kind"), NULL, &plan, &e) < 0) {
        httpd_reply_err(req, &e);
    } else {
        httpd_reply_json(req, 200, plan);
    }
}

/* --- tokens and joining -------------------------------------------------------------------- */

static int make_token(struct agent *a, char **ret_text, char *ret_hash, struct err *e)
{
    _cleanup_token_ struct token t = {0};
    _cleanup_free_ char *ca = NULL;
    if (!file_exists(PATH_PKI "/ca.key")) {
        (void)ERR_SET(e, STATE, "this host cannot sign certificates");
        err_hint(e, "make the token on the host where 'mortar init' was run");
        return -ERR_STATE;
    }
    int r = file_read(PATH_PKI "/ca.crt", MIB, &ca, NULL, e);
    r = r < 0 ? r : pki_fingerprint(ca, t.ca_fingerprint, e);
    r = r < 0 ? r : pki_make_secret(t.secret, e);
    if (r < 0) {
        return r;
    }
    strv_add(&t.addresses, json_text_of(a->env.config, "mgmt"));
    pki_hash_secret(t.secret, ret_hash);
    return token_format(&t, ret_text, e);
}

void api_token(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    struct err e = {0};
    char hash[PKI_FINGERPRINT_LEN + 1];
    _cleanup_free_ char *text = NULL;
    if (make_token(a, &text, hash, &e) < 0) {
        httpd_reply_err(req, &e);
        return;
    }
    const char *address = json_text_of(a->env.config, "mgmt");
    _cleanup_free_ char *command = str_printf("mortar join %s --token %s", address, text);
    json_t *args = json_pack("{s:s}", "hash", hash);
    if (json_object_get(body, "role")) {
        json_object_set(args, "role", json_object_get(body, "role"));
    }
    if (json_object_get(body, "valid_s")) {
        json_object_set(args, "valid_s", json_object_get(body, "valid_s"));
    }
    api_change(a, req, "token.create", args,
               json_pack("{s:{s:s,s:s,s:I}}", "reply", "token", text, "command", command,
                         "valid_s", (json_int_t)json_u64_of(body, "valid_s", 3600)));
}

void api_join(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    const char *secret = json_text_of(body, "secret");
    char hash[PKI_FINGERPRINT_LEN + 1];
    if (req->peer.uid == 0 && !secret) {
        api_change(a, req, "join", json_incref(body), NULL);
        return;
    }
    struct err e = {0};
    const char *csr = json_text_of(body, "csr");
    if (!secret || !csr) {
        (void)ERR_SET(&e, USAGE, "a request to join needs a secret and a certificate request");
        httpd_reply_err(req, &e);
        return;
    }
    pki_hash_secret(secret, hash);
    json_t *args = json_pack("{s:s}", "hash", hash);
    static const char *const copied[] = {"name", "uuid", "mgmt", "storage", "role"};
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        if (json_text_of(body, copied[i])) {
            json_object_set(args, copied[i], json_object_get(body, copied[i]));
        }
    }
    json_t *admit = json_pack("{s:s,s:O}", "csr", csr, "name", json_object_get(body, "name"));
    api_change(a, req, "join.admit", args, admit ? admit : json_object());
}

static int sign_newcomer(struct agent *a, const json_t *admit, json_t **ret, struct err *e)
{
    const char *host = json_text_of(admit, "name");
    const json_t *node = node_get(a->core, host);
    _cleanup_free_ char *cert = NULL;
    if (!node) {
        return ERR_SET(e, NOT_FOUND, "the host's record is gone");
    }
    const char *ips[] = {json_text_of(node, "mgmt"), json_text_of(node, "storage"), "127.0.0.1", NULL};
    const struct pki_names names = {.host = host, .ips = ips, .days = CERT_DAYS};
    int r = pki_sign_csr(PATH_PKI, json_text_of(admit, "csr"), &names, &cert, e);
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:s,s:O,s:O,s:O}", "cert", cert, "cluster_uuid",
                     json_object_get(a->env.config, "cluster_uuid"), "endpoints",
                     json_object_get(a->env.config, "endpoints"), "role",
                     json_object_get(node, "role"));
    return 0;
}

void api_reply_admitted(struct agent *a, struct httpd_req *req, const json_t *admit)
{
    struct err e = {0};
    json_t *reply = json_object_get(admit, "reply");
    if (reply) {
        httpd_reply_json(req, 200, json_incref(reply));
    } else if (sign_newcomer(a, admit, &reply, &e) < 0) {
        httpd_reply_err(req, &e);
    } else {
        httpd_reply_json(req, 200, reply);
    }
}

/* --- console ------------------------------------------------------------------------------- */

void api_console(struct agent *a, struct httpd_req *req, const char *name, json_t *body)
{
    struct err e = {0};
    const json_t *own = vm_own(a->core, name);
    const char *owner = json_text_of(own, "owner");
    if (!own) {
        (void)ERR_SET(&e, NOT_FOUND, "there is no vm '%.64s'", name);
    } else if (!str_eq(owner, a->core->host)) {
        console_open_remote(a, req, name, json_text_of(node_get(a->core, owner), "mgmt"));
        return;
    } else {
        console_open(a, req, name);
        return;
    }
    httpd_reply_err(req, &e);
}
