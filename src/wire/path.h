/* SPDX-License-Identifier: Apache-2.0
 * Paths of the agent's API: a template with holes for names. (io/httpd.h decodes them.) */
#pragma once

#include "base/err.h"

/**
 * wire_path_format - fill each "{}" of @template with the next of @names, percent-encoded
 * @names: NULL-terminated, as many as there are holes. Caller frees.
 */
char *wire_path_format(const char *template, const char *const *names);
