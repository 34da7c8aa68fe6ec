/* SPDX-License-Identifier: Apache-2.0
 * The allocator gives back what is free. Not built with a sanitizer, which has another one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "agent/heap.h"
#include "base/str.h"

#define PIECES 4000
#define PIECE_BYTES 4000

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0;
    unsigned long long resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llu %llu", &size, &resident), 2);
    (void)fclose(f); /* read only */
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Every eighth piece stays: all of 16 MB lies before something in use, and most pages are free. */
static void what_is_free_between_things_in_use_is_given_back(void **state)
{
    char **pieces = xcalloc(PIECES, sizeof(*pieces));
    size_t before = mallinfo2().arena;
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = memset(xcalloc(1, PIECE_BYTES), 1, PIECE_BYTES);
    }
    assert_true(mallinfo2().arena > before);
    for (size_t i = 0; i < PIECES; i++) {
        if (i % 8) {
            free(pieces[i]);
            pieces[i] = NULL;
        }
    }
    uint64_t kept = resident_bytes();
    heap_give_back();
    uint64_t left = resident_bytes();
    for (size_t i = 0; i < PIECES; i++) {
        free(pieces[i]);
    }
    free(pieces);
    assert_true(left + 8 * MIB < kept);
}

static void *allocate(void *arg)
{
    free(xcalloc(1, 100));
    *(size_t *)arg = mallinfo2().arena;
    return NULL;
}

/* mallinfo2() adds arenas up: a thread that had one of its own would add at least its first 132 KiB. */
static void threads_have_no_arena_of_their_own(void **state)
{
    pthread_t thread;
    size_t after = 0;
    void *big = xcalloc(1, 100);
    size_t before = mallinfo2().arena;
    assert_int_equal(pthread_create(&thread, NULL, allocate, &after), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    free(big);
    assert_true(after <= before + 64 * KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_free_between_things_in_use_is_given_back),
        cmocka_unit_test(threads_have_no_arena_of_their_own),
    };
    heap_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
