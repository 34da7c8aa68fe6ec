/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/virt_host.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "adapters/virt/domxml_format.h"
#include "adapters/virt/virt_conf.h"
#include "base/str.h"
#include "io/file.h"

#define CONF_LIMIT_BYTES MIB
#define PEM_LIMIT_BYTES (64 * KIB)

enum pem { PEM_CA, PEM_CERT, PEM_KEY, PEM_DH };

/* ffdhe3072 of RFC 7919. Without this file QEMU searches a prime of its own for every migration that
 * comes in, although TLS 1.3 never asks for it: 0.2 to 1.3 s of each move were measured. */
static const char dh_params_pem[] =
    "-----BEGIN DH PARAMETERS-----\n"
    "MIIBjAKCAYEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz\n"
    "+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a\n"
    "87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7\n"
    "YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi\n"
    "7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD\n"
    "ssbzSibBsu/6iGtCOGEfz9zeNVs7ZRkDW7w09N75nAI4YbRvydbmyQd62R0mkff3\n"
    "7lmMsPrBhtkcrv4TCYUTknC0EwyTvEN5RPT9RFLi103TZPLiHnH1S/9croKrnJ32\n"
    "nuhtK8UiNjoNq8Uhl5sN6todv5pC1cRITgq80Gv6U93vPBsg7j/VnXwl5B0rZsYu\n"
    "N///////////AgECAgIBFA==\n"
    "-----END DH PARAMETERS-----\n";

static const struct {
    const char *path;
    enum pem pem;
    bool qemu; /* QEMU's user reads it */
} pki_files[] = {
    {VIRT_PKI_DIR "/cacert.pem", PEM_CA, false},
    {VIRT_PKI_DIR "/servercert.pem", PEM_CERT, false},
    {VIRT_PKI_DIR "/serverkey.pem", PEM_KEY, false},
    {VIRT_PKI_DIR "/clientcert.pem", PEM_CERT, false},
    {VIRT_PKI_DIR "/clientkey.pem", PEM_KEY, false},
    {VIRT_QEMU_PKI_DIR "/ca-cert.pem", PEM_CA, true},
    {VIRT_QEMU_PKI_DIR "/server-cert.pem", PEM_CERT, true},
    {VIRT_QEMU_PKI_DIR "/server-key.pem", PEM_KEY, true},
    {VIRT_QEMU_PKI_DIR "/client-cert.pem", PEM_CERT, true},
    {VIRT_QEMU_PKI_DIR "/client-key.pem", PEM_KEY, true},
    {VIRT_QEMU_PKI_DIR "/dh-params.pem", PEM_DH, true},
};

int virt_qemu_ids(uid_t *ret_uid, gid_t *ret_gid, struct err *e)
{
    struct passwd pw;
    struct passwd *found = NULL;
    char buf[4096];
    if (getpwnam_r(DOM_QEMU_USER, &pw, buf, sizeof(buf), &found) != 0 || !found) {
        int r = ERR_SET(e, PREFLIGHT, "there is no user " DOM_QEMU_USER);
        err_hint(e, "install libvirt-daemon-system");
        return r;
    }
    *ret_uid = found->pw_uid;
    *ret_gid = found->pw_gid;
    return 0;
}

int virt_host_dirs(struct err *e)
{
    int r = file_mkdirs("/run/mortar", 0755, e);
    r = r < 0 ? r : file_mkdirs("/var/log/mortar", 0755, e);
    /* libvirtd makes the sockets and virtlogd the logs, both as root. */
    r = r < 0 ? r : file_mkdirs(DOM_CONSOLE_DIR, 0711, e);
    r = r < 0 ? r : file_mkdirs(DOM_CHANNEL_DIR, 0711, e);
    return r < 0 ? r : file_mkdirs(DOM_CONSOLE_LOG_DIR, 0700, e);
}

/* Writes only when the text differs, so that nothing restarts for nothing. */
static int write_pem(const char *path, const char *text, mode_t mode, bool *changed, struct err *e)
{
    _cleanup_free_ char *old = NULL;
    int r = file_read(path, PEM_LIMIT_BYTES, &old, NULL, NULL);
    if (r == 0 && str_eq(old, text)) {
        return 0;
    }
    r = file_replace(path, text, strlen(text), mode, e);
    *changed = *changed || r == 0;
    return r;
}

static int give_to_group(const char *path, gid_t gid, mode_t mode, struct err *e)
{
    if (chown(path, 0, gid) < 0 || chmod(path, mode) < 0) {
        return ERR_SYS(e, IO, errno, "cannot give %s to QEMU's group", path);
    }
    return 0;
}

static int apply_pki(const struct virt_host_args *a, bool *changed, struct err *e)
{
    const char *pems[] = {[PEM_CA] = a->ca_pem,
                          [PEM_CERT] = a->cert_pem,
                          [PEM_KEY] = a->key_pem,
                          [PEM_DH] = dh_params_pem};
    uid_t uid = 0;
    gid_t gid = 0;
    int r = virt_qemu_ids(&uid, &gid, e);
    r = r < 0 ? r : file_mkdirs(VIRT_PKI_DIR, 0755, e);
    r = r < 0 ? r : file_mkdirs(VIRT_QEMU_PKI_DIR, 0755, e);
    for (size_t i = 0; i < ELEMENTS(pki_files) && r == 0; i++) {
        bool key = pki_files[i].pem == PEM_KEY;
        r = write_pem(pki_files[i].path, pems[pki_files[i].pem], key ? 0600 : 0644, changed, e);
        if (r == 0 && key && pki_files[i].qemu) {
            r = give_to_group(pki_files[i].path, gid, 0640, e);
        }
    }
    return r;
}

static int edit_conf(const char *path, const char *body, bool *changed, struct err *e)
{
    _cleanup_free_ char *old = NULL;
    _cleanup_free_ char *text = NULL;
    int r = file_read(path, CONF_LIMIT_BYTES, &old, NULL, e);
    r = r < 0 ? r : virt_conf_edit(old, body, &text, e);
    if (r < 0) {
        err_prepend(e, "%s", path);
        return r;
    }
    if (str_eq(old, text)) {
        return 0;
    }
    /* The check is done; this keeps the file's owner and permissions. */
    return file_edit_block(path, VIRT_CONF_BLOCK, body, changed, e);
}

int virt_host_apply(const struct virt_host_args *args, bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *qemu = virt_conf_qemu_text(args->storage_addr);
    _cleanup_free_ char *libvirtd = virt_conf_libvirtd_text();
    bool pki = false;
    bool one = false;
    bool two = false;
    int r = virt_host_dirs(e);
    r = r < 0 ? r : apply_pki(args, &pki, e);
    r = r < 0 ? r : edit_conf(VIRT_QEMU_CONF, qemu, &one, e);
    r = r < 0 ? r : edit_conf(VIRT_LIBVIRTD_CONF, libvirtd, &two, e);
    if (r == 0) {
        *ret_changed = pki || one || two;
    }
    return r;
}

int virt_host_remove(bool *ret_changed, struct err *e)
{
    bool one = false;
    bool two = false;
    int r = edit_conf(VIRT_QEMU_CONF, NULL, &one, e);
    r = r < 0 ? r : edit_conf(VIRT_LIBVIRTD_CONF, NULL, &two, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < ELEMENTS(pki_files); i++) {
        (void)unlink(pki_files[i].path); /* what cannot go stays, and is not used by anything */
    }
    (void)rmdir(VIRT_PKI_DIR);
    (void)rmdir(VIRT_QEMU_PKI_DIR);
    *ret_changed = one || two;
    return 0;
}
