/* SPDX-License-Identifier: Apache-2.0
 * Any JSON object as the body of any request: the core refuses it or does something with it, and its
 * view stays whole. The first byte chooses the verb, the rest is the body. */
#include <assert.h>

#include "agent/view.h"
#include "core/request.h"
#include "core_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const verbs[] = {
    "init",          "join",         "leave",        "token.create", "join.admit",  "host.evacuate",
    "host.activate", "host.admit", "host.fence",  "pool.create",  "pool.remove",  "image.import", "image.remove", "image.export",
    "vm.create",     "vm.start",     "vm.stop",      "vm.reset",     "vm.migrate",  "vm.remove",
    "vm.set",        "task.cancel",  "uplink.set",   "uplink.confirm", "uplink.remove", "pool.ha",
    "no.such.verb",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_json_ json_t *body = NULL;
    json_t *actions = NULL;
    struct err e = {0};
    if (size < 1 || json_parse((const char *)data + 1, size - 1, &body, NULL) < 0 ||
        !json_is_object(body)) {
        return 0; /* the API refuses it: read_body() in src/agent/api.c */
    }
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_json_ json_t *event =
        json_pack("{s:s,s:s,s:O,s:s}", "ev", "request", "verb", verbs[data[0] % ELEMENTS(verbs)], "args",
                  body, "task", "01234567-89ab-8cde-a012-3456789abcde");
    (void)request_under_way(c, verbs[data[0] % ELEMENTS(verbs)], body);
    int r = core_step(c, event, 2 * USEC_PER_SEC, 2 * USEC_PER_SEC, &actions, &e);
    assert(r == 0 || (e.code && e.msg[0]));
    json_decref(actions);
    json_decref(view_status(c));
    json_decref(view_tasks(c));
    return 0;
}
