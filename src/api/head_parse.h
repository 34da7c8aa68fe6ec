/* SPDX-License-Identifier: Apache-2.0
 * The head of an HTTP/1.1 answer, as the agent sends it. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define HEAD_LIMIT_BYTES (16 * KIB)

struct head {
    unsigned status;
    bool has_length;
    uint64_t length;
    char *content_type; /* NULL when absent */
    char *upgrade;      /* NULL when absent */
    size_t size;        /* of the head itself, with the empty line */
};
void head_done(struct head *h);
#define _cleanup_head_ _cleanup_(head_done)

/**
 * head_parse - read the head at the start of @data
 * @ret: zero-initialised; filled when the head is whole; head_done() ends it
 * Return: 1 when whole, 0 when more bytes are needed, -ERR_PARSE, -ERR_LIMIT
 */
int head_parse(const char *data, size_t len, struct head *ret, struct err *e);
