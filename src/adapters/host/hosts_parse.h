/* SPDX-License-Identifier: Apache-2.0
 * Names and addresses without DNS: a resolver that does not answer would hold a worker. Pure. */
#pragma once

#include <stdbool.h>

/** hosts_is_address - is @text an IPv4 or IPv6 address? */
bool hosts_is_address(const char *text);

/**
 * hosts_find_address - the address of @name in the text of a hosts(5) file, compared without case
 * Return: the first one that is an address, or NULL. Caller frees.
 */
char *hosts_find_address(const char *text, const char *name);
