/* SPDX-License-Identifier: Apache-2.0
 * What hurts a host is confirmed by its name. */
#pragma once

#include "cli/args.h"

/**
 * confirm_host - let the user type the host's name, unless --yes was said; takes "yes" out of the values
 * @what: begins a sentence, "a drill"
 * Return: 0; -ERR_CANCELLED for another answer; -ERR_USAGE without a terminal
 */
int confirm_host(struct args *a, const char *host, const char *what, struct err *e);
