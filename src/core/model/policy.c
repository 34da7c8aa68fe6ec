/* SPDX-License-Identifier: Apache-2.0 */
#include "core/model/policy.h"

#include <assert.h>

#include "base/str.h"

#define PRIORITY_NORMAL 1

static const char *const policies[] = {
    [POLICY_RESTART] = "restart", [POLICY_STAY] = "stay", [POLICY_NONE] = "none"};
static const char *const priorities[] = {"high", "normal", "low"};

static size_t index_of(const char *const *names, size_t n, const char *text)
{
    size_t i = 0;
    while (i < n && !str_eq(names[i], text)) {
        i++;
    }
    return i;
}

/* A newer version's word, read by an older one, must not keep a machine down. */
enum policy policy_of(const json_t *spec)
{
    size_t i = index_of(policies, ELEMENTS(policies), json_text_of(spec, "ha"));
    return i < ELEMENTS(policies) ? (enum policy)i : POLICY_RESTART;
}

const char *policy_name(enum policy policy)
{
    assert(policy < ELEMENTS(policies));
    return policies[policy];
}

bool policy_is_known(const char *text)
{
    return index_of(policies, ELEMENTS(policies), text) < ELEMENTS(policies);
}

unsigned priority_of(const json_t *spec)
{
    size_t i = index_of(priorities, ELEMENTS(priorities), json_text_of(spec, "priority"));
    return i < ELEMENTS(priorities) ? (unsigned)i : PRIORITY_NORMAL;
}

const char *priority_name(unsigned priority)
{
    assert(priority < ELEMENTS(priorities));
    return priorities[priority];
}

bool priority_is_known(const char *text)
{
    return index_of(priorities, ELEMENTS(priorities), text) < ELEMENTS(priorities);
}
