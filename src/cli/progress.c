/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <inttypes.h>
#include <string.h>

#include "base/units.h"
#include "cli/table.h"

enum { BAR_CELLS = 20, TITLE_COLUMNS_MIN = 28 };

const char *progress_phase(const json_t *task)
{
    const char *name = json_text_of(task, "phase");
    size_t i = 0;
    const json_t *phase = NULL;
    json_array_foreach(json_object_get(task, "phases"), i, phase)
    {
        const char *title = json_text_of(phase, "title");
        if (title && str_eq(json_text_of(phase, "name"), name)) {
            return title;
        }
    }
    const char *kind = json_text_of(task, "kind");
    return name && *name ? name : kind ? kind : "working";
}

static void add_amount(const json_t *progress, uint64_t done, uint64_t total, struct sbuf *out)
{
    char a[24];
    char b[24];
    const char *unit = json_text_of(progress, "unit");
    uint64_t rate = json_u64_of(progress, "rate", 0);
    uint64_t dirty_rate = json_u64_of(progress, "dirty_rate", 0);
    uint64_t eta_s = json_u64_of(progress, "eta_s", UINT64_MAX);
    if (str_eq(unit, "bytes")) {
        sbuf_printf(out, "  %s of %s", units_format_size(done, a, sizeof(a)),
                    units_format_size(total, b, sizeof(b)));
    } else if (str_eq(unit, "steps")) {
        sbuf_printf(out, "  %" PRIu64 " of %" PRIu64, done, total);
    }
    if (rate) {
        sbuf_printf(out, "  %s/s", units_format_size(rate, a, sizeof(a)));
    }
    if (dirty_rate) {
        sbuf_printf(out, ", %s/s written anew", units_format_size(dirty_rate, a, sizeof(a)));
    }
    if (eta_s != UINT64_MAX) {
        sbuf_printf(out, "  %" PRIu64 ":%02" PRIu64 " left", eta_s / 60, eta_s % 60);
    }
}

/* Cut to @width columns without cutting a character. */
static void add_cut(struct sbuf *out, const char *text, unsigned width)
{
    _cleanup_free_ char *clean = text_clean(text);
    size_t n = strlen(clean);
    while (n > 0 && text_width(clean) > width) {
        do {
            n--;
        } while (n > 0 && ((unsigned char)clean[n] & 0xC0) == 0x80); /* not the middle of UTF-8 */
        clean[n] = '\0';
    }
    sbuf_printf(out, "%s", clean);
}

void progress_line(const json_t *task, unsigned width, struct sbuf *out)
{
    _cleanup_sbuf_ struct sbuf line = {0};
    const json_t *progress = json_object_get(task, "progress");
    const char *note = json_text_of(task, "note");
    const char *title = progress_phase(task);
    uint64_t total = json_u64_of(progress, "total", 0);
    uint64_t done = json_u64_of(progress, "done", 0);
    size_t columns = text_width(title);
    sbuf_printf(&line, "%s%*s", title,
                columns < TITLE_COLUMNS_MIN ? (int)(TITLE_COLUMNS_MIN - columns) : 0, "");
    if (total) {
        done = done > total ? total : done;
        double part = (double)done / (double)total;
        int full = (int)(part * BAR_CELLS);
        sbuf_printf(&line, " [");
        for (int i = 0; i < BAR_CELLS; i++) {
            sbuf_printf(&line, "%s", i < full ? "#" : ".");
        }
        sbuf_printf(&line, "] %3d %%", (int)(part * 100));
        add_amount(progress, done, total, &line);
    }
    if (note && *note) {
        sbuf_printf(&line, "  %s", note);
    }
    add_cut(out, line.data, width);
}

void progress_plain(const json_t *task, struct sbuf *out)
{
    const char *object = json_text_of(task, "object");
    const char *note = json_text_of(task, "note");
    bool has_note = note && *note;
    _cleanup_free_ char *line = str_printf(
        "%s%s%s%s%s%s", object ? object : "", object && *object ? ": " : "", progress_phase(task),
        has_note ? " (" : "", has_note ? note : "", has_note ? ")" : "");
    _cleanup_free_ char *clean = text_clean(line);
    sbuf_printf(out, "%s", clean);
}
