/* SPDX-License-Identifier: Apache-2.0
 * The flight recorder: what the core was fed and what it asked for, in two files of bounded size that
 * take turns. Each begins with the core's state (core/flight.h), so that it can be replayed alone. */
#pragma once

#include "core/core.h"

#define RECORDER_FILE "events.jsonl" /* and events.jsonl.1, the one before */
#define RECORDER_MAX_BYTES (16 * MIB)

struct recorder;

/**
 * recorder_new - a new file in @dir; the last one of the life before becomes the older one
 * @dir: NULL turns it off        @max_bytes: of steps in one file
 * @c: the core as it is before the first step
 */
struct recorder *recorder_new(const char *dir, size_t max_bytes, const struct core *c);
void recorder_free(struct recorder *r);
/**
 * recorder_add - one step
 * @c: the core after it        @packed: its event, flight_pack()ed before it
 */
void recorder_add(struct recorder *r, const struct core *c, const json_t *packed,
                  const json_t *actions);
