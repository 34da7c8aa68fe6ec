/* SPDX-License-Identifier: Apache-2.0
 * The end of a QEMU. libvirt is asked, on a lane of its own; when it is mute, or does not end it, the process is
 * killed here: the store's order does not wait for a daemon (facts/ha.md 3.9 case 6). What is killed is the instance
 * that is meant and no other (virt_hold.h), and it is gone when its process is, not when the kill returns.
 * Not here: that libvirt lists the domain no more, which is what the core goes by; it does when it answers again. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "adapters/virt/virt_drive.h"
#include "adapters/virt/virt_hold.h"
#include "agent/act_vm.h"
#include "agent/env.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/worker.h"

#define ANSWER_US (12 * USEC_PER_SEC)  /* libvirt sends SIGTERM, and SIGKILL after 10 s */
#define ENDS_US (5 * USEC_PER_SEC)     /* after SIGKILL; a request that hangs in its mount takes as long as that */
#define NOTE_US (1 * USEC_PER_SEC)     /* for libvirt to notice an end, so that it lists the domain no more */
#define UNPROVED_US ANSWER_US /* nothing here can kill it; others wait for this thread, and it is asked again */

/* What libvirt is asked. It may outlive who asks: who of the two is last frees it. */
struct asked {
    atomic_int refs;
    atomic_bool is_over; /* nobody waits any more: it is not begun */
    const struct env *env;
    json_t *args;
    int answered_fd; /* an eventfd; readable when r and e hold the answer */
    atomic_bool is_answered; /* the same for the memory model */
    int r;
    struct err e;
};

static void asked_unref(struct asked *a)
{
    if (atomic_fetch_sub(&a->refs, 1) == 1) {
        (void)close(a->answered_fd);
        json_decref(a->args);
        free(a);
    }
}

static void ask_libvirt(void *arg)
{
    struct asked *a = arg;
    uint64_t one = 1;
    if (!atomic_load(&a->is_over)) {
        a->r = act_vm_end_by_libvirt(a->env, a->args, &a->e);
        atomic_store(&a->is_answered, true);
        (void)!write(a->answered_fd, &one, sizeof(one)); /* a counter of 8 bytes that is 0 takes it */
    }
    asked_unref(a);
}

static int ask(const struct env *env, const json_t *args, struct asked **ret, struct err *e)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0) {
        return ERR_SYS(e, IO, errno, "cannot make an eventfd");
    }
    struct asked *a = xcalloc(1, sizeof(*a));
    a->env = env;
    a->args = json_deep_copy(args);
    a->answered_fd = fd;
    atomic_init(&a->refs, 2);
    if (lane_run(env->end_lane, ask_libvirt, a, NULL) < 0) {
        asked_unref(a); /* as good as mute: all threads of the lane hang in libvirt */
    }
    *ret = a;
    return 0;
}

/* Has libvirt answered? No process is waited for. */
static bool has_answered(struct asked *a, uint64_t wait_us)
{
    struct virt_held nothing = {.fd = a->answered_fd, .pid = 0};
    return virt_held_wait(&nothing, -1, clock_boottime_us() + wait_us) && atomic_load(&a->is_answered);
}

static int kill_it(const struct virt_held *h, const char *name, struct err *e)
{
    log_warning("libvirt does not end a QEMU, which is killed without it", "vm=%s pid=%d", name, (int)h->pid);
    int r = virt_held_kill(h, e);
    if (r == 0 && !virt_held_wait(h, -1, clock_boottime_us() + ENDS_US)) {
        r = ERR_SET(e, TIMEOUT, "QEMU of '%s' is killed, but its process %d does not end", name, (int)h->pid);
    }
    return r;
}

static int end_held(struct asked *a, const struct virt_held *h, const char *name, struct err *e)
{
    if (virt_held_wait(h, a->answered_fd, clock_boottime_us() + ANSWER_US)) {
        if (has_answered(a, NOTE_US)) {
            return a->r < 0 ? err_copy(e, &a->e) : 0;
        }
        return 0;
    }
    bool is_answered = has_answered(a, 0);
    if (is_answered && a->r == -ERR_STATE) { /* another one than is meant */
        return err_copy(e, &a->e);
    }
    if (is_answered && a->r == 0 && virt_held_wait(h, -1, clock_boottime_us() + NOTE_US)) {
        return 0; /* else libvirt has lost track of it */
    }
    return kill_it(h, name, e);
}

int act_vm_destroy(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    const char *name = json_text_of(args, "name");
    _cleanup_virt_held_ struct virt_held h = {.fd = -1};
    struct asked *a = NULL;
    bool is_held = virt_hold(VIRT_RUN_DIR, name, &h, NULL) == 0 &&
                   act_vm_epoch_of(&h.meta) == json_u64_of(args, "epoch", 0);
    int r = ask(env, args, &a, e);
    if (r < 0) {
        return r;
    }
    if (is_held) {
        r = end_held(a, &h, name, e);
    } else if (has_answered(a, UNPROVED_US)) {
        r = a->r < 0 ? err_copy(e, &a->e) : 0;
    } else {
        r = ERR_SET(e, TIMEOUT, "libvirtd does not answer, and no process is surely the QEMU of '%s'", name);
    }
    atomic_store(&a->is_over, true);
    asked_unref(a);
    return r;
}
