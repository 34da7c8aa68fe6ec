/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/files.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/config.h"
#include "base/str.h"
#include "io/file.h"

/* One file to one place; @user owns it. */
struct placed {
    const char *from; /* below PATH_PKI */
    const char *to;
    mode_t mode;
    const char *user;
};

static const struct placed etcd_files[] = {
    {"ca.crt", ETCD_CERT_DIR "/ca.crt", 0644, NULL},
    {"host.crt", ETCD_CERT_DIR "/host.crt", 0644, NULL},
    {"host.key", ETCD_CERT_DIR "/host.key", 0600, "etcd"},
};

static int own(const struct placed *p, struct err *e)
{
    const struct passwd *pw = p->user ? getpwnam(p->user) : NULL;
    if (p->user && !pw) {
        return ERR_SET(e, PREFLIGHT, "there is no user '%s' on this host", p->user);
    }
    if (pw && chown(p->to, pw->pw_uid, (gid_t)-1) < 0) {
        return ERR_SYS(e, IO, errno, "cannot change the owner of %s", p->to);
    }
    return 0;
}

static int place(const struct placed *p, struct err *e)
{
    _cleanup_free_ char *from = str_printf("%s/%s", PATH_PKI, p->from);
    _cleanup_free_ char *dir = str_dup(p->to);
    _cleanup_free_ char *data = NULL;
    size_t len = 0;
    char *slash = strrchr(dir, '/');
    *slash = '\0';
    int r = file_mkdirs(dir, 0755, e);
    r = r < 0 ? r : file_read(from, MIB, &data, &len, e);
    r = r < 0 ? r : file_replace(p->to, data, len, p->mode, e);
    return r < 0 ? r : own(p, e);
}

int install_etcd_certs(struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(etcd_files); i++) {
        int r = place(&etcd_files[i], e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}
