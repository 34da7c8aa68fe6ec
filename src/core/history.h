/* SPDX-License-Identifier: Apache-2.0
 * What this host learns of the past, as facts: small objects that the agent appends to a file
 * (agent/history.c), so that 'mortar vm why' and a drill can tell later what happened, also after a
 * restart of the agent. Nothing is decided on them. core/why.c joins those of several hosts.
 *
 * A fact is {"at": ms of this host's wall clock, "k": kind, …}. Those that come from records also have
 * "rev", the revision of the change: all hosts that saw it tell the same one. */
#pragma once

#include "core/core.h"

#define HISTORY_STEP_MAX 200 /* facts of one step; a cluster's whole list is not one event */

/** history_record - a record has changed; @old and @value are NULL when it was not there, or is no more */
void history_record(struct core *c, const char *key, const json_t *old, const json_t *value,
                    uint64_t revision);
/** history_list - a full list of the store comes: what has changed since the records that are held */
void history_list(struct core *c, const json_t *rows);
/** history_guard - the guard says @now, before it said @old; NULL or JSON null: it did not answer */
void history_guard(struct core *c, const json_t *old, const json_t *now);
/** history_done - the action @id has ended as @a says */
void history_done(struct core *c, const char *id, const struct attempt *a);
/** history_domain - libvirt told of one of our domains */
void history_domain(struct core *c, const json_t *event);
/** history_store - the store does not answer any more, or does again */
void history_store(struct core *c, bool is_lost);
/** history_start - this agent has started */
void history_start(struct core *c);
/**
 * history_wait - the machine @vm is not started, because of @why; NULL: nothing is in the way any more
 * May be said in each step: a reason is told once, another one a minute later at the earliest, since some count bytes.
 */
void history_wait(struct core *c, const char *vm, const char *why);
