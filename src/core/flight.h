/* SPDX-License-Identifier: Apache-2.0
 * What the flight recorder writes (src/agent/recorder.c), as values. A record is a row of lines:
 *
 *     {"state": {…}}                                    first: all that a core knows, flight_save()
 *     {"now_us", "wall_us", "event", "actions"}         one step each
 *
 * so that each file can be replayed alone. Full lists of the store, which come every 20 s and mostly
 * say what is known, stand there as their difference to the world before the step. */
#pragma once

#include "core/core.h"

/** flight_save - all that @c knows, between steps. New reference. */
json_t *flight_save(const struct core *c);
/** flight_load - a core that goes on where the saved one was. Return: 0 or -ERR_PARSE */
int flight_load(const json_t *state, struct core **ret, struct err *e);

/** flight_pack - @event as it is recorded, before @c takes it. New reference. */
json_t *flight_pack(const struct core *c, json_t *event);
/** flight_unpack - the opposite: an event that has the same effect on @c. New reference. */
json_t *flight_unpack(const struct core *c, json_t *packed);

/**
 * flight_step - replay one line of a record
 * @c: NULL or the core so far; set by a "state" line, and made by the first line of an old record
 * @ret_actions: what the core asked for, NULL for a "state" line; new reference
 * Return: 0, or -ERR_PARSE for what is no line of a record
 */
int flight_step(struct core **c, const json_t *line, json_t **ret_actions, struct err *e);
