/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/hosts_parse.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#define BLANK " \t\r"

bool hosts_is_address(const char *text)
{
    unsigned char raw[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

/* @words: a line; the first is the address, the others are names. */
static bool line_names(const struct strv *words, const char *name)
{
    for (size_t i = 1; i < words->n; i++) {
        if (strcasecmp(words->v[i], name) == 0) {
            return hosts_is_address(words->v[0]);
        }
    }
    return false;
}

char *hosts_find_address(const char *text, const char *name)
{
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        _cleanup_strv_ struct strv words = {0};
        lines.v[i][strcspn(lines.v[i], "#")] = '\0';
        strv_split(&words, lines.v[i], BLANK);
        if (line_names(&words, name)) {
            return str_dup(words.v[0]);
        }
    }
    return NULL;
}
