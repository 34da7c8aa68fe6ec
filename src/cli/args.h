/* SPDX-License-Identifier: Apache-2.0
 * A command line, read by the verb table into the JSON object of the request. */
#pragma once

#include <stdbool.h>

#include "base/json.h"
#include "cli/verb.h"

struct globals {
    bool json;
    bool quiet;
    bool no_wait;
    bool help;
    bool version;
    const char *socket; /* borrowed from argv */
    const char *host;
};

struct args {
    const char *pos[VERB_ARGS_MAX + 1]; /* as typed, borrowed from argv, NULL-terminated */
    json_t *values;                     /* what has a field, by its field */
};
void args_done(struct args *a);
#define _cleanup_args_ _cleanup_(args_done)

/**
 * args_parse - the whole command line
 * @argv: its order may change (getopt_long)        @ret_verb: NULL when no verb was given, but
 * --help or --version was        @ret: zero-initialise; ended with args_done() also after failure
 * Return: 0; -ERR_USAGE, -ERR_INVALID or -ERR_LIMIT; -ERR_NOT_FOUND or -ERR_IO for a file
 */
int args_parse(int argc, char **argv, struct globals *ret_globals, const struct verb **ret_verb,
               struct args *ret, struct err *e);

/** args_u64 - number of @field, @fallback when absent */
uint64_t args_u64(const struct args *a, const char *field, uint64_t fallback);
