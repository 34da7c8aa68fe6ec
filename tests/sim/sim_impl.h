/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the simulator share. */
#pragma once

#include "sim.h"

#define SIM_LATER "" /* the answer comes by another action */

/* Something that happens by itself. @payload is freed after; it happens whether the host lives or not. */
typedef void (*sim_fn)(struct sim *s, size_t host, void *payload);

/** sim_push - @event for @host's core, or @action to be executed there; both may be NULL. Stolen. */
void sim_push(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action);
/** sim_push_fn - call @fn in @in_us; @payload is freed after it */
void sim_push_fn(struct sim *s, uint64_t in_us, size_t host, sim_fn fn, void *payload);
bool sim_chance(struct sim *s, int percent);
uint64_t sim_delay_us(struct sim *s);
void sim_violated(struct sim *s, const char *fmt, ...) _printf_(2, 3);
/** sim_host_index - of a name; SIM_HOSTS_MAX when there is none */
size_t sim_host_index(const struct sim *s, const char *name);
