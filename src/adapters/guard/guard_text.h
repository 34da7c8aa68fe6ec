/* SPDX-License-Identifier: Apache-2.0
 * The texts between the agent and mortar-guard (docs/design/failover.md). Pure. */
#pragma once

#include "base/json.h"

#define GUARD_STATUS_LIMIT_BYTES (64 * KIB)

/**
 * format_guard_config - the configuration, as the file and the command "config" hold it
 * @config: {self, inc, enforce, times: [5 numbers], hosts: [{name, fencer, addrs[]}], denies: {host: inc}}
 * @generation: shown in the guard's status        @slice: path of the cgroup that it may freeze
 * Return: never NULL; caller frees
 */
char *format_guard_config(const json_t *config, uint64_t generation, const char *slice);

/**
 * guard_config_inc - the incarnation under which this host's guard may hold promises, by its configuration
 * Return: 0 when it was told to deny that one: this host is out, or has not come back
 */
uint64_t guard_config_inc(const char *text);

/**
 * parse_guard_status - a status datagram without what changes all the time, so that equal ones are equal
 * @ret: {instance, generation, enforce, run_right, frozen, watchdog, would_fire, peers: {host: {silent, held,
 *       denied_inc, denial_over}}}; new reference, set on success. held: there is a promise of it
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int parse_guard_status(const char *text, size_t len, json_t **ret, struct err *e);
