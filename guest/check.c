/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check IMAGE: judge the history on a demo guest's disk that is not in use; raw or, through
 * `qemu-img convert` into a temporary file, qcow2. Prints one JSON object.
 * check --dump IMAGE: judge nothing, print what each block of the ring holds, for a checker that knows more
 * than one disk (lab/mortarcluster/history.py); of a disk in use as well, where a block may be half written.
 * Exit: 0 history ok, 1 violations, 2 usage, 3 the image cannot be judged.
 */
#include "bootopts.h"
#include "ringcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS_MAX 256
#define EXIT_BROKEN 1
#define EXIT_USAGE 2
#define EXIT_CANNOT 3

extern char **environ;

static int read_file_block(void *ctx, uint64_t block, void *ret_block)
{
    const int *fd = ctx;
    ssize_t n = pread(*fd, ret_block, BLOCK_BYTES, (off_t)(block * BLOCK_BYTES));

    if (n < 0) {
        return -errno;
    }
    memset((char *)ret_block + n, 0, (size_t)(BLOCK_BYTES - n)); /* a raw file's hole at the end */
    return 0;
}

/** Opens a raw copy of @image that vanishes with the descriptor. */
static int open_converted(const char *image)
{
    const char *dir = getenv("TMPDIR");
    char path[4096];
    pid_t pid = 0;
    int status = 0;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/mortar-check-XXXXXX", dir ? dir : "/var/tmp");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    const char *const argv[] = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, path,
                                NULL};
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0) {
        (void)unlink(path); /* ours, of no more use */
        (void)close(fd);
        return -EIO;
    }
    (void)close(fd); /* qemu-img wrote the file anew */
    fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)unlink(path);
    return fd < 0 ? -errno : fd;
}

static int open_image(const char *image)
{
    static const uint8_t qcow2_magic[4] = {'Q', 'F', 'I', 0xfb};
    uint8_t head[4] = {0};
    int fd = open(image, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    /* On a mount of GlusterFS the kernel keeps what it read before, however often another host has
     * written since (docs/storage.md). */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* a file system without a cache has none to drop */
    if (pread(fd, head, sizeof(head), 0) < 0) {
        int r = -errno;

        (void)close(fd); /* only read */
        return r;
    }
    if (memcmp(head, qcow2_magic, sizeof(head)) != 0) {
        return fd;
    }
    (void)close(fd); /* only read */
    return open_converted(image);
}

static void print_json(const struct ring_report *r)
{
    uint64_t shown = r->violation_count < VIOLATIONS_MAX ? r->violation_count : VIOLATIONS_MAX;

    printf("{\"ok\":%s,\"epoch\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"flushed_seq\":%" PRIu64
           ",\"clean\":%s,\"checked_first\":%" PRIu64 ",\"checked_blocks\":%" PRIu64
           ",\"violation_count\":%" PRIu64 ",\"violations\":[",
           r->violation_count == 0 ? "true" : "false", r->super.epoch, r->last_seq, r->flushed_seq,
           r->super.clean ? "true" : "false", r->checked_first, r->checked_blocks,
           r->violation_count);
    for (uint64_t i = 0; i < shown; i++) {
        printf("%s{\"kind\":\"%s\",\"text\":\"", i > 0 ? "," : "", r->violations[i].kind);
        for (const char *c = r->violations[i].text; *c; c++) {
            /* names on the disk are foreign text: nothing that JSON would have to escape gets out */
            putchar(*c >= ' ' && *c < 127 && *c != '"' && *c != '\\' ? *c : '?');
        }
        printf("\"}");
    }
    printf("]}\n");
}

/** The newest whole superblock, as ring_check() chooses it. */
static bool find_super(const struct ring_source *src, struct ring_super *ret_super)
{
    struct ring_super s __attribute__((aligned(BLOCK_BYTES)));
    bool found = false;

    for (uint64_t i = 0; i < SUPER_SLOTS; i++) {
        if (src->read(src->ctx, i, &s) == 0 && super_state(&s) == BLOCK_WHOLE &&
            (!found || s.epoch > ret_super->epoch ||
             (s.epoch == ret_super->epoch && s.generation > ret_super->generation))) {
            *ret_super = s;
            found = true;
        }
    }
    return found;
}

static void dump_slot(const struct block_record *r, uint64_t block, const struct ring_expect *expect)
{
    static const char *const words[] = {
        [TAG_UNKNOWN] = "unknown", [TAG_RIGHT] = "right", [TAG_OTHER] = "other", [TAG_WRONG] = "wrong"};
    enum block_state state = record_state(r);

    if (state == BLOCK_WHOLE) {
        uint64_t writer = 0;
        enum tag_fit fit = ring_tag_fit(expect, r->epoch, r->digest, r->tag, &writer);

        printf("[%" PRIu64 ",\"whole\",%" PRIu64 ",%" PRIu64 ",%s,\"%s\",%" PRIu64 "]", block, r->epoch, r->seq,
               r->block == block ? "true" : "false", words[fit], writer);
    } else {
        printf("[%" PRIu64 ",\"%s\"]", block, state == BLOCK_ZERO ? "zero" : "broken");
    }
}

/** One JSON object: what the newest superblock knows, and [block, state, epoch, seq, in place, tag, whose] of each slot:
 * the epoch whose key made the tag. */
static int dump(const struct ring_source *src, const struct ring_expect *expect)
{
    static struct ring_super s;
    static struct block_record r __attribute__((aligned(BLOCK_BYTES)));

    if (!find_super(src, &s)) {
        return -EMEDIUMTYPE;
    }
    printf("{\"epoch\":%" PRIu64 ",\"flushed\":%" PRIu64 ",\"clean\":%s,\"ring_blocks\":%" PRIu64
           ",\"ring_start\":%" PRIu64 ",\"starts\":[",
           s.epoch, s.flushed_seq, s.clean ? "true" : "false", s.ring_blocks, s.ring_start);
    for (uint64_t i = 0; i < s.epochs_used; i++) {
        const struct ring_epoch *e = &s.epochs[i];

        printf("%s[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",\"%" PRIx64 "\"]", i > 0 ? "," : "", e->epoch,
               e->first_seq, e->gap_first, e->seen_mask);
    }
    printf("],\"slots\":[");
    for (uint64_t i = 0; i < s.ring_blocks; i++) {
        int error = src->read(src->ctx, s.ring_start + i, &r);

        if (error < 0) {
            return error;
        }
        if (i > 0) {
            putchar(',');
        }
        dump_slot(&r, s.ring_start + i, expect);
    }
    printf("]}\n");
    return 0;
}

/** "EPOCH:HEX" */
static bool parse_key_option(char *text, struct epoch_key *ret_key)
{
    char *colon = strchr(text, ':');
    uint64_t epoch = 0;

    if (!colon) {
        return false;
    }
    *colon = 0;
    return parse_u64(text, UINT64_MAX, &epoch) && parse_key(colon + 1, epoch, ret_key);
}

static bool parse_args(int argc, char **argv, struct ring_expect *ret_expect,
                       struct epoch_key keys[KEYS_MAX], bool *ret_dump)
{
    static const struct option options[] = {
        {"expect-flushed", required_argument, NULL, 'f'},
        {"expect-epoch", required_argument, NULL, 'e'},
        {"vm", required_argument, NULL, 'v'},
        {"key", required_argument, NULL, 'k'},
        {"dump", no_argument, NULL, 'd'},
        {0},
    };
    bool good = true;
    int c;

    while (good && (c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'f') {
            good = parse_u64(optarg, UINT64_MAX, &ret_expect->flushed_seq);
        } else if (c == 'e') {
            good = parse_u64(optarg, UINT64_MAX, &ret_expect->epoch);
        } else if (c == 'v') {
            ret_expect->vm = optarg;
        } else if (c == 'd') {
            *ret_dump = true;
        } else {
            good = c == 'k' && ret_expect->key_count < KEYS_MAX &&
                   parse_key_option(optarg, &keys[ret_expect->key_count]);
            ret_expect->key_count += good;
        }
    }
    ret_expect->keys = keys;
    return good && optind == argc - 1;
}

int main(int argc, char **argv)
{
    static struct epoch_key keys[KEYS_MAX];
    struct ring_expect expect = {0};
    struct ring_report report;
    struct stat st;
    bool is_dump = false;
    int fd;
    int r;

    if (!parse_args(argc, argv, &expect, keys, &is_dump)) {
        fprintf(stderr, "usage: check [--dump] [--expect-flushed SEQ] [--expect-epoch N] [--vm NAME] "
                        "[--key EPOCH:HEX]... IMAGE\n");
        return EXIT_USAGE;
    }
    fd = open_image(argv[optind]);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "check: %s: %s\n", argv[optind], strerror(fd < 0 ? -fd : errno));
        return EXIT_CANNOT;
    }
    const struct ring_source src = {read_file_block, &fd, (uint64_t)st.st_size / BLOCK_BYTES};
    r = is_dump ? dump(&src, &expect) : ring_check(&src, &expect, &report);
    (void)close(fd); /* only read */
    if (r < 0) {
        fprintf(stderr, "check: %s: %s\n", argv[optind],
                r == -EMEDIUMTYPE ? "not a disk of the demo guest" : strerror(-r));
        return EXIT_CANNOT;
    }
    if (is_dump) {
        return 0;
    }
    print_json(&report);
    return report.violation_count == 0 ? 0 : EXIT_BROKEN;
}
