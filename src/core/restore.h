/* SPDX-License-Identifier: Apache-2.0
 * After etcd was restored from a snapshot (facts/ha.md 2.7; docs/design/failover.md "A restored store"). What it says
 * of hosts and machines is of long ago: nothing is planned on it before every host has said what runs there, or has
 * been fenced anew. Record restore_gen {n, at_ms, hosts, settled} has the stage, restored/HOST what a host reports:
 *
 *     {n: N + 1}    by whoever restores, before any agent reads         agents begin anew, and report
 *     hosts: true   every host has reported, or is being fenced         fences are proven; bricks let hosts in
 *     settled: true each machine has its owner under the new number     all goes on as ever
 *
 * Each commit of this cluster compares restore_gen: who still has the store of before in mind commits nothing. */
#pragma once

#include "core/core.h"

struct commit;

enum restore_stage {
    RESTORE_NONE,  /* never restored, or all is known again */
    RESTORE_HOSTS, /* hosts have to report; what guards and filters do stays as it is */
    RESTORE_VMS,   /* hosts have their standing; fences go on; nobody acts on machines */
};

/** restore_gen - how often the store was restored */
uint64_t restore_gen(const struct core *c);
/** restore_stage - where the return of this cluster stands */
enum restore_stage restore_stage(const struct core *c);

/**
 * restore_supersedes - does @event, a list or watch of the store or an answer of it, tell of another store than the one
 * that this core has known? Then nothing that it remembers holds, and its agent has to begin anew
 */
bool restore_supersedes(const struct core *c, const json_t *event);
/** restore_is_former - is @event a list of a store that was restored since? */
bool restore_is_former(const struct core *c, const json_t *event);

/** restore_plan - what this host does in a stage that is not RESTORE_NONE; before ha_plan() */
void restore_plan(struct core *c);
/** restore_waits - what the cluster waits for, for people. New string, or NULL when it was not restored */
char *restore_waits(const struct core *c);
/** restore_refuse - may users change something now? Return: 0, or -ERR_STATE with what is waited for */
int restore_refuse(const struct core *c, struct err *e);
/**
 * restore_request_fence - in RESTORE_HOSTS: a user says that @host, which does not report, is dead. Adds that to @t
 * Return: 0, -ERR_NOT_FOUND or -ERR_STATE
 */
int restore_request_fence(struct core *c, const char *host, struct commit *t, struct err *e);

/* --- shared by its parts */

#define RESTORE_LOOK "ha/restored" /* seen here: {gen, inc, domains, cut}, what "restore.look" has found */

/** restore_report - what @host has reported of this store, or NULL. Borrowed */
const json_t *restore_report(const struct core *c, const char *host);
/** restore_plan_vms - give each machine its owner, then end the stage */
void restore_plan_vms(struct core *c);
/** restore_vms_wait - what that waits for, for people: a fence, or a machine that two hosts have. New string, or NULL */
char *restore_vms_wait(const struct core *c);
/** restore_stranger - what is to be done about a host that no record names and that runs a machine of the store's. New, or NULL */
char *restore_stranger(const struct core *c);
/** restore_is_my_turn - of those that have reported, in the order of names; safety does not rest on it. @what: a clock */
bool restore_is_my_turn(struct core *c, const char *what);
/** restore_is_listed - does @host say that QEMU of a machine that the store knows is there? Its name, borrowed, or NULL */
const char *restore_is_listed(const struct core *c, const char *host);
