/* SPDX-License-Identifier: Apache-2.0
 * A whole cluster in one process: the cores of N hosts, a linearizable model store with watches
 * that lag, and models of what actions do to a host. One seed decides all orders and delays. */
#pragma once

#include "base/prng.h"
#include "core/core.h"

#define SIM_HOSTS_MAX 5

struct sim_domain {
    bool exists;
    bool is_running;
    uint64_t epoch;
    bool is_incoming; /* copy of a migration whose verdict is lost: must never run */
};

struct sim_host {
    char name[16];
    struct core *core;
    bool is_up;          /* the agent's process */
    unsigned life;       /* of the agent: answers for an earlier one are dropped */
    struct smap domains; /* name → struct sim_domain */
    struct smap epochs;  /* uuid → uint64_t: persisted (I5) */
    bool pool_mounted;
};

struct sim {
    uint64_t seed; /* for messages */
    struct prng prng;
    uint64_t now_us;
    struct smap store; /* key → struct sim_record */
    uint64_t revision;
    struct sim_host hosts[SIM_HOSTS_MAX];
    size_t hosts_n;
    struct sim_event *queue; /* sorted by time */
    uint64_t steps;
    unsigned delay_max_ms;
    int fail_percent; /* of actions that may fail without harm */
    int unknown_percent; /* of migrations of which the agent cannot tell for now how they end */
    unsigned cold_starts; /* of guests: what they had in memory was lost */
};

/** sim_new - @n hosts: all converged but the last, a witness; a cluster that has been registered */
void sim_init(struct sim *s, uint64_t seed, size_t n);
void sim_done(struct sim *s);

/** sim_request - a user asks @host. Return: task id to be freed, or NULL when refused (@e set) */
char *sim_request(struct sim *s, size_t host, const char *verb, json_t *args, struct err *e);
/** sim_run_until - let events happen until @task has ended. Return: its state, "" at the time limit */
const char *sim_wait(struct sim *s, const char *task, uint64_t limit_us);
/** sim_run - let @us of simulated time pass */
void sim_run(struct sim *s, uint64_t us);
/** sim_kill_agent - the agent's process dies; QEMUs live on. sim_start_agent() brings it back. */
void sim_kill_agent(struct sim *s, size_t host);
void sim_start_agent(struct sim *s, size_t host);
/** sim_get - value of a key, borrowed, or NULL */
const json_t *sim_get(const struct sim *s, const char *key);
/** sim_running - hosts on which domain @name executes */
size_t sim_running(const struct sim *s, const char *name);
