/* SPDX-License-Identifier: Apache-2.0
 * What the handlers of virtual machines share. */
#pragma once

#include <stdbool.h>

#include "adapters/virt/domxml_format.h"
#include "agent/env.h"
#include "base/json.h"

/** act_vm_fill_meta - who may run an instance. @uuid, @owner: copied, cut at the field's size */
void act_vm_fill_meta(struct dom_meta *m, const char *uuid, const char *owner, uint64_t inc,
                      uint64_t epoch);
/** act_vm_epoch_of - the epoch in a domain's metadata as the one number that records hold */
uint64_t act_vm_epoch_of(const struct dom_meta *m);
/**
 * act_vm_keep_gen - durably: from now on no machine is started here under an epoch of an earlier store than the @gen-th
 * Return: 0, -ERR_IO or -ERR_PARSE
 */
int act_vm_keep_gen(uint64_t gen, struct err *e);
/** act_vm_read_gen - which store that was, by this host's disk; 0: none was restored. Return: 0, -ERR_IO or -ERR_PARSE */
int act_vm_read_gen(uint64_t *ret, struct err *e);
/**
 * act_vm_check_files - are the files of @spec's first disk its own? After a restore another machine may have its name, and so
 * its directory, whose file "uuid" says whose it is. The mount may hang: a child looks, for 10 s at most
 * Return: 0, also without that file and where the store was never restored; -ERR_FOREIGN; -ERR_TIMEOUT, -ERR_COMMAND
 */
int act_vm_check_files(const json_t *spec, struct err *e);
/** act_vm_end_by_libvirt - end the instance of args "name" and "epoch". For as long as a mute libvirtd is mute. Return: 0
 * also when there was none, -ERR_STATE when another one is there, -ERR_VIRT, -ERR_TIMEOUT */
int act_vm_end_by_libvirt(const struct env *env, const json_t *args, struct err *e);
/** act_migrate_hush - a guest was suspended: for half a second nobody asks libvirt how its copy gets on. Any thread */
void act_migrate_hush(void);
/** act_guard_froze - do the guests that failover covers stand still on this host, by order? */
bool act_guard_froze(void);
