/* SPDX-License-Identifier: Apache-2.0 */
#include "core/ha/ha_request.h"

#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/op/op.h"

/* A7: failover covers pools on one triple of hosts; more triples need a proof of their own first. */
static int check_triple(const struct core *c, const char *name, const json_t *pool, struct err *e)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_fencers(c, fencers);
    if (pool_is_dir(pool)) {
        return ERR_SET(e, POOL_POLICY, "pool '%s' is local storage: its disks die with the host", name);
    }
    if (json_array_size(json_object_get(pool, "bricks")) != HA_FENCERS_MAX) {
        (void)ERR_SET(e, POOL_POLICY, "pool '%s' has two bricks; failover needs three hosts to agree", name);
        err_hint(e, "make a pool on three hosts; a small witness is enough for the third");
        return -ERR_POOL_POLICY;
    }
    for (size_t i = 0; i < n; i++) {
        if (!pool_brick_of(pool, fencers[i])) {
            return ERR_SET(e, POOL_POLICY, "failover is on for pools whose bricks are on other hosts than "
                           "those of '%s': %s has none of it", name, fencers[i]);
        }
    }
    return 0;
}

static int check_hosts(const struct core *c, struct err *e)
{
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        if (!node_may_run_vms(it.value)) {
            (void)ERR_SET(e, STATE, "host '%s' is %s; all hosts must be in good standing", it.name,
                          json_text_of(it.value, "state"));
            err_hint(e, "see 'mortar host ls'");
            return -ERR_STATE;
        }
    }
    return 0;
}

static void hint_unsettled(const struct core *c, const char *host, struct err *e)
{
    if (ha_node_is_held(node_get(c, host))) {
        err_hint(e, "find out why it was fenced again and again, then 'mortar host admit %s'", host);
    } else {
        err_hint(e, "switch %s on if it is off, and wait until 'mortar host ls' shows it online", host);
    }
}

int ha_request_off(struct core *c, const char *pool, struct err *e)
{
    const char *host = ha_pool_is_on(c, pool) ? ha_unsettled(c, NULL) : NULL;
    if (!host) {
        return 0;
    }
    (void)ERR_SET(e, STATE, "host '%s' is %s, and only failover lets it in again: failover of pool '%s' stays on until "
                  "then", host, ha_unsettled_word(c, host), pool);
    hint_unsettled(c, host, e);
    return -ERR_STATE;
}

/* Its own fence, drain or return would be forgotten with its record; for the return of another it launders what it owns. */
int ha_request_leave(struct core *c, struct err *e)
{
    const json_t *me = c->host ? node_get(c, c->host) : NULL;
    const char *host = !me || str_eq(json_text_of(me, "state"), "leaving") ? NULL : ha_unsettled(c, NULL);
    if (!host) {
        return 0;
    }
    (void)ERR_SET(e, STATE, "this host cannot leave: host '%s' is %s, and no host may go before failover has let it in "
                  "again", host, ha_unsettled_word(c, host));
    hint_unsettled(c, host, e);
    return -ERR_STATE;
}

int ha_request_pool(struct core *c, const json_t *args, struct commit *t, struct err *e)
{
    const char *name = NULL;
    bool on = json_bool_of(args, "on", true);
    int r = json_need_text(args, "name", &name, e);
    const json_t *pool = r < 0 ? NULL : pool_get(c, name);
    if (r < 0) {
        return r;
    }
    if (!pool) {
        return ERR_SET(e, NOT_FOUND, "there is no pool '%.64s'", name);
    }
    if (!str_eq(json_text_of(pool, "state"), "ready")) {
        return ERR_SET(e, STATE, "pool '%s' is %s", name, json_text_of(pool, "state"));
    }
    if (op_is_running(c, "pool.ha", name)) {
        return ERR_SET(e, BUSY, "failover of pool '%s' is being switched already", name);
    }
    if (json_text_of(args, "profile") && !ha_timing_find(json_text_of(args, "profile"))) {
        return ERR_SET(e, INVALID, "'%.40s' is no profile; there are fast, standard and relaxed",
                       json_text_of(args, "profile"));
    }
    commit_guard(c, t, KEY_POOL, name);
    r = on ? check_triple(c, name, pool, e) : ha_request_off(c, name, e);
    return r < 0 || !on ? r : check_hosts(c, e);
}

int ha_request_admit(struct core *c, const char *host, struct commit *t, struct err *e)
{
    const json_t *node = node_get(c, host);
    if (!node) {
        return ERR_SET(e, NOT_FOUND, "there is no host '%.64s'", host);
    }
    if (!ha_node_is_held(node)) {
        (void)ERR_SET(e, STATE, "host '%s' is %s, and is not held back", host, json_text_of(node, "state"));
        err_hint(e, node_is_out(node) ? "it is let in by itself when it runs again"
                                      : "only a host that was fenced again and again is");
        return -ERR_STATE;
    }
    json_t *next = json_deep_copy(node);
    json_object_del(next, "fences");
    commit_put(c, t, KEY_NODE, host, next);
    return 0;
}

int ha_request_fence(struct core *c, const char *host, struct commit *t, struct err *e)
{
    const json_t *node = node_get(c, host);
    if (!node) {
        return ERR_SET(e, NOT_FOUND, "there is no host '%.64s'", host);
    }
    if (!ha_is_on(c)) {
        (void)ERR_SET(e, STATE, "failover is on for no pool: nobody could prove that '%s' writes no more", host);
        err_hint(e, "switch it on with 'mortar pool ha POOL'; a host that runs is emptied by 'mortar host evacuate'");
        return -ERR_STATE;
    }
    if (!ha_node_may_be_fenced(node)) {
        (void)ERR_SET(e, STATE, "host '%s' is %s already", host, json_text_of(node, "state"));
        err_hint(e, "see 'mortar host show %s'", host);
        return -ERR_STATE;
    }
    const char *unfit = ha_unfit(c, host, t);
    if (unfit) {
        (void)ERR_SET(e, STATE, "host '%s' is out, silent or just coming back; two other brick hosts have to cut '%s' "
                      "off", unfit, host);
        err_hint(e, "bring %s back first, see 'mortar host ls'", unfit);
        return -ERR_STATE;
    }
    ha_put_fencing(c, t, host, "a user has declared it dead", false);
    return 0;
}
