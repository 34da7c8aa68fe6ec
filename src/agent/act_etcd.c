/* SPDX-License-Identifier: Apache-2.0
 * This host's member of the cluster's store: Debian's etcd.service with our settings. A data
 * directory of our own keeps what Debian's default instance may have written untouched. */
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "adapters/etcd/etcd_member.h"
#include "adapters/systemd/systemd.h"
#include "adapters/systemd/unit_text.h"
#include "agent/env.h"
#include "agent/files.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"

#define PATH_DEFAULTS "/etc/default/etcd"
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

static int start_member(const char *text, struct err *e)
{
    _cleanup_free_ char *old = NULL;
    bool is_dropin_new = false;
    int r = install_etcd_certs(e);
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
