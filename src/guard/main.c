/* SPDX-License-Identifier: Apache-2.0
 * mortar-guard(8): options, rights, start. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>

#include "base/str.h"
#include "guard/guard.h"

#define FIFO_PRIORITY 60

static const char help[] =
    "Usage: mortar-guard [OPTION]…\n"
    "Hold and give promises between hosts; freeze this host's virtual machines without them.\n"
    "\n"
    "  --config PATH      read at start (default /var/lib/mortar/guard/config)\n"
    "  --socket PATH      where the agent talks to it (default /run/mortar/guard.sock)\n"
    "  --key PATH         the cluster's key, 32 bytes (default /etc/mortar/pki/guard.key)\n"
    "  --port N           UDP port of all guards (default " ERR_STR(
        GUARD_PORT) ")\n"
                    "  --help, --version  say so and exit\n";

/* Return: 0, 1 when --help or --version was answered, or -ERR_USAGE */
static int parse_args(int argc, char **argv, struct guard_opts *o)
{
    enum { OPT_CONFIG = 256, OPT_SOCKET, OPT_KEY, OPT_PORT, OPT_HELP, OPT_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"socket", required_argument, NULL, OPT_SOCKET},
        {"key", required_argument, NULL, OPT_KEY},
        {"port", required_argument, NULL, OPT_PORT},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
    };
    uint64_t port = GUARD_PORT;
    *o = (struct guard_opts){.config = "/var/lib/mortar/guard/config",
                             .socket = "/run/mortar/guard.sock",
                             .key = "/etc/mortar/pki/guard.key"};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case OPT_CONFIG:
            o->config = optarg;
            break;
        case OPT_SOCKET:
            o->socket = optarg;
            break;
        case OPT_KEY:
            o->key = optarg;
            break;
        case OPT_PORT:
            if (str_parse_u64(optarg, UINT16_MAX, &port, NULL) < 0 || port == 0) {
                (void)fprintf(stderr, "mortar-guard: '%s' is not a port\n", optarg);
                return -ERR_USAGE;
            }
            break;
        case OPT_HELP:
            (void)fputs(help, stdout);
            return 1;
        case OPT_VERSION:
            (void)puts("mortar-guard " MORTAR_VERSION);
            return 1;
        default:
            return -ERR_USAGE; /* getopt has said why */
        }
    }
    o->port = (uint16_t)port;
    if (optind < argc) {
        (void)fprintf(stderr, "mortar-guard: '%s' is not an option, see --help\n", argv[optind]);
        return -ERR_USAGE;
    }
    return 0;
}

/* What keeps it going when nothing else does. It runs without, too, and says what it did not get.
 * */
static void take_rights(void)
{
    const struct sched_param fifo = {.sched_priority = FIFO_PRIORITY};
    const char *memory = mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ? "yes" : strerrorname_np(errno);
    const char *realtime = sched_setscheduler(0, SCHED_FIFO, &fifo) == 0 ? "yes"
                                                                         : strerrorname_np(errno);
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    const char *oom = fd >= 0 && write(fd, "-1000", 5) == 5 ? "yes" : strerrorname_np(errno);
    bool is_all = str_eq(memory, "yes") && str_eq(realtime, "yes") && str_eq(oom, "yes");
    guard_log(is_all ? LOG_INFO : LOG_WARNING, "rights; locked=%s fifo=%s unkillable=%s", memory,
              realtime, oom);
}

int main(int argc, char **argv)
{
    struct guard_opts opts;
    struct err e = {0};
    int r = parse_args(argc, argv, &opts);
    if (r != 0) {
        return r < 0 ? err_exit(ERR_USAGE) : 0;
    }
    _cleanup_free_ struct guard *g = xcalloc(1, sizeof(*g)); /* the only allocation */
    if (guard_start(g, &opts, &e) < 0) {
        guard_log(LOG_ERR, "cannot start: %s", e.msg);
        return err_exit(e.code);
    }
    take_rights();
    guard_run(g);
    return 0;
}
