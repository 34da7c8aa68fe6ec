/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <stdio.h>

#include "base/str.h"

int json_parse(const char *text, size_t len, json_t **ret, struct err *e)
{
    json_error_t je;
    if (len > JSON_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "JSON text of %zu bytes is too large", len);
    }
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!j) {
        return ERR_SET(e, PARSE, "JSON text is wrong in line %d column %d: %s", je.line, je.column,
                       je.text);
    }
    *ret = j;
    return 0;
}

char *json_format(const json_t *j)
{
    char *s = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    if (!s) {
        abort();
    }
    return s;
}

const char *json_text_of(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

uint64_t json_u64_of(const json_t *obj, const char *key, uint64_t fallback)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v)
                                                             : fallback;
}

bool json_bool_of(const json_t *obj, const char *key, bool fallback)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

bool json_has_text(const json_t *list, const char *text)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        if (str_eq(json_string_value(item), text)) {
            return true;
        }
    }
    return false;
}

int json_need_text(const json_t *obj, const char *key, const char **ret, struct err *e)
{
    const char *s = json_text_of(obj, key);
    if (!s) {
        return ERR_SET(e, INVALID, "the field '%s' is missing or not a string", key);
    }
    *ret = s;
    return 0;
}

json_t *err_to_json(const struct err *e)
{
    json_t *j = json_pack("{s:s,s:s}", "name", err_name(e->code), "message", e->msg);
    if (!j) { /* a message cut inside an UTF-8 character */
        j = json_pack("{s:s,s:s}", "name", err_name(e->code), "message", err_sentence(e->code));
    }
    if (e->hint[0]) {
        json_object_set_new(j, "hint", json_string(e->hint));
    }
    return j;
}

void err_from_json(struct err *e, const json_t *j)
{
    const char *msg = json_text_of(j, "message");
    int code = err_code_by_name(json_text_of(j, "name"));
    (void)err_set(e, code ? code : ERR_BUG, 0, "remote", "%s", msg ? msg : err_sentence(code));
    if (json_text_of(j, "hint")) {
        err_hint(e, "%s", json_text_of(j, "hint"));
    }
}
