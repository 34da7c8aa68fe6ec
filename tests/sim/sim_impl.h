/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the simulator share. */
#pragma once

#include "sim.h"

#define SIM_LATER "" /* the answer comes by another action */
#define SIM_PAYLOAD_MAX 240

/* Something that happens by itself, whether the host lives or not. @payload: until it returns. */
typedef void (*sim_fn)(struct sim *s, size_t host, void *payload);

struct sim_event {
    struct sim_event *next_spare;
    uint64_t at_us;
    size_t host;
    unsigned life;
    unsigned boot;
    bool is_late;   /* of a dead agent, held up once */
    json_t *event;  /* for the core, or NULL */
    json_t *action; /* to be executed now, or NULL */
    sim_fn fn;      /* what happens by itself, or NULL */
    _Alignas(uint64_t) unsigned char payload[SIM_PAYLOAD_MAX];
};

/* --- sim_queue.c */

/** sim_queue_new - an event to be filled and added; all zero but its payload */
struct sim_event *sim_queue_new(struct sim_queue *q);
/** sim_queue_add - it will be taken at n->at_us. sim_queue_take() takes the next one; NULL: none */
void sim_queue_add(struct sim_queue *q, struct sim_event *n);
struct sim_event *sim_queue_take(struct sim_queue *q);
/** sim_queue_drop - the end of an event that was taken, and of what it refers to */
void sim_queue_drop(struct sim_queue *q, struct sim_event *n);
void sim_queue_done(struct sim_queue *q);

/* --- sim.c */

/** sim_push - @event for @host's core, or @action to be executed there; both may be NULL. Stolen. */
void sim_push(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action);
/** sim_push_of - the same for the agent of that @life, which may have died since */
void sim_push_of(struct sim *s, uint64_t in_us, size_t host, json_t *event, json_t *action, unsigned life);
/** sim_push_fn - call @fn in @in_us with a copy of @payload, @size bytes of it; may be NULL, 0 */
void sim_push_fn(struct sim *s, uint64_t in_us, size_t host, sim_fn fn, const void *payload,
                 size_t size);
bool sim_chance(struct sim *s, int percent);
uint64_t sim_delay_us(struct sim *s);
void sim_violated(struct sim *s, const char *fmt, ...) _printf_(2, 3);
/** sim_host_index - of a name; SIM_HOSTS_MAX when there is none */
size_t sim_host_index(const struct sim *s, const char *name);

/* --- sim_store.c */

/** sim_store_set - a record at the present revision. @value: referenced */
void sim_store_set(struct sim *s, const char *key, json_t *value);
/** sim_store_init - empty, at revision 1. sim_store_done() ends it */
void sim_store_init(struct sim *s);
void sim_store_done(struct sim *s);
/**
 * sim_store_commit - one transaction of @host
 * @event: the "done" event; gets what was written, or met
 * Return: NULL, or the error's name; then it may have happened all the same
 */
const char *sim_store_commit(struct sim *s, size_t host, const json_t *args, json_t *event);
/** sim_store_is_open - was it restored, and is not known yet what runs where? */
bool sim_store_is_open(const struct sim *s);
/** sim_store_list - a "list" event, now and then an old one; one reference owned by the caller */
json_t *sim_store_list(struct sim *s);

/* --- sim_check.c */

/** sim_check_commit - @host's agent has @puts committed: nothing of it is in the store yet */
void sim_check_commit(struct sim *s, size_t host, const json_t *puts);
/** sim_check_birth - QEMU of @vm, which is @d, begins on @host by a cold start */
void sim_check_birth(struct sim *s, size_t host, const char *vm, const struct sim_domain *d);
/** sim_check_guests - @host's agent, which reaches the store, has had a second to look */
void sim_check_guests(struct sim *s, size_t host);
/** sim_check_is_out - is @host fencing or fenced, by its record? */
bool sim_check_is_out(const struct sim *s, size_t host);
/** sim_check_is_tidy - is each QEMU its host's own (I6)? */
bool sim_check_is_tidy(const struct sim *s);
/** sim_brick_is_any_laundering - is a rewriting by @host on its way, of whichever machine? */
bool sim_brick_is_any_laundering(const struct sim *s, size_t host);
/** sim_brick_is_laundered - has @host rewritten the machine's pieces under @epoch, with nothing on its way? */
bool sim_brick_is_laundered(const struct sim *s, size_t host, const char *uuid, uint64_t epoch);
/** sim_brick_is_left_out - does what reaches @host's brick not count, since its host is out or on its way back? */
bool sim_brick_is_left_out(const struct sim *s, size_t host);
/** sim_brick_holds - requests that @host's brick has not done, or a thread that is within one */
bool sim_brick_holds(const struct sim *s, size_t host);

/* --- sim_vm.c */

/** sim_vm_index - of a machine's name, which gets one when it has none */
size_t sim_vm_index(struct sim *s, const char *name);
/** sim_vm_find - like it, but SIM_VMS_MAX for a name that was never heard */
size_t sim_vm_find(const struct sim *s, const char *name);
/** sim_vm_action - "vm.…" and "sim.end_copy". Return: NULL, the error's name, or SIM_LATER */
const char *sim_vm_action(struct sim *s, size_t host, const json_t *action);
/** sim_vm_look - "restore.look": from now on no start of before is done; what there is. New reference */
json_t *sim_vm_look(struct sim *s, size_t host, const json_t *args);
/** sim_vm_list - what "observe.domains" gives; one reference owned by the caller */
json_t *sim_vm_list(struct sim *s, size_t host);
