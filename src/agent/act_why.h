/* SPDX-License-Identifier: Apache-2.0
 * The facts of all hosts, gathered through their mortar-api. */
#pragma once

#include "agent/env.h"

/**
 * why_gather - ask each of @hosts for its part, one after the other, within a deadline for all
 * @hosts: as in why_question()        @vm: NULL: facts of all machines
 * Return: parts as why_join() takes them; who does not answer in time is named there. New reference.
 */
json_t *why_gather(const json_t *hosts, const char *vm, uint64_t since_ms);
