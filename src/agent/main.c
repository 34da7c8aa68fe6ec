/* SPDX-License-Identifier: Apache-2.0
 * mortard: the agent of one host. See mortard(8). */
#include <getopt.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "adapters/host/host_check.h"
#include "adapters/host/host_uplink.h"
#include "agent/agent.h"
#include "agent/heap.h"
#include "base/log.h"
#include "base/str.h"

static int usage(FILE *to)
{
    (void)fputs("usage: mortard [--debug]\n"
                "       mortard --probe-kvm\n"
                "       mortard --uplink return|restore|drop\n\n"
                "The agent of one host of a Mortar cluster. It is started by systemd;\n"
                "'mortar' talks to it through /run/mortar/agent.sock.\n", to);
    return to == stdout ? 0 : 2;
}

/* In a process of its own, since KVM may hang; host_check.c calls it. */
static int probe_kvm(void)
{
    const struct kvm_seen seen = kvm_probe_here("/dev/kvm");
    _cleanup_free_ char *answer = kvm_format_answer(&seen);
    return fputs(answer, stdout) < 0 ? 1 : 0;
}

/* Processes of their own: the timer's, boot's and the package's, which need no agent. */
static int run_uplink(const char *what)
{
    static const struct {
        const char *word;
        int (*fn)(const char *root, struct err *e);
    } words[] = {
        {UPLINK_RETURN, uplink_return},
        {UPLINK_RESTORE, uplink_restore},
        {UPLINK_DROP, uplink_drop},
    };
    struct err e = {0};
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        if (!str_eq(words[i].word, what)) {
            continue;
        }
        log_setup("mortard", LOG_LV_INFO);
        if (words[i].fn("", &e) < 0) {
            log_err(LOG_LV_ERROR, "the uplink is not as it should be", &e);
            return err_exit(e.code);
        }
        return 0;
    }
    return usage(stderr);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"debug", no_argument, NULL, 'd'},
        {&KVM_PROBE_OPTION[2], no_argument, NULL, 'k'},
        {&UPLINK_OPTION[2], required_argument, NULL, 'u'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    enum log_level level = LOG_LV_INFO;
    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (o) {
        case 'd':
            level = LOG_LV_DEBUG;
            break;
        case 'h':
            return usage(stdout);
        case 'k':
            return probe_kvm();
        case 'u':
            return run_uplink(optarg);
        case 'V':
            (void)puts("mortard " MORTAR_VERSION);
            return 0;
        default:
            return usage(stderr);
        }
    }
    struct err e = {0};
    _cleanup_(loop_freep) struct loop *loop = NULL;
    _cleanup_(agent_freep) struct agent *agent = NULL;
    heap_setup();
    log_setup("mortard", level);
    json_object_seed(0); /* before threads: jansson(3), json_object_seed() */
    int r = loop_new(&loop, &e);
    r = r < 0 ? r : agent_new(loop, &agent, &e);
    if (r == 0) {
        log_notice("agent started", "version=%s", MORTAR_VERSION);
        (void)sd_notify(0, "READY=1");
        r = loop_run(loop, &e);
    }
    if (r < 0) {
        log_err(LOG_LV_ERROR, "agent ends", &e);
    }
    return r < 0 ? err_exit(-r) : 0;
}
