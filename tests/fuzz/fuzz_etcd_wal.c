/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the log of a foreign etcd. The corpus is tests/golden/host, with logs of Debian's. */
#include <stdint.h>

#include "adapters/host/etcd_wal_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)etcd_wal_is_unused(data, size); /* either is fine */
    return 0;
}
