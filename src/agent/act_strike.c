/* SPDX-License-Identifier: Apache-2.0
 * A drill's hands on this host: whether it can be struck, and the strike. */
#include <errno.h>
#include <unistd.h>

#include "agent/env.h"
#include "agent/strike.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

int act_drill_ready(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    const char *kind = json_text_of(args, "kind");
    bool is_container = strike_is_container();
    bool is_unified = file_exists("/sys/fs/cgroup/system.slice/cgroup.freeze") ||
                      file_exists("/sys/fs/cgroup/unified/system.slice/cgroup.freeze");
    if (!file_exists(STRIKE_PROGRAM)) {
        return ERR_SET(e, STATE, "%s is missing", STRIKE_PROGRAM);
    }
    if (str_eq(kind, "power") && is_container && !file_exists(STRIKE_HOOK)) {
        return ERR_SET(e, STATE, "it is a container, whose power only a lab can cut: run 'lab/mortar-lab hook'");
    }
    if (str_eq(kind, "power") && !is_container && access(STRIKE_SYSRQ, W_OK) < 0) {
        return ERR_SYS(e, STATE, errno, "its kernel has no sysrq");
    }
    if (str_eq(kind, "hang") && !is_unified) {
        return ERR_SET(e, STATE, "its kernel cannot freeze system.slice");
    }
    return 0;
}

/* Others may have changed their minds, or fallen out, while it waited for its turn: then it is not done any more.
 * systemd runs it beside all that shall stand still, and takes it back should it die. */
int act_drill_strike(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    const char *kind = json_text_of(args, "kind");
    uint64_t until_us = json_u64_of(args, "until_us", 0);
    if (clock_boottime_us() >= until_us) {
        return ERR_SET(e, STATE, "its agent came to it too late");
    }
    _cleanup_free_ char *seconds = str_printf("%llu", (unsigned long long)json_u64_of(args, "seconds", 0));
    log_warning("a drill strikes this host", "kind=%s seconds=%s", kind, seconds);
    return cmd_check(CMD("systemd-run", "--quiet", "--collect", "--unit=" STRIKE_UNIT, "--slice=-.slice",
                         "--property=ExecStopPost=-" STRIKE_PROGRAM " end", STRIKE_PROGRAM, kind, seconds), NULL,
                     NULL, e);
}
