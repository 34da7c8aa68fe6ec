/* SPDX-License-Identifier: Apache-2.0 */
#include "core/alarms.h"

#include <string.h>

#include "base/str.h"
#include "core/ha/ha.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/pool.h"
#include "core/model/vm.h"
#include "core/plan/plan.h"
#include "core/restore.h"

/* Alarms that have the same name and object are told apart by @detail. Takes @text. */
struct alarm {
    const char *name;
    const char *severity;
    const char *object;
    const char *detail; /* may be NULL */
    char *text;
    uint64_t since_ms;  /* as a record tells; 0: not known */
};

static void raise(const struct core *c, json_t *list, struct alarm a)
{
    _cleanup_free_ char *key = str_printf("%s/%s/%s", a.name, a.object, a.detail ? a.detail : "");
    const json_t *noted = smap_get(&c->alarms, key);
    uint64_t now_ms = c->wall_us / USEC_PER_MSEC;
    uint64_t since = noted ? (uint64_t)json_integer_value(noted) : now_ms;
    since = a.since_ms ? a.since_ms : since;
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:I,s:s}", "alarm", a.name, "severity", a.severity, "object",
                          a.object, "text", a.text, "since", (json_int_t)since, "key", key);
    if (j) { /* NULL: words from outside that are no UTF-8 */
        json_array_append_new(list, j);
    }
    free(a.text);
}

static void uplink_alarms(const struct core *c, const char *host, json_t *list)
{
    const json_t *seen = node_uplink_seen(c, host);
    const char *nic = json_text_of(seen, "nic");
    const char *state = json_text_of(seen, "state");
    if (str_eq(state, "trial")) {
        uint64_t until_ms = json_u64_of(seen, "until_ms", 0);
        uint64_t now_ms = c->wall_us / USEC_PER_MSEC;
        raise(c, list, (struct alarm){
            "uplink.trial", "warning", host, NULL,
            str_printf("uplink %s goes back in %llu s unless confirmed there: mortar uplink confirm", nic,
                       (unsigned long long)(until_ms > now_ms ? (until_ms - now_ms) / 1000 : 0))});
    } else if (str_eq(state, "returned")) {
        raise(c, list, (struct alarm){"uplink.undone", "warning", host, NULL,
                                      str_printf("uplink %s was undone: %s", nic, json_text_of(seen, "why"))});
    } else if (nic && !json_bool_of(seen, "attached", false)) {
        raise(c, list, (struct alarm){"uplink.missing", "error", host, NULL,
                                      str_printf("uplink %s is not in place: see 'journalctl -u mortard'", nic)});
    }
}

/* A host that failover has cut off, or whose part in it is not in place. */
static void failover_alarms(const struct core *c, const char *host, const json_t *node, json_t *list)
{
    const json_t *seen = node_seen_now(c, host, "failover");
    if (ha_node_is_out(node)) {
        const char *why = json_text_of(node, "why");
        raise(c, list, (struct alarm){"host.fenced", "error", host, NULL,
                                      str_printf("it is %s: %s", json_text_of(node, "state"), why ? why : "?"),
                                      json_u64_of(node, "fenced_ms", 0)});
        if (ha_node_is_held(node)) {
            raise(c, list, (struct alarm){
                "host.held", "error", host, NULL,
                str_printf("it was fenced %llu times, each within an hour of the last, and is not let in again by "
                           "itself: find out why, then 'mortar host admit %s'",
                           (unsigned long long)json_u64_of(node, "fences", 0), host),
                json_u64_of(node, "fenced_ms", 0)});
        }
    } else if (ha_is_on(c) && !node_is_silent(c, host) && !str_eq(json_text_of(seen, "guard"), "up")) {
        raise(c, list, (struct alarm){"guard.absent", "error", host, NULL,
                                      str_dup("its guard does not run: its machines cannot be taken over safely, "
                                              "and it cannot acknowledge a fence")});
    }
    _cleanup_free_ char *waits = ha_return_text(c, host);
    if (waits) {
        raise(c, list, (struct alarm){"host.waits", "error", host, NULL, str_printf("it cannot come back yet: %s", waits)});
    }
}

/* A fence needs two brick hosts beside the one that is lost (I3): with one of the three away there are not so many. */
static void triple_alarms(const struct core *c, json_t *list)
{
    const char *fencers[HA_FENCERS_MAX];
    size_t n = ha_is_on(c) ? ha_fencers(c, fencers) : 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *node = node_get(c, fencers[i]);
        bool is_back = ha_node_is_rejoining(node) || ha_node_is_flushing(node);
        if (ha_node_is_out(node) || is_back || node_is_silent(c, fencers[i])) {
            raise(c, list, (struct alarm){
                "ha.impossible", "error", fencers[i], NULL,
                str_printf("while it is %s, the loss of another brick host starts no machine elsewhere: two of the three must be "
                           "left to cut it off%s", is_back ? "on its way back" : "away", is_back ? "" : "; bring it back")});
        }
    }
}

/* src/agent/lab_unsafe.h: a lab may, nobody else. */
static void unsafe_alarm(const struct core *c, const char *host, json_t *list)
{
    const json_t *parts = json_object_get(node_seen_now(c, host, "host"), "lab_unsafe");
    _cleanup_sbuf_ struct sbuf words = {0};
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        sbuf_printf(&words, " %s", json_string_value(part));
    }
    if (parts) {
        raise(c, list, (struct alarm){"host.lab_unsafe", "error", host, NULL,
                                      str_printf("/etc/mortar/lab-unsafe switches off:%s. DISKS WILL BE DESTROYED at "
                                                 "the next failover: remove that file", words.len ? words.data : "")});
    }
}

static void host_alarms(const struct core *c, const char *host, const json_t *node, json_t *list)
{
    size_t i;
    json_t *name;
    const char *vm;
    const json_t *domain;
    char buf[96];
    if (node_may_run_vms(node) && node_is_silent(c, host)) {
        uint64_t age = node_seen_age_us(c, host);
        uint64_t wall_ms = c->wall_us / USEC_PER_MSEC;
        uint64_t heard_ms = age == UINT64_MAX ? 0 : wall_ms - age / USEC_PER_MSEC;
        raise(c, list, (struct alarm){"host.silent", "error", host, NULL,
                                      str_dup(node_silence(c, host, buf, sizeof(buf))), heard_ms});
        return; /* what it said of its domains is old */
    }
    if (json_bool_of(node_seen_now(c, host, "libvirt"), "mute", false)) {
        raise(c, list, (struct alarm){"host.libvirt", "error", host, NULL,
                                      str_dup("its libvirtd does not answer: guests go on, but none can be started, "
                                              "moved or ended there. It is started anew once an hour; see "
                                              "'journalctl -u libvirtd'")});
    }
    json_array_foreach(json_object_get(node_seen_now(c, host, "others"), "unclear"), i, name) {
        raise(c, list, (struct alarm){"domain.unclear", "warning", host, json_string_value(name),
                                      str_printf("domain '%s' has metadata of Mortar's that cannot be read: "
                                                 "it is left alone", json_string_value(name))});
    }
    json_object_foreach((json_t *)node_seen_now(c, host, "domains"), vm, domain) {
        const char *uuid = json_text_of(domain, "uuid");
        if (restore_gen(c) && (!vm_spec(c, vm) || (uuid && !str_eq(uuid, json_text_of(vm_spec(c, vm), "uuid"))))) {
            raise(c, list, (struct alarm){"domain.unknown", "error", host, vm,
                                          str_printf("domain '%s' is a machine of Mortar's that the store does not know, since it "
                                                     "was restored: it is left alone", vm)});
        }
        if (!json_bool_of(domain, "in_slice", true)) {
            raise(c, list, (struct alarm){"vm.outside_slice", "error", vm, host,
                                          str_printf("its QEMU on %s runs outside its slice: failover would "
                                                     "not be safe", host)});
        }
    }
}

static char *no_port_text(const char *host, const char *pool, size_t bricks)
{
    _cleanup_free_ char *next =
        bricks >= PLAN_PORT_BRICKS
            ? str_dup("when a mount has lost it, it is started anew by itself, once a day, while all else is well and it lists nothing to heal")
            : str_printf("stop the guests of the pool, end its glusterfsd there, then 'gluster volume start %s force'", pool);
    return str_printf("the brick on %s runs, but glusterd there has lost its port: who loses the connection to it may not "
                      "get it back; %s", host, next);
}

static char *ended_text(const struct core *c, const char *pool, const json_t *ended)
{
    const char *host = json_text_of(ended, "host");
    const char *foe = json_text_of(ended, "foe");
    if (!pool_brick_is_ended(c, pool, host)) {
        return str_printf("the brick on %s cannot prove that nothing of %s is left in it, and is being ended; if this stays, its "
                          "process does not end, since a disk hangs: until it does, or %s is fenced as well ('mortar host fence "
                          "%s'), no machine of %s is started elsewhere", host, foe, host, host, foe);
    }
    return str_printf("the brick on %s was ended, for it could not prove that nothing of %s was left in it; after the fence it "
                      "is started again by itself, and healed: if it stays offline, see whether its disk hangs, and "
                      "'journalctl -u mortard' there", host, foe);
}

static void brick_alarms(const struct core *c, const char *pool, const json_t *record, json_t *list)
{
    uint64_t pending = 0;
    _cleanup_free_ char *what = str_printf("pool/%s", pool);
    unsigned online = 0;
    size_t i;
    json_t *brick;
    const json_t *ended = pool_ended_brick(c, pool);
    bool has_quorum = pool_quorum(c, pool, &online);
    if (ended) {
        raise(c, list, (struct alarm){"brick.ended", "warning", pool, json_text_of(ended, "host"), ended_text(c, pool, ended),
                                      json_u64_of(ended, "at_ms", 0)});
    }
    bool are_all = online == json_array_size(json_object_get(record, "bricks"));
    json_array_foreach(json_object_get(record, "bricks"), i, brick) {
        const char *host = json_text_of(brick, "host");
        if (!are_all && !pool_brick_is_online(c, pool, host)) {
            raise(c, list, (struct alarm){"brick.offline", "warning", pool, host,
                                          str_printf("the brick on %s is offline", host)});
        }
        if (pool_brick_has_no_port(c, pool, host)) {
            raise(c, list, (struct alarm){"brick.no_port", "warning", pool, host,
                                          no_port_text(host, pool, json_array_size(json_object_get(record, "bricks")))});
        }
        const json_t *seen = json_object_get(node_seen_now(c, host, what), "brick");
        pending += node_is_silent(c, host) ? 0 : json_u64_of(seen, "heal_pending_files", 0);
    }
    if (!has_quorum) {
        raise(c, list, (struct alarm){"pool.no_quorum", "error", pool, NULL,
                                      str_dup("no quorum: guests on it stand still")});
    } else if (pending) {
        raise(c, list, (struct alarm){"pool.heal", "notice", pool, NULL,
                                      str_printf("%llu files wait for heal", (unsigned long long)pending)});
    }
}

static void pool_alarms(const struct core *c, const char *pool, const json_t *record, json_t *list)
{
    if (pool_is_dir(record) || !str_eq(json_text_of(record, "state"), "ready")) {
        return;
    }
    brick_alarms(c, pool, record, list);
    if (json_array_size(pool_drift(c, pool))) {
        raise(c, list, (struct alarm){"pool.options", "warning", pool, NULL,
                                      str_dup("volume options were changed by hand; repaired")});
    }
}

#define NAMES_MAX 8

/* The loss of one host, whichever it is, shall leave nothing behind that was to be restarted. */
static void spare_alarms(const struct core *c, json_t *list)
{
    _cleanup_json_ json_t *lacking = ha_no_spare(c);
    const char *host;
    json_t *vms;
    json_object_foreach(lacking, host, vms) {
        _cleanup_sbuf_ struct sbuf names = {0};
        size_t n = json_array_size(vms);
        for (size_t i = 0; i < n && i < NAMES_MAX; i++) {
            sbuf_printf(&names, "%s%s", i ? ", " : "", json_string_value(json_array_get(vms, i)));
        }
        if (n > NAMES_MAX) {
            sbuf_printf(&names, " and %zu more", n - NAMES_MAX);
        }
        raise(c, list, (struct alarm){"ha.no-spare", "warning", host, NULL,
                                      str_printf("if %s is lost, no other host has room for %s; add memory, or let "
                                                 "some wait: 'mortar vm set NAME --ha stay'", host, names.data)});
    }
}

static void vm_alarms(const struct core *c, const char *vm, const char *waits, json_t *list)
{
    const json_t *act = vm_act(c, vm);
    uint64_t since = json_u64_of(act, "since_ms", 0);
    if (str_eq(json_text_of(act, "state"), "ioerror")) {
        raise(c, list, (struct alarm){"vm.ioerror", "error", vm, NULL,
                                      str_printf("stands still after an I/O error on %s",
                                                 json_text_of(act, "host")), since});
    }
    if (waits) {
        raise(c, list, (struct alarm){"vm.waiting", "error", vm, NULL, str_dup(waits)});
    }
    if (vm_is_given_up(c, vm)) {
        const char *why = json_text_of(json_object_get(act, "error"), "message");
        bool has_crashed = vm_crashes(act) >= VM_CRASHES_MAX;
        raise(c, list, (struct alarm){"vm.given_up", "error", vm, NULL,
                                      str_printf("is not started any more after %d %s: %s; 'mortar vm start %s' "
                                                 "tries anew", has_crashed ? VM_CRASHES_MAX : VM_START_FAILS_MAX,
                                                 has_crashed ? "crashes" : "failures", why ? why : "unknown", vm),
                                      since});
    }
}

json_t *alarms_list(const struct core *c)
{
    json_t *list = json_array();
    if (c->store_is_lost) {
        raise(c, list, (struct alarm){"store.lost", "error", "store", NULL,
                                      str_dup("it does not answer: what is shown here is old, and nothing "
                                              "can be changed")});
    }
    char *waits = restore_waits(c);
    if (waits) {
        raise(c, list, (struct alarm){
            "store.restored", "error", "store", NULL,
            str_printf("it was restored from a snapshot: what runs goes on, nothing is started, moved or changed until it is "
                       "known what runs where. %s", waits),
            json_u64_of(world_get(&c->world, KEY_RESTORE_GEN, ""), "at_ms", 0)});
        free(waits);
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_NODE, &it);) {
        host_alarms(c, it.name, it.value, list);
        failover_alarms(c, it.name, it.value, list);
        unsafe_alarm(c, it.name, list);
        if (!node_is_silent(c, it.name)) {
            uplink_alarms(c, it.name, list);
        }
    }
    for (struct world_iter it = {0}; world_next(&c->world, KEY_POOL, &it);) {
        pool_alarms(c, it.name, it.value, list);
    }
    triple_alarms(c, list);
    spare_alarms(c, list);
    _cleanup_json_ json_t *waiting = ha_waiting(c);
    char *name = NULL;
    for (struct world_iter it = {0}; (name = vm_next(c, &it));) {
        vm_alarms(c, name, json_text_of(waiting, name), list);
        free(name);
    }
    return list;
}

void alarms_note(struct core *c)
{
    _cleanup_json_ json_t *list = alarms_list(c);
    struct smap next = {.free_value = c->alarms.free_value};
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a) {
        smap_put(&next, json_text_of(a, "key"), json_incref(json_object_get(a, "since")));
    }
    smap_done(&c->alarms);
    c->alarms = next;
}
