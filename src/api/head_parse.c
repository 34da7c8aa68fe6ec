/* SPDX-License-Identifier: Apache-2.0 */
#include "api/head_parse.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"

void head_done(struct head *h)
{
    free(h->content_type);
    free(h->upgrade);
}

static int parse_status(const char *line, unsigned *ret, struct err *e)
{
    uint64_t status = 0;
    _cleanup_free_ char *digits =
        str_starts(line, "HTTP/1.1 ") ? str_printf("%.3s", line + 9) : NULL;
    if (!digits || str_parse_u64(digits, 599, &status, NULL) < 0 || status < 101 ||
        (line[12] != ' ' && line[12] != '\0')) {
        return ERR_SET(e, PARSE, "the answer does not start like HTTP/1.1");
    }
    *ret = (unsigned)status;
    return 0;
}

static void keep(char **field, const char *value)
{
    free(*field);
    *field = str_dup(value);
}

static int parse_field(char *line, struct head *h, struct err *e)
{
    char *colon = strchr(line, ':');
    if (!colon || colon == line) {
        return ERR_SET(e, PARSE, "a header of the answer is not well formed");
    }
    *colon = '\0';
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (strcasecmp(line, "content-type") == 0) {
        keep(&h->content_type, value);
    } else if (strcasecmp(line, "upgrade") == 0) {
        keep(&h->upgrade, value);
    } else if (strcasecmp(line, "content-length") == 0) {
        h->has_length = true;
        if (str_parse_u64(value, UINT64_MAX / 2, &h->length, NULL) < 0) {
            return ERR_SET(e, PARSE, "the length of the answer is not a number");
        }
    } else if (strcasecmp(line, "transfer-encoding") == 0) {
        return ERR_SET(e, PARSE, "the answer is encoded in a way that is not used here");
    }
    return 0;
}

static int parse_lines(char *text, struct head *h, struct err *e)
{
    char *next = NULL;
    char *line = strtok_r(text, "\r\n", &next);
    int r = line ? parse_status(line, &h->status, e) : ERR_SET(e, PARSE, "the answer has no head");
    while (r == 0 && (line = strtok_r(NULL, "\r\n", &next))) {
        r = parse_field(line, h, e);
    }
    return r;
}

int head_parse(const char *data, size_t len, struct head *ret, struct err *e)
{
    _cleanup_head_ struct head h = {0};
    const char *end = len ? memmem(data, len, "\r\n\r\n", 4) : NULL;
    size_t size = end ? (size_t)(end - data) + 4 : len;
    if (size > HEAD_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "the head of the answer is too large");
    }
    if (!end) {
        return 0;
    }
    if (memchr(data, '\0', size)) {
        return ERR_SET(e, PARSE, "the head of the answer holds a zero byte");
    }
    _cleanup_free_ char *text = str_printf("%.*s", (int)size, data);
    int r = parse_lines(text, &h, e);
    if (r < 0) {
        return r;
    }
    h.size = size;
    *ret = h;
    h = (struct head){0};
    return 1;
}
