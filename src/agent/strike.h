/* SPDX-License-Identifier: Apache-2.0
 * What agent and mortar-strike agree on. */
#pragma once

#include <stdbool.h>

#define STRIKE_PROGRAM "/usr/lib/mortar/mortar-strike" /* src/agent/meson.build */
#define STRIKE_UNIT "mortar-strike"
#define STRIKE_SYSRQ "/proc/sysrq-trigger"
/* A lab's power switch (lab/mortarlab/hook.py): the directory says that somebody stands at it. */
#define STRIKE_HOOK "/run/mortar-lab/hook"

/**
 * strike_is_container - is this host a container, so that sysrq would hit the machine that carries it?
 * One sign is enough, and a sign that cannot be read is one: a reset too few does no harm.
 */
bool strike_is_container(void);
