/* SPDX-License-Identifier: Apache-2.0
 * What a core asks for in a step, and finding it. */
#pragma once

#include <assert.h>

#include "base/str.h"
#include "core/core.h"

/** actions_of - one step; the event as text, both clocks at @now_us. Return: its actions; caller frees */
static inline _unused_ json_t *actions_of(struct core *c, const char *event, uint64_t now_us)
{
    json_t *actions = NULL;
    _cleanup_json_ json_t *parsed = json_loads(event, 0, NULL);
    assert(parsed);
    int r = core_step(c, parsed, now_us, now_us, &actions, NULL);
    assert(r == 0);
    return actions;
}

/** action_find - the first one whose @field, "id" or "do", begins with @prefix, or NULL. Borrowed. */
static inline _unused_ const json_t *action_find(const json_t *actions, const char *field, const char *prefix)
{
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (str_starts(json_text_of(a, field), prefix)) {
            return a;
        }
    }
    return NULL;
}

/** action_of - the one with just this id, or NULL. Borrowed. */
static inline _unused_ const json_t *action_of(const json_t *actions, const char *id)
{
    size_t i;
    json_t *a;
    json_array_foreach(actions, i, a) {
        if (str_eq(json_text_of(a, "id"), id)) {
            return a;
        }
    }
    return NULL;
}

/** action_args - its arguments, or NULL. Borrowed. */
static inline _unused_ const json_t *action_args(const json_t *actions, const char *id)
{
    return json_object_get(action_of(actions, id), "args");
}

/** action_saved - one step: the store has taken the task @id as this core read it. Return: its actions; caller frees */
static inline _unused_ json_t *action_saved(struct core *c, const char *id, uint64_t now_us)
{
    _cleanup_free_ char *event = str_printf("{\"ev\":\"done\",\"id\":\"save/%s\",\"result\":{}}", id);
    return actions_of(c, event, now_us);
}
