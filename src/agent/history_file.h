/* SPDX-License-Identifier: Apache-2.0
 * Where this host's facts (core/history.h) survive a restart of the agent and of the host: one JSON object per
 * line, in two files of bounded size that take turns. A power cut may take the last lines along; a torn
 * line is skipped. */
#pragma once

#include "base/json.h"

#define HISTORY_FILE "history.jsonl"
#define HISTORY_MAX_BYTES MIB  /* of each of the two files: months, when nothing goes wrong */
#define HISTORY_LINE_BYTES 4096 /* what is longer is dropped */
#define HISTORY_ANSWER_MAX 3000 /* facts of one answer; the newest */

struct history;

/** history_open - go on where the life before ended. @dir: NULL keeps nothing */
struct history *history_open(const char *dir, size_t max_bytes);
void history_close(struct history *h);
/** history_add - append @facts, an array, or NULL for none */
void history_add(struct history *h, const json_t *facts);

/**
 * history_read - what the files tell; safe beside a writer
 * @vm: facts of this machine and of none; NULL: all        @since_ms: older ones are left out
 * @ret: {items: [fact, …], from_ms?, cut?} as why_join() takes a part; new reference
 * Return: 0, -ERR_LIMIT or -ERR_IO; absent files tell nothing
 */
int history_read(const char *dir, const char *vm, uint64_t since_ms, json_t **ret, struct err *e);
