/* SPDX-License-Identifier: Apache-2.0
 * Failover in the simulator: real guards (src/guard/promise.c) on clocks that drift, two networks that can
 * be cut, power, hangs with a watchdog, packet filters, and bricks with writes that are on their way. What
 * is checked after every event: no write of an older epoch reaches a brick that counts after a newer epoch
 * began (S1), and no machine executes twice (S3). */
#pragma once

#include "sim.h"

#include "guard/promise.h"

#define SIM_BRICKS 3

enum sim_net { SIM_MGMT, SIM_STORAGE, SIM_NETS };

struct sim_guard {
    struct promise p;
    bool is_up;
    bool is_frozen;
    uint64_t next_beat_us; /* on its own clock */
    uint64_t wake_us;      /* simulated time at which it looks again */
    uint64_t pet_us;       /* simulated time */
    char *file;            /* its configuration on disk */
    uint64_t told_edge;
    unsigned told_life;    /* of the agent: a new one hears it at once */
    json_t *told;          /* last status that the core got */
};

struct sim_ha_host {
    struct sim_guard guard;
    bool is_off;
    bool is_hung;
    bool is_asleep; /* hung, and its watchdog with it */
    uint64_t off_until_us; /* a reset by the watchdog boots again by itself; 0 = stays off */
    uint64_t rate_ppm;     /* of its clock: 1000000 is true */
    uint64_t stood_us;     /* its clock is behind by this, see SIM_CLOCK_STOPS */
    uint64_t hung_at_us;
    uint64_t ahead_us;     /* its clock has jumped by this, see SIM_WALL_CLOCK */
    bool has_table;
    struct smap open;      /* host → uint64_t: incarnation let in */
    struct smap records;   /* host → uint64_t: incarnation fenced, on disk */
    unsigned conns[SIM_HOSTS_MAX]; /* connections of a host to this brick: numbered, all but the last are dead */
    unsigned mounts; /* this host's own mounts of pools: the same */
    unsigned queued[SIM_HOSTS_MAX]; /* writes of a host that this brick has received and not done */
    bool has_no_member;    /* its part of the store is dead (case 12) */
    bool is_stuck;         /* its disk hangs: the brick takes writes and ends none (case 19) */
    bool is_wedged;        /* its brick takes writes, and its threads take none of them: killed, it loses them (case 19) */
    uint64_t keep_us;      /* the next write stays in its brick so long, others pass it; 0: none does */
    bool has_no_brick;     /* no process of its brick runs: it was ended and not started again */
    uint64_t look_us;      /* what its brick lists is told so much later than it was read */
    uint64_t healed_at_us; /* its copy lacks what others list until then, see heal_us */
    bool was_left_out;     /* its brick did not count when the store was restored, whatever that says of it now */
    bool is_away;          /* it is no full member */
    unsigned brick_life;   /* of that process */
    unsigned in_disk;      /* writes that its threads are within; they end before it does, killed or not */
    unsigned ending;       /* the same of processes that were killed */
};

/* Writes of one instance of a machine, QEMU's and its owner's laundering, wherever they come from. */
struct sim_writer {
    char uuid[64];
    size_t vm;
    uint64_t epoch;
    uint64_t in_flight; /* on their way or queued in a brick */
    uint64_t laundering[SIM_HOSTS_MAX]; /* of them: a host's rewriting */
    bool is_laundered; /* and such a rewriting has ended */
};

struct sim_ha {
    struct sim_ha_host hosts[SIM_HOSTS_MAX];
    bool cut[SIM_NETS][SIM_HOSTS_MAX][SIM_HOSTS_MAX];
    bool has_watchdog;
    int loss_percent; /* of guards' packets */
    int slow_percent; /* of writes that stay in a brick for many seconds */
    uint64_t heal_us; /* from the moment a host is let in until nothing is left to heal; 0: bricks list nothing at all */
    struct sim_writer *writers;
    size_t writers_n;
    uint64_t writes;   /* that guests began */
    uint64_t applied;  /* that reached a brick */
    uint64_t refused;  /* that a filter stopped */
    uint64_t ended;    /* bricks that proved nothing, with their host in good standing (case 19) */
    uint64_t resets;   /* by a watchdog */
    uint64_t freezes;
};

/** sim_ha_init - give a sim_init()-ed cluster guards, networks and bricks; sim_ha_done() before sim_done() */
void sim_ha_init(struct sim *s);
void sim_ha_done(struct sim *s);

/** sim_ha_power_off, sim_ha_power_on - everything volatile of the host is gone; on boots its agent, too */
void sim_ha_power_off(struct sim *s, size_t host);
void sim_ha_power_on(struct sim *s, size_t host);
/** sim_ha_hang - nothing on the host runs, time goes on; a watchdog resets it when that lasts too long */
void sim_ha_hang(struct sim *s, size_t host);
void sim_ha_resume(struct sim *s, size_t host);
/** sim_ha_cut - no packet passes between @host and any other on @net; nobody is told. sim_ha_heal() ends all */
void sim_ha_cut(struct sim *s, size_t host, enum sim_net net);
/** sim_ha_cut_between - the same between two hosts, on both networks */
void sim_ha_cut_between(struct sim *s, size_t a, size_t b);
void sim_ha_heal(struct sim *s);
/** sim_ha_crash_guard - the guard's process dies and is started again at once */
void sim_ha_crash_guard(struct sim *s, size_t host);
/** sim_ha_suspend - the host slept for @us: nothing ran, its guard sees the jump of the clocks (A13) */
void sim_ha_suspend(struct sim *s, size_t host, uint64_t us);

/** sim_ha_admit - an administrator lets in what the flapping guard holds back; asked for again when it fails */
void sim_ha_admit(struct sim *s);

/* What sim.c asks; each is harmless without sim_ha_init(). */
bool sim_ha_reaches_store(const struct sim *s, size_t host);
bool sim_ha_stands_still(const struct sim *s, size_t host); /* off, hung, or frozen: guests do not execute */
bool sim_ha_is_hung(const struct sim *s, size_t host);
/** sim_ha_never_runs_late - is S3 promised? A host that hangs and revives without a watchdog runs its
 * guests for the moment until its guard has looked (facts/ha.md 3.5) */
bool sim_ha_never_runs_late(const struct sim *s);
/** sim_ha_is_flushed - has every write of the instance been answered? QEMU hands over only then */
bool sim_ha_is_flushed(const struct sim *s, const char *uuid, uint64_t epoch);
/** sim_ha_connects - can two hosts speak with each other on the storage network, as a migration does? */
bool sim_ha_connects(const struct sim *s, size_t a, size_t b);
/** sim_ha_has_brick - does the process of @host's brick run? */
bool sim_ha_has_brick(const struct sim *s, size_t host);
/** sim_ha_quorum - does @host's mount reach two of three bricks? */
bool sim_ha_quorum(const struct sim *s, size_t host);
/** sim_ha_lists - 1 while @host's brick lists what another copy lacks, else 0 */
int sim_ha_lists(const struct sim *s, size_t host);
/** sim_ha_look_us - how late a look at @host's brick is told */
uint64_t sim_ha_look_us(const struct sim *s, size_t host);
/** sim_ha_all_let_in - {host: inc} of each host's present return or its next one (a mutant). New reference */
json_t *sim_ha_all_let_in(const struct sim *s);
/**
 * sim_ha_execute - the actions of failover
 * @event: the "done" event; gets a result        @ret_bad: name of the error, or SIM_LATER
 * Return: false when the action is none of them
 */
bool sim_ha_execute(struct sim *s, size_t host, const json_t *action, json_t *event, const char **ret_bad);
/** sim_ha_on_commit - a record was written */
void sim_ha_on_commit(struct sim *s, const char *key, const json_t *value);
