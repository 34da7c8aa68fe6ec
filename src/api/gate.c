/* SPDX-License-Identifier: Apache-2.0 */
#include "api/gate.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

struct public_route {
    const char *method;
    const char *path;
    enum gate_way way;
};

/* All that a stranger may ask. */
static const struct public_route public_routes[] = {
    {"GET", "/v1/ping", GATE_PING},
    {"GET", "/v1/ca", GATE_CA},
    {"POST", "/v1/join", GATE_FORWARD},
};

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

static bool is_method(const char *s)
{
    for (size_t i = 0; i < ELEMENTS(methods); i++) {
        if (str_eq(s, methods[i])) {
            return true;
        }
    }
    return false;
}

/* Absent, or printable ASCII from @lowest on: so it can neither end a line nor a field. */
static bool is_printable(const char *s, char lowest)
{
    for (; s && *s; s++) {
        if (*s < lowest || *s > '~') {
            return false;
        }
    }
    return true;
}

int gate_decide(const struct gate_request *q, enum gate_way *ret, struct err *e)
{
    if (!is_method(q->method)) {
        return ERR_SET(e, USAGE, "this method is not in use here");
    }
    if (q->target[0] != '/' || !is_printable(q->target, '!')) {
        return ERR_SET(e, USAGE, "the request's target is not a plain path");
    }
    if (!is_printable(q->content_type, ' ') || !is_printable(q->upgrade, '!') ||
        !is_printable(q->request_id, '!')) {
        return ERR_SET(e, USAGE, "a header of the request holds control characters");
    }
    for (size_t i = 0; i < ELEMENTS(public_routes); i++) {
        if (str_eq(q->method, public_routes[i].method) && str_eq(q->path, public_routes[i].path)) {
            *ret = public_routes[i].way;
            return 0;
        }
    }
    if (!q->host) {
        int r = ERR_SET(e, DENIED, "only hosts of the cluster may ask this");
        err_hint(e, "use the client certificate of a host, or `mortar` on one of the hosts");
        return r;
    }
    *ret = GATE_FORWARD;
    return 0;
}
