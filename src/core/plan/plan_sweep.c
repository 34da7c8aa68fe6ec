/* SPDX-License-Identifier: Apache-2.0
 * Records that nobody needs any more: ended tasks, used and expired tokens. */
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/plan/plan.h"

#define SWEEP_US (60 * USEC_PER_SEC)
#define TASK_KEEP_MS (86400 * 1000ULL)
#define TASKS_KEPT 200
#define SWEEP_MAX 50 /* of each kind in one commit; etcd takes 128 operations */

static bool is_any(const json_t *node)
{
    return true;
}

static bool has_joined(const struct core *c, const char *uuid)
{
    for (struct world_iter it = {0}; uuid && world_next(&c->world, KEY_NODE, &it);) {
        if (str_eq(json_text_of(it.value, "uuid"), uuid)) {
            return node_is_online(it.value);
        }
    }
    return false;
}

/* A used token stays until its host is in: it may ask again. */
static void sweep_tokens(struct core *c, struct commit *t, uint64_t now_ms)
{
    size_t n = 0;
    for (struct world_iter it = {0}; n < SWEEP_MAX && world_next(&c->world, KEY_TOKEN, &it);) {
        bool is_expired = json_u64_of(it.value, "expires_ms", 0) < now_ms;
        if (is_expired || has_joined(c, json_text_of(it.value, "used_by"))) {
            commit_del(c, t, KEY_TOKEN, it.name);
            n++;
        }
    }
}

/* Return: 0 while it runs */
static uint64_t ended_ms(const json_t *task)
{
    return str_eq(json_text_of(task, "state"), "running") ? 0 : json_u64_of(task, "ended_ms", 0);
}

static size_t count_later(const struct core *c, uint64_t than_ms)
{
    size_t n = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_TASK, &it);) {
        n += ended_ms(it.value) > than_ms;
    }
    return n;
}

static void sweep_tasks(struct core *c, struct commit *t, uint64_t now_ms)
{
    size_t n = 0;
    bool are_many = count_later(c, 0) > TASKS_KEPT;
    for (struct world_iter it = {0}; n < SWEEP_MAX && world_next(&c->world, KEY_TASK, &it);) {
        uint64_t at = ended_ms(it.value);
        bool is_old = at && at + TASK_KEEP_MS < now_ms;
        if (is_old || (at && are_many && count_later(c, at) >= TASKS_KEPT)) {
            commit_del(c, t, KEY_TASK, it.name);
            n++;
        }
    }
}

void plan_sweep(struct core *c)
{
    if (!core_is_past(c, c->sweep_at_us) || !node_is_first(c, is_any)) {
        return;
    }
    c->sweep_at_us = core_time_us(c) + SWEEP_US;
    struct commit t = commit_new();
    sweep_tokens(c, &t, c->wall_us / USEC_PER_MSEC);
    sweep_tasks(c, &t, c->wall_us / USEC_PER_MSEC);
    if (json_array_size(t.dels)) {
        (void)commit_try(c, "sweep", &t);
        return;
    }
    json_decref(t.compares);
    json_decref(t.puts);
    json_decref(t.dels);
}
