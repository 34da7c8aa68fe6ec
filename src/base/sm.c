/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sm.h"

#include <assert.h>

#include "base/str.h"

bool sm_may(const struct sm_state *table, int count, int from, int to)
{
    assert(count > 0 && count <= 32);
    assert(from >= 0 && from < count && to >= 0 && to < count);
    return table[from].next >> to & 1;
}

int sm_by_name(const struct sm_state *table, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (str_eq(table[i].name, name)) {
            return i;
        }
    }
    return -1;
}
