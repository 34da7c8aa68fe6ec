/* SPDX-License-Identifier: Apache-2.0 */
#include "io/http_answer_parse.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static size_t content_length(const char *head)
{
    uint64_t n = 0;
    const char *field = strcasestr(head, "\r\nContent-Length:");
    const char *digits = field ? field + strlen("\r\nContent-Length:") : "";
    digits += strspn(digits, " ");
    _cleanup_free_ char *text = str_printf("%.*s", (int)strcspn(digits, "\r"), digits);
    return str_parse_u64(text, HTTP_ANSWER_BODY_LIMIT_BYTES, &n, NULL) == 0 ? (size_t)n : 0;
}

int http_answer_parse(const char *head, struct http_answer *ret, struct err *e)
{
    int status = 0;
    if (sscanf(head, "HTTP/1.1 %3d ", &status) != 1 || status < 100 || status > 599) {
        return ERR_SET(e, PARSE, "the answer is not HTTP");
    }
    *ret = (struct http_answer){.status = status, .body_len = content_length(head)};
    return 0;
}
