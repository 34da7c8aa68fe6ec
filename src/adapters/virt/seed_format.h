/* SPDX-License-Identifier: Apache-2.0
 * The NoCloud seed that cloud-init reads in the guest: three files on an ISO 9660 image with the
 * label CIDATA. Pure: the same seed for the same VM. We write the few sectors ourselves, since a
 * program for it would be one more thing that must be there on every host.
 *
 * Citation: ECMA-119; SUSP and RRIP 1.10 for the names; cloud-init's NoCloud documentation. Not
 * handled: more files, directories, Joliet (readers without Rock Ridge see USER-DATA). */
#pragma once

#include "base/json.h"
#include "base/str.h"

struct seed_spec {
    const char *uuid;       /* of the VM: cloud-init does first-boot work once for each */
    const char *hostname;
    const json_t *ssh_keys; /* array of lines for authorized_keys, or NULL: for the default user */
    const char *user_data;  /* as the user wrote it, or NULL */
    const char *const *macs; /* one for each network card, ended by NULL: each gets DHCP */
};

/** seed_format_meta - meta-data, as JSON, which is YAML. Caller frees. */
char *seed_format_meta(const struct seed_spec *s);
/** seed_format_network - network-config, version 2, cards matched by MAC. Caller frees. */
char *seed_format_network(const struct seed_spec *s);

/**
 * seed_format - the ISO
 * @ret: empty, without limit; ended by the caller
 */
void seed_format(const struct seed_spec *s, struct sbuf *ret);
