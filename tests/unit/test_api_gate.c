/* SPDX-License-Identifier: Apache-2.0
 * The outer door, and the reading of the agent's answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/gate.h"
#include "api/head_parse.h"
#include "base/str.h"

static int decide(const char *method, const char *path, const char *host, enum gate_way *way)
{
    return gate_decide(
        &(struct gate_request){.method = method, .path = path, .target = path, .host = host}, way,
        NULL);
}

static void strangers_pass_on_three_routes_only(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        int result; /* a way, or an error */
    } rows[] = {
        {"GET", "/v1/ping", GATE_PING},         {"GET", "/v1/ca", GATE_CA},
        {"POST", "/v1/join", GATE_FORWARD},     {"GET", "/v1/join", -ERR_DENIED},
        {"POST", "/v1/ping", -ERR_DENIED},      {"POST", "/v1/join/x", -ERR_DENIED},
        {"POST", "/V1/JOIN", -ERR_DENIED},      {"DELETE", "/v1/vms/db1", -ERR_DENIED},
        {"GET", "/", -ERR_DENIED},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        enum gate_way way = GATE_PING;
        int r = decide(rows[i].method, rows[i].path, NULL, &way);
        assert_int_equal(r < 0 ? r : (int)way, rows[i].result);
    }
}

static void hosts_are_forwarded(void **state)
{
    enum gate_way way = GATE_PING;
    assert_int_equal(decide("DELETE", "/v1/vms/db1", "n1", &way), 0);
    assert_int_equal(way, GATE_FORWARD);
    assert_int_equal(decide("GET", "/v1/ping", "n1", &way), 0);
    assert_int_equal(way, GATE_PING);
}

static void what_cannot_go_on_word_for_word_is_refused(void **state)
{
    enum gate_way way;
    const struct gate_request bad[] = {
        {.method = "CONNECT", .path = "/v1/vms", .target = "/v1/vms"},
        {.method = "get", .path = "/v1/vms", .target = "/v1/vms"},
        {.method = "GET", .path = "/a", .target = "http://x/a"},
        {.method = "GET", .path = "*", .target = "*"},
        {.method = "GET", .path = "/a b", .target = "/a b"},
        {.method = "GET", .path = "/a", .target = "/a\x01"},
        {.method = "GET", .path = "/\xc3\xa4", .target = "/\xc3\xa4"},
        {.method = "GET", .path = "/a", .target = "/a", .content_type = "a\r\nX: y"},
        {.method = "GET", .path = "/a", .target = "/a", .upgrade = "a b"},
        {.method = "GET", .path = "/a", .target = "/a", .request_id = "\t"},
    };
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct gate_request q = bad[i];
        q.host = "n1";
        assert_int_equal(gate_decide(&q, &way, NULL), -ERR_USAGE);
    }
}

static int parse(const char *text, struct head *h)
{
    return head_parse(text, strlen(text), h, NULL);
}

static void head_is_read_when_it_is_whole(void **state)
{
    static const char text[] = "HTTP/1.1 101 Switching Protocols\r\nUPGRADE: \t x\r\n"
                               "content-type:text/plain\r\nContent-Length: 12\r\nA: b\r\n\r\nrest";
    size_t size = strlen(text) - strlen("rest");
    for (size_t len = 0; len < size; len++) {
        struct head h = {0};
        assert_int_equal(head_parse(text, len, &h, NULL), 0);
    }
    _cleanup_head_ struct head h = {0};
    assert_int_equal(parse(text, &h), 1);
    assert_int_equal(h.status, 101);
    assert_int_equal(h.size, size);
    assert_true(h.has_length);
    assert_int_equal(h.length, 12);
    assert_string_equal(h.upgrade, "x");
    assert_string_equal(h.content_type, "text/plain");
}

static void strange_heads_are_refused(void **state)
{
    static const char *const bad[] = {
        "\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct head h = {0};
        assert_int_equal(parse(bad[i], &h), -ERR_PARSE);
    }
    _cleanup_free_ char *endless = str_printf("HTTP/1.1 200 OK\r\nA: %20000s", "");
    struct head h = {0};
    assert_int_equal(parse(endless, &h), -ERR_LIMIT);
    assert_int_equal(head_parse("HTTP/1.1 200 OK\r\nA\0: x\r\n\r\n", 27, &h, NULL), -ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_pass_on_three_routes_only),
        cmocka_unit_test(hosts_are_forwarded),
        cmocka_unit_test(what_cannot_go_on_word_for_word_is_refused),
        cmocka_unit_test(head_is_read_when_it_is_whole),
        cmocka_unit_test(strange_heads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
