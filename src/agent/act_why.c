/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/act_why.h"

#include <inttypes.h>

#include "agent/config.h"
#include "agent/history_file.h"
#include "agent/remote.h"
#include "base/str.h"
#include "core/why.h"
#include "io/clock.h"

#define PATH_RECORD PATH_STATE "/record"
#define ASK_US (3 * USEC_PER_SEC)      /* one host */
#define GATHER_US (15 * USEC_PER_SEC)  /* all: the command waits for 30 s */

int act_history_read(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    return history_read(PATH_RECORD, json_text_of(args, "vm"), json_u64_of(args, "since_ms", 0), ret, e);
}

static int ask(const json_t *host, const char *vm, uint64_t since_ms, uint64_t deadline_us, json_t **ret,
               struct err *e)
{
    uint64_t now_us = clock_boottime_us();
    if (json_bool_of(host, "self", false)) {
        return history_read(PATH_RECORD, vm, since_ms, ret, e);
    }
    if (now_us >= deadline_us) {
        return ERR_SET(e, TIMEOUT, "other hosts took all the time");
    }
    _cleanup_free_ char *path = str_printf("/v1/local/history?since_ms=%" PRIu64 "%s%s", since_ms, vm ? "&vm=" : "",
                                           vm ? vm : "");
    uint64_t left_us = deadline_us - now_us;
    return remote_get(json_text_of(host, "mgmt"), path, left_us < ASK_US ? left_us : ASK_US, ret, e);
}

json_t *why_gather(const json_t *hosts, const char *vm, uint64_t since_ms)
{
    uint64_t deadline_us = clock_boottime_us() + GATHER_US;
    json_t *parts = json_array();
    size_t i;
    json_t *host;
    json_array_foreach(hosts, i, host) {
        json_t *part = NULL;
        struct err e = {0};
        if (ask(host, vm, since_ms, deadline_us, &part, &e) < 0 || !json_is_object(part)) {
            json_decref(part);
            part = json_pack("{s:s}", "missing", e.code ? e.msg : "its answer is no history");
        }
        if (part) { /* NULL: words from outside that are no UTF-8 */
            json_object_set(part, "host", json_object_get(host, "name"));
            json_array_append_new(parts, part);
        }
    }
    return parts;
}

int act_vm_why(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *parts =
        why_gather(json_object_get(args, "hosts"), json_text_of(args, "vm"), json_u64_of(args, "since_ms", 0));
    *ret = why_join(args, parts);
    return 0;
}
