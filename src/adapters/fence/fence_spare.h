/* SPDX-License-Identifier: Apache-2.0
 * May the process of a brick end, as the other bricks of its volume list what is to be healed? Pure. */
#pragma once

#include "adapters/fence/fence_index_parse.h"
#include "base/json.h"

/* What another brick of the volume lists. */
struct fence_look {
    const char *host;
    bool is_arbiter;
    json_t *index; /* as of format_fence_index() */
};

/**
 * fence_spare - do the other bricks have all that the brick VOLUME-client-@own has?
 * @looks: of all other bricks        @own: the only one that may be blamed
 *
 * "Nothing is listed" does not say that a copy is whole: a data brick that a write has not reached lists less than the
 * arbiter, which has its mark (docs/evidence/flip.md, test_6), or than another data brick. So it must list what all list.
 * Return: 0; -ERR_BUSY, and @e says for whose list
 */
int fence_spare(const struct fence_look *looks, size_t n, unsigned own, struct err *e);
