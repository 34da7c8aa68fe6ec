/* SPDX-License-Identifier: Apache-2.0
 * Files of this host: identity in /etc/mortar, state in /var/lib/mortar. Nothing here is secret
 * except pki/ (modes 0600 and 0700). */
#pragma once

#include "base/json.h"

#define PATH_ETC "/etc/mortar"
#define PATH_PKI PATH_ETC "/pki"
#define PATH_HOST PATH_ETC "/host.json"
#define PATH_STATE "/var/lib/mortar"
#define PATH_TASK PATH_STATE "/local-task.json"
#define PATH_EPOCHS PATH_STATE "/epoch"
#define PATH_GEN PATH_STATE "/restore-gen.json" /* {n}: of epochs that begin here, at least (core/restore.h) */
#define PATH_RUN "/run/mortar"
#define PATH_SOCKET PATH_RUN "/agent.sock"
#define API_PORT 8843

/* Who this host is in its cluster; {host, cluster_uuid, mgmt, storage, role, endpoints[]}. */

/** config_load - Return: 0 with @ret = NULL when this host is in no cluster; -ERR_PARSE, -ERR_IO */
int config_load(json_t **ret, struct err *e);
/** config_save - durable. Return: 0 or -ERR_IO */
int config_save(const json_t *config, struct err *e);
/** config_remove - forget the cluster. Return: 0 or -ERR_IO */
int config_remove(struct err *e);

/** local_task_load - the saved init, join or leave; @ret = NULL when there is none */
int local_task_load(json_t **ret, struct err *e);
/** local_task_save - durable */
int local_task_save(const json_t *task, struct err *e);

/** json_file_load - any JSON file up to 1 MiB; @ret = NULL when it does not exist */
int json_file_load(const char *path, json_t **ret, struct err *e);
/** json_file_save - replace durably with mode @mode */
int json_file_save(const char *path, const json_t *j, unsigned mode, struct err *e);
