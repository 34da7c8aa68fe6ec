/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/host/brick_plan.h"
#include "base/str.h"

#define UUID "6f9619ff-8b86-d011-b42d-00c04fc964ff"
#define PATH "/data/gluster/vms"

static char text_xfs[] = "xfs";
static char text_ext4[] = "ext4";
static char text_gpt[] = "gpt";
static char text_uuid[] = UUID;
static char text_path[] = PATH;
static char text_home[] = "/home";

struct brick_case {
    struct brick_seen seen;
    bool wipe;
    int want; /* 0 or -ERR */
    enum brick_action action;
};

/* The fields are borrowed texts: these structs are never given to brick_seen_done(). */
static const struct brick_case cases[] = {
    {{.size_bytes = GIB}, false, 0, BRICK_FORMAT},
    {{.size_bytes = MIB}, true, -ERR_INVALID, 0},
    {{.size_bytes = GIB, .has_bytes = true}, false, -ERR_DISK_NOT_EMPTY, 0},
    {{.size_bytes = GIB, .has_bytes = true}, true, 0, BRICK_FORMAT},
    {{.size_bytes = GIB, .has_bytes = true, .intent = true}, false, 0, BRICK_FORMAT},
    {{.size_bytes = GIB, .fs_type = text_ext4, .intent = true}, false, -ERR_DISK_NOT_EMPTY, 0},
    {{.size_bytes = GIB, .fs_type = text_xfs}, false, -ERR_DISK_NOT_EMPTY, 0},
    {{.size_bytes = GIB, .partition_table = text_gpt}, false, -ERR_DISK_NOT_EMPTY, 0},
    {{.size_bytes = GIB, .partition_table = text_gpt}, true, 0, BRICK_FORMAT},
    {{.size_bytes = GIB, .fs_type = text_xfs, .fs_uuid = text_uuid}, false, 0, BRICK_MOUNT},
    {{.size_bytes = GIB, .fs_type = text_xfs, .fs_uuid = text_uuid}, true, 0, BRICK_MOUNT},
    {{.size_bytes = GIB, .fs_type = text_xfs, .fs_uuid = text_uuid, .unfinished = true},
     false, 0, BRICK_FORMAT},
    {{.size_bytes = GIB, .fs_type = text_xfs, .fs_uuid = text_uuid, .mounted_at = text_path,
      .busy = true}, false, 0, BRICK_KEEP},
    {{.size_bytes = GIB, .fs_type = text_xfs, .fs_uuid = text_uuid, .mounted_at = text_home,
      .busy = true}, true, -ERR_STATE, 0},
    {{.size_bytes = GIB, .fs_type = text_ext4, .mounted_at = text_path, .busy = true},
     true, -ERR_STATE, 0},
    {{.size_bytes = GIB, .busy = true}, true, -ERR_STATE, 0},
};

static void disk_is_formatted_only_when_nothing_is_lost(void **state)
{
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        enum brick_action action = BRICK_KEEP;
        struct err e = {0};
        int r = brick_plan(&cases[i].seen, "/dev/sdb", PATH, UUID, cases[i].wipe, &action, &e);
        if (r != cases[i].want || (r == 0 && action != cases[i].action)) {
            fail_msg("case %zu: %d, action %d: %s", i, r, (int)action, e.msg);
        }
    }
}

static void blkid_output_is_understood(void **state)
{
    struct brick_seen s = {0};
    brick_parse_blkid("DEVNAME=/dev/sdb\nLABEL=x\nUUID=" UUID "\nBLOCK_SIZE=512\nTYPE=xfs\nUSAGE=filesystem\n", &s);
    assert_string_equal(s.fs_type, "xfs");
    assert_string_equal(s.fs_uuid, UUID);
    assert_null(s.partition_table);
    brick_seen_done(&s);
    brick_parse_blkid("DEVNAME=/dev/sdb\nPTUUID=1234\nPTTYPE=dos\n", &s);
    assert_string_equal(s.partition_table, "dos");
    assert_null(s.fs_type);
    brick_seen_done(&s);
}

static void mounts_are_found_by_number_and_path(void **state)
{
    const char *text = "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
                       "30 22 7:3 / /data/a\\040b rw,noatime - xfs /dev/loop3 rw\n"
                       "31 22 7:4 / /data/a\\040b rw - xfs /dev/loop4 rw\n";
    char *devno = NULL;
    char *path = NULL;
    assert_true(brick_find_mount(text, "7:3", NULL, NULL, &path));
    assert_string_equal(path, "/data/a b");
    free(path);
    assert_true(brick_find_mount(text, NULL, "/data/a b", &devno, NULL));
    assert_string_equal(devno, "7:4");
    free(devno);
    assert_false(brick_find_mount(text, "7:3", "/", NULL, NULL));
    assert_false(brick_find_mount("garbage\n\n1 2", NULL, NULL, NULL, NULL));
}

static void unfinished_xfs_is_recognised(void **state)
{
    unsigned char sector[512] = "XFSB";
    assert_false(brick_parse_xfs_head(sector, sizeof(sector)));
    sector[126] = 1;
    assert_true(brick_parse_xfs_head(sector, sizeof(sector)));
    assert_false(brick_parse_xfs_head(sector, 100));
    sector[0] = 0;
    assert_false(brick_parse_xfs_head(sector, sizeof(sector)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_is_formatted_only_when_nothing_is_lost),
        cmocka_unit_test(blkid_output_is_understood),
        cmocka_unit_test(mounts_are_found_by_number_and_path),
        cmocka_unit_test(unfinished_xfs_is_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
