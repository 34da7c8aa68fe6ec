/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the head of the answer that turns a connection into a stream. */
#include <assert.h>

#include "base/str.h"
#include "io/http_answer_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *head = str_printf("%.*s", (int)size, (const char *)data);
    struct http_answer a = {0};
    if (http_answer_parse(head, &a, NULL) == 0) {
        assert(a.status >= 100 && a.status <= 599 && a.body_len <= HTTP_ANSWER_BODY_LIMIT_BYTES);
    }
    return 0;
}
