/* SPDX-License-Identifier: Apache-2.0
 * Giving this host back: out of the store and the trusted pool, and Debian's own settings again. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "adapters/gluster/gluster_drive.h"
#include "adapters/host/host_net.h"
#include "adapters/systemd/systemd.h"
#include "adapters/virt/virt_host.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/files.h"
#include "base/str.h"
#include "io/cmd.h"
#include "io/file.h"

/* The others remove us from etcd and the trusted pool: a member cannot safely remove itself and
 * a glusterd cannot detach itself. They do so when they see the state "leaving". */
int act_host_detach(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                    struct err *e)
{
    (void)net_remove("mortar0", NULL); /* a bridge in use is reported by the next preflight */
    return unit_stop("glusterd.service", 0, e);
}

int act_host_restore(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                     struct err *e)
{
    int r = unit_stop("etcd.service", 0, e);
    r = r < 0 ? r : unit_disable("etcd.service", e);
    r = r < 0 ? r : unit_disable("glusterd.service", e);
    r = r < 0 ? r : libvirt_remove_tls(e);
    r = r < 0 ? r : virt_host_remove(NULL, e);
    if (r < 0) {
        return r;
    }
    remove_etcd_certs();
    r = cmd_check(CMD("rm", "-rf", "--", PATH_PKI, ETCD_CERT_DIR, "/var/lib/etcd/mortar"), NULL, NULL,
                  e);
    return r < 0 ? r : config_remove(e);
}
