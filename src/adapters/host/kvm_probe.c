/* SPDX-License-Identifier: Apache-2.0
 * Source of the interface: linux/Documentation/virt/kvm/api.rst. */
#include "adapters/host/kvm_probe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/units.h"
#include "io/cmd.h"
#include "io/file.h"

#define API_VERSION 12
#define PAGE_BYTES ((size_t)4096)
#define PROBE_TIMEOUT_US (5 * USEC_PER_SEC) /* it takes some milliseconds */
#define PORT 0xe9
#define LETTER 'M'
#define EXITS_MAX 8 /* a debug exit or two may come between */

static const char *const step_names[] = {"none",       "open", "api",   "create-vm", "memory",
                                         "create-cpu", "run",  "guest", "done"};

const char *kvm_step_name(enum kvm_step s)
{
    assert(s < ELEMENTS(step_names));
    return step_names[s];
}

char *kvm_format_answer(const struct kvm_seen *k)
{
    return str_printf("%s %d\n", kvm_step_name(k->failed_at), k->sys);
}

struct kvm_seen kvm_parse_answer(const char *text)
{
    _cleanup_strv_ struct strv w = {0};
    uint64_t sys = 0;
    strv_split(&w, text, " \n");
    if (w.n == 2 && str_parse_u64(w.v[1], 4095, &sys, NULL) == 0) {
        for (size_t i = 1; i < ELEMENTS(step_names); i++) {
            if (str_eq(w.v[0], step_names[i])) {
                return (struct kvm_seen){.failed_at = (enum kvm_step)i, .sys = (int)sys};
            }
        }
    }
    return (struct kvm_seen){.failed_at = KVM_STEP_NONE};
}

struct vm {
    int kvm;
    int vm;
    int cpu;
    unsigned char *page; /* the guest's memory */
    struct kvm_run *run;
    size_t run_bytes;
};

static void vm_done(struct vm *v)
{
    if (v->run) {
        (void)munmap(v->run, v->run_bytes); /* a whole mapping */
    }
    close_fdp(&v->cpu);
    close_fdp(&v->vm);
    close_fdp(&v->kvm);
    if (v->page) {
        (void)munmap(v->page, PAGE_BYTES);
    }
}

static bool give_memory(struct vm *v)
{
    /* mov $'M', %al; out %al, $0xe9; hlt */
    static const unsigned char code[] = {0xb0, LETTER, 0xe6, PORT, 0xf4};
    void *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    v->page = p;
    memcpy(v->page, code, sizeof(code));
    struct kvm_userspace_memory_region region = {.memory_size = PAGE_BYTES,
                                                 .userspace_addr = (uintptr_t)v->page};
    return ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static bool make_cpu(struct vm *v)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rflags = 2}; /* a bit that is always set */
    v->cpu = ioctl(v->vm, KVM_CREATE_VCPU, 0);
    int bytes = v->cpu < 0 ? -1 : ioctl(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(*v->run)) {
        return false;
    }
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->cpu, 0);
    if (p == MAP_FAILED) {
        return false;
    }
    v->run = p;
    v->run_bytes = (size_t)bytes;
    if (ioctl(v->cpu, KVM_GET_SREGS, &sregs) < 0) {
        return false;
    }
    sregs.cs.base = 0; /* at reset it points below 4 GiB */
    sregs.cs.selector = 0;
    return ioctl(v->cpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(v->cpu, KVM_SET_REGS, &regs) == 0;
}

/* Runs until the guest halts; KVM_STEP_DONE when it had said its letter. */
static enum kvm_step run_guest(struct vm *v)
{
    bool said = false;
    for (int i = 0; i < EXITS_MAX; i++) {
        if (ioctl(v->cpu, KVM_RUN, 0) < 0) {
            return KVM_STEP_RUN;
        }
        if (v->run->exit_reason == KVM_EXIT_HLT) {
            return said ? KVM_STEP_DONE : KVM_STEP_GUEST;
        }
        if (v->run->exit_reason != KVM_EXIT_IO || v->run->io.port != PORT) {
            break;
        }
        said = ((const char *)v->run)[v->run->io.data_offset] == LETTER;
    }
    errno = 0;
    return KVM_STEP_GUEST;
}

static enum kvm_step probe(const char *device, struct vm *v)
{
    v->kvm = open(device, O_RDWR | O_CLOEXEC);
    if (v->kvm < 0) {
        return KVM_STEP_OPEN;
    }
    if (ioctl(v->kvm, KVM_GET_API_VERSION, 0) != API_VERSION) {
        return KVM_STEP_API;
    }
    v->vm = ioctl(v->kvm, KVM_CREATE_VM, 0);
    if (v->vm < 0) {
        return KVM_STEP_VM;
    }
    return !give_memory(v) ? KVM_STEP_MEMORY : !make_cpu(v) ? KVM_STEP_CPU : run_guest(v);
}

struct kvm_seen kvm_probe_here(const char *device)
{
    struct vm v = {.kvm = -1, .vm = -1, .cpu = -1};
    errno = 0;
    enum kvm_step failed_at = probe(device, &v);
    int sys = failed_at == KVM_STEP_DONE ? 0 : errno;
    vm_done(&v);
    return (struct kvm_seen){.failed_at = failed_at, .sys = sys};
}

struct kvm_seen kvm_probe(const char *const *argv)
{
    _cleanup_cmd_ struct cmd_result done = {0};
    const struct cmd_opts opts = {.timeout_us = PROBE_TIMEOUT_US};
    int r = cmd_run(argv, &opts, &done, NULL);
    if (r < 0) {
        return (struct kvm_seen){.failed_at = KVM_STEP_NONE, .timed_out = r == -ERR_TIMEOUT};
    }
    return kvm_parse_answer(done.out);
}
