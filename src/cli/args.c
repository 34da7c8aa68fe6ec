/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <assert.h>
#include <getopt.h>
#include <string.h>

#include "base/str.h"
#include "cli/value.h"

enum { OPTION_CODE_BASE = 1000 }; /* getopt_long's value of the first long option */

struct scan {
    struct option longs[2 * VERB_PARAMS_MAX + 1];
    const struct param *params[2 * VERB_PARAMS_MAX];
    size_t n;
};

void args_done(struct args *a)
{
    json_decref(a->values);
    a->values = NULL;
}

uint64_t args_u64(const struct args *a, const char *field, uint64_t fallback)
{
    return json_u64_of(a->values, field, fallback);
}

static bool takes_value(const struct param *p)
{
    return p->kind != VAL_FLAG && p->kind != VAL_UNFLAG;
}

static void scan_add(struct scan *s, const struct param *options)
{
    for (const struct param *p = options; p && p->name; p++) {
        assert(s->n < ELEMENTS(s->params));
        s->params[s->n] = p;
        s->longs[s->n] = (struct option){
            .name = p->name,
            .has_arg = takes_value(p) ? required_argument : no_argument,
            .val = OPTION_CODE_BASE + (int)s->n,
        };
        s->n++;
    }
}

static void set_global(struct globals *g, const struct param *p, const char *text)
{
    if (str_eq(p->name, "json")) {
        g->json = true;
    } else if (str_eq(p->name, "quiet")) {
        g->quiet = true;
    } else if (str_eq(p->name, "no-wait")) {
        g->no_wait = true;
    } else if (str_eq(p->name, "help")) {
        g->help = true;
    } else if (str_eq(p->name, "version")) {
        g->version = true;
    } else if (str_eq(p->name, "socket")) {
        g->socket = text;
    } else {
        assert(str_eq(p->name, "host"));
        g->host = text;
    }
}

/* getopt_long only says '?'; say whether @given is unknown or has several meanings. */
static int refuse_option(const struct scan *s, const char *given, struct err *e)
{
    _cleanup_sbuf_ struct sbuf meant = {0};
    size_t n = strcspn(given, "=");
    size_t hits = 0;
    for (size_t i = 0; str_starts(given, "--") && n > 2 && i < s->n; i++) {
        if (strncmp(s->params[i]->name, given + 2, n - 2) == 0) {
            sbuf_printf(&meant, "%s--%s", hits++ ? ", " : "", s->params[i]->name);
        }
    }
    if (hits > 1) {
        return ERR_SET(e, USAGE, "option '%.*s' is ambiguous: %s", (int)n, given, meant.data);
    }
    if (hits == 1) {
        return ERR_SET(e, USAGE, "option '%s' takes no value", meant.data);
    }
    return ERR_SET(e, USAGE, "unknown option '%.*s'", (int)n, given);
}

/* @optstring begins with "+:" (stop at the first word) or ":". Leaves optind at the first word. */
static int scan_options(const struct scan *s, const char *optstring, int argc, char **argv,
                        struct globals *g, json_t *values, struct err *e)
{
    optind = 0; /* glibc: start anew */
    opterr = 0;
    for (;;) {
        int before = optind ? optind : 1;
        int code = getopt_long(argc, argv, optstring, s->longs, NULL);
        if (code == -1) {
            return 0;
        }
        if (code == 'h') {
            g->help = true;
            continue;
        }
        const char *given = argv[optind > before ? optind - 1 : before];
        if (code == ':') {
            return ERR_SET(e, USAGE, "option '%s' needs a value", given);
        }
        if (code == '?') {
            return refuse_option(s, given, e);
        }
        const struct param *p = s->params[code - OPTION_CODE_BASE];
        if (!p->field) {
            set_global(g, p, optarg);
            continue;
        }
        int r = value_put(values, p, optarg, e);
        if (r < 0) {
            err_prepend(e, "option '--%s'", p->name);
            return r;
        }
    }
}

static int take_arguments(const struct verb *v, int argc, char **argv, struct args *a,
                          struct err *e)
{
    int given = argc - optind;
    int max = 0;
    for (; max < VERB_ARGS_MAX && v->args[max].name; max++) {
        const struct param *p = &v->args[max];
        if (max >= given) {
            if (p->needed) {
                return ERR_SET(e, USAGE, "%s is missing", p->name);
            }
            if (!p->fallback) {
                continue;
            }
        }
        const char *text = max < given ? argv[optind + max] : p->fallback;
        if (!*text) {
            return ERR_SET(e, USAGE, "%s is empty", p->name);
        }
        a->pos[max] = text;
        int r = p->field ? value_put(a->values, p, text, e) : 0;
        if (r < 0) {
            err_prepend(e, "%s", p->name);
            return r;
        }
    }
    if (given > max) {
        return ERR_SET(e, USAGE, "too many arguments: '%s'", argv[optind + max]);
    }
    return 0;
}

static int take_fallbacks(const struct verb *v, struct args *a, struct err *e)
{
    for (const struct param *p = v->options; p && p->name; p++) {
        bool given = value_is_set(a->values, p);
        if (!given && p->needed) {
            return ERR_SET(e, USAGE, "option '--%s' is missing", p->name);
        }
        int r = !given && p->fallback ? value_put(a->values, p, p->fallback, e) : 0;
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int parse_verb(const struct verb *v, int argc, char **argv, struct globals *g,
                      struct args *a, struct err *e)
{
    struct scan all = {0};
    scan_add(&all, v->options); /* first: the host of a drill is another than that of the agent */
    scan_add(&all, verb_globals());
    int r = scan_options(&all, ":h", argc, argv, g, a->values, e);
    if (r == 0 && !g->help && !g->version) {
        r = take_arguments(v, argc, argv, a, e);
    }
    if (r == 0 && !g->help && !g->version) {
        r = take_fallbacks(v, a, e);
    }
    if (r < 0) {
        err_prepend(e, "%s", v->words);
        err_hint(e, "see 'mortar help %s'", v->words);
    }
    return r;
}

int args_parse(int argc, char **argv, struct globals *ret_globals, const struct verb **ret_verb,
               struct args *ret, struct err *e)
{
    struct scan first = {0};
    int words = 0;
    const struct verb *v = NULL;
    ret->values = json_object();
    *ret_verb = NULL;
    scan_add(&first, verb_globals());
    int r = scan_options(&first, "+:h", argc, argv, ret_globals, ret->values, e);
    if (r < 0) {
        err_hint(e, "see 'mortar help'");
        return r;
    }
    int start = optind;
    if (start >= argc && (ret_globals->help || ret_globals->version)) {
        return 0;
    }
    r = verb_find(argc - start, argv + start, &v, &words, e);
    if (r < 0) {
        err_hint(e, "'mortar help' lists the commands");
        return r;
    }
    *ret_verb = v;
    /* getopt_long takes the last word of the verb for the program's name */
    return parse_verb(v, argc - start - words + 1, argv + start + words - 1, ret_globals, ret, e);
}
