/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/systemd/unit_text.h"

#include <assert.h>
#include <ctype.h>

#include "base/str.h"

#define HEADER "# Written by Mortar; changes are overwritten.\n"

char *unit_name_of_path(const char *path, const char *suffix)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    assert(path[0] == '/');
    for (const char *p = path; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '/') {
            if (b.len && p[1] && p[1] != '/') {
                sbuf_printf(&b, "-");
            }
        } else if (isalnum(c) || c == ':' || c == '_' || (c == '.' && b.len)) {
            sbuf_printf(&b, "%c", c);
        } else {
            sbuf_printf(&b, "\\x%02x", c);
        }
    }
    if (!b.len) {
        sbuf_printf(&b, "-");
    }
    sbuf_printf(&b, ".%s", suffix);
    return sbuf_take(&b);
}

char *unit_text_mount(const struct unit_mount *m)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    assert(m->what && m->where && m->type && m->options);
    sbuf_printf(&b, HEADER "[Unit]\nDescription=%s\n", m->description);
    /* Without default dependencies local-fs.target does not require it: a brick's disk that is
     * missing must not drop the host into the emergency shell. */
    sbuf_printf(&b, "DefaultDependencies=no\nConflicts=umount.target\n"
                    "After=local-fs-pre.target\nBefore=umount.target%s%s\n",
                m->before ? " " : "", m->before ? m->before : "");
    sbuf_printf(&b, "JobTimeoutSec=30\n\n[Mount]\nWhat=%s\nWhere=%s\nType=%s\nOptions=%s\n", m->what,
                m->where, m->type, m->options);
    sbuf_printf(&b, "TimeoutSec=30\n\n[Install]\nWantedBy=multi-user.target\n");
    return sbuf_take(&b);
}

char *unit_text_vm_slice(bool ha)
{
    /* "a-b.slice" lives below "a.slice" (systemd.slice(5)), so the HA slice is a child of
     * mortar-vms.slice and can be frozen without the rest. */
    return str_printf(HEADER "[Unit]\nDescription=%s\nBefore=slices.target\n\n[Slice]\n",
                      ha ? "Virtual machines of Mortar with failover (frozen by mortar-guard)"
                         : "Virtual machines of Mortar");
}

const char *unit_text_etcd_dropin(void)
{
    return HEADER "# A leader that misses a disk write or its processor loses leadership\n"
                  "# (facts/ha.md 2.5). Debian's Restart=on-abnormal leaves etcd dead after exit 1.\n"
                  "[Unit]\nStartLimitIntervalSec=0\n\n"
                  "[Service]\nNice=-10\nIOSchedulingClass=best-effort\nIOSchedulingPriority=0\n"
                  "OOMScoreAdjust=-900\nMemoryMin=256M\nRestart=always\nRestartSec=1\n";
}

const char *unit_text_glusterd_dropin(void)
{
    return HEADER "# Debian's KillMode=control-group ends all bricks of the host with glusterd, and\n"
                  "# RestartSec=60 keeps it away for a minute (facts/gluster.md fact 10).\n"
                  "# It forks, and is ready two seconds later: when the first process is killed before, the\n"
                  "# second lives on without the unit, and no other one can ever start beside it.\n"
                  "[Unit]\nStartLimitIntervalSec=0\n\n"
                  "[Service]\nKillMode=process\nRestart=always\nRestartSec=2\n"
                  "ExecStartPre=-/usr/bin/pkill --signal KILL --exact --parent 1 glusterd\n";
}
