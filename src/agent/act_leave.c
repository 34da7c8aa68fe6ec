/* SPDX-License-Identifier: Apache-2.0
 * Giving this host back: Debian's own settings again. The others have taken it out of the store and
 * the trusted pool before. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "adapters/host/host_net.h"
#include "adapters/host/host_uplink.h"
#include "adapters/systemd/systemd.h"
#include "adapters/virt/virt_host.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/files.h"
#include "io/cmd.h"

#define API_UNIT "mortar-api.service"
#define API_STOP_US (30 * USEC_PER_SEC)

static int restore_gluster(struct err *e)
{
    bool is_changed = false;
    int r = unit_stop("glusterd.service", 0, e);
    r = r < 0 ? r : unit_disable("glusterd.service", e);
    r = r < 0 ? r : unit_remove_dropin("", "glusterd.service", "mortar.conf", &is_changed, e);
    return r < 0 || !is_changed ? r : systemd_reload(e);
}

static int restore_virt(struct err *e)
{
    bool is_changed = false;
    int r = virt_host_remove(&is_changed, e);
    r = r < 0 ? r : libvirt_remove_tls(e);
    r = r < 0 || !is_changed ? r : unit_restart("libvirtd.service", 0, e);
    return r < 0 ? r : systemd_remove_slices(e);
}

int act_host_restore(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    size_t i;
    json_t *bridge;
    int r = uplink_drop("", e); /* the host's own addresses may be on the bridge */
    if (r < 0) {
        return r;
    }
    json_array_foreach(json_object_get(json_object_get(args, "data"), "bridges"), i, bridge) {
        (void)net_remove(json_string_value(bridge), NULL); /* the next boot forgets it anyway */
    }
    r = restore_gluster(e);
    r = r < 0 ? r : restore_virt(e);
    r = r < 0 ? r : restore_etcd(e);
    /* It ends before its certificate goes, not some time after: what systemd then starts is kept down by its condition. */
    r = r < 0 ? r : unit_stop(API_UNIT, API_STOP_US, e);
    r = r < 0 ? r
              : cmd_check(CMD("rm", "-rf", "--", PATH_PKI, ETCD_CERT_DIR, PATH_EPOCHS, PATH_GEN), NULL, NULL, e);
    return r < 0 ? r : config_remove(e);
}
