/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/once.h"
#include "base/str.h"

static const struct once_request create = {
    .caller = "",
    .method = "POST",
    .path = "/v1/vms",
    .request_id = "0123456789abcdef",
    .body = "{}",
    .body_len = 2,
};

static void name_of(const struct once_request *q, char *ret)
{
    struct err e = {0};
    assert_int_equal(once_name(q, ret, &e), 0);
}

static void a_repetition_has_the_same_name_in_every_agent(void **state)
{
    char name[ONCE_ID_LEN + 1];
    name_of(&create, name);
    /* Not what this process happens to make: another agent must come to the same. */
    assert_string_equal(name, "e728ddd1-0a1e-80f3-a0d9-ce6f10467ecc");
}

static void whatever_differs_makes_another_request(void **state)
{
    struct once_request other[5] = {create, create, create, create, create};
    char name[ONCE_ID_LEN + 1];
    char others[ONCE_ID_LEN + 1];
    other[0].caller = "host2";
    other[1].method = "DELETE";
    other[2].path = "/v1/pools";
    other[3].request_id = "0123456789abcdee";
    other[4].body = "{ }";
    other[4].body_len = 3;
    name_of(&create, name);
    for (size_t i = 0; i < ELEMENTS(other); i++) {
        name_of(&other[i], others);
        assert_string_not_equal(name, others);
    }
}

static void what_is_no_word_is_no_request_id(void **state)
{
    static const char *const bad[] = {"", "short", "has a blank", "nine/nine",
                                      "0123456789012345678901234567890123456789012345678901234567890"
                                      "1234"};
    char name[ONCE_ID_LEN + 1];
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct once_request q = create;
        struct err e = {0};
        q.request_id = bad[i];
        assert_int_equal(once_name(&q, name, &e), -ERR_USAGE);
    }
}

static void answers_are_found_until_many_others_came(void **state)
{
    struct once_answers answers = {0};
    char id[ONCE_ID_LEN + 1];
    for (unsigned i = 0; i <= ONCE_ANSWERS_MAX; i++) {
        _cleanup_json_ json_t *reply = json_integer(i);
        (void)snprintf(id, sizeof(id), "%08x-0000-8000-a000-000000000000", i);
        assert_null(once_find(&answers, id));
        once_keep(&answers, id, 200 + i, reply);
        const struct once_answer *found = once_find(&answers, id);
        assert_non_null(found);
        assert_int_equal(found->status, 200 + i);
        assert_int_equal(json_integer_value(found->reply), i);
    }
    assert_null(once_find(&answers, "00000000-0000-8000-a000-000000000000"));
    assert_non_null(once_find(&answers, "00000001-0000-8000-a000-000000000000"));
    assert_null(once_find(&answers, ""));
    once_answers_done(&answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repetition_has_the_same_name_in_every_agent),
        cmocka_unit_test(whatever_differs_makes_another_request),
        cmocka_unit_test(what_is_no_word_is_no_request_id),
        cmocka_unit_test(answers_are_found_until_many_others_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
