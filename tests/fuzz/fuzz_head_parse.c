/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the head of an HTTP answer. */
#include <assert.h>

#include "api/head_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_head_ struct head h = {0};
    if (head_parse((const char *)data, size, &h, NULL) == 1) {
        assert(h.size <= size && h.status >= 101 && h.status <= 599);
    }
    return 0;
}
