/* SPDX-License-Identifier: Apache-2.0
 * All kinds of operations; each file op_*.c defines some. */
#pragma once

#include "core/op/op.h"

extern const struct op_kind op_init;         /* local: make a cluster with this host as its first */
extern const struct op_kind op_join;         /* local: make this host part of a cluster */
extern const struct op_kind op_leave;        /* local: take this host out again */
extern const struct op_kind op_uplink_set;     /* local: give this host an uplink, on trial */
extern const struct op_kind op_uplink_confirm; /* local: keep it */
extern const struct op_kind op_uplink_remove;  /* local: give the card back */
extern const struct op_kind op_pool_create;
extern const struct op_kind op_pool_remove;
extern const struct op_kind op_image_import;
extern const struct op_kind op_image_remove;
extern const struct op_kind op_image_export;
extern const struct op_kind op_vm_create;
extern const struct op_kind op_vm_start;
extern const struct op_kind op_vm_stop;
extern const struct op_kind op_vm_reset;
extern const struct op_kind op_vm_remove;
extern const struct op_kind op_vm_migrate;
extern const struct op_kind op_evacuate;
extern const struct op_kind op_pool_ha;
extern const struct op_kind op_drill;

/**
 * op_confirm_no_vm - phase, or part of one: the machine args.name is gone, as a commit has compared
 * What an agent that has just begun has read may be older than the machine (I7).
 */
enum op_verdict op_confirm_no_vm(struct op *o);
/**
 * op_ha_end - phase: failover of the pool args.name is off. It waits for hosts that failover has to let in again: after
 * a request that was not refused for it, one may have been fenced
 */
enum op_verdict op_ha_end(struct op *o);
/** op_ha_missing_on - what @host lacks of its part in failover, in words, or NULL */
const char *op_ha_missing_on(const struct core *c, const char *host, const json_t *node);
