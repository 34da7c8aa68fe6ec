/* SPDX-License-Identifier: Apache-2.0
 * Random schedules: a cluster is made, hurt at random, mended, and must come to rest. The seed decides
 * everything. Three kinds: moves (what users, agents and migrations do to each other; no failover),
 * failover (power, hangs, networks, guards, disks; real guards and bricks) and restore (the same, and the store is put back
 * to an earlier moment). */
#pragma once

#include "sim_kit.h"

enum schedule_kind { SCHEDULE_MOVES, SCHEDULE_FAILOVER, SCHEDULE_RESTORE, SCHEDULE_KINDS };

/* A name for each thing that is done to a cluster; a schedule counts what it has done. */
#define SCHEDULE_FAULTS_MAX 32

struct schedule_result {
    char violation[200]; /* "" when all held */
    uint64_t simulated_us;
    uint64_t events;
    uint64_t steps; /* of cores */
    uint64_t writes; /* of guests */
    uint64_t resets; /* by watchdogs */
    uint64_t freezes;
    uint64_t faults[SCHEDULE_FAULTS_MAX];
};

/** schedule_run - one schedule, or the first half of it until a mutant is found. @ret: always set */
void schedule_run(enum schedule_kind kind, uint64_t seed, enum sim_mutant mutant,
                  struct schedule_result *ret);
/** schedule_run_for - the same, where only what begins with @by counts as violation; NULL: all does */
void schedule_run_for(enum schedule_kind kind, uint64_t seed, enum sim_mutant mutant, const char *by,
                      struct schedule_result *ret);
/** schedule_kind_name - "moves", "failover" or "restore" */
const char *schedule_kind_name(enum schedule_kind kind);
/** schedule_fault_name - of a place in faults[]; NULL after the last one */
const char *schedule_fault_name(enum schedule_kind kind, size_t i);
/** schedule_failover_prepare - two hosts and a witness, a pool with failover, the machine db1 */
void schedule_failover_prepare(struct sim *s, uint64_t seed);
