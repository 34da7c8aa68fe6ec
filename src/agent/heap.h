/* SPDX-License-Identifier: Apache-2.0
 * What the agent's allocator keeps. Setting a host up, a move or a long list takes megabytes for a moment; between
 * them something small stays, and glibc returns by itself only what lies behind the last such piece. */
#pragma once

#include "base/util.h"

#define HEAP_GIVE_BACK_US (60 * USEC_PER_SEC)

/** heap_setup - once, before there are threads: one arena, since one for each would double the memory */
void heap_setup(void);
/** heap_give_back - return all whole pages that are free to the kernel; takes about a millisecond */
void heap_give_back(void);
