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

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *p = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return p ? (int)(p - digits) : -1;
}

int wire_path_decode(const char *text, size_t len, char **ret, struct err *e)
{
    _cleanup_free_ char *out = xcalloc(len + 1, 1);
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
            c = low >= 0 ? high * 16 + low : 0;
            i += 2;
        }
        if (c == 0) {
            return ERR_SET(e, PARSE, "the path has a broken %%-escape");
        }
        out[used++] = (char)c;
    }
    *ret = TAKE(out);
    return 0;
}
