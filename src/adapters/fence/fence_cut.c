/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_cut.h"

#include <string.h>

#include "adapters/fence/fence_dir.h"
#include "adapters/fence/fence_table_parse.h"
#include "io/clock.h"
#include "io/cmd.h"

#define NFT_TIMEOUT_US (2 * USEC_PER_SEC)
#define SS_TIMEOUT_US (2 * USEC_PER_SEC)

/* `ret` stays empty when there is no such table: then everything differs from what is wanted. */
static int observe_table(struct fence_sets *ret, struct err *e)
{
    _cleanup_cmd_ struct cmd_result res = {0};
    struct cmd_opts opts = {.timeout_us = NFT_TIMEOUT_US};
    int r = cmd_run(CMD("nft", "-j", "list", "table", "inet", FENCE_TABLE), &opts, &res, e);
    if (r < 0) {
        return r;
    }
    if (res.exit_code != 0 && strstr(res.errout, "No such file or directory")) {
        return 0;
    }
    if (res.exit_code != 0) {
        return ERR_SET(e, COMMAND, "nft cannot list the fence: %.200s", res.errout);
    }
    return parse_fence_table(res.out, res.out_len, ret, e);
}

static int write_table(const struct fence_sets *want, bool single_network, struct err *e)
{
    _cleanup_free_ char *text = format_fence_ruleset(want, single_network);
    struct cmd_opts opts = {.timeout_us = NFT_TIMEOUT_US, .input = text};
    return cmd_check(CMD("nft", "-f", "-"), &opts, NULL, e);
}

static int read_back(const struct fence_sets *want, struct err *e)
{
    _cleanup_fence_sets_ struct fence_sets seen = {0};
    int r = observe_table(&seen, e);
    return r < 0 ? r : fence_sets_compare(want, &seen, e);
}

int fence_table_check(const struct fence_table *t, struct err *e)
{
    _cleanup_fence_sets_ struct fence_sets want = {0};
    int r = fence_sets_of(t, &want, e);
    return r < 0 ? r : read_back(&want, e);
}

int fence_table_apply(const struct fence_table *t, bool *ret_changed, struct err *e)
{
    _cleanup_fence_sets_ struct fence_sets want = {0};
    int r = fence_sets_of(t, &want, e);
    if (r < 0) {
        return r;
    }
    bool is_same = read_back(&want, NULL) == 0; /* also what we cannot read is written anew */
    if (!is_same) {
        r = write_table(&want, t->single_network, e);
        r = r < 0 ? r : read_back(&want, e);
    }
    if (r == 0 && ret_changed) {
        *ret_changed = !is_same;
    }
    return r;
}

int fence_table_remove(struct err *e)
{
    static const char *const text = "add table inet " FENCE_TABLE "\ndelete table inet " FENCE_TABLE "\n";
    struct cmd_opts opts = {.timeout_us = NFT_TIMEOUT_US, .input = text};
    return cmd_check(CMD("nft", "-f", "-"), &opts, NULL, e);
}

int fence_table_boot(const char *path, const struct fence_table *t, struct err *e)
{
    _cleanup_fence_sets_ struct fence_sets closed = {0};
    if (!t) {
        return fence_dir_remove(path, e);
    }
    int r = fence_sets_of(t, &closed, e);
    if (r < 0) {
        return r;
    }
    strv_done(&closed.open);
    closed.open = (struct strv){0};
    _cleanup_free_ char *text = format_fence_ruleset(&closed, t->single_network);
    return fence_dir_write(path, text, e);
}

/* @ret: @addrs in canonical form; refuses own addresses and those of strangers. */
static int check_addrs(const struct fence_table *t, const struct strv *addrs, struct strv *ret,
                       struct err *e)
{
    struct fence_table named = {.cluster = *addrs};
    _cleanup_fence_sets_ struct fence_sets all = {0};
    _cleanup_fence_sets_ struct fence_sets theirs = {0};
    int r = fence_sets_of(t, &all, e); /* without our own addresses */
    r = r < 0 ? r : fence_sets_of(&named, &theirs, e);
    if (r < 0) {
        return r;
    }
    if (theirs.cluster.n == 0) {
        return ERR_SET(e, INVALID, "a host without addresses cannot be fenced");
    }
    for (size_t i = 0; i < theirs.cluster.n; i++) {
        if (!strv_has(&all.cluster, theirs.cluster.v[i])) {
            return ERR_SET(e, INVALID, "%s is our own or not the cluster's", theirs.cluster.v[i]);
        }
    }
    *ret = theirs.cluster;
    theirs.cluster = (struct strv){0};
    return 0;
}

static void close_addrs(struct fence_table *t, const struct strv *addrs)
{
    struct strv left = {0};
    for (size_t i = 0; i < t->open.n; i++) {
        _cleanup_free_ char *addr = NULL;
        if (fence_addr_parse(t->open.v[i], &addr, NULL, NULL) == 0 && !strv_has(addrs, addr)) {
            strv_add(&left, addr);
        }
    }
    strv_done(&t->open);
    t->open = left;
}

/* -K ends whatever matches, and says so by exit code 0 even when nothing did. */
static int destroy_sockets(const char *filter, uint64_t deadline_us, unsigned *ret_rounds, struct err *e)
{
    struct cmd_opts opts = {.timeout_us = SS_TIMEOUT_US};
    for (unsigned rounds = 1;; rounds++) {
        _cleanup_free_ char *listed = NULL;
        _cleanup_free_ char *first = NULL;
        int r = cmd_check(CMD("ss", "-K", "-H", "-n", "-t", "-a", filter), &opts, NULL, e);
        r = r < 0 ? r : cmd_check(CMD("ss", "-H", "-n", "-t", "-a", filter), &opts, &listed, e);
        if (r < 0) {
            return r;
        }
        if (count_fence_sockets(listed, &first) == 0) {
            *ret_rounds = rounds;
            return 0;
        }
        if (clock_left_ms(deadline_us) == 0) {
            return ERR_SET(e, TIMEOUT, "a socket of the host is left: %.200s", first);
        }
        clock_sleep_ms(1); /* a socket between two states is refused, and soon in the next */
    }
}

static int close_quickly(const struct strv *addrs, struct err *e)
{
    _cleanup_free_ char *text = format_fence_closing(addrs);
    struct cmd_opts opts = {.timeout_us = NFT_TIMEOUT_US, .input = text};
    return cmd_check(CMD("nft", "-f", "-"), &opts, NULL, e);
}

int fence_cut(struct fence_table *t, const struct strv *addrs, uint64_t deadline_us,
              struct fence_cut_seen *ret, struct err *e)
{
    _cleanup_strv_ struct strv theirs = {0};
    _cleanup_fence_sets_ struct fence_sets want = {0};
    struct fence_cut_seen seen = {0};
    uint64_t start_us = clock_boottime_us();
    int r = check_addrs(t, addrs, &theirs, e);
    if (r < 0) {
        return r;
    }
    close_addrs(t, &theirs);
    r = fence_sets_of(t, &want, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *filter = format_fence_filter(&theirs, t->single_network);
    /* The table should be there and right; whether it was is looked at afterwards, since others wait. Who is closed already
     * cannot be taken out once more. */
    if (close_quickly(&theirs, NULL) < 0 && read_back(&want, NULL) < 0) {
        seen.changed = true;
        r = write_table(&want, t->single_network, e);
    }
    seen.filtered_us = clock_boottime_us() - start_us;
    r = r < 0 ? r : destroy_sockets(filter, deadline_us, &seen.rounds, e);
    if (r == 0 && read_back(&want, NULL) < 0) {
        seen.changed = true;
        r = write_table(&want, t->single_network, e);
        r = r < 0 ? r : destroy_sockets(filter, deadline_us, &seen.rounds, e);
        r = r < 0 ? r : read_back(&want, e);
    }
    seen.took_us = clock_boottime_us() - start_us;
    if (r == 0 && ret) {
        *ret = seen;
    }
    return r;
}

int fence_open(struct fence_table *t, const struct strv *addrs, struct err *e)
{
    _cleanup_strv_ struct strv theirs = {0};
    int r = check_addrs(t, addrs, &theirs, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < theirs.n; i++) {
        if (!strv_has(&t->open, theirs.v[i])) {
            strv_add(&t->open, theirs.v[i]);
        }
    }
    return fence_table_apply(t, NULL, e);
}
