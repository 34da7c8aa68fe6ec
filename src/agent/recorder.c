/* SPDX-License-Identifier: Apache-2.0
 * The flight recorder: one JSON line a step, in two files of bounded size that take turns. Replayed
 * through core_step() they must give the same actions (tests/sim/test_replay.c). Requests may
 * carry cloud-init texts and a join token (good for one use), so the files are for root only. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/str.h"
#include "io/file.h"

#define FILE_MAX_BYTES (16 * MIB)

struct recorder {
    char *path;
    FILE *file;
    size_t written;
};

static void open_file(struct recorder *r)
{
    int fd = open(r->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r->file = fd < 0 ? NULL : fdopen(fd, "w");
    r->written = 0;
}

struct recorder *recorder_new(const char *dir)
{
    struct err e = {0};
    struct recorder *r = xcalloc(1, sizeof(*r));
    if (dir && file_mkdirs(dir, 0700, &e) == 0) {
        r->path = str_printf("%s/events.jsonl", dir);
        _cleanup_free_ char *old = str_printf("%s.1", r->path);
        (void)rename(r->path, old); /* the record of the life before; absent at the first start */
        open_file(r);
    }
    return r;
}

void recorder_free(struct recorder *r)
{
    if (r) {
        if (r->file) {
            (void)fclose(r->file); /* a record is a help, not a promise */
        }
        free(r->path);
        free(r);
    }
}

void recorder_add(struct recorder *r, uint64_t now_us, uint64_t wall_us, const json_t *event,
                  const json_t *actions)
{
    if (!r->file || (str_eq(json_text_of(event, "ev"), "tick") && !json_array_size(actions))) {
        return;
    }
    _cleanup_json_ json_t *line =
        json_pack("{s:I,s:I,s:O,s:O}", "now_us", (json_int_t)now_us, "wall_us", (json_int_t)wall_us,
                  "event", event, "actions", actions);
    _cleanup_free_ char *text = json_format(line);
    (void)fprintf(r->file, "%s\n", text);
    (void)fflush(r->file);
    r->written += strlen(text) + 1;
    if (r->written > FILE_MAX_BYTES) {
        _cleanup_free_ char *old = str_printf("%s.1", r->path);
        (void)fclose(r->file);
        (void)rename(r->path, old);
        open_file(r);
    }
}
