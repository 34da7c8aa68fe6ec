/* SPDX-License-Identifier: Apache-2.0
 * The two halves of a change, for handlers that do something before, between or after. */
#pragma once

#include "cli/cli.h"

/** change_send - send the arguments' values. @ret: the reply. Errors as client_change() */
int change_send(struct cli *c, const struct verb *v, const struct args *a, json_t **ret,
                struct err *e);

/**
 * change_finish - follow the task that @reply names, if it does, as the global options want
 * @ret_end: the task's end, or @reply when there is no task; NULL when it was not awaited or not
 *           successful. One reference owned by the caller.
 * Return: 0, or the error of the task or of the connection
 */
int change_finish(struct cli *c, const json_t *reply, json_t **ret_end, struct err *e);
