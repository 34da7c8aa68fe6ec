/* SPDX-License-Identifier: Apache-2.0
 * Child processes: argv array, no shell, clean environment with LC_ALL=C, own process group, death
 * signal, mandatory deadline, capped output. Blocking: called on a worker lane or in a program's
 * main thread, whose threads live as long as the process, since the death signal follows the
 * parent *thread* (prctl(2)). */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

#define CMD_OUTPUT_LIMIT_BYTES (8 * MIB)

struct cmd_result {
    int exit_code; /* -1 when ended by a signal */
    int signal;    /* 0 when it exited */
    char *out;     /* standard output, terminated */
    size_t out_len;
    char *errout; /* standard error, terminated, without final newline */
};
void cmd_result_done(struct cmd_result *r);
#define _cleanup_cmd_ _cleanup_(cmd_result_done)

struct cmd_opts {
    uint64_t timeout_us;      /* 0 means 30 s */
    const char *input;        /* text for standard input, or NULL for /dev/null */
    /* Called in the caller's thread with each piece of standard output as it arrives (progress). */
    void (*on_output)(void *arg, const char *piece, size_t len);
    void *on_output_arg;
    bool keep_group_on_timeout; /* kill only the child, not its group */
};

/**
 * cmd_run - run and wait
 * @argv: NULL-terminated, argv[0] looked up in /usr/sbin:/usr/bin:/sbin:/bin        @opts: may be NULL
 * @ret: set whenever the child ended by itself, also with exit code != 0; caller ends it with
 *       cmd_result_done(). Zero-initialise.
 * Return: 0; -ERR_COMMAND when it cannot start; -ERR_TIMEOUT after the deadline (it was killed);
 *         -ERR_LIMIT when it says too much
 */
int cmd_run(const char *const *argv, const struct cmd_opts *opts, struct cmd_result *ret,
            struct err *e);

/**
 * cmd_check - cmd_run, and an exit code other than 0 is -ERR_COMMAND with the last line it said
 * @ret_out: standard output when not NULL; caller frees
 */
int cmd_check(const char *const *argv, const struct cmd_opts *opts, char **ret_out, struct err *e);

/** CMD(...) - an argv literal */
#define CMD(...) ((const char *const[]){__VA_ARGS__, NULL})
