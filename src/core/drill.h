/* SPDX-License-Identifier: Apache-2.0
 * Drills: a failover that a user asks for, to see that it works and how long it takes. Record drill/ID
 * {id, host, inc, kind, seconds, vms, stay, by, state, started_ms, strike_ms, instance, why, report}:
 *
 *     listening → armed → struck → done        made by the task (op_drill.c), but for "struck", by the host itself
 *               ↘ refused ↙
 *
 * The host that is struck does so itself, only in the life of its agent that made the record "struck", so
 * that no restart and no second reading of a record strikes again. All times of a report are wall clock
 * times, hosts' clocks are taken to agree. */
#pragma once

#include "core/act.h"

#define DRILLS_KEPT 10
#define DRILL_LISTEN "drill/listen" /* id of the action that hears the demo guests of this host */
#define DRILL_STRIKE_US (10 * USEC_PER_SEC) /* the strike is asked for; what has not begun by then is not done */
#define DRILL_LATE_MS 30000         /* a host that hears of its drill later does not strike any more */

/**
 * drill_plan - may there be a drill, and what would it do?
 * @host: NULL: the other host with most machines that failover covers        @kind: NULL: power
 * @task: id of the drill that asks, which is not in its own way, or NULL
 * @ret: {host, inc, kind, seconds, vms: [{vm, channel}], stay: [{vm, host, channel}], text, wait};
 * wait, in words, only when a brick has listed files for heal at its last look, but not for long: as it is with files
 * that are written to. Nothing is struck before later looks have told whether they stay. New reference
 * Return: 0, -ERR_INVALID, -ERR_NOT_FOUND, -ERR_BUSY, -ERR_NO_ROOM or -ERR_STATE with reason and next step
 */
int drill_plan(const struct core *c, const char *host, const char *kind, const char *task, json_t **ret,
               struct err *e);

/** drill_active - record of the drill under way, while its task runs, or NULL. Borrowed. */
const json_t *drill_active(const struct core *c);

/** drill_guard - compare that no host has fallen out, and none fallen silent to a fencer, since drill_plan() looked */
void drill_guard(struct core *c, struct commit *t);

/** drill_heard - @result of DRILL_LISTEN: added to what this host publishes as "beats" */
void drill_heard(struct core *c, const json_t *result);

/** drill_list - {items: [record of an ended drill, …]}, the newest first. New reference. */
json_t *drill_list(const struct core *c);

/**
 * drill_report - what a drill has shown
 * @drill: its record        @beats: {host: {vm: {first_ms, last_ms, wrote_last_ms, stall_ms}}}: what hosts heard of demo guests
 * @parts: of why_gather(), facts since the strike
 * Return: {host, kind, strike_ms, silent_ms, detected_ms, fenced_ms, back_ms, vms: [{vm, from, to, epoch, owner_ms,
 * qemu_ms, running_ms, guest_ms, guest_by}], stay: [{vm, host, stall_ms}], missing: [text]}: milliseconds since the
 * strike, null where nobody saw it. New reference.
 */
json_t *drill_report(const json_t *drill, const json_t *beats, const json_t *parts);
