/* SPDX-License-Identifier: Apache-2.0
 * A task's progress as text. */
#pragma once

#include "base/json.h"
#include "base/str.h"

/** progress_phase - title of the phase the task is in, its name, or its kind. Borrowed. */
const char *progress_phase(const json_t *task);

/**
 * progress_line - one line for a terminal: phase, bar, amount, rate, time left
 * @width: columns it may take        @out: appended to, without newline
 */
void progress_line(const json_t *task, unsigned width, struct sbuf *out);

/** progress_plain - "object: phase (note)" for logs. Appended to @out, without newline. */
void progress_plain(const json_t *task, struct sbuf *out);
