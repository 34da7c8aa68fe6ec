/* SPDX-License-Identifier: Apache-2.0
 * Requests of users: validated against the world, then turned into commits, most of which make a
 * task. The reply is given when the commit "req/ID" has ended. */
#pragma once

#include "core/core.h"

/**
 * request_take - handle a "request" event {verb, args, task: fresh id}
 * Return: 0 and one action under the id "req/ID" (a commit, or local.save for local tasks), or the
 * reason for the refusal
 */
int request_take(struct core *c, const json_t *event, struct err *e);

/**
 * request_under_way - id of this host's own task (init, join, leave) that does just this already, or NULL
 * @args: as of the request. Borrowed until the next step.
 */
const char *request_under_way(const struct core *c, const char *verb, const json_t *args);

/** request_refuse_without_store - set @e for what needs the store. Return: -ERR_UNAVAILABLE */
int request_refuse_without_store(struct err *e);

/** request_check - has each field of @args that is known its type? Return: 0 or -ERR_INVALID */
int request_check(const json_t *args, struct err *e);
