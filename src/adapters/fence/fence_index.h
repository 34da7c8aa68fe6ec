/* SPDX-License-Identifier: Apache-2.0
 * Heal indices of a brick of this host, read from its directory without Gluster: which pieces of
 * which images somebody was just writing, or another copy lacks (facts/gluster.md 2.8, 4.6). */
#pragma once

#include "adapters/fence/fence_index_parse.h"

#define FENCE_INDEX_MAX 10000 /* entries; a heal of a whole brick has more, a cut a few dozen */

/**
 * fence_index_list - all entries of the indices `dirty` and `xattrop`
 *
 * Pieces that are being written come and go; a complete answer about an image needs that nobody
 * writes it: after the cut and the drain. Blocks while the brick's disk hangs.
 * @brick: its directory        @limit: at most this many entries, FENCE_INDEX_MAX
 * @ret: zero-initialised; set on success; fence_index_done() frees
 * Return: 0 (look at @ret->truncated); -ERR_NOT_FOUND when that is no brick that ever ran; -ERR_IO
 */
int fence_index_list(const char *brick, size_t limit, struct fence_index *ret, struct err *e);
