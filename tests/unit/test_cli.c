/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/value.h"
#include "wire/path.h"

#define ARGV_MAX 16

struct line {
    struct globals globals;
    const struct verb *verb;
    struct args args;
    struct err e;
};

/* Parses @text split at blanks. Return: what args_parse() returns. */
static int parse(const char *text, struct strv *words, struct line *l)
{
    char *argv[ARGV_MAX + 1] = {0};
    strv_add(words, "mortar");
    strv_split(words, text, " ");
    assert_true(words->n <= ARGV_MAX);
    for (size_t i = 0; i < words->n; i++) {
        argv[i] = words->v[i];
    }
    return args_parse((int)words->n, argv, &l->globals, &l->verb, &l->args, &l->e);
}

static void options_may_stand_anywhere_and_be_shortened(void **state)
{
    static const char *const same[] = {
        "--json vm migrate demo --to h2",
        "vm --json migrate demo --to h2",
        "vm migrate --to=h2 demo --json",
        "vm migrate --t h2 --js -- demo",
    };
    for (size_t i = 0; i < ELEMENTS(same); i++) {
        _cleanup_strv_ struct strv words = {0};
        struct line l = {0};
        int r = parse(same[i], &words, &l);
        if (i == 1) { /* but not between the words of a command */
            assert_int_equal(r, -ERR_USAGE);
        } else {
            assert_int_equal(r, 0);
            assert_string_equal(l.verb->words, "vm migrate");
            assert_true(l.globals.json);
            assert_string_equal(l.args.pos[0], "demo");
            assert_string_equal(json_text_of(l.args.values, "to"), "h2");
        }
        args_done(&l.args);
    }
}

static void version_and_help_need_no_command(void **state)
{
    _cleanup_strv_ struct strv a = {0};
    _cleanup_strv_ struct strv b = {0};
    struct line version = {0};
    struct line help = {0};
    assert_int_equal(parse("--version", &a, &version), 0);
    assert_true(version.globals.version && !version.verb);
    assert_int_equal(parse("join -h", &b, &help), 0); /* though its arguments are missing */
    assert_true(help.globals.help);
    assert_string_equal(help.verb->words, "join");
    args_done(&version.args);
    args_done(&help.args);
}

static void wrong_lines_are_refused_with_the_reason(void **state)
{
    static const struct {
        const char *line;
        int code;
        const char *reason;
    } rows[] = {
        {"", ERR_USAGE, "a command is missing"},
        {"vm", ERR_USAGE, "vm: what to do is missing"},
        {"v ls", ERR_USAGE, "unknown command 'v'"},
        {"vm stop", ERR_USAGE, "NAME is missing"},
        {"vm stop a b", ERR_USAGE, "too many arguments: 'b'"},
        {"vm stop a --nope", ERR_USAGE, "unknown option '--nope'"},
        {"pool create a --no", ERR_USAGE, "option '--no' is ambiguous: --no-ha, --no-wait"},
        {"vm stop a -f", ERR_USAGE, "unknown option '-f'"},
        {"vm stop a --force=1", ERR_USAGE, "option '--force' takes no value"},
        {"vm create a --disk 1", ERR_INVALID, "outside 1 MiB to 64 TiB"},
        {"vm create a --disk -1G", ERR_INVALID, "'-1G' is not a size"},
        {"pool create a.b", ERR_INVALID, "'a.b' is not a name"},
        {"token create --valid 8d", ERR_INVALID, "'8d' is not a time"},
        {"vm create a --memory", ERR_USAGE, "option '--memory' needs a value"},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_strv_ struct strv words = {0};
        struct line l = {0};
        assert_int_equal(parse(rows[i].line, &words, &l), -rows[i].code);
        if (!strstr(l.e.msg, rows[i].reason)) {
            fail_msg("'%s': '%s' instead of '%s'", rows[i].line, l.e.msg, rows[i].reason);
        }
        args_done(&l.args);
    }
}

static void lists_grow(void **state)
{
    _cleanup_strv_ struct strv words = {0};
    struct line l = {0};
    assert_int_equal(parse("pool create p --hosts a,b --hosts c, --device /dev/vdb", &words, &l),
                     0);
    _cleanup_free_ char *text = json_format(l.args.values);
    assert_string_equal(text, "{\"device\":\"/dev/vdb\",\"hosts\":[\"a\",\"b\",\"c\"],"
                              "\"kind\":\"gluster\",\"name\":\"p\"}");
    args_done(&l.args);
}

static void durations_have_units(void **state)
{
    const struct param p = {
        .name = "t", .kind = VAL_DURATION, .field = "t", .min = 60, .max = 86400};
    static const struct {
        const char *text;
        uint64_t seconds;
    } rows[] = {{"90", 90}, {"90s", 90}, {"10m", 600}, {"2h", 7200}, {"1d", 86400}};
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_json_ json_t *obj = json_object();
        assert_int_equal(value_put(obj, &p, rows[i].text, NULL), 0);
        assert_true(json_u64_of(obj, "t", 0) == rows[i].seconds);
    }
    static const char *const bad[] = {
        "", "h", "59", "25h", "2d", "1.5h", "-1h", "1hh", "18446744073709551615d"};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        _cleanup_json_ json_t *obj = json_object();
        assert_int_equal(value_put(obj, &p, bad[i], NULL), -ERR_INVALID);
    }
}

static void paths_become_absolute_and_urls_stay(void **state)
{
    const struct param p = {.name = "s", .kind = VAL_SOURCE, .field = "s"};
    _cleanup_json_ json_t *a = json_object();
    _cleanup_json_ json_t *b = json_object();
    _cleanup_free_ char *here = getcwd(NULL, 0);
    _cleanup_free_ char *want = str_printf("%s/x.raw", here);
    assert_int_equal(value_put(a, &p, "x.raw", NULL), 0);
    assert_string_equal(json_text_of(a, "s"), want);
    assert_int_equal(value_put(b, &p, "https://h/x", NULL), 0);
    assert_string_equal(json_text_of(b, "s"), "https://h/x");
}

static void width_counts_columns_and_hostile_text_is_harmless(void **state)
{
    assert_int_equal(text_width("größe"), 5);
    assert_int_equal(text_width("日本"), 4);
    assert_int_equal(text_width("e\xcc\x81"), 1); /* combining accent */
    assert_int_equal(text_width("\xff\xfe"), 2);
    static const struct {
        const char *raw;
        const char *clean;
    } rows[] = {
        {"a\033[2Jb", "a?[2Jb"},
        {"a\nb\tc", "a?b?c"},
        {"\xc3", "?"},
        {"\xc2\x9b"
         "31m",
         "??31m"}, /* a C1 control is one character of two bytes */
        {"größe", "größe"},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_free_ char *clean = text_clean(rows[i].raw);
        assert_string_equal(clean, rows[i].clean);
    }
}

static void table_columns_are_aligned_by_width(void **state)
{
    _cleanup_(table_freep) struct table *t = table_new((const char *const[]){"A", ">B", "C", NULL});
    _cleanup_sbuf_ struct sbuf out = {0};
    table_cell(t, "größe", STYLE_PLAIN);
    table_cell(t, "1", STYLE_PLAIN);
    table_cell(t, "x", STYLE_BAD);
    table_cell(t, "b", STYLE_PLAIN);
    table_cell(t, "100", STYLE_PLAIN);
    table_cell(t, "", STYLE_PLAIN);
    table_format(t, 1, false, &out);
    assert_string_equal(out.data, " A        B  C\n größe    1  x\n b      100  \n");
}

static void progress_fits_the_terminal(void **state)
{
    _cleanup_json_ json_t *task =
        json_pack("{s:s,s:{s:I,s:I,s:s,s:I,s:i},s:s}", "phase", "größe kopieren", "progress",
                  "done", (json_int_t)(3 * GIB), "total", (json_int_t)(4 * GIB), "unit", "bytes",
                  "rate", (json_int_t)(100 * MIB), "eta_s", 75, "note", "third pass");
    _cleanup_sbuf_ struct sbuf full = {0};
    progress_line(task, 200, &full);
    assert_string_equal(full.data, "größe kopieren               [###############.....]  75 %  "
                                   "3 GiB of 4 GiB  100 MiB/s  1:15 left  third pass");
    for (unsigned width = 0; width < 100; width++) {
        _cleanup_sbuf_ struct sbuf line = {0};
        progress_line(task, width, &line);
        assert_true(text_width(line.data) <= width);
    }
}

static void progress_of_a_move_tells_what_is_written_anew_and_the_expected_end(void **state)
{
    _cleanup_json_ json_t *task =
        json_pack("{s:s,s:{s:I,s:I,s:s,s:I,s:I,s:i}}", "phase", "copy", "progress", "done",
                  (json_int_t)GIB, "total", (json_int_t)(4 * GIB), "unit", "bytes", "rate",
                  (json_int_t)(100 * MIB), "dirty_rate", (json_int_t)(20 * MIB), "eta_s", 39);
    _cleanup_sbuf_ struct sbuf line = {0};
    progress_line(task, 200, &line);
    assert_non_null(strstr(line.data, "1 GiB of 4 GiB  100 MiB/s, 20 MiB/s written anew  0:39 left"));
}

static void progress_beyond_its_total_is_full(void **state)
{
    _cleanup_json_ json_t *task = json_pack("{s:s,s:{s:i,s:i,s:s}}", "kind", "vm.start", "progress",
                                            "done", 9, "total", 3, "unit", "steps");
    _cleanup_sbuf_ struct sbuf line = {0};
    progress_line(task, 200, &line);
    assert_non_null(strstr(line.data, "[####################] 100 %  3 of 3"));
}

static void names_are_encoded_in_paths(void **state)
{
    _cleanup_free_ char *path =
        wire_path_format("/v1/vms/{}/start", (const char *const[]){"../a b?é", NULL});
    assert_string_equal(path, "/v1/vms/..%2Fa%20b%3F%C3%A9/start");
}

static void replies_become_values_or_errors(void **state)
{
    static const struct {
        int status;
        const char *body;
        int result;
    } rows[] = {
        {200, "{}", 0},
        {204, "", 0},
        {200, "{", -ERR_BUG},
        {404, "{\"error\":{\"name\":\"object.not-found\",\"message\":\"m\"}}", -ERR_NOT_FOUND},
        {404, "{\"error\":{\"name\":\"from.the.future\",\"message\":\"m\"}}", -ERR_BUG},
        {502, "{\"error\":7}", -ERR_BUG},
        {301, "", -ERR_BUG},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct err e = {0};
        _cleanup_json_ json_t *j = NULL;
        assert_int_equal(client_reply(rows[i].status, rows[i].body, strlen(rows[i].body), &j, &e),
                         rows[i].result);
        assert_int_equal(-e.code, rows[i].result);
    }
}

int main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_may_stand_anywhere_and_be_shortened),
        cmocka_unit_test(version_and_help_need_no_command),
        cmocka_unit_test(wrong_lines_are_refused_with_the_reason),
        cmocka_unit_test(lists_grow),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(paths_become_absolute_and_urls_stay),
        cmocka_unit_test(width_counts_columns_and_hostile_text_is_harmless),
        cmocka_unit_test(table_columns_are_aligned_by_width),
        cmocka_unit_test(progress_fits_the_terminal),
        cmocka_unit_test(progress_of_a_move_tells_what_is_written_anew_and_the_expected_end),
        cmocka_unit_test(progress_beyond_its_total_is_full),
        cmocka_unit_test(names_are_encoded_in_paths),
        cmocka_unit_test(replies_become_values_or_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
