/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a statedump, as words of nft and ss, as a record, as names and attributes of a brick.
 * The corpus is tests/golden/fence. */
#include <string.h>

#include "adapters/fence/fence_dump_parse.h"
#include "adapters/fence/fence_index_parse.h"
#include "adapters/fence/fence_table_parse.h"
#include "adapters/fence/fence_watch_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_drain(const char *text, size_t size)
{
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    _cleanup_fence_dump_ struct fence_dump d = {0};
    if (parse_fence_dump(text, size, &d, NULL) == 0) {
        fence_drain_step(&s, &d, "g1");
        fence_drain_step(&s, &d, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xcalloc(size + 1, 1); /* with zeros within, as the files may have */
    _cleanup_free_ char *addr = NULL;
    _cleanup_free_ char *first = NULL;
    _cleanup_fence_sets_ struct fence_sets sets = {0};
    _cleanup_fence_record_ struct fence_record record = {0};
    struct fence_entry entry = {0};
    memcpy(text, data, size);
    run_drain(text, size);
    (void)parse_fence_table(text, size, &sets, NULL); /* refusing is fine, too */
    (void)parse_fence_watch(data, size);
    (void)parse_fence_record(text, size, &record, NULL);
    (void)count_fence_sockets(text, &first);
    (void)fence_addr_parse(text, &addr, NULL, NULL);
    (void)fence_cmdline_is_brick(text, size, "vms", "/srv/vms");
    (void)fence_status_takes(text, 10);
    (void)parse_fence_gfid2path(text, size, &entry, NULL);
    (void)parse_fence_blame(text, data, size, &entry, NULL);
    (void)parse_fence_shard_name(text, entry.base_gfid, &entry.shard);
    return 0;
}
