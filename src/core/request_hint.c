/* SPDX-License-Identifier: Apache-2.0 */
#include "core/request_hint.h"

#include <string.h>

#include "base/str.h"

/* "pool.remove" is 'mortar pool rm'; a host that is admitted runs 'mortar join'. Caller frees. */
static char *words_of(const char *verb)
{
    const char *dot = strchr(verb, '.');
    if (!dot || str_eq(verb, "join.admit")) {
        return str_printf("%.*s", (int)strcspn(verb, "."), verb);
    }
    const char *what = str_eq(dot + 1, "remove") ? "rm" : dot + 1;
    return str_printf("%.*s %s", (int)(dot - verb), verb, what);
}

/* Where a look at the object of the request shows why. */
static void hint_look(const char *noun, const char *name, struct err *e)
{
    bool is_shown = str_eq(noun, "vm") || str_eq(noun, "pool") || str_eq(noun, "host");
    if (is_shown && name && str_is_name(name)) {
        err_hint(e, "see 'mortar %s show %s'", noun, name);
    } else {
        err_hint(e, "see 'mortar status'");
    }
}

void request_hint(const char *verb, const json_t *args, struct err *e)
{
    _cleanup_free_ char *words = words_of(verb);
    _cleanup_free_ char *noun = str_printf("%.*s", (int)strcspn(verb, "."), verb);
    bool is_listed = strchr(verb, '.') && !str_eq(noun, "token") && !str_eq(noun, "join");
    switch (e ? e->code : 0) {
    case ERR_USAGE:
    case ERR_INVALID:
    case ERR_LIMIT:
        err_hint(e, "see 'mortar help %s'", words);
        break;
    case ERR_NOT_FOUND:
        err_hint(e, "see 'mortar %s ls'", is_listed ? noun : "host");
        break;
    case ERR_EXISTS:
        err_hint(e, is_listed ? "choose another name; see 'mortar %s ls'"
                              : "leave or rename first; see 'mortar host ls'", noun);
        break;
    case ERR_BUSY:
        err_hint(e, "wait for it: 'mortar task ls'");
        break;
    case ERR_NO_CLUSTER:
        err_hint(e, "begin with 'mortar init NAME', or 'mortar join ADDRESS --token TOKEN'");
        break;
    case ERR_POOL_POLICY:
    case ERR_NO_ROOM:
        err_hint(e, "see 'mortar host ls'");
        break;
    default:
        hint_look(noun, json_text_of(args, "name"), e);
    }
}
