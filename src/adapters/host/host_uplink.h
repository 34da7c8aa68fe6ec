/* SPDX-License-Identifier: Apache-2.0
 * The uplink of this host: a network card under the bridge of the cluster network, on trial until
 * it is confirmed. What is moved comes back
 * - by a timer of systemd, which does not depend on the agent ('mortard --uplink return');
 * - at a reboot, since the trial is a file in /run and addresses live in the kernel;
 * - by 'mortar uplink rm', 'mortar leave' and the removal of the package.
 * A confirmed one is a file in /var/lib/mortar; mortar-uplink.service applies it at boot before the
 * daemons that need the network, the agent each minute.
 *
 * All functions take one lock between processes, so that the tunnel is never added while the card
 * comes in (docs/adr/0007). @root: "" for this host, a directory for tests' files. */
#pragma once

#include "adapters/host/uplink_plan.h"

#define UPLINK_OPTION "--uplink" /* of mortard, with one of: */
#define UPLINK_RETURN "return"
#define UPLINK_RESTORE "restore"
#define UPLINK_DROP "drop"
#define UPLINK_CONFIRM_S 60

/** net_lock - held until the file is closed; children do not inherit it. Return: 0 or -ERR_IO */
int net_lock(const char *root, int *ret_fd, struct err *e);

/** uplink_preflight - may this card be it? Changes nothing. Return: as uplink_check() */
int uplink_preflight(const struct uplink_wish *w, struct err *e);

/**
 * uplink_take - put the card under the bridge; on trial when anything hung on it, else for good
 * @confirm_s: until it is undone        @ret: the record with "state" trial or kept
 * Return: 0, also when it is so already; as uplink_check(); -ERR_COMMAND: all is as it was
 */
int uplink_take(const char *root, const struct uplink_wish *w, unsigned confirm_s, json_t **ret,
                struct err *e);
/** uplink_keep - end the trial well. Return: 0, also without trial when one is kept; -ERR_STATE */
int uplink_keep(const char *root, struct err *e);
/** uplink_return - end the trial badly: all back. Return: 0, also when there is none */
int uplink_return(const char *root, struct err *e);
/** uplink_drop - give the card back, whatever its state. Return: 0, also when there is none */
int uplink_drop(const char *root, struct err *e);
/** uplink_restore - what is kept is so; for boot. Return: 0, also when there is none */
int uplink_restore(const char *root, struct err *e);

/** uplink_ensure - with net_lock() held: what is kept or on trial is so
 * @ret: its record, or NULL when this host has none; one reference owned by the caller */
int uplink_ensure(const char *root, json_t **ret, bool *ret_changed, struct err *e);

/** uplink_exists - is there anything that uplink_observe() would tell? */
bool uplink_exists(const char *root);
/** uplink_observe - {nic, bridge, state, attached, until_ms?, why?} or {}; state is trial, kept or
 * returned. Reads files only. */
int uplink_observe(const char *root, json_t **ret, struct err *e);

/** uplink_move, uplink_move_back - the I/O of uplink_plan_move() and _back(), without record files */
int uplink_move(const json_t *record, bool *ret_changed, struct err *e);
int uplink_move_back(const json_t *record, struct err *e);
