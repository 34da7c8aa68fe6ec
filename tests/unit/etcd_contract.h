/* SPDX-License-Identifier: Apache-2.0
 * What every implementation of the store must do; for the fake (unit) and etcd (integration). */
#pragma once

#include "adapters/etcd/store.h"

struct contract {
    struct store *(*open)(void *ctx, const char *writer);
    void *ctx;
};

/** contract_run - all checks, on a store that nothing else uses, as assertions of cmocka */
void contract_run(const struct contract *c);
/** contract_deadline - ten seconds from now */
uint64_t contract_deadline(void);
