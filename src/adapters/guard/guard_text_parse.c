/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/guard/guard_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* @line: "WORD HOST INC" */
static uint64_t inc_of(const char *line)
{
    const char *space = strchr(line, ' ');
    space = space ? strchr(space + 1, ' ') : NULL;
    return space ? strtoull(space + 1, NULL, 10) : 0; /* our own text, from format_guard_config() */
}

uint64_t guard_config_inc(const char *text)
{
    const char *self = strstr(text, "\nself ");
    uint64_t inc = self ? inc_of(self + 1) : 0;
    const char *name = self ? self + strlen("\nself ") : "";
    int n = (int)strcspn(name, " \n");
    _cleanup_free_ char *deny = str_printf("\ndeny %.*s ", n, name);
    for (const char *at = strstr(text, deny); at; at = strstr(at + 1, deny)) {
        inc = inc_of(at + 1) >= inc ? 0 : inc;
    }
    return inc;
}

static json_t *peer_of(const json_t *said)
{
    return json_pack("{s:b,s:b,s:I,s:b}", "silent", json_bool_of(said, "silent", false), "held",
                     json_u64_of(said, "promise_ms", 0) > 0, "denied_inc",
                     (json_int_t)json_u64_of(said, "denied_inc", 0), "denial_over",
                     json_bool_of(said, "denial_over", false));
}

int parse_guard_status(const char *text, size_t len, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *said = NULL;
    const char *instance = NULL;
    const char *name;
    json_t *peer;
    if (len > GUARD_STATUS_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "the guard says too much");
    }
    int r = json_parse(text, len, &said, e);
    r = r < 0 ? r : json_need_text(said, "instance", &instance, e);
    if (r < 0) {
        return r;
    }
    json_t *peers = json_object();
    json_object_foreach(json_object_get(said, "peers"), name, peer) {
        json_object_set_new(peers, name, peer_of(peer));
    }
    const json_t *watchdog = json_object_get(said, "watchdog");
    const char *dog = json_text_of(watchdog, "kind");
    *ret = json_pack("{s:s,s:I,s:b,s:b,s:b,s:s,s:I,s:o}", "instance", instance, "generation",
                     (json_int_t)json_u64_of(said, "generation", 0), "enforce",
                     json_bool_of(said, "enforce", false), "run_right",
                     json_bool_of(said, "run_right", false), "frozen",
                     json_bool_of(said, "frozen", false), "watchdog", dog ? dog : "none", "would_fire",
                     (json_int_t)json_u64_of(watchdog, "would_fire", 0), "peers", peers);
    return *ret ? 0 : ERR_SET(e, PARSE, "the guard's status is incomplete");
}
