/* SPDX-License-Identifier: Apache-2.0
 * This host's member of the cluster's store: Debian's etcd.service with our settings. A data
 * directory of our own keeps what Debian's default instance may have written untouched. */
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "adapters/etcd/etcd_member.h"
#include "adapters/systemd/systemd.h"
#include "adapters/systemd/unit_text.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/files.h"
#include "base/str.h"
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
