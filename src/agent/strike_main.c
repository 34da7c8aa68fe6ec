/* SPDX-License-Identifier: Apache-2.0
 * mortar-strike: what a drill does to its own host. Run by systemd in the root slice, so that it goes on
 * while everything else stands still; "end" is also its unit's ExecStopPost.
 *
 *     mortar-strike power SECONDS      reset at once (sysrq b). In a container sysrq would hit the machine that
 *                                      carries it: there only a lab's hook is asked, which cuts the power and
 *                                      gives it back after SECONDS
 *     mortar-strike hang SECONDS       freeze all slices of cgroup2
 *     mortar-strike network SECONDS    drop all packets but those of lo
 *     mortar-strike end                take hang and network back
 *
 * Not for people. Exit code 0, 1 (failed), 2 (called wrongly). */
#include <stdio.h>
#include <string.h>

#include "agent/strike.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define SECONDS_MAX 600
#define HOOK_WAIT_MS 60000 /* the power goes long before */
#define TABLE "mortar_drill"

static int fail(const struct err *e)
{
    (void)fprintf(stderr, "mortar-strike: %s\n", e->msg);
    return 1;
}

static int refuse_usage(void)
{
    (void)fprintf(stderr, "usage: mortar-strike power|hang|network SECONDS (at most %d), or end\n", SECONDS_MAX);
    return 2;
}

/* --- power --------------------------------------------------------------------------------- */

static int power(uint64_t seconds, struct err *e)
{
    if (!strike_is_container()) {
        return strike_write(STRIKE_SYSRQ, "b", e);
    }
    if (!file_exists(STRIKE_HOOK)) {
        return ERR_SET(e, STATE, "this is a container, and no lab's hook is at its power switch");
    }
    _cleanup_free_ char *text = str_printf("power %llu\n", (unsigned long long)seconds);
    int r = file_replace(STRIKE_HOOK "/request", text, strlen(text), 0600, e);
    if (r == 0) {
        clock_sleep_ms(HOOK_WAIT_MS);
        r = ERR_SET(e, TIMEOUT, "the lab's hook did not cut the power");
    }
    return r;
}

/* --- hang ---------------------------------------------------------------------------------- */

static const char *cgroup_root(void)
{
    return file_exists("/sys/fs/cgroup/cgroup.controllers") ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
}

/* --- network ------------------------------------------------------------------------------- */

static int drop_table(struct err *e)
{
    const struct cmd_opts opts = {.input = "table inet " TABLE " {}\ndelete table inet " TABLE "\n"};
    return cmd_check(CMD("nft", "-f", "-"), &opts, NULL, e);
}

static int cut_links(struct err *e)
{
    const struct cmd_opts opts = {.input = "table inet " TABLE " {\n"
        "chain in { type filter hook input priority -500; policy drop; iif lo accept; }\n"
        "chain out { type filter hook output priority -500; policy drop; oif lo accept; }\n"
        "chain forward { type filter hook forward priority -500; policy drop; }\n}\n"};
    return cmd_check(CMD("nft", "-f", "-"), &opts, NULL, e);
}

static int end(struct err *e)
{
    struct err other = {0};
    int r = strike_thaw(cgroup_root(), e);
    int n = drop_table(r < 0 ? &other : e);
    return r < 0 ? r : n;
}

static int pause_and_end(uint64_t seconds, int r, struct err *e)
{
    struct err other = {0};
    if (r == 0) {
        clock_sleep_ms((int)(seconds * 1000));
    }
    int n = end(r < 0 ? &other : e);
    return r < 0 ? r : n;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    uint64_t seconds = 0;
    int r = 0;
    if (argc == 2 && str_eq(argv[1], "end")) {
        return end(&e) < 0 ? fail(&e) : 0;
    }
    if (argc != 3 || str_parse_u64(argv[2], SECONDS_MAX, &seconds, NULL) < 0) {
        return refuse_usage();
    }
    if (str_eq(argv[1], "power")) {
        r = power(seconds, &e);
    } else if (str_eq(argv[1], "hang")) {
        r = pause_and_end(seconds, strike_freeze(cgroup_root(), &e), &e);
    } else if (str_eq(argv[1], "network")) {
        r = pause_and_end(seconds, cut_links(&e), &e);
    } else {
        return refuse_usage();
    }
    return r < 0 ? fail(&e) : 0;
}
