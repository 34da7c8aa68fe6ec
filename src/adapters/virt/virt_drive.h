/* SPDX-License-Identifier: Apache-2.0
 * libvirt on this host. All calls block and may be made from any thread; the agent makes them from
 * worker lanes, one of which it keeps for virt_destroy() and virt_migrate_abort() (style §7).
 * A libvirtd that hangs is noticed by keepalive: the call then fails with -ERR_TIMEOUT, class
 * unknown, about VIRT_KEEPALIVE_S × (VIRT_KEEPALIVE_COUNT + 1) seconds later. A libvirtd that was
 * restarted is found again by the next call. Domains are transient: what is gone is undefined. */
#pragma once

#include <sys/types.h>

#include "adapters/virt/domxml_parse.h"
#include "io/worker.h"

#define VIRT_URI_SYSTEM "qemu:///system"
#define VIRT_KEEPALIVE_S 3
#define VIRT_KEEPALIVE_COUNT 3
#define VIRT_RUN_DIR "/run/libvirt/qemu" /* NAME.pid and NAME.xml: libvirt 9.0.0, stateDir */

struct virt;

enum virt_state {
    VIRT_RUNNING,
    VIRT_PAUSED,
    VIRT_STOPPING, /* the guest was asked to shut down and says it does */
    VIRT_OFF,      /* only persistent domains of the user are seen in it */
    VIRT_CRASHED,
    VIRT_OTHER,
};

struct virt_domain {
    enum virt_state state;
    const char *reason;   /* constant word: "booted", "user", "migration", "io-error", … */
    int id;               /* -1 when off */
    struct dom_info info; /* with name, uuid, .ours and .meta */
};

struct virt_list {
    struct virt_domain *v;
    size_t n;
};
void virt_list_done(struct virt_list *l);
#define _cleanup_virt_list_ _cleanup_(virt_list_done)

enum virt_event_kind {
    VIRT_EVENT_STARTED,   /* QEMU runs; detail "booted", "migrated" (as target), … */
    VIRT_EVENT_SUSPENDED, /* detail "migrated": a migration switches over; "io-error"; "user" … */
    VIRT_EVENT_RESUMED,   /* detail "migration" on the source: the migration failed */
    VIRT_EVENT_STOPPED,   /* detail "migrated": migration complete and QEMU gone; "shutdown" … */
    VIRT_EVENT_CRASHED,
    VIRT_EVENT_JOB_DONE,  /* a migration job of the domain ended; job is set */
    VIRT_EVENT_DISCONNECTED, /* libvirtd went away; no name */
    VIRT_EVENT_CONNECTED,    /* and is there (again): list everything; no name */
};

/* What a migration has done, or did. All 0 when there is none. */
struct virt_job {
    uint64_t total_bytes; /* of memory */
    uint64_t done_bytes;
    uint64_t remaining_bytes;
    uint64_t dirty_bytes_per_s;
    uint64_t speed_bytes_per_s;
    uint64_t elapsed_ms;
    uint64_t downtime_ms; /* expected while it runs, measured by QEMU in JOB_DONE */
    uint64_t iteration;
    uint64_t throttle_percent; /* auto-converge */
    bool active;
};

struct virt_event {
    enum virt_event_kind kind;
    const char *detail; /* constant word, never NULL */
    char name[DOM_NAME_MAX + 1]; /* longer names, which are not ours, are cut */
    char uuid[DOM_UUID_LEN + 1];
    uint64_t at_us; /* CLOCK_BOOTTIME when it reached us */
    struct virt_job job;
};

/**
 * virt_open - a handle; the connection itself is made by the first call that needs it
 * @uri: VIRT_URI_SYSTEM or "test:///default"
 * @events: NULL, or where struct virt_event are posted, each malloc'ed and the receiver's; must
 *          outlive the handle
 */
struct virt *virt_open(const char *uri, struct mailbox *events);
/** virt_close - no call may be running. */
void virt_close(struct virt *v);
DEFINE_FREEP(struct virt, virt_close)

/** virt_connect - make the connection now. Return: 0 or -ERR_VIRT */
int virt_connect(struct virt *v, struct err *e);

/**
 * virt_warm - have libvirt probe QEMU, once per connection; does nothing before there is one
 * Else the first start or arrival of a guest waits for that: 0.9 s of a move were measured. Takes as
 * long, so not before an answer that somebody waits for.
 */
void virt_warm(struct virt *v);

/**
 * virt_observe - all domains of this host, ours and others, sorted by name
 * @ret: zero-initialised; caller ends it with virt_list_done()
 * Return: 0, -ERR_VIRT or -ERR_TIMEOUT. A domain that ends meanwhile is left out.
 */
int virt_observe(struct virt *v, struct virt_list *ret, struct err *e);

/**
 * virt_find - one domain
 * @ret: zero-initialised; caller ends its .info with dom_info_done()
 * Return: 0, -ERR_NOT_FOUND, -ERR_VIRT or -ERR_TIMEOUT
 */
int virt_find(struct virt *v, const char *name, struct virt_domain *ret, struct err *e);

/**
 * virt_create - start a transient domain
 * @paused: QEMU is there but the guest does not execute until virt_resume()
 * Return: 0, -ERR_EXISTS when a domain of that name or uuid runs already, -ERR_VIRT,
 *         -ERR_TIMEOUT (it may run)
 */
int virt_create(struct virt *v, const char *xml, bool paused, struct err *e);

/**
 * virt_destroy - end QEMU
 * @graceful: SIGTERM only, so that QEMU flushes; else SIGKILL follows
 * Return: 0 also when there was none, -ERR_VIRT or -ERR_TIMEOUT
 */
int virt_destroy(struct virt *v, const char *name, bool graceful, struct err *e);

/** virt_shutdown - press the power button (ACPI). Return: 0, -ERR_NOT_FOUND, -ERR_VIRT, -ERR_TIMEOUT */
int virt_shutdown(struct virt *v, const char *name, struct err *e);
/** virt_reset - press the reset button. Return: as virt_shutdown() */
int virt_reset(struct virt *v, const char *name, struct err *e);
/** virt_suspend - the guest stops executing. Return: as virt_shutdown() */
int virt_suspend(struct virt *v, const char *name, struct err *e);
/**
 * virt_resume - the guest executes; 0 when it does already
 * @meant: only the instance with this uuid and epoch, which is looked at by the same handle; NULL: any
 * Return: as virt_shutdown(), -ERR_STATE when it is another one
 */
int virt_resume(struct virt *v, const char *name, const struct dom_meta *meant, struct err *e);

struct virt_caps {
    bool kvm; /* libvirt offers it; that is no proof that a guest boots (facts/probes.md 5.3) */
    bool emulation;
    char *emulator;        /* path */
    struct strv machines;  /* versioned names */
    struct strv cpu_models; /* usable ones of the kind that was asked for */
    uint64_t libvirt_version; /* 9000000 = 9.0.0 */
    uint64_t qemu_version;    /* 7002000 = 7.2.0 */
};
void virt_caps_done(struct virt_caps *c);
#define _cleanup_virt_caps_ _cleanup_(virt_caps_done)

/**
 * virt_capabilities - what this host can run, for placement and for refusing a migration
 * @emulate: ask for TCG's CPU models, else for KVM's (none when there is no KVM)
 * @ret: zero-initialised; caller ends it with virt_caps_done()
 * Return: 0, -ERR_VIRT, -ERR_TIMEOUT or -ERR_PARSE
 */
int virt_capabilities(struct virt *v, bool emulate, struct virt_caps *ret, struct err *e);

/**
 * virt_pidfd - hold QEMU's process, with or without libvirtd
 * @name: of the domain        @ret_pid: may be NULL        @ret_fd: set on success; caller closes
 * Return: 0, or -ERR_NOT_FOUND when no QEMU of that name runs (a stale pid file is no QEMU)
 */
int virt_pidfd(const char *name, pid_t *ret_pid, int *ret_fd, struct err *e);

/**
 * virt_in_slice - is process @pid in @slice, DOM_SLICE_VMS or DOM_SLICE_HA, or in a child of it?
 * @ret_cgroup: may be NULL; the cgroup v2 path it is in, for the message; caller frees
 * Return: 0, -ERR_NOT_FOUND when there is no such process, -ERR_IO.
 * Source: facts/probes.md 4.3: without a delegated controller libvirt ignores the partition silently
 */
int virt_in_slice(pid_t pid, const char *slice, bool *ret, char **ret_cgroup, struct err *e);

/**
 * virt_console_connect - a stream socket to the guest's serial console
 * @path: struct dom_info.console or dom_console_path()        @deadline_us: CLOCK_BOOTTIME
 * @ret_fd: set on success, non-blocking; caller closes. QEMU serves one client at a time: while one
 *          is connected, the next waits until the deadline. The socket ends with the QEMU; after a
 *          migration the same path exists on the new host.
 * Return: 0, -ERR_NOT_FOUND when there is no socket, -ERR_BUSY, -ERR_IO
 */
int virt_console_connect(const char *path, uint64_t deadline_us, int *ret_fd, struct err *e);
