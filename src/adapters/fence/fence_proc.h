/* SPDX-License-Identifier: Apache-2.0
 * What /proc tells of one process. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/**
 * fence_proc_read - /proc/@pid/@name, at most 256 KiB
 * @ret_len: its length, zeros within included; may be NULL
 * Return: terminated, the caller's; NULL when it is gone, too long or not to be read
 */
char *fence_proc_read(pid_t pid, const char *name, size_t *ret_len);
