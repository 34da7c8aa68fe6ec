/* SPDX-License-Identifier: Apache-2.0
 * Setting this host up: preflight, certificates, etcd, glusterd, libvirt, enrolment. Each action
 * looks first at what is there, so that it may be run again after a kill at any point. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "adapters/etcd/store.h"
#include "adapters/host/host_check.h"
#include "adapters/host/host_facts.h"
#include "adapters/host/host_uplink.h"
#include "adapters/systemd/systemd.h"
#include "adapters/systemd/unit_text.h"
#include "adapters/virt/virt_host.h"
#include "agent/agent.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/files.h"
#include "agent/store_open.h"
#include "base/log.h"
#include "base/str.h"
#include "core/model/keys.h"
#include "io/clock.h"
#include "io/file.h"
#include "io/http.h"
#include "io/pki.h"
#include "wire/token.h"

#define STORE_WAIT_US (30 * USEC_PER_SEC)
#define CERT_DAYS 3650
#define ENROL_TIMEOUT_US (20 * USEC_PER_SEC)

int act_local_save(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    return local_task_save(json_object_get(args, "task"), e);
}

/* --- preflight ----------------------------------------------------------------------------- */

static char *without_prefix(const char *addr)
{
    return str_printf("%.*s", (int)strcspn(addr, "/"), addr);
}

/* The only address of this host, or a question to the user. */
static int only_address(const struct host_links *links, char **ret, struct err *e)
{
    _cleanup_strv_ struct strv all = {0};
    for (size_t i = 0; i < links->n; i++) {
        for (size_t k = 0; k < links->v[i].addrs.n; k++) {
            if (!links->v[i].loopback && !strchr(links->v[i].addrs.v[k], ':')) {
                strv_addf(&all, "%s", links->v[i].addrs.v[k]);
            }
        }
    }
    if (all.n != 1) {
        (void)ERR_SET(e, INVALID, "this host has %zu addresses; which ones are for the cluster?",
                      all.n);
        err_hint(e, "give --mgmt ADDRESS and --storage ADDRESS, see 'ip address'");
        return -ERR_INVALID;
    }
    *ret = without_prefix(all.v[0]);
    return 0;
}

static int choose_address(const struct host_links *links, const char *asked, char **ret,
                          struct err *e)
{
    if (!asked) {
        return only_address(links, ret, e);
    }
    if (!host_find_link_of(links, asked)) {
        return ERR_SET(e, INVALID, "this host does not have the address %.60s", asked);
    }
    *ret = str_dup(asked);
    return 0;
}

static int refuse_findings(const struct check_list *list, struct err *e)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct check_finding *f = &list->v[i];
        if (f->severity == CHECK_REFUSE) {
            (void)ERR_SET(e, PREFLIGHT, "%s%s%s (%s): %s", f->title, f->subject[0] ? " " : "", f->subject,
                          f->value, f->meaning);
            err_hint(e, "%s; 'mortar check' lists all findings", f->action);
            return -ERR_PREFLIGHT;
        }
    }
    return 0;
}

/* Said before anything is made; the card is taken in the last phase. */
static int check_uplink(const char *nic, const char *mgmt, const char *storage, struct err *e)
{
    const struct uplink_wish wish = {.nic = nic, .bridge = NETWORK_BRIDGE, .mgmt = mgmt, .storage = storage};
    _cleanup_json_ json_t *seen = NULL;
    int r = nic ? uplink_observe("", &seen, e) : 0;
    bool is_taken = str_eq(json_text_of(seen, "nic"), nic) && json_bool_of(seen, "attached", false);
    return !nic || r < 0 || is_taken ? r : uplink_preflight(&wish, e);
}

int act_host_preflight(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                       struct err *e)
{
    const json_t *asked = json_object_get(args, "args");
    const char *role = json_text_of(asked, "role");
    const char *storage_asked = json_text_of(asked, "storage");
    _cleanup_(check_list_done) struct check_list list = {0};
    _cleanup_(host_links_done) struct host_links links = {0};
    _cleanup_free_ char *mgmt = NULL;
    _cleanup_free_ char *storage = NULL;
    /* A second run finds our own etcd and certificates; the first has judged a clean host. */
    const struct check_opts opts = {.in_cluster = file_exists(PATH_PKI "/host.key")};
    int r = host_check_run(&opts, &list, e);
    r = r < 0 ? r : refuse_findings(&list, e);
    r = r < 0 ? r : host_observe_links(&links, e);
    r = r < 0 ? r : choose_address(&links, json_text_of(asked, "mgmt"), &mgmt, e);
    r = r < 0 ? r : choose_address(&links, storage_asked ? storage_asked : mgmt, &storage, e);
    r = r < 0 ? r : check_uplink(json_text_of(asked, "uplink"), mgmt, storage, e);
    if (r < 0) {
        return r;
    }
    if (!str_is_name(env->hostname)) {
        (void)ERR_SET(e, PREFLIGHT, "the host's name '%s' cannot be used", env->hostname);
        err_hint(e, "set one of a-z, 0-9 and '-' with hostnamectl set-hostname NAME");
        return -ERR_PREFLIGHT;
    }
    *ret = json_pack("{s:s,s:s,s:s,s:s}", "host", env->hostname, "mgmt", mgmt, "storage", storage,
                     "role", role ? role : "converged");
    return 0;
}

/* --- certificates -------------------------------------------------------------------------- */

static int save_cert(const char *pem, struct err *e)
{
    return file_replace(PATH_PKI "/host.crt", pem, strlen(pem), 0644, e);
}

int act_pki_init(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                 struct err *e)
{
    const json_t *data = json_object_get(args, "data");
    const char *name = json_text_of(json_object_get(args, "args"), "name");
    _cleanup_free_ char *csr = NULL;
    _cleanup_free_ char *cert = NULL;
    const char *ips[] = {json_text_of(data, "mgmt"), json_text_of(data, "storage"), "127.0.0.1", NULL};
    const struct pki_names names = {.host = env->hostname, .ips = ips, .days = CERT_DAYS};
    int r = file_mkdirs(PATH_ETC, 0755, e);
    r = r < 0 ? r : pki_make_ca(PATH_PKI, name, e);
    r = r < 0 ? r : pki_make_key(PATH_PKI "/host.key", e);
    r = r < 0 ? r : pki_make_csr(PATH_PKI "/host.key", &csr, e);
    r = r < 0 ? r : pki_sign_csr(PATH_PKI, csr, &names, &cert, e);
    r = r < 0 ? r : save_cert(cert, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *uuid = agent_new_id();
    const char *old = json_text_of(data, "cluster_uuid");
    *ret = json_pack("{s:s}", "cluster_uuid", old ? old : uuid);
    return 0;
}

/* --- the store ----------------------------------------------------------------------------- */

static int wait_for_store(const json_t *config, struct err *e)
{
    uint64_t deadline = clock_boottime_us() + STORE_WAIT_US;
    for (;;) {
        struct err why = {0};
        struct store *s = NULL;
        struct store_status status = {0};
        int r = store_open_for(config, "setup", &s, &why);
        r = r < 0 ? r : store_status(s, NULL, clock_boottime_us() + 3 * USEC_PER_SEC, &status, &why);
        store_free(s);
        if (r == 0) {
            return 0;
        }
        if (clock_boottime_us() > deadline) {
            (void)err_copy(e, &why);
            err_prepend(e, "the cluster's store did not come up");
            return r;
        }
        clock_sleep_ms(100);
    }
}

int act_store_connect(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    const json_t *data = json_object_get(args, "data");
    json_t *endpoints = json_object_get(data, "endpoints");
    _cleanup_json_ json_t *own = json_array();
    if (!endpoints) {
        _cleanup_free_ char *url = str_printf("https://%s:2379", json_text_of(data, "mgmt"));
        json_array_append_new(own, json_string(url));
        endpoints = own;
    }
    _cleanup_json_ json_t *config =
        json_pack("{s:s,s:O,s:O,s:O,s:O,s:O}", "host", env->hostname, "cluster_uuid",
                  json_object_get(data, "cluster_uuid"), "mgmt", json_object_get(data, "mgmt"),
                  "storage", json_object_get(data, "storage"), "role", json_object_get(data, "role"),
                  "endpoints", endpoints);
    int r = wait_for_store(config, e);
    return r < 0 ? r : config_save(config, e);
}

/* --- engines ------------------------------------------------------------------------------- */

int act_gluster_setup(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e)
{
    bool is_changed = false;
    int r = unit_write_dropin("", "glusterd.service", "mortar.conf", unit_text_glusterd_dropin(),
                              &is_changed, e);
    r = r < 0 || !is_changed ? r : systemd_reload(e);
    r = r < 0 ? r : unit_enable("glusterd.service", e);
    return r < 0 ? r : unit_start("glusterd.service", 0, e);
}

/* It may hold a stop up for as long as it is mute. QEMUs are not its children in systemd's eyes, and go on. */
int act_libvirt_restart(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    log_warning("libvirtd does not answer; it is ended and started anew", "unit=%s", "libvirtd.service");
    (void)unit_kill("libvirtd.service", true, NULL); /* it may have died already */
    return unit_restart("libvirtd.service", 0, e);
}

int act_virt_setup(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    bool is_changed = false;
    _cleanup_free_ char *ca = NULL;
    _cleanup_free_ char *cert = NULL;
    _cleanup_free_ char *key = NULL;
    int r = file_read(PATH_PKI "/ca.crt", MIB, &ca, NULL, e);
    r = r < 0 ? r : file_read(PATH_PKI "/host.crt", MIB, &cert, NULL, e);
    r = r < 0 ? r : file_read(PATH_PKI "/host.key", MIB, &key, NULL, e);
    const struct virt_host_args host = {
        .storage_addr = json_text_of(json_object_get(args, "data"), "storage"),
        .ca_pem = ca,
        .cert_pem = cert,
        .key_pem = key,
    };
    r = r < 0 ? r : virt_host_apply(&host, &is_changed, e);
    r = r < 0 ? r : systemd_apply_slices(e);
    return r < 0 ? r : libvirt_apply_tls(is_changed, e);
}

/* --- enrolment ----------------------------------------------------------------------------- */

/* @ca_file: NULL believes any server, to fetch what is then checked against a fingerprint */
static int call_cluster(const char *address, const char *ca_file, const char *path, const char *body,
                        struct http_reply *ret, struct err *e)
{
    _cleanup_(http_freep) struct http *h = NULL;
    _cleanup_free_ char *base = strchr(address, ':') ? str_printf("https://%s", address)
                                                      : str_printf("https://%s:%d", address, API_PORT);
    const struct http_opts opts = {.base = base, .ca_file = ca_file, .unverified = !ca_file};
    const struct http_request q = {
        .path = path,
        .body = body,
        .body_len = body ? strlen(body) : 0,
        .deadline_us = clock_boottime_us() + ENROL_TIMEOUT_US,
    };
    int r = http_new(&opts, &h, e);
    return r < 0 ? r : http_call(h, &q, ret, e);
}

/* The CA certificate travels before anything else does, and must have the token's fingerprint. */
static int fetch_ca(const char *address, const char *fingerprint, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    char got[PKI_FINGERPRINT_LEN + 1] = "";
    int r = call_cluster(address, NULL, "/v1/ca", NULL, &reply, e);
    if (r == 0 && reply.status != 200) {
        r = ERR_SET(e, REMOTE, "the host at %s answers with status %d", address, reply.status);
    }
    r = r < 0 ? r : pki_fingerprint(reply.body, got, e);
    if (r == 0 && !str_eq(got, fingerprint)) {
        r = ERR_SET(e, TLS, "the host at %s is not of the cluster that made the token", address);
    }
    r = r < 0 ? r : file_mkdirs(PATH_ETC, 0755, e);
    r = r < 0 ? r : file_mkdirs(PATH_PKI, 0700, e);
    return r < 0 ? r : file_replace(PATH_PKI "/ca.crt", reply.body, strlen(reply.body), 0644, e);
}

static int post_join(const char *address, const json_t *body, json_t **ret, struct err *e)
{
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_free_ char *text = json_format(body);
    json_t *answer = NULL;
    int r = call_cluster(address, PATH_PKI "/ca.crt", "/v1/join", text, &reply, e);
    r = r < 0 ? r : json_parse(reply.body, reply.body_len, &answer, e);
    if (r == 0 && reply.status >= 300) {
        struct err why = {0};
        err_from_json(&why, json_object_get(answer, "error"));
        json_decref(answer);
        return err_copy(e, &why);
    }
    *ret = r < 0 ? *ret : answer;
    return r;
}

static int ask_to_join(const struct env *env, const json_t *data, const json_t *asked,
                       const struct token *t, const char *address, json_t **ret, struct err *e)
{
    _cleanup_free_ char *csr = NULL;
    int r = pki_make_key(PATH_PKI "/host.key", e);
    r = r < 0 ? r : pki_make_csr(PATH_PKI "/host.key", &csr, e);
    if (r < 0) {
        return r;
    }
    _cleanup_json_ json_t *body =
        json_pack("{s:s,s:s,s:s,s:s,s:O,s:O}", "secret", t->secret, "csr", csr, "name", env->hostname,
                  "uuid", env->uuid, "mgmt", json_object_get(data, "mgmt"), "storage",
                  json_object_get(data, "storage"));
    if (json_text_of(asked, "role")) {
        json_object_set(body, "role", json_object_get(asked, "role"));
    }
    return post_join(address, body, ret, e);
}

static int take_answer(json_t *answer, json_t **ret, struct err *e)
{
    const char *cert = NULL;
    const char *ca_text = NULL;
    _cleanup_free_ char *ca = NULL;
    int r = json_need_text(answer, "cert", &cert, e);
    r = r < 0 ? r : json_need_text(answer, "cluster_uuid", &ca_text, e);
    r = r < 0 ? r : file_read(PATH_PKI "/ca.crt", MIB, &ca, NULL, e);
    r = r < 0 ? r : pki_check_cert(cert, ca, PATH_PKI "/host.key", e);
    r = r < 0 ? r : save_cert(cert, e);
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:O,s:O,s:O}", "cluster_uuid", json_object_get(answer, "cluster_uuid"),
                     "endpoints", json_object_get(answer, "endpoints"), "role",
                     json_object_get(answer, "role"));
    return *ret ? 0 : ERR_SET(e, PARSE, "the cluster's answer is incomplete");
}

int act_join_enrol(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    const json_t *asked = json_object_get(args, "args");
    const char *address = json_text_of(asked, "address");
    _cleanup_token_ struct token t = {0};
    json_t *answer = NULL;
    int r = token_parse(json_text_of(asked, "token"), &t, e);
    r = r < 0 ? r : fetch_ca(address, t.ca_fingerprint, e);
    r = r < 0 ? r : ask_to_join(env, json_object_get(args, "data"), asked, &t, address, &answer, e);
    _cleanup_json_ json_t *held = answer;
    return r < 0 ? r : take_answer(answer, ret, e);
}
