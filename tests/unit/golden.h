/* SPDX-License-Identifier: Apache-2.0
 * Golden files: tests/golden/AREA/NAME holds the expected text. MORTAR_GOLDEN=update writes them;
 * without it a missing file fails. Paths come from the environment (tests/unit/meson.build). */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "io/file.h"

static inline char *golden_path(const char *name)
{
    const char *root = getenv("MORTAR_SOURCE");
    return str_printf("%s/tests/golden/%s", root ? root : ".", name);
}

/** golden_read - an input file below tests/golden/, for parsers. Caller frees. */
static inline _unused_ char *golden_read(const char *name)
{
    _cleanup_free_ char *path = golden_path(name);
    char *text = NULL;
    struct err e = {0};
    if (file_read(path, 16 * MIB, &text, NULL, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    return text;
}

/** golden_check - @text equals tests/golden/@name */
static inline _unused_ void golden_check(const char *name, const char *text)
{
    _cleanup_free_ char *path = golden_path(name);
    if (str_eq(getenv("MORTAR_GOLDEN"), "update")) {
        assert_int_equal(file_replace(path, text, strlen(text), 0644, NULL), 0);
        return;
    }
    _cleanup_free_ char *want = golden_read(name);
    assert_string_equal(text, want);
}
