/* SPDX-License-Identifier: Apache-2.0
 * What tests on simulated clusters share. Whatever does not come true is a violation: it ends the program
 * with the seed, or is noted when the cluster keeps going (sim_violated()). */
#pragma once

#include "sim_ha.h"

#define KIT_LIMIT_US (300 * USEC_PER_SEC)

/** kit_first_seed - MORTAR_SEED, else 1. kit_schedules() - how many: MORTAR_SCHEDULES; one of a given seed */
uint64_t kit_first_seed(void);
int kit_schedules(int normal);

/* True when what is waited for has come. */
typedef bool (*kit_fn)(struct sim *s, const void *arg);
/** kit_until - let time pass until @fn says so. Return: false at the limit */
bool kit_until(struct sim *s, kit_fn fn, const void *arg, uint64_t limit_us);

/**
 * kit_ask - a user asks host1, again while others are in the way, and waits for the end
 * @args: stolen        @expected: end of the task, or NULL: any
 */
void kit_ask(struct sim *s, const char *verb, json_t *args, const char *expected);
/** kit_add_vm - create @name in pool vms and see it run */
void kit_add_vm(struct sim *s, const char *name);
/** kit_pool - a pool "vms"; all hosts have mounted it that may */
void kit_pool(struct sim *s);
/** kit_expect_running - @vm executes on one host */
void kit_expect_running(struct sim *s, const char *vm);

/** kit_owner - index of the host that owns @vm; SIM_HOSTS_MAX without one */
size_t kit_owner(const struct sim *s, const char *vm);
/** kit_state - of a host's record, borrowed */
const char *kit_state(const struct sim *s, size_t host);
/** kit_all_online - wait until every host is a full member */
void kit_all_online(struct sim *s);
/** kit_has_task - is any task running? */
bool kit_has_task(struct sim *s, const void *arg);
