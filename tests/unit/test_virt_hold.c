/* SPDX-License-Identifier: Apache-2.0
 * Which process may be killed for a machine without libvirtd: a child of this test plays QEMU. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/virt/virt_hold.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"

#define VM_UUID "0d5b1f8e-2a51-4d0c-9d5e-6f1f5c3d7a10"
#define OTHER_UUID "1d5b1f8e-2a51-4d0c-9d5e-6f1f5c3d7a10"

struct fixture {
    char dir[32];
    char *status;
    pid_t child;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    *state = f;
    strcpy(f->dir, "/tmp/hold-XXXXXX");
    if (!mkdtemp(f->dir)) {
        return -1;
    }
    f->status = str_printf("%s/vm1.xml", f->dir);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->child > 0) {
        (void)kill(f->child, SIGKILL);
        (void)waitpid(f->child, NULL, 0);
    }
    (void)unlink(f->status);
    (void)rmdir(f->dir);
    free(f->status);
    free(f);
    return 0;
}

/* Returns when it has the command line: exec closes the pipe. */
static void play_qemu(struct fixture *f, const char *guest, const char *uuid)
{
    int execs[2];
    char byte;
    assert_int_equal(pipe2(execs, O_CLOEXEC), 0);
    f->child = fork();
    if (f->child == 0) {
        (void)execl("/bin/sh", "qemu-system-x86_64", "-c", "kill -STOP $$", "-name", guest, "-uuid", uuid, NULL);
        _exit(127);
    }
    (void)close(execs[1]);
    assert_int_equal(read(execs[0], &byte, 1), 0);
    (void)close(execs[0]);
}

static void tell(struct fixture *f, pid_t pid, const char *mark)
{
    _cleanup_free_ char *text = str_printf(
        "<domstatus state='running' reason='booted' pid='%d'><domain type='qemu' id='1'><name>vm1</name><uuid>" VM_UUID
        "</uuid><metadata>%s</metadata><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain></domstatus>",
        (int)pid, mark);
    assert_int_equal(file_replace(f->status, text, strlen(text), 0600, NULL), 0);
}

#define MARK "<m:vm xmlns:m='urn:mortar:vm:1' uuid='" VM_UUID "' restore_gen='1' epoch='4' owner='host1' inc='2'/>"

static int hold(const struct fixture *f, struct virt_held *ret)
{
    return virt_hold(f->dir, "vm1", ret, NULL);
}

static void the_qemu_of_the_status_file_is_held_and_ends(void **state)
{
    struct fixture *f = *state;
    _cleanup_virt_held_ struct virt_held h = {.fd = -1};
    play_qemu(f, "guest=vm1,debug-threads=on", VM_UUID);
    tell(f, f->child, MARK);
    assert_int_equal(hold(f, &h), 0);
    assert_int_equal(h.pid, f->child);
    assert_int_equal(h.meta.n, 4);
    assert_string_equal(h.meta.uuid, VM_UUID);
    assert_false(virt_held_wait(&h, -1, clock_boottime_us()));
    assert_int_equal(virt_held_kill(&h, NULL), 0);
    assert_true(virt_held_wait(&h, -1, clock_boottime_us() + 60 * USEC_PER_SEC));
    assert_int_equal(waitpid(f->child, NULL, 0), f->child);
    f->child = 0;
    assert_int_equal(virt_held_kill(&h, NULL), 0); /* who has ended needs no kill, whoever has its pid now */
}

static void a_pid_that_another_process_has_by_now_is_not_held(void **state)
{
    struct fixture *f = *state;
    struct virt_held h = {.fd = -1};
    tell(f, getpid(), MARK);
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
    play_qemu(f, "guest=vm2,debug-threads=on", VM_UUID);
    tell(f, f->child, MARK);
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
}

static void a_qemu_of_that_name_and_another_uuid_is_not_held(void **state)
{
    struct fixture *f = *state;
    struct virt_held h = {.fd = -1};
    play_qemu(f, "guest=vm1,debug-threads=on", OTHER_UUID);
    tell(f, f->child, MARK);
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
}

static void a_domain_without_our_mark_is_not_held(void **state)
{
    struct fixture *f = *state;
    struct virt_held h = {.fd = -1};
    play_qemu(f, "guest=vm1,debug-threads=on", VM_UUID);
    tell(f, f->child, "");
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
}

static void without_a_status_file_that_can_be_read_nothing_is_held(void **state)
{
    struct fixture *f = *state;
    struct virt_held h = {.fd = -1};
    play_qemu(f, "guest=vm1,debug-threads=on", VM_UUID);
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
    tell(f, 0, MARK);
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
    assert_int_equal(file_replace(f->status, "<domstatus pid='3'>", 19, 0600, NULL), 0);
    assert_int_equal(hold(f, &h), -ERR_NOT_FOUND);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_qemu_of_the_status_file_is_held_and_ends),
        T(a_pid_that_another_process_has_by_now_is_not_held),
        T(a_qemu_of_that_name_and_another_uuid_is_not_held),
        T(a_domain_without_our_mark_is_not_held),
        T(without_a_status_file_that_can_be_read_nothing_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
