/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/heap.h"

#include <malloc.h>

void heap_setup(void)
{
    (void)mallopt(M_ARENA_MAX, 1); /* else it stays as it is, which works too */
}

void heap_give_back(void)
{
    (void)malloc_trim(0); /* that there was nothing to return is no failure */
}
