/* SPDX-License-Identifier: Apache-2.0
 * Sizes as people write and read them. All units are powers of 1024. */
#pragma once

#include "base/err.h"

/**
 * units_parse_size - "64M", "10G", "1.5T", "4096" (bytes), "10GiB"
 * @min_bytes, @max_bytes: inclusive range        @ret_bytes: set on success
 * Return: 0 or -ERR_INVALID, whose message names the range
 */
int units_parse_size(const char *s, uint64_t min_bytes, uint64_t max_bytes, uint64_t *ret_bytes,
                     struct err *e);

/** units_format_size - "1.5 GiB", "512 B" into @buf of at least 24 bytes. Return: @buf */
const char *units_format_size(uint64_t bytes, char *buf, size_t size);
