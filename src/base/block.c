/* SPDX-License-Identifier: Apache-2.0 */
#include "base/block.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

static const char *line_end(const char *p)
{
    const char *nl = strchr(p, '\n');
    return nl ? nl + 1 : p + strlen(p);
}

/* The first line at or after @p that equals @marker, or NULL. */
static const char *find_line(const char *p, const char *marker)
{
    size_t n = strlen(marker);
    for (; *p; p = line_end(p)) {
        if (strncmp(p, marker, n) == 0 && (p[n] == '\n' || p[n] == '\0')) {
            return p;
        }
    }
    return NULL;
}

static void add_block(struct sbuf *out, const char *begin, const char *body, const char *end)
{
    if (out->len && out->data[out->len - 1] != '\n') {
        sbuf_printf(out, "\n");
    }
    sbuf_printf(out, "%s\n%s%s\n", begin, body, end);
}

int block_set(const char *text, const char *name, const char *body, char **ret, struct err *e)
{
    _cleanup_free_ char *begin = str_printf("# BEGIN mortar %s: do not edit up to END", name);
    _cleanup_free_ char *end = str_printf("# END mortar %s", name);
    _cleanup_sbuf_ struct sbuf out = {0};
    assert(text && name[0]);
    assert(!body || !body[0] || str_ends(body, "\n"));
    for (const char *at; (at = find_line(text, begin)); ) {
        const char *close = find_line(at, end);
        if (!close) {
            int r = ERR_SET(e, PARSE, "the marked block '%s' has no end", name);
            err_hint(e, "remove the line '%s' and what belongs to it", begin);
            return r;
        }
        (void)sbuf_add(&out, text, (size_t)(at - text)); /* cannot fail without a limit */
        if (body) {
            add_block(&out, begin, body, end);
            body = NULL; /* a second copy of the block, made by hand, is dropped */
        }
        text = line_end(close);
    }
    sbuf_printf(&out, "%s", text);
    if (body) {
        add_block(&out, begin, body, end);
    }
    *ret = sbuf_take(&out);
    return 0;
}
