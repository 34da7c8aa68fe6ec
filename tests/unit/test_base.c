/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"
#include "base/prng.h"
#include "base/smap.h"
#include "base/str.h"
#include "base/units.h"
#include "base/xml.h"

static void error_keeps_first_cause_and_gains_context(void **state)
{
    struct err e = {0};
    assert_int_equal(ERR_SET(&e, NO_QUORUM, "volume '%s' has no quorum", "vm0"), -ERR_NO_QUORUM);
    (void)ERR_SET(&e, BUG, "second");
    err_prepend(&e, "cannot start vm '%s'", "db1");
    err_hint(&e, "bring host %d back", 2);
    assert_string_equal(e.msg, "cannot start vm 'db1': volume 'vm0' has no quorum");
    assert_string_equal(err_name(e.code), "pool.no-quorum");
    assert_int_equal(ERR_SET(NULL, IO, "nobody listens"), -ERR_IO);
}

static void error_survives_the_wire(void **state)
{
    struct err e = {0};
    struct err back = {0};
    (void)ERR_SET(&e, CONFLICT, "changed");
    err_hint(&e, "try again");
    _cleanup_json_ json_t *j = err_to_json(&e);
    err_from_json(&back, j);
    assert_int_equal(back.code, ERR_CONFLICT);
    assert_string_equal(back.msg, "changed");
    assert_string_equal(back.hint, "try again");
}

static void error_names_are_unique(void **state)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_int_equal(err_code_by_name(err_name(i)), i);
    }
}

static void size_parser_accepts_units_and_refuses_nonsense(void **state)
{
    uint64_t v = 0;
    assert_int_equal(units_parse_size("64M", 0, UINT64_MAX, &v, NULL), 0);
    assert_true(v == 64 * MIB);
    assert_int_equal(units_parse_size("1.5GiB", 0, UINT64_MAX, &v, NULL), 0);
    assert_true(v == GIB + 512 * MIB);
    static const char *const bad[] = {"", "G", "-1G", "10X", "1.G", "1.2345G", "0x10", "10 G",
                                      "99999999999999999999", "18446744073709551615P", "1.5"};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_int_equal(units_parse_size(bad[i], 0, UINT64_MAX, &v, NULL), -ERR_INVALID);
    }
    assert_int_equal(units_parse_size("1M", 2 * MIB, GIB, &v, NULL), -ERR_INVALID);
}

static void number_parser_refuses_overflow(void **state)
{
    uint64_t v = 7;
    assert_int_equal(str_parse_u64("18446744073709551615", UINT64_MAX, &v, NULL), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(str_parse_u64("18446744073709551616", UINT64_MAX, &v, NULL), -ERR_INVALID);
    assert_int_equal(str_parse_u64("11", 10, &v, NULL), -ERR_INVALID);
    assert_int_equal(str_parse_u64("", 10, &v, NULL), -ERR_INVALID);
    assert_true(v == UINT64_MAX);
}

static void names_are_safe_in_paths_and_xml(void **state)
{
    assert_true(str_is_name("db1"));
    assert_true(str_is_name("a-b"));
    static const char *const bad[] = {"", "1a", "-a", "a-", "A", "a.b", "a/b", "a b", "a\n"};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_false(str_is_name(bad[i]));
    }
}

static void text_is_what_printf_makes_short_or_long(void **state)
{
    char word[300];
    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    for (size_t n = 0; n < sizeof(word); n++) {
        char expected[700];
        unsigned long long number = UINT64_MAX >> (n % 65 < 64 ? n % 65 : 63);
        const char *part = word + sizeof(word) - 1 - n;
        (void)snprintf(expected, sizeof(expected), "a/%s/%llu%s.%d", part, number, part, 7);
        _cleanup_free_ char *whole = str_printf("a/%s/%llu%s.%d", part, number, part, 7);
        assert_string_equal(whole, expected);
        *strrchr(expected, '.') = '\0';
        _cleanup_free_ char *simple = str_printf("a/%s/%llu%s", part, number, part);
        assert_string_equal(simple, expected);
    }
}

static void hex_round_trips_and_is_strict(void **state)
{
    const unsigned char data[] = {0x00, 0x7f, 0xa0, 0xff};
    unsigned char back[sizeof(data)];
    char text[2 * sizeof(data) + 1];
    hex_format(data, sizeof(data), text);
    assert_string_equal(text, "007fa0ff");
    assert_true(hex_parse(text, back, sizeof(back)));
    assert_memory_equal(back, data, sizeof(data));
    assert_false(hex_parse("007FA0FF", back, sizeof(back)));
    assert_false(hex_parse("007fa0f", back, sizeof(back)));
    assert_false(hex_parse("007fa0ff0", back, sizeof(back)));
    assert_false(hex_parse("007fa0 f", back, sizeof(back)));
}

static void base64_round_trips_every_length(void **state)
{
    char data[64];
    struct prng p = {.state = 1};
    for (size_t len = 0; len < sizeof(data); len++) {
        size_t got = 0;
        char *back = NULL;
        for (size_t i = 0; i < len; i++) {
            data[i] = (char)prng_next(&p);
        }
        _cleanup_free_ char *text = base64_encode(data, len);
        assert_int_equal(base64_decode(text, &back, &got, NULL), 0);
        assert_int_equal(got, len);
        assert_memory_equal(back, data, len);
        free(back);
    }
    char *none = NULL;
    size_t n;
    assert_int_equal(base64_decode("YQ-_", &none, &n, NULL), -ERR_PARSE); /* url-safe alphabet */
    assert_int_equal(base64_decode("YQ", &none, &n, NULL), -ERR_PARSE);
    assert_int_equal(base64_decode("=YQ=", &none, &n, NULL), -ERR_PARSE);
}

static void buffer_refuses_what_exceeds_its_limit_whole(void **state)
{
    _cleanup_sbuf_ struct sbuf b = {.limit = 4};
    assert_int_equal(sbuf_add(&b, "abc", 3), 0);
    assert_int_equal(sbuf_add(&b, "de", 2), -ERR_LIMIT);
    assert_string_equal(b.data, "abc");
}

/* Against an array by number; keys are long and short, alike at their beginning, and come and go. */
static void a_large_map_finds_what_was_put_and_nothing_else(void **state)
{
    enum { KEYS = 200, ROUNDS = 20000 };
    static char values[ROUNDS];
    struct smap m = {0};
    const char *expected[KEYS] = {0};
    struct prng prng = {.state = 7};
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t k = prng_below(&prng, round < ROUNDS / 2 ? KEYS : KEYS / 20);
        _cleanup_free_ char *key = str_printf(k % 3 ? "/mortar/v1/vm/%zu/spec" : "%zu", k);
        assert_ptr_equal(smap_get(&m, key), expected[k]);
        if (prng_below(&prng, 3)) {
            smap_put(&m, key, &values[round]);
            expected[k] = &values[round];
        } else {
            assert_int_equal(smap_del(&m, key), expected[k] != NULL);
            expected[k] = NULL;
        }
        size_t i = smap_lower(&m, key);
        assert_int_equal(i < m.n && str_eq(m.items[i].key, key), expected[k] != NULL);
    }
    smap_done(&m);
}

static void map_iterates_sorted_and_forgets_deleted(void **state)
{
    struct smap m = {.free_value = free};
    smap_put(&m, "b", str_dup("2"));
    smap_put(&m, "a", str_dup("1"));
    smap_put(&m, "c", str_dup("3"));
    smap_put(&m, "b", str_dup("two"));
    assert_int_equal(m.n, 3);
    assert_string_equal(m.items[0].key, "a");
    assert_string_equal(smap_get(&m, "b"), "two");
    assert_true(smap_del(&m, "a"));
    assert_false(smap_del(&m, "a"));
    assert_null(smap_get(&m, "a"));
    assert_int_equal(smap_lower(&m, "bb"), 1);
    smap_done(&m);
}

static void json_parser_refuses_duplicates_and_trailing_bytes(void **state)
{
    json_t *j = NULL;
    assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, &j, NULL), -ERR_PARSE);
    assert_int_equal(json_parse("{} x", 4, &j, NULL), -ERR_PARSE);
    assert_int_equal(json_parse("{\"b\":1,\"a\":9007199254740993}", 28, &j, NULL), 0);
    _cleanup_free_ char *s = json_format(j);
    assert_string_equal(s, "{\"a\":9007199254740993,\"b\":1}");
    json_decref(j);
}

static void xml_parser_refuses_entities(void **state)
{
    static const char hostile[] =
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a><b>&x;</b></a>";
    static const char good[] = "<a><b x='1'> text </b><b/></a>";
    xmlDoc *d = NULL;
    assert_int_equal(xml_parse(hostile, sizeof(hostile) - 1, &d, NULL), -ERR_PARSE);
    assert_int_equal(xml_parse("<a>", 3, &d, NULL), -ERR_PARSE);
    assert_int_equal(xml_parse(good, sizeof(good) - 1, &d, NULL), 0);
    _cleanup_free_ char *text = xml_text(xmlDocGetRootElement(d), "b");
    assert_string_equal(text, "text");
    assert_null(xml_next(xml_next(xml_child(xmlDocGetRootElement(d), "b"), "b"), "b"));
    xmlFreeDoc(d);
}

static void prng_repeats_with_its_seed(void **state)
{
    struct prng a = {.state = 42};
    struct prng b = {.state = 42};
    for (int i = 0; i < 100; i++) {
        assert_true(prng_next(&a) == prng_next(&b));
        assert_true(prng_below(&a, 7) < 7);
        (void)prng_below(&b, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_keeps_first_cause_and_gains_context),
        cmocka_unit_test(error_survives_the_wire),
        cmocka_unit_test(error_names_are_unique),
        cmocka_unit_test(size_parser_accepts_units_and_refuses_nonsense),
        cmocka_unit_test(number_parser_refuses_overflow),
        cmocka_unit_test(names_are_safe_in_paths_and_xml),
        cmocka_unit_test(base64_round_trips_every_length),
        cmocka_unit_test(text_is_what_printf_makes_short_or_long),
        cmocka_unit_test(hex_round_trips_and_is_strict),
        cmocka_unit_test(buffer_refuses_what_exceeds_its_limit_whole),
        cmocka_unit_test(map_iterates_sorted_and_forgets_deleted),
        cmocka_unit_test(a_large_map_finds_what_was_put_and_nothing_else),
        cmocka_unit_test(json_parser_refuses_duplicates_and_trailing_bytes),
        cmocka_unit_test(xml_parser_refuses_entities),
        cmocka_unit_test(prng_repeats_with_its_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
