/* SPDX-License-Identifier: Apache-2.0
 * What a user asks of failover: "pool.ha" {name, on, profile}, "host.admit" and "host.fence" {name}. */
#pragma once

#include "core/act.h"

/**
 * ha_request_admit - may @host, which the flapping guard holds back, be let in again? Adds that to @t
 * Return: 0, -ERR_NOT_FOUND or -ERR_STATE
 */
int ha_request_admit(struct core *c, const char *host, struct commit *t, struct err *e);

/**
 * ha_request_fence - may @host be declared dead (T1)? Adds that to @t. What follows is the fence of a silent host
 * Return: 0, -ERR_NOT_FOUND or -ERR_STATE with the reason
 */
int ha_request_fence(struct core *c, const char *host, struct commit *t, struct err *e);

/**
 * ha_request_off - may failover of @pool be switched off, or the pool be removed? Not while a host is out
 * Return: 0, or -ERR_STATE with the host and what to do
 */
int ha_request_off(struct core *c, const char *pool, struct err *e);

/**
 * ha_request_leave - may this host leave the cluster? Not while a host is out, on its way back or drains after a boot;
 * one that is leaving already goes on
 * Return: 0, or -ERR_STATE with the host and what to do
 */
int ha_request_leave(struct core *c, struct err *e);

/**
 * ha_request_pool - may failover of this pool be switched so?
 * @t: gets the compares that the answer rests on
 * Return: 0, -ERR_NOT_FOUND, -ERR_BUSY, -ERR_STATE, -ERR_INVALID, or -ERR_POOL_POLICY with the reason
 */
int ha_request_pool(struct core *c, const json_t *args, struct commit *t, struct err *e);
