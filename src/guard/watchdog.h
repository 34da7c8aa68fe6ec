/* SPDX-License-Identifier: Apache-2.0
 * The watchdog that resets this host when the guard can no longer answer for its VMs:
 * /dev/watchdog, by hardware or softdog, or none. Without one it is counted when one would have
 * fired. */
#pragma once

#include "guard/guard_conf.h"

#define WATCHDOG_PATH "/dev/watchdog"
#define WATCHDOG_NOWAYOUT_PATH "/sys/class/watchdog/watchdog0/nowayout" /* "1": cannot be stopped */

/* Zero-initialise: none, closed. */
struct watchdog {
    bool is_open;
    bool is_soft;
    int fd;
    uint64_t timeout_us; /* the driver's own when there is one */
    uint64_t pet_us;
    bool has_fired; /* since the last petting, without a device */
    uint64_t would_fire;
    const char *why_none; /* constant; set by watchdog_open() when it took none */
};

/**
 * watchdog_open - take the device and set its timeout; petted by that
 * @nowayout: file of the driver that says whether it can be stopped again. One that cannot is left
 * alone: it would reset each host when failover is switched off. One that does not say so can be
 * @t: asks for watchdog_us, rounded down to whole seconds as drivers want it
 * Return: 0, also without a device (then @w is "none"); -ERR_INVALID when the driver's real
 * timeout does not fit
 * @t: then it is closed again without firing, as far as the driver allows that
 */
int watchdog_open(struct watchdog *w, const char *path, const char *nowayout,
                  const struct guard_times *t, uint64_t now_us, struct err *e);

/**
 * watchdog_close - stop it (@disarm, when the driver allows), or leave it ticking for the next
 * guard
 */
void watchdog_close(struct watchdog *w, bool disarm);

/** watchdog_pet - all is well from @now_us on for another timeout */
void watchdog_pet(struct watchdog *w, uint64_t now_us);

/** watchdog_count - without device: would it have fired by @now_us? Return: whether this is news */
bool watchdog_count(struct watchdog *w, uint64_t now_us);

/** watchdog_kind - "hardware", "softdog" or "none" */
const char *watchdog_kind(const struct watchdog *w);
