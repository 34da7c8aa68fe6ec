/* SPDX-License-Identifier: Apache-2.0
 * What both the preparing and the observing of bricks must agree on. */
#pragma once

#include <stdbool.h>

#include "base/json.h"

/** brick_dir_of - what GlusterFS gets of a brick: PATH/brick; a local pool is the path itself. Free it. */
char *brick_dir_of(const json_t *brick, bool is_local);
/** brick_uuid_of - uuid of brick @index of a pool, made from the pool's. Free it. */
char *brick_uuid_of(const char *pool_uuid, size_t index);
/**
 * brick_seen_record - {"state":"ready","sector_bytes":N,"pool_uuid":U} after a successful prepare,
 * else {"state":"absent"}. The reader compares U: a pool of this name may have been before.
 */
json_t *brick_seen_record(const char *pool);
/** brick_save_record - remember that the brick of @pool with @pool_uuid is ready */
int brick_save_record(const char *pool, const char *pool_uuid, uint64_t sector_bytes, struct err *e);
/** brick_drop_record - forget it */
void brick_drop_record(const char *pool);
