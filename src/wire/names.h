/* SPDX-License-Identifier: Apache-2.0
 * What both ends of the agent's API agree on: where it listens, headers, limits. The requests and
 * replies themselves are JSON objects, listed in docs/cli.md. */
#pragma once

#include "base/util.h"

#define WIRE_SOCKET_PATH "/run/mortar/agent.sock"
#define WIRE_SOCKET_ENV "MORTAR_SOCKET"
#define WIRE_API_PORT 8843

/* Each changing request carries a random id, so that one sent twice (io/http.h) is done once: see
 * docs/cli.md, and agent/once.h for what becomes of it. */
#define WIRE_REQUEST_ID_HEADER "Mortar-Request-Id"
/* Value of the Upgrade header that turns GET /v1/vms/NAME/console into a raw byte stream. */
#define WIRE_CONSOLE_UPGRADE "mortar-console"

/* Longest wait=S of a long poll that the agent grants. */
#define WIRE_WAIT_MAX_S 60

/* Furthest look back of GET /v1/vms/NAME/why. */
#define WIRE_WHY_SINCE_MAX_S (30 * 24 * 3600)

#define WIRE_CLOUD_INIT_LIMIT_BYTES (256 * KIB)
#define WIRE_SSH_KEYS_LIMIT_BYTES (64 * KIB)
