/* SPDX-License-Identifier: Apache-2.0
 * The three records of a virtual machine (facts/ha.md 3.5, 3.7):
 *   vm/NAME/spec  what the user wants, with desired = running | stopped
 *   vm/NAME/own   {owner, inc, epoch, mig}: who may run it. Every change is one CAS; the epoch
 *                 grows at every cold start and every change of owner (I1)
 *   vm/NAME/act   {state, host, epoch, …}: what the owner has done; starting(e) is the claim T5, resuming(e)
 *                 what T7 leaves the target to do: nothing was started under e, a copy waits there. fails
 *                 counts starts in a row that failed, crashes {count, message, host, when_ms} ends of
 *                 QEMU without VM_WELL_US of running in between; both outlive a change of owner */
#pragma once

#include "core/act.h"
#include "core/model/epoch.h"

/** vm_spec, vm_own, vm_act - the record or NULL. Borrowed. */
const json_t *vm_spec(const struct core *c, const char *name);
const json_t *vm_own(const struct core *c, const char *name);
const json_t *vm_act(const struct core *c, const char *name);

/**
 * vm_next_spec - the spec of the next start: @spec with its part "next", what 'vm set' changed while it
 * ran, taken in. New reference.
 */
json_t *vm_next_spec(const json_t *spec);
/**
 * vm_changed_spec - @spec with what @set has of "cpus", "memory_bytes", "ha" and "priority". What runs
 * has the processors and memory it was started with, so then (@is_running) these go into "next". New reference.
 */
json_t *vm_changed_spec(const json_t *spec, const json_t *set, bool is_running);
/** vm_next_u64 - a number of that spec; 0 when absent */
uint64_t vm_next_u64(const json_t *spec, const char *field);

/** vm_next - iterate over names: for (struct world_iter it = {0}; (n = vm_next(c, &it));) free n */
char *vm_next(const struct core *c, struct world_iter *it);

/**
 * vm_order - @name as a key by which maps sort machines: the most important first, then by name
 * Caller frees; VM_ORDER_NAME() of it is the name again.
 */
char *vm_order(const struct core *c, const char *name);
#define VM_ORDER_NAME(key) ((key) + 2)

/** vm_epoch - epoch in an own or act record or in a domain's metadata; 0 when absent */
uint64_t vm_epoch(const json_t *record);

/**
 * vm_next_epoch - the epoch for the next cold start, migration or change of owner
 * A migration takes its epoch for the target's copy when it begins (own.mig.epoch). When it is undone
 * that number stays used, so that a copy left behind is always older than what runs. After a restore of
 * the store it is the first of the new restore_gen, above whatever ran before.
 */
uint64_t vm_next_epoch(const struct core *c, const json_t *own);

/** vm_is_of_former_store - is @own's epoch of a store that was restored since? Nothing starts under it. */
bool vm_is_of_former_store(const struct core *c, const json_t *own);

/* State of act: its QEMU stands still with its owner, which resumes it as the copy of a migration, or ends it when it is of
 * an older epoch (after a restore). In both cases nobody else may start it. */
#define VM_RESUMING "resuming"

/** vm_mig_is_active - is a migration between T6 and T7/T8? */
bool vm_mig_is_active(const json_t *own);

/**
 * vm_is_switching_over - does a guest stand still in the midst of a migration from or to this host?
 * Whatever is committed or asked of this host meanwhile lengthens its blackout, so what can wait does.
 * True until a moment after it runs again, and for at most two seconds after it was stopped: nothing
 * waits for a switch-over that hangs.
 */
bool vm_is_switching_over(const struct core *c);
/**
 * vm_is_leaving - has it just been handed over to another host, so that libvirt ends what is left of it here?
 * False after two seconds at most: then it is ended like any other instance of an old epoch.
 */
bool vm_is_leaving(const struct core *c, const char *name);
/**
 * vm_list_may_wait - does a guest stand still so, and is no list of domains needed to let it run again?
 * A list keeps libvirtd and a processor from the switch-over for 10 ms and more.
 */
bool vm_list_may_wait(const struct core *c);

/* Published by a host: {vm: id of its last move to this host}, of those that were undone (T8) and of which nothing is here,
 * by a list that was asked for after this host had heard of T8. */
#define VM_UNDONE "undone"

#define VM_START_FAILS_MAX 3 /* in a row; then the user is told, and decides */
#define VM_CRASHES_MAX 8     /* the same, after pauses of 1, 2, 4 … 60 s (facts/ha.md 3.8) */
#define VM_WELL_US (600 * USEC_PER_SEC) /* of running make up for all crashes before */
/** vm_crashes - of an act record */
uint64_t vm_crashes(const json_t *act);
/** vm_has_failed_too_often - too many failed starts or crashes, by an act record */
bool vm_has_failed_too_often(const json_t *act);
/** vm_is_given_up - shall it run, and is it not started any more after so many failures? */
bool vm_is_given_up(const struct core *c, const char *name);

/* In a list of domains: {foreign[], unclear[]}, names of those that are not ours or may not be. */
#define DOMAINS_OTHERS "@others"

/** vm_domain - what libvirt on this host says of it, or NULL. Borrowed from c->seen. */
const json_t *vm_domain(const struct core *c, const char *name);

/** vm_put_spec, vm_put_own, vm_put_act - add to a commit; @value stolen */
void vm_put_spec(struct core *c, struct commit *t, const char *name, json_t *value);
void vm_put_own(struct core *c, struct commit *t, const char *name, json_t *value);
void vm_put_act(struct core *c, struct commit *t, const char *name, json_t *value);

/** vm_new_own - {owner, inc, epoch, mig: null} with the current incarnation of @host. New reference. */
json_t *vm_new_own(const struct core *c, const char *host, uint64_t epoch);
/** vm_new_act - {state, host, epoch} stamped with wall time. New reference. */
json_t *vm_new_act(const struct core *c, const char *state, uint64_t epoch);

/** vm_state - one word for people: stopped, starting, running, stopping, migrating, ioerror, lost, … */
const char *vm_state(const struct core *c, const char *name);

/**
 * vm_clean_args - args of the action "vm.clean": {name, spec, volume, bricks: [{host, mgmt, index,
 * brick}]} with the bricks of its pool that count, as start rule A2 wants it. New reference.
 */
json_t *vm_clean_args(const struct core *c, const char *name);
