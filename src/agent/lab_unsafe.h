/* SPDX-License-Identifier: Apache-2.0
 * Parts of failover that a lab can switch off on one host, so that a test shows what each protects. Never for a
 * machine with data that anybody wants; there is no option, only a file that nothing of ours writes, and
 * `mortar status` has an alarm while it is there (host.lab_unsafe). Outside a container it does nothing at all. */
#pragma once

#include <stdbool.h>

#include "base/json.h"

#define LAB_UNSAFE_FILE "/etc/mortar/lab-unsafe" /* words, by spaces or lines */

/**
 * lab_unsafe_has - is a part switched off on this host, just now?
 * @part: "fence": neither filter nor sockets nor drain, all said to be done; "drain": the drain alone is said to be
 *        done; "promise": a denial counts as over at once; "launder": the start rule is said to be kept
 */
bool lab_unsafe_has(const char *part);
/** lab_unsafe_parts - all words of the file, or NULL when there is none. New reference. */
json_t *lab_unsafe_parts(void);
/**
 * lab_unsafe_guard - what the guard said, with every denial over when "promise" is switched off
 * @status: taken        Return: what to believe instead; new reference
 */
json_t *lab_unsafe_guard(json_t *status);
