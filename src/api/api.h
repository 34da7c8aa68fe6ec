/* SPDX-License-Identifier: Apache-2.0
 * mortar-api: TLS to the outside, HTTP to the agent's socket, the policy of api/gate.h between. */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"

struct api;

struct api_opts {
    const char *listen;       /* as for tls_server_listen() */
    const char *agent_socket; /* path */
    const char *cert_dir;     /* with ca.crt, host.crt, host.key */
};

/**
 * api_new - read the certificates and listen. What needs rights is done when it returns.
 * @ret: owned by the caller
 * Return: 0, -ERR_TLS, -ERR_NOT_FOUND, -ERR_INVALID, -ERR_IO
 */
int api_new(struct loop *l, const struct api_opts *o, struct api **ret, struct err *e);
/** api_free - drop all connections */
void api_free(struct api *a);
DEFINE_FREEP(struct api, api_free)

/** api_port - the port listened on */
uint16_t api_port(const struct api *a);
