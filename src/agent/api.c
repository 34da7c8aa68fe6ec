/* SPDX-License-Identifier: Apache-2.0
 * The agent's API: JSON over HTTP on its unix socket. Reads are views of the core's world; changes
 * become "request" events, and are answered when their commit has ended. Who may connect: root,
 * and mortar-api, which says whom it has authenticated (wire/caller.h). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/api_local.h"
#include "agent/view.h"
#include "base/str.h"
#include "core/act.h"
#include "core/drill.h"
#include "core/events.h"
#include "core/request.h"
#include "io/clock.h"
#include "wire/caller.h"
#include "wire/names.h"

#define WAIT_MAX_S 60
#define NAME_SIZE 128 /* a task of an evacuation is called by a uuid and a machine's name */

struct call {
    struct agent *a;
    struct httpd_req *req;
    const char *name; /* the variable part of the path, or "" */
    json_t *body;     /* object, maybe empty */
};

/* --- waiting ------------------------------------------------------------------------------- */

static struct waiter *wait_new(struct agent *a, struct httpd_req *req)
{
    struct waiter *w = xcalloc(1, sizeof(*w));
    w->req = req;
    w->next = a->waiters;
    a->waiters = w;
    return w;
}

static void wait_free(struct waiter *w)
{
    free(w->commit_id);
    free(w->task_id);
    json_decref(w->admit);
    free(w);
}

/* Someone else who waits for the same commit: its outcome is kept for them. */
static bool is_awaited(const struct agent *a, const struct waiter *by)
{
    for (const struct waiter *w = a->waiters; w; w = w->next) {
        if (w != by && str_eq(w->commit_id, by->commit_id)) {
            return true;
        }
    }
    return false;
}

static void reply_once(struct agent *a, struct waiter *w, unsigned status, json_t *reply)
{
    if (w->is_repeatable && !once_find(&a->answers, w->task_id)) {
        once_keep(&a->answers, w->task_id, status, reply);
    }
    httpd_reply_json(w->req, status, reply);
}

/* @at: the commit. One that met the task of the same request, made on another host a moment ago, or
 * that made it and did not hear so, has failed in vain. */
static bool reply_task(struct agent *a, struct waiter *w, const struct attempt *at)
{
    int code = at->error.code;
    bool may_be_there = !code || code == ERR_CONFLICT || err_class(code) == ERR_CLASS_UNKNOWN;
    json_t *task = may_be_there ? view_task(a->core, w->task_id) : NULL;
    if (!task) {
        return false;
    }
    json_decref(task);
    reply_once(a, w, 202, json_pack("{s:s}", "task", w->task_id));
    return true;
}

static bool answer_commit(struct agent *a, struct waiter *w)
{
    const struct attempt *at = act_find(a->core, w->commit_id);
    struct err e = {0};
    if (at && !at->has_ended) {
        return false;
    }
    if (!at) {
        (void)ERR_SET(&e, BUG, "the request was lost");
        httpd_reply_err(w->req, &e);
    } else if (reply_task(a, w, at)) {
        /* answered */
    } else if (at->error.code) {
        e = at->error;
        httpd_reply_err(w->req, &e);
    } else if (!w->admit) {
        reply_once(a, w, 200, json_pack("{s:b}", "done", 1));
    } else if (json_object_get(w->admit, "reply")) {
        reply_once(a, w, 200, json_incref(json_object_get(w->admit, "reply")));
    } else {
        api_reply_admitted(a, w->req, w->admit);
    }
    if (!is_awaited(a, w)) {
        act_forget(a->core, w->commit_id);
    }
    return true;
}

static bool answer_poll(struct agent *a, struct waiter *w)
{
    json_t *task = view_task(a->core, w->task_id);
    bool is_changed = json_u64_of(task, "gen", 0) != w->gen;
    if (!is_changed && clock_boottime_us() < w->deadline_us) {
        json_decref(task);
        return false;
    }
    if (!task) {
        struct err e = {0};
        (void)ERR_SET(&e, NOT_FOUND, "there is no task '%.64s'", w->task_id);
        err_hint(&e, "see 'mortar task ls'");
        httpd_reply_err(w->req, &e);
    } else {
        httpd_reply_json(w->req, 200, task);
    }
    return true;
}

static bool answer_events(struct agent *a, struct waiter *w)
{
    json_t *reply = events_since(a->core, w->gen);
    if (!json_array_size(json_object_get(reply, "items")) && clock_boottime_us() < w->deadline_us) {
        json_decref(reply);
        return false;
    }
    httpd_reply_json(w->req, 200, reply);
    return true;
}

static bool answer(struct agent *a, struct waiter *w)
{
    if (w->commit_id) {
        return answer_commit(a, w);
    }
    return w->is_events ? answer_events(a, w) : answer_poll(a, w);
}

void api_wake(struct agent *a)
{
    for (struct waiter **p = &a->waiters; *p;) {
        struct waiter *w = *p;
        if (answer(a, w)) {
            *p = w->next;
            wait_free(w);
        } else {
            p = &w->next;
        }
    }
}

/* --- changes ------------------------------------------------------------------------------- */

/* The name of the task or commit of this request. @ret_repeatable: may it come again? */
static int name_request(struct agent *a, const struct httpd_req *req, char *ret, bool *ret_repeatable,
                        struct err *e)
{
    const char *sent = httpd_header(req, WIRE_REQUEST_ID_HEADER);
    struct caller who = {0};
    if (!sent) {
        _cleanup_free_ char *id = agent_new_id();
        (void)snprintf(ret, ONCE_ID_LEN + 1, "%s", id);
        *ret_repeatable = false;
        return 0;
    }
    int r = caller_parse(req->peer.uid, a->env.api_uid, httpd_header(req, CALLER_HEADER), &who, e);
    const struct once_request q = {
        .caller = who.kind == CALLER_ANONYMOUS ? "?" : who.host,
        .method = req->method,
        .path = req->path,
        .request_id = sent,
        .body = req->body,
        .body_len = req->body_len,
    };
    *ret_repeatable = true;
    return r < 0 ? r : once_name(&q, ret, e);
}

/* Was it answered already, or is it known by its task? */
static bool answer_again(struct agent *a, struct httpd_req *req, const char *id)
{
    const struct once_answer *before = once_find(&a->answers, id);
    json_t *task = before ? NULL : view_task(a->core, id);
    if (before) {
        httpd_reply_json(req, before->status, json_incref(before->reply));
    } else if (task) {
        httpd_reply_json(req, 202, json_pack("{s:s}", "task", id));
    }
    json_decref(task);
    return before || task;
}

static int take_change(struct agent *a, const char *id, const char *verb, json_t *args, struct err *e)
{
    _cleanup_free_ char *commit_id = str_printf("req/%s", id);
    const struct attempt *at = act_find(a->core, commit_id);
    if (at && at->in_flight) {
        return 0; /* the same request came a moment ago: both are answered when it has ended */
    }
    json_t *event =
        json_pack("{s:s,s:s,s:O,s:s}", "ev", "request", "verb", verb, "args", args, "task", id);
    return agent_feed(a, event, e);
}

void api_change(struct agent *a, struct httpd_req *req, const char *verb, json_t *args, json_t *admit)
{
    struct err e = {0};
    char id[ONCE_ID_LEN + 1];
    bool is_repeatable = false;
    _cleanup_json_ json_t *held = args;
    _cleanup_json_ json_t *held_admit = admit;
    if (name_request(a, req, id, &is_repeatable, &e) < 0) {
        httpd_reply_err(req, &e);
        return;
    }
    const char *same = request_under_way(a->core, verb, args);
    if (same) { /* run again before its end: the user follows what runs */
        httpd_reply_json(req, 202, json_pack("{s:s}", "task", same));
        return;
    }
    if (is_repeatable && answer_again(a, req, id)) {
        return;
    }
    if (take_change(a, id, verb, args, &e) < 0) {
        httpd_reply_err(req, &e);
        return;
    }
    struct waiter *w = wait_new(a, req);
    w->commit_id = str_printf("req/%s", id);
    w->task_id = str_dup(id);
    w->admit = TAKE(held_admit);
    w->is_repeatable = is_repeatable;
}

static void change(struct call *k, const char *verb)
{
    json_t *args = json_incref(k->body);
    if (k->name[0]) {
        json_object_set_new(args, str_starts(verb, "task.") ? "id" : "name", json_string(k->name));
    }
    api_change(k->a, k->req, verb, args, NULL);
}

/* --- reads --------------------------------------------------------------------------------- */

static void reply_view(struct call *k, json_t *view, const char *what)
{
    if (view) {
        httpd_reply_json(k->req, 200, view);
        return;
    }
    struct err e = {0};
    (void)ERR_SET(&e, NOT_FOUND, "there is no %s '%.64s'", what, k->name);
    err_hint(&e, "see 'mortar %s ls'", what);
    httpd_reply_err(k->req, &e);
}

static bool is_in_cluster(struct call *k)
{
    struct err e = {0};
    if (k->a->core->host && k->a->core->world.is_listed) {
        return true;
    }
    if (k->a->core->host) {
        (void)request_refuse_without_store(&e);
    } else {
        (void)ERR_SET(&e, NO_CLUSTER, "this host is not part of a cluster");
        err_hint(&e, "begin with 'mortar init NAME', or 'mortar join ADDRESS --token TOKEN'");
    }
    httpd_reply_err(k->req, &e);
    return false;
}

/* A number in the query, capped; what is no number counts as 0. */
static uint64_t query_u64(const struct httpd_req *req, const char *name, uint64_t max)
{
    const char *text = httpd_query(req, name);
    uint64_t n = 0;
    if (text && str_parse_u64(text, UINT64_MAX, &n, NULL) < 0) {
        return 0;
    }
    return n > max ? max : n;
}

static void wait_for(struct call *k, const char *task, uint64_t gen)
{
    struct waiter *w = wait_new(k->a, k->req);
    w->task_id = str_dup(task);
    w->is_events = !task;
    w->gen = gen;
    w->deadline_us =
        clock_boottime_us() + query_u64(k->req, "wait", WAIT_MAX_S) * USEC_PER_SEC;
    api_wake(k->a);
}

/* --- routes -------------------------------------------------------------------------------- */

struct route {
    const char *method;
    const char *path; /* "*" stands for one name */
    const char *verb; /* change, or NULL */
    json_t *(*list)(const struct core *c);
    json_t *(*one)(const struct core *c, const char *name);
    void (*fn)(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
    const char *what;
    bool is_open; /* also for callers without a certificate */
    bool is_local; /* works without a cluster */
    bool is_admins; /* root on this host alone */
};

static const struct route routes[] = {
    {"GET", "/v1/status", .list = view_status},
    {"GET", "/v1/hosts", .list = view_hosts},
    {"GET", "/v1/hosts/*", .one = view_host, .what = "host"},
    {"GET", "/v1/pools", .list = view_pools},
    {"GET", "/v1/pools/*", .one = view_pool, .what = "pool"},
    {"GET", "/v1/images", .list = view_images},
    {"GET", "/v1/images/*", .one = view_image, .what = "image"},
    {"GET", "/v1/vms", .list = view_vms},
    {"GET", "/v1/vms/*", .one = view_vm, .what = "vm"},
    {"GET", "/v1/networks", .list = view_networks},
    {"GET", "/v1/tasks", .list = view_tasks, .is_local = true},
    {"GET", "/v1/version", .fn = api_version, .is_local = true},
    {"GET", "/v1/check", .fn = api_check, .is_local = true},
    {"GET", "/v1/vms/*/console", .fn = api_console},
    {"GET", "/v1/vms/*/why", .fn = api_why},
    {"POST", "/v1/store/save", .fn = api_store_save, .is_admins = true},
    {"POST", "/v1/store/restore", .fn = api_store_restore, .is_local = true, .is_admins = true},
    {"POST", "/v1/store/clear", .fn = api_store_clear, .is_local = true, .is_admins = true},
    {"GET", "/v1/local/history", .fn = api_history},
    {"GET", "/v1/local/guard-key", .fn = api_guard_key},
    {"GET", "/v1/local/index/*", .fn = api_index},
    {"GET", "/v1/drills", .list = drill_list},
    {"GET", "/v1/drills/plan", .fn = api_drill_plan},
    {"POST", "/v1/drills", .verb = "drill"},
    {"POST", "/v1/init", .verb = "init", .is_local = true},
    {"POST", "/v1/join", .fn = api_join, .is_open = true, .is_local = true},
    {"POST", "/v1/leave", .verb = "leave", .is_local = true},
    {"POST", "/v1/uplink", .verb = "uplink.set"},
    {"POST", "/v1/uplink/confirm", .verb = "uplink.confirm"},
    {"DELETE", "/v1/uplink", .verb = "uplink.remove"},
    {"POST", "/v1/tokens", .fn = api_token},
    {"POST", "/v1/hosts/*/evacuate", .verb = "host.evacuate"},
    {"POST", "/v1/hosts/*/activate", .verb = "host.activate"},
    {"POST", "/v1/hosts/*/fence", .verb = "host.fence"},
    {"POST", "/v1/hosts/*/admit", .verb = "host.admit"},
    {"POST", "/v1/pools", .verb = "pool.create"},
    {"DELETE", "/v1/pools/*", .verb = "pool.remove"},
    {"POST", "/v1/pools/*/ha", .verb = "pool.ha"},
    {"POST", "/v1/images", .verb = "image.import"},
    {"DELETE", "/v1/images/*", .verb = "image.remove"},
    {"POST", "/v1/images/*/export", .verb = "image.export"},
    {"POST", "/v1/vms", .verb = "vm.create"},
    {"PATCH", "/v1/vms/*", .verb = "vm.set"},
    {"DELETE", "/v1/vms/*", .verb = "vm.remove"},
    {"POST", "/v1/vms/*/start", .verb = "vm.start"},
    {"POST", "/v1/vms/*/stop", .verb = "vm.stop"},
    {"POST", "/v1/vms/*/reset", .verb = "vm.reset"},
    {"POST", "/v1/vms/*/migrate", .verb = "vm.migrate"},
    {"POST", "/v1/tasks/*/cancel", .verb = "task.cancel"},
};

/* Does @path fit @pattern? The part that "*" stands for is copied to @name (NAME_SIZE bytes). */
static bool path_fits(const char *pattern, const char *path, char *name)
{
    const char *star = strchr(pattern, '*');
    name[0] = '\0';
    if (!star) {
        return str_eq(pattern, path);
    }
    size_t before = (size_t)(star - pattern);
    if (strncmp(pattern, path, before) != 0) {
        return false;
    }
    size_t n = strcspn(path + before, "/");
    if (n == 0 || n >= NAME_SIZE || !str_eq(path + before + n, star + 1)) {
        return false;
    }
    memcpy(name, path + before, n);
    name[n] = '\0';
    return true;
}

/* May the caller do more than ask to join? A stranger may not. */
static bool is_trusted(const struct agent *a, const struct httpd_req *req)
{
    struct caller who = {0};
    const char *header = httpd_header(req, CALLER_HEADER);
    return caller_parse(req->peer.uid, a->env.api_uid, header, &who, NULL) == 0 &&
           who.kind != CALLER_ANONYMOUS;
}

/* Is it root, on this host? */
static bool is_admin(const struct agent *a, const struct httpd_req *req)
{
    struct caller who = {0};
    const char *header = httpd_header(req, CALLER_HEADER);
    return caller_parse(req->peer.uid, a->env.api_uid, header, &who, NULL) == 0 && who.kind == CALLER_ADMIN;
}

/* May the caller ask for anything at all? */
static bool is_known(const struct agent *a, const struct httpd_req *req, struct err *e)
{
    struct caller who = {0};
    return caller_parse(req->peer.uid, a->env.api_uid, httpd_header(req, CALLER_HEADER), &who, e) == 0;
}

static void run_route(struct call *k, const struct route *r)
{
    if (!r->is_local && !is_in_cluster(k)) {
        return;
    }
    if (r->fn) {
        r->fn(k->a, k->req, k->name, k->body);
    } else if (r->verb) {
        change(k, r->verb);
    } else if (r->list) {
        httpd_reply_json(k->req, 200, r->list(k->a->core));
    } else {
        reply_view(k, r->one(k->a->core, k->name), r->what);
    }
}

static int read_body(const struct httpd_req *req, json_t **ret, struct err *e)
{
    if (!req->body_len) {
        *ret = json_object();
        return 0;
    }
    int r = json_parse(req->body, req->body_len, ret, e);
    if (r == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        r = ERR_SET(e, USAGE, "the body of a request is a JSON object");
    }
    return r;
}

void api_on_request(void *arg, struct httpd_req *req)
{
    struct call k = {.a = arg, .req = req};
    struct err e = {0};
    char name[NAME_SIZE];
    _cleanup_json_ json_t *body = NULL;
    if (str_eq(req->method, "GET") && is_trusted(k.a, req) &&
        path_fits("/v1/tasks/*", req->path, name)) {
        wait_for(&k, name, query_u64(req, "gen", UINT64_MAX));
        return;
    }
    if (str_eq(req->method, "GET") && is_trusted(k.a, req) && str_eq(req->path, "/v1/events")) {
        wait_for(&k, NULL, query_u64(req, "since", UINT64_MAX));
        return;
    }
    for (size_t i = 0; i < ELEMENTS(routes); i++) {
        const struct route *r = &routes[i];
        if (!str_eq(r->method, req->method) || !path_fits(r->path, req->path, name)) {
            continue;
        }
        if (!is_known(k.a, req, &e)) {
            /* refused, with the reason in e */
        } else if (!r->is_open && !is_trusted(k.a, req)) {
            (void)ERR_SET(&e, DENIED, "the caller may not do this");
            err_hint(&e, "use a certificate of this cluster, or run the command as root on a host");
        } else if (r->is_admins && !is_admin(k.a, req)) {
            (void)ERR_SET(&e, DENIED, "only root may do this, on the host itself");
        } else if (read_body(req, &body, &e) == 0) {
            k.name = name;
            k.body = body;
            run_route(&k, r);
            return;
        }
        httpd_reply_err(req, &e);
        return;
    }
    (void)ERR_SET(&e, NOT_FOUND, "there is no %s %.100s", req->method, req->path);
    httpd_reply_err(req, &e);
}
