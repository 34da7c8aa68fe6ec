/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/strike.h"

#include <string.h>

#include "base/str.h"
#include "io/file.h"

#define ENVIRON_MAX (1 * MIB)

bool strike_is_container(void)
{
    _cleanup_free_ char *first = NULL;
    size_t len = 0;
    if (file_exists("/run/systemd/container") || file_exists("/run/host/container-manager") ||
        file_exists("/run/mortar-lab") || file_read("/proc/1/environ", ENVIRON_MAX, &first, &len, NULL) < 0) {
        return true;
    }
    for (const char *p = first; p < first + len; p += strlen(p) + 1) {
        if (str_starts(p, "container=")) {
            return true;
        }
    }
    return false;
}
