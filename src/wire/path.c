/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/path.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

static void add_encoded(struct sbuf *b, const char *name)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"; /* RFC 3986 2.3 */
    for (const char *p = name; *p; p++) {
        if (strchr(plain, *p)) {
            sbuf_printf(b, "%c", *p);
        } else {
            sbuf_printf(b, "%%%02X", (unsigned char)*p);
        }
    }
}

char *wire_path_format(const char *template, const char *const *names)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    for (const char *hole = strstr(template, "{}"); hole; hole = strstr(template, "{}")) {
        assert(*names);
        (void)sbuf_add(&b, template, (size_t)(hole - template)); /* no limit set */
        add_encoded(&b, *names++);
        template = hole + 2;
    }
    assert(!*names);
    sbuf_printf(&b, "%s", template);
    return sbuf_take(&b);
}
