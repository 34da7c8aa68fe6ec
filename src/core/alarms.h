/* SPDX-License-Identifier: Apache-2.0
 * What is wrong, as this host sees it: a pure function of the core's state, so that each host tells what
 * it knows. docs/cli.md lists all alarms. */
#pragma once

#include "core/core.h"

/**
 * alarms_list - [{alarm, severity, object, text, since}] of now. New reference.
 * since is when this agent first noticed it, or earlier where a record tells
 */
json_t *alarms_list(const struct core *c);
/** alarms_note - remember since when each alarm stands; at each tick */
void alarms_note(struct core *c);
