/* SPDX-License-Identifier: Apache-2.0
 * Units through systemctl. Why not sd-bus: these calls are rare, made on a worker lane that may
 * block, and `systemctl start` already waits for the job, follows it and says why it failed; with
 * sd-bus that is three signals and a state machine of ours. All calls have a deadline. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define UNIT_TIMEOUT_US (60 * USEC_PER_SEC) /* taken for @timeout_us = 0 */

struct unit_state {
    bool loaded;   /* systemd knows a unit file of this name */
    bool active;   /* "active" or "reloading" */
    bool failed;   /* "failed" */
    bool enabled;  /* starts at boot */
    uint64_t main_pid; /* 0 when there is none */
};

/** systemd_is_init - is systemd PID 1 here (sd_booted(3))? All calls that talk to it need it. */
bool systemd_is_init(void);

/**
 * unit_start, unit_stop, unit_restart - do it and wait for the end of the job
 * @name: with suffix        @timeout_us: 0 means UNIT_TIMEOUT_US
 * Return: 0; -ERR_COMMAND with systemd's reason; -ERR_TIMEOUT: the job may still run.
 * Starting what runs and stopping what does not succeed at once; stopping an unknown unit too.
 */
int unit_start(const char *name, uint64_t timeout_us, struct err *e);
int unit_stop(const char *name, uint64_t timeout_us, struct err *e);
int unit_restart(const char *name, uint64_t timeout_us, struct err *e);
/** unit_kill - SIGKILL to all of @name, or to its main process alone. Return: 0, -ERR_COMMAND, -ERR_TIMEOUT */
int unit_kill(const char *name, bool main_only, struct err *e);
/** unit_enable, unit_disable - start at boot or not; nothing is started or stopped now */
int unit_enable(const char *name, struct err *e);
int unit_disable(const char *name, struct err *e);
/** unit_reset_failed - forget that @name failed; one that did not is fine */
int unit_reset_failed(const char *name, struct err *e);
/** unit_observe - what systemd says about @name. An unknown unit is not an error: !loaded. */
int unit_observe(const char *name, struct unit_state *ret, struct err *e);
/** unit_is_active - unit_observe() in short; false also when systemd does not answer */
bool unit_is_active(const char *name);
/** systemd_reload - read unit files again; needed after each change that a write or remove reports */
int systemd_reload(struct err *e);

/**
 * unit_write - the unit file @root/etc/systemd/system/@name holds exactly @text
 * @root: "" for this host, a directory for tests        @ret_changed: may be NULL
 * Return: 0 or -ERR_IO. The caller then calls systemd_reload() when something changed.
 */
int unit_write(const char *root, const char *name, const char *text, bool *ret_changed,
               struct err *e);
/** unit_write_dropin - the same for NAME.d/@dropin, for instance "mortar.conf" */
int unit_write_dropin(const char *root, const char *name, const char *dropin, const char *text,
                      bool *ret_changed, struct err *e);
/** unit_remove - delete the unit file; absent is fine. Stop and disable it before. */
int unit_remove(const char *root, const char *name, bool *ret_changed, struct err *e);
/** unit_remove_dropin - delete NAME.d/@dropin and NAME.d when it is empty then */
int unit_remove_dropin(const char *root, const char *name, const char *dropin, bool *ret_changed,
                       struct err *e);

/** unit_parse_show - the output of `systemctl show -p …`. Pure. */
void unit_parse_show(const char *text, struct unit_state *ret);

/**
 * systemd_apply_slices - write both VM slices and start them. Return: 0, -ERR_IO or -ERR_COMMAND
 */
int systemd_apply_slices(struct err *e);
/** systemd_remove_slices - the opposite; absent is fine */
int systemd_remove_slices(struct err *e);

/**
 * libvirt_apply_tls - libvirtd listens for TLS on its port 16514, now and after each boot
 * Works whether libvirtd runs or not and harms no running QEMU (KillMode=process in Debian's unit).
 * Its certificates must be in place before: without them libvirtd does not start, and it is put
 * back to its local sockets before the failure is returned.
 * @restart: restart libvirtd even when it listens already, because certificates or settings changed
 * Return: 0; -ERR_COMMAND, -ERR_TIMEOUT
 */
int libvirt_apply_tls(bool restart, struct err *e);
/** libvirt_remove_tls - back to Debian's local sockets only */
int libvirt_remove_tls(struct err *e);
