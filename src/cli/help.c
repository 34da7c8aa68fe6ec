/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <string.h>

enum { WRAP_COLUMN = 78 };

void help_option(const struct param *p, struct sbuf *out)
{
    sbuf_printf(out, "--%s", p->name);
    if (p->value) {
        sbuf_printf(out, " %s", p->value);
    }
}

void help_usage(const struct verb *v, struct sbuf *out)
{
    sbuf_printf(out, "mortar %s", v->words);
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        sbuf_printf(out, v->args[i].needed ? " %s" : " [%s]", v->args[i].name);
    }
    for (const struct param *p = v->options; p && p->name; p++) {
        if (p->needed) {
            sbuf_printf(out, " ");
            help_option(p, out);
        }
    }
    if (v->options) {
        sbuf_printf(out, " [OPTIONS]");
    }
}

/* @text as lines of at most WRAP_COLUMN columns; our own help is ASCII. */
static void add_wrapped(const char *text, struct sbuf *out)
{
    _cleanup_strv_ struct strv words = {0};
    size_t column = 0;
    strv_split(&words, text, " ");
    for (size_t i = 0; i < words.n; i++) {
        size_t n = strlen(words.v[i]);
        bool fits = column == 0 || column + 1 + n <= WRAP_COLUMN;
        sbuf_printf(out, "%s%s", column == 0 ? "" : fits ? " " : "\n", words.v[i]);
        column = fits && column ? column + 1 + n : n;
    }
    sbuf_printf(out, "\n");
}

static void add_options(const struct param *options, struct sbuf *out)
{
    size_t width = 0;
    for (const struct param *p = options; p->name; p++) {
        size_t n = 2 + strlen(p->name) + (p->value ? 1 + strlen(p->value) : 0);
        width = n > width ? n : width;
    }
    for (const struct param *p = options; p->name; p++) {
        _cleanup_sbuf_ struct sbuf left = {0};
        help_option(p, &left);
        sbuf_printf(out, "  %-*s  %s", (int)width, left.data, p->help);
        sbuf_printf(out, p->fallback ? " (default %s)\n" : "\n", p->fallback);
    }
}

void help_verb(const struct verb *v, struct sbuf *out)
{
    sbuf_printf(out, "Usage: ");
    help_usage(v, out);
    sbuf_printf(out, "\n\n%c%s.\n", v->help[0] - 'a' + 'A', v->help + 1);
    if (v->more) {
        sbuf_printf(out, "\n");
        add_wrapped(v->more, out);
    }
    bool titled = false;
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        if (v->args[i].help) {
            sbuf_printf(out, "%s  %s  %s\n", titled ? "" : "\nArguments:\n", v->args[i].name,
                        v->args[i].help);
            titled = true;
        }
    }
    if (v->options) {
        sbuf_printf(out, "\nOptions:\n");
        add_options(v->options, out);
    }
    sbuf_printf(out, "\nOptions of every command:\n");
    add_options(verb_globals(), out);
}

/* A line for each command of @group; NULL: of all. Return: how many */
static size_t add_commands(const char *group, struct sbuf *out)
{
    _cleanup_free_ char *start = str_printf("%s ", group ? group : "");
    size_t width = 0;
    size_t n = 0;
    for (const struct verb *v = verb_table(); v->words; v++) {
        width = strlen(v->words) > width ? strlen(v->words) : width;
    }
    for (const struct verb *v = verb_table(); v->words; v++) {
        if (!group || str_starts(v->words, start)) {
            sbuf_printf(out, "  %-*s  %s\n", (int)width, v->words, v->help);
            n++;
        }
    }
    return n;
}

bool help_group(const char *group, struct sbuf *out)
{
    _cleanup_sbuf_ struct sbuf lines = {0};
    if (!add_commands(group, &lines)) {
        return false;
    }
    sbuf_printf(out, "Usage: mortar %s COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n%s", group,
                lines.data);
    sbuf_printf(out, "\n'mortar help %s COMMAND' explains one.\n", group);
    return true;
}

void help_overview(struct sbuf *out)
{
    sbuf_printf(out, "Usage: mortar COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n");
    (void)add_commands(NULL, out);
    sbuf_printf(out, "\nOptions of every command:\n");
    add_options(verb_globals(), out);
    sbuf_printf(out, "\n'mortar help COMMAND' explains a command; more is in mortar(1).\n");
}
