/* SPDX-License-Identifier: Apache-2.0 */
#include "core/events.h"

#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "core/model/vm.h"

/* A change being put into words. */
struct change {
    struct core *c;
    const char *name; /* key without its prefix */
    const json_t *old;
    const json_t *value;
    uint64_t revision;
};

/* Takes @text. */
static void say(const struct change *h, const char *severity, const char *object, char *text)
{
    json_t *event = json_pack("{s:I,s:I,s:s,s:s,s:s}", "rev", (json_int_t)h->revision, "when",
                              (json_int_t)(h->c->wall_us / USEC_PER_MSEC), "severity", severity,
                              "object", object, "text", text);
    if (event) { /* NULL: words from outside that are no UTF-8 */
        json_array_append_new(h->c->events, event);
    }
    if (json_array_size(h->c->events) > EVENTS_MAX) {
        json_array_remove(h->c->events, 0);
    }
    free(text);
}

static bool is_changed(const struct change *h, const char *field)
{
    return !json_equal(json_object_get(h->old, field), json_object_get(h->value, field));
}

static void node_changed(const struct change *h)
{
    if (!h->value) {
        say(h, "notice", h->name, str_printf("host '%s' has left the cluster", h->name));
    } else if (is_changed(h, "state")) {
        say(h, "notice", h->name, str_printf("host '%s' is %s", h->name,
                                             json_text_of(h->value, "state")));
    } else if (is_changed(h, "inc")) {
        say(h, "warning", h->name, str_printf("host '%s' was booted again", h->name));
    }
}

static void pool_changed(const struct change *h)
{
    if (!h->value) {
        say(h, "notice", h->name, str_printf("pool '%s' was removed", h->name));
    } else if (is_changed(h, "state")) {
        say(h, "notice", h->name, str_printf("pool '%s' is %s", h->name,
                                             json_text_of(h->value, "state")));
    }
}

static void ended_changed(const struct change *h)
{
    const json_t *ended = h->value ? h->value : h->old;
    const char *host = json_text_of(ended, "host");
    if (!h->value && json_bool_of(h->old, "ended", false)) {
        say(h, "notice", h->name, str_printf("the brick of pool '%s' on %s is whole again", h->name, host));
    } else if (json_bool_of(h->value, "ended", false)) {
        say(h, "warning", h->name, str_printf("the brick of pool '%s' on %s was ended: it did not prove that nothing of %s was "
                                              "left in it", h->name, host, json_text_of(ended, "foe")));
    }
}

static void own_changed(const struct change *h, const char *vm)
{
    const char *phase = json_text_of(json_object_get(h->value, "mig"), "phase");
    if (h->old && is_changed(h, "owner") && str_eq(phase, "done")) {
        say(h, "info", vm, str_printf("vm '%s' moved from %s to %s", vm,
                                      json_text_of(h->old, "owner"), json_text_of(h->value, "owner")));
    } else if (is_changed(h, "mig") && str_eq(phase, "aborted")) {
        say(h, "warning", vm, str_printf("the migration of vm '%s' was undone", vm));
    }
}

static void act_changed(const struct change *h, const char *vm)
{
    const char *state = json_text_of(h->value, "state");
    const json_t *error = json_object_get(h->value, "error");
    bool is_changed_at_all = is_changed(h, "state") || is_changed(h, "host") || is_changed(h, "epoch");
    if (!is_changed_at_all || (!h->old && str_eq(state, "stopped"))) { /* defined, never started */
        return;
    }
    if (error) {
        say(h, "warning", vm, str_printf("vm '%s' on %s: %s", vm, json_text_of(h->value, "host"),
                                         json_text_of(error, "message")));
    } else if (str_eq(state, "running") || str_eq(state, "stopped") || str_eq(state, "ioerror")) {
        say(h, str_eq(state, "ioerror") ? "error" : "info", vm,
            str_printf("vm '%s' %s %s (epoch %llu)", vm,
                       str_eq(state, "running")   ? "runs on"
                       : str_eq(state, "stopped") ? "has stopped on"
                                                  : "stands still after an I/O error on",
                       json_text_of(h->value, "host"), (unsigned long long)vm_epoch(h->value)));
    }
}

static void vm_changed(const struct change *h)
{
    const char *slash = strchr(h->name, '/');
    if (!slash) {
        return;
    }
    _cleanup_free_ char *vm = str_printf("%.*s", (int)(slash - h->name), h->name);
    if (str_eq(slash, "/spec") && !h->old) {
        say(h, "info", vm, str_printf("vm '%s' was defined", vm));
    } else if (str_eq(slash, "/spec") && !h->value) {
        say(h, "info", vm, str_printf("vm '%s' was removed", vm));
    } else if (str_eq(slash, "/own") && h->value) {
        own_changed(h, vm);
    } else if (str_eq(slash, "/act") && h->value) {
        act_changed(h, vm);
    }
}

static void task_changed(const struct change *h)
{
    const char *state = json_text_of(h->value, "state");
    const char *message = json_text_of(json_object_get(h->value, "error"), "message");
    if (h->value && is_changed(h, "state") && str_eq(state, "failed")) {
        say(h, "warning", json_text_of(h->value, "object"),
            str_printf("%s of '%s' failed: %s", json_text_of(h->value, "kind"),
                       json_text_of(h->value, "object"), message ? message : "unknown"));
    }
}

static void seen_changed(const struct change *h)
{
    const char *guard = strstr(h->name, "/guard/");
    size_t n = json_array_size(json_object_get(h->value, "drift"));
    if (guard && n) {
        const char *pool = guard + strlen("/guard/");
        say(h, "warning", pool,
            str_printf("%zu options of pool '%s' were changed by hand; repaired", n, pool));
    }
}

void events_note(struct core *c, const char *key, const json_t *old, const json_t *value,
                 uint64_t revision)
{
    static const struct {
        const char *prefix;
        void (*fn)(const struct change *h);
    } rows[] = {
        {KEY_NODE, node_changed}, {KEY_POOL, pool_changed}, {KEY_VM, vm_changed},
        {KEY_TASK, task_changed}, {KEY_SEEN, seen_changed},
        {KEY_ENDED, ended_changed},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        if (str_starts(key, rows[i].prefix)) {
            const struct change h = {c, key + strlen(rows[i].prefix), old, value, revision};
            rows[i].fn(&h);
            return;
        }
    }
}

json_t *events_since(const struct core *c, uint64_t revision)
{
    json_t *items = json_array();
    uint64_t newest = revision;
    size_t i;
    json_t *event;
    json_array_foreach(c->events, i, event) {
        uint64_t rev = json_u64_of(event, "rev", 0);
        if (rev > revision) {
            json_array_append(items, event);
            newest = rev > newest ? rev : newest;
        }
    }
    return json_pack("{s:o,s:I}", "items", items, "rev", (json_int_t)newest);
}
