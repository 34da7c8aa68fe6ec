/* SPDX-License-Identifier: Apache-2.0
 * The agent's end of mortar-guard's control socket. Blocking, with deadlines. */
#pragma once

#include "adapters/guard/guard_text.h"

#define GUARD_SOCKET "/run/mortar/guard.sock"
#define GUARD_CONFIG "/var/lib/mortar/guard/config"

struct guard_link;

/** guard_link_open - connect. Return: 0 or -ERR_UNAVAILABLE when no guard listens */
int guard_link_open(const char *path, struct guard_link **ret, struct err *e);
void guard_link_close(struct guard_link *g);
DEFINE_FREEP(struct guard_link, guard_link_close)

/** guard_link_send - one command. Return: 0, -ERR_UNAVAILABLE when the guard has gone */
int guard_link_send(struct guard_link *g, const char *text, struct err *e);

/**
 * guard_link_next - the next status
 * @ret: as parse_guard_status(); new reference
 * Return: 0; -ERR_TIMEOUT when none came within @timeout_us; -ERR_UNAVAILABLE when the guard has gone;
 *         -ERR_PARSE, -ERR_LIMIT
 */
int guard_link_next(struct guard_link *g, uint64_t timeout_us, json_t **ret, struct err *e);
