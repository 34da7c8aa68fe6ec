/* SPDX-License-Identifier: Apache-2.0
 * The next step after a refusal, for those that have no better one of their own. */
#pragma once

#include "base/err.h"
#include "base/json.h"

/**
 * request_hint - what the user of the command line can do, unless @e has a hint already
 * @verb: of the request, "vm.start"        @args: of the request; its name is used when it is one
 */
void request_hint(const char *verb, const json_t *args, struct err *e);
