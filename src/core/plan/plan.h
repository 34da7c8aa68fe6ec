/* SPDX-License-Identifier: Apache-2.0
 * Level-triggered planners: each compares what is wanted with what is seen, and asks for the
 * actions that bring them together. They may be run at any time and any number of times. */
#pragma once

#include "core/core.h"

/** plan_observe - keep this host's observations fresh */
void plan_observe(struct core *c);
/** plan_libvirt - notice that libvirtd does not answer, and have it started anew */
void plan_libvirt(struct core *c);
/** plan_publish - commit changed observations to seen/HOST/… */
void plan_publish(struct core *c);
/** plan_host - node record, glusterd peers, etcd members, networks */
void plan_host(struct core *c);
/** plan_pools - bricks, mounts and option profile of this host */
void plan_pools(struct core *c);
/**
 * plan_port - the brick of pool @name on this host, when its glusterd has lost its port: it is started anew
 * when nobody needs it. Of plan_pools()
 */
void plan_port(struct core *c, const char *name, const json_t *pool);
#define PLAN_PORT_BRICKS 3 /* of fewer none can be missing for a moment */
/** plan_vms - virtual machines that this host owns, and those that it must no longer run */
void plan_vms(struct core *c);
/** plan_drill - listen to guests while a drill runs; on the host that it is for: strike */
void plan_drill(struct core *c);
/** plan_sweep - one host deletes old records: tasks after a day or beyond the newest 200, tokens */
void plan_sweep(struct core *c);
