/* SPDX-License-Identifier: Apache-2.0
 * mortar-launder: the part of adapters/fence that touches a mount, in a process of its own.
 *
 *     mortar-launder rewrite PATH SHARD_BYTES LENGTH NUMBER...
 *     mortar-launder gfid PATH
 *
 * Says "pid N" first. rewrite: reads the first LENGTH bytes of pieces of an image and writes the same
 * bytes back, past all caches, then fsync: afterwards the reachable copies are equal there, and accuse the others
 * (facts/gluster.md 4.6). Takes no lock: it is run only while nobody has the image open.
 * Not for people. Exit code 0, 1 (failed), 2 (called wrongly), 3 (no such file). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/str.h"

#define CHUNK_BYTES (1 * MIB)
#define ALIGN_BYTES 4096 /* what O_DIRECT takes on every disk that we accept */
#define SHARD_LIMIT_BYTES (4 * TIB) /* features.shard-block-size goes to there */

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_ABSENT };

static int fail(const char *what, const char *path)
{
    int saved = errno;
    (void)fprintf(stderr, "%s %s: %s\n", what, path, strerror(saved));
    return saved == ENOENT ? EXIT_ABSENT : EXIT_FAILED;
}

struct image {
    const char *path;
    int direct;   /* O_DIRECT */
    int plain;    /* for the few bytes behind the last whole block; -1 until needed */
    uint64_t size;
    char *buffer; /* CHUNK_BYTES, aligned */
};

static int open_image(const char *path, int flags)
{
    return open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags);
}

static int image_init(struct image *m, const char *path)
{
    struct stat st;
    *m = (struct image){.path = path, .direct = open_image(path, O_DIRECT), .plain = -1};
    if (m->direct < 0) {
        return fail("cannot open", path);
    }
    if (fstat(m->direct, &st) < 0) {
        return fail("cannot read", path);
    }
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return fail("not a file:", path);
    }
    m->size = (uint64_t)st.st_size;
    m->buffer = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return m->buffer == MAP_FAILED ? fail("no memory for", path) : EXIT_OK;
}

/* @is_write: the same bytes go back to where they came from. Return: whether all @len did */
static bool move_all(int fd, char *buffer, size_t len, uint64_t at, bool is_write)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = is_write ? pwrite(fd, buffer + done, len - done, (off_t)(at + done))
                             : pread(fd, buffer + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0) {
            errno = EIO; /* shorter than it said: somebody else changes it */
        }
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static int rewrite_piece(struct image *m, int fd, uint64_t at, size_t len)
{
    if (!move_all(fd, m->buffer, len, at, false)) {
        return fail("cannot read", m->path);
    }
    return move_all(fd, m->buffer, len, at, true) ? EXIT_OK : fail("cannot write", m->path);
}

static int rewrite_range(struct image *m, uint64_t from, uint64_t to)
{
    uint64_t blocks_end = to - to % ALIGN_BYTES;
    for (uint64_t at = from; at < blocks_end; at += CHUNK_BYTES) {
        uint64_t len = blocks_end - at < CHUNK_BYTES ? blocks_end - at : CHUNK_BYTES;
        int r = rewrite_piece(m, m->direct, at, (size_t)len);
        if (r != EXIT_OK) {
            return r;
        }
    }
    if (blocks_end == to) {
        return EXIT_OK;
    }
    /* Freshly opened, so that the kernel's cache has nothing of it yet. */
    m->plain = m->plain < 0 ? open_image(m->path, O_SYNC) : m->plain;
    return m->plain < 0 ? fail("cannot open", m->path)
                        : rewrite_piece(m, m->plain, blocks_end, (size_t)(to - blocks_end));
}

static int rewrite(const char *path, char **argv)
{
    struct image m;
    uint64_t shard_bytes = 0;
    uint64_t length = 0;
    if (str_parse_u64(argv[0], SHARD_LIMIT_BYTES, &shard_bytes, NULL) < 0 || shard_bytes == 0 ||
        shard_bytes % ALIGN_BYTES != 0 || str_parse_u64(argv[1], shard_bytes, &length, NULL) < 0 ||
        length == 0 || length % ALIGN_BYTES != 0) {
        return EXIT_USAGE;
    }
    int r = image_init(&m, path);
    for (char **word = argv + 2; r == EXIT_OK && *word; word++) {
        uint64_t number = 0;
        if (str_parse_u64(*word, INT64_MAX / SHARD_LIMIT_BYTES, &number, NULL) < 0) {
            return EXIT_USAGE;
        }
        uint64_t from = number * shard_bytes;
        uint64_t to = from + length;
        if (from < m.size) {
            r = rewrite_range(&m, from, to < m.size ? to : m.size);
        }
    }
    /* The close reports what the mount kept back; nothing else would. */
    if (r == EXIT_OK && (fsync(m.direct) < 0 || close(m.direct) < 0)) {
        return fail("cannot sync", path);
    }
    if (r == EXIT_OK && m.plain >= 0 && close(m.plain) < 0) {
        return fail("cannot sync", path);
    }
    return r;
}

static int show_gfid(const char *path)
{
    char value[64];
    ssize_t n = lgetxattr(path, "glusterfs.gfid.string", value, sizeof(value) - 1);
    if (n < 0) {
        return fail("cannot ask", path);
    }
    value[n] = '\0';
    return printf("%s\n", value) < 0 ? EXIT_FAILED : EXIT_OK;
}

int main(int argc, char **argv)
{
    /* Whoever started us looks after us; alone we would write into a running VM's disk. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() == 1) {
        return EXIT_FAILED;
    }
    if (printf("pid %d\n", (int)getpid()) < 0 || fflush(stdout) != 0) {
        return EXIT_FAILED;
    }
    int r = EXIT_USAGE;
    if (argc >= 6 && str_eq(argv[1], "rewrite")) {
        r = rewrite(argv[2], argv + 3);
    } else if (argc == 3 && str_eq(argv[1], "gfid")) {
        r = show_gfid(argv[2]);
    }
    if (r == EXIT_USAGE) {
        (void)fprintf(stderr, "usage: mortar-launder rewrite PATH SHARD_BYTES LENGTH NUMBER... | gfid PATH\n");
    }
    return fflush(stdout) != 0 && r == EXIT_OK ? EXIT_FAILED : r;
}
