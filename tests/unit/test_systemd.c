/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "adapters/systemd/systemd.h"
#include "adapters/systemd/unit_text.h"
#include "golden.h"

static void expect_name(const char *path, const char *want)
{
    _cleanup_free_ char *got = unit_name_of_path(path, "mount");
    assert_string_equal(got, want);
}

/* Expected names are what systemd-escape --path --suffix=mount of systemd 252 says. */
static void unit_names_are_systemds(void **state)
{
    expect_name("/data/gluster/vms", "data-gluster-vms.mount");
    expect_name("/data/gluster/a-b", "data-gluster-a\\x2db.mount");
    expect_name("/mnt//vms/", "mnt-vms.mount");
    expect_name("/", "-.mount");
    expect_name("/.x/y.z", "\\x2ex-y.z.mount");
}

static void unit_texts_are_as_reviewed(void **state)
{
    _cleanup_free_ char *mount = unit_text_mount(&(struct unit_mount){
        .what = "/dev/disk/by-uuid/6f9619ff-8b86-d011-b42d-00c04fc964ff",
        .where = "/data/gluster/vms",
        .type = "xfs",
        .options = "noatime,inode64",
        .description = "Brick of pool vms",
        .before = "glusterd.service",
    });
    _cleanup_free_ char *slice = unit_text_vm_slice(false);
    _cleanup_free_ char *ha_slice = unit_text_vm_slice(true);
    golden_check("host/brick.mount", mount);
    golden_check("host/mortar-vms.slice", slice);
    golden_check("host/mortar-vms-ha.slice", ha_slice);
    golden_check("host/etcd-dropin.conf", unit_text_etcd_dropin());
    golden_check("host/glusterd-dropin.conf", unit_text_glusterd_dropin());
}

static void show_output_is_understood(void **state)
{
    struct unit_state s;
    unit_parse_show("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=77\n", &s);
    assert_true(s.loaded && s.active && s.enabled && !s.failed);
    assert_int_equal(s.main_pid, 77);
    unit_parse_show("LoadState=not-found\nActiveState=inactive\nUnitFileState=\n", &s);
    assert_true(!s.loaded && !s.active && !s.enabled && !s.failed);
    unit_parse_show("ActiveState=failed\nMainPID=x", &s);
    assert_true(s.failed);
    assert_int_equal(s.main_pid, 0);
}

static void unit_files_are_written_once(void **state)
{
    char root[] = "/tmp/test_systemd-XXXXXX";
    bool changed = false;
    assert_non_null(mkdtemp(root));
    assert_int_equal(unit_write(root, "a.slice", "x\n", &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(unit_write(root, "a.slice", "x\n", &changed, NULL), 0);
    assert_false(changed);
    assert_int_equal(unit_write_dropin(root, "a.slice", "m.conf", "y\n", &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(unit_write_dropin(root, "a.slice", "m.conf", "z\n", &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(unit_remove_dropin(root, "a.slice", "m.conf", &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(unit_remove(root, "a.slice", &changed, NULL), 0);
    assert_true(changed);
    assert_int_equal(unit_remove(root, "a.slice", &changed, NULL), 0);
    assert_false(changed);
    static const char *const dirs[] = {"/etc/systemd/system", "/etc/systemd", "/etc", ""};
    for (size_t i = 0; i < ELEMENTS(dirs); i++) {
        _cleanup_free_ char *dir = str_printf("%s%s", root, dirs[i]);
        assert_int_equal(rmdir(dir), 0); /* nothing was left behind, not even a.slice.d */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unit_names_are_systemds),
        cmocka_unit_test(unit_texts_are_as_reviewed),
        cmocka_unit_test(show_output_is_understood),
        cmocka_unit_test(unit_files_are_written_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
