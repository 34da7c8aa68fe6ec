/* SPDX-License-Identifier: Apache-2.0
 * Vectors of FIPS 180-2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/digest.h"

static const char of_nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void pieces_give_the_digest_of_the_whole(void **state)
{
    _cleanup_(digest_freep) struct digest *d = digest_new();
    char hex[DIGEST_HEX_LEN + 1];
    digest_add(d, "a", 1);
    digest_add(d, "bc", 2);
    digest_finish(d, hex);
    assert_string_equal(hex, of_abc);
}

static void it_starts_anew_after_the_end(void **state)
{
    _cleanup_(digest_freep) struct digest *d = digest_new();
    char hex[DIGEST_HEX_LEN + 1];
    digest_add(d, "x", 1);
    digest_finish(d, hex);
    digest_finish(d, hex);
    assert_string_equal(hex, of_nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_give_the_digest_of_the_whole),
        cmocka_unit_test(it_starts_anew_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
