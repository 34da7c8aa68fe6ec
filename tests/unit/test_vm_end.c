/* SPDX-License-Identifier: Apache-2.0
 * "vm.destroy" beside a libvirtd that never answers: a child of this test plays the QEMU, a pipe the libvirtd. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/virt/virt_hold.h"
#include "agent/act_vm.h"
#include "base/json.h"
#include "io/clock.h"
#include "io/worker.h"

#define ALMOST_US (11900 * USEC_PER_MSEC) /* of the time for libvirt's answer has passed */

static struct {
    pid_t child;
    uint64_t epoch;  /* of the child */
    int mute[2];     /* libvirt answers when this is closed */
    int answer;      /* then, or at once */
    bool is_mute;
    unsigned clocks; /* how often act_end.c has looked at it */
} play;

int __wrap_virt_hold(const char *run_dir, const char *name, struct virt_held *ret, struct err *e);
uint64_t __real_clock_boottime_us(void);
uint64_t __wrap_clock_boottime_us(void);

int __wrap_virt_hold(const char *run_dir, const char *name, struct virt_held *ret, struct err *e)
{
    *ret = (struct virt_held){.fd = pidfd_open(play.child, 0), .pid = play.child, .meta = {.n = play.epoch}};
    return 0;
}

uint64_t __wrap_clock_boottime_us(void)
{
    return __real_clock_boottime_us() - (play.clocks++ ? 0 : ALMOST_US);
}

uint64_t act_vm_epoch_of(const struct dom_meta *m)
{
    return m->n;
}

int act_vm_end_by_libvirt(const struct env *env, const json_t *args, struct err *e)
{
    char byte;
    if (play.is_mute) {
        (void)!read(play.mute[0], &byte, 1); /* until its other end is closed */
    }
    e->code = -play.answer;
    return play.answer;
}

static int setup(void **state)
{
    play.child = fork();
    if (play.child == 0) {
        (void)pause();
        _exit(0);
    }
    play.epoch = 4;
    play.answer = 0;
    play.is_mute = true;
    play.clocks = 0;
    return pipe(play.mute);
}

static int teardown(void **state)
{
    (void)kill(play.child, SIGKILL);
    (void)waitpid(play.child, NULL, 0);
    (void)close(play.mute[0]);
    return 0;
}

static bool is_there(void)
{
    return waitpid(play.child, NULL, WNOHANG) == 0;
}

static int destroy(struct err *e)
{
    struct env env = {.end_lane = lane_new("virt-end", 1, 4)};
    _cleanup_json_ json_t *args = json_pack("{s:s,s:i}", "name", "vm1", "epoch", 4);
    json_t *result = NULL;
    int r = act_vm_destroy(&env, args, NULL, &result, e);
    (void)close(play.mute[1]);
    lane_free(env.end_lane);
    return r;
}

static void a_qemu_is_killed_when_libvirtd_never_answers(void **state)
{
    struct err e = {0};
    assert_int_equal(destroy(&e), 0);
    assert_false(is_there());
}

static void a_qemu_is_killed_when_libvirt_cannot_end_it(void **state)
{
    struct err e = {0};
    play.is_mute = false;
    play.answer = -ERR_VIRT;
    assert_int_equal(destroy(&e), 0);
    assert_false(is_there());
}

static void a_qemu_is_killed_that_libvirt_has_lost_track_of(void **state)
{
    struct err e = {0};
    play.is_mute = false;
    assert_int_equal(destroy(&e), 0);
    assert_false(is_there());
}

static void what_is_another_instance_for_libvirt_is_not_killed(void **state)
{
    struct err e = {0};
    play.is_mute = false;
    play.answer = -ERR_STATE;
    assert_int_equal(destroy(&e), -ERR_STATE);
    assert_true(is_there());
}

static void a_qemu_of_another_epoch_is_not_killed(void **state)
{
    struct err e = {0};
    play.epoch = 5;
    play.is_mute = false;
    play.answer = -ERR_VIRT;
    assert_int_equal(destroy(&e), -ERR_VIRT);
    assert_true(is_there());
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_qemu_is_killed_when_libvirtd_never_answers),
        T(a_qemu_is_killed_when_libvirt_cannot_end_it),
        T(a_qemu_is_killed_that_libvirt_has_lost_track_of),
        T(what_is_another_instance_for_libvirt_is_not_killed),
        T(a_qemu_of_another_epoch_is_not_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
