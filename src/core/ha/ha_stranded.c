/* SPDX-License-Identifier: Apache-2.0
 * A host that is heard but does not reach its disks (facts/ha.md 3.9 case 7): its guests stand still for as
 * long as its storage network is down, while another host could run them. It declares itself out (T1);
 * what follows is the fence of a silent host, and as safe. It costs the guests a restart, so it is done only
 * when all of them would be better off: see who_takes_all(). */
#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/model/vm.h"

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

/* Another VM host that reaches @pool. */
static bool could_take(const struct core *c, const char *host, const char *pool)
{
    const json_t *node = node_get(c, host);
    return !str_eq(host, c->host) && node_has_vms(node) && node_is_online(node) && !ha_is_reported(c, host) &&
           pool_is_usable_on(c, pool, host);
}

/* When nobody reaches the pool, it is not this host that is broken. */
static bool is_alone(const struct core *c, const char *pool)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (could_take(c, it.name, pool)) {
            return true;
        }
    }
    return false;
}

/* A host that would take what runs here, and how much it holds. What place_vm() asks cannot be asked from here: who does
 * not reach the storage network hears nobody at its storage address. T4 places, on a host that does. */
static uint64_t room_on(const struct core *c, const char *host, const char *pool, uint64_t since_us)
{
    const json_t *facts = node_seen(c, host, "host");
    bool is_mute = json_bool_of(node_seen(c, host, "libvirt"), "mute", false);
    bool may_take = could_take(c, host, pool) && !is_mute && has_spoken(c, host, pool, since_us);
    return may_take ? json_u64_of(facts, "memory_free_bytes", 0) : 0;
}

/* Does each machine that runs here, and is to run, have its disks on @pool, and may it be started elsewhere?
 * @ret_bytes: what they need        Return: false also when there is none */
static bool all_may_go(const struct core *c, const char *pool, uint64_t *ret_bytes)
{
    const char *vm;
    json_t *dom;
    bool is_any = false;
    *ret_bytes = 0;
    json_object_foreach(smap_get(&c->seen, "domains"), vm, dom) {
        const json_t *spec = vm_spec(c, vm);
        bool is_ours = str_eq(json_text_of(vm_own(c, vm), "owner"), c->host) && vm_epoch(dom) == vm_epoch(vm_own(c, vm));
        if (!str_eq(json_text_of(spec, "desired"), "running")) {
            continue; /* it is being ended anyway */
        }
        if (!is_ours || !str_eq(json_text_of(spec, "pool"), pool) || policy_of(spec) != POLICY_RESTART ||
            !json_bool_of(vm_act(c, vm), "ha", false)) {
            return false;
        }
        *ret_bytes += vm_next_u64(spec, "memory_bytes");
        is_any = true;
    }
    return is_any;
}

/* Return: a host that has part of the room for all that runs here, borrowed; NULL when there is not enough */
static const char *who_takes_all(const struct core *c, const char *pool, uint64_t since_us)
{
    const char *first = NULL;
    uint64_t wanted = 0;
    uint64_t room = 0;
    if (!all_may_go(c, pool, &wanted)) {
        return NULL;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        uint64_t bytes = room_on(c, it.name, pool, since_us);
        first = bytes && !first ? it.name : first;
        room += bytes;
    }
    return room >= wanted ? first : NULL;
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
                                ? who_takes_all(c, it.name, core_time_us(c) - for_us) : NULL;
        if (other) {
            declare(c, it.name, other);
            return;
        }
    }
}
