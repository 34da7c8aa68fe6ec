/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/history_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "io/file.h"

struct history {
    char *path;
    FILE *file;
    size_t max_bytes;
    size_t written;
};

static void open_file(struct history *h)
{
    struct stat st;
    int fd = open(h->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    h->file = fd < 0 ? NULL : fdopen(fd, "a");
    h->written = h->file && fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
    if (h->written) {
        (void)fputc('\n', h->file); /* what a power cut tore must not take the next line along */
    }
}

struct history *history_open(const char *dir, size_t max_bytes)
{
    struct history *h = xcalloc(1, sizeof(*h));
    h->max_bytes = max_bytes;
    if (dir && file_mkdirs(dir, 0700, NULL) == 0) {
        h->path = str_printf("%s/" HISTORY_FILE, dir);
        open_file(h);
    }
    return h;
}

static void close_file(struct history *h)
{
    if (h->file) {
        (void)fclose(h->file); /* flushed step by step */
        h->file = NULL;
    }
}

void history_close(struct history *h)
{
    if (h) {
        close_file(h);
        free(h->path);
        free(h);
    }
}

static void turn(struct history *h)
{
    _cleanup_free_ char *old = str_printf("%s.1", h->path);
    close_file(h);
    (void)rename(h->path, old); /* a history is a help, not a promise */
    open_file(h);
}

void history_add(struct history *h, const json_t *facts)
{
    size_t i;
    json_t *fact;
    if (!h->file || !json_array_size(facts)) {
        return;
    }
    json_array_foreach(facts, i, fact) {
        _cleanup_free_ char *line = json_format(fact);
        if (strlen(line) < HISTORY_LINE_BYTES) {
            (void)fprintf(h->file, "%s\n", line);
            h->written += strlen(line) + 1;
        }
    }
    (void)fflush(h->file);
    if (h->written > h->max_bytes) {
        turn(h);
    }
}

/* --- reading ------------------------------------------------------------------------------- */

static bool is_wanted(const json_t *fact, const char *vm, uint64_t since_ms)
{
    const char *of = json_text_of(fact, "vm");
    return json_u64_of(fact, "at", 0) >= since_ms && (!vm || !of || str_eq(of, vm));
}

/* @ret_first_ms: when it begins; 0 when it is absent or empty */
static int read_one(const char *path, const char *vm, uint64_t since_ms, json_t *items, uint64_t *ret_first_ms,
                    struct err *e)
{
    _cleanup_free_ char *text = NULL;
    struct err why = {0};
    int r = file_read(path, 4 * HISTORY_MAX_BYTES, &text, NULL, &why);
    *ret_first_ms = 0;
    if (r < 0) {
        return r == -ERR_NOT_FOUND ? 0 : err_copy(e, &why);
    }
    for (char *line = text, *end = NULL; *line; line = end) {
        end = line + strcspn(line, "\n");
        _cleanup_json_ json_t *fact = NULL;
        bool is_whole = json_parse(line, (size_t)(end - line), &fact, NULL) == 0;
        end += *end == '\n';
        if (!is_whole) {
            continue; /* torn, or empty */
        }
        *ret_first_ms = *ret_first_ms ? *ret_first_ms : json_u64_of(fact, "at", 0);
        if (is_wanted(fact, vm, since_ms)) {
            json_array_append(items, fact);
        }
    }
    return 0;
}

/* The newest ones only. */
static json_t *shorten(json_t *items)
{
    size_t n = json_array_size(items);
    json_t *kept = json_array();
    for (size_t i = n > HISTORY_ANSWER_MAX ? n - HISTORY_ANSWER_MAX : 0; i < n; i++) {
        json_array_append(kept, json_array_get(items, i));
    }
    return kept;
}

int history_read(const char *dir, const char *vm, uint64_t since_ms, json_t **ret, struct err *e)
{
    _cleanup_free_ char *now = str_printf("%s/" HISTORY_FILE, dir);
    _cleanup_free_ char *before = str_printf("%s.1", now);
    _cleanup_json_ json_t *items = json_array();
    uint64_t from_ms = 0;
    uint64_t unused_ms = 0;
    int r = read_one(before, vm, since_ms, items, &from_ms, e);
    r = r < 0 ? r : read_one(now, vm, since_ms, items, &unused_ms, e);
    if (r < 0) {
        return r;
    }
    bool is_cut = json_array_size(items) > HISTORY_ANSWER_MAX;
    json_t *kept = shorten(items);
    from_ms = is_cut ? json_u64_of(json_array_get(kept, 0), "at", 0) : from_ms;
    *ret = json_pack("{s:o}", "items", kept);
    if (is_cut) {
        json_object_set_new(*ret, "cut", json_true());
    }
    if (from_ms) {
        json_object_set_new(*ret, "from_ms", json_integer((json_int_t)from_ms));
    }
    return 0;
}
