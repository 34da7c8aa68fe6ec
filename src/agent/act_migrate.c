/* SPDX-License-Identifier: Apache-2.0
 * Live migration, on its source: copy, watch, and judge how it ended. docs/virt.md has the order in
 * which things happen. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/pidfd.h>

#include "adapters/virt/virt_migrate.h"
#include "agent/act_vm.h"
#include "agent/env.h"
#include "base/log.h"
#include "base/str.h"
#include "core/op/move_limits.h"
#include "io/clock.h"
#include "io/worker.h"

#define PROGRESS_MS 100
#define OUTCOME_POLL_MS 100
#define VERDICT_TRIES 200       /* libvirt writes its verdict within milliseconds of QEMU's end */
#define VERDICT_MS 1
#define OUTCOME_TIMEOUT_US (30 * USEC_PER_SEC)
#define VERDICT_TIMEOUT_US (10 * USEC_PER_SEC) /* also for a libvirtd that starts again */
#define START_LIMIT_US (30 * USEC_PER_SEC)     /* to the first byte: the target starts a QEMU */
#define STALL_LIMIT_US (10 * USEC_PER_SEC)     /* then without another byte */

/* A question in the switch-over holds the source's monitor while libvirt needs it, and the answer makes both the agent and
 * the command line work beside the guest that is to go on. */
#define HUSH_US (500 * USEC_PER_MSEC)
static atomic_uint_fast64_t hushed_us;

void act_migrate_hush(void)
{
    atomic_store(&hushed_us, clock_boottime_us());
}

static bool is_hushed(void)
{
    uint64_t since = atomic_load(&hushed_us);
    return since && clock_boottime_us() - since < HUSH_US;
}

/* What the migrating thread and the one that watches the source's QEMU share. */
struct migration {
    const struct env *env;
    struct act_ctx *ctx;
    const char *name;
    const char *dst;
    const char *dst_addr;
    pid_t pid;
    int pidfd;
    bool is_confirmed; /* libvirt said so, by its status file; of the watching thread */
    uint64_t started_us;
    struct move_state state; /* of the thread that shows the progress, until it has given up */
    atomic_bool is_over;
    atomic_bool has_hung_up;
    atomic_bool has_given_up;
    atomic_uint_fast64_t moved_us;    /* when a byte was last seen to move */
    atomic_uint_fast64_t bytes;       /* copied, as last seen */
    atomic_uint_fast64_t downtime_ms; /* expected or measured by QEMU, as last seen */
};

static json_t *migration_result(struct migration *m)
{
    return json_pack("{s:I,s:I,s:I}", "bytes", (json_int_t)atomic_load(&m->bytes),
                     "downtime_ms", (json_int_t)atomic_load(&m->downtime_ms), "total_ms",
                     (json_int_t)((clock_boottime_us() - m->started_us) / USEC_PER_MSEC));
}

/* A guest that writes faster than the network carries is not copied for ever: the operator decides. An
 * abort that is not heard is tried again, and in the end end_stall() breaks the connection off. */
static void end_overlong(struct migration *m, const struct virt_job *job)
{
    struct err why = {0};
    uint64_t limit_us = m->state.limit_s * USEC_PER_SEC;
    if (!limit_us || clock_boottime_us() - m->started_us < limit_us) {
        return;
    }
    if (!atomic_load(&m->has_given_up)) {
        m->state.copied_bytes = job->done_bytes;
        m->state.left_bytes = job->remaining_bytes;
        m->state.rate = job->speed_bytes_per_s;
        m->state.dirty_rate = job->dirty_bytes_per_s;
        atomic_store(&m->has_given_up, true);
        log_warning("a migration has no end; giving it up", "vm=%s host=%s", m->name, m->dst);
    }
    if (virt_migrate_abort(m->env->virt, m->name, &why) < 0) {
        log_warning("cannot abort the migration", "vm=%s error=%s", m->name, why.msg);
    }
}

/* On a thread of its own: libvirt may hold the question back while it finishes the migration. */
static void show_progress(void *arg)
{
    struct migration *m = arg;
    while (!atomic_load(&m->is_over)) {
        struct virt_job job = {0};
        if (!is_hushed() && virt_job(m->env->virt, m->name, &job, NULL) == 0 && job.active) {
            if (atomic_exchange(&m->bytes, job.done_bytes) != job.done_bytes) {
                atomic_store(&m->moved_us, clock_boottime_us());
            }
            atomic_store(&m->downtime_ms, job.downtime_ms);
            act_progress_copy(m->ctx, job.done_bytes, job.done_bytes + job.remaining_bytes,
                              job.speed_bytes_per_s, job.dirty_bytes_per_s);
            end_overlong(m, &job);
        }
        clock_sleep_ms(PROGRESS_MS);
    }
}

/* A link that drops every packet closes no connection: libvirt and QEMU would wait for minutes, with the
 * guest paused if it happens at the switch-over, and not hear an abort (docs/bugs.md B2). */
static void end_stall(struct migration *m)
{
    struct err why = {0};
    uint64_t now = clock_boottime_us();
    uint64_t limit = atomic_load(&m->bytes) ? STALL_LIMIT_US : START_LIMIT_US;
    if (now - atomic_load(&m->moved_us) < limit) {
        return;
    }
    log_warning("a migration stands still; breaking its connection off", "vm=%s host=%s", m->name, m->dst);
    atomic_store(&m->has_hung_up, true);
    atomic_store(&m->moved_us, now); /* and again, should that not end it */
    if (virt_migrate_hang_up(m->dst_addr, &why) < 0) {
        log_warning("cannot break the connection off", "host=%s error=%s", m->dst, why.msg);
    }
}

/* libvirt has accepted the target's "finished": nothing can make it resume this QEMU any more, which has given its
 * disks up and only has to end. Killed, it never runs another instruction, and that is what I9 is about;
 * that the kernel takes its remains apart, 50 to 100 ms, need not be waited for (docs/adr/0004). libvirt,
 * which told it to end at this moment, takes it for that. */
static void end_source(struct migration *m)
{
    if (pidfd_send_signal(m->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH) {
        log_warning("cannot end the QEMU that has been migrated", "vm=%s errno=%d", m->name, errno);
    }
}

static bool look_for_verdict(struct migration *m)
{
    if (!m->is_confirmed && virt_migration_is_confirmed(m->name, m->pid)) {
        m->is_confirmed = true;
        end_source(m);
    }
    return m->is_confirmed;
}

static bool has_gone(const struct migration *m)
{
    struct pollfd p = {.fd = m->pidfd, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}

/* Until libvirt has said "confirmed", or QEMU has ended. @status: of virt_status_watch(), or -1 */
static void wait_for_verdict(struct migration *m, int status)
{
    while (!atomic_load(&m->is_over) && !has_gone(m) && !look_for_verdict(m)) {
        struct pollfd p[] = {{.fd = m->pidfd, .events = POLLIN}, {.fd = status, .events = POLLIN}};
        end_stall(m);
        (void)poll(p, ELEMENTS(p), PROGRESS_MS);
        virt_status_drain(status);
    }
}

/* libvirt answers up to 200 ms after QEMU's end; the owner must change at once (issue 2 point 7). */
static void watch_source(void *arg)
{
    struct migration *m = arg;
    struct err why = {0};
    _cleanup_close_ int status = -1; /* closed last: the kernel takes about 15 ms to close an inotify */
    if (virt_status_watch(&status, &why) < 0) {
        log_warning("a migration will have a longer blackout", "vm=%s error=%s", m->name, why.msg);
    }
    wait_for_verdict(m, status);
    for (int tries = VERDICT_TRIES; tries > 0 && !atomic_load(&m->is_over);) {
        if (look_for_verdict(m) && (has_gone(m) || virt_is_ending(m->pid))) {
            act_done_early(m->ctx, migration_result(m));
            return;
        }
        tries -= m->is_confirmed ? 0 : 1;
        clock_sleep_ms(VERDICT_MS);
    }
}

/* The source's QEMU has gone and nobody watched: libvirt's log keeps its verdict. Without one that says
 * "migrated" the guest is lost here, and the copy on the target must not run. */
static int judge_end(const char *name, struct err *e)
{
    enum virt_end end = VIRT_END_UNTOLD;
    uint64_t deadline = clock_boottime_us() + VERDICT_TIMEOUT_US;
    while ((end = virt_last_end(name)) == VIRT_END_UNTOLD && clock_boottime_us() < deadline) {
        clock_sleep_ms(OUTCOME_POLL_MS);
    }
    if (end == VIRT_END_MIGRATED) {
        return 0;
    }
    return ERR_SET(e, STATE, "the guest's QEMU ended during the migration; it is started again");
}

/* virt_migrate() failed, but the guest is known to be here. */
static int stays_here(struct migration *m, enum virt_outcome left, const struct err *said, struct err *e)
{
    if (atomic_load(&m->has_hung_up)) {
        int r = ERR_SET(e, REMOTE, "the storage network to host '%s' carried nothing any more, so the migration "
                        "was broken off; the guest stays here", m->dst);
        err_hint(e, "see why %s does not answer on %s, then migrate again", m->dst, m->dst_addr);
        return r;
    }
    if (atomic_load(&m->has_given_up)) {
        return move_give_up(&m->state, e);
    }
    if (left == VIRT_LEFT_PAUSED) { /* not worth a second try while it stands still */
        return ERR_SET(e, STATE, "broken off at the switch-over: %.300s", said->msg);
    }
    if (said->code == ERR_TIMEOUT) { /* a libvirtd went away, here or there; what it did is known by now */
        int r = ERR_SET(e, REMOTE, "%.300s; the guest stays here", said->msg);
        err_hint(e, "migrate again; if that fails, see 'journalctl -u libvirtd' on both hosts");
        return r;
    }
    return err_copy(e, said);
}

/* libvirt says that it failed; what is left here decides. The target's copy is never promoted on the
 * strength of its own completeness: libvirt may have resumed the source in between, and the source
 * may have written before it died (facts/ha.md 3.9 case 23). Only libvirt's verdict counts, which
 * the watcher has told already or its log keeps. Return: 0 when it was "migrated", -ERR_TIMEOUT while nobody knows, -ERR_STATE when
 * the guest is lost here, else as in @said */
static int judge_failure(struct migration *m, const struct err *said, struct err *e)
{
    uint64_t deadline = clock_boottime_us() + OUTCOME_TIMEOUT_US;
    enum virt_outcome left = VIRT_LEFT_UNKNOWN;
    do {
        virt_migration_outcome(m->env->virt, m->name, &left);
        if (left == VIRT_LEFT_GONE) {
            return judge_end(m->name, e);
        }
        if (left != VIRT_LEFT_BUSY && left != VIRT_LEFT_UNKNOWN) {
            return stays_here(m, left, said, e);
        }
        clock_sleep_ms(OUTCOME_POLL_MS);
    } while (clock_boottime_us() < deadline);
    return ERR_SET(e, TIMEOUT, "it is not known how the migration ends: %.300s", said->msg);
}

static int migrate_watched(struct migration *m, const struct virt_migrate_args *args, struct err *e)
{
    struct err said = {0};
    struct lane *watchers = lane_new("migwatch", 2, 2);
    int r = lane_run(watchers, watch_source, m, &said);
    r = r < 0 ? r : lane_run(watchers, show_progress, m, &said);
    r = r < 0 ? r : virt_migrate(m->env->virt, args, &said);
    r = r < 0 ? judge_failure(m, &said, e) : r; /* watched to the end: the verdict may come late */
    atomic_store(&m->is_over, true);
    lane_free(watchers);
    return r;
}

int act_vm_migrate(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    const json_t *own = json_object_get(args, "own");
    const json_t *node = json_object_get(args, "node");
    if (!json_text_of(node, "storage")) {
        return ERR_SET(e, STATE, "host '%s' has left the cluster", json_text_of(args, "dst"));
    }
    struct migration m = {.env = env, .ctx = ctx, .name = json_text_of(args, "name"),
                          .state = {.vm = json_text_of(args, "name"),
                                    .limit_s = json_u64_of(args, "limit_s", 0)},
                          .dst = json_text_of(args, "dst"), .dst_addr = json_text_of(node, "storage")};
    struct dom_meta meta = {0};
    struct err why = {0};
    _cleanup_close_ int pidfd = -1;
    act_vm_fill_meta(&meta, json_text_of(json_object_get(args, "spec"), "uuid"), json_text_of(args, "dst"),
              json_u64_of(node, "inc", 0), json_u64_of(json_object_get(own, "mig"), "epoch", 0));
    m.started_us = clock_boottime_us();
    atomic_store(&m.moved_us, m.started_us);
    int r = virt_pidfd(m.name, &m.pid, &pidfd, &why);
    if (r == -ERR_NOT_FOUND) {
        r = judge_end(m.name, e); /* an agent before us began it */
        *ret = r == 0 ? migration_result(&m) : NULL;
        return r;
    }
    m.pidfd = pidfd;
    const struct virt_migrate_args margs = {
        .name = m.name,
        .dest_addr = json_text_of(node, "storage"),
        .storage_addr = json_text_of(node, "storage"),
        .dest_meta = &meta,
        .bandwidth_mib_per_s = json_u64_of(args, "bandwidth_mib_per_s", 0),
    };
    r = r < 0 ? err_copy(e, &why) : migrate_watched(&m, &margs, e);
    *ret = r == 0 ? migration_result(&m) : NULL;
    return r;
}

int act_vm_migrate_abort(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                         struct err *e)
{
    const char *cut_from = json_text_of(args, "cut_from");
    return cut_from ? virt_migrate_hang_up(cut_from, e)
                    : virt_migrate_abort(env->virt, json_text_of(args, "name"), e);
}
