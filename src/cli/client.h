/* SPDX-License-Identifier: Apache-2.0
 * JSON calls to an agent, over its unix socket or over HTTPS to mortar-api of another host. */
#pragma once

#include "base/json.h"
#include "io/http_stream.h"

struct client;

/**
 * client_new - a client; nothing is connected yet
 * @socket: path of the agent's socket        @host: address of another host instead, or NULL
 * Return: 0, or -ERR_DENIED when there is no certificate for @host
 */
int client_new(const char *socket, const char *host, struct client **ret, struct err *e);
void client_free(struct client *c);
DEFINE_FREEP(struct client, client_free)

/**
 * client_stream - GET @path upgraded to a raw stream of @protocol
 * Return: 0; -ERR_NO_AGENT, -ERR_REMOTE, -ERR_TLS or -ERR_TIMEOUT; else the error the agent gave
 */
int client_stream(const struct client *c, const char *path, const char *protocol,
                  struct http_stream **ret, struct err *e);

/**
 * client_call - one request
 * @method: NULL for GET        @body: NULL for none        @timeout_us: for the whole call
 * @ret: the reply's JSON, a JSON null for an empty one; one reference owned by the caller
 * Return: 0; -ERR_NO_AGENT when nobody listens (nothing was done); -ERR_TIMEOUT when it may have
 *         been done; else the error that the agent gave
 */
int client_call(struct client *c, const char *method, const char *path, const json_t *body,
                uint64_t timeout_us, json_t **ret, struct err *e);

/**
 * client_change - one change; for 10 s again while the store does not answer, so that no election troubles anybody
 * What is refused for that was not begun, and all tries are one request to the agent.
 * Return: as client_call()
 */
int client_change(struct client *c, const char *method, const char *path, const json_t *body,
                  uint64_t timeout_us, json_t **ret, struct err *e);

/** client_reply - what an answer of @status with @body means; as client_call() returns it */
int client_reply(int status, const char *body, size_t len, json_t **ret, struct err *e);
