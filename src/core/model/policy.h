/* SPDX-License-Identifier: Apache-2.0
 * What the user wants of a machine when its host or its QEMU falls: vm/NAME/spec.ha and .priority.
 *   restart  it is started again: elsewhere when its host was fenced, else where it was
 *   stay     it is started again, on its own host only: after a fence it waits for that host
 *   none     it stays down until the user starts it */
#pragma once

#include "base/json.h"

enum policy { POLICY_RESTART, POLICY_STAY, POLICY_NONE };

/** policy_of - of a spec; restart when it says nothing */
enum policy policy_of(const json_t *spec);
/** policy_name - "restart", "stay" or "none" */
const char *policy_name(enum policy policy);
/** policy_is_known - is @text one of these names? */
bool policy_is_known(const char *text);

/** priority_of - of a spec, the most important first: 0 high, 1 normal (when it says nothing), 2 low */
unsigned priority_of(const json_t *spec);
/** priority_name - "high", "normal" or "low"; @priority as priority_of() gives it */
const char *priority_name(unsigned priority);
/** priority_is_known - is @text one of these names? */
bool priority_is_known(const char *text);
