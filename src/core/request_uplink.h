/* SPDX-License-Identifier: Apache-2.0
 * Requests about this host's uplink: what can be refused without looking at its cards. */
#pragma once

#include "core/core.h"

/**
 * request_uplink_fits - for init, join and uplink.set: may a host of @role have what @args ask for?
 * @role: NULL counts as one that runs virtual machines
 * Return: 0, also without "uplink"; -ERR_INVALID
 */
int request_uplink_fits(const json_t *args, const char *role, struct err *e);

/** request_uplink_set - Return: 0, -ERR_INVALID, -ERR_STATE */
int request_uplink_set(const struct core *c, const json_t *args, struct err *e);

/** request_uplink_end - for confirm and remove, which work without the store. Return: 0, -ERR_NO_CLUSTER */
int request_uplink_end(const struct core *c, struct err *e);
