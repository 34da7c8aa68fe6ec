/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_proc.h"

#include "base/str.h"
#include "base/util.h"
#include "io/file.h"

#define PROC_LIMIT_BYTES (256 * KIB)

char *fence_proc_read(pid_t pid, const char *name, size_t *ret_len)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/%s", (int)pid, name);
    char *text = NULL;
    return file_read(path, PROC_LIMIT_BYTES, &text, ret_len, NULL) < 0 ? NULL : text;
}
