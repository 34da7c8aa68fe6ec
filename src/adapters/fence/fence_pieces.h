/* SPDX-License-Identifier: Apache-2.0
 * What the bricks that count say about the pieces of one image. Pure. */
#pragma once

#include "adapters/fence/fence_launder.h"
#include "base/json.h"

struct fence_pieces {
    uint64_t shards[FENCE_LAUNDER_SHARDS_MAX]; /* those that any brick lists */
    size_t n;
    bool is_cut; /* they list more than fit: what is here must not be taken for all */
    char healing[160]; /* a piece whose copies that count differ, or "" */
    char open[160];    /* a piece of which a write was begun, and its end is not known, or "" */
};

/**
 * fence_pieces_add - what one brick lists
 * @index: as of format_fence_index()        @gfid: of the image        @host: of the brick, for the texts
 * @counting: bit N: the brick VOLUME-client-N is asked. A mark against one that is cut off is what makes
 * it a sink when it returns (A9): as it should be
 */
void fence_pieces_add(struct fence_pieces *p, const json_t *index, const char *gfid, uint32_t counting,
                      const char *host);
