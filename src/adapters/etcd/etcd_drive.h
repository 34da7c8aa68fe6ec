/* SPDX-License-Identifier: Apache-2.0
 * The store in a real etcd, through its JSON gateway. */
#pragma once

#include "adapters/etcd/store.h"

/* PEM files. All three for https; plain http has none and is for tests on one machine. */
struct etcd_tls {
    const char *ca_file;
    const char *cert_file; /* without CN: facts/ha.md 2.3 */
    const char *key_file;
};

struct etcd_opts {
    const char *const *urls; /* the members' client URLs, ended by NULL; 1 to STORE_ENDPOINTS_MAX */
    struct etcd_tls tls;
    const char *writer; /* legal name; one living handle per id in the cluster: "h1-agent" */
};

/**
 * etcd_open - a handle; connects with the first call
 * @o: copied        @ret: freed with store_free()
 * Return: 0 or -ERR_INVALID
 */
int etcd_open(const struct etcd_opts *o, struct store **ret, struct err *e);
