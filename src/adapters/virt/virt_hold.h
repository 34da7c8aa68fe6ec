/* SPDX-License-Identifier: Apache-2.0
 * A QEMU of ours, found and proved without libvirtd: what a kill needs that no longer waits for it. */
#pragma once

#include "adapters/virt/domxml_parse.h"

struct virt_held {
    int fd; /* pidfd */
    pid_t pid;
    struct dom_meta meta;
};

/** virt_held_done - close it */
void virt_held_done(struct virt_held *h);
#define _cleanup_virt_held_ _cleanup_(virt_held_done)

/**
 * virt_hold - hold the process of the instance that libvirt's status file names
 * @run_dir: VIRT_RUN_DIR        @ret: set on success; caller ends it with virt_held_done()
 * Return: 0; -ERR_NOT_FOUND when nothing is proved: no file, not ours, or its pid is not (any more) a QEMU with that
 *         name and uuid. That says nothing about whether one runs.
 * The descriptor is opened first, then the command line is looked at, then the file once more: so the pid was not
 * used again in between. libvirt writes the file with a new QEMU's pid before it lets that process become QEMU.
 * Source: libvirt 9.0.0 src/qemu/qemu_process.c, qemuProcessLaunch: "Writing early domain status to disk"
 */
int virt_hold(const char *run_dir, const char *name, struct virt_held *ret, struct err *e);

/**
 * virt_held_wait - has its last thread ended?
 * @other_fd: or -1; returns as well when this one is readable
 * Return: true when it has
 */
bool virt_held_wait(const struct virt_held *h, int other_fd, uint64_t deadline_us);

/** virt_held_kill - SIGKILL, which a frozen process of cgroup v2 hears, too. Return: 0 (also when it has ended), -ERR_IO */
int virt_held_kill(const struct virt_held *h, struct err *e);
