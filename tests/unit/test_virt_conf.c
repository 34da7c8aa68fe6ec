/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/virt/virt_conf.h"
#include "base/str.h"

static const char stock[] = "# Master configuration file\n#migrate_tls_force = 0\nuser = \"x\"\n";

static void our_block_is_added_once_and_taken_out_whole(void **state)
{
    _cleanup_free_ char *body = virt_conf_qemu_text("10.0.0.1");
    _cleanup_free_ char *one = NULL;
    _cleanup_free_ char *two = NULL;
    _cleanup_free_ char *none = NULL;
    assert_int_equal(virt_conf_edit(stock, body, &one, NULL), 0);
    assert_true(str_starts(one, stock));
    assert_non_null(strstr(one, "migration_address = \"10.0.0.1\"\n"));
    assert_non_null(strstr(one, "migration_port_min = 61152\nmigration_port_max = 61215\n"));
    assert_non_null(strstr(one, "migrate_tls_force = 1\n"));
    assert_int_equal(virt_conf_edit(one, body, &two, NULL), 0);
    assert_string_equal(one, two);
    assert_int_equal(virt_conf_edit(two, NULL, &none, NULL), 0);
    assert_string_equal(none, stock);
}

static void another_address_replaces_the_block(void **state)
{
    _cleanup_free_ char *first = virt_conf_qemu_text("10.0.0.1");
    _cleanup_free_ char *second = virt_conf_qemu_text("10.0.0.2");
    _cleanup_free_ char *one = NULL;
    _cleanup_free_ char *two = NULL;
    assert_int_equal(virt_conf_edit(stock, first, &one, NULL), 0);
    assert_int_equal(virt_conf_edit(one, second, &two, NULL), 0);
    assert_null(strstr(two, "10.0.0.1"));
    assert_non_null(strstr(two, "10.0.0.2"));
}

static void a_contrary_setting_of_the_user_is_refused(void **state)
{
    _cleanup_free_ char *body = virt_conf_libvirtd_text();
    static const char *const texts[] = {
        "auth_tls = \"sasl\"\n",
        "  auth_tls=\"sasl\"   # ours\n",
        "a = 1\nkeepalive_interval = 5\n",
    };
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        char *out = NULL;
        struct err e = {0};
        assert_int_equal(virt_conf_edit(texts[i], body, &out, &e), -ERR_FOREIGN);
        assert_null(out);
        assert_true(e.hint[0]);
    }
}

static void the_same_setting_of_the_user_is_fine(void **state)
{
    _cleanup_free_ char *body = virt_conf_libvirtd_text();
    _cleanup_free_ char *out = NULL;
    assert_int_equal(virt_conf_edit("auth_tls = \"none\"\n#auth_tls = \"sasl\"\n", body, &out, NULL), 0);
}

static void a_block_without_end_is_refused(void **state)
{
    char *out = NULL;
    assert_int_equal(virt_conf_edit("# BEGIN mortar libvirt: do not edit up to END\na = 1\n", "a = 1\n", &out, NULL),
                     -ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_block_is_added_once_and_taken_out_whole),
        cmocka_unit_test(another_address_replaces_the_block),
        cmocka_unit_test(a_contrary_setting_of_the_user_is_refused),
        cmocka_unit_test(the_same_setting_of_the_user_is_fine),
        cmocka_unit_test(a_block_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
