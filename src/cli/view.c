/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/view.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/units.h"

static const json_t *value_at(const json_t *obj, const char *path)
{
    _cleanup_strv_ struct strv keys = {0};
    strv_split(&keys, path, ".");
    for (size_t i = 0; i < keys.n; i++) {
        obj = json_object_get(obj, keys.v[i]);
    }
    return obj;
}

static enum style style_of_state(const char *state)
{
    static const struct {
        const char *word;
        enum style style;
    } words[] = {
        {"running", STYLE_GOOD}, {"online", STYLE_GOOD}, {"up", STYLE_GOOD},
        {"ready", STYLE_GOOD}, {"started", STYLE_GOOD}, {"done", STYLE_GOOD},
        {"ok", STYLE_GOOD}, {"yes", STYLE_GOOD}, {"note", STYLE_PLAIN},
        {"warning", STYLE_WARN}, {"notice", STYLE_PLAIN}, {"silent", STYLE_BAD},
        {"resuming", STYLE_WARN}, {"degraded", STYLE_WARN}, {"healing", STYLE_WARN},
        {"starting", STYLE_WARN}, {"stopping", STYLE_WARN}, {"migrating", STYLE_WARN},
        {"paused", STYLE_WARN}, {"draining", STYLE_WARN}, {"creating", STYLE_WARN},
        {"failed", STYLE_BAD}, {"lost", STYLE_BAD}, {"down", STYLE_BAD},
        {"offline", STYLE_BAD}, {"refuse", STYLE_BAD}, {"critical", STYLE_BAD},
        {"error", STYLE_BAD}, {"no", STYLE_BAD}, {"frozen", STYLE_BAD},
        {"stopped", STYLE_DIM}, {"cancelled", STYLE_DIM},
    };
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        if (str_eq(words[i].word, state)) {
            return words[i].style;
        }
    }
    return STYLE_PLAIN;
}

/* Deep values do not occur in what the views name; a list's items are scalars. */
static char *format_scalar(const json_t *j)
{
    if (json_is_string(j)) {
        return str_dup(json_string_value(j));
    }
    if (json_is_integer(j)) {
        return str_printf("%" JSON_INTEGER_FORMAT, json_integer_value(j));
    }
    if (json_is_boolean(j)) {
        return str_dup(json_is_true(j) ? "yes" : "no");
    }
    return str_dup("-");
}

static char *format_text(const json_t *j)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    size_t i = 0;
    const json_t *item = NULL;
    if (!json_is_array(j)) {
        return format_scalar(j);
    }
    json_array_foreach(j, i, item)
    {
        const char *name = json_text_of(item, "name");
        _cleanup_free_ char *text = name ? str_dup(name) : format_scalar(item);
        sbuf_printf(&b, "%s%s", i ? "," : "", text);
    }
    return b.len ? sbuf_take(&b) : str_dup("-");
}

static char *format_age(uint64_t s)
{
    if (s < 120) {
        return str_printf("%" PRIu64 " s", s);
    }
    return s < 7200 ? str_printf("%" PRIu64 " min", s / 60) : str_printf("%" PRIu64 " h", s / 3600);
}

static char *format_time(const json_t *j)
{
    if (!json_is_integer(j) || json_integer_value(j) == 0) {
        return json_is_integer(j) ? str_dup("-") : format_scalar(j);
    }
    char text[32];
    struct tm tm;
    time_t s = (time_t)(json_integer_value(j) / 1000);
    if (!localtime_r(&s, &tm) || strftime(text, sizeof(text), "%F %T", &tm) == 0) {
        return str_dup("-");
    }
    return str_dup(text);
}

static char *format_heal(const json_t *pool, enum style *ret_style)
{
    uint64_t pending = 0;
    size_t offline = 0;
    size_t portless = 0;
    size_t i = 0;
    const json_t *brick = NULL;
    if (json_array_size(json_object_get(pool, "bricks")) == 0) {
        return str_dup("-");
    }
    json_array_foreach(json_object_get(pool, "bricks"), i, brick)
    {
        pending += json_u64_of(brick, "heal_pending_files", 0);
        offline += json_bool_of(brick, "online", true) ? 0 : 1;
        portless += json_bool_of(brick, "no_port", false);
    }
    *ret_style = offline ? STYLE_BAD : pending || portless ? STYLE_WARN : STYLE_GOOD;
    if (offline) {
        return str_printf("%zu brick%s offline, %" PRIu64 " files", offline,
                          offline == 1 ? "" : "s", pending);
    }
    if (portless) {
        return str_printf("%zu brick%s without a port, %" PRIu64 " files", portless, portless == 1 ? "" : "s", pending);
    }
    return pending ? str_printf("%" PRIu64 " files", pending) : str_dup("clean");
}

static char *format_copies(const json_t *pool)
{
    const char *arbiter = NULL;
    size_t i = 0;
    const json_t *brick = NULL;
    _cleanup_free_ char *copies = format_scalar(json_object_get(pool, "copies"));
    json_array_foreach(json_object_get(pool, "bricks"), i, brick)
    {
        if (str_eq(json_text_of(brick, "role"), "arbiter")) {
            arbiter = json_text_of(brick, "host");
        }
    }
    return arbiter ? str_printf("%s + arbiter %s", copies, arbiter) : TAKE(copies);
}

static char *format_ha(const json_t *ha, enum style *ret_style)
{
    const char *reason = json_text_of(ha, "reason");
    if (!json_is_object(ha)) {
        return str_dup("-");
    }
    bool on = json_bool_of(ha, "on", false);
    *ret_style = on ? STYLE_GOOD : STYLE_WARN;
    return on || !reason ? str_dup(on ? "on" : "off") : str_printf("off: %s", reason);
}

char *view_text(const struct field *f, const json_t *obj, enum style *ret_style)
{
    char size[24];
    const json_t *j = f->path ? value_at(obj, f->path) : obj;
    bool number = json_is_integer(j) && json_integer_value(j) >= 0;
    uint64_t n = number ? (uint64_t)json_integer_value(j) : 0;
    char *text = NULL;
    *ret_style = STYLE_PLAIN;
    switch (f->kind) {
    case FIELD_TEXT:
        return format_text(j);
    case FIELD_COUNT:
        return json_is_array(j) ? str_printf("%zu", json_array_size(j)) : format_scalar(j);
    case FIELD_STATE:
        text = format_scalar(j);
        *ret_style = style_of_state(text);
        return text;
    case FIELD_SIZE:
        return str_dup(number ? units_format_size(n, size, sizeof(size)) : "-");
    case FIELD_AGE:
        return number ? format_age(n) : str_dup("-");
    case FIELD_MS:
        return number ? str_printf("%" PRIu64 " ms", n) : format_scalar(j);
    case FIELD_TIME:
        return format_time(j);
    case FIELD_HEAL:
        return format_heal(j, ret_style);
    case FIELD_HA:
        return format_ha(j, ret_style);
    case FIELD_COPIES:
        return format_copies(j);
    }
    return str_dup("-");
}

void view_list(const struct view *v, const json_t *items, unsigned indent, bool color,
               struct sbuf *out)
{
    const char *titles[VIEW_COLUMNS_MAX + 1] = {0};
    size_t i = 0;
    const json_t *item = NULL;
    if (json_array_size(items) == 0) {
        sbuf_printf(out, "%*s%s\n", (int)indent, "", v->empty);
        return;
    }
    for (size_t k = 0; v->columns[k].title; k++) {
        titles[k] = v->columns[k].title;
    }
    _cleanup_(table_freep) struct table *t = table_new(titles);
    json_array_foreach(items, i, item)
    {
        for (const struct field *f = v->columns; f->title; f++) {
            enum style style = STYLE_PLAIN;
            _cleanup_free_ char *text = view_text(f, item, &style);
            table_cell(t, text, style);
        }
    }
    table_format(t, indent, color, out);
}

void view_object(const struct view *v, const json_t *obj, bool color, struct sbuf *out)
{
    const struct field *fields = v->fields ? v->fields : v->columns;
    size_t width = 0;
    for (const struct field *f = fields; f->title; f++) {
        size_t n = strlen(f->title);
        width = n > width ? n : width;
    }
    for (const struct field *f = fields; f->title; f++) {
        enum style style = STYLE_PLAIN;
        _cleanup_free_ char *text = view_text(f, obj, &style);
        sbuf_printf(out, "%-*s  ", (int)width, f->title);
        text_styled(out, text, style, color);
        sbuf_printf(out, "\n");
    }
    for (const struct view *part = v->parts; part && part->columns; part++) {
        const json_t *items = json_object_get(obj, part->part_path);
        if (json_array_size(items) > 0) {
            sbuf_printf(out, "\n");
            text_styled(out, part->part_title, STYLE_BOLD, color);
            sbuf_printf(out, "\n");
            view_list(part, items, 2, color, out);
        }
    }
}

void view_names(const struct view *v, const json_t *items, struct sbuf *out)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach(items, i, item)
    {
        enum style style = STYLE_PLAIN;
        _cleanup_free_ char *text = view_text(&v->columns[0], item, &style);
        _cleanup_free_ char *clean = text_clean(text);
        sbuf_printf(out, "%s\n", clean);
    }
}
