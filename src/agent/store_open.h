/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "adapters/etcd/store.h"
#include "base/json.h"

/**
 * store_open_for - a handle to the cluster's store with this host's certificate
 * @config: host.json        @writer: writer id, unique among all living handles
 */
int store_open_for(const json_t *config, const char *writer, struct store **ret, struct err *e);
