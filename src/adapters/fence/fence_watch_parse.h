/* SPDX-License-Identifier: Apache-2.0
 * What the kernel tells of changes to the packet filter. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * parse_fence_watch - does one of these netlink messages concern the fence's table?
 * @buf: of any content and size, unaligned
 * Return: also true for what is cut or not understood: to look once more is harmless
 */
bool parse_fence_watch(const void *buf, size_t len);
