/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "adapters/fence/fence_watch.h"
#include "adapters/virt/virt_drive.h"
#include "adapters/virt/virt_host.h"
#include "agent/act_vm.h"
#include "agent/config.h"
#include "agent/guard_feed.h"
#include "agent/heap.h"
#include "base/log.h"
#include "base/str.h"
#include "core/flight.h"
#include "io/clock.h"
#include "io/file.h"

#define TICK_US USEC_PER_SEC
#define SOCKET_GROUP "mortar-api" /* mortar-api forwards to us; root may always connect */
#define USER_API "mortar-api"

char *agent_new_id(void)
{
    unsigned char b[16];
    if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b)) {
        abort();
    }
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* RFC 4122, version 4 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    return str_printf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                      b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                      b[13], b[14], b[15]);
}

static void tell_failure(const json_t *event)
{
    const json_t *error = json_object_get(event, "error");
    const char *id = json_text_of(event, "id");
    if (error && !str_eq(json_text_of(error, "name"), err_name(ERR_CONFLICT))) {
        log_warning("action failed", "id=%s error=%s message=\"%s\"", id,
                    json_text_of(error, "name"), json_text_of(error, "message"));
    }
}

static void set_tick(struct agent *a, uint64_t delay_us)
{
    a->tick_at_us = clock_boottime_us() + delay_us;
    loop_rearm(a->tick, delay_us);
}

/* Something is due before the next tick: a rank's turn, or the end of a promise. */
static void wake_earlier(struct agent *a)
{
    uint64_t at = a->core->wake_us;
    uint64_t now = clock_boottime_us();
    if (a->tick && at && at < a->tick_at_us) {
        set_tick(a, at > now ? at - now : 0);
    }
}

int agent_feed(struct agent *a, json_t *event, struct err *e)
{
    _cleanup_json_ json_t *held = event;
    _cleanup_json_ json_t *actions = NULL;
    uint64_t now = clock_boottime_us();
    uint64_t wall = clock_wall_us();
    assert(!a->is_stepping); /* events are never fed from within a step */
    a->is_stepping = true;
    tell_failure(event);
    _cleanup_json_ json_t *packed = flight_pack(a->core, event);
    int r = core_step(a->core, event, now, wall, &actions, e);
    a->is_stepping = false;
    size_t i;
    json_t *action;
    json_array_foreach(actions, i, action) {
        log_debug("action", "id=%s do=%s", json_text_of(action, "id"), json_text_of(action, "do"));
        if (str_eq(json_text_of(action, "do"), "agent.restart")) { /* systemd starts it anew */
            log_warning("the store was restored from a snapshot: the agent begins anew", "instance=%s", a->env.instance);
            a->is_over = true;
            break;
        }
        dispatch(a->dispatcher, action);
    }
    recorder_add(a->recorder, a->core, packed, actions); /* files come last: a guest may wait for what was asked */
    history_add(a->history, a->core->facts);
    wake_earlier(a);
    return r;
}

void agent_run_aside(struct agent *a, const char *name, json_t *args, struct httpd_req *req)
{
    _cleanup_free_ char *uuid = agent_new_id();
    _cleanup_free_ char *id = str_printf("aside/%s", uuid);
    _cleanup_json_ json_t *action = json_pack("{s:s,s:s,s:o}", "id", id, "do", name, "args", args);
    smap_put(&a->asides, id, req);
    dispatch(a->dispatcher, action);
}

static void answer_aside(struct agent *a, const char *id, const json_t *event)
{
    struct httpd_req *req = smap_get(&a->asides, id);
    json_t *error = json_object_get(event, "error");
    struct err e = {0};
    assert(req);
    if (error) {
        err_from_json(&e, error);
        httpd_reply_err(req, &e);
    } else {
        httpd_reply_json(req, 200, json_incref(json_object_get(event, "result")));
    }
    (void)smap_del(&a->asides, id);
}

/* The last phase of a leave is on disk; it goes on in the next life of the agent. */
static bool has_left(const struct agent *a, const json_t *event)
{
    const json_t *task = a->core->local_task;
    _cleanup_free_ char *saved = str_printf("save/%s", task ? json_text_of(task, "id") : "");
    return a->env.config && str_eq(json_text_of(task, "kind"), "leave") &&
           str_eq(json_text_of(task, "phase"), "restart") &&
           str_eq(json_text_of(event, "id"), saved) && !json_object_get(event, "error");
}

static void on_mail(void *arg, void *msg)
{
    struct agent *a = arg;
    struct err e = {0};
    _cleanup_json_ json_t *event = msg;
    const char *id = json_text_of(event, "id");
    bool is_done = str_eq(json_text_of(event, "ev"), "done");
    if (is_done && str_starts(id, "aside/")) {
        answer_aside(a, id, event);
        return;
    }
    bool is_connect = is_done && str_starts(id, "task/") && strstr(id, "/store/") &&
                      !json_object_get(event, "error");
    (void)agent_feed(a, json_incref(event), &e); /* only requests are refused */
    if (is_connect && !a->feed && agent_enter_cluster(a, &e) < 0) {
        log_err(LOG_LV_ERROR, "cannot enter the cluster", &e);
    }
    if (is_done && has_left(a, event)) {
        log_notice("this host has left its cluster", "cluster=%s",
                   json_text_of(a->env.config, "cluster_uuid"));
        loop_quit(a->loop);
        return;
    }
    api_wake(a);
}

/* Whoever has restored the store here waits for the answer; a tick later it is sent. */
static void end_if_over(struct agent *a)
{
    if (a->is_over && !a->asides.n && a->over_ticks++ > 0) {
        loop_quit(a->loop);
    }
}

static void on_tick(void *arg)
{
    struct agent *a = arg;
    struct err e = {0};
    set_tick(a, TICK_US);
    end_if_over(a);
    (void)agent_feed(a, json_pack("{s:s}", "ev", "tick"), &e);
    api_wake(a);
    (void)sd_notify(0, "WATCHDOG=1");
    if (clock_boottime_us() >= a->heap_at_us) {
        heap_give_back();
        a->heap_at_us = clock_boottime_us() + HEAP_GIVE_BACK_US;
    }
}

static int read_ids(struct env *env, struct err *e)
{
    _cleanup_free_ char *machine = NULL;
    _cleanup_free_ char *boot = NULL;
    int r = file_read("/etc/machine-id", 256, &machine, NULL, e);
    r = r < 0 ? r : file_read("/proc/sys/kernel/random/boot_id", 256, &boot, NULL, e);
    if (r < 0) {
        return r;
    }
    (void)snprintf(env->uuid, sizeof(env->uuid), "%.*s", (int)strcspn(machine, "\n"), machine);
    (void)snprintf(env->boot_id, sizeof(env->boot_id), "%.*s", (int)strcspn(boot, "\n"), boot);
    if (gethostname(env->hostname, sizeof(env->hostname) - 1) < 0) {
        return ERR_SYS(e, IO, errno, "cannot read the host's name");
    }
    const struct passwd *api = getpwnam(USER_API);
    env->api_uid = api ? api->pw_uid : (uid_t)-1;
    env->hostname[strcspn(env->hostname, ".")] = '\0';
    _cleanup_free_ char *instance = agent_new_id();
    (void)snprintf(env->instance, sizeof(env->instance), "%s", instance);
    return 0;
}

/* All hosts of a lab share one kernel and so one boot_id; PID 1's start time tells boots apart in
 * containers as well as on real machines. */
static void mark_boot(struct env *env)
{
    struct err e = {0};
    _cleanup_free_ char *stat = NULL;
    if (file_read("/proc/1/stat", 4096, &stat, NULL, &e) < 0) {
        return;
    }
    const char *p = strrchr(stat, ')');
    unsigned long long start = 0;
    if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                           "%*d %*d %llu", &start) == 1) {
        size_t n = strlen(env->boot_id);
        (void)snprintf(env->boot_id + n, sizeof(env->boot_id) - n, "-%llu", start);
    }
}

static json_t *start_event(const struct agent *a, const json_t *task)
{
    const json_t *host = json_object_get(a->env.config, "host");
    json_t *event = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "ev", "start", "hostname",
                              a->env.hostname, "uuid", a->env.uuid, "boot_id", a->env.boot_id,
                              "instance", a->env.instance, "version", MORTAR_VERSION);
    if (host) {
        json_object_set(event, "host", (json_t *)host);
    }
    if (task) {
        json_object_set(event, "local_task", (json_t *)task);
    }
    return event;
}

int agent_enter_cluster(struct agent *a, struct err *e)
{
    json_t *config = NULL;
    int r = config_load(&config, e);
    if (r < 0 || !config) {
        return r < 0 ? r : ERR_SET(e, BUG, "%s is missing", PATH_HOST);
    }
    a->env.config = config; /* once per process: leaving a cluster restarts the agent */
    r = feed_new(a, &a->feed, e);
    if (r < 0) {
        return r;
    }
    (void)agent_feed(a, start_event(a, NULL), e);
    return 0;
}

static gid_t socket_group(void)
{
    const struct group *g = getgrnam(SOCKET_GROUP);
    return g ? g->gr_gid : (gid_t)-1;
}

/* A migration that leaves is no end of the machine: its task has that event through the adapter. */
static void on_virt_event(void *arg, void *msg)
{
    struct agent *a = arg;
    struct err e = {0};
    struct virt_event *v = msg;
    bool is_gone = v->kind == VIRT_EVENT_STOPPED || v->kind == VIRT_EVENT_CRASHED;
    const char *kind = is_gone                              ? "gone"
                       : v->kind == VIRT_EVENT_SUSPENDED ? "suspended"
                                                            : "changed";
    json_t *event = json_pack("{s:s,s:s,s:s,s:s,s:I}", "ev", "domain", "name", v->name, "kind", kind,
                              "reason", v->detail, "at_us", (json_int_t)v->at_us);
    if (v->kind == VIRT_EVENT_SUSPENDED) {
        act_migrate_hush();
    }
    free(v);
    if (!event) {
        return; /* a foreign domain, whose long name was cut inside a character */
    }
    (void)agent_feed(a, event, &e); /* only requests are refused */
    api_wake(a);
}

static void on_table(void *arg, int fd, uint32_t events)
{
    struct agent *a = arg;
    struct err e = {0};
    if (fence_watch_read(fd)) {
        (void)agent_feed(a, json_pack("{s:s}", "ev", "table"), &e); /* only requests are refused */
    }
}

/* Without it the table is looked at each 10 s. */
static void watch_table(struct agent *a)
{
    struct err e = {0};
    if (fence_watch_open(&a->table_fd, &e) < 0) {
        log_err(LOG_LV_WARNING, "changes of the fence's table are not told", &e);
        return;
    }
    a->table_source = loop_io(a->loop, a->table_fd, EPOLLIN, on_table, a);
}

static int start_parts(struct agent *a, struct err *e)
{
    int r = mailbox_new(a->loop, on_mail, a, &a->mailbox, e);
    r = r < 0 ? r : file_mkdirs(PATH_RUN, 0755, e);
    r = r < 0 ? r : file_mkdirs(PATH_STATE, 0700, e);
    r = r < 0 ? r : virt_host_dirs(e); /* gone with each boot, and a guest may come by migration first */
    r = r < 0 ? r : mailbox_new(a->loop, on_virt_event, a, &a->virt_mailbox, e);
    if (r < 0) {
        return r;
    }
    a->env.virt = virt_open(VIRT_URI_SYSTEM, a->virt_mailbox);
    a->env.end_lane = lane_new("virt-end", 4, 64);
    r = httpd_new(a->loop, NULL, api_on_request, a, &a->httpd, e);
    r = r < 0 ? r : httpd_listen_unix(a->httpd, PATH_SOCKET, 0660, socket_group(), e);
    return r;
}

int agent_new(struct loop *l, struct agent **ret, struct err *e)
{
    _cleanup_json_ json_t *task = NULL;
    _cleanup_(agent_freep) struct agent *a = xcalloc(1, sizeof(*a));
    a->loop = l;
    a->table_fd = -1;
    a->core = core_new();
    int r = read_ids(&a->env, e);
    r = r < 0 ? r : start_parts(a, e);
    r = r < 0 ? r : local_task_load(&task, e);
    r = r < 0 ? r : config_load(&a->env.config, e);
    if (r < 0) {
        return r;
    }
    mark_boot(&a->env);
    a->recorder = recorder_new(PATH_STATE "/record", RECORDER_MAX_BYTES, a->core);
    a->history = history_open(PATH_STATE "/record", HISTORY_MAX_BYTES);
    a->dispatcher = dispatcher_new(a);
    if (a->env.config) {
        r = feed_new(a, &a->feed, e);
    }
    if (r < 0) {
        return r;
    }
    (void)agent_feed(a, start_event(a, task), e);
    watch_table(a);
    a->tick = loop_timer(l, TICK_US, on_tick, a);
    a->tick_at_us = clock_boottime_us() + TICK_US;
    r = guard_feed_new(a->mailbox, &a->guard_feed, e);
    if (r < 0) {
        return r;
    }
    *ret = TAKE(a);
    return 0;
}

void agent_free(struct agent *a)
{
    if (!a) {
        return;
    }
    loop_source_free(a->tick);
    loop_source_free(a->table_source);
    if (a->table_fd >= 0) {
        (void)close(a->table_fd);
    }
    httpd_free(a->httpd);
    feed_free(a->feed);
    guard_feed_free(a->guard_feed);
    dispatcher_free(a->dispatcher);
    lane_free(a->env.end_lane);
    virt_close(a->env.virt);
    mailbox_free(a->virt_mailbox);
    mailbox_free(a->mailbox);
    recorder_free(a->recorder);
    history_close(a->history);
    smap_done(&a->asides);
    once_answers_done(&a->answers);
    core_free(a->core);
    json_decref(a->env.config);
    free(a);
}
