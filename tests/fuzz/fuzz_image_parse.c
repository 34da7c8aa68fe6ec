/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the begin of a disk image, as qemu-img's words and as its progress. */
#include <assert.h>

#include "adapters/virt/image_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_head(const uint8_t *data, size_t size, uint64_t file_bytes)
{
    struct image_head h;
    if (image_parse_head(data, size, file_bytes, NULL, &h, NULL) == 0) {
        assert(h.virtual_bytes > 0 && h.virtual_bytes <= IMAGE_VIRTUAL_MAX_BYTES);
        assert(h.virtual_bytes % 512 == 0 || h.format == IMAGE_QCOW2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_progress_text p = {0};
    uint64_t bytes = 0;
    unsigned bp = 0;
    check_head(data, size, size);
    check_head(data, size, UINT64_MAX);
    if (image_parse_info((const char *)data, size, &bytes, NULL) == 0) {
        assert(bytes > 0 && bytes <= IMAGE_VIRTUAL_MAX_BYTES);
    }
    if (image_parse_progress(&p, (const char *)data, size, &bp)) {
        assert(bp <= 10000);
    }
    return 0;
}
