/* SPDX-License-Identifier: Apache-2.0
 * Aligned tables. Widths are those of characters on a screen, not bytes; what would control the
 * terminal is shown as '?', since names and texts come from other machines. */
#pragma once

#include <stdbool.h>

#include "base/str.h"

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD };

struct table;

/** table_new - @titles: NULL-terminated; one that begins with '>' makes a column aligned right */
struct table *table_new(const char *const *titles);
void table_free(struct table *t);
DEFINE_FREEP(struct table, table_free)
/** table_cell - fill the next cell, row by row */
void table_cell(struct table *t, const char *text, enum style style);
/** table_rows - full rows so far */
size_t table_rows(const struct table *t);
/**
 * table_format - append header and rows to @out
 * @indent: spaces before each line        @color: with the terminal's colours
 */
void table_format(const struct table *t, unsigned indent, bool color, struct sbuf *out);

/** text_width - columns of @s on a screen, needs an UTF-8 LC_CTYPE; bad bytes count 1 */
size_t text_width(const char *s);
/** text_clean - copy of @s with control characters and bad bytes as '?'. Caller frees. */
char *text_clean(const char *s);
/** text_styled - append @s (cleaned) in @style, which @color switches */
void text_styled(struct sbuf *out, const char *s, enum style style, bool color);
