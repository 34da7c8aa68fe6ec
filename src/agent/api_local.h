/* SPDX-License-Identifier: Apache-2.0
 * Routes that need more than the core: secrets, files, streams. */
#pragma once

#include "agent/agent.h"

/** api_change - make a request of @verb and answer when its commit has ended
 * @args: stolen        @admit: stolen; not NULL: the answer is api_reply_admitted()'s */
void api_change(struct agent *a, struct httpd_req *req, const char *verb, json_t *args,
                json_t *admit);

/** api_version - {"version", "host"} */
void api_version(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_check - the preflight, on a worker; answers when it has ended */
void api_check(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_token - make a join token; its secret exists only in the answer */
void api_token(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_join - from root: join a cluster; from mortar-api: another host asks to be let in */
void api_join(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_reply_admitted - sign the newcomer's certificate and tell it of the cluster */
void api_reply_admitted(struct agent *a, struct httpd_req *req, const json_t *admit);
/** api_console - the serial console as a raw stream */
void api_console(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_store_save, _restore - the store's snapshot: {path}; api_store_clear - this host's part of it is put aside */
void api_store_save(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
void api_store_restore(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
void api_store_clear(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_guard_key - the key of the guards' messages, for hosts of the cluster and root */
void api_guard_key(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_history - this host's facts, for 'vm why' of another host: ?since_ms=N[&vm=NAME] */
void api_history(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_why - what happened to machine @name, as all hosts tell it: ?since_s=N */
void api_why(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_drill_plan - what a drill would do: ?kind=K[&host=H] */
void api_drill_plan(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
/** api_index - what this host's brick of pool @name lists as dirty or blamed (start rule A2) */
void api_index(struct agent *a, struct httpd_req *req, const char *name, json_t *body);
