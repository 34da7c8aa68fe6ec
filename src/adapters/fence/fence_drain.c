/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_drain.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "adapters/fence/fence_dump_parse.h"
#include "base/json.h"
#include "io/clock.h"
#include "io/file.h"

#define PAUSE_FIRST_MS 2
#define PAUSE_MAX_MS 50
#define DUMPS "mortar" /* directory of our dumps below the run directory */

struct drain {
    const char *dir; /* where the brick puts its dumps for us; nobody else's are there */
    const char *brick;
    struct fence_brick process;
    uint64_t deadline_us;
};

static void drain_done(struct drain *d)
{
    close_fdp(&d->process.pidfd);
}

/* A whole dump, or NULL: glusterfsd writes dumpXXXXXX and renames it to BRICK.PID.dump.SECONDS
 * (statedump.c). Two of one second have one name: each is removed before the next is asked for. */
static char *find_dump(const struct drain *d)
{
    _cleanup_free_ char *mark = str_printf(".%d.dump.", (int)d->process.pid);
    char *found = NULL;
    DIR *dir = opendir(d->dir);
    for (const struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        if (strstr(entry->d_name, mark)) {
            found = str_printf("%s/%s", d->dir, entry->d_name);
        }
    }
    if (dir) {
        (void)closedir(dir); /* only read */
    }
    return found;
}

/* What an earlier call did not wait for any more. */
static void remove_dumps(const struct drain *d)
{
    for (char *path; (path = find_dump(d));) {
        bool is_gone = unlink(path) == 0 || errno == ENOENT;
        free(path);
        if (!is_gone) {
            break; /* then take_dump() fails with it, too */
        }
    }
}

static int take_dump(struct drain *d, struct fence_dump *ret, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int r = fence_brick_dump(&d->process, e);
    if (r < 0) {
        return r;
    }
    while (!(path = find_dump(d))) {
        if (clock_left_ms(d->deadline_us) == 0) {
            (void)ERR_SET(e, TIMEOUT, "brick %s writes no statedump", d->brick);
            err_hint(e, "Is there a glusterdump.options in " FENCE_RUN_DIR "? It hides ours.");
            return -ERR_TIMEOUT;
        }
        struct pollfd ends = {.fd = d->process.pidfd, .events = POLLIN};
        if (poll(&ends, 1, 1) > 0) { /* a dump takes about a millisecond */
            return ERR_SET(e, NOT_FOUND, "brick %s has ended", d->brick);
        }
    }
    r = file_read(path, FENCE_DUMP_LIMIT_BYTES, &text, &len, e);
    if (unlink(path) < 0 && r == 0) { /* we would take it for the next */
        return ERR_SYS(e, IO, errno, "cannot remove %s", path);
    }
    return r < 0 ? r : parse_fence_dump(text, len, ret, e);
}

/* Only what the proof needs, so that a brick with thousands of files answers in a millisecond. The
 * path: a volume may have another one (server.statedump-path), on a disk that may hang. */
static int write_options(const char *path, const char *dir, struct err *e)
{
    _cleanup_free_ char *text = str_printf("path=%s\ncallpool=yes\nfd=yes\n", dir);
    return file_replace(path, text, strlen(text), 0600, e);
}

static int poll_dumps(struct drain *d, const char *client_host, struct fence_drain_state *s,
                      unsigned *ret_polls, struct err *e)
{
    unsigned polls = 0; /* dumps taken, readable or not */
    for (int pause_ms = PAUSE_FIRST_MS; !s->is_proven;) {
        _cleanup_fence_dump_ struct fence_dump dump = {0};
        struct err said = {0};
        int r = take_dump(d, &dump, &said);
        bool is_late = r == -ERR_TIMEOUT && s->has_first; /* then what the last one said is worth more */
        if (r < 0 && r != -ERR_BUSY && r != -ERR_PARSE && !is_late) {
            return err_copy(e, &said);
        }
        /* The first one may be an answer to an earlier signal, begun before the cut. Only one can: the
         * brick makes one dump after the other, and signals to it do not queue. */
        if (r == 0 && polls > 0) {
            fence_drain_step(s, &dump, client_host);
        }
        polls += r == 0 || r == -ERR_PARSE;
        if (!s->is_proven && clock_left_ms(d->deadline_us) == 0) {
            return ERR_SET(e, TIMEOUT, "brick %s: still %zu operations and %zu connections: %.160s",
                           d->brick, s->left, s->conns, r < 0 && !is_late ? said.msg : s->examples);
        }
        if (!s->is_proven && (polls > 1 || r == -ERR_BUSY)) {
            clock_sleep_ms(pause_ms);
            pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
        }
    }
    *ret_polls = polls;
    return 0;
}

int fence_drain(const char *run_dir, const char *volume, const char *brick, const char *client_host,
                uint64_t deadline_us, struct fence_proof *ret, struct err *e)
{
    _cleanup_free_ char *dir = str_printf("%s/" DUMPS, run_dir);
    _cleanup_(drain_done) struct drain d = {
        .dir = dir, .brick = brick, .process = {.pidfd = -1}, .deadline_us = deadline_us};
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    uint64_t start_us = clock_boottime_us();
    unsigned polls = 0;
    int r;
    struct err said = {0};
    while ((r = fence_brick_find(volume, brick, &d.process, &said)) == -ERR_BUSY &&
           clock_left_ms(deadline_us) > 0) {
        said = (struct err){0};
        clock_sleep_ms(5); /* it is ending, or has just been started */
    }
    if (r < 0) {
        return r == -ERR_BUSY ? ERR_SET(e, TIMEOUT, "%s", said.msg) : err_copy(e, &said);
    }
    _cleanup_free_ char *options = str_printf("%s/glusterdump.%d.options", run_dir, (int)d.process.pid);
    r = file_mkdirs(dir, 0700, &said);
    remove_dumps(&d);
    r = r < 0 ? r : write_options(options, dir, &said);
    r = r < 0 ? r : poll_dumps(&d, client_host, &s, &polls, &said);
    (void)unlink(options); /* what stays makes later dumps smaller, no more */
    if (r == -ERR_NOT_FOUND) {
        return ERR_SET(e, STATE, "brick %s ended while it was asked; another process may follow", brick);
    }
    if (r < 0) {
        return err_copy(e, &said);
    }
    *ret = (struct fence_proof){.pid = d.process.pid,
                                .start_ticks = d.process.start_ticks,
                                .polls = polls,
                                .waited_for = s.n_waits,
                                .waited_us = clock_boottime_us() - start_us};
    return 0;
}

char *format_fence_proof(const char *brick, const struct fence_proof *p)
{
    _cleanup_json_ json_t *j = json_pack(
        "{s:s, s:i, s:I, s:i, s:I, s:I}", "brick", brick, "pid", (int)p->pid, "start",
        (json_int_t)p->start_ticks, "polls", (int)p->polls, "waited_for", (json_int_t)p->waited_for,
        "waited_us", (json_int_t)p->waited_us);
    return json_format(j);
}
