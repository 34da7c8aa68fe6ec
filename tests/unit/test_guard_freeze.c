/* SPDX-License-Identifier: Apache-2.0
 * What counts as standing still, where the kernel does not say "frozen": files that look like a control group, and
 * real processes. With a real control group: tests/integration/test_guard.py. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/str.h"
#include "guard/freeze.h"

struct slice {
    char path[64];
    struct freeze f;
    pid_t child;
};

static void put(const char *folder, const char *name, const char *text)
{
    _cleanup_free_ char *path = str_printf("%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A slice with a group in it, frozen by order, populated, and not said to be frozen */
static int setup(void **state)
{
    struct slice *s = xcalloc(1, sizeof(*s));
    (void)snprintf(s->path, sizeof(s->path), "/tmp/mortar-freeze-XXXXXX");
    assert_non_null(mkdtemp(s->path));
    _cleanup_free_ char *scope = str_printf("%s/vm.scope", s->path);
    assert_int_equal(mkdir(scope, 0700), 0);
    put(s->path, "cgroup.freeze", "1\n");
    put(s->path, "cgroup.events", "populated 1\nfrozen 0\n");
    put(s->path, "cgroup.procs", "");
    put(scope, "cgroup.procs", "");
    freeze_init(&s->f, s->path);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct slice *s = *state;
    _cleanup_free_ char *rm = str_printf("rm -r %s", s->path);
    freeze_done(&s->f);
    if (s->child > 0) {
        (void)kill(s->child, SIGKILL);
        (void)waitpid(s->child, NULL, 0);
    }
    int r = system(rm);
    free(s);
    return r;
}

/* A child that is busy, or sleeps, in the group */
static void add_child(struct slice *s, bool is_busy)
{
    _cleanup_free_ char *scope = str_printf("%s/vm.scope", s->path);
    char line[32];
    s->child = fork();
    assert_true(s->child >= 0);
    while (s->child == 0) {
        if (!is_busy) {
            (void)pause();
        }
    }
    (void)snprintf(line, sizeof(line), "%d\n", (int)s->child);
    put(scope, "cgroup.procs", line);
}

static void what_is_on_a_cpu_runs(void **state)
{
    struct slice *s = *state;
    add_child(s, true);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(freeze_observe(&s->f), FREEZE_RUNNING);
    }
}

static void what_sleeps_stands_still_when_freezing_was_ordered(void **state)
{
    struct slice *s = *state;
    bool is_still = false;
    add_child(s, false);
    for (time_t end = time(NULL) + 50; !is_still && time(NULL) < end;) { /* it is on its way to sleep */
        is_still = freeze_observe(&s->f) == FREEZE_STILL;
    }
    assert_true(is_still);
    put(s->path, "cgroup.freeze", "0\n");
    assert_int_equal(freeze_observe(&s->f), FREEZE_RUNNING);
}

static void kernels_word_suffices(void **state)
{
    struct slice *s = *state;
    add_child(s, true);
    put(s->path, "cgroup.events", "populated 1\nfrozen 1\n");
    assert_int_equal(freeze_observe(&s->f), FREEZE_STILL);
    put(s->path, "cgroup.events", "populated 0\nfrozen 0\n");
    assert_int_equal(freeze_observe(&s->f), FREEZE_EMPTY);
}

static void what_nobody_can_see_runs(void **state)
{
    struct slice *s = *state;
    _cleanup_free_ char *scope = str_printf("%s/vm.scope", s->path);
    put(scope, "cgroup.procs", "0\n"); /* of another PID namespace */
    assert_int_equal(freeze_observe(&s->f), FREEZE_RUNNING);
    put(scope, "cgroup.procs", "4194304\n"); /* gone */
    assert_int_equal(freeze_observe(&s->f), FREEZE_STILL);
}

static void what_lies_too_deep_runs(void **state)
{
    struct slice *s = *state;
    _cleanup_free_ char *path = str_printf("%s/vm.scope", s->path);
    for (int depth = 2; depth <= FREEZE_DEPTH_MAX; depth++) {
        assert_int_equal(freeze_observe(&s->f), FREEZE_STILL);
        char *deeper = str_printf("%s/x", path);
        free(path);
        path = deeper;
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(freeze_observe(&s->f), FREEZE_RUNNING);
}

static void many_processes_are_all_looked_at(void **state)
{
    struct slice *s = *state;
    _cleanup_free_ char *scope = str_printf("%s/vm.scope", s->path);
    _cleanup_sbuf_ struct sbuf b = {0};
    add_child(s, true);
    for (unsigned i = 0; i < 500; i++) { /* more than one read() */
        sbuf_printf(&b, "%u\n", 4000000 + i);
    }
    sbuf_printf(&b, "%d\n", (int)s->child);
    put(scope, "cgroup.procs", b.data);
    assert_int_equal(freeze_observe(&s->f), FREEZE_RUNNING);
}

static void slice_may_be_missing(void **state)
{
    struct slice *s = *state;
    struct freeze none;
    struct err e = {0};
    freeze_init(&none, "/nonexistent");
    assert_false(freeze_refresh(&none));
    assert_int_equal(freeze_apply(&none, true, &e), 0);
    assert_int_equal(freeze_observe(&none), FREEZE_EMPTY);
    assert_false(freeze_is_set(&none));
    put(s->path, "cgroup.freeze", "0\n");
    assert_int_equal(freeze_apply(&s->f, true, &e), 0);
    assert_true(freeze_is_set(&s->f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_on_a_cpu_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(what_sleeps_stands_still_when_freezing_was_ordered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(kernels_word_suffices, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_can_see_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(what_lies_too_deep_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(many_processes_are_all_looked_at, setup, teardown),
        cmocka_unit_test_setup_teardown(slice_may_be_missing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
