/* SPDX-License-Identifier: Apache-2.0
 * Which action runs on which lane. Lanes keep slow things from delaying urgent ones: a hanging
 * gluster command must not delay the resume of a guest. */
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/rate.h"
#include "base/str.h"
#include "io/clock.h"

enum lane_id {
    LANE_STORE,   /* one thread: commits of this host are in order */
    LANE_GLUSTER, /* one thread: one mutating call at a time (facts/gluster.md 7) */
    LANE_VIRT,    /* calls on domains that end soon */
    LANE_MIGRATE, /* one outgoing migration at a time (facts/ha.md 6.2) */
    LANE_URGENT,  /* resumes: never behind anything else */
    LANE_END,     /* ends; waits for libvirt, but not for ever (act_end.c) */
    LANE_HOST,    /* set-up, bricks, mounts, networks, observation */
    LANE_COPY,    /* images: hours */
    LANE_FENCE,   /* one thread: what changes the packet filter is done in the order asked for */
    LANE_GUARD,   /* one thread: commands to the guard, in order; and a strike: nothing here waits for libvirt */
    LANE_DRAIN,   /* proofs: may wait for a disk */
    LANE_CLEAN,   /* start rule: may hang in a mount for ever, and shall not keep a proof up */
    LANE_ASK,     /* questions to other hosts: waits for those that are dead; a mute libvirtd's end */
    LANE_LIST,    /* one thread: lists of domains, which tell that libvirtd lives; never behind a start that hangs */
    LANE_LISTEN,  /* one thread: hears demo guests while a drill runs */
    LANE_COUNT
};

static const struct {
    const char *name;
    unsigned threads;
} lane_table[LANE_COUNT] = {
    [LANE_STORE] = {"store", 1}, [LANE_GLUSTER] = {"gluster", 1}, [LANE_VIRT] = {"virt", 4},
    [LANE_MIGRATE] = {"migrate", 1}, [LANE_URGENT] = {"urgent", 2}, [LANE_END] = {"end", 8},
    [LANE_HOST] = {"host", 4},
    [LANE_COPY] = {"copy", 2}, [LANE_FENCE] = {"fence", 1}, [LANE_GUARD] = {"guard", 1},
    [LANE_DRAIN] = {"drain", 4}, [LANE_CLEAN] = {"clean", 8}, [LANE_ASK] = {"ask", 2}, [LANE_LIST] = {"list", 1},
    [LANE_LISTEN] = {"listen", 1},
};

static const struct action_row {
    const char *name;
    enum lane_id lane;
    act_fn fn;
} actions[] = {
    {"store.commit", LANE_STORE, act_store_commit},
    {"etcd.member", LANE_STORE, act_etcd_member},
    {"observe.etcd", LANE_HOST, act_observe_etcd},
    {"local.save", LANE_HOST, act_local_save},
    {"host.check", LANE_HOST, act_host_check},
    {"host.preflight", LANE_HOST, act_host_preflight},
    {"pki.init", LANE_HOST, act_pki_init},
    {"etcd.first", LANE_HOST, act_etcd_first},
    {"etcd.setup", LANE_HOST, act_etcd_setup},
    {"store.connect", LANE_HOST, act_store_connect},
    {"gluster.setup", LANE_HOST, act_gluster_setup},
    {"virt.setup", LANE_HOST, act_virt_setup},
    {"join.enrol", LANE_HOST, act_join_enrol},
    {"host.restore", LANE_HOST, act_host_restore},
    {"store.save", LANE_HOST, act_store_save},
    {"store.restore", LANE_HOST, act_store_restore},
    {"store.clear", LANE_HOST, act_store_clear},
    {"restore.look", LANE_LIST, act_restore_look},
    {"host.sweep", LANE_HOST, act_host_sweep},
    {"observe.host", LANE_HOST, act_observe_host},
    {"observe.domains", LANE_LIST, act_observe_domains},
    {"observe.glance", LANE_HOST, act_observe_glance},
    {"observe.reach", LANE_HOST, act_observe_reach},
    {"observe.gluster", LANE_HOST, act_observe_gluster},
    {"observe.pool", LANE_HOST, act_observe_pool},
    {"gluster.probe", LANE_GLUSTER, act_gluster_probe},
    {"gluster.restart", LANE_GLUSTER, act_gluster_restart},
    {"brick.restart", LANE_GLUSTER, act_brick_restart},
    {"gluster.detach", LANE_GLUSTER, act_gluster_detach},
    {"gluster.create", LANE_GLUSTER, act_gluster_create},
    {"gluster.profile", LANE_GLUSTER, act_gluster_profile},
    {"gluster.start", LANE_GLUSTER, act_gluster_start},
    {"gluster.delete", LANE_GLUSTER, act_gluster_delete},
    {"gluster.guard", LANE_GLUSTER, act_gluster_guard},
    {"brick.prepare", LANE_HOST, act_brick_prepare},
    {"brick.remove", LANE_HOST, act_brick_remove},
    {"mount.ensure", LANE_HOST, act_mount_ensure},
    {"mount.remove", LANE_HOST, act_mount_remove},
    {"net.apply", LANE_HOST, act_net_apply},
    {"uplink.take", LANE_HOST, act_uplink_take},
    {"uplink.keep", LANE_HOST, act_uplink_keep},
    {"uplink.drop", LANE_HOST, act_uplink_drop},
    {"observe.uplink", LANE_HOST, act_observe_uplink},
    {"image.import", LANE_COPY, act_image_import},
    {"image.remove", LANE_COPY, act_image_remove},
    {"image.export", LANE_COPY, act_image_export},
    {"vm.make_disks", LANE_COPY, act_vm_make_disks},
    {"vm.remove_disks", LANE_COPY, act_vm_remove_disks},
    {"guard.configure", LANE_GUARD, act_guard_configure},
    {"guard.deny", LANE_GUARD, act_guard_deny},
    {"guard.key", LANE_HOST, act_guard_key},
    {"fence.table", LANE_FENCE, act_fence_table},
    {"fence.cut", LANE_FENCE, act_fence_cut},
    {"fence.drain", LANE_DRAIN, act_fence_drain},
    {"brick.end", LANE_DRAIN, act_brick_end},
    {"fence.index", LANE_DRAIN, act_fence_index},
    {"history.read", LANE_HOST, act_history_read},
    {"vm.why", LANE_ASK, act_vm_why},
    {"libvirt.restart", LANE_ASK, act_libvirt_restart},
    {"drill.ready", LANE_HOST, act_drill_ready},
    {"drill.strike", LANE_GUARD, act_drill_strike},
    {"drill.listen", LANE_LISTEN, act_drill_listen},
    {"drill.report", LANE_ASK, act_drill_report},
    {"ha.off", LANE_FENCE, act_ha_off},
    {"host.clean", LANE_HOST, act_host_clean},
    {"host.end_bricks", LANE_DRAIN, act_host_end_bricks},
    {"host.start_bricks", LANE_HOST, act_host_start_bricks},
    {"launder.left", LANE_DRAIN, act_launder_left},
    {"vm.clean", LANE_CLEAN, act_vm_clean},
    {"vm.look", LANE_CLEAN, act_vm_look},
    {"vm.create", LANE_VIRT, act_vm_create},
    {"vm.shutdown", LANE_VIRT, act_vm_shutdown},
    {"vm.reset", LANE_VIRT, act_vm_reset},
    {"vm.migrate", LANE_MIGRATE, act_vm_migrate},
    {"vm.migrate_abort", LANE_URGENT, act_vm_migrate_abort},
    {"vm.destroy", LANE_END, act_vm_destroy},
    {"vm.keep_epoch", LANE_URGENT, act_vm_keep_epoch},
    {"vm.resume", LANE_URGENT, act_vm_resume},
};

#define QUEUE_MAX 256
#define PROGRESS_EVERY_US (200 * USEC_PER_MSEC)

struct dispatcher {
    struct agent *agent;
    struct lane *lanes[LANE_COUNT];
};

struct act_ctx {
    struct mailbox *mailbox;
    const struct env *env;
    const struct action_row *row;
    json_t *action; /* reference */
    uint64_t told_us;
    uint64_t began_us; /* the first word of progress */
    struct rate rate;
    atomic_bool is_done; /* the result was posted already */
};

static const struct action_row *row_of(const char *name)
{
    for (size_t i = 0; i < ELEMENTS(actions); i++) {
        if (str_eq(actions[i].name, name)) {
            return &actions[i];
        }
    }
    return NULL;
}

/* The last step is always told. */
static bool is_told_too_soon(struct act_ctx *ctx, uint64_t now_us, uint64_t done, uint64_t total)
{
    bool is_too_soon = now_us - ctx->told_us < PROGRESS_EVERY_US && done < total;
    ctx->told_us = is_too_soon ? ctx->told_us : now_us;
    return is_too_soon;
}

static void set_known(json_t *progress, const char *field, uint64_t value)
{
    if (value != RATE_UNKNOWN) {
        json_object_set_new(progress, field, json_integer((json_int_t)value));
    }
}

static void post_progress(struct act_ctx *ctx, json_t *progress)
{
    mailbox_post(ctx->mailbox, json_pack("{s:s,s:O,s:o}", "ev", "progress", "id",
                                         json_object_get(ctx->action, "id"), "progress", progress));
}

static json_t *new_progress(uint64_t done, uint64_t total, const char *unit)
{
    return json_pack("{s:I,s:I,s:s}", "done", (json_int_t)done, "total", (json_int_t)total, "unit", unit);
}

void act_progress_percent(struct act_ctx *ctx, unsigned percent, uint64_t bytes, uint64_t of_bytes)
{
    uint64_t now = clock_boottime_us();
    ctx->began_us = ctx->began_us ? ctx->began_us : now;
    if (is_told_too_soon(ctx, now, percent, 100)) {
        return;
    }
    json_t *progress = new_progress(percent, 100, "percent");
    set_known(progress, "rate", rate_take(&ctx->rate, now, bytes, of_bytes));
    set_known(progress, "eta_s", rate_eta_by_share_s(now - ctx->began_us, percent, 100));
    post_progress(ctx, progress);
}

void act_progress_copy(struct act_ctx *ctx, uint64_t done, uint64_t total, uint64_t rate,
                       uint64_t dirty_rate)
{
    if (is_told_too_soon(ctx, clock_boottime_us(), done, total)) {
        return;
    }
    json_t *progress = new_progress(done, total, "bytes");
    set_known(progress, "rate", rate ? rate : RATE_UNKNOWN);
    set_known(progress, "dirty_rate", rate ? dirty_rate : RATE_UNKNOWN);
    set_known(progress, "eta_s", rate_eta_s(total - (done < total ? done : total), rate, dirty_rate));
    post_progress(ctx, progress);
}

/* A commit's result carries what the store now holds; it becomes the event's "store" part. */
static json_t *done_event(const struct act_ctx *ctx, int r, json_t *result, const struct err *e)
{
    json_t *event = json_pack("{s:s,s:O}", "ev", "done", "id", json_object_get(ctx->action, "id"));
    json_t *store = json_object_get(result, "store");
    if (store) {
        json_object_set(event, "store", store);
    }
    if (r < 0) {
        json_object_set_new(event, "error", err_to_json(e));
        json_decref(result);
    } else {
        json_object_set_new(event, "result", result ? result : json_object());
    }
    return event;
}

void act_done_early(struct act_ctx *ctx, json_t *result)
{
    atomic_store(&ctx->is_done, true);
    mailbox_post(ctx->mailbox, done_event(ctx, 0, result, NULL));
}

static void run_action(void *arg)
{
    struct act_ctx *ctx = arg;
    struct err e = {0};
    json_t *result = NULL;
    int r = ctx->row->fn(ctx->env, json_object_get(ctx->action, "args"), ctx, &result, &e);
    assert(r == 0 || e.code);
    if (atomic_load(&ctx->is_done)) {
        json_decref(result);
    } else {
        mailbox_post(ctx->mailbox, done_event(ctx, r, result, &e));
    }
    json_decref(ctx->action);
    free(ctx);
}

void dispatch(struct dispatcher *d, const json_t *action)
{
    struct err e = {0};
    const struct action_row *row = row_of(json_text_of(action, "do"));
    struct act_ctx *ctx = xcalloc(1, sizeof(*ctx));
    assert(row);
    ctx->mailbox = d->agent->mailbox;
    ctx->env = &d->agent->env;
    ctx->row = row;
    ctx->action = json_incref((json_t *)action);
    if (lane_run(d->lanes[row->lane], run_action, ctx, &e) < 0) {
        mailbox_post(ctx->mailbox, done_event(ctx, -e.code, NULL, &e));
        json_decref(ctx->action);
        free(ctx);
    }
}

struct dispatcher *dispatcher_new(struct agent *a)
{
    struct dispatcher *d = xcalloc(1, sizeof(*d));
    d->agent = a;
    for (int i = 0; i < LANE_COUNT; i++) {
        d->lanes[i] = lane_new(lane_table[i].name, lane_table[i].threads, QUEUE_MAX);
    }
    return d;
}

void dispatcher_free(struct dispatcher *d)
{
    if (!d) {
        return;
    }
    for (int i = 0; i < LANE_COUNT; i++) {
        lane_free(d->lanes[i]);
    }
    free(d);
}
