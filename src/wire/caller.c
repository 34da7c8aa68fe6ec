/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/caller.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

#define HOST_PREFIX "host:"
#define ANONYMOUS "anonymous"

char *caller_format(const char *host)
{
    return host ? str_printf(HOST_PREFIX "%s", host) : str_dup(ANONYMOUS);
}

int caller_parse(uid_t uid, uid_t api_uid, const char *header, struct caller *ret, struct err *e)
{
    struct caller c = {.kind = CALLER_ADMIN};
    assert(api_uid != 0);
    if (uid != 0 && uid != api_uid) {
        int r = ERR_SET(e, DENIED, "user %u may not use the agent", (unsigned)uid);
        err_hint(e, "run the command as root");
        return r;
    }
    if (!header && uid != 0) {
        return ERR_SET(e, DENIED, "a forwarded request does not say whose it is");
    }
    if (header && str_eq(header, ANONYMOUS)) {
        c.kind = CALLER_ANONYMOUS;
    } else if (header) {
        const char *host = header + strlen(HOST_PREFIX);
        if (!str_starts(header, HOST_PREFIX) || !str_is_name(host)) {
            return ERR_SET(e, DENIED, "the caller's identity is not well formed");
        }
        c.kind = CALLER_HOST;
        memcpy(c.host, host, strlen(host) + 1); /* a name has at most CALLER_NAME_MAX characters */
    }
    *ret = c;
    return 0;
}
