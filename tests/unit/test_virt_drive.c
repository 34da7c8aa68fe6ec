/* SPDX-License-Identifier: Apache-2.0
 * The driver against libvirt's own test:///default, which lives in our process. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/virt/virt_conn.h"
#include "adapters/virt/virt_migrate.h"
#include "io/clock.h"

#define VM_UUID "0d5b1f8e-2a51-4d0c-9d5e-6f1f5c3d7a10"

/* The test driver knows type 'test' only, so this is not what dom_xml_format() makes. */
static const char vm_xml[] =
    "<domain type='test'><name>vm1</name><uuid>" VM_UUID "</uuid><metadata>"
    "<m:vm xmlns:m='urn:mortar:vm:1' uuid='" VM_UUID "' restore_gen='1' epoch='4' owner='host1' "
    "inc='2'/></metadata><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>";


struct inbox {
    struct virt_event events[32];
    size_t n;
};

static void on_mail(void *arg, void *msg)
{
    struct inbox *in = arg;
    assert_true(in->n < ELEMENTS(in->events));
    in->events[in->n++] = *(struct virt_event *)msg;
    free(msg);
}

/* Turn the loop until an event of @kind is there, at most 60 s. */
static const struct virt_event *await(struct loop *l, struct inbox *in, enum virt_event_kind kind)
{
    uint64_t deadline = clock_boottime_us() + 60 * USEC_PER_SEC;
    while (clock_boottime_us() < deadline) {
        for (size_t i = 0; i < in->n; i++) {
            if (in->events[i].kind == kind) {
                return &in->events[i];
            }
        }
        assert_int_equal(loop_turn(l, 100 * USEC_PER_MSEC, NULL), 0);
    }
    fail_msg("no event of kind %d came", (int)kind);
    return NULL;
}

static const struct virt_domain *find_in(const struct virt_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (str_eq(l->v[i].info.name, name)) {
            return &l->v[i];
        }
    }
    return NULL;
}

static void ours_and_others_are_listed(void **state)
{
    _cleanup_(virt_closep) struct virt *v = virt_open("test:///default", NULL);
    _cleanup_virt_list_ struct virt_list list = {0};
    assert_int_equal(virt_create(v, vm_xml, false, NULL), 0);
    assert_int_equal(virt_observe(v, &list, NULL), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(find_in(&list, "test")->info.ours, DOM_OURS_NO);
    const struct virt_domain *d = find_in(&list, "vm1");
    assert_int_equal(d->info.ours, DOM_OURS_YES);
    assert_int_equal(d->info.meta.n, 4);
    assert_string_equal(d->info.meta.owner, "host1");
    assert_int_equal(d->state, VIRT_RUNNING);
    assert_true(d->id > 0);
}

struct coming_and_going {
    struct virt *v;
    atomic_bool is_over;
};

static void *come_and_go(void *arg)
{
    struct coming_and_going *c = arg;
    while (!c->is_over) {
        (void)virt_create(c->v, vm_xml, false, NULL);
        (void)virt_destroy(c->v, "vm1", false, NULL);
    }
    return NULL;
}

/* 2,000 lists and more, until the domain was met in some and missed in others. */
static void a_domain_that_ends_meanwhile_is_left_out(void **state)
{
    _cleanup_(virt_closep) struct virt *v = virt_open("test:///default", NULL);
    struct coming_and_going c = {.v = v};
    pthread_t thread;
    size_t listed = 0;
    size_t missed = 0;
    assert_int_equal(virt_connect(v, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, come_and_go, &c), 0);
    uint64_t deadline = clock_boottime_us() + 60 * USEC_PER_SEC;
    for (int i = 0; (i < 2000 || !listed || !missed) && clock_boottime_us() < deadline; i++) {
        _cleanup_virt_list_ struct virt_list list = {0};
        struct err e = {0};
        if (virt_observe(v, &list, &e) < 0) {
            fail_msg("list %d: %s", i, e.msg);
        }
        listed += find_in(&list, "vm1") != NULL;
        missed += find_in(&list, "vm1") == NULL;
    }
    c.is_over = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(listed && missed);
}

static void a_vm_lives_through_its_states(void **state)
{
    _cleanup_(virt_closep) struct virt *v = virt_open("test:///default", NULL);
    struct virt_domain d = {0};
    struct err e = {0};
    assert_int_equal(virt_create(v, vm_xml, false, NULL), 0);
    assert_int_equal(virt_suspend(v, "vm1", NULL), 0); /* the test driver cannot start paused */
    assert_int_equal(virt_find(v, "vm1", &d, NULL), 0);
    assert_int_equal(d.state, VIRT_PAUSED);
    dom_info_done(&d.info);
    assert_int_equal(virt_resume(v, "vm1", NULL, NULL), 0);
    assert_int_equal(virt_resume(v, "vm1", NULL, NULL), 0);
    assert_int_equal(virt_suspend(v, "vm1", NULL), 0);
    assert_int_equal(virt_create(v, vm_xml, false, &e), -ERR_EXISTS);
    assert_int_equal(virt_destroy(v, "vm1", false, NULL), 0);
    assert_int_equal(virt_destroy(v, "vm1", false, NULL), 0);
    assert_int_equal(virt_find(v, "vm1", &d, NULL), -ERR_NOT_FOUND);
    assert_int_equal(virt_reset(v, "vm1", NULL), -ERR_NOT_FOUND);
}

static enum virt_state state_of(struct virt *v, const char *name)
{
    struct virt_domain d = {0};
    assert_int_equal(virt_find(v, name, &d, NULL), 0);
    dom_info_done(&d.info);
    return d.state;
}

static void only_the_instance_that_is_meant_is_resumed(void **state)
{
    _cleanup_(virt_closep) struct virt *v = virt_open("test:///default", NULL);
    struct virt_domain d = {0};
    assert_int_equal(virt_create(v, vm_xml, false, NULL), 0);
    assert_int_equal(virt_suspend(v, "vm1", NULL), 0);
    assert_int_equal(virt_suspend(v, "test", NULL), 0);
    assert_int_equal(virt_find(v, "vm1", &d, NULL), 0);
    struct dom_meta meant = d.info.meta;
    dom_info_done(&d.info);
    assert_int_equal(virt_resume(v, "test", &meant, NULL), -ERR_STATE); /* nobody's */
    assert_int_equal(state_of(v, "test"), VIRT_PAUSED);
    meant.n++;
    assert_int_equal(virt_resume(v, "vm1", &meant, NULL), -ERR_STATE);
    meant.n--;
    meant.uuid[0] ^= 1;
    assert_int_equal(virt_resume(v, "vm1", &meant, NULL), -ERR_STATE);
    assert_int_equal(state_of(v, "vm1"), VIRT_PAUSED);
    meant.uuid[0] ^= 1;
    assert_int_equal(virt_resume(v, "vm1", &meant, NULL), 0);
    assert_int_equal(state_of(v, "vm1"), VIRT_RUNNING);
}

static void events_reach_the_loop(void **state)
{
    _cleanup_(loop_freep) struct loop *l = NULL;
    _cleanup_(mailbox_freep) struct mailbox *m = NULL;
    struct inbox in = {0};
    assert_int_equal(loop_new(&l, NULL), 0);
    assert_int_equal(mailbox_new(l, on_mail, &in, &m, NULL), 0);
    _cleanup_(virt_closep) struct virt *v = virt_open("test:///default", m);
    virt_warm(v); /* without a connection: nothing */
    assert_int_equal(virt_connect(v, NULL), 0);
    virt_warm(v); /* this driver has no QEMU to ask: nothing is left of its error */
    virt_warm(v);
    (void)await(l, &in, VIRT_EVENT_CONNECTED);
    assert_int_equal(virt_create(v, vm_xml, false, NULL), 0);
    const struct virt_event *ev = await(l, &in, VIRT_EVENT_STARTED);
    assert_string_equal(ev->name, "vm1");
    assert_string_equal(ev->uuid, VM_UUID);
    assert_string_equal(ev->detail, "booted");
    assert_true(ev->at_us > 0);
    assert_int_equal(virt_destroy(v, "vm1", false, NULL), 0);
    assert_string_equal(await(l, &in, VIRT_EVENT_STOPPED)->detail, "destroyed");
}

static void no_libvirtd_is_an_error_with_a_hint(void **state)
{
    _cleanup_(virt_closep) struct virt *v =
        virt_open("qemu+unix:///system?socket=/nonexistent/libvirt-sock", NULL);
    _cleanup_virt_list_ struct virt_list list = {0};
    struct err e = {0};
    assert_int_equal(virt_observe(v, &list, &e), -ERR_VIRT);
    assert_true(e.hint[0]);
}

static void a_process_is_in_its_own_cgroup_only(void **state)
{
    _cleanup_free_ char *cgroup = NULL;
    bool in = true;
    assert_int_equal(virt_in_slice(getpid(), DOM_SLICE_VMS, &in, &cgroup, NULL), 0);
    assert_false(in);
    assert_int_equal(virt_in_slice(INT32_MAX, DOM_SLICE_VMS, &in, NULL, NULL), -ERR_NOT_FOUND);
}

static void without_qemu_there_is_no_pidfd_and_no_console(void **state)
{
    int fd = -1;
    assert_int_equal(virt_pidfd("no-such-vm", NULL, &fd, NULL), -ERR_NOT_FOUND);
    assert_int_equal(virt_console_connect("/nonexistent/a.sock", 0, &fd, NULL), -ERR_NOT_FOUND);
    assert_int_equal(fd, -1);
}

static void job_fields_become_ours(void **state)
{
    virTypedParameter p[] = {
        {.field = "memory_total", .type = VIR_TYPED_PARAM_ULLONG, .value.ul = 1000},
        {.field = "memory_dirty_rate", .type = VIR_TYPED_PARAM_ULLONG, .value.ul = 3},
        {.field = "auto_converge_throttle", .type = VIR_TYPED_PARAM_INT, .value.i = 20},
        {.field = "something_new", .type = VIR_TYPED_PARAM_ULLONG, .value.ul = 1},
    };
    struct virt_job job = {0};
    virt_job_of(p, (int)ELEMENTS(p), &job);
    assert_int_equal(job.total_bytes, 1000);
    assert_int_equal(job.dirty_bytes_per_s, 3 * 4096);
    assert_int_equal(job.throttle_percent, 20);
}

#define LOG_START "2026-11-22 23:41:59.669+0000: starting up libvirt version: 9.0.0, package\n-name\n"
#define LOG_END(how) "2026-11-22 23:42:11.919+0000: shutting down, reason=" how "\n"

static void the_log_tells_how_the_newest_instance_ended(void **state)
{
    static const struct {
        const char *text;
        enum virt_end end;
    } cases[] = {
        {"", VIRT_END_UNTOLD},
        {LOG_START, VIRT_END_UNTOLD},
        {LOG_START LOG_END("migrated"), VIRT_END_MIGRATED},
        {LOG_START LOG_END("migrated") LOG_END("unknown"), VIRT_END_MIGRATED},
        {LOG_START LOG_END("unknown") LOG_END("migrated"), VIRT_END_OTHER},
        {LOG_START LOG_END("migrated") LOG_START, VIRT_END_UNTOLD},
        {LOG_START LOG_END("migrated") LOG_START LOG_END("crashed"), VIRT_END_OTHER},
        {LOG_START LOG_END("migrated, perhaps"), VIRT_END_OTHER},
        {LOG_END("migrated"), VIRT_END_UNTOLD},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        assert_int_equal(virt_log_end(cases[i].text, strlen(cases[i].text)), cases[i].end);
    }
}

static void a_thread_that_ends_is_known_by_its_flags(void **state)
{
    static const struct {
        const char *text;
        bool is_ending;
    } cases[] = {
        {"7 (CPU 0/TCG) S 1 7 7 0 -1 4194624 5", false},
        {"7 (CPU 0/TCG) R 1 7 7 0 -1 4194628 5", true}, /* PF_EXITING */
        {"7 (CPU 0/TCG) Z 1 7 7 0 -1 0 5", true},
        {"7 (a) Z 1 1 1 1 1 4) S 1 7 7 0 -1 4194624 5", false}, /* whatever it calls itself */
        {"7 (qemu", false},
        {"", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        assert_int_equal(virt_stat_is_ending(cases[i].text), cases[i].is_ending);
    }
}

static void a_process_is_ending_only_after_its_kill(void **state)
{
    int lives[2];
    char byte;
    assert_int_equal(pipe(lives), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)pause();
        _exit(0);
    }
    assert_false(virt_is_ending(pid));
    assert_int_equal(kill(pid, SIGKILL), 0);
    (void)close(lives[1]);
    assert_int_equal(read(lives[0], &byte, 1), 0); /* its end is closed: it has begun to exit */
    assert_true(virt_is_ending(pid));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(virt_is_ending(pid));
    (void)close(lives[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_and_others_are_listed),
        cmocka_unit_test(a_domain_that_ends_meanwhile_is_left_out),
        cmocka_unit_test(a_vm_lives_through_its_states),
        cmocka_unit_test(only_the_instance_that_is_meant_is_resumed),
        cmocka_unit_test(events_reach_the_loop),
        cmocka_unit_test(no_libvirtd_is_an_error_with_a_hint),
        cmocka_unit_test(a_process_is_in_its_own_cgroup_only),
        cmocka_unit_test(without_qemu_there_is_no_pidfd_and_no_console),
        cmocka_unit_test(job_fields_become_ours),
        cmocka_unit_test(the_log_tells_how_the_newest_instance_ended),
        cmocka_unit_test(a_thread_that_ends_is_known_by_its_flags),
        cmocka_unit_test(a_process_is_ending_only_after_its_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
