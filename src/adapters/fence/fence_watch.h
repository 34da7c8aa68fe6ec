/* SPDX-License-Identifier: Apache-2.0
 * Whether somebody changes the fence's table: `systemctl restart nftables` and `nft flush ruleset` take it away. The kernel
 * tells of each change by a message (nfnetlink, group NFNLGRP_NFTABLES), ours included. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/** fence_watch_open - @ret_fd: readable when something was told; never blocks; the caller closes it. Return: 0 or -ERR_IO */
int fence_watch_open(int *ret_fd, struct err *e);

/**
 * fence_watch_read - take all that was told
 * Return: did any of it concern the fence's table, or was something lost (too much at once)?
 */
bool fence_watch_read(int fd);
