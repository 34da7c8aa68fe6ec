/* SPDX-License-Identifier: Apache-2.0
 * Measures this host for `mortar check`, init and join. Changes nothing but a file of some
 * kilobytes in /var/lib, written for the measurement of the disk and removed. */
#pragma once

#include "adapters/host/check_judge.h"

/* The program that calls host_check_run() must answer to this option: it prints kvm_format_answer()
 * of kvm_probe_here("/dev/kvm") and exits. */
#define KVM_PROBE_OPTION "--probe-kvm"

struct check_opts {
    bool in_cluster;      /* this host has joined already */
    const char *etcd_dir; /* our member's directory below /var/lib/etcd, not foreign; NULL: "mortar" */
};

/**
 * host_check_run - measure and judge; takes 1 to 3 s
 * @ret: zero-initialised; caller ends it with check_list_done()
 * Return: 0 also when findings refuse (check_worst()); -ERR_IO, -ERR_COMMAND, -ERR_PARSE when the
 *         host cannot be examined at all
 */
int host_check_run(const struct check_opts *opts, struct check_list *ret, struct err *e);

/** host_check_observe - the measuring half. @ret: zero-initialised, large: not for small stacks */
int host_check_observe(const struct check_opts *opts, struct check_seen *ret, struct err *e);
/** host_check_ports - of that, who has which of check_ports. @ret: its ports are set */
void host_check_ports(struct check_seen *ret);
