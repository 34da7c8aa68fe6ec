/* SPDX-License-Identifier: Apache-2.0
 * This host's member of the cluster's store: Debian's etcd.service with our settings. A data
 * directory of our own keeps what Debian's default instance may have written untouched. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "adapters/etcd/etcd_drive.h"
#include "adapters/etcd/etcd_member.h"
#include "adapters/systemd/systemd.h"
#include "adapters/systemd/unit_text.h"
#include "agent/act_vm.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/files.h"
#include "agent/store_open.h"
#include "base/str.h"
#include "core/model/keys.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define PATH_DEFAULTS "/etc/default/etcd"
/* As we found it: words of what was true on the first line, then /etc/default/etcd. Also read by
 * packaging/debian/mortar.postrm, in shell. */
#define PATH_BEFORE PATH_STATE "/etcd-before"
#define PATH_MEMBER PATH_STATE "/etcd-member" /* id of the member that the data belongs to */
#define CALL_TIMEOUT_US (10 * USEC_PER_SEC)

static int format_defaults(const struct env *env, const json_t *args, bool is_first, char **ret,
                           struct err *e)
{
    _cleanup_store_members_ struct store_members members = {0};
    const struct etcd_setup s = {
        .name = json_text_of(args, "name"),
        .address = json_text_of(args, "address"),
        .ca_file = ETCD_CERT_DIR "/ca.crt",
        .cert_file = ETCD_CERT_DIR "/host.crt",
        .key_file = ETCD_CERT_DIR "/host.key",
        .cluster_token = "mortar",
        .join = is_first ? NULL : &members,
    };
    int r = is_first ? 0
                     : store_members(env->store, NULL, clock_boottime_us() + CALL_TIMEOUT_US, &members,
                                     e);
    return r < 0 ? r : etcd_format_defaults(&s, ret, e);
}

static int make_data_dir(struct err *e)
{
    const struct passwd *pw = getpwnam("etcd");
    int r = file_mkdirs(ETCD_DATA_DIR, 0700, e);
    if (r == 0 && (!pw || chown(ETCD_DATA_DIR, pw->pw_uid, pw->pw_gid) < 0)) {
        r = ERR_SET(e, PREFLIGHT, "the user 'etcd' is missing: is etcd-server installed?");
    }
    return r;
}

/* Once, before anything is changed. */
static int remember_before(struct err *e)
{
    struct unit_state unit = {0};
    _cleanup_free_ char *text = NULL;
    if (file_exists(PATH_BEFORE)) {
        return 0;
    }
    int r = unit_observe("etcd.service", &unit, e);
    if (r < 0) {
        return r;
    }
    bool has_text = file_read(PATH_DEFAULTS, MIB, &text, NULL, NULL) == 0; /* none is a state, too */
    _cleanup_free_ char *before = str_printf("etcd.service was:%s%s%s\n%s", unit.enabled ? " enabled" : "",
                                             unit.active ? " active" : "", has_text ? " defaults" : "",
                                             has_text ? text : "");
    return file_replace(PATH_BEFORE, before, strlen(before), 0600, e);
}

/* @words: the first line of PATH_BEFORE */
static int put_back(const struct strv *words, const char *defaults, struct err *e)
{
    int r = 0;
    if (strv_has(words, "defaults")) {
        r = file_replace(PATH_DEFAULTS, defaults, strlen(defaults), 0644, e);
    } else {
        (void)unlink(PATH_DEFAULTS); /* absent is what we want */
    }
    r = r < 0 ? r : systemd_reload(e);
    r = r < 0 ? r : cmd_check(CMD("rm", "-rf", "--", ETCD_DATA_DIR), NULL, NULL, e);
    if (r == 0 && !strv_has(words, "enabled")) {
        r = unit_disable("etcd.service", e);
    }
    if (r == 0 && strv_has(words, "active")) {
        r = unit_start("etcd.service", 0, e);
    }
    return r;
}

int restore_etcd(struct err *e)
{
    _cleanup_free_ char *before = NULL;
    _cleanup_strv_ struct strv words = {0};
    struct err why = {0};
    int r = file_read(PATH_BEFORE, MIB + KIB, &before, NULL, &why);
    if (r < 0) {
        return r == -ERR_NOT_FOUND ? 0 : err_copy(e, &why); /* absent: it never had a member */
    }
    char *end = strchr(before, '\n');
    if (!end) {
        return ERR_SET(e, PARSE, "%s has no first line", PATH_BEFORE);
    }
    *end = '\0';
    strv_split(&words, before, " ");
    r = unit_stop("etcd.service", 0, e);
    r = r < 0 ? r : unit_reset_failed("etcd.service", e);
    r = r < 0 ? r : unit_remove_dropin("", "etcd.service", "mortar.conf", NULL, e);
    r = r < 0 ? r : put_back(&words, end + 1, e);
    if (r == 0) {
        (void)unlink(PATH_MEMBER); /* absent on the first host */
        (void)unlink(PATH_BEFORE); /* there, as read above */
    }
    return r;
}

/* Data of an earlier member of this host keeps a new one from starting. Only a learner may lose
 * data, since it has never had a vote; and lists of members may be old, so a member that runs keeps
 * its data whatever they say. */
static int drop_old_data(const json_t *member, struct err *e)
{
    const char *id = json_text_of(member, "id");
    _cleanup_free_ char *old = NULL;
    if (!id || !json_bool_of(member, "learner", false) ||
        (file_read(PATH_MEMBER, 64, &old, NULL, NULL) == 0 && str_eq(old, id))) {
        return 0;
    }
    if (file_exists(ETCD_DATA_DIR "/member") && unit_is_active("etcd.service")) {
        return ERR_SET(e, BUSY, "an earlier etcd member of this host still runs");
    }
    int r = unit_stop("etcd.service", 0, e);
    r = r < 0 ? r : cmd_check(CMD("rm", "-rf", "--", ETCD_DATA_DIR), NULL, NULL, e);
    return r < 0 ? r : file_replace(PATH_MEMBER, id, strlen(id), 0600, e);
}

static int start_member(const char *text, struct err *e)
{
    _cleanup_free_ char *old = NULL;
    bool is_dropin_new = false;
    int r = remember_before(e);
    r = r < 0 ? r : install_etcd_certs(e);
    r = r < 0 ? r : make_data_dir(e);
    r = r < 0 ? r
              : unit_write_dropin("", "etcd.service", "mortar.conf", unit_text_etcd_dropin(),
                                  &is_dropin_new, e);
    r = r < 0 || !is_dropin_new ? r : systemd_reload(e);
    if (r < 0) {
        return r;
    }
    bool is_same = file_read(PATH_DEFAULTS, MIB, &old, NULL, NULL) == 0 && str_eq(old, text);
    /* A run that was killed before the restart wrote the same: then Debian's instance still runs. */
    bool has_run = file_exists(ETCD_DATA_DIR "/member");
    r = is_same ? 0 : file_replace(PATH_DEFAULTS, text, strlen(text), 0644, e);
    r = r < 0 ? r : unit_enable("etcd.service", e);
    if (r == 0 && is_same && has_run) {
        return unit_start("etcd.service", 0, e);
    }
    return r < 0 ? r : unit_restart("etcd.service", 0, e);
}

int act_etcd_setup(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int r = format_defaults(env, args, false, &text, e);
    r = r < 0 ? r : remember_before(e);
    r = r < 0 ? r : drop_old_data(json_object_get(args, "member"), e);
    return r < 0 ? r : start_member(text, e);
}

int act_etcd_first(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_t *own =
        json_pack("{s:s,s:O}", "name", env->hostname, "address",
                  json_object_get(json_object_get(args, "data"), "mgmt"));
    int r = format_defaults(env, own, true, &text, e);
    return r < 0 ? r : start_member(text, e);
}

/* --- snapshots ----------------------------------------------------------------------------- */

#define SNAPSHOT_US (120 * USEC_PER_SEC)
#define ANSWER_US USEC_PER_SEC
#define BEGIN_US (30 * USEC_PER_SEC) /* a member that has just started has to elect itself */
#define AGAIN_MS 200
#define GEN_EPOCH_S 1767225600ULL /* 2026-01-01 */
#define GEN_MAX 8191 /* epoch_of() */

/* {hash, revision, totalKey, totalSize}: refuses what is no snapshot, or was changed since it was saved. */
static int observe_snapshot(const char *path, json_t **ret, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    if (!file_exists(path)) {
        return ERR_SET(e, NOT_FOUND, "there is no file '%s'", path);
    }
    int r = cmd_check(CMD("etcdctl", "snapshot", "status", path, "-w", "json"), NULL, &text, e);
    r = r < 0 ? r : json_parse(text, strlen(text), ret, e);
    if (r < 0) {
        err_hint(e, "a snapshot is a file that 'mortar store save' has written");
    }
    return r;
}

int act_store_save(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    const struct cmd_opts opts = {.timeout_us = SNAPSHOT_US};
    const char *path = json_text_of(args, "path");
    const char *url = json_string_value(json_array_get(json_object_get(env->config, "endpoints"), 0));
    if (!path || path[0] != '/') {
        return ERR_SET(e, USAGE, "the snapshot needs an absolute path");
    }
    if (file_exists(path)) {
        return ERR_SET(e, STATE, "'%s' exists already", path);
    }
    int r = cmd_check(CMD("etcdctl", "--endpoints", url ? url : "", "--cacert", PATH_PKI "/ca.crt", "--cert", PATH_PKI "/host.crt",
                          "--key", PATH_PKI "/host.key", "snapshot", "save", path), &opts, NULL, e);
    return r < 0 ? r : observe_snapshot(path, ret, e);
}

/* Nothing is ever deleted: who was wrong can go back. */
static int put_data_aside(struct err *e)
{
    _cleanup_free_ char *aside = str_printf(ETCD_DATA_DIR ".before-%llu",
                                            (unsigned long long)(clock_wall_us() / USEC_PER_SEC));
    if (!file_exists(ETCD_DATA_DIR)) {
        return 0;
    }
    return rename(ETCD_DATA_DIR, aside) < 0 ? ERR_SYS(e, IO, errno, "cannot put " ETCD_DATA_DIR " aside") : 0;
}

/* Without data it would make a cluster of its own at the next boot: it starts again when it is made a member. */
int act_store_clear(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    int r = unit_stop("etcd.service", 0, e);
    r = r < 0 ? r : unit_disable("etcd.service", e);
    r = r < 0 ? r : put_data_aside(e);
    if (r == 0) {
        (void)unlink(PATH_MEMBER); /* absent is what we want */
    }
    return r;
}

static char *own_url(const struct env *env)
{
    return etcd_client_url(json_text_of(env->config, "mgmt"), 0);
}

/* Two stores would go on side by side. Who does not answer may be behind a cut cable: that is asked of whoever restores. */
static int check_others(const struct env *env, struct err *e)
{
    _cleanup_free_ char *own = own_url(env);
    bool is_member = false;
    size_t i;
    json_t *url;
    json_t *saved = NULL;
    int r = config_load(&saved, e); /* follows the members; what this process began with may be of when there was one */
    _cleanup_json_ json_t *config = saved;
    if (r < 0) {
        return r;
    }
    json_array_foreach(json_object_get(config, "endpoints"), i, url) {
        struct store_status status = {0};
        if (str_eq(json_string_value(url), own)) {
            is_member = true;
        } else if (store_status(env->feed_store, json_string_value(url), clock_boottime_us() + ANSWER_US, &status, NULL) == 0) {
            (void)ERR_SET(e, STATE, "etcd at %s still runs", json_string_value(url));
            err_hint(e, "run 'mortar store clear' there first; its data is put aside, not deleted");
            return -ERR_STATE;
        }
    }
    if (!is_member) {
        (void)ERR_SET(e, STATE, "this host has carried no part of the store: the others would not find it here");
        err_hint(e, "restore on a host at one of the addresses that are 'endpoints' in " PATH_HOST);
        return -ERR_STATE;
    }
    return 0;
}

static int unpack(const struct env *env, const char *path, struct err *e)
{
    const char *host = json_text_of(env->config, "host");
    const struct cmd_opts opts = {.timeout_us = SNAPSHOT_US};
    _cleanup_free_ char *peer = etcd_peer_url(json_text_of(env->config, "mgmt"), 0);
    _cleanup_free_ char *cluster = str_printf("%s=%s", host, peer);
    _cleanup_free_ char *token = str_printf("mortar-%llu", (unsigned long long)clock_wall_us()); /* another cluster than before */
    int r = cmd_check(CMD("rm", "-rf", "--", ETCD_DATA_DIR ".new"), NULL, NULL, e); /* of a try that was broken off */
    r = r < 0 ? r : cmd_check(CMD("etcdctl", "snapshot", "restore", path, "--name", host, "--initial-cluster", cluster,
                                  "--initial-cluster-token", token, "--initial-advertise-peer-urls", peer, "--data-dir",
                                  ETCD_DATA_DIR ".new"), &opts, NULL, e);
    return r < 0 ? r : cmd_check(CMD("chown", "-R", "etcd:etcd", "--", ETCD_DATA_DIR ".new"), NULL, NULL, e);
}

/* How often this host has heard of a restore: a snapshot may be older than the last one. */
static uint64_t known_gen(void)
{
    uint64_t n = 0;
    return act_vm_read_gen(&n, NULL) < 0 ? 0 : n;
}

static int raise_gen_now(struct store *store, uint64_t deadline_us, uint64_t *ret_gen, struct err *e)
{
    _cleanup_store_list_ struct store_list list = {0};
    _cleanup_store_txn_ struct store_txn t = {0};
    _cleanup_store_result_ struct store_result res = {0};
    json_t *old = NULL;
    int r = store_range(store, KEY_RESTORE_GEN, deadline_us, &list, e);
    if (r < 0) {
        return r;
    }
    const struct store_kv *kv = store_list_find(&list, KEY_RESTORE_GEN);
    r = kv ? json_parse(kv->value, kv->value_len, &old, e) : 0;
    uint64_t known = known_gen();
    uint64_t n = json_u64_of(old, "n", 0);
    n = (n > known ? n : known) + 1;
    /* This host may not have heard of the last restore, and the same number twice is one store to all others. */
    uint64_t days = (clock_wall_us() / USEC_PER_SEC - GEN_EPOCH_S) / 86400;
    n = days <= GEN_MAX && days > n ? days : n;
    json_decref(old);
    _cleanup_json_ json_t *next = json_pack("{s:I,s:I}", "n", (json_int_t)n, "at_ms",
                                            (json_int_t)(clock_wall_us() / USEC_PER_MSEC));
    _cleanup_free_ char *text = json_format(next);
    store_if_mod(&t, KEY_RESTORE_GEN, kv ? kv->mod_revision : 0);
    store_put_text(&t, KEY_RESTORE_GEN, text);
    r = r < 0 ? r : store_commit(store, &t, deadline_us, &res, e);
    *ret_gen = n;
    return r < 0 || res.succeeded ? r : ERR_SET(e, CONFLICT, "somebody else writes to the store");
}

/* Before any agent can read: nobody's endpoint is the address at which it listens meanwhile. */
static int raise_gen(uint64_t *ret_gen, struct err *e)
{
    struct store *store = NULL;
    _cleanup_json_ json_t *config = json_pack("{s:[s]}", "endpoints", ETCD_PRIVATE_URL);
    uint64_t end_us = clock_boottime_us() + BEGIN_US;
    int r = store_open_for(config, "restore", &store, e);
    while (r == 0) {
        struct err why = {0};
        r = raise_gen_now(store, clock_boottime_us() + CALL_TIMEOUT_US, ret_gen, &why);
        if (r == 0 || clock_boottime_us() >= end_us) {
            r = r < 0 ? err_copy(e, &why) : r;
            break;
        }
        r = 0;
        clock_sleep_ms(AGAIN_MS);
    }
    store_free(store);
    return r;
}

static int start_as(const struct env *env, bool is_private, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    const struct etcd_setup s = {
        .name = json_text_of(env->config, "host"),
        .address = json_text_of(env->config, "mgmt"),
        .ca_file = ETCD_CERT_DIR "/ca.crt",
        .cert_file = ETCD_CERT_DIR "/host.crt",
        .key_file = ETCD_CERT_DIR "/host.key",
        .cluster_token = "mortar",
        .private = is_private,
    };
    int r = etcd_format_defaults(&s, &text, e);
    return r < 0 ? r : start_member(text, e);
}

/* Each step can be repeated from the first on. Until the last one no agent reaches the store; one that dies before it
 * leaves a store that only this host reaches. */
int act_store_restore(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    const char *path = json_text_of(args, "path");
    _cleanup_json_ json_t *status = NULL;
    uint64_t gen = 0;
    if (!path || path[0] != '/' || !env->config || !env->feed_store) {
        return !path || path[0] != '/' ? ERR_SET(e, USAGE, "the snapshot needs an absolute path")
                                       : ERR_SET(e, NO_CLUSTER, "this host is not part of a cluster");
    }
    int r = observe_snapshot(path, &status, e);
    r = r < 0 ? r : check_others(env, e);
    r = r < 0 ? r : unpack(env, path, e);
    r = r < 0 ? r : unit_stop("etcd.service", 0, e);
    r = r < 0 ? r : put_data_aside(e);
    if (r == 0 && rename(ETCD_DATA_DIR ".new", ETCD_DATA_DIR) < 0) {
        r = ERR_SYS(e, IO, errno, "cannot put the restored data in its place");
    }
    r = r < 0 ? r : start_as(env, true, e);
    r = r < 0 ? r : raise_gen(&gen, e);
    r = r < 0 ? r : start_as(env, false, e);
    if (r == 0) {
        (void)unlink(PATH_MEMBER); /* of the cluster before; absent on the first host */
        json_object_set_new(status, "gen", json_integer((json_int_t)gen));
        *ret = json_incref(status);
    }
    return r;
}
