/* SPDX-License-Identifier: Apache-2.0 */
#include "core/request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/act.h"
#include "core/ha/ha_request.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/model/vm.h"
#include "core/op/op.h"
#include "core/request_hint.h"
#include "core/request_parts.h"
#include "core/request_uplink.h"
#include "core/restore.h"

#define TOKEN_VALID_S 3600

int req_finish(struct req *q, struct commit *t)
{
    (void)commit_try(q->c, q->commit_id, t);
    return 0;
}

void req_put_task(struct req *q, struct commit *t, const char *kind, const char *object,
                  const char *runner)
{
    commit_put(q->c, t, KEY_TASK, q->id, op_new_task(q->c, q->id, kind, object, runner, q->args));
}

int req_need_name(struct req *q, const char **ret)
{
    int r = json_need_text(q->args, "name", ret, q->e);
    if (r == 0 && !str_is_name(*ret)) {
        r = ERR_SET(q->e, INVALID, "'%.64s' is not a name", *ret);
        err_hint(q->e, "1 to 63 of a-z, 0-9 and '-', beginning with a letter");
    }
    return r;
}

/* --- this host ----------------------------------------------------------------------------- */

static int start_local(struct req *q, const char *kind)
{
    struct core *c = q->c;
    if (c->local_task && str_eq(json_text_of(c->local_task, "state"), "running")) {
        return ERR_SET(q->e, BUSY, "'%s' is under way on this host",
                       json_text_of(c->local_task, "kind"));
    }
    json_t *task = op_new_task(c, q->id, kind, "host", c->host ? c->host : "", q->args);
    json_decref(c->local_task);
    c->local_task = task;
    (void)act_try(c, q->commit_id, "local.save", json_pack("{s:O}", "task", task), 0);
    return 0;
}

const char *request_under_way(const struct core *c, const char *verb, const json_t *args)
{
    const json_t *task = c->local_task;
    bool is_same = str_eq(json_text_of(task, "state"), "running") &&
                   str_eq(json_text_of(task, "kind"), verb) &&
                   json_equal(json_object_get(task, "args"), args);
    return is_same ? json_text_of(task, "id") : NULL;
}

static bool is_resumable(const struct core *c, const char *kind)
{
    return c->local_task && str_eq(json_text_of(c->local_task, "kind"), kind) &&
           !str_eq(json_text_of(c->local_task, "state"), "done");
}

static int req_init(struct req *q)
{
    const char *name = NULL;
    const char *role = json_text_of(q->args, "role");
    int r = req_need_name(q, &name);
    if (r < 0) {
        return r;
    }
    if (role && (!node_is_role(role) || str_eq(role, "compute") || str_eq(role, "witness"))) {
        return ERR_SET(q->e, INVALID, "the first host is converged or storage, not '%s'", role);
    }
    r = request_uplink_fits(q->args, role, q->e);
    if (r < 0) {
        return r;
    }
    if (q->c->host && !is_resumable(q->c, "init")) {
        (void)ERR_SET(q->e, IN_CLUSTER, "this host is part of a cluster already");
        err_hint(q->e, "see 'mortar status'");
        return -ERR_IN_CLUSTER;
    }
    return start_local(q, "init");
}

static int req_join(struct req *q)
{
    const char *text = NULL;
    const char *role = json_text_of(q->args, "role");
    if (role && !node_is_role(role)) {
        return ERR_SET(q->e, INVALID, "'%s' is no role; there are converged, storage, compute and "
                       "witness", role);
    }
    if (q->c->host && !is_resumable(q->c, "join")) {
        (void)ERR_SET(q->e, IN_CLUSTER, "this host is part of a cluster already");
        err_hint(q->e, "see 'mortar status'");
        return -ERR_IN_CLUSTER;
    }
    int r = json_need_text(q->args, "address", &text, q->e);
    r = r < 0 ? r : json_need_text(q->args, "token", &text, q->e);
    r = r < 0 ? r : request_uplink_fits(q->args, role, q->e);
    return r < 0 ? r : start_local(q, "join");
}

static int check_keeps_ca(struct req *q)
{
    bool has_ca = json_bool_of(smap_get(&q->c->seen, "host"), "ca", false);
    if (has_ca && node_has_others(q->c)) {
        (void)ERR_SET(q->e, STATE, "this host cannot leave: it alone can let other hosts in");
        err_hint(q->e, "it holds the cluster's CA; it can leave as the last one");
        return -ERR_STATE;
    }
    return 0;
}

static int req_leave(struct req *q)
{
    char why[128];
    if (!q->c->host && !is_resumable(q->c, "leave")) {
        return ERR_SET(q->e, NO_CLUSTER, "this host is not part of a cluster");
    }
    if (q->c->host && node_is_needed(q->c, q->c->host, why, sizeof(why))) {
        (void)ERR_SET(q->e, STATE, "this host cannot leave: %s", why);
        err_hint(q->e, "move or remove it first: 'mortar host evacuate', 'mortar pool rm'");
        return -ERR_STATE;
    }
    int r = q->c->host ? check_keeps_ca(q) : 0;
    r = r < 0 ? r : ha_request_leave(q->c, q->e);
    return r < 0 ? r : start_local(q, "leave");
}

static int req_uplink_set(struct req *q)
{
    int r = request_uplink_set(q->c, q->args, q->e);
    return r < 0 ? r : start_local(q, "uplink.set");
}

static int req_uplink_confirm(struct req *q)
{
    int r = request_uplink_end(q->c, q->e);
    return r < 0 ? r : start_local(q, "uplink.confirm");
}

static int req_uplink_remove(struct req *q)
{
    int r = request_uplink_end(q->c, q->e);
    return r < 0 ? r : start_local(q, "uplink.remove");
}

/* --- hosts --------------------------------------------------------------------------------- */

static int req_token(struct req *q)
{
    const char *hash = NULL;
    const char *role = json_text_of(q->args, "role");
    uint64_t valid_s = json_u64_of(q->args, "valid_s", TOKEN_VALID_S);
    int r = json_need_text(q->args, "hash", &hash, q->e);
    if (r < 0) {
        return r;
    }
    if (role && !node_is_role(role)) {
        return ERR_SET(q->e, INVALID, "'%s' is no role", role);
    }
    if (valid_s < 60 || valid_s > 86400) {
        return ERR_SET(q->e, INVALID, "a token is valid for 60 s to one day, not %llu s",
                       (unsigned long long)valid_s);
    }
    struct commit t = commit_new();
    commit_put(q->c, &t, KEY_TOKEN, hash,
               json_pack("{s:s*,s:I}", "role", role, "expires_ms",
                         (json_int_t)(q->c->wall_us / USEC_PER_MSEC + valid_s * 1000)));
    return req_finish(q, &t);
}

static int check_token(struct req *q, const json_t *token, const char *uuid)
{
    const char *used_by = json_text_of(token, "used_by");
    if (!token || (used_by && !str_eq(used_by, uuid)) ||
        json_u64_of(token, "expires_ms", 0) < q->c->wall_us / USEC_PER_MSEC) {
        (void)ERR_SET(q->e, TOKEN, "the join token is unknown, used or expired");
        err_hint(q->e, "make a new one on a host of the cluster: mortar token create");
        return -ERR_TOKEN;
    }
    return 0;
}

static int check_newcomer(struct req *q, const char *host, const char *uuid)
{
    for (struct world_iter it = {0}; world_next(&q->c->world, KEY_NODE, &it);) {
        bool is_same = str_eq(json_text_of(it.value, "uuid"), uuid);
        if (is_same && str_eq(it.name, host)) {
            continue; /* it asks again */
        }
        if (is_same) {
            return ERR_SET(q->e, EXISTS, "this host is in the cluster as '%s'", it.name);
        }
        if (str_eq(it.name, host)) {
            return ERR_SET(q->e, EXISTS, "the cluster has a host called '%s' already", host);
        }
        if (str_eq(json_text_of(it.value, "storage"), json_text_of(q->args, "storage")) ||
            str_eq(json_text_of(it.value, "mgmt"), json_text_of(q->args, "mgmt"))) {
            return ERR_SET(q->e, EXISTS, "host '%s' has the same address", it.name);
        }
    }
    return 0;
}

/* An address becomes an argument of commands and part of URLs, so it is nothing but one. */
static int check_address(struct req *q, const char *field)
{
    const char *text = NULL;
    int r = json_need_text(q->args, field, &text, q->e);
    if (r == 0 && (!*text || strlen(text) > 45 || text[strspn(text, "0123456789abcdef.:")])) {
        r = ERR_SET(q->e, INVALID, "'%.64s' is not an IP address", text);
    }
    return r;
}

/* A new host asks to be let in. The agent signs its certificate when this commit has succeeded. */
static int req_admit(struct req *q)
{
    struct core *c = q->c;
    const char *hash = NULL;
    const char *host = NULL;
    const char *uuid = NULL;
    int r = req_need_name(q, &host);
    r = r < 0 ? r : json_need_text(q->args, "uuid", &uuid, q->e);
    r = r < 0 ? r : check_address(q, "storage");
    r = r < 0 ? r : check_address(q, "mgmt");
    r = r < 0 ? r : json_need_text(q->args, "hash", &hash, q->e);
    const json_t *token = r < 0 ? NULL : world_get(&c->world, KEY_TOKEN, hash);
    r = r < 0 ? r : check_token(q, token, uuid);
    r = r < 0 ? r : check_newcomer(q, host, uuid);
    if (r < 0) {
        return r;
    }
    const char *role = json_text_of(token, "role");
    role = role ? role : json_text_of(q->args, "role");
    role = role ? role : "converged";
    if (!node_is_role(role)) {
        return ERR_SET(q->e, INVALID, "'%.40s' is no role", role);
    }
    struct commit t = commit_new();
    json_t *used = json_deep_copy(token);
    json_object_set_new(used, "used_by", json_string(uuid));
    commit_put(c, &t, KEY_TOKEN, hash, used);
    if (!node_may_run_vms(node_get(c, host))) {
        commit_put(c, &t, KEY_NODE, host,
                   json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:O,s:O}", "name", host, "uuid", uuid, "role",
                             role, "state", "joining", "inc", 0, "boot_id", "", "mgmt",
                             json_object_get(q->args, "mgmt"), "storage",
                             json_object_get(q->args, "storage")));
    }
    return req_finish(q, &t);
}

static int req_evacuate(struct req *q)
{
    const char *host = NULL;
    int r = json_need_text(q->args, "name", &host, q->e);
    const json_t *node = r < 0 ? NULL : node_get(q->c, host);
    if (r < 0) {
        return r;
    }
    if (!node) {
        return ERR_SET(q->e, NOT_FOUND, "there is no host '%s'", host);
    }
    if (!node_may_run_vms(node)) {
        return ERR_SET(q->e, STATE, "host '%s' is %s", host, json_text_of(node, "state"));
    }
    if (op_is_running(q->c, "host.evacuate", host)) {
        return ERR_SET(q->e, BUSY, "host '%s' is being evacuated already", host);
    }
    struct commit t = commit_new();
    req_put_task(q, &t, "host.evacuate", host, host);
    return req_finish(q, &t);
}

static int req_activate(struct req *q)
{
    const char *host = NULL;
    int r = json_need_text(q->args, "name", &host, q->e);
    const json_t *node = r < 0 ? NULL : node_get(q->c, host);
    if (r < 0) {
        return r;
    }
    if (!str_eq(json_text_of(node, "state"), "maintenance")) {
        return node ? ERR_SET(q->e, STATE, "host '%s' is %s, not in maintenance", host,
                              json_text_of(node, "state"))
                    : ERR_SET(q->e, NOT_FOUND, "there is no host '%s'", host);
    }
    json_t *next = json_deep_copy(node);
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string("online"));
    commit_put(q->c, &t, KEY_NODE, host, next);
    return req_finish(q, &t);
}

static int ask_ha(struct req *q, int (*ask)(struct core *c, const char *host, struct commit *t, struct err *e))
{
    const char *host = NULL;
    struct commit t = commit_new();
    int r = json_need_text(q->args, "name", &host, q->e);
    r = r < 0 ? r : ask(q->c, host, &t, q->e);
    if (r < 0) {
        commit_drop(&t);
        return r;
    }
    return req_finish(q, &t);
}

static int req_host_admit(struct req *q)
{
    return ask_ha(q, ha_request_admit);
}

static int req_host_fence(struct req *q)
{
    return ask_ha(q, restore_stage(q->c) == RESTORE_HOSTS ? restore_request_fence : ha_request_fence);
}

static int req_task_cancel(struct req *q)
{
    const char *id = NULL;
    int r = json_need_text(q->args, "id", &id, q->e);
    const json_t *task = r < 0 ? NULL : world_get(&q->c->world, KEY_TASK, id);
    if (r < 0) {
        return r;
    }
    if (!task) {
        return ERR_SET(q->e, NOT_FOUND, "there is no task '%.64s'", id);
    }
    const struct op_kind *k = op_kind_find(json_text_of(task, "kind"));
    if (!str_eq(json_text_of(task, "state"), "running")) {
        return ERR_SET(q->e, STATE, "the task has ended: %s", json_text_of(task, "state"));
    }
    if (!k || !k->can_cancel) {
        return ERR_SET(q->e, STATE, "a task of kind %s cannot be cancelled",
                       json_text_of(task, "kind"));
    }
    json_t *next = json_deep_copy(task);
    struct commit t = commit_new();
    json_object_set_new(next, "cancel", json_true());
    if (json_bool_of(q->args, "force", false)) {
        json_object_set_new(next, "force", json_true());
    }
    commit_put(q->c, &t, KEY_TASK, id, next);
    return req_finish(q, &t);
}

/* --- dispatch ------------------------------------------------------------------------------ */

struct verb {
    const char *name;
    int (*take)(struct req *q);
    bool needs_cluster;
};

static const struct verb verbs[] = {
    {"init", req_init, false},
    {"join", req_join, false},
    {"leave", req_leave, false},
    {"uplink.set", req_uplink_set, true},
    {"uplink.confirm", req_uplink_confirm, false},
    {"uplink.remove", req_uplink_remove, false},
    {"token.create", req_token, true},
    {"join.admit", req_admit, true},
    {"host.evacuate", req_evacuate, true},
    {"host.activate", req_activate, true},
    {"host.admit", req_host_admit, true},
    {"host.fence", req_host_fence, true},
    {"pool.create", req_pool_create, true},
    {"pool.ha", req_pool_ha, true},
    {"pool.remove", req_pool_remove, true},
    {"image.import", req_image_import, true},
    {"image.remove", req_image_remove, true},
    {"image.export", req_image_export, true},
    {"vm.create", req_vm_create, true},
    {"vm.start", req_vm_start, true},
    {"vm.stop", req_vm_stop, true},
    {"vm.reset", req_vm_reset, true},
    {"vm.migrate", req_vm_migrate, true},
    {"vm.remove", req_vm_remove, true},
    {"vm.set", req_vm_set, true},
    {"task.cancel", req_task_cancel, true},
    {"drill", req_drill, true},
};

int request_refuse_without_store(struct err *e)
{
    (void)ERR_SET(e, UNAVAILABLE, "the cluster's store does not answer");
    err_hint(e, "running virtual machines are not affected; see 'systemctl status etcd' on its hosts");
    return -ERR_UNAVAILABLE;
}

/* May it be asked for while it is not known yet what runs where? */
static bool is_free_of_restore(const char *verb)
{
    static const char *const verbs_free[] = {"host.fence", "uplink.confirm", "uplink.remove"};
    for (size_t i = 0; i < ELEMENTS(verbs_free); i++) {
        if (str_eq(verb, verbs_free[i])) {
            return true;
        }
    }
    return false;
}

int request_take(struct core *c, const json_t *event, struct err *e)
{
    const char *name = json_text_of(event, "verb");
    struct req q = {
        .c = c,
        .id = json_text_of(event, "task"),
        .args = json_object_get(event, "args"),
        .e = e,
    };
    assert(name && q.id);
    (void)snprintf(q.commit_id, sizeof(q.commit_id), "req/%s", q.id);
    for (size_t i = 0; i < ELEMENTS(verbs); i++) {
        if (!str_eq(verbs[i].name, name)) {
            continue;
        }
        if (verbs[i].needs_cluster && c->host && (!c->world.is_listed || c->store_is_lost)) {
            return request_refuse_without_store(e);
        }
        if (verbs[i].needs_cluster && !c->host) {
            (void)ERR_SET(e, NO_CLUSTER, "this host is not part of a cluster");
            err_hint(e, "begin with 'mortar init NAME', or 'mortar join ADDRESS --token TOKEN'");
            return -ERR_NO_CLUSTER;
        }
        int r = request_check(q.args, e);
        r = r < 0 || is_free_of_restore(name) ? r : restore_refuse(c, e);
        r = r < 0 ? r : verbs[i].take(&q);
        if (r < 0) {
            request_hint(name, q.args, e);
        }
        return r;
    }
    return ERR_SET(e, USAGE, "there is no request '%.40s'", name);
}
