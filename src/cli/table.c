/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <assert.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

struct cell {
    char *text;
    enum style style;
};

struct table {
    struct strv titles;
    bool *right;
    struct cell *cells;
    size_t n_cells;
};

/* Bytes of the character at @s, its width in @ret_width; 0 bytes for what must not be printed. */
static size_t next_char(const char *s, size_t *ret_width)
{
    wchar_t wc = 0;
    mbstate_t state = {0};
    size_t n = mbrtowc(&wc, s, strlen(s), &state);
    int width = n == 0 || n >= (size_t)-2 || iswcntrl((wint_t)wc) ? -1 : wcwidth(wc);
    *ret_width = width < 0 ? 1 : (size_t)width;
    return width < 0 ? 0 : n;
}

size_t text_width(const char *s)
{
    size_t total = 0;
    while (*s) {
        size_t width = 0;
        size_t n = next_char(s, &width);
        total += width;
        s += n ? n : 1;
    }
    return total;
}

char *text_clean(const char *s)
{
    char *out = xcalloc(strlen(s) + 1, 1);
    char *p = out;
    while (*s) {
        size_t width = 0;
        size_t n = next_char(s, &width);
        if (n) {
            p = mempcpy(p, s, n);
        } else {
            *p++ = '?';
        }
        s += n ? n : 1;
    }
    return out;
}

void text_styled(struct sbuf *out, const char *s, enum style style, bool color)
{
    static const char *const codes[] = {
        [STYLE_BOLD] = "1",  [STYLE_DIM] = "2",  [STYLE_GOOD] = "32",
        [STYLE_WARN] = "33", [STYLE_BAD] = "31",
    };
    _cleanup_free_ char *clean = text_clean(s);
    if (color && style != STYLE_PLAIN) {
        sbuf_printf(out, "\033[%sm%s\033[0m", codes[style], clean);
    } else {
        sbuf_printf(out, "%s", clean);
    }
}

struct table *table_new(const char *const *titles)
{
    struct table *t = xcalloc(1, sizeof(*t));
    size_t n = 0;
    while (titles[n]) {
        n++;
    }
    t->right = xcalloc(n, sizeof(*t->right));
    for (size_t i = 0; i < n; i++) {
        t->right[i] = titles[i][0] == '>';
        strv_add(&t->titles, titles[i] + (t->right[i] ? 1 : 0));
    }
    return t;
}

void table_free(struct table *t)
{
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        free(t->cells[i].text);
    }
    free(t->cells);
    free(t->right);
    strv_done(&t->titles);
    free(t);
}

void table_cell(struct table *t, const char *text, enum style style)
{
    struct cell *grown = reallocarray(t->cells, t->n_cells + 1, sizeof(*grown));
    if (!grown) {
        abort();
    }
    t->cells = grown;
    t->cells[t->n_cells++] = (struct cell){text_clean(text), style};
}

size_t table_rows(const struct table *t)
{
    assert(t->titles.n > 0);
    return t->n_cells / t->titles.n;
}

static void format_row(const struct table *t, const struct cell *row, const size_t *widths,
                       bool color, struct sbuf *out)
{
    for (size_t i = 0; i < t->titles.n; i++) {
        int pad = (int)(widths[i] - text_width(row[i].text));
        bool last = i + 1 == t->titles.n;
        sbuf_printf(out, "%s%*s", i ? "  " : "", t->right[i] ? pad : 0, "");
        text_styled(out, row[i].text, row[i].style, color);
        sbuf_printf(out, "%*s", t->right[i] || last ? 0 : pad, "");
    }
    sbuf_printf(out, "\n");
}

void table_format(const struct table *t, unsigned indent, bool color, struct sbuf *out)
{
    size_t cols = t->titles.n;
    _cleanup_free_ size_t *widths = xcalloc(cols, sizeof(*widths));
    _cleanup_free_ struct cell *head = xcalloc(cols, sizeof(*head));
    assert(t->n_cells % cols == 0);
    for (size_t i = 0; i < cols; i++) {
        head[i] = (struct cell){t->titles.v[i], STYLE_BOLD};
        widths[i] = text_width(t->titles.v[i]);
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t width = text_width(t->cells[i].text);
        widths[i % cols] = width > widths[i % cols] ? width : widths[i % cols];
    }
    sbuf_printf(out, "%*s", (int)indent, "");
    format_row(t, head, widths, color, out);
    for (size_t i = 0; i < t->n_cells; i += cols) {
        sbuf_printf(out, "%*s", (int)indent, "");
        format_row(t, &t->cells[i], widths, color, out);
    }
}
