/* SPDX-License-Identifier: Apache-2.0
 * Questions to the agents of other hosts, through their mortar-api, with this host's certificate. */
#pragma once

#include "base/json.h"

/**
 * remote_get - GET @path of the host at @address
 * @timeout_us: for the whole call        @ret: the answer's JSON; new reference, set on success
 * Return: 0; what the other agent refuses with, as its error; -ERR_REMOTE, -ERR_TLS, -ERR_TIMEOUT
 */
int remote_get(const char *address, const char *path, uint64_t timeout_us, json_t **ret, struct err *e);
