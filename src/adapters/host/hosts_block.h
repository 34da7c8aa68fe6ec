/* SPDX-License-Identifier: Apache-2.0
 * The cluster's hosts in /etc/hosts, as a marked block (base/block.h): names must resolve at once
 * and without DNS, else each migration waits for it (design.md 6). */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct hosts_entry {
    const char *name;    /* cluster name of the host */
    const char *address; /* on the storage network */
};

/** hosts_format_block - the lines, in the order given; caller sorts. Pure. Caller frees. */
char *hosts_format_block(const struct hosts_entry *entries, size_t n);

/**
 * hosts_apply - /etc/hosts holds exactly these cluster hosts, besides what others wrote
 * @path: NULL means /etc/hosts        @n: 0 takes the block out        @ret_changed: may be NULL
 * Return: 0, -ERR_IO, -ERR_LIMIT or -ERR_PARSE
 */
int hosts_apply(const char *path, const struct hosts_entry *entries, size_t n, bool *ret_changed,
                struct err *e);
