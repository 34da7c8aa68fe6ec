/* SPDX-License-Identifier: Apache-2.0
 * What agent and mortar-strike agree on. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

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

/** strike_write - write @text to the file @path, which is there. Return: 0 or -ERR_IO */
int strike_write(const char *path, const char *text, struct err *e);

/** strike_freeze - freeze all slices below @root, the root of cgroup2. Return: 0 or -ERR_IO, when some go on */
int strike_freeze(const char *root, struct err *e);
/**
 * strike_thaw - take strike_freeze() back
 * Guests come last, when the guard, which has lost its promises meanwhile, has frozen them again by itself, or
 * after 3 s: else they would run for a moment beside those that were started in their place.
 * Return: 0 or -ERR_IO, when some stand still
 */
int strike_thaw(const char *root, struct err *e);
