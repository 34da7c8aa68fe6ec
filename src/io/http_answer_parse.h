/* SPDX-License-Identifier: Apache-2.0
 * The head of an HTTP/1.1 answer as far as http_stream.c needs it. Pure. */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define HTTP_ANSWER_BODY_LIMIT_BYTES ((size_t)65536)

struct http_answer {
    int status;      /* 100 to 599 */
    size_t body_len; /* 0 when not told, or more than the limit */
};

/** http_answer_parse - @head: up to and with the empty line. Return: 0 or -ERR_PARSE */
int http_answer_parse(const char *head, struct http_answer *ret, struct err *e);
