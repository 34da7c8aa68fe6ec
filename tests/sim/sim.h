/* SPDX-License-Identifier: Apache-2.0
 * A whole cluster in one process: the cores of N hosts, a linearizable model store with watches
 * that lag, and models of what actions do to a host. One seed decides all orders and delays. */
#pragma once

#include <stdio.h>

#include "base/prng.h"
#include "core/core.h"

#define SIM_HOSTS_MAX 6
#define SIM_VMS_MAX 24

/* Wrong turns of the design, taken by the harness instead of the core: each must be found by the
 * invariants within some seeds, else the simulator proves nothing about it. */
enum sim_mutant {
    SIM_SOUND,
    SIM_DECIDES_ON_READS, /* commits do not compare (against I7) */
    SIM_OWN_NOT_COMPARED, /* only changes of own (T4, T6, T7, T8) do not compare (I1) */
    SIM_RUNS_COPY_EARLY,  /* the target runs its copy before T7: no VIR_MIGRATE_PAUSED (I9) */
    SIM_BELIEVES_OLD_LISTS, /* lists of domains may be older than the question */
    SIM_REPORTS_COPY_EARLY, /* "the source's QEMU is gone" is told while it still runs */
    SIM_NO_FENCE,         /* cuts are told but not made */
    SIM_FENCE_TWO,        /* one of the bricks is not cut */
    SIM_NO_DRAIN,         /* what a brick has received is not waited for */
    SIM_NO_PROMISE_WAIT,  /* denials are over at once */
    SIM_OPEN_BOOT,        /* hosts boot with an open packet filter */
    SIM_FORGETS_DENIAL,   /* a guard that starts again does not know the denials */
    SIM_NO_EPOCH_FILE,    /* epochs are not persisted (I5) */
    SIM_ANYBODY_LAUNDERS, /* who sees a host fenced launders, not the new owner under its epoch (A1) */
    SIM_NO_WATCHDOG,      /* a host that hangs is not reset, and S3 is asked for all the same */
    SIM_KEEPS_BRICK,      /* a host that comes back without a boot keeps its brick's process */
    SIM_LEAVES_THREADS,   /* it ends that, but does not wait for the last thread */
    SIM_ANY_LOOK_PROVES,  /* T11 does not ask for looks that were begun after a host was let in */
    SIM_CLOCK_STOPS,      /* clocks and watchdog of a host stand while it hangs: it is a VM itself */
    SIM_TAKES_EARLY,      /* T4 when T1 is committed, before any proof (I2) */
    SIM_FENCED_BY_ONE,    /* T3 after the first acknowledgement (I3) */
    SIM_LAUNDERS_LATE,    /* a start does not wait until its rewriting has ended (I8, A1) */
    SIM_BORN_OUTSIDE,     /* QEMUs are not born in the slice that the guard freezes (I5) */
    SIM_KILLS_NOTHING,    /* QEMUs survive what shall kill them (I6) */
    SIM_FREEZES_IN_VAIN,  /* guards say that guests stand still, which execute (I4) */
    SIM_WALL_CLOCK,       /* guards compare on wall clocks: jumps ahead move theirs (I7) */
    SIM_ENDS_AT_ONCE,     /* a QEMU is gone while its writes are on their way (A4) */
    SIM_OVERLOOKS,        /* lists of domains on a fenced host say that there is none (I6) */
    SIM_RESTORE_BELIEVED, /* after a restore all is planned at once on what the store says (I1) */
    SIM_LATE_STARTS,      /* a start that was asked for before a restore may still be done after the report (I1) */
    SIM_TRUE_CLOCKS,      /* none: wall clocks do not jump */
    SIM_TWINS,            /* none: beside each core one that leaves no planner out has to ask for the same */
};

struct sim_domain {
    bool exists;
    bool is_running;
    uint64_t epoch;
    bool is_incoming; /* copy of a migration that is not complete */
    bool is_late;     /* copy that began after T8 */
    bool is_copying;  /* source of a migration that is under way */
    bool is_aborting; /* its migration was asked to stop */
    bool is_broken;   /* its migration has lost the other end, or the libvirtd that drove it */
    bool is_left;     /* paused by a libvirtd that is no more: its agent has to resume it */
    bool is_dying;    /* it executes no more, and ends when its writes are answered, or their mount ends */
    bool is_freezable; /* born in the slice that the guard freezes */
    bool has_run;     /* executed at least once under this epoch, on this host */
    unsigned short mount; /* its host's mount of pools that it has its disks by */
    uint64_t foreign_us;      /* its host could know since then that it must end; 0: it need not */
    uint64_t foreign_seen_us; /* looked at then for the last time */
    char uuid[40]; /* 36 characters; short, because tests keep whole simulations on their stacks */
};

struct sim_host {
    char name[32];
    struct core *core;
    struct core *twin;   /* with SIM_TWINS */
    bool is_up;          /* the agent's process */
    unsigned life;       /* of the agent: answers for an earlier one are dropped */
    unsigned boot;       /* of the host: nothing of an earlier one happens any more */
    json_t *old_domains; /* what a list said some time ago */
    unsigned resets;     /* times that a guest was reset */
    unsigned destroys;
    struct sim_domain domains[SIM_VMS_MAX]; /* by the index of sim_vm_index() */
    struct smap epochs;  /* uuid → uint64_t: persisted (I5) */
    bool pool_mounted;
    int64_t wall_off_us; /* its wall clock is wrong by so much */
    uint64_t wake_us;    /* a step is due then, 0 = none was asked for */
    uint64_t listed_us;  /* when it last asked for a whole list */
    uint64_t migrated[SIM_VMS_MAX]; /* epoch of the copy that left last, as libvirt's log has it */
    uint64_t least_gen;  /* of epochs that begin here, on its disk: see sim_restore() */
    char *brick_of;      /* uuid of the pool that its brick was prepared for */
};

struct sim_event;

/* What is to happen, the next first; of the same moment what was pushed first. */
struct sim_queue {
    struct sim_slot {
        uint64_t at_us;
        uint64_t order;
        struct sim_event *event;
    } *heap;
    size_t n;
    size_t cap;
    uint64_t order;
    struct sim_event *spare;
};

struct sim_ha;

struct sim {
    struct sim_ha *ha; /* sim_ha.h; NULL: no failover in this run */
    uint64_t seed; /* for messages */
    struct prng prng;
    struct prng clock_prng; /* of what wall clocks do: it changes nothing else */
    uint64_t now_us;
    struct smap store; /* key → struct sim_record */
    uint64_t revision;
    struct sim_host *hosts; /* SIM_HOSTS_MAX of them */
    size_t hosts_n;
    char vms[SIM_VMS_MAX][32];
    size_t vms_n;
    struct sim_queue queue;
    json_t *tick; /* the event of each second */
    json_t *wake; /* the one that a core asked for */
    json_t *done; /* the kind of those that end actions */
    uint64_t steps;     /* of cores */
    uint64_t events;    /* of all kinds */
    unsigned delay_max_ms;
    int fail_percent;   /* of actions that may fail without harm */
    int unknown_percent; /* of migrations of which the agent cannot tell for now how they end */
    bool keeps_verdicts; /* libvirt's log says of a copy that nobody watched whether it was complete; else it is not known */
    unsigned cold_starts; /* of guests: what they had in memory was lost */
    uint64_t memory_bytes; /* that each host has; 64 GiB at the start */
    unsigned asking_life; /* of the agent whose action is being executed */
    uint64_t create_us; /* how long QEMU takes to be there */
    unsigned creating[SIM_HOSTS_MAX]; /* QEMUs that are being started; counted when create_us is set */
    unsigned creating_max; /* the most of them at a time on a host */
    int lost_percent;   /* of commits that are applied but whose answer is lost */
    int deaf_percent;   /* of watch events that are lost; 2 at the start */
    int stale_percent;  /* of lists that show the store as it was */
    bool store_is_down; /* nobody reaches it */
    enum sim_mutant mutant;
    bool keeps_going;   /* note violations instead of ending the program */
    const char *only;    /* violations that begin otherwise do not count: by what a mutant is found; NULL: all count */
    char violation[200]; /* the first one, or "" */
    json_t *snapshot;   /* of the store, to which it may be put back, or NULL */
    json_t *old_list;   /* some list of the past */
    struct smap highest; /* uuid → uint64_t: highest epoch that has executed */
    struct smap births; /* "uuid/epoch": has begun to execute */
    struct smap acked;  /* vm → uint64_t: epoch that act stated to run */
    FILE *trace;        /* what happens in words, or NULL; by MORTAR_TRACE */
    FILE *record;       /* flight record of @record_host, or NULL */
    size_t record_host;
};

/** sim_init - @n hosts: all converged but the last, a witness; a cluster that has been registered */
void sim_init(struct sim *s, uint64_t seed, size_t n);
void sim_done(struct sim *s);

/** sim_request - a user asks @host. Return: task id to be freed, or NULL when refused (@e set) */
char *sim_request(struct sim *s, size_t host, const char *verb, json_t *args, struct err *e);
/** sim_note - a line of the trace; nothing without one */
void sim_note(struct sim *s, const char *fmt, ...) _printf_(2, 3);
/** sim_wait - let events happen until @task has ended. Return: its state, "" at the time limit */
const char *sim_wait(struct sim *s, const char *task, uint64_t limit_us);
/** sim_run - let @us of simulated time pass */
void sim_run(struct sim *s, uint64_t us);
/** sim_until - let one event after the other happen until @fn says so. Return: false at the limit */
bool sim_until(struct sim *s, bool (*fn)(struct sim *s, const void *arg), const void *arg, uint64_t limit_us);
/** sim_crash_libvirtd - it is started again at once; what it was doing is over, QEMUs live on (facts/ha.md 6.1) */
void sim_crash_libvirtd(struct sim *s, size_t host);
/** sim_kill_agent - the agent's process dies; QEMUs live on. sim_start_agent() brings it back. */
void sim_kill_agent(struct sim *s, size_t host);
void sim_start_agent(struct sim *s, size_t host);
/** sim_reboot - the host loses power and comes back: QEMUs gone, another boot id, agent running */
void sim_reboot(struct sim *s, size_t host);
/** sim_stop_host - its power is off; sim_start_agent() is its next boot */
void sim_stop_host(struct sim *s, size_t host);
/** sim_end_guest - QEMU of @name falls (@reason "crashed") or powers off ("shutdown"), if it runs */
void sim_end_guest(struct sim *s, const char *name, const char *reason);
/** sim_copies - domains of @name on all hosts, executing or not */
size_t sim_copies(const struct sim *s, const char *name);
/** sim_get - value of a key, borrowed, or NULL */
const json_t *sim_get(const struct sim *s, const char *key);
/** sim_snapshot - the store as it is. New reference */
json_t *sim_snapshot(const struct sim *s);
/** sim_restore - the store is what it was at @snapshot, with its number raised, as 'mortar store restore' does it */
void sim_restore(struct sim *s, const json_t *snapshot);
/** sim_running - hosts on which domain @name executes */
size_t sim_running(const struct sim *s, const char *name);
