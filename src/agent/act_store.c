/* SPDX-License-Identifier: Apache-2.0
 * The store: commits of the core, and the etcd membership. Runs on one lane, in order. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/etcd/etcd_drive.h"
#include "adapters/etcd/etcd_member.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/store_open.h"
#include "base/log.h"
#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "io/clock.h"

#define COMMIT_TIMEOUT_US (5 * USEC_PER_SEC)
#define HEALTH_TIMEOUT_US USEC_PER_SEC
#define MEMBER_TIMEOUT_US (10 * USEC_PER_SEC)

int store_open_for(const json_t *config, const char *writer, struct store **ret, struct err *e)
{
    _cleanup_strv_ struct strv urls = {0};
    size_t i;
    json_t *url;
    json_array_foreach(json_object_get(config, "endpoints"), i, url) {
        strv_add(&urls, json_string_value(url));
    }
    if (!urls.n) {
        return ERR_SET(e, INVALID, "%s names no endpoint of the store", PATH_HOST);
    }
    const struct etcd_opts opts = {
        .urls = (const char *const *)urls.v,
        .writer = writer,
        .tls = {PATH_PKI "/ca.crt", PATH_PKI "/host.crt", PATH_PKI "/host.key"},
    };
    return etcd_open(&opts, ret, e);
}

static void fill_txn(const json_t *args, struct store_txn *t)
{
    size_t i;
    json_t *row;
    const char *key;
    json_array_foreach(json_object_get(args, "compares"), i, row) {
        store_if_mod(t, json_string_value(json_array_get(row, 0)),
                     (uint64_t)json_integer_value(json_array_get(row, 1)));
    }
    json_object_foreach(json_object_get(args, "puts"), key, row) {
        _cleanup_free_ char *text = json_format(row);
        store_put_text(t, key, text);
    }
    json_array_foreach(json_object_get(args, "dels"), i, row) {
        store_delete(t, json_string_value(row));
    }
}

/* What the store holds now, in the form of a watch event: the core learns it at once. */
static json_t *written(const json_t *args, uint64_t revision)
{
    json_t *puts = json_array();
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(args, "puts"), key, value) {
        json_array_append_new(puts, json_pack("[s,I,O]", key, (json_int_t)revision, value));
    }
    return json_pack("{s:{s:I,s:o,s:O}}", "store", "revision", (json_int_t)revision, "puts", puts,
                     "dels", json_object_get(args, "dels"));
}

static json_t *met(const json_t *args, const struct store_result *res)
{
    json_t *puts = json_array();
    json_t *dels = json_array();
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(args, "compares"), i, row) {
        const char *key = json_string_value(json_array_get(row, 0));
        const struct store_kv *kv = store_list_find(&res->seen, key);
        json_t *value = NULL;
        if (!kv) {
            json_array_append_new(dels, json_string(key));
        } else if (json_parse(kv->value, kv->value_len, &value, NULL) == 0) {
            json_array_append_new(puts, json_pack("[s,I,o]", key, (json_int_t)kv->mod_revision,
                                                  value));
        }
    }
    return json_pack("{s:{s:I,s:o,s:o}}", "store", "revision", (json_int_t)res->revision, "puts",
                     puts, "dels", dels);
}

/* A core that knows of no restore commits to a store that was never restored only: all that it compares could be
 * met by chance, for revisions of a restored store come again. One that knows compares the record itself (core/act.c). */
static json_t *with_restore(const json_t *args)
{
    size_t i;
    json_t *row;
    json_t *copy = json_copy((json_t *)args);
    json_array_foreach(json_object_get(args, "compares"), i, row) {
        if (str_eq(json_string_value(json_array_get(row, 0)), KEY_RESTORE_GEN)) {
            return copy;
        }
    }
    json_t *compares = json_copy(json_object_get(args, "compares"));
    json_array_append_new(compares, json_pack("[s,i]", KEY_RESTORE_GEN, 0));
    json_object_set_new(copy, "compares", compares);
    return copy;
}

int act_store_commit(const struct env *env, const json_t *asked, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    _cleanup_json_ json_t *args = with_restore(asked);
    _cleanup_store_txn_ struct store_txn t = {0};
    _cleanup_store_result_ struct store_result res = {0};
    if (!env->store) {
        return ERR_SET(e, UNAVAILABLE, "this host is not connected to the store");
    }
    fill_txn(args, &t);
    int r = store_commit(env->store, &t, clock_boottime_us() + COMMIT_TIMEOUT_US, &res, e);
    if (r < 0) {
        err_hint(e, "running virtual machines are not affected; see 'systemctl status etcd' on its "
                 "hosts");
        return r;
    }
    if (!res.succeeded) {
        *ret = met(args, &res);
        return ERR_SET(e, CONFLICT, "somebody else changed it first; try again");
    }
    *ret = written(args, res.revision);
    return 0;
}

/* --- membership ---------------------------------------------------------------------------- */

static json_t *members_json(const struct store_members *list)
{
    json_t *members = json_array();
    for (size_t i = 0; i < list->n; i++) {
        const struct store_member *m = &list->v[i];
        char id[24];
        (void)snprintf(id, sizeof(id), "%" PRIx64, m->id);
        json_array_append_new(members, json_pack("{s:s,s:s,s:s,s:s,s:b}", "id", id, "name", m->name,
                                                 "peer_url", m->peer_url, "client_url",
                                                 m->client_url, "learner", m->learner));
    }
    return members;
}

/* Both handles follow the members, so that the loss of the first one harms nobody. */
static int follow_members(const struct env *env, const struct store_members *list, struct err *e)
{
    _cleanup_strv_ struct strv urls = {0};
    etcd_client_urls(list, json_text_of(env->config, "host"), &urls);
    if (!urls.n) {
        return 0;
    }
    int r = store_set_endpoints(env->store, &urls, e);
    r = r < 0 ? r : store_set_endpoints(env->feed_store, &urls, e);
    if (r < 0) {
        return r;
    }
    _cleanup_json_ json_t *endpoints = json_array();
    for (size_t i = 0; i < urls.n; i++) {
        json_array_append_new(endpoints, json_string(urls.v[i]));
    }
    json_t *saved = NULL;
    r = config_load(&saved, e);
    _cleanup_json_ json_t *config = saved;
    if (r < 0 || !config || json_equal(json_object_get(config, "endpoints"), endpoints)) {
        return r;
    }
    json_object_set(config, "endpoints", endpoints);
    return config_save(config, e);
}

static enum etcd_role role_of(const char *role)
{
    return str_eq(role, "witness")   ? ETCD_ROLE_WITNESS
           : str_eq(role, "compute") ? ETCD_ROLE_COMPUTE
                                     : ETCD_ROLE_STORAGE;
}

#define HOSTS_MAX 64

/* The next change of the membership, or NULL. @hosts: as node_list() gives them */
static json_t *plan_step(const json_t *hosts, const struct store_members *list)
{
    struct etcd_host table[HOSTS_MAX] = {0};
    char *urls[HOSTS_MAX] = {0};
    struct store_member_change change = {0};
    const char *why = "";
    size_t n = 0;
    size_t i;
    json_t *h;
    json_array_foreach(hosts, i, h) {
        if (n < HOSTS_MAX) {
            urls[n] = etcd_peer_url(json_text_of(h, "mgmt"), 0);
            table[n] = (struct etcd_host){json_text_of(h, "name"), urls[n],
                                          role_of(json_text_of(h, "role")),
                                          json_bool_of(h, "up", false),
                                          json_bool_of(h, "leaving", false)};
            n++;
        }
    }
    char id[24] = "";
    json_t *step = NULL;
    if (etcd_plan_members(table, n, list, &change, &why)) {
        (void)snprintf(id, sizeof(id), "%" PRIx64, change.id);
        step = json_pack("{s:i,s:s,s:s*,s:s}", "verb", change.verb, "id", id, "peer_url",
                         change.peer_url, "why", why);
    }
    for (i = 0; i < n; i++) {
        free(urls[i]);
    }
    return step;
}

/* Members that answer for themselves just now; a dead one costs its own short deadline. */
static json_int_t count_healthy(const struct env *env, const struct store_members *list)
{
    json_int_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        struct store_status status = {0};
        uint64_t deadline = clock_boottime_us() + HEALTH_TIMEOUT_US;
        n += list->v[i].client_url[0] &&
             store_status(env->feed_store, list->v[i].client_url, deadline, &status, NULL) == 0;
    }
    return n;
}

int act_observe_etcd(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    _cleanup_store_members_ struct store_members list = {0};
    if (!env->store) {
        return ERR_SET(e, UNAVAILABLE, "this host is not connected to the store");
    }
    int r = store_members(env->feed_store, NULL, clock_boottime_us() + MEMBER_TIMEOUT_US, &list, e);
    r = r < 0 ? r : follow_members(env, &list, e);
    if (r < 0) {
        return r;
    }
    *ret = json_pack("{s:o,s:I,s:I}", "list", members_json(&list), "healthy",
                     count_healthy(env, &list), "planned_for",
                     (json_int_t)node_count_staying(json_object_get(args, "hosts")));
    json_t *step = plan_step(json_object_get(args, "hosts"), &list);
    if (step) {
        json_object_set_new(*ret, "step", step);
    }
    return 0;
}

int act_etcd_member(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    _cleanup_store_members_ struct store_members list = {0};
    const struct store_member_change change = {
        .verb = (enum store_member_verb)json_u64_of(args, "verb", 0),
        .peer_url = json_text_of(args, "peer_url"),
        .id = strtoull(json_text_of(args, "id"), NULL, 16), /* our own text, from plan_step() */
    };
    log_notice("store membership changes", "why=\"%s\"", json_text_of(args, "why"));
    return store_members(env->store, &change, clock_boottime_us() + MEMBER_TIMEOUT_US, &list, e);
}
