/* SPDX-License-Identifier: Apache-2.0
 * mortar(1) lists exactly what the verb table and the catalogue of errors hold. The lists stand
 * between "; begin NAME" and "; end NAME"; MORTAR_GOLDEN=update writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "cli/help.h"
#include "io/file.h"

#define MAN_LIMIT_BYTES MIB

static void add_sentence(struct sbuf *out, const char *text)
{
    char first = text[0] >= 'a' && text[0] <= 'z' ? (char)(text[0] - 'a' + 'A') : text[0];
    sbuf_printf(out, "%c%s", first, text + 1);
}

static void add_options(struct sbuf *out, const struct param *options)
{
    for (const struct param *p = options; p && p->name; p++) {
        sbuf_printf(out, "\n*--%s*", p->name);
        if (p->value) {
            sbuf_printf(out, " _%s_", p->value);
        }
        sbuf_printf(out, "\n\t");
        add_sentence(out, p->help);
        if (p->fallback) {
            sbuf_printf(out, " (default %s)", p->fallback);
        }
        sbuf_printf(out, ".\n");
    }
}

static void add_verb(struct sbuf *out, const struct verb *v)
{
    sbuf_printf(out, "\n## %s\n\n*mortar %s*", v->words, v->words);
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        sbuf_printf(out, v->args[i].needed ? " _%s_" : " [_%s_]", v->args[i].name);
    }
    for (const struct param *p = v->options; p && p->name; p++) {
        if (p->needed) {
            sbuf_printf(out, " *--%s* _%s_", p->name, p->value);
        }
    }
    sbuf_printf(out, v->options ? " [_OPTIONS_]\n\n" : "\n\n");
    add_sentence(out, v->help);
    sbuf_printf(out, "%s%s\n", v->more ? ". " : ".", v->more ? v->more : "");
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        if (v->args[i].help) {
            sbuf_printf(out, "\n_%s_\n\t", v->args[i].name);
            add_sentence(out, v->args[i].help);
            sbuf_printf(out, ".\n");
        }
    }
    add_options(out, v->options);
}

static void add_errors(struct sbuf *out)
{
    int last = 0;
    sbuf_printf(out, "\n*0*\n\tDone.\n");
    for (int exit_code = 1; exit_code < 128; exit_code++) {
        for (int code = 1; code < ERR_COUNT; code++) {
            if (err_exit(code) != exit_code) {
                continue;
            }
            if (last != exit_code) {
                sbuf_printf(out, "\n*%d*\n", exit_code);
            } else {
                sbuf_printf(out, "++\n");
            }
            sbuf_printf(out, "\t_%s_: %s", err_name(code), err_sentence(code));
            last = exit_code;
        }
        if (last == exit_code) {
            sbuf_printf(out, "\n");
        }
    }
}

static void check_block(const char *name, const char *want)
{
    const char *root = getenv("MORTAR_SOURCE");
    _cleanup_free_ char *path = str_printf("%s/man/mortar.1.scd", root ? root : ".");
    _cleanup_free_ char *begin = str_printf("; begin %s\n", name);
    _cleanup_free_ char *end = str_printf("; end %s\n", name);
    _cleanup_free_ char *man = NULL;
    assert_int_equal(file_read(path, MAN_LIMIT_BYTES, &man, NULL, NULL), 0);
    char *from = strstr(man, begin);
    char *to = strstr(man, end);
    assert_true(from && to && from < to);
    from += strlen(begin);
    _cleanup_free_ char *have = str_printf("%.*s", (int)(to - from), from);
    if (str_eq(getenv("MORTAR_GOLDEN"), "update")) {
        _cleanup_free_ char *text = str_printf("%.*s%s%s", (int)(from - man), man, want, to);
        assert_int_equal(file_replace(path, text, strlen(text), 0644, NULL), 0);
        return;
    }
    assert_string_equal(have, want);
}

static void man_page_has_every_global_option(void **state)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    add_options(&b, verb_globals());
    check_block("globals", b.data);
}

static void man_page_has_every_command_and_option(void **state)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    for (const struct verb *v = verb_table(); v->words; v++) {
        add_verb(&b, v);
    }
    check_block("commands", b.data);
}

static void man_page_has_every_error_and_exit_code(void **state)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    add_errors(&b);
    check_block("errors", b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(man_page_has_every_global_option),
        cmocka_unit_test(man_page_has_every_command_and_option),
        cmocka_unit_test(man_page_has_every_error_and_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
