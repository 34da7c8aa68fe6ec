/* SPDX-License-Identifier: Apache-2.0
 * The cut on this host: packet filter, then sockets. Blocking, some tens of milliseconds; what it
 * runs is nft and ss, and it touches no disk but by fence_table_boot(). */
#pragma once

#include "adapters/fence/fence_table_format.h"

#define FENCE_BOOT_FILE "/var/lib/mortar/fence/boot.nft" /* mortar-fence.service names it, too */

/**
 * fence_table_apply - make the kernel's table equal to @t and read it back; equal already: no change
 * @ret_changed: may be NULL
 * Return: 0; -ERR_INVALID or -ERR_LIMIT for a bad @t, and nothing happened; -ERR_COMMAND,
 *         -ERR_TIMEOUT; -ERR_STATE when what was read back differs
 */
int fence_table_apply(const struct fence_table *t, bool *ret_changed, struct err *e);

/** fence_table_check - is the kernel's table equal to @t? Return: 0, -ERR_STATE naming a difference, … */
int fence_table_check(const struct fence_table *t, struct err *e);

/** fence_table_remove - no table any more (the host leaves, or HA is off). Absent: success. */
int fence_table_remove(struct err *e);

/**
 * fence_table_boot - write the closed form of @t, durably, for the next boot
 * @path: FENCE_BOOT_FILE; its directory is made when absent
 * @t: its open addresses are left out: a host boots closed. NULL removes the file: it boots without
 * Return: 0, -ERR_IO; -ERR_INVALID or -ERR_LIMIT for a bad @t
 */
int fence_table_boot(const char *path, const struct fence_table *t, struct err *e);

struct fence_cut_seen {
    uint64_t filtered_us; /* from the call until the filter was in the kernel */
    uint64_t took_us;     /* the whole call */
    unsigned rounds;      /* of destroying and listing */
    bool changed;         /* the table was not as it was to be before: others may have come through, too */
};

/**
 * fence_cut - cut a host off: its addresses leave the open ones, its sockets are destroyed until
 * none is left, the filter is read back. Call it again after a failure; done already: the same proof.
 * @t: the whole table; @addrs are taken out of its open ones, also when the call fails
 * @addrs: of the host; they must be among the cluster's and not be our own
 * @deadline_us: CLOCK_BOOTTIME        @ret: may be NULL; set on success
 * Return: 0; -ERR_INVALID; -ERR_TIMEOUT when sockets were left at the deadline, naming one;
 *         -ERR_COMMAND, -ERR_STATE
 */
int fence_cut(struct fence_table *t, const struct strv *addrs, uint64_t deadline_us,
              struct fence_cut_seen *ret, struct err *e);

/**
 * fence_open - let a host in: @addrs join the open ones of @t, and the table is applied
 * Return: as fence_table_apply(); -ERR_INVALID also when they are not the cluster's
 */
int fence_open(struct fence_table *t, const struct strv *addrs, struct err *e);
