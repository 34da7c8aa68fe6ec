/* SPDX-License-Identifier: Apache-2.0
 * A host that is heard but does not reach its disks (facts/ha.md 3.9 case 7): its guests stand still for as
 * long as its storage network is down, while another host could run them. It declares itself out (T1);
 * what follows is the fence of a silent host, and as safe. */
#include <stdio.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"

/* It must say so itself. One that does not answer in time may be busy only, and so may the host be. */
static bool is_cut_off(const struct core *c, const char *pool)
{
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    const json_t *mount = json_object_get(smap_get(&c->seen, what), "mount");
    return str_eq(json_text_of(mount, "state"), "mounted") && !json_bool_of(mount, "quorum", true);
}

/* Does a guest run here that failover covers, with its disk on @pool? */
static bool has_guest_on(const struct core *c, const char *pool)
{
    const char *vm;
    json_t *dom;
    json_object_foreach(smap_get(&c->seen, "domains"), vm, dom) {
        const json_t *spec = vm_spec(c, vm);
        if (str_eq(json_text_of(spec, "pool"), pool) && str_eq(json_text_of(spec, "desired"), "running") &&
            str_eq(json_text_of(vm_own(c, vm), "owner"), c->host) && vm_epoch(dom) == vm_epoch(vm_own(c, vm)) &&
            json_bool_of(vm_act(c, vm), "ha", false)) {
            return true;
        }
    }
    return false;
}

/* A host that could run them. When nobody reaches the pool, it is not this host that is broken. */
static const char *who_reaches(const struct core *c, const char *pool)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!str_eq(it.name, c->host) && node_is_online(it.value) && node_has_vms(it.value) &&
            !ha_is_reported(c, it.name) && pool_is_usable_on(c, pool, it.name)) {
            return it.name;
        }
    }
    return NULL;
}

static void declare(struct core *c, const char *pool, const char *other)
{
    _cleanup_free_ char *id = str_printf("ha/stranded/%s", pool);
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
    (void)commit_try(c, id, &t);
}

void ha_plan_stranded(struct core *c)
{
    if (!node_may_run_vms(node_get(c, c->host))) {
        return;
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        _cleanup_free_ char *clock = str_printf("stranded/%s", it.name);
        if (!ha_pool_is_on(c, it.name) || !is_cut_off(c, it.name) || !has_guest_on(c, it.name)) {
            continue;
        }
        /* Both for so long: when a network comes back for all, some notice it a moment before others. */
        const char *other = who_reaches(c, it.name);
        if (other && ha_since_us(c, clock) >= HA_STRANDED_US && ha_may_fence_now(c)) {
            declare(c, it.name, other);
        }
    }
}
