/* SPDX-License-Identifier: Apache-2.0
 * What libvirt must be told on a host, as texts. Pure. libvirtd.conf and qemu.conf belong to
 * Debian's package and have no directory for additions, so they get a marked block (base/block.h)
 * with only the settings we need; certificates lie in directories of our own, so that nobody's
 * libvirt set-up is overwritten. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define VIRT_CONF_BLOCK "libvirt"
#define VIRT_QEMU_CONF "/etc/libvirt/qemu.conf"
#define VIRT_LIBVIRTD_CONF "/etc/libvirt/libvirtd.conf"

/* For libvirtd as server (named in libvirtd.conf) and as client of another one (pkipath= in the
 * URI): cacert.pem clientcert.pem clientkey.pem servercert.pem serverkey.pem */
#define VIRT_PKI_DIR "/etc/mortar/pki/libvirt"
/* For QEMU: ca-cert.pem server-cert.pem server-key.pem client-cert.pem client-key.pem dh-params.pem.
 * Below /etc/pki/qemu because Debian's AppArmor profile of QEMU lets it read there. */
#define VIRT_QEMU_PKI_DIR "/etc/pki/qemu/mortar"

/* Above the bricks' ports 49152–60999 (facts/ha.md 4.4); 64 migrations at once. */
#define VIRT_TLS_PORT 16514 /* libvirtd, TLS */
#define VIRT_MIGRATE_PORT_MIN 61152
#define VIRT_MIGRATE_PORT_MAX 61215

/** virt_conf_qemu_text - the block for qemu.conf. @storage_addr: where migrations come in. Caller frees. */
char *virt_conf_qemu_text(const char *storage_addr);
/** virt_conf_libvirtd_text - the block for libvirtd.conf. Caller frees. */
char *virt_conf_libvirtd_text(void);

/**
 * virt_conf_edit - put our block into a file of libvirt, or take it out
 * @text: the whole file        @body: of virt_conf_…_text(), NULL takes it out
 * @ret: the new text; caller frees
 * Return: 0; -ERR_FOREIGN when the rest of the file sets one of our settings to something else
 *         (libvirt takes the first of two, so ours would silently not hold); -ERR_PARSE
 */
int virt_conf_edit(const char *text, const char *body, char **ret, struct err *e);
