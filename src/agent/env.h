/* SPDX-License-Identifier: Apache-2.0
 * What action handlers work with. Handlers run on worker lanes: they see only their arguments and
 * this, never the core. */
#pragma once

#include <stdbool.h>

#include "base/json.h"

struct lane;
struct store;
struct virt;

struct env {
    json_t *config;      /* host.json or NULL; replaced only while all lanes are idle of its users */
    struct store *store; /* for commits; NULL without a cluster */
    struct store *feed_store; /* of the feed; here only for its endpoints */
    struct virt *virt;   /* thread-safe by itself */
    struct lane *end_lane; /* libvirt's part of "vm.destroy" (act_end.c) hangs here when libvirtd does */
    uid_t api_uid;       /* of mortar-api; (uid_t)-1 when there is no such user */
    char hostname[65];
    char uuid[64];       /* machine id */
    char boot_id[64];
    char instance[40];   /* of this process: fresh at each start of the agent */
};

/* A running action, for progress. */
struct act_ctx;

/**
 * act_progress_percent - tell how far an action is; from one thread at a time. The expected end follows
 * from the time it took so far
 * @bytes, @of_bytes: of the stage it is in: what was told before makes the rate
 */
void act_progress_percent(struct act_ctx *ctx, unsigned percent, uint64_t bytes, uint64_t of_bytes);

/**
 * act_progress_copy - the same in bytes, when somebody else measures the speed
 * @rate: bytes per second; 0 = not known yet
 * @dirty_rate: bytes per second that have to be copied again
 */
void act_progress_copy(struct act_ctx *ctx, uint64_t done, uint64_t total, uint64_t rate,
                       uint64_t dirty_rate);

/**
 * act_done_early - the action's result is known although its handler still has to tidy up; what the
 * handler returns later is then not told
 * @result: stolen. From any thread, while the handler has not returned.
 */
void act_done_early(struct act_ctx *ctx, json_t *result);

/**
 * A handler does one action. It must be idempotent, and bounded by deadlines of its own.
 * @args: borrowed, never changed        @ret: result or left NULL; one reference
 */
typedef int (*act_fn)(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                      struct err *e);

/* act_setup.c */
int act_host_preflight(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_pki_init(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_etcd_first(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_etcd_setup(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_store_connect(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_setup(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_virt_setup(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_join_enrol(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_local_save(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* api_local.c */
int act_host_check(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_leave.c */
int act_host_restore(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_store.c */
int act_store_commit(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_etcd_member(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_etcd(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_observe.c */
int act_observe_host(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_domains(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_glance(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_reach(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_gluster(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_pool(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_pool.c */
int act_gluster_probe(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_detach(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_create(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_profile(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_start(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_delete(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_guard(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_brick_prepare(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_brick_remove(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_mount_ensure(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_mount_remove(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_net_apply(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_store_save(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_store_restore(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_store_clear(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_restore.c */
int act_restore_look(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_sweep.c */
int act_host_sweep(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_uplink.c */
int act_uplink_take(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_uplink_keep(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_uplink_drop(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_observe_uplink(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_image.c */
int act_image_import(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_image_remove(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_image_export(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_make_disks(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_remove_disks(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_vm.c */
int act_vm_create(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_destroy(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_shutdown(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_reset(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_keep_epoch(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_resume(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_migrate.c */
int act_vm_migrate(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_migrate_abort(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_guard.c */
int act_guard_configure(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_guard_deny(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_guard_key(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_fence.c */
int act_fence_table(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_fence_cut(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_fence_drain(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_ha_off(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_strike.c */
int act_drill_ready(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_drill_strike(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);

/* act_drill.c */
int act_drill_listen(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_drill_report(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_why.c */
int act_history_read(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_why(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
/* act_clean.c */
int act_fence_index(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_launder_left(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_clean(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_vm_look(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_libvirt_restart(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_host_clean(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_host_end_bricks(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_brick_end(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_brick_restart(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_gluster_restart(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
int act_host_start_bricks(const struct env *, const json_t *, struct act_ctx *, json_t **, struct err *);
