/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/view.h"

#include <inttypes.h>

/* Milliseconds as "3.42 s", "-" where nobody saw it. Caller frees. */
static char *seconds(const json_t *ms)
{
    uint64_t n = json_is_integer(ms) ? (uint64_t)json_integer_value(ms) : 0;
    return json_is_integer(ms) ? str_printf("%" PRIu64 ".%02u s", n / 1000, (unsigned)(n % 1000 / 10)) : str_dup("-");
}

static void cell_seconds(struct table *t, const json_t *ms)
{
    _cleanup_free_ char *text = seconds(ms);
    table_cell(t, text, STYLE_PLAIN);
}

static void cell_text(struct table *t, const char *text)
{
    table_cell(t, text ? text : "-", STYLE_PLAIN);
}

static void add_steps(const json_t *now, const json_t *before, bool color, struct sbuf *out)
{
    static const struct {
        const char *title;
        const char *field;
    } rows[] = {
        {"silence noticed", "silent_ms"},
        {"being fenced (T1)", "detected_ms"},
        {"fenced (T3)", "fenced_ms"},
        {"full member again (T11)", "back_ms"},
    };
    static const char *const titles[] = {"AFTER THE STRIKE", ">NOW", ">BEFORE", NULL};
    _cleanup_(table_freep) struct table *t = table_new(titles);
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        cell_text(t, rows[i].title);
        cell_seconds(t, json_object_get(now, rows[i].field));
        cell_seconds(t, json_object_get(before, rows[i].field));
    }
    table_format(t, 0, color, out);
}

static const json_t *line_of(const json_t *lines, const char *vm)
{
    size_t i = 0;
    const json_t *line = NULL;
    json_array_foreach(lines, i, line)
    {
        if (vm && str_eq(json_text_of(line, "vm"), vm)) {
            return line;
        }
    }
    return NULL;
}

static void add_vms(const json_t *now, const json_t *before, bool color, struct sbuf *out)
{
    static const char *const titles[] = {"VM", "NOW ON", ">EPOCH", ">NEW OWNER", ">QEMU STARTED", ">RUNNING",
                                         ">OUTAGE", "SEEN BY", ">BEFORE", NULL};
    const json_t *lines = json_object_get(now, "vms");
    size_t i = 0;
    const json_t *line = NULL;
    if (json_array_size(lines) == 0) {
        return;
    }
    _cleanup_(table_freep) struct table *t = table_new(titles);
    json_array_foreach(lines, i, line)
    {
        const char *vm = json_text_of(line, "vm");
        _cleanup_free_ char *epoch = str_printf("%" PRIu64, json_u64_of(line, "epoch", 0));
        cell_text(t, vm);
        cell_text(t, json_text_of(line, "to"));
        cell_text(t, epoch);
        cell_seconds(t, json_object_get(line, "owner_ms"));
        cell_seconds(t, json_object_get(line, "qemu_ms"));
        cell_seconds(t, json_object_get(line, "running_ms"));
        cell_seconds(t, json_object_get(line, "guest_ms"));
        cell_text(t, json_text_of(line, "guest_by"));
        cell_seconds(t, json_object_get(line_of(json_object_get(before, "vms"), vm), "guest_ms"));
    }
    sbuf_printf(out, "\n");
    table_format(t, 0, color, out);
}

static void add_stay(const json_t *now, const json_t *before, bool color, struct sbuf *out)
{
    static const char *const titles[] = {"VM THAT STAYED", "ON", ">LONGEST STALL", ">BEFORE", NULL};
    const json_t *lines = json_object_get(now, "stay");
    size_t i = 0;
    const json_t *line = NULL;
    if (json_array_size(lines) == 0) {
        return;
    }
    _cleanup_(table_freep) struct table *t = table_new(titles);
    json_array_foreach(lines, i, line)
    {
        const char *vm = json_text_of(line, "vm");
        cell_text(t, vm);
        cell_text(t, json_text_of(line, "host"));
        cell_seconds(t, json_object_get(line, "stall_ms"));
        cell_seconds(t, json_object_get(line_of(json_object_get(before, "stay"), vm), "stall_ms"));
    }
    sbuf_printf(out, "\n");
    table_format(t, 0, color, out);
}

static void add_head(const char *what, const json_t *drill, struct sbuf *out)
{
    static const struct field when = {"when", "report.strike_ms", FIELD_TIME};
    static const struct field host = {"host", "host"};
    static const struct field kind = {"kind", "kind"};
    enum style style = STYLE_PLAIN;
    _cleanup_free_ char *at = view_text(&when, drill, &style);
    _cleanup_free_ char *of = view_text(&host, drill, &style);
    _cleanup_free_ char *how = view_text(&kind, drill, &style);
    _cleanup_free_ char *text = str_printf("%s: %s of %s, %s", what, how, of, at);
    _cleanup_free_ char *clean = text_clean(text);
    sbuf_printf(out, "%s\n", clean);
}

void view_drill(const json_t *drill, const json_t *before, bool color, struct sbuf *out)
{
    const json_t *now = json_object_get(drill, "report");
    const json_t *then = json_object_get(before, "report");
    size_t i = 0;
    const json_t *text = NULL;
    add_head("Drill", drill, out);
    if (before) {
        add_head("Before", before, out);
    }
    sbuf_printf(out, "\n");
    add_steps(now, then, color, out);
    add_vms(now, then, color, out);
    add_stay(now, then, color, out);
    json_array_foreach(json_object_get(now, "missing"), i, text)
    {
        sbuf_printf(out, "%s", i ? "" : "\n");
        text_styled(out, json_is_string(text) ? json_string_value(text) : "?", STYLE_WARN, color);
        sbuf_printf(out, "\n");
    }
}
