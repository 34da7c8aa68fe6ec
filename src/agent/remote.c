/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/remote.h"

#include <string.h>

#include "agent/config.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/http.h"

int remote_get(const char *address, const char *path, uint64_t timeout_us, json_t **ret, struct err *e)
{
    _cleanup_(http_freep) struct http *h = NULL;
    _cleanup_http_reply_ struct http_reply reply = {0};
    _cleanup_json_ json_t *answer = NULL;
    bool is_v6 = strchr(address, ':') != NULL;
    _cleanup_free_ char *base =
        str_printf("https://%s%s%s:%d", is_v6 ? "[" : "", address, is_v6 ? "]" : "", API_PORT);
    const struct http_opts opts = {.base = base,
                                   .ca_file = PATH_PKI "/ca.crt",
                                   .cert_file = PATH_PKI "/host.crt",
                                   .key_file = PATH_PKI "/host.key",
                                   .connect_timeout_us = timeout_us};
    const struct http_request q = {.path = path, .deadline_us = clock_boottime_us() + timeout_us};
    int r = http_new(&opts, &h, e);
    r = r < 0 ? r : http_call(h, &q, &reply, e);
    r = r < 0 ? r : json_parse(reply.body, reply.body_len, &answer, e);
    if (r == 0 && reply.status >= 300) {
        struct err why = {0};
        err_from_json(&why, json_object_get(answer, "error"));
        r = err_copy(e, &why);
    }
    if (r == 0) {
        *ret = TAKE(answer);
    }
    return r;
}
