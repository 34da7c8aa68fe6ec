/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/core.h"
#include "core/model/keys.h"

#define DAY_MS 86400000LL
#define NOW_MS (100 * DAY_MS)

static void add_row(json_t *rows, const char *prefix, const char *name, json_t *value)
{
    _cleanup_free_ char *key = str_printf("%s%s", prefix, name);
    json_array_append_new(rows, json_pack("[s,i,o]", key, 5, value));
}

static json_t *node(const char *uuid, const char *state)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "uuid", uuid, "state", state, "role", "storage", "boot_id",
                     "b");
}

static void add_task(json_t *rows, const char *name, const char *state, json_int_t ended_ms)
{
    add_row(rows, KEY_TASK, name, json_pack("{s:s,s:s,s:s,s:I}", "kind", "vm.stop", "state", state,
                                            "runner", "elsewhere", "ended_ms", ended_ms));
}

/* The keys that the first host deletes when the store holds @rows. New reference. */
static json_t *swept(json_t *rows)
{
    struct core *c = core_new();
    json_t *dels = json_array();
    json_t *actions = NULL;
    add_row(rows, KEY_NODE, "a", node("ua", "online"));
    _cleanup_json_ json_t *start = json_pack("{s:s,s:s,s:s}", "ev", "start", "host", "a", "boot_id",
                                             "b");
    _cleanup_json_ json_t *list = json_pack("{s:s,s:i,s:o}", "ev", "list", "revision", 9, "rows",
                                            rows);
    assert_int_equal(core_step(c, start, 1, NOW_MS * 1000, &actions, NULL), 0);
    json_decref(actions);
    assert_int_equal(core_step(c, list, 2, NOW_MS * 1000, &actions, NULL), 0);
    size_t i;
    json_t *action;
    json_array_foreach(actions, i, action) {
        if (str_eq(json_text_of(action, "id"), "sweep")) {
            json_array_extend(dels, json_object_get(json_object_get(action, "args"), "dels"));
        }
    }
    json_decref(actions);
    core_free(c);
    return dels;
}

static void expect_swept(json_t *rows, const char *expected)
{
    _cleanup_json_ json_t *dels = swept(rows);
    _cleanup_free_ char *text = json_format(dels);
    assert_string_equal(text, expected);
}

static void tasks_go_a_day_after_their_end(void **state)
{
    json_t *rows = json_array();
    add_task(rows, "new", "done", NOW_MS - 1000);
    add_task(rows, "old", "failed", NOW_MS - DAY_MS - 1);
    add_task(rows, "running", "running", 0);
    expect_swept(rows, "[\"" KEY_TASK "old\"]");
}

static void the_newest_200_tasks_stay(void **state)
{
    json_t *rows = json_array();
    for (int i = 0; i < 202; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "t%03d", i);
        add_task(rows, name, "done", NOW_MS - 1000 - i);
    }
    expect_swept(rows, "[\"" KEY_TASK "t200\",\"" KEY_TASK "t201\"]");
}

static void tokens_go_when_used_up_or_expired(void **state)
{
    json_t *rows = json_array();
    add_row(rows, KEY_NODE, "b", node("ub", "joining"));
    add_row(rows, KEY_TOKEN, "fresh", json_pack("{s:I}", "expires_ms", NOW_MS + 1));
    add_row(rows, KEY_TOKEN, "late", json_pack("{s:I}", "expires_ms", NOW_MS - 1));
    add_row(rows, KEY_TOKEN, "taken",
            json_pack("{s:I,s:s}", "expires_ms", NOW_MS + 1, "used_by", "ub"));
    add_row(rows, KEY_TOKEN, "used",
            json_pack("{s:I,s:s}", "expires_ms", NOW_MS + 1, "used_by", "ua"));
    expect_swept(rows, "[\"" KEY_TOKEN "late\",\"" KEY_TOKEN "used\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_go_a_day_after_their_end),
        cmocka_unit_test(the_newest_200_tasks_stay),
        cmocka_unit_test(tokens_go_when_used_up_or_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
