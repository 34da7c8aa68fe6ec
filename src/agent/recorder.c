/* SPDX-License-Identifier: Apache-2.0
 * tests/sim/test_replay.c replays what is written here. Requests may carry cloud-init texts and a
 * join token (good for one use), so the files are for root only. */
#include "agent/recorder.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/str.h"
#include "core/flight.h"
#include "io/file.h"

struct recorder {
    char *path;
    FILE *file;
    size_t max_bytes;
    size_t written; /* steps only: a state larger than a file must not make it turn for ever */
};

static size_t write_line(struct recorder *r, const json_t *line)
{
    _cleanup_free_ char *text = json_format(line);
    (void)fprintf(r->file, "%s\n", text);
    (void)fflush(r->file); /* a record is a help, not a promise */
    return strlen(text) + 1;
}

static void begin_file(struct recorder *r, const struct core *c)
{
    _cleanup_free_ char *old = str_printf("%s.1", r->path);
    (void)rename(r->path, old); /* absent at the first start */
    int fd = open(r->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r->file = fd < 0 ? NULL : fdopen(fd, "w");
    r->written = 0;
    if (r->file) {
        _cleanup_json_ json_t *line = json_pack("{s:o}", "state", flight_save(c));
        (void)write_line(r, line);
    }
}

struct recorder *recorder_new(const char *dir, size_t max_bytes, const struct core *c)
{
    struct err e = {0};
    struct recorder *r = xcalloc(1, sizeof(*r));
    r->max_bytes = max_bytes;
    if (dir && file_mkdirs(dir, 0700, &e) == 0) {
        r->path = str_printf("%s/" RECORDER_FILE, dir);
        begin_file(r, c);
    }
    return r;
}

void recorder_free(struct recorder *r)
{
    if (r) {
        if (r->file) {
            (void)fclose(r->file); /* flushed line by line */
        }
        free(r->path);
        free(r);
    }
}

void recorder_add(struct recorder *r, const struct core *c, const json_t *packed,
                  const json_t *actions)
{
    if (!r->file || (str_eq(json_text_of(packed, "ev"), "tick") && !json_array_size(actions))) {
        return;
    }
    _cleanup_json_ json_t *line =
        json_pack("{s:I,s:I,s:O,s:O}", "now_us", (json_int_t)c->now_us, "wall_us",
                  (json_int_t)c->wall_us, "event", packed, "actions", actions);
    r->written += write_line(r, line);
    if (r->written > r->max_bytes) {
        (void)fclose(r->file); /* flushed line by line */
        begin_file(r, c);
    }
}
