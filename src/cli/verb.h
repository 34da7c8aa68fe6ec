/* SPDX-License-Identifier: Apache-2.0
 * The verb table: words, arguments, options, help and handler of every command, once. Parsing,
 * usage, `mortar help`, bash completion and the man page's list of options come from it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct args;
struct cli;
struct verb;
struct view;

enum val_kind {
    VAL_TEXT,
    VAL_FLAG,     /* option without value: true */
    VAL_UNFLAG,   /* option without value: false */
    VAL_NAME,     /* name of a new object */
    VAL_CHOICE,   /* one of param.value, separated by '|' */
    VAL_NUMBER,   /* min..max */
    VAL_SIZE,     /* 10G, min..max bytes */
    VAL_DURATION, /* 90, 30s, 10m, 1h, 2d; seconds, min..max */
    VAL_LIST,     /* a,b,c; may be repeated */
    VAL_PATH,     /* made absolute */
    VAL_DEVICES,  /* as it stands; completed as a path */
    VAL_SOURCE,   /* a URL, or a path made absolute */
    VAL_FILE,     /* the file's text, at most max bytes */
    VAL_KEYS,     /* the file's lines without comments; may be repeated */
};

/* Whose names completion offers. */
enum noun { NOUN_NONE, NOUN_HOST, NOUN_POOL, NOUN_IMAGE, NOUN_VM, NOUN_NETWORK, NOUN_TASK };

/* An argument or an option. */
struct param {
    const char *name;  /* argument: as usage shows it, "NAME"; option: without dashes */
    enum val_kind kind;
    const char *value; /* option: what usage calls its value */
    const char *field; /* where the request has it; NULL: only in the URL */
    const char *help;
    uint64_t min;
    uint64_t max;
    const char *fallback; /* text taken when it is not given, or NULL */
    enum noun noun;
    bool needed; /* must be given */
};

#define VERB_ARGS_MAX 2
#define VERB_PARAMS_MAX 16

typedef int (*verb_fn)(struct cli *c, const struct verb *v, struct args *a, struct err *e);

struct verb {
    const char *words; /* "vm create" */
    struct param args[VERB_ARGS_MAX];
    const struct param *options; /* ended by one without name, or NULL */
    const char *help;            /* one line without full stop */
    const char *more;            /* a paragraph for help and man page, or NULL */
    verb_fn run;
    const char *method; /* what the generic handlers send; NULL: GET */
    const char *path;   /* "/v1/vms/{}": the hole is the first argument */
    const struct view *view;
    const char *done; /* line after success, "{}" is the first argument */
    const char *next; /* what to do next, or NULL */
};

/** verb_table - all verbs, grouped, ended by one without words */
const struct verb *verb_table(void);
/** verb_globals - options that every verb has, ended by one without name */
const struct param *verb_globals(void);

/**
 * verb_find - the verb that the first words of @argv name
 * @ret_words: how many words it took
 * Return: 0, or -ERR_USAGE whose message lists what could follow
 */
int verb_find(int argc, char **argv, const struct verb **ret, int *ret_words, struct err *e);
