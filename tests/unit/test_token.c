/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "wire/token.h"

#define FINGERPRINT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SECRET "0123456789abcdef0123456789abcdef"

static void make(struct token *t, const char *addresses)
{
    strv_split(&t->addresses, addresses, " ");
    memcpy(t->ca_fingerprint, FINGERPRINT, sizeof(FINGERPRINT));
    memcpy(t->secret, SECRET, sizeof(SECRET));
}

static char *format(const char *addresses)
{
    _cleanup_token_ struct token t = {0};
    char *text = NULL;
    make(&t, addresses);
    assert_int_equal(token_format(&t, &text, NULL), 0);
    return text;
}

static void token_round_trips(void **state)
{
    struct err e = {0};
    _cleanup_free_ char *text = format("10.67.0.11:8843 host2.example.org [fd00::1]:8843");
    _cleanup_free_ char *padded = str_printf("  %s\r\n", text);
    _cleanup_token_ struct token t = {0};
    assert_true(str_starts(text, "mortar1."));
    assert_int_equal(
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."),
        strlen(text));
    assert_int_equal(token_parse(padded, &t, &e), 0);
    assert_string_equal(t.ca_fingerprint, FINGERPRINT);
    assert_string_equal(t.secret, SECRET);
    assert_int_equal(t.addresses.n, 3);
    assert_string_equal(t.addresses.v[0], "10.67.0.11:8843");
    assert_string_equal(t.addresses.v[2], "[fd00::1]:8843");
}

/* Made with zlib and base64 of Python. */
static void token_text_is_stable(void **state)
{
    _cleanup_free_ char *text = format("10.0.0.1");
    assert_string_equal(text,
                        "mortar1.ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7v8BI0VniavN7wEjRWeJq83v"
                        "MTAuMC4wLjHRLIuN");
}

static void any_changed_or_missing_character_is_noticed(void **state)
{
    _cleanup_free_ char *text = format("10.0.0.1:8843");
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        _cleanup_free_ char *bad = str_dup(text);
        struct token t = {0};
        struct err e = {0};
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_int_equal(token_parse(bad, &t, &e), -ERR_TOKEN);
        assert_true(e.hint[0] != '\0');
        memcpy(bad, text, len);
        bad[i] = '\0';
        assert_int_equal(token_parse(bad, &t, NULL), -ERR_TOKEN);
    }
}

static void ill_formed_parts_make_no_token(void **state)
{
    const char *const addresses[] = {"", "a,b", "-x", "a/b", "host:", "1 2 3 4 5 6 7 8 9", "a\nb"};
    for (size_t i = 0; i < ELEMENTS(addresses); i++) {
        _cleanup_token_ struct token t = {0};
        char *text = NULL;
        make(&t, addresses[i]);
        assert_int_equal(token_format(&t, &text, NULL), -ERR_INVALID);
    }
    _cleanup_token_ struct token t = {0};
    char *text = NULL;
    make(&t, "a");
    t.secret[3] = 'X';
    assert_int_equal(token_format(&t, &text, NULL), -ERR_INVALID);
}

static void noise_is_refused(void **state)
{
    struct prng p = {.state = 7};
    for (int i = 0; i < 3000; i++) {
        _cleanup_free_ char *text = str_printf("mortar1.%200s", "");
        struct token t = {0};
        for (size_t k = 8; text[k]; k++) {
            text[k] = (char)(1 + prng_below(&p, 255));
        }
        assert_int_equal(token_parse(text, &t, NULL), -ERR_TOKEN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_round_trips),
        cmocka_unit_test(token_text_is_stable),
        cmocka_unit_test(any_changed_or_missing_character_is_noticed),
        cmocka_unit_test(ill_formed_parts_make_no_token),
        cmocka_unit_test(noise_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
