/* SPDX-License-Identifier: Apache-2.0
 * Drives adapters/fence from the integration test: one verb per call, plain lines as answers.
 * A failure prints the error's stable name and message, and exits 1. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "adapters/fence/fence_cut.h"
#include "adapters/fence/fence_drain.h"
#include "adapters/fence/fence_index.h"
#include "adapters/fence/fence_launder.h"
#include "adapters/fence/fence_watch.h"
#include "io/clock.h"
#include "io/cmd.h"

static uint64_t in_ms(const char *text)
{
    uint64_t ms = 0;
    (void)str_parse_u64(text, 600000, &ms, NULL); /* what is no number is no time */
    return clock_boottime_us() + ms * USEC_PER_MSEC;
}

/* CLUSTER OWN OPEN split|single, lists between commas */
static void read_table(char **argv, struct fence_table *t)
{
    strv_split(&t->cluster, argv[0], ",");
    strv_split(&t->own, argv[1], ",");
    strv_split(&t->open, argv[2], ",");
    t->single_network = str_eq(argv[3], "single");
}

static int apply(const struct fence_table *t, struct err *e)
{
    bool changed = false;
    int r = fence_table_apply(t, &changed, e);
    if (r == 0) {
        printf("%s\n", changed ? "changed" : "same");
    }
    return r;
}

static int cut(struct fence_table *t, const char *list, uint64_t deadline_us, struct err *e)
{
    _cleanup_strv_ struct strv addrs = {0};
    struct fence_cut_seen seen = {0};
    strv_split(&addrs, list, ",");
    int r = fence_cut(t, &addrs, deadline_us, &seen, e);
    if (r == 0) {
        printf("filtered_us %ju took_us %ju rounds %u\n", (uintmax_t)seen.filtered_us,
               (uintmax_t)seen.took_us, seen.rounds);
    }
    return r;
}

/* MS VOLUME BRICK [CLIENT_HOST] */
static int drain(int argc, char **argv, struct err *e)
{
    struct fence_proof proof = {0};
    int r = fence_drain(FENCE_RUN_DIR, argv[1], argv[2], argc > 3 ? argv[3] : NULL, in_ms(argv[0]), &proof, e);
    _cleanup_free_ char *text = format_fence_proof(argv[2], &proof);
    if (r == 0) {
        printf("%s\n", text);
    }
    return r;
}

static int show_index(const char *brick, const char *limit, struct err *e)
{
    _cleanup_fence_index_ struct fence_index index = {0};
    uint64_t n = FENCE_INDEX_MAX;
    if (limit) {
        (void)str_parse_u64(limit, FENCE_INDEX_MAX, &n, NULL); /* else it stays */
    }
    int r = fence_index_list(brick, n, &index, e);
    _cleanup_free_ char *text = format_fence_index(&index);
    if (r == 0) {
        printf("%s\n", text);
    }
    return r;
}

/* MS PROGRAM PATH SHARD_BYTES LENGTH NUMBER... */
static int launder(int argc, char **argv, struct err *e)
{
    struct fence_left left = {0};
    uint64_t bytes = 0;
    uint64_t length = 0;
    uint64_t shards[64] = {0};
    size_t n = 0;
    (void)str_parse_u64(argv[3], UINT64_MAX, &bytes, NULL); /* 0 is refused */
    (void)str_parse_u64(argv[4], UINT64_MAX, &length, NULL);
    for (int i = 5; i < argc && n < ELEMENTS(shards); i++) {
        (void)str_parse_u64(argv[i], UINT64_MAX, &shards[n++], NULL); /* else the first piece */
    }
    int r = fence_launder(argv[1], argv[2], bytes, length, shards, n, in_ms(argv[0]), &left, e);
    printf("left %d\n", (int)left.pid);
    (void)fflush(stdout); /* read by the test while we wait */
    while (left.pid > 0 && !fence_left_is_gone(&left)) {
        clock_sleep_ms(10);
    }
    printf("gone\n");
    return r;
}

/* A line for what was told, until something concerned the fence's table. */
static int watch(uint64_t deadline_us, struct err *e)
{
    int fd = -1;
    int r = fence_watch_open(&fd, e);
    if (r < 0) {
        return r;
    }
    printf("watching\n");
    (void)fflush(stdout); /* read by the test while we wait */
    for (bool is_ours = false; !is_ours;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, (int)clock_left_ms(deadline_us)) <= 0) {
            return ERR_SET(e, TIMEOUT, "nothing is told");
        }
        is_ours = fence_watch_read(fd);
        printf("%s\n", is_ours ? "the fence" : "another table");
        (void)fflush(stdout);
    }
    return 0;
}

static int run(int argc, char **argv, struct err *e)
{
    _cleanup_fence_table_ struct fence_table t = {0};
    const char *verb = argc > 1 ? argv[1] : "";
    if (argc >= 6) {
        read_table(argv + 2, &t);
    }
    if (str_eq(verb, "apply") && argc == 6) {
        return apply(&t, e);
    }
    if (str_eq(verb, "check") && argc == 6) {
        return fence_table_check(&t, e);
    }
    if (str_eq(verb, "boot") && argc == 7) {
        return fence_table_boot(argv[6], &t, e);
    }
    if (str_eq(verb, "remove")) {
        return fence_table_remove(e);
    }
    if (str_eq(verb, "cut") && argc == 8) {
        return cut(&t, argv[6], in_ms(argv[7]), e);
    }
    if (str_eq(verb, "open") && argc == 7) {
        _cleanup_strv_ struct strv addrs = {0};
        strv_split(&addrs, argv[6], ",");
        return fence_open(&t, &addrs, e);
    }
    if (str_eq(verb, "drain") && argc >= 5) {
        return drain(argc - 2, argv + 2, e);
    }
    if (str_eq(verb, "watch") && argc == 3) {
        return watch(in_ms(argv[2]), e);
    }
    if (str_eq(verb, "kill") && argc == 5) {
        unsigned killed = 0;
        int r = fence_kill_brick(argv[3], argv[4], in_ms(argv[2]), &killed, e);
        printf("killed %u\n", killed);
        return r;
    }
    if (str_eq(verb, "index") && argc >= 3) {
        return show_index(argv[2], argc > 3 ? argv[3] : NULL, e);
    }
    if (str_eq(verb, "launder") && argc >= 7) {
        return launder(argc - 2, argv + 2, e);
    }
    if (str_eq(verb, "gfid") && argc == 5) {
        char gfid[FENCE_GFID_LEN + 1] = "";
        int r = fence_image_gfid(argv[3], argv[4], in_ms(argv[2]), gfid, e);
        printf("%s\n", gfid);
        return r;
    }
    return ERR_SET(e, USAGE, "unknown verb or number of words");
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int r = run(argc, argv, &e);
    if (r < 0) {
        (void)fprintf(stderr, "%s: %s\n", err_name(e.code), e.msg);
    }
    return r < 0 ? 1 : 0;
}
