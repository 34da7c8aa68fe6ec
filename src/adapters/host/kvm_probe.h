/* SPDX-License-Identifier: Apache-2.0
 * Does KVM run a guest here? Answered by running one: four bytes of real-mode code that say a letter
 * and halt. A device that opens proves nothing, and a defect of nested KVM may hang the caller in
 * the kernel; so the probe runs in a child process with a deadline. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* How far the probe came; what follows the last one that worked is what failed. */
enum kvm_step {
    KVM_STEP_NONE,   /* the probe itself gave no answer */
    KVM_STEP_OPEN,   /* opening /dev/kvm */
    KVM_STEP_API,    /* its version, 12 since Linux 2.6.22 */
    KVM_STEP_VM,     /* KVM_CREATE_VM */
    KVM_STEP_MEMORY, /* giving it a page */
    KVM_STEP_CPU,    /* KVM_CREATE_VCPU and its registers */
    KVM_STEP_RUN,    /* KVM_RUN */
    KVM_STEP_GUEST,  /* the guest said its letter and halted */
    KVM_STEP_DONE,   /* all of it worked */
};

struct kvm_seen {
    enum kvm_step failed_at; /* KVM_STEP_DONE: KVM runs guests */
    int sys;                 /* errno of that step, or 0 */
    bool timed_out;          /* the probe hung and was killed */
};

/** kvm_step_name - "open", "create-vm", …, "done" */
const char *kvm_step_name(enum kvm_step s);

/**
 * kvm_probe_here - the probe itself, in this process: may hang, so only in a process of its own
 * @device: "/dev/kvm"
 */
struct kvm_seen kvm_probe_here(const char *device);

/** kvm_format_answer - "STEP ERRNO\n", what that process prints. Caller frees. Pure. */
char *kvm_format_answer(const struct kvm_seen *k);

/** kvm_parse_answer - the same read back; KVM_STEP_NONE for what is no answer. Pure. */
struct kvm_seen kvm_parse_answer(const char *text);

/**
 * kvm_probe - run @argv, a program that prints kvm_format_answer() of kvm_probe_here(), for at
 *             most some seconds
 * Never fails: what went wrong is in the answer.
 */
struct kvm_seen kvm_probe(const char *const *argv);
