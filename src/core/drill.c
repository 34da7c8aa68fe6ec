/* SPDX-License-Identifier: Apache-2.0 */
#include "core/drill.h"

#include <inttypes.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/policy.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/op/ops.h"

/* A drill that is being planned. */
struct draft {
    const struct core *c;
    const char *host;
    const char *kind;
    const char *task;
    json_t *vms;
    json_t *stay;
    char **wait; /* what the next look decides, or NULL */
    struct err *e;
};

#define REFUSE(d, code, hint, ...) \
    ((void)ERR_SET((d)->e, code, __VA_ARGS__), err_hint((d)->e, "%s", (hint)), -ERR_##code)

/* --- is all well? -------------------------------------------------------------------------- */

static int check_tasks(struct draft *d)
{
    for (struct world_iter it = {0}; world_next(&d->c->world, KEY_TASK, &it);) {
        const char *kind = json_text_of(it.value, "kind");
        if (!str_eq(json_text_of(it.value, "state"), "running") || str_eq(it.name, d->task)) {
            continue;
        }
        if (str_eq(kind, "drill") || str_starts(kind, "pool.")) {
            return REFUSE(d, BUSY, "wait for its end: mortar task ls", "%s of '%s' is under way", kind,
                          json_text_of(it.value, "object"));
        }
        const char *owner = json_text_of(vm_own(d->c, json_text_of(it.value, "object")), "owner");
        if (str_eq(json_text_of(it.value, "runner"), d->host) ||
            (str_starts(kind, "vm.") && str_eq(owner, d->host))) {
            return REFUSE(d, BUSY, "wait for its end: mortar task ls", "%s of '%s' is under way on %s", kind,
                          json_text_of(it.value, "object"), d->host);
        }
    }
    return 0;
}

static int check_hosts(struct draft *d)
{
    const struct core *c = d->c;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        const char *missing = op_ha_missing_on(c, it.name, it.value);
        char buf[96];
        if (!node_may_run_vms(it.value)) {
            return REFUSE(d, STATE, "wait until all hosts are online: mortar host ls",
                          "host '%s' is %s: a second one must not fall out", it.name,
                          json_text_of(it.value, "state"));
        }
        if (ha_node_is_flushing(it.value)) {
            return REFUSE(d, STATE, "try again in a few seconds", "host '%s' was booted just now", it.name);
        }
        if (node_is_silent(c, it.name)) {
            return REFUSE(d, STATE, "see 'mortar status'", "host '%s' %s: a second one must not fall out", it.name,
                          node_silence(c, it.name, buf, sizeof(buf)));
        }
        if (missing) {
            return REFUSE(d, STATE, "see 'systemctl status mortar-guard mortar-fence' there", "host '%s': %s",
                          it.name, missing);
        }
    }
    return 0;
}

/* It takes two fencers to fence a host, but one that has lost sight of it shows that something is ill already. */
static int check_silence(struct draft *d)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_fencers(d->c, fencers);
    for (size_t i = 0; i < n; i++) {
        const json_t *hosts = json_object_get(world_get(&d->c->world, KEY_SILENT, fencers[i]), "hosts");
        const char *unheard = json_string_value(json_array_get(hosts, 0));
        if (unheard) {
            return REFUSE(d, STATE, "look at the network between them: mortar host ls",
                          "the guard of host '%s' hears nothing of host '%s': a second one must not fall out",
                          fencers[i], unheard);
        }
    }
    return 0;
}

static int check_pool(struct draft *d, const char *pool, const json_t *record)
{
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(record, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        const json_t *seen = json_object_get(node_seen_now(d->c, host, what), "brick");
        uint64_t pending = json_u64_of(seen, "heal_pending_files", 0);
        if (!pool_brick_is_online(d->c, pool, host)) {
            return REFUSE(d, STATE, "see 'mortar pool show'", "the brick of pool '%s' on %s is offline", pool, host);
        }
        if (pending && json_bool_of(seen, "heal_stays", false)) {
            return REFUSE(d, STATE, "wait until none does: mortar pool show",
                          "%" PRIu64 " files of pool '%s' wait for heal on %s", pending, pool, host);
        }
        if (pending && !*d->wait) {
            *d->wait = str_printf("%" PRIu64 " files of pool '%s' were listed for heal on %s at the last look: the next one "
                                 "tells whether they stay so", pending, pool, host);
        }
    }
    return 0;
}

static int check_storage(struct draft *d)
{
    for (struct world_iter it = {0}; world_next(&d->c->world, KEY_POOL, &it);) {
        int r = pool_is_dir(it.value) ? 0 : check_pool(d, it.name, it.value);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* The store decides: without its majority nobody is fenced, and the drill would only be an outage. */
static int check_store(struct draft *d)
{
    const json_t *etcd = smap_get(&d->c->seen, "etcd");
    uint64_t members = json_array_size(json_object_get(etcd, "list"));
    uint64_t healthy = json_u64_of(etcd, "healthy", 0);
    if (etcd_is_member(d->c, node_get(d->c, d->host)) && healthy < members / 2 + 2) {
        return REFUSE(d, STATE, "see 'mortar status'; three members are needed",
                      "the store has %" PRIu64 " of %" PRIu64 " members healthy: without %s it would have no majority",
                      healthy, members, d->host);
    }
    return 0;
}

/* --- the machines -------------------------------------------------------------------------- */

static bool is_on(const struct core *c, const char *vm, const char *host)
{
    return str_eq(json_text_of(vm_own(c, vm), "owner"), host) &&
           str_eq(json_text_of(vm_spec(c, vm), "desired"), "running");
}

/* Why failover would not start it elsewhere, or NULL. */
static const char *uncovered(const struct core *c, const char *vm)
{
    const json_t *spec = vm_spec(c, vm);
    const json_t *act = vm_act(c, vm);
    if (!ha_pool_is_on(c, json_text_of(spec, "pool"))) {
        return "failover of its pool is off";
    }
    if (policy_of(spec) != POLICY_RESTART) {
        return "its policy says so";
    }
    if (!str_eq(json_text_of(act, "state"), "running") || vm_epoch(act) != vm_epoch(vm_own(c, vm))) {
        return "it does not run yet";
    }
    return json_bool_of(act, "ha", false) ? NULL : "it runs since before failover was switched on: restart it first";
}

static int add_vm(struct draft *d, const char *vm)
{
    const struct core *c = d->c;
    const json_t *spec = vm_spec(c, vm);
    const char *why = uncovered(c, vm);
    bool has_channel = json_bool_of(spec, "demo_channel", false);
    if (!is_on(c, vm, d->host)) {
        const char *owner = json_text_of(vm_own(c, vm), "owner");
        if (owner && is_on(c, vm, owner)) {
            json_array_append_new(d->stay, json_pack("{s:s,s:s,s:b}", "vm", vm, "host", owner, "channel", has_channel));
        }
        return 0;
    }
    if (why) {
        return REFUSE(d, STATE, "move it away with 'mortar vm migrate', or stop it",
                      "vm '%s' on %s would not be started elsewhere: %s", vm, d->host, why);
    }
    json_array_append_new(d->vms, json_pack("{s:s,s:b}", "vm", vm, "channel", has_channel));
    return 0;
}

/* As T4 would place them: the machines are those that it takes, because no others are on the host. */
static int check_room(struct draft *d)
{
    _cleanup_json_ json_t *lacking = ha_no_spare(d->c);
    const char *vm = json_string_value(json_array_get(json_object_get(lacking, d->host), 0));
    if (vm) {
        return REFUSE(d, NO_ROOM, "free memory: stop or move machines, or add a host",
                      "without %s there is no room for vm '%s'", d->host, vm);
    }
    return 0;
}

static int add_vms(struct draft *d)
{
    char *name = NULL;
    int r = 0;
    for (struct world_iter it = {0}; r == 0 && (name = vm_next(d->c, &it));) {
        r = json_text_of(vm_spec(d->c, name), "making") ? 0 : add_vm(d, name);
        free(name);
    }
    return r < 0 ? r : check_room(d);
}

static const char *busiest_other(const struct core *c)
{
    const char *best = NULL;
    size_t best_n = 0;
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        size_t n = 0;
        char *name = NULL;
        for (struct world_iter v = {0}; (name = vm_next(c, &v));) {
            n += is_on(c, name, it.name) && !uncovered(c, name);
            free(name);
        }
        if (!str_eq(it.name, c->host) && (!best || n > best_n)) {
            best = it.name;
            best_n = n;
        }
    }
    return best;
}

/* --- words --------------------------------------------------------------------------------- */

static uint64_t seconds_of(const struct core *c)
{
    return (4 * ha_timing(c)->promise_us + 6 * USEC_PER_SEC) / USEC_PER_SEC; /* silent, fenced, and some more */
}

static void add_names(struct sbuf *b, const json_t *vms)
{
    size_t i;
    json_t *item;
    json_array_foreach(vms, i, item) {
        sbuf_printf(b, "%s%s", i ? ", " : "", json_text_of(item, "vm"));
    }
}

static char *text_of(const struct draft *d)
{
    struct sbuf b = {0};
    size_t n = json_array_size(d->vms);
    size_t m = json_array_size(d->stay);
    uint64_t s = seconds_of(d->c);
    if (str_eq(d->kind, "power")) {
        sbuf_printf(&b, "%s is reset at once, without sync or shutdown, as if its power were cut: what is not on its "
                    "disks is lost. It boots again by itself.", d->host);
    } else if (str_eq(d->kind, "hang")) {
        sbuf_printf(&b, "All processes of %s stand still for %" PRIu64 " s, also its SSH sessions. A watchdog, if it "
                    "has one, resets it meanwhile; without one an old guest may execute for a moment afterwards, beside "
                    "the one that was started in its place. It writes nothing.", d->host, s);
    } else {
        sbuf_printf(&b, "Nothing gets through the network cards of %s for %" PRIu64 " s, also no SSH; then they work "
                    "again.", d->host, s);
    }
    if (n) {
        sbuf_printf(&b, " What runs on it is started on other hosts, to its guests it is a power cut: ");
        add_names(&b, d->vms);
        sbuf_printf(&b, ".");
    } else {
        sbuf_printf(&b, " It runs no virtual machine.");
    }
    if (m) {
        sbuf_printf(&b, " These stay where they are, and may stand still for seconds: ");
        add_names(&b, d->stay);
        sbuf_printf(&b, ".");
    }
    sbuf_printf(&b, " Until %s is healed and let in again its pools have one copy less.", d->host);
    return sbuf_take(&b);
}

static int check_words(const struct draft *d)
{
    if (!str_eq(d->kind, "power") && !str_eq(d->kind, "hang") && !str_eq(d->kind, "network")) {
        return ERR_SET(d->e, INVALID, "'%.40s' is no kind of drill; there are power, hang and network", d->kind);
    }
    if (!ha_is_on(d->c)) {
        return REFUSE(d, STATE, "switch it on with 'mortar pool ha POOL'", "failover is on for no pool");
    }
    if (!d->host || !node_get(d->c, d->host)) {
        return REFUSE(d, NOT_FOUND, "see 'mortar host ls'", "there is no host '%.64s'", d->host ? d->host : "");
    }
    if (str_eq(d->host, d->c->host) && !d->task) {
        return REFUSE(d, STATE, "run it on another host", "this command would fall with host '%s'", d->host);
    }
    if (!node_is_online(node_get(d->c, d->host))) {
        return REFUSE(d, STATE, "see 'mortar host ls'", "host '%s' is %s", d->host,
                      json_text_of(node_get(d->c, d->host), "state"));
    }
    return 0;
}

int drill_plan(const struct core *c, const char *host, const char *kind, const char *task, json_t **ret,
               struct err *e)
{
    _cleanup_json_ json_t *vms = json_array();
    _cleanup_json_ json_t *stay = json_array();
    _cleanup_free_ char *wait = NULL;
    struct draft d = {c, host ? host : busiest_other(c), kind ? kind : "power", task, vms, stay, &wait, e};
    int r = check_words(&d);
    r = r < 0 ? r : check_tasks(&d);
    r = r < 0 ? r : check_hosts(&d);
    r = r < 0 ? r : check_silence(&d);
    r = r < 0 ? r : check_storage(&d);
    r = r < 0 ? r : check_store(&d);
    r = r < 0 ? r : add_vms(&d);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *text = text_of(&d);
    *ret = json_pack("{s:s,s:I,s:s,s:I,s:O,s:O,s:s,s:s*}", "host", d.host, "inc",
                     (json_int_t)json_u64_of(node_get(c, d.host), "inc", 0), "kind", d.kind, "seconds",
                     (json_int_t)seconds_of(c), "vms", vms, "stay", stay, "text", text, "wait", wait);
    return 0;
}

/* --- records ------------------------------------------------------------------------------- */

const json_t *drill_active(const struct core *c)
{
    const char *id = json_text_of(world_get(&c->world, KEY_DRILLING, ""), "id");
    const json_t *task = id ? world_get(&c->world, KEY_TASK, id) : NULL;
    return str_eq(json_text_of(task, "state"), "running") ? world_get(&c->world, KEY_DRILL, id) : NULL;
}

void drill_guard(struct core *c, struct commit *t)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_fencers(c, fencers);
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        commit_guard(c, t, KEY_NODE, it.name);
    }
    for (size_t i = 0; i < n; i++) {
        commit_guard(c, t, KEY_SILENT, fencers[i]);
    }
}

static bool is_later(const json_t *a, const json_t *b)
{
    return json_u64_of(a, "started_ms", 0) > json_u64_of(b, "started_ms", 0);
}

json_t *drill_list(const struct core *c)
{
    json_t *items = json_array();
    for (struct world_iter it = {0}; world_next(&c->world, KEY_DRILL, &it);) {
        size_t at = 0;
        while (at < json_array_size(items) && !is_later(it.value, json_array_get(items, at))) {
            at++;
        }
        if (str_eq(json_text_of(it.value, "state"), "done")) {
            json_array_insert(items, at, (json_t *)it.value);
        }
    }
    return json_pack("{s:o}", "items", items);
}

/* --- what guests say ----------------------------------------------------------------------- */

static uint64_t longer(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t between(uint64_t from_ms, uint64_t to_ms)
{
    return from_ms && to_ms > from_ms ? to_ms - from_ms : 0;
}

/* @has: what was heard in earlier windows, or NULL. Stalls count from the strike on: in a window, between two,
 * and one that has not ended yet. */
static json_t *add_window(const json_t *has, const json_t *window, uint64_t strike_ms)
{
    uint64_t last = json_u64_of(window, "last_ms", 0);
    uint64_t wrote_first = json_u64_of(window, "wrote_first_ms", 0);
    uint64_t wrote_last = json_u64_of(window, "wrote_last_ms", 0);
    uint64_t before = json_u64_of(has, "wrote_last_ms", 0);
    uint64_t stall = json_u64_of(has, "stall_ms", 0);
    uint64_t newest = wrote_last ? wrote_last : before;
    if (strike_ms && last >= strike_ms) {
        stall = longer(stall, json_u64_of(window, "stall_ms", 0));
        stall = longer(stall, between(before, wrote_first));
        stall = longer(stall, between(newest, last));
    }
    return json_pack("{s:I,s:I,s:I,s:I}", "first_ms",
                     (json_int_t)json_u64_of(has, "first_ms", json_u64_of(window, "first_ms", 0)), "last_ms",
                     (json_int_t)last, "wrote_last_ms", (json_int_t)newest, "stall_ms", (json_int_t)stall);
}

void drill_heard(struct core *c, const json_t *result)
{
    const json_t *drill = drill_active(c);
    const json_t *before = smap_get(&c->seen, "beats");
    bool is_same = drill && json_equal(json_object_get(before, "id"), json_object_get(drill, "id"));
    json_t *vms = is_same ? json_deep_copy(json_object_get(before, "vms")) : json_object();
    const char *vm;
    json_t *window;
    if (!drill) {
        json_decref(vms);
        return;
    }
    json_object_foreach(json_object_get(result, "vms"), vm, window) {
        json_object_set_new(vms, vm, add_window(json_object_get(vms, vm), window, json_u64_of(drill, "strike_ms", 0)));
    }
    smap_put(&c->seen, "beats", json_pack("{s:O,s:o}", "id", json_object_get(drill, "id"), "vms", vms));
}
