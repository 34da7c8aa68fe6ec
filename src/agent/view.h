/* SPDX-License-Identifier: Apache-2.0
 * What the API shows: JSON made from the core's world. Pure; stable fields, documented in
 * mortar(1). All return a new reference, NULL when there is no such object. */
#pragma once

#include "core/core.h"

/** view_status - the one page: cluster, hosts, pools, vms, networks, alarms */
json_t *view_status(const struct core *c);
/** view_host, view_pool, view_image, view_vm, view_network, view_task - one object by name (tasks: id) */
json_t *view_host(const struct core *c, const char *name);
json_t *view_pool(const struct core *c, const char *name);
json_t *view_image(const struct core *c, const char *name);
json_t *view_vm(const struct core *c, const char *name);
json_t *view_network(const struct core *c, const char *name);
json_t *view_task(const struct core *c, const char *id);

/** view_hosts, view_pools, view_images, view_vms, view_networks, view_tasks - {"items": [...]} of all */
json_t *view_hosts(const struct core *c);
json_t *view_pools(const struct core *c);
json_t *view_images(const struct core *c);
json_t *view_vms(const struct core *c);
json_t *view_networks(const struct core *c);
json_t *view_tasks(const struct core *c);

/** view_gen - a number that changes whenever the view does; for long polls. Positive. */
uint64_t view_gen(const json_t *view);
