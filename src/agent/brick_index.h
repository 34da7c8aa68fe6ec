/* SPDX-License-Identifier: Apache-2.0
 * What a brick of any host lists for heal, now. */
#pragma once

#include "agent/env.h"

/**
 * brick_index - read it here, or ask the agent of its host, which has 2 s to answer
 * @brick: {"host":H,"mgmt":ADDRESS,"brick":{…}}        @ret: as of format_fence_index(); new reference, set on success
 */
int brick_index(const struct env *env, const char *volume, const json_t *brick, json_t **ret, struct err *e);
