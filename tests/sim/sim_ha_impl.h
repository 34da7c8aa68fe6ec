/* SPDX-License-Identifier: Apache-2.0
 * What guards and bricks of the simulator share. */
#pragma once

#include "sim_ha.h"
#include "sim_impl.h"

/** ha_host - the failover half of a host */
static inline struct sim_ha_host *ha_host(const struct sim *s, size_t host)
{
    return &s->ha->hosts[host];
}

/** sim_ha_is_alive - it has power and does not hang */
static inline bool sim_ha_is_alive(const struct sim *s, size_t host)
{
    return !ha_host(s, host)->is_off && !ha_host(s, host)->is_hung;
}

/** sim_ha_is_linked - is there a way on @net? */
static inline bool sim_ha_is_linked(const struct sim *s, enum sim_net net, size_t a, size_t b)
{
    return a == b || !s->ha->cut[net][a][b];
}

/* --- sim_ha.c */

/** sim_ha_lets_in - the packet filter of @host on the storage network */
bool sim_ha_lets_in(const struct sim *s, size_t host, size_t other);

/** sim_ha_check_right - guests of @host execute: may they (I4)? */
void sim_ha_check_right(struct sim *s, size_t host);

/* --- sim_brick.c */

/** sim_brick_start - guests of @host begin to write */
void sim_brick_start(struct sim *s, size_t host);
void sim_brick_done(struct sim *s);
/** sim_brick_drain - "fence.drain". Return: NULL (@event gets the result), SIM_LATER, or the name of the error after a while */
const char *sim_brick_drain(struct sim *s, size_t host, const json_t *action, json_t *event);
/** sim_brick_end - "host.end_bricks". Return: NULL, or the error's name while a thread does not end */
const char *sim_brick_end(struct sim *s, size_t host);
/** sim_brick_end_stuck - "brick.end". Return: NULL (@event gets the result), SIM_LATER, or the error's name */
const char *sim_brick_end_stuck(struct sim *s, size_t host, const json_t *action, json_t *event);
/** sim_brick_start_ended - "gluster.start" */
void sim_brick_start_ended(struct sim *s, size_t host);
/** sim_brick_asked - what the core asks for; a "vm.clean" with the epoch it is asked under. New reference */
json_t *sim_brick_asked(const struct sim *s, size_t host, json_t *action);
/** sim_brick_launder - "vm.clean" and its second half. Return: NULL, the error's name, or SIM_LATER */
const char *sim_brick_launder(struct sim *s, size_t host, const json_t *action);
/** sim_brick_launder_by_all - every host in good standing rewrites what @lost has left (a mutant) */
void sim_brick_launder_by_all(struct sim *s, const char *lost);
