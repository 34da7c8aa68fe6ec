/* SPDX-License-Identifier: Apache-2.0
 * Headers made by hand, honest and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/virt/image_parse.h"
#include "base/str.h"

#define FILE_BYTES ((size_t)256 * 1024)
#define CLUSTER 65536

static void put_be(uint8_t *at, uint64_t v, size_t n)
{
    for (size_t i = n; i > 0; i--, v >>= 8) {
        at[i - 1] = (uint8_t)v;
    }
}

static void put_le(uint8_t *at, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++, v >>= 8) {
        at[i] = (uint8_t)v;
    }
}

/* 10 GiB, version 3, as qemu-img makes it. */
static void make_qcow2(uint8_t *f)
{
    memset(f, 0, FILE_BYTES);
    memcpy(f, "QFI\xfb", 4);
    put_be(f + 4, 3, 4);
    put_be(f + 20, 16, 4);
    put_be(f + 24, 10 * GIB, 8);
    put_be(f + 36, 20, 4);
    put_be(f + 40, 3 * CLUSTER, 8);
    put_be(f + 48, 1 * CLUSTER, 8);
    put_be(f + 56, 1, 4);
    put_be(f + 96, 4, 4);
    put_be(f + 100, 112, 4);
}

static const char descriptor_head[] = "# Disk DescriptorFile\nversion=1\nCID=5a2b1c3d\n";

/* 8 MiB. @lines replaces the descriptor's lines after its head. */
static void make_vmdk(uint8_t *f, const char *lines)
{
    memset(f, 0, FILE_BYTES);
    memcpy(f, "KDMV", 4);
    put_le(f + 4, 1, 4);
    put_le(f + 8, 3, 4);
    put_le(f + 12, 16384, 8);
    put_le(f + 20, 128, 8);
    put_le(f + 28, 1, 8);
    put_le(f + 36, 20, 8);
    put_le(f + 44, 512, 4);
    put_le(f + 56, 26, 8);
    (void)snprintf((char *)f + 512, 20 * 512, "%s%s", descriptor_head, lines);
}

static const char honest_lines[] = "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n"
                                   "# Extent description\nRW 16384 SPARSE \"disk one.vmdk\"\n";

static int parse(const uint8_t *f, struct image_head *h, struct err *e)
{
    return image_parse_head(f, FILE_BYTES, FILE_BYTES, NULL, h, e);
}

static void assert_refused(const uint8_t *f, const char *why)
{
    struct image_head h = {0};
    struct err e = {0};
    assert_int_equal(parse(f, &h, &e), -ERR_IMAGE_BAD);
    if (!strstr(e.msg, why)) {
        fail_msg("'%s' does not say '%s'", e.msg, why);
    }
}

static void honest_images_are_recognised(void **state)
{
    uint8_t *f = malloc(FILE_BYTES);
    struct image_head h = {0};
    make_qcow2(f);
    assert_int_equal(parse(f, &h, NULL), 0);
    assert_int_equal(h.format, IMAGE_QCOW2);
    assert_int_equal(h.virtual_bytes, 10 * GIB);
    put_be(f + 4, 2, 4);
    assert_int_equal(parse(f, &h, NULL), 0);
    make_vmdk(f, honest_lines);
    assert_int_equal(parse(f, &h, NULL), 0);
    assert_int_equal(h.format, IMAGE_VMDK);
    assert_int_equal(h.virtual_bytes, 8 * MIB);
    make_vmdk(f, "parentCID=ffffffff\r\ncreateType=\"streamOptimized\"\r\n"
                 "RDONLY 1 SPARSE \"a\"\r\n");
    put_le(f + 56, UINT64_MAX, 8);
    assert_int_equal(parse(f, &h, NULL), 0);
    memset(f, 0xeb, FILE_BYTES);
    assert_int_equal(image_parse_head(f, FILE_BYTES, 5 * GIB + 1, NULL, &h, NULL), 0);
    assert_int_equal(h.format, IMAGE_RAW);
    assert_int_equal(h.virtual_bytes, 5 * GIB + 512);
    free(f);
}

static void qcow2_that_refers_to_another_file_is_refused(void **state)
{
    uint8_t *f = malloc(FILE_BYTES);
    make_qcow2(f);
    put_be(f + 8, 0x400, 8);
    put_be(f + 16, 11, 4);
    memcpy(f + 0x400, "/etc/passwd", 11);
    assert_refused(f, "backing file");
    make_qcow2(f);
    put_be(f + 8, 0x400, 8); /* offset without length: QEMU takes it as none; we do not */
    assert_refused(f, "backing file");
    make_qcow2(f);
    put_be(f + 72, 4, 8);
    assert_refused(f, "data file");
    make_qcow2(f);
    put_be(f + 112, 0x44415441, 4);
    put_be(f + 116, 11, 4);
    assert_refused(f, "data file");
    make_qcow2(f);
    put_be(f + 112, 0x6803f857, 4); /* feature names first */
    put_be(f + 116, 13, 4);
    put_be(f + 136, 0xe2792aca, 4);
    put_be(f + 140, 3, 4);
    assert_refused(f, "backing file");
    free(f);
}

static void qcow2_with_nonsense_is_refused(void **state)
{
    static const struct {
        size_t at;
        size_t n;
        uint64_t v;
        const char *why;
    } cases[] = {
        {24, 8, (uint64_t)1 << 50, "1024 TiB"}, /* a petabyte */
        {24, 8, UINT64_MAX, "TiB"},
        {24, 8, 0, "empty"},
        {4, 4, 1, "version"},
        {4, 4, 4, "version"},
        {20, 4, 8, "no sense"},
        {20, 4, 64, "no sense"},
        {32, 4, 1, "encrypted"},
        {32, 4, 2, "encrypted"},
        {36, 4, 1, "no sense"}, /* L1 too short for the size */
        {36, 4, UINT32_MAX, "no sense"},
        {40, 8, 513, "no sense"},
        {40, 8, UINT64_MAX - 65535, "cut off"},
        {48, 8, 4 * CLUSTER, "cut off"},
        {56, 4, UINT32_MAX, "cut off"},
        {72, 8, 2, "corrupt"},
        {72, 8, 32, "features"},
        {100, 4, 96, "no sense"},
        {100, 4, UINT32_MAX, "no sense"},
        {116, 4, UINT32_MAX, ""}, /* with the next: a header extension without end */
    };
    uint8_t *f = malloc(FILE_BYTES);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        make_qcow2(f);
        put_be(f + 112, 1, 4);
        put_be(f + cases[i].at, cases[i].v, cases[i].n);
        assert_refused(f, cases[i].why);
    }
    free(f);
}

static void vmdk_that_refers_to_another_file_is_refused(void **state)
{
    static const char *const lines[] = {
        "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 16384 SPARSE \"/etc/shadow\"\n",
        "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 16384 SPARSE \"..\\x\"\n",
        "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 16384 FLAT \"shadow\" 0\n",
        "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n"
        "RW 1 SPARSE \"a\"\nRW 1 SPARSE \"b\"\n",
        "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n",
        "parentCID=1234abcd\ncreateType=\"monolithicSparse\"\nRW 16384 SPARSE \"a\"\n",
        "createType=\"monolithicSparse\"\nRW 16384 SPARSE \"a\"\n"
        "parentFileNameHint=\"/etc/shadow\"\n",
    };
    uint8_t *f = malloc(FILE_BYTES);
    for (size_t i = 0; i < ELEMENTS(lines); i++) {
        make_vmdk(f, lines[i]);
        assert_refused(f, "refers to another file");
    }
    make_vmdk(f, honest_lines); /* QEMU searches behind the text's end, too */
    memcpy(f + 512 + 4096, "parentFileNameHint=\"/etc/shadow\"", 32);
    assert_refused(f, "hidden parent");
    make_vmdk(f, honest_lines);
    put_le(f + 28, 0, 8);
    assert_refused(f, "descriptor");
    memset(f, 0, FILE_BYTES);
    (void)snprintf((char *)f, FILE_BYTES, "%sRW 16384 FLAT \"/etc/shadow\" 0\n", descriptor_head);
    assert_refused(f, "descriptor");
    free(f);
}

static void vmdk_with_nonsense_is_refused(void **state)
{
    static const struct {
        size_t at;
        size_t n;
        uint64_t v;
        const char *why;
    } cases[] = {
        {12, 8, 0, "empty"}, /* QEMU would follow the descriptor then */
        {12, 8, (uint64_t)1 << 41, "TiB"},
        {12, 8, UINT64_MAX, "no sense"},
        {4, 4, 0, "version"},
        {4, 4, 4, "version"},
        {20, 8, 0, "no sense"},
        {20, 8, 100, "no sense"},
        {28, 8, 2, "no sense"}, /* QEMU searches sector 1 for a parent all the same */
        {36, 8, UINT64_MAX, "no sense"},
        {56, 8, 100000, "cut off"},
        {56, 8, UINT64_MAX - 1, "cut off"},
    };
    uint8_t *f = malloc(FILE_BYTES);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        make_vmdk(f, honest_lines);
        put_le(f + cases[i].at, cases[i].v, cases[i].n);
        assert_refused(f, cases[i].why);
    }
    make_vmdk(f, "parentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\nRW 1 SPARSE \"a\"\n");
    assert_refused(f, "type that is not supported");
    free(f);
}

static void cut_off_images_are_refused_at_every_length(void **state)
{
    uint8_t *f = malloc(FILE_BYTES);
    struct image_head h = {0};
    make_qcow2(f);
    for (size_t len = 4; len < 3 * CLUSTER; len += len < 1024 ? 1 : 4097) {
        assert_int_equal(image_parse_head(f, len, len, NULL, &h, NULL), -ERR_IMAGE_BAD);
    }
    make_vmdk(f, honest_lines);
    for (size_t len = 4; len < 21 * 512; len++) {
        assert_int_equal(image_parse_head(f, len, len, NULL, &h, NULL), -ERR_IMAGE_BAD);
    }
    assert_int_equal(image_parse_head(f, 0, 0, NULL, &h, NULL), -ERR_IMAGE_BAD);
    free(f);
}

static void what_the_user_says_is_believed_only_for_raw(void **state)
{
    const enum image_format raw = IMAGE_RAW;
    const enum image_format vmdk = IMAGE_VMDK;
    uint8_t *f = malloc(FILE_BYTES);
    struct image_head h = {0};
    make_qcow2(f);
    put_be(f + 8, 0x400, 8); /* as a raw disk it is harmless: nobody looks into it */
    assert_int_equal(image_parse_head(f, FILE_BYTES, FILE_BYTES, &raw, &h, NULL), 0);
    assert_int_equal(h.format, IMAGE_RAW);
    assert_int_equal(h.virtual_bytes, FILE_BYTES);
    assert_int_equal(image_parse_head(f, FILE_BYTES, FILE_BYTES, &vmdk, &h, NULL), -ERR_IMAGE_BAD);
    free(f);
}

static void files_that_are_no_disks_are_named(void **state)
{
    uint8_t *f = calloc(1, FILE_BYTES);
    memcpy(f, "\x1f\x8b\x08", 3);
    assert_refused(f, "gzip");
    memcpy(f, "<!DOCTYPE html>", 15);
    assert_refused(f, "web page");
    memset(f, 0, 512);
    memcpy(f + 257, "ustar", 5);
    assert_refused(f, "tar archive");
    free(f);
}

static void qemu_info_is_asked_the_same_questions(void **state)
{
    static const char *const bad[] = {
        "{\"virtual-size\": 1024, \"backing-filename\": \"/etc/passwd\"}",
        "{\"virtual-size\": 1024, \"format-specific\": {\"data\": {\"data-file\": \"x\"}}}",
        "{\"virtual-size\": 1024, \"encrypted\": true}",
        "{\"virtual-size\": 1125899906842624}",
        "{\"virtual-size\": -1}",
        "{}",
    };
    static const char good[] = "{\"virtual-size\": 4194304, \"format\": \"qcow2\"}";
    uint64_t bytes = 0;
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_int_equal(image_parse_info(bad[i], strlen(bad[i]), &bytes, NULL), -ERR_IMAGE_BAD);
    }
    assert_int_equal(image_parse_info("nonsense", 8, &bytes, NULL), -ERR_PARSE);
    assert_int_equal(image_parse_info(good, strlen(good), &bytes, NULL), 0);
    assert_int_equal(bytes, 4194304);
}

static void progress_is_read_from_any_pieces(void **state)
{
    static const char text[] = "    (0.00/100%)\r    (12.34/100%)\r    (100.00/100%)\r\n";
    for (size_t step = 1; step < sizeof(text); step++) {
        struct image_progress_text p = {0};
        unsigned last = 7;
        for (size_t at = 0; at < sizeof(text) - 1; at += step) {
            size_t left = sizeof(text) - 1 - at;
            (void)image_parse_progress(&p, text + at, left < step ? left : step, &last);
        }
        assert_int_equal(last, 10000);
    }
    struct image_progress_text p = {0};
    unsigned bp = 7;
    assert_false(image_parse_progress(&p, "(1234567890123456789012/(..../x", 31, &bp));
    assert_true(image_parse_progress(&p, "(12.34/", 7, &bp));
    assert_int_equal(bp, 1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_images_are_recognised),
        cmocka_unit_test(qcow2_that_refers_to_another_file_is_refused),
        cmocka_unit_test(qcow2_with_nonsense_is_refused),
        cmocka_unit_test(vmdk_that_refers_to_another_file_is_refused),
        cmocka_unit_test(vmdk_with_nonsense_is_refused),
        cmocka_unit_test(cut_off_images_are_refused_at_every_length),
        cmocka_unit_test(what_the_user_says_is_believed_only_for_raw),
        cmocka_unit_test(files_that_are_no_disks_are_named),
        cmocka_unit_test(qemu_info_is_asked_the_same_questions),
        cmocka_unit_test(progress_is_read_from_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
