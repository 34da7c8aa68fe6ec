/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "guard/guard_msg.h"

static const uint8_t secret[GUARD_KEY_BYTES] = "0123456789abcdef0123456789abcdef";

static const struct guard_msg sample = {
    .kind = GUARD_GRACE,
    .from = "host1",
    .to = "host2",
    .inc = 3,
    .instance = 0x0102030405060708,
    .seq_us = 1,
    .echo_instance = UINT64_MAX,
    .echo_seq_us = 5,
    .echo_inc = 6,
    .promise_us = 7,
};

static void datagram_survives_the_way(void **state)
{
    struct guard_key k;
    uint8_t data[GUARD_MSG_BYTES];
    struct guard_msg m;
    guard_key_set(&k, secret);
    for (int kind = GUARD_REQUEST; kind <= GUARD_HELLO; kind++) {
        struct guard_msg want = sample;
        want.kind = (enum guard_kind)kind;
        memset(&m, 0xff, sizeof(m));
        guard_msg_format(&want, &k, data);
        assert_true(guard_msg_parse(data, sizeof(data), &k, &m));
        assert_int_equal(m.kind, kind);
        assert_string_equal(m.from, "host1");
        assert_string_equal(m.to, "host2");
        assert_true(m.inc == 3 && m.instance == sample.instance && m.seq_us == 1);
        assert_true(m.echo_instance == UINT64_MAX && m.echo_seq_us == 5 && m.echo_inc == 6 &&
                    m.promise_us == 7);
    }
}

static void bytes_on_the_wire_do_not_change(void **state)
{
    struct guard_key k;
    uint8_t data[GUARD_MSG_BYTES];
    char hex[2 * 8 + 1];
    guard_key_set(&k, secret);
    guard_msg_format(&sample, &k, data);
    hex_format(data, 8, hex);
    assert_string_equal(hex, "4d47524401030000");
    hex_format(data + 16, 8, hex);
    assert_string_equal(hex, "0102030405060708");
    hex_format(data + GUARD_MSG_BYTES - 32, 8, hex);
    assert_string_equal(hex, "badc18dea4ac3643");
}

static void every_flipped_bit_is_refused(void **state)
{
    struct guard_key k;
    uint8_t data[GUARD_MSG_BYTES];
    struct guard_msg m;
    guard_key_set(&k, secret);
    guard_msg_format(&sample, &k, data);
    for (unsigned bit = 0; bit < 8 * GUARD_MSG_BYTES; bit++) {
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(guard_msg_parse(data, sizeof(data), &k, &m));
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(guard_msg_parse(data, sizeof(data), &k, &m));
}

static void other_key_and_other_size_are_refused(void **state)
{
    struct guard_key k;
    struct guard_key other;
    uint8_t data[GUARD_MSG_BYTES + 1] = {0};
    struct guard_msg m;
    guard_key_set(&k, secret);
    guard_key_set(&other, (const uint8_t *)"another key, of thirty-two bytes");
    guard_msg_format(&sample, &k, data);
    assert_false(guard_msg_parse(data, GUARD_MSG_BYTES, &other, &m));
    for (size_t len = 0; len < sizeof(data); len++) {
        assert_int_equal(guard_msg_parse(data, len, &k, &m), len == GUARD_MSG_BYTES);
    }
    assert_false(guard_msg_parse(data, sizeof(data), &k, &m));
}

/* Somebody who has the key and a defect. */
static void names_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {"", "Host1", "1host", "host 1", "host\"1", "../x"};
    struct guard_key k;
    uint8_t data[GUARD_MSG_BYTES];
    struct guard_msg m;
    guard_key_set(&k, secret);
    for (unsigned i = 0; i < ELEMENTS(bad); i++) {
        struct guard_msg want = sample;
        (void)snprintf(want.from, sizeof(want.from), "%s", bad[i]);
        guard_msg_format(&want, &k, data);
        assert_false(guard_msg_parse(data, sizeof(data), &k, &m));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagram_survives_the_way),
        cmocka_unit_test(bytes_on_the_wire_do_not_change),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(other_key_and_other_size_are_refused),
        cmocka_unit_test(names_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
