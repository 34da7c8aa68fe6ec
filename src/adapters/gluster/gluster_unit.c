/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/gluster/gluster_unit.h"

#include <assert.h>

char *gluster_mount_path(const char *pool)
{
    assert(str_is_name(pool));
    return str_printf("/mnt/%s", pool);
}

char *gluster_mount_unit(const char *pool)
{
    assert(str_is_name(pool));
    return str_printf("mortar-mount-%s.service", pool);
}

/* Type=forking: the parent ends when the volume description was fetched and the mount made, or
 * with an error. `mountpoint` then waits for the first answer of the bricks, and fails without.
 * Detaching first: after a kill -9 the dead mount stays ("Transport endpoint is not connected").
 * -c: umount must not look at the path, since that would hang with a hung mount.
 * --process-name: as mount.glusterfs does, else bricks list us as "unknown". */
char *format_gluster_mount_unit(const char *pool, const struct strv *servers)
{
    struct sbuf b = {0};
    assert(str_is_name(pool));
    assert(servers && servers->n > 0);
    sbuf_printf(&b,
                "# Written by Mortar; changes are overwritten.\n"
                "[Unit]\n"
                "Description=Mortar pool %s\n"
                "Wants=network-online.target\n"
                "After=network-online.target glusterd.service\n"
                "StartLimitIntervalSec=0\n"
                "\n"
                "[Service]\n"
                "Type=forking\n"
                "PIDFile=/run/mortar-mount-%s.pid\n"
                "ExecStartPre=-/usr/bin/umount -c -l /mnt/%s\n"
                "ExecStartPre=/usr/bin/mkdir -p /mnt/%s\n"
                "ExecStart=/usr/sbin/glusterfs --process-name=fuse"
                " --pid-file=/run/mortar-mount-%s.pid",
                pool, pool, pool, pool, pool);
    for (size_t i = 0; i < servers->n; i++) {
        sbuf_printf(&b, " --volfile-server=%s", servers->v[i]);
    }
    sbuf_printf(&b,
                " --volfile-id=/%s --attribute-timeout=1 --entry-timeout=1 --background-qlen=512"
                " --congestion-threshold=384 --reader-thread-count=1 /mnt/%s\n"
                "ExecStartPost=/usr/bin/mountpoint -q /mnt/%s\n"
                "ExecStopPost=-/usr/bin/umount -c -l /mnt/%s\n"
                "Restart=always\n"
                "RestartSec=1\n"
                "TimeoutStartSec=90\n"
                "TimeoutStopSec=20\n"
                "LimitNOFILE=65536\n"
                "OOMScoreAdjust=-900\n"
                "\n"
                "[Install]\n"
                "WantedBy=multi-user.target\n",
                pool, pool, pool, pool);
    return sbuf_take(&b);
}
