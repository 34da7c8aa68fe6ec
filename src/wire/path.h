/* SPDX-License-Identifier: Apache-2.0
 * Paths of the agent's API: a template with holes for names, percent-encoded both ways. */
#pragma once

#include "base/err.h"

/**
 * wire_path_format - fill each "{}" of @template with the next of @names, percent-encoded
 * @names: NULL-terminated, as many as there are holes. Caller frees.
 */
char *wire_path_format(const char *template, const char *const *names);

/**
 * wire_path_decode - undo the percent-encoding of one path segment or query value
 * @len: bytes of @text        @ret: terminated; caller frees
 * Return: 0, or -ERR_PARSE for a broken escape or a zero byte
 */
int wire_path_decode(const char *text, size_t len, char **ret, struct err *e);
