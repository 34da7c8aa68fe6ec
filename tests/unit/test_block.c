/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/block.h"
#include "base/str.h"
#include "io/file.h"

#define BEGIN "# BEGIN mortar hosts: do not edit up to END\n"
#define END "# END mortar hosts\n"

static void expect(const char *text, const char *body, const char *want)
{
    _cleanup_free_ char *got = NULL;
    assert_int_equal(block_set(text, "hosts", body, &got, NULL), 0);
    assert_string_equal(got, want);
}

static void block_is_added_replaced_and_removed(void **state)
{
    expect("", "a\n", BEGIN "a\n" END);
    expect("x\n", "a\n", "x\n" BEGIN "a\n" END);
    expect("x", "a\n", "x\n" BEGIN "a\n" END);
    expect("x\n" BEGIN "a\n" END "y\n", "b\n", "x\n" BEGIN "b\n" END "y\n");
    expect("x\n" BEGIN "a\n" END "y", NULL, "x\ny");
    expect("x", NULL, "x");
}

static void block_set_twice_changes_nothing(void **state)
{
    expect("x\n" BEGIN "a\n" END "y\n", "a\n", "x\n" BEGIN "a\n" END "y\n");
}

static void second_copy_of_the_block_is_dropped(void **state)
{
    expect(BEGIN "a\n" END "x\n" BEGIN "b\n" END, "c\n", BEGIN "c\n" END "x\n");
}

static void block_without_end_is_refused(void **state)
{
    struct err e = {0};
    char *got = NULL;
    assert_int_equal(block_set("x\n" BEGIN "a\n", "hosts", "b\n", &got, &e), -ERR_PARSE);
    assert_null(got);
    assert_non_null(strstr(e.hint, "remove the line"));
}

static void other_blocks_are_not_ours(void **state)
{
    expect("# BEGIN mortar hosts2: do not edit up to END\n", "a\n",
           "# BEGIN mortar hosts2: do not edit up to END\n" BEGIN "a\n" END);
}

static void edited_file_keeps_its_permissions(void **state)
{
    char dir[] = "/tmp/test_block-XXXXXX";
    bool changed = false;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *path = str_printf("%s/f", dir);
    assert_int_equal(file_replace(path, "x\n", 2, 0640, NULL), 0);
    assert_int_equal(file_edit_block(path, "hosts", "a\n", &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(file_edit_block(path, "hosts", "a\n", &changed, NULL), 0);
    assert_false(changed);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(file_edit_block(path, "hosts", NULL, &changed, NULL), 0);
    assert_false(changed);
    assert_false(file_exists(path));
    (void)rmdir(dir); /* leftovers in /tmp harm nobody */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_is_added_replaced_and_removed),
        cmocka_unit_test(block_set_twice_changes_nothing),
        cmocka_unit_test(second_copy_of_the_block_is_dropped),
        cmocka_unit_test(block_without_end_is_refused),
        cmocka_unit_test(other_blocks_are_not_ours),
        cmocka_unit_test(edited_file_keeps_its_permissions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
