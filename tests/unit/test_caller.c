/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/str.h"
#include "wire/caller.h"

#define API 990

static void what_the_api_writes_the_agent_reads(void **state)
{
    _cleanup_free_ char *host = caller_format("n1");
    _cleanup_free_ char *stranger = caller_format(NULL);
    struct caller c;
    assert_int_equal(caller_parse(API, API, host, &c, NULL), 0);
    assert_int_equal(c.kind, CALLER_HOST);
    assert_string_equal(c.host, "n1");
    assert_int_equal(caller_parse(API, API, stranger, &c, NULL), 0);
    assert_int_equal(c.kind, CALLER_ANONYMOUS);
    assert_string_equal(c.host, "");
}

static void only_root_without_header_is_admin(void **state)
{
    struct caller c;
    assert_int_equal(caller_parse(0, API, NULL, &c, NULL), 0);
    assert_int_equal(c.kind, CALLER_ADMIN);
    assert_int_equal(caller_parse(0, API, "anonymous", &c, NULL), 0);
    assert_int_equal(c.kind, CALLER_ANONYMOUS);
    assert_int_equal(caller_parse(API, API, NULL, &c, NULL), -ERR_DENIED);
    assert_int_equal(caller_parse(1000, API, NULL, &c, NULL), -ERR_DENIED);
    assert_int_equal(caller_parse(1000, API, "host:n1", &c, NULL), -ERR_DENIED);
}

static void malformed_identity_is_refused(void **state)
{
    static const char *const bad[] = {"", "host:", "host:N1", "host:a/b", "n1", "admin",
                                      "anonymous ", "host:n1 "};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct caller c;
        assert_int_equal(caller_parse(API, API, bad[i], &c, NULL), -ERR_DENIED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_api_writes_the_agent_reads),
        cmocka_unit_test(only_root_without_header_is_admin),
        cmocka_unit_test(malformed_identity_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
