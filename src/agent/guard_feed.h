/* SPDX-License-Identifier: Apache-2.0
 * What this host's guard says, as "guard" events for the core: one whenever it says something new. */
#pragma once

#include "base/err.h"

struct mailbox;
struct guard_feed;

/** guard_feed_new - follow the guard, also one that starts later or again. Return: 0 or -ERR_LIMIT */
int guard_feed_new(struct mailbox *m, struct guard_feed **ret, struct err *e);
void guard_feed_free(struct guard_feed *f);
