/* SPDX-License-Identifier: Apache-2.0
 * The handlers of the verb table: generic ones that the table drives, and those that do more. */
#pragma once

#include "cli/verb.h"

struct sbuf;

/* Each: int f(cli, verb, arguments, err); prints the result; returns 0 or -ERR_X (verb_fn). */

/** run_list - GET, shown as a table; --quiet prints the names alone */
int run_list(struct cli *c, const struct verb *v, struct args *a, struct err *e);
/** run_show - GET one object */
int run_show(struct cli *c, const struct verb *v, struct args *a, struct err *e);
/** run_add_done - what the verb says when it has ended well, and what comes next */
void run_add_done(const struct verb *v, const struct args *a, struct sbuf *out);
/** run_change - send the arguments' values and follow the task that this makes */
int run_change(struct cli *c, const struct verb *v, struct args *a, struct err *e);

/* Each does what the help of its verb in verbs.c says. */
int run_check(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_token_create(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_status(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_store(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_host_fence(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_pool_create(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_image_import(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_vm_create(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_vm_set(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_vm_migrate(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_drill(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_vm_why(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_vm_console(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_task_wait(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_task_cancel(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_events(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_version(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_help(struct cli *c, const struct verb *v, struct args *a, struct err *e);
int run_completion(struct cli *c, const struct verb *v, struct args *a, struct err *e);
