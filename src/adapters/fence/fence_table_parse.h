/* SPDX-License-Identifier: Apache-2.0
 * What the kernel says about the fence's table, and what sockets are left. Pure. */
#pragma once

#include "adapters/fence/fence_table_format.h"

#define FENCE_NFT_LIMIT_BYTES (1 * MIB)

/**
 * parse_fence_table - output of `nft -j list table inet mortar_fence`
 * @ret: zero-initialised; set on success, sorted; fence_sets_done() frees
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int parse_fence_table(const char *text, size_t len, struct fence_sets *ret, struct err *e);

/**
 * count_fence_sockets - lines of `ss -H -n -t -a` that can still carry data
 * @text: terminated. Sockets in TIME-WAIT hold nothing, and are not counted
 * @ret_first: set when not NULL and there is one: "STATE LOCAL PEER"; caller frees
 */
size_t count_fence_sockets(const char *text, char **ret_first);
