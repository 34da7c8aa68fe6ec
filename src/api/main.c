/* SPDX-License-Identifier: Apache-2.0
 * mortar-api(8): options, rights, start. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "api/api.h"
#include "base/log.h"
#include "base/str.h"
#include "wire/names.h"

struct args {
    struct api_opts api;
    const char *user;
    bool done; /* --help or --version was answered */
};

static const char help[] =
    "Usage: mortar-api [OPTION]…\n"
    "Serve joining and the calls of other hosts over TLS, and forward them to the agent.\n"
    "\n"
    "  --listen ADDRESS:PORT   where to listen (default *:8843)\n"
    "  --agent-socket PATH     the agent's socket (default /run/mortar/agent.sock)\n"
    "  --cert-dir DIR          holds ca.crt, host.crt, host.key (default: $CREDENTIALS_DIRECTORY,\n"
    "                          else /etc/mortar/pki)\n"
    "  --user NAME             run as this user when started as root (default mortar-api)\n"
    "  --help, --version       say so and exit\n";

static int parse_args(int argc, char **argv, struct args *a)
{
    enum { OPT_LISTEN = 256, OPT_SOCKET, OPT_CERTS, OPT_USER, OPT_HELP, OPT_VERSION };
    static const struct option options[] = {
        {"listen", required_argument, NULL, OPT_LISTEN},
        {"agent-socket", required_argument, NULL, OPT_SOCKET},
        {"cert-dir", required_argument, NULL, OPT_CERTS},
        {"user", required_argument, NULL, OPT_USER},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
    };
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    *a = (struct args){.api = {.listen = "*:" ERR_STR(WIRE_API_PORT),
                               .agent_socket = WIRE_SOCKET_PATH,
                               .cert_dir = credentials ? credentials : "/etc/mortar/pki"},
                       .user = "mortar-api"};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case OPT_LISTEN:
            a->api.listen = optarg;
            break;
        case OPT_SOCKET:
            a->api.agent_socket = optarg;
            break;
        case OPT_CERTS:
            a->api.cert_dir = optarg;
            break;
        case OPT_USER:
            a->user = optarg;
            break;
        case OPT_HELP:
            (void)fputs(help, stdout);
            a->done = true;
            return 0;
        case OPT_VERSION:
            (void)puts("mortar-api " MORTAR_VERSION);
            a->done = true;
            return 0;
        default:
            return -ERR_USAGE; /* getopt has said why */
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "mortar-api: '%s' is not an option, see --help\n", argv[optind]);
        return -ERR_USAGE;
    }
    return 0;
}

/* The agent takes root for the administrator, so what strangers send must never come from root. */
static int drop_rights(const char *user, struct err *e)
{
    if (geteuid() != 0) {
        return 0;
    }
    const struct passwd *pw = getpwnam(user);
    if (!pw || pw->pw_uid == 0) {
        int r =
            ERR_SET(e, NOT_FOUND, "there is no user '%s' without root's rights to run as", user);
        err_hint(e, "install the package, or give --user");
        return r;
    }
    if (setgroups(0, NULL) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0) {
        return ERR_SYS(e, IO, errno, "cannot become user '%s'", user);
    }
    return 0;
}

static int serve(const struct args *a, struct err *e)
{
    _cleanup_(loop_freep) struct loop *loop = NULL;
    _cleanup_(api_freep) struct api *api = NULL;
    int r = loop_new(&loop, e);
    r = r < 0 ? r : api_new(loop, &a->api, &api, e);
    r = r < 0 ? r : drop_rights(a->user, e);
    if (r < 0) {
        return r;
    }
    log_notice("serving", "port=%u", (unsigned)api_port(api));
    (void)sd_notify(0, "READY=1"); /* without systemd nobody waits for it */
    return loop_run(loop, e);
}

int main(int argc, char **argv)
{
    struct args args;
    struct err e = {0};
    if (parse_args(argc, argv, &args) < 0) {
        return err_exit(ERR_USAGE);
    }
    log_setup("mortar-api", LOG_LV_INFO);
    if (!args.done && serve(&args, &e) < 0) {
        log_err(LOG_LV_ERROR, "cannot serve", &e);
        return err_exit(e.code);
    }
    return 0;
}
