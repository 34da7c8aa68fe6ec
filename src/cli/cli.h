/* SPDX-License-Identifier: Apache-2.0
 * What a handler works with: the client, how to print, and how to follow a task. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "cli/args.h"
#include "cli/client.h"

struct cli {
    struct globals globals;
    struct client *client;
    bool color;         /* on standard output */
    bool progress_line; /* standard error is a terminal: redraw one line */
};

/** cli_run - the whole command: parse, run, print the error. Return: its exit code */
int cli_run(int argc, char **argv);

/** cli_print - write @out to standard output and empty it. Return: 0 or -ERR_IO */
int cli_print(struct sbuf *out, struct err *e);
/** cli_print_json - an API object, indented, fields in the agent's order. Return: 0 or -ERR_IO */
int cli_print_json(const json_t *j, struct err *e);

/** cli_get - GET with the usual time limit; @ret as in client_call() */
int cli_get(struct cli *c, const char *path, json_t **ret, struct err *e);

/** cli_path - @v->path with the first argument in its hole. Caller frees. */
char *cli_path(const struct verb *v, const struct args *a);

/**
 * follow_task - wait for the end of a task, showing its progress on standard error; survives a
 * restart of the agent. Ctrl-C ends the command, not the task.
 * @ret: the task's last state
 * Return: 0 however the task ended; errors of the connection after a grace period
 */
int follow_task(struct cli *c, const char *id, json_t **ret, struct err *e);

/** follow_outcome - 0 when @task is done, else -ERR_X with the task's error */
int follow_outcome(const json_t *task, struct err *e);
