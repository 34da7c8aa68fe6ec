/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/value.h"

#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "io/file.h"

#define LIST_ITEMS_MAX 256

static int parse_choice(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    _cleanup_strv_ struct strv choices = {0};
    strv_split(&choices, p->value, "|");
    if (!strv_has(&choices, text)) {
        return ERR_SET(e, INVALID, "'%.40s' is none of %s", text, p->value);
    }
    *ret = json_string(text);
    return 0;
}

static int parse_number(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    uint64_t v = 0;
    int r = str_parse_u64(text, p->max, &v, e);
    if (r == 0 && v < p->min) {
        r = ERR_SET(e, INVALID, "'%.40s' is smaller than %llu", text, (unsigned long long)p->min);
    }
    *ret = r == 0 ? json_integer((json_int_t)v) : NULL;
    return r;
}

static int parse_size(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    uint64_t v = 0;
    int r = units_parse_size(text, p->min, p->max, &v, e);
    *ret = r == 0 ? json_integer((json_int_t)v) : NULL;
    return r;
}

static int parse_duration(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    static const struct {
        char suffix;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    uint64_t v = 0;
    uint64_t unit_s = 1;
    size_t n = strlen(text);
    _cleanup_free_ char *digits = str_dup(text);
    for (size_t i = 0; n > 1 && i < ELEMENTS(units); i++) {
        if (text[n - 1] == units[i].suffix) {
            unit_s = units[i].seconds;
            digits[n - 1] = '\0';
        }
    }
    if (str_parse_u64(digits, p->max / unit_s, &v, NULL) < 0 || v * unit_s < p->min) {
        return ERR_SET(e, INVALID,
                       "'%.40s' is not a time such as 90s, 10m or 1h from %llus to %llus", text,
                       (unsigned long long)p->min, (unsigned long long)p->max);
    }
    *ret = json_integer((json_int_t)(v * unit_s));
    return 0;
}

static int parse_name(const char *text, json_t **ret, struct err *e)
{
    if (!str_is_name(text)) {
        (void)ERR_SET(e, INVALID, "'%.70s' is not a name", text);
        err_hint(e, "1 to 63 of a-z, 0-9 and '-', first a letter, last a letter or digit");
        return -ERR_INVALID;
    }
    *ret = json_string(text);
    return 0;
}

static int make_list(const struct strv *items, bool comments, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *list = json_array();
    for (size_t i = 0; i < items->n; i++) {
        if (comments && items->v[i][0] == '#') {
            continue;
        }
        if (json_array_append_new(list, json_string(items->v[i])) < 0) {
            return ERR_SET(e, INVALID, "item %zu is not UTF-8 text", i + 1);
        }
    }
    *ret = TAKE(list);
    return 0;
}

static int parse_list(const char *text, json_t **ret, struct err *e)
{
    _cleanup_strv_ struct strv items = {0};
    strv_split(&items, text, ",");
    if (items.n == 0) {
        return ERR_SET(e, INVALID, "'%.40s' is an empty list", text);
    }
    return make_list(&items, false, ret, e);
}

char *value_path(const char *path)
{
    _cleanup_free_ char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    return here ? str_printf("%s/%s", here, path) : str_dup(path);
}

static int parse_file(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    _cleanup_free_ char *content = NULL;
    size_t len = 0;
    int r = file_read(text, p->max, &content, &len, e);
    if (r < 0) {
        return r;
    }
    *ret = json_stringn(content, len);
    return *ret ? 0 : ERR_SET(e, INVALID, "'%s' is not UTF-8 text", text);
}

static int parse_keys(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    _cleanup_free_ char *content = NULL;
    _cleanup_strv_ struct strv lines = {0};
    int r = file_read(text, p->max, &content, NULL, e);
    if (r < 0) {
        return r;
    }
    if (strstr(content, "PRIVATE KEY")) {
        (void)ERR_SET(e, INVALID, "'%s' is a private key", text);
        err_hint(e, "give the public one, usually %s.pub", text);
        return -ERR_INVALID;
    }
    strv_split(&lines, content, "\r\n");
    r = make_list(&lines, true, ret, e);
    if (r == 0 && json_array_size(*ret) == 0) {
        return ERR_SET(e, INVALID, "'%s' has no key", text);
    }
    return r;
}

static int parse_value(const struct param *p, const char *text, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    switch (p->kind) {
    case VAL_FLAG:
    case VAL_UNFLAG:
        *ret = json_boolean(p->kind == VAL_FLAG);
        return 0;
    case VAL_TEXT:
    case VAL_DEVICES:
        *ret = json_string(text);
        return 0;
    case VAL_PATH:
    case VAL_SOURCE:
        path = p->kind == VAL_SOURCE && strstr(text, "://") ? str_dup(text) : value_path(text);
        *ret = json_string(path);
        return 0;
    case VAL_NAME:
        return parse_name(text, ret, e);
    case VAL_CHOICE:
        return parse_choice(p, text, ret, e);
    case VAL_NUMBER:
        return parse_number(p, text, ret, e);
    case VAL_SIZE:
        return parse_size(p, text, ret, e);
    case VAL_DURATION:
        return parse_duration(p, text, ret, e);
    case VAL_LIST:
        return parse_list(text, ret, e);
    case VAL_FILE:
        return parse_file(p, text, ret, e);
    case VAL_KEYS:
        return parse_keys(p, text, ret, e);
    }
    return ERR_SET(e, BUG, "option of unknown kind %d", (int)p->kind);
}

bool value_is_set(const json_t *obj, const struct param *p)
{
    return json_object_get(obj, p->field) != NULL;
}

int value_put(json_t *obj, const struct param *p, const char *text, struct err *e)
{
    _cleanup_json_ json_t *value = NULL;
    int r = parse_value(p, text, &value, e);
    if (r < 0) {
        return r;
    }
    if (!value) {
        return ERR_SET(e, INVALID, "the value is not UTF-8 text");
    }
    json_t *old = json_object_get(obj, p->field);
    if (old && json_is_array(old)) {
        (void)json_array_extend(old, value); /* both are arrays of this kind */
        return json_array_size(old) <= LIST_ITEMS_MAX
                   ? 0
                   : ERR_SET(e, LIMIT, "more than %d items", LIST_ITEMS_MAX);
    }
    if (old && !json_is_boolean(old)) {
        return ERR_SET(e, USAGE, "it is given twice");
    }
    json_object_set(obj, p->field, value);
    return 0;
}
