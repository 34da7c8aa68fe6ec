/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_pieces.h"

#include <stdio.h>

#include "base/str.h"

static void add_piece(struct fence_pieces *p, uint64_t shard)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->shards[i] == shard) {
            return;
        }
    }
    if (p->n < FENCE_LAUNDER_SHARDS_MAX) {
        p->shards[p->n++] = shard;
    } else {
        p->is_cut = true;
    }
}

static bool accuses(const json_t *entry, uint32_t counting)
{
    size_t i;
    json_t *n;
    json_array_foreach(json_object_get(entry, "blames"), i, n) {
        if (counting & (UINT32_C(1) << (json_integer_value(n) & 31))) {
            return true;
        }
    }
    return false;
}

void fence_pieces_add(struct fence_pieces *p, const json_t *index, const char *gfid, uint32_t counting,
                      const char *host)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(index, "entries"), i, entry) {
        unsigned long long shard = json_u64_of(entry, "shard", 0);
        if (!str_eq(json_text_of(entry, "base_gfid"), gfid) ||
            !str_eq(json_text_of(entry, "kind"), "file")) {
            continue;
        }
        add_piece(p, shard);
        if (accuses(entry, counting)) {
            (void)snprintf(p->healing, sizeof(p->healing), "%s says that piece %llu has to be healed", host, shard);
        }
        if (json_bool_of(entry, "dirty", true)) { /* unsaid: of a version that did not say it */
            (void)snprintf(p->open, sizeof(p->open), "%s does not know the end of a write to piece %llu", host, shard);
        }
    }
}
