/* SPDX-License-Identifier: Apache-2.0
 * To be preloaded: counts calls of the allocator in the file that MALLOC_COUNT names, eight bytes of native order.
 * test_guard.py proves with it that mortar-guard allocates nothing once it is ready. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static uint64_t early; /* before there is a file */
static uint64_t *count = &early;

__attribute__((constructor)) static void count_into_file(void)
{
    const char *path = getenv("MALLOC_COUNT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *shared = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) {
        count = shared;
        __atomic_store_n(count, early + 1, __ATOMIC_SEQ_CST); /* 0 would mean that nobody counts */
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

void *malloc(size_t size)
{
    __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    return __libc_realloc(p, size);
}
