/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_kit.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim_impl.h"

#define STEP_US (20 * USEC_PER_MSEC)
#define SETTLE_US (500 * USEC_PER_MSEC) /* all have heard of what was done */
#define TRIES 400 /* of half a second: an agent that missed two events in a row waits for lists */

uint64_t kit_first_seed(void)
{
    const char *text = getenv("MORTAR_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

int kit_schedules(int normal)
{
    const char *text = getenv("MORTAR_SCHEDULES");
    return text ? (int)strtoul(text, NULL, 10) : getenv("MORTAR_SEED") ? 1 : normal;
}

bool kit_until(struct sim *s, kit_fn fn, const void *arg, uint64_t limit_us)
{
    uint64_t end_us = s->now_us + limit_us;
    while (s->now_us < end_us && !fn(s, arg)) {
        sim_run(s, STEP_US);
    }
    return fn(s, arg);
}

static bool is_written(struct sim *s, const void *key)
{
    return sim_get(s, key) != NULL;
}

void kit_ask(struct sim *s, const char *verb, json_t *args, const char *expected)
{
    struct err e = {0};
    _cleanup_free_ char *task = NULL;
    for (int i = 0; !task && i < TRIES; i++) { /* what others do at the moment may be in the way */
        e = (struct err){0};
        task = sim_request(s, 0, verb, json_deep_copy(args), &e);
        _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task ? task : "");
        if (!kit_until(s, is_written, key, 500 * USEC_PER_MSEC)) {
            free(task);
            task = NULL; /* its commit met a conflict */
        }
    }
    json_decref(args);
    if (!task) {
        sim_violated(s, "%s: %s", verb, e.msg);
        return;
    }
    const char *state = sim_wait(s, task, KIT_LIMIT_US);
    if (expected && !str_eq(state, expected)) {
        _cleanup_free_ char *key = str_printf("%s%s", KEY_TASK, task);
        _cleanup_free_ char *text = json_format(sim_get(s, key));
        sim_violated(s, "%s ended as '%s': %s", verb, state, text);
    }
    sim_run(s, SETTLE_US);
}

static bool is_running(struct sim *s, const void *vm)
{
    return sim_running(s, vm) == 1;
}

void kit_expect_running(struct sim *s, const char *vm)
{
    if (sim_running(s, vm) != 1) {
        _cleanup_free_ char *own_key = str_printf(KEY_VM "%s/own", vm);
        _cleanup_free_ char *act_key = str_printf(KEY_VM "%s/act", vm);
        const json_t *own_record = sim_get(s, own_key);
        const json_t *act_record = sim_get(s, act_key);
        _cleanup_free_ char *own = own_record ? json_format(own_record) : str_dup("none");
        _cleanup_free_ char *act = act_record ? json_format(act_record) : str_dup("none");
        sim_violated(s, "%s runs on %zu hosts, own %s act %s", vm, sim_running(s, vm), own, act);
    }
}

void kit_add_vm(struct sim *s, const char *name)
{
    kit_ask(s, "vm.create", json_pack("{s:s,s:s,s:i,s:I,s:I}", "name", name, "pool", "vms", "cpus", 1,
                                      "memory_bytes", (json_int_t)GIB, "disk_bytes", (json_int_t)GIB),
            "done");
    (void)kit_until(s, is_running, name, KIT_LIMIT_US);
    kit_expect_running(s, name);
}

/* Does every host that runs machines know that all others of that kind have mounted the pool? */
static bool is_mounted(struct sim *s, const void *arg)
{
    for (size_t h = 0; h < s->hosts_n; h++) {
        for (size_t other = 0; other + 1 < s->hosts_n; other++) { /* the last one is a witness */
            const struct record *r =
                world_part(&s->hosts[h].core->world, KEY_SEEN, s->hosts[other].name, "pool/vms");
            const json_t *mount = r ? json_object_get(r->value, "mount") : NULL;
            if (!str_eq(json_text_of(mount, "state"), "mounted")) {
                return false;
            }
        }
    }
    return true;
}

void kit_pool(struct sim *s)
{
    sim_run(s, 3 * USEC_PER_SEC);
    kit_ask(s, "pool.create", json_pack("{s:s}", "name", "vms"), "done");
    if (!kit_until(s, is_mounted, NULL, KIT_LIMIT_US)) {
        sim_violated(s, "the pool is not mounted everywhere");
    }
}

size_t kit_owner(const struct sim *s, const char *vm)
{
    _cleanup_free_ char *key = str_printf(KEY_VM "%s/own", vm);
    return sim_host_index(s, json_text_of(sim_get(s, key), "owner"));
}

const char *kit_state(const struct sim *s, size_t host)
{
    _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[host].name);
    return json_text_of(sim_get(s, key), "state");
}

static bool are_online(struct sim *s, const void *arg)
{
    sim_ha_admit(s);
    for (size_t i = 0; i < s->hosts_n; i++) {
        if (!str_eq(kit_state(s, i), "online")) {
            return false;
        }
    }
    return true;
}

void kit_all_online(struct sim *s)
{
    if (kit_until(s, are_online, NULL, KIT_LIMIT_US)) {
        return;
    }
    for (size_t i = 0; i < s->hosts_n; i++) {
        if (!str_eq(kit_state(s, i), "online")) {
            _cleanup_free_ char *key = str_printf(KEY_NODE "%s", s->hosts[i].name);
            _cleanup_free_ char *text = json_format(sim_get(s, key));
            sim_violated(s, "%s is no full member: %s", s->hosts[i].name, text);
        }
    }
}

bool kit_has_task(struct sim *s, const void *arg)
{
    for (size_t i = smap_lower(&s->store, KEY_TASK); i < s->store.n; i++) {
        const char *key = s->store.items[i].key;
        if (str_starts(key, KEY_TASK) && str_eq(json_text_of(sim_get(s, key), "state"), "running")) {
            return true;
        }
    }
    return false;
}
