/* SPDX-License-Identifier: Apache-2.0
 * Left at Debian's defaults on purpose: user and group (libvirt-qemu), the security driver
 * (AppArmor where the kernel has it), dynamic_ownership (our disks say relabel='no' themselves),
 * stdio_handler (virtlogd bounds and rotates the console logs). */
#include "adapters/virt/virt_conf.h"

#include <assert.h>
#include <string.h>

#include "base/block.h"
#include "base/str.h"

char *virt_conf_qemu_text(const char *storage_addr)
{
    return str_printf("# Migrations: own ports, on the storage network, always encrypted.\n"
                      "migration_address = \"%s\"\n"
                      "migration_host = \"%s\"\n"
                      "migration_port_min = %d\n"
                      "migration_port_max = %d\n"
                      "migrate_tls_x509_cert_dir = \"%s\"\n"
                      "migrate_tls_x509_verify = 1\n"
                      "migrate_tls_force = 1\n"
                      "# A broken connection is noticed after 4 s instead of 30 s.\n"
                      "keepalive_interval = 1\n"
                      "keepalive_count = 3\n",
                      storage_addr, storage_addr, VIRT_MIGRATE_PORT_MIN, VIRT_MIGRATE_PORT_MAX,
                      VIRT_QEMU_PKI_DIR);
}

char *virt_conf_libvirtd_text(void)
{
    return str_dup("# Other hosts of the cluster connect with a certificate of its own CA.\n"
                   "ca_file = \"" VIRT_PKI_DIR "/cacert.pem\"\n"
                   "cert_file = \"" VIRT_PKI_DIR "/servercert.pem\"\n"
                   "key_file = \"" VIRT_PKI_DIR "/serverkey.pem\"\n"
                   "auth_tls = \"none\"\n"
                   "tls_no_verify_certificate = 0\n"
                   "# Mainboards with the same serial number exist; libvirt would take them for one host.\n"
                   "host_uuid_source = \"machine-id\"\n"
                   "# Each migration keeps one worker busy on both sides.\n"
                   "min_workers = 8\n"
                   "# A vanished source is noticed after 8 s, and its half-made copy is ended.\n"
                   "keepalive_interval = 2\n"
                   "keepalive_count = 3\n");
}

struct setting {
    char *key;
    char *value;
};

static void setting_done(struct setting *s)
{
    free(s->key);
    free(s->value);
}

/* "key = value" with any spacing and without comment; false for other lines */
static bool parse_setting(const char *line, struct setting *ret)
{
    line += strspn(line, " \t");
    size_t key_len = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    const char *p = line + key_len + strspn(line + key_len, " \t");
    if (!key_len || *p != '=') {
        return false;
    }
    p++;
    p += strspn(p, " \t");
    size_t n = strcspn(p, "#\n");
    while (n && strchr(" \t\r", p[n - 1])) {
        n--;
    }
    ret->key = str_printf("%.*s", (int)key_len, line);
    ret->value = str_printf("%.*s", (int)n, p);
    return true;
}

static int check_setting(const struct setting *ours, const struct strv *outside, struct err *e)
{
    for (size_t i = 0; i < outside->n; i++) {
        _cleanup_(setting_done) struct setting s = {0};
        if (parse_setting(outside->v[i], &s) && str_eq(s.key, ours->key) &&
            !str_eq(s.value, ours->value)) {
            int r = ERR_SET(e, FOREIGN, "'%s = %s' is set already, Mortar needs %s", s.key, s.value,
                            ours->value);
            err_hint(e, "take that line out, or keep the host out of the cluster");
            return r;
        }
    }
    return 0;
}

int virt_conf_edit(const char *text, const char *body, char **ret, struct err *e)
{
    _cleanup_free_ char *without = NULL;
    _cleanup_strv_ struct strv outside = {0};
    _cleanup_strv_ struct strv ours = {0};
    assert(text);
    int r = block_set(text, VIRT_CONF_BLOCK, NULL, &without, e);
    if (r < 0) {
        return r;
    }
    strv_split(&outside, without, "\n");
    strv_split(&ours, body ? body : "", "\n");
    for (size_t i = 0; i < ours.n && r == 0; i++) {
        _cleanup_(setting_done) struct setting s = {0};
        r = parse_setting(ours.v[i], &s) ? check_setting(&s, &outside, e) : 0;
    }
    return r < 0 ? r : block_set(text, VIRT_CONF_BLOCK, body, ret, e);
}
