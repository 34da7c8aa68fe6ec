/* SPDX-License-Identifier: Apache-2.0
 * Prepares libvirt on this host, and undoes it. Idempotent; blocks on small files only. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct virt_host_args {
    const char *storage_addr; /* where migrations come in */
    const char *ca_pem;       /* the cluster's CA for hosts: whoever has a certificate of it may */
    const char *cert_pem;     /* drive libvirtd. Server and client use; SAN with both addresses */
    const char *key_pem;
};

/**
 * virt_host_apply - directories, certificates, and our blocks in libvirt's two files
 * @ret_changed: true when libvirtd must be restarted (running QEMUs do not notice)
 * Return: 0, -ERR_FOREIGN when the user's own settings contradict, -ERR_PREFLIGHT when libvirt's
 *         user is missing (its package is not installed), -ERR_IO, -ERR_LIMIT or -ERR_PARSE
 */
int virt_host_apply(const struct virt_host_args *args, bool *ret_changed, struct err *e);

/** virt_host_remove - take out what virt_host_apply() put in. Return: as above */
int virt_host_remove(bool *ret_changed, struct err *e);

/** virt_host_dirs - directories for sockets and logs; /run forgets them at boot. Return: 0 or -ERR_IO */
int virt_host_dirs(struct err *e);

/**
 * virt_qemu_ids - who QEMU runs as, and so must own images
 * Return: 0 or -ERR_PREFLIGHT
 */
int virt_qemu_ids(uid_t *ret_uid, gid_t *ret_gid, struct err *e);
