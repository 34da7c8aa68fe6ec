/* SPDX-License-Identifier: Apache-2.0
 * The cluster's history in words, derived from how records change. Each agent keeps the newest ones
 * of its own life; nothing rests on them. */
#pragma once

#include "core/core.h"

#define EVENTS_MAX 500

/**
 * events_note - a record has changed; adds what that means for people, if anything
 * @old: value before, NULL when it is new        @value: now, NULL when it was deleted
 * @revision: of the change
 */
void events_note(struct core *c, const char *key, const json_t *old, const json_t *value,
                 uint64_t revision);

/** events_since - {"items": [{rev, when (ms), severity, object, text}], "rev"} newer than @revision. New reference. */
json_t *events_since(const struct core *c, uint64_t revision);
