/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/hosts_block.h"

#include "base/str.h"
#include "io/file.h"

char *hosts_format_block(const struct hosts_entry *entries, size_t n)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    for (size_t i = 0; i < n; i++) {
        sbuf_printf(&b, "%s\t%s\n", entries[i].address, entries[i].name);
    }
    return sbuf_take(&b);
}

int hosts_apply(const char *path, const struct hosts_entry *entries, size_t n, bool *ret_changed,
                struct err *e)
{
    _cleanup_free_ char *body = n ? hosts_format_block(entries, n) : NULL;
    return file_edit_block(path ? path : "/etc/hosts", "hosts", body, ret_changed, e);
}
