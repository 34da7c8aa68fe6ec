/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_launder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "adapters/fence/fence_proc.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define PROC_LIMIT_BYTES (16 * KIB)
#define GRACE_US (200 * USEC_PER_MSEC) /* a killed process without open requests is gone long before */
#define LAUNDER_COMM "mortar-launder"
#define LAUNDER_VERB "rewrite"
#define EXIT_ABSENT 3 /* mortar-launder's word for ENOENT */

/* Return: 0; -ERR_NOT_FOUND when there is no such process; -ERR_IO when nobody can tell */
static int look_at(pid_t pid, uint64_t *ret_start_ticks, char *ret_state)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/stat", (int)pid);
    _cleanup_free_ char *stat = NULL;
    unsigned long long ticks = 0;
    struct err said = {0};
    if (file_read(path, PROC_LIMIT_BYTES, &stat, NULL, &said) < 0) {
        return said.sys == ENOENT || said.sys == ESRCH ? -ERR_NOT_FOUND : -ERR_IO;
    }
    const char *after_name = strrchr(stat, ')'); /* a name may hold anything */
    if (!after_name || sscanf(after_name + 1,
                              " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d"
                              " %*d %llu",
                              ret_state, &ticks) != 2) {
        return -ERR_IO;
    }
    *ret_start_ticks = ticks;
    return 0;
}

/* It has one thread: a zombie is over, whoever is to reap it. */
bool fence_left_is_gone(const struct fence_left *left)
{
    uint64_t start_ticks = 0;
    char state = 0;
    if (left->pid <= 0) {
        return left->pid == 0;
    }
    int r = look_at(left->pid, &start_ticks, &state);
    return r == -ERR_NOT_FOUND ||
           (r == 0 && (start_ticks != left->start_ticks || state == 'Z' || state == 'X'));
}

/* The first line is "pid N": whom to look for when all else is lost. */
struct heard {
    char line[64];
    size_t len;
    struct fence_left who;
};

static void hear(void *arg, const char *piece, size_t len)
{
    struct heard *h = arg;
    int pid = 0;
    char state = 0;
    for (size_t i = 0; i < len && h->len + 1 < sizeof(h->line); i++) {
        h->line[h->len++] = piece[i];
    }
    h->line[h->len] = '\0';
    if (h->who.pid == -1 && strchr(h->line, '\n') && sscanf(h->line, "pid %d", &pid) == 1) {
        int r = look_at(pid, &h->who.start_ticks, &state);
        h->who.pid = r == 0 ? pid : r == -ERR_NOT_FOUND ? 0 : -1;
    }
}

static void wait_for_end(struct fence_left *left)
{
    uint64_t until_us = clock_boottime_us() + GRACE_US;
    while (!fence_left_is_gone(left) && clock_left_ms(until_us) > 0) {
        clock_sleep_ms(2);
    }
    if (fence_left_is_gone(left)) {
        *left = (struct fence_left){0};
    }
}

/* `timeout` stands between, as in gluster_mount_quorum(): cmd_run() waits for its child, and that
 * must be one that can be killed. What it leaves is reaped by PID 1. */
static int run(const struct strv *words, uint64_t deadline_us, struct cmd_result *res,
               struct fence_left *ret_left, struct err *e)
{
    struct heard heard = {.who = {.pid = -1}};
    struct cmd_opts opts = {.on_output = hear, .on_output_arg = &heard};
    *ret_left = (struct fence_left){0};
    int left_ms = clock_left_ms(deadline_us);
    if (left_ms == 0) {
        return ERR_SET(e, TIMEOUT, "no time is left to ask the mount");
    }
    opts.timeout_us = (uint64_t)left_ms * USEC_PER_MSEC;
    int r = cmd_run((const char *const *)words->v, &opts, res, e);
    if (r == -ERR_TIMEOUT || r == -ERR_LIMIT) {
        *ret_left = heard.who;
        wait_for_end(ret_left);
    }
    return r;
}

static void begin(struct strv *words, const char *program, const char *verb, const char *path)
{
    static const char *const first[] = {"timeout", "-s", "KILL", "86400"};
    for (size_t i = 0; i < ELEMENTS(first); i++) {
        strv_add(words, first[i]);
    }
    strv_add(words, program);
    strv_add(words, verb);
    strv_add(words, path);
}

static int judge(const struct cmd_result *res, const char *what, const char *path, struct err *e)
{
    if (res->exit_code == 0) {
        return 0;
    }
    if (res->exit_code == EXIT_ABSENT) {
        return ERR_SET(e, NOT_FOUND, "cannot %s %s: it is not there", what, path);
    }
    return ERR_SET(e, IO, "cannot %s %s: %.200s", what, path,
                   res->errout[0] ? res->errout : "it was ended by a signal");
}

int fence_launder(const char *program, const char *path, uint64_t shard_bytes, uint64_t length,
                  const uint64_t *shards, size_t n_shards, uint64_t deadline_us, struct fence_left *ret_left, struct err *e)
{
    _cleanup_strv_ struct strv words = {0};
    _cleanup_cmd_ struct cmd_result res = {0};
    *ret_left = (struct fence_left){0};
    if (n_shards == 0) {
        return 0;
    }
    if (path[0] != '/' || shard_bytes == 0 || shard_bytes % FENCE_LAUNDER_BLOCK_BYTES != 0 ||
        (length != shard_bytes && length != FENCE_LAUNDER_BLOCK_BYTES) || n_shards > FENCE_LAUNDER_SHARDS_MAX) {
        return ERR_SET(e, INVALID, "cannot launder %zu pieces of %ju bytes of %s", n_shards,
                       (uintmax_t)shard_bytes, path);
    }
    begin(&words, program, LAUNDER_VERB, path);
    strv_addf(&words, "%ju", (uintmax_t)shard_bytes);
    strv_addf(&words, "%ju", (uintmax_t)length);
    for (size_t i = 0; i < n_shards; i++) {
        strv_addf(&words, "%ju", (uintmax_t)shards[i]);
    }
    int r = run(&words, deadline_us, &res, ret_left, e);
    if (r < 0) {
        err_prepend(e, "cannot launder %s", path);
        return r;
    }
    return judge(&res, "launder", path, e);
}

/* One that ends has no words any more, and may still wait for the close of what it wrote; one with many pieces has more
 * than is read. Only who is seen to be a reader is none. */
static bool is_launder(pid_t pid)
{
    size_t len = 0;
    uint64_t start_ticks = 0;
    char state = 0;
    _cleanup_free_ char *comm = fence_proc_read(pid, "comm", NULL);
    _cleanup_free_ char *words = fence_proc_read(pid, "cmdline", &len);
    if (!comm || !str_eq(comm, LAUNDER_COMM "\n")) {
        return false;
    }
    size_t first = words ? strnlen(words, len) + 1 : 0; /* the program */
    bool is_reader = words && len > first && !str_eq(words + first, LAUNDER_VERB);
    return !is_reader && look_at(pid, &start_ticks, &state) != -ERR_NOT_FOUND && state != 'Z' && state != 'X';
}

int fence_launder_find(pid_t *ret, struct err *e)
{
    DIR *proc = opendir("/proc");
    if (!proc) {
        return ERR_SYS(e, IO, errno, "cannot look for processes");
    }
    *ret = 0;
    for (struct dirent *d = readdir(proc); d && !*ret; d = readdir(proc)) {
        uint64_t pid = 0;
        bool is_process = str_parse_u64(d->d_name, INT32_MAX, &pid, NULL) == 0;
        *ret = is_process && is_launder((pid_t)pid) ? (pid_t)pid : 0;
    }
    (void)closedir(proc);
    return 0;
}

int fence_image_gfid(const char *program, const char *path, uint64_t deadline_us, char *ret,
                     struct err *e)
{
    _cleanup_strv_ struct strv words = {0};
    _cleanup_cmd_ struct cmd_result res = {0};
    struct fence_left left = {0};
    begin(&words, program, "gfid", path);
    int r = run(&words, deadline_us, &res, &left, e); /* a reader that is left harms nothing */
    r = r < 0 ? r : judge(&res, "ask for the gfid of", path, e);
    if (r < 0) {
        return r;
    }
    char *end = res.out_len ? strchr(res.out, '\n') : NULL;
    char *gfid = end ? end + 1 : (char *)"";
    if (end && (end = strchr(gfid, '\n'))) {
        *end = '\0';
    }
    if (!fence_is_gfid(gfid)) {
        return ERR_SET(e, PARSE, "%s has no gfid: is it on a GlusterFS mount?", path);
    }
    memcpy(ret, gfid, FENCE_GFID_LEN + 1);
    return 0;
}
