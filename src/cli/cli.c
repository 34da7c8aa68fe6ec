/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "cli/help.h"
#include "cli/table.h"
#include "wire/names.h"

static void print_error(const struct err *e)
{
    _cleanup_free_ char *msg = text_clean(e->msg);
    _cleanup_free_ char *hint = text_clean(e->hint);
    (void)fprintf(stderr, "mortar: %s\n", msg); /* nowhere else to say it */
    if (hint[0]) {
        (void)fprintf(stderr, "hint: %s\n", hint);
    }
}

static int run_verb(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    const char *env = getenv(WIRE_SOCKET_ENV);
    const char *socket = c->globals.socket ? c->globals.socket
                         : env && *env     ? env
                                           : WIRE_SOCKET_PATH;
    if (c->globals.socket && c->globals.host) {
        return ERR_SET(e, USAGE, "--socket and --host exclude each other");
    }
    if (v->path) {
        int r = client_new(socket, c->globals.host, &c->client, e);
        if (r < 0) {
            return r;
        }
    }
    return v->run(c, v, a, e);
}

/* "mortar vm --help": half a command, so no verb. */
static bool print_group_help(int argc, char **argv, struct err *e, int *ret)
{
    _cleanup_sbuf_ struct sbuf out = {0};
    if (argc != 3 || !(str_eq(argv[2], "--help") || str_eq(argv[2], "-h")) ||
        !help_group(argv[1], &out)) {
        return false;
    }
    *ret = cli_print(&out, e);
    return true;
}

static int parse_and_run(struct cli *c, int argc, char **argv, struct err *e)
{
    _cleanup_args_ struct args a = {0};
    _cleanup_sbuf_ struct sbuf out = {0};
    const struct verb *v = NULL;
    int r = 0;
    if (print_group_help(argc, argv, e, &r)) {
        return r;
    }
    r = args_parse(argc, argv, &c->globals, &v, &a, e);
    if (r < 0) {
        return r;
    }
    if (c->globals.version) {
        sbuf_printf(&out, "mortar %s\n", MORTAR_VERSION);
        return cli_print(&out, e);
    }
    if (c->globals.help) {
        if (v) {
            help_verb(v, &out);
        } else {
            help_overview(&out);
        }
        return cli_print(&out, e);
    }
    return run_verb(c, v, &a, e);
}

int cli_run(int argc, char **argv)
{
    struct err e = {0};
    struct cli c = {0};
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* always there on Debian */
    (void)signal(SIGPIPE, SIG_IGN);       /* writing says it, too */
    c.color = isatty(STDOUT_FILENO) && !(no_color && *no_color) && !str_eq(term, "dumb");
    c.progress_line = isatty(STDERR_FILENO) && !str_eq(term, "dumb");
    int r = parse_and_run(&c, argc, argv, &e);
    client_free(c.client);
    if (r < 0) {
        print_error(&e);
    }
    return err_exit(-r);
}
