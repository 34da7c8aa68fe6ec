/* SPDX-License-Identifier: Apache-2.0
 * Live migration, seen from the source (design.md D7, facts/ha.md 6).
 *
 * virt_migrate() blocks on its lane; others watch with virt_job() and may call virt_migrate_abort().
 * The source's agent holds a pidfd of its QEMU (virt_pidfd() before the start) and commits the new
 * owner (T7) at the first of these, not when the call returns:
 *   - virt_migration_is_confirmed() is true, and QEMU has ended or every thread of it is ending; once
 *     it is confirmed the agent kills that QEMU itself, through the pidfd (docs/adr/0004);
 *   - the pidfd says that QEMU ended, and the event STOPPED with detail "migrated" came.
 * Why the first exists: libvirt looks every 200 ms whether the QEMU that it told to end has ended,
 * and sends its event and its answer only then. docs/virt.md has the measured order.
 * Never used: UNSAFE, TUNNELLED, NON_SHARED_*, COMPRESSED (facts/ha.md 6.2). */
#pragma once

#include "adapters/virt/virt_drive.h"

#define VIRT_MIGRATE_DOWNTIME_MS 200 /* facts/ha.md 6.2; QEMU's own default is 300 */

struct virt_migrate_args {
    const char *name;
    const char *dest_addr;    /* of the target's libvirtd; must stand in its certificate */
    const char *storage_addr; /* where the memory goes; must stand in the certificate of its QEMU */
    const struct dom_meta *dest_meta; /* what the target's instance will be: owner, epoch + 1 */
    uint64_t bandwidth_mib_per_s;     /* 0 = no limit */
    uint64_t downtime_ms;             /* 0 = VIRT_MIGRATE_DOWNTIME_MS */
    const char *dest_uri; /* NULL = virt_migrate_uri() of dest_addr; for tests */
};

/** virt_migrate_uri - how the libvirtd of this host reaches that of @addr. Caller frees. */
char *virt_migrate_uri(const char *addr);

/**
 * virt_migrate - move a running domain of ours to another host, where it stays paused
 * Return: 0 when the target is complete and the QEMU here is gone. On every failure look with
 *         virt_migration_outcome() what is left here: -ERR_CANCELLED after an abort,
 *         -ERR_NOT_FOUND, -ERR_STATE when it is not ours or cannot migrate now,
 *         -ERR_TIMEOUT when our libvirtd went away meanwhile, -ERR_VIRT for all else
 */
int virt_migrate(struct virt *v, const struct virt_migrate_args *args, struct err *e);

/**
 * virt_job - how far the running migration of @name is
 * @ret: set on success; .active is false and all is 0 when none runs
 * Return: 0, -ERR_NOT_FOUND, -ERR_VIRT or -ERR_TIMEOUT
 */
int virt_job(struct virt *v, const char *name, struct virt_job *ret, struct err *e);

/**
 * virt_migrate_abort - cancel the running migration; the guest goes on here
 * Return: 0 also when there is none; -ERR_VIRT or -ERR_TIMEOUT. It may come too late: what counts is
 *         the result of virt_migrate().
 */
int virt_migrate_abort(struct virt *v, const char *name, struct err *e);

/**
 * virt_migrate_hang_up - break this host's connections of a migration to @addr: libvirtd's own, and
 * QEMU's. For one that stands still: libvirt 9 connects without a time limit, and QEMU 7.2 is deaf to
 * aborts while it sends the devices' state (docs/bugs.md B2). Both then fail as if the peer had
 * closed, and libvirt decides as after any failure.
 * @addr: the target's storage address. A migration that plain virsh does to the same host at the
 *        same time is broken off, too.
 * Return: 0 also when there was none; -ERR_COMMAND or -ERR_TIMEOUT
 */
int virt_migrate_hang_up(const char *addr, struct err *e);

/**
 * virt_migration_is_confirmed - has libvirt decided that the migration of @name is complete?
 * @pid: the QEMU whose pidfd fired; the answer is about no other one
 * Reads libvirt's status file in VIRT_RUN_DIR, a few KiB on tmpfs. True is final: libvirt, also after
 * a restart, can only end this QEMU. False means "not known": wait for the event.
 */
bool virt_migration_is_confirmed(const char *name, pid_t pid);

/**
 * virt_stat_is_ending - is this thread on its way out, never to run a program's instruction again?
 * @text: of /proc/PID/task/TID/stat
 * Source: proc(5), field 9; PF_EXITING in Linux's include/linux/sched.h, set in do_exit() first
 */
bool virt_stat_is_ending(const char *text);

/**
 * virt_is_ending - has every thread of process @pid begun to exit, or gone?
 * @pid: SIGKILL was sent to it before, so that it cannot make another thread meanwhile
 * What it still does is the kernel's: closing a tap device and an AIO context takes tens of milliseconds,
 * waits for RCU most of it. It does not ask for I/O under way: docs/adr/0004 says why there is none.
 */
bool virt_is_ending(pid_t pid);

/**
 * virt_status_watch - an inotify descriptor that is readable after libvirt wrote a status file
 * @ret_fd: set on success; non-blocking, the caller reads what it brings and closes it
 * Return: 0 or -ERR_IO
 */
int virt_status_watch(int *ret_fd, struct err *e);

/** virt_status_drain - read and drop what virt_status_watch()'s @fd brings */
void virt_status_drain(int fd);

/* How the newest instance of a domain on this host ended. */
enum virt_end {
    VIRT_END_UNTOLD,   /* it may still run, or libvirt has not yet said how it ended */
    VIRT_END_MIGRATED, /* its migration was complete, and libvirt ended it for that */
    VIRT_END_OTHER,    /* in any other way, also "nobody knows" */
};

/**
 * virt_log_end - the end that libvirt's log of a domain tells: its first word on it counts, since a
 * restarted libvirtd adds "unknown"
 * @text, @len: the log, or its tail; what stands before the newest start is not looked at
 * Source: libvirt 9.0.0, qemuProcessStop() and qemuDomainLogAppendMessage(), seen 2026-11-22
 */
enum virt_end virt_log_end(const char *text, size_t len);

/** virt_last_end - virt_log_end() of @name's log on this host; a log that cannot be read tells nothing */
enum virt_end virt_last_end(const char *name);

/* What a migration left on its source. */
enum virt_outcome {
    VIRT_LEFT_GONE,    /* no QEMU of that name runs here */
    VIRT_LEFT_RUNNING, /* the guest runs here: T8, and the target destroys its copy */
    VIRT_LEFT_PAUSED,  /* paused by the migration and nobody decides: the target may be complete or
                          not. Safe: end the target's copy first, verify, T8, then virt_resume() */
    VIRT_LEFT_HELD,    /* paused for another reason (user, I/O error): it is here, T8 as if running */
    VIRT_LEFT_BUSY,    /* the migration goes on */
    VIRT_LEFT_UNKNOWN, /* QEMU runs but libvirtd does not answer or does not know it */
};

/** virt_outcome_name - "gone", "running", … */
const char *virt_outcome_name(enum virt_outcome o);

/**
 * virt_migration_outcome - what is left here of domain @name
 * @ret: always set. GONE is said only when /proc shows no such QEMU, whatever libvirtd says
 */
void virt_migration_outcome(struct virt *v, const char *name, enum virt_outcome *ret);
