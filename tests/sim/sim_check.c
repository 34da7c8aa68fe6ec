/* SPDX-License-Identifier: Apache-2.0
 * Invariants of facts/ha.md 3.5 that are looked at when something is done, not after every event: what a
 * commit says is compared with the store as it was before, and with what is really there on the hosts.
 * docs/design/failover.md says which invariant is checked where. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim_impl.h"

/* One change of a machine's ownership record. */
struct change {
    char vm[64];
    const json_t *old; /* NULL: it has just been made */
    const json_t *next;
    size_t by; /* host of the agent that commits it */
};

static uint64_t epoch_in(const json_t *record)
{
    return json_u64_of(record, "epoch", 0);
}

/* I1: every cold start and every owner has an epoch of its own, and epochs grow. */
static void check_epoch(struct sim *s, const struct change *c)
{
    uint64_t was = epoch_in(c->old);
    uint64_t is = epoch_in(c->next);
    bool is_other = !str_eq(json_text_of(c->old, "owner"), json_text_of(c->next, "owner")) ||
                    json_u64_of(c->old, "inc", 0) != json_u64_of(c->next, "inc", 0);
    if (is < was) {
        sim_violated(s, "I1: the epoch of '%s' falls from %llu to %llu", c->vm, (unsigned long long)was,
                     (unsigned long long)is);
    } else if (is_other && is == was) {
        sim_violated(s, "I1: '%s' goes from %s to %s under the same epoch %llu", c->vm, json_text_of(c->old, "owner"),
                     json_text_of(c->next, "owner"), (unsigned long long)is);
    }
}

static void check_own(struct sim *s, size_t by, const char *key, const json_t *next)
{
    struct change c = {.old = sim_get(s, key), .next = next, .by = by};
    const char *name = key + strlen(KEY_VM);
    (void)snprintf(c.vm, sizeof(c.vm), "%.*s", (int)strcspn(name, "/"), name);
    if (c.old) {
        check_epoch(s, &c);
    }
}

/* I1: the right to start is given once for each epoch, to its owner. */
static void check_claim(struct sim *s, const char *key, const json_t *next)
{
    const json_t *old = sim_get(s, key);
    char own_key[96];
    const char *name = key + strlen(KEY_VM);
    int n = (int)strcspn(name, "/");
    (void)snprintf(own_key, sizeof(own_key), KEY_VM "%.*s/own", n, name);
    const json_t *own = sim_get(s, own_key);
    if (!str_eq(json_text_of(next, "state"), "starting")) {
        return;
    }
    if (epoch_in(own) != epoch_in(next) || !str_eq(json_text_of(own, "owner"), json_text_of(next, "host"))) {
        sim_violated(s, "I1: %s claims '%.*s' under epoch %llu, which is not its own", json_text_of(next, "host"), n, name,
                     (unsigned long long)epoch_in(next));
    } else if (epoch_in(old) == epoch_in(next) && !str_eq(json_text_of(old, "state"), "stopped")) {
        sim_violated(s, "I1: '%.*s' is claimed under epoch %llu after it was %s", n, name,
                     (unsigned long long)epoch_in(next), json_text_of(old, "state"));
    }
}

void sim_check_commit(struct sim *s, size_t host, const json_t *puts)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)puts, key, value) {
        if (str_starts(key, KEY_VM) && str_ends(key, "/own")) {
            check_own(s, host, key, value);
        } else if (str_starts(key, KEY_VM) && str_ends(key, "/act")) {
            check_claim(s, key, value);
        }
    }
}
