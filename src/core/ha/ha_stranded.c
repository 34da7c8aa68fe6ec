/* SPDX-License-Identifier: Apache-2.0
 * A host that is heard but does not reach its disks (facts/ha.md 3.9 case 7): its guests stand still for as
 * long as its storage network is down, while another host could run them. It declares itself out (T1);
 * what follows is the fence of a silent host, and as safe. It costs the guests a restart, so it is done only
 * when all of them would be better off: see all_would_go(). */
#include <stdio.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/place/place.h"

/* So long after a quorum is gone that host's agent has said so: a look (10 s), its deadline, a commit. */
#define NOTICED_US (15 * USEC_PER_SEC)

/* What a dead agent said of its pools stands in the store. Has this one spoken since it must have noticed, too?
 * Of the pool it speaks when bricks come and go, or wait for heal; its beat comes each 30 s, and proves a look when
 * it is that of an agent that has lived since before: open/HOST tells when it began. */
static bool has_spoken(const struct core *c, const char *host, const char *pool, uint64_t since_us)
{
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    _cleanup_free_ char *open = str_printf(KEY_OPEN "%s", host);
    const struct record *seen = world_part(&c->world, KEY_SEEN, host, what);
    const struct record *beat = world_part(&c->world, KEY_SEEN, host, "host");
    const struct record *life = world_record(&c->world, open);
    if (seen && seen->changed_us >= since_us + NOTICED_US) {
        return true;
    }
    return beat && life && beat->changed_us >= since_us + NOTICED_US && life->changed_us < since_us &&
           json_equal(json_object_get(beat->value, "instance"), json_object_get(life->value, "instance"));
}

static bool could_take(const struct core *c, const char *host, const char *pool)
{
    return node_is_online(node_get(c, host)) && !ha_is_reported(c, host) && pool_is_usable_on(c, pool, host);
}

/* When nobody reaches the pool, it is not this host that is broken. */
static bool is_alone(const struct core *c, const char *pool)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && node_has_vms(it.value) && could_take(c, it.name, pool)) {
            return true;
        }
    }
    return false;
}

/* Every machine that runs here, and is to run: its disks are out of reach, it may be started elsewhere, and there is
 * a host with room that reaches them. Return: whose word that rests on, borrowed, or NULL */
static const char *all_would_go(const struct core *c, uint64_t since_us)
{
    _cleanup_json_ json_t *rooms = place_rooms(c, NULL);
    const char *first = NULL;
    const char *vm;
    json_t *dom;
    json_object_foreach(smap_get(&c->seen, "domains"), vm, dom) {
        const json_t *spec = vm_spec(c, vm);
        const char *pool = json_text_of(spec, "pool");
        if (!str_eq(json_text_of(spec, "desired"), "running")) {
            continue; /* it is being ended anyway */
        }
        bool may_go = policy_of(spec) == POLICY_RESTART && json_bool_of(vm_act(c, vm), "ha", false) &&
                      str_eq(json_text_of(vm_own(c, vm), "owner"), c->host) && vm_epoch(dom) == vm_epoch(vm_own(c, vm));
        const char *to = may_go && pool_is_cut_off(c, pool) ? ha_seat(c, vm, c->host, rooms, NULL) : NULL;
        if (!to || !could_take(c, to, pool) || !has_spoken(c, to, pool, since_us)) {
            return NULL;
        }
        first = first ? first : to;
    }
    return first;
}

static void declare(struct core *c, const char *pool, const char *other)
{
    _cleanup_free_ char *seen = str_printf("%s/pool/%s", other, pool);
    _cleanup_free_ char *why = str_printf("it has not reached the disks in pool '%s' for %d s, and %s does",
                                          pool, (int)(HA_STRANDED_US / USEC_PER_SEC), other);
    struct commit t = commit_new();
    if (ha_unfit(c, c->host, &t)) {
        commit_drop(&t);
        return;
    }
    commit_guard(c, &t, KEY_NODE, other);
    commit_guard(c, &t, KEY_SEEN, seen); /* it is compared: what others see may have changed */
    ha_put_fencing(c, &t, c->host, why, true);
    (void)commit_try(c, "ha/stranded", &t);
}

void ha_plan_stranded(struct core *c)
{
    if (!node_may_run_vms(node_get(c, c->host))) {
        return;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        if (!ha_pool_is_on(c, it.name) || !pool_is_cut_off(c, it.name) || !is_alone(c, it.name)) {
            continue;
        }
        /* Both for so long: when a network comes back for all, some notice it a moment before others. */
        _cleanup_free_ char *clock = str_printf("stranded/%s", it.name);
        uint64_t for_us = ha_since_us(c, clock);
        const char *other = for_us >= HA_STRANDED_US && ha_may_fence_now(c)
                                ? all_would_go(c, core_time_us(c) - for_us) : NULL;
        if (other) {
            declare(c, it.name, other);
            return;
        }
    }
}
