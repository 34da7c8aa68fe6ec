/* SPDX-License-Identifier: Apache-2.0
 * One value of the command line: checked by its kind and put into the request. */
#pragma once

#include "base/json.h"
#include "cli/verb.h"

/**
 * value_put - read @text as @p wants it and set @p->field of @obj
 * @text: NULL for flags        @obj: lists in it grow, all else is set once
 * Return: 0; -ERR_USAGE when given twice; -ERR_INVALID; for files also -ERR_LIMIT, -ERR_NOT_FOUND
 *         or -ERR_IO
 */
int value_put(json_t *obj, const struct param *p, const char *text, struct err *e);

/** value_is_set - has @obj the field of @p? */
bool value_is_set(const json_t *obj, const struct param *p);

/** value_path - @path itself when absolute, else below the working directory. Caller frees. */
char *value_path(const char *path);
