/* SPDX-License-Identifier: Apache-2.0
 * HTTP upgrade (RFC 9110 7.8) of a connection to a unix socket into a raw byte stream. */
#pragma once

#include "base/err.h"

/**
 * upgrade_open - ask for @path with "Upgrade: @protocol"
 * @ret_fd: the stream, blocking; the caller closes it
 * Return: 0; -ERR_NO_AGENT or -ERR_DENIED when it cannot connect; -ERR_TIMEOUT;
 *         else the agent's error
 */
int upgrade_open(const char *socket_path, const char *path, const char *protocol, int *ret_fd,
                 struct err *e);
