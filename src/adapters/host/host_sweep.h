/* SPDX-License-Identifier: Apache-2.0
 * Files that belong to things which are no more. */
#pragma once

#include <stdint.h>

#include "base/smap.h"

/**
 * host_sweep - delete files of @dir that nobody needs
 * @keep: whose files stay        @end: what follows the owner in a file's name; '\0' when it is the whole
 * @before_us: wall time; what was written later stays, since its owner may not be known here yet
 * Only regular files; a directory that is not there is empty.
 */
void host_sweep(const char *dir, const struct smap *keep, char end, uint64_t before_us);
