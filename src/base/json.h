/* SPDX-License-Identifier: Apache-2.0
 * jansson with our error type, size limits and readers that name the field they miss. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

#define JSON_LIMIT_BYTES (4 * MIB) /* larger than etcd's 1.5 MiB request limit (facts/ha.md 2.3) */

static inline void json_decrefpp(json_t **j)
{
    json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_decrefpp)

/**
 * json_parse - text from outside to a value; refuses duplicate keys and more than JSON_LIMIT_BYTES
 * @ret: set on success, one reference owned by the caller
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int json_parse(const char *text, size_t len, json_t **ret, struct err *e);

/** json_format - compact, keys sorted, so that equal values give equal text. Caller frees. */
char *json_format(const json_t *j);

/** json_text_of - string field of an object, or NULL when absent or not a string. Borrowed. */
const char *json_text_of(const json_t *obj, const char *key);
/** json_u64_of - non-negative integer field; @fallback when absent or of another type */
uint64_t json_u64_of(const json_t *obj, const char *key, uint64_t fallback);
/** json_bool_of - boolean field; @fallback when absent or of another type */
bool json_bool_of(const json_t *obj, const char *key, bool fallback);

/** json_has_text - is @text one of the strings of the array @list? False for no array. */
bool json_has_text(const json_t *list, const char *text);

/** json_need_text - like json_text_of. Return: 0 or -ERR_INVALID naming the field */
int json_need_text(const json_t *obj, const char *key, const char **ret, struct err *e);

/** err_to_json - {"name","message","hint"} of a set error; one reference owned by the caller */
json_t *err_to_json(const struct err *e);
/** err_from_json - fill @e from what err_to_json() made; foreign shapes give ERR_BUG */
void err_from_json(struct err *e, const json_t *j);
