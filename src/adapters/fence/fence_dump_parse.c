/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_dump_parse.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define STACK_SECTION "global.callpool.stack."
#define LINE_MAX_BYTES 4096 /* what we read of a line; paths and ids are shorter */

/* Fops that change neither data nor marks (gf_fop_list of 10.3, xlator.c). Everything else, also what
 * we do not know, is waited for. OPEN is not here: it may truncate. Locks are: they may wait for
 * each other as long as their clients live. "stack" is no fop at all. */
static const char *const harmless[] = {
    "ACCESS",      "ENTRYLK", "FENTRYLK", "FGETXATTR",  "FINODELK",    "FLUSH",    "FORGET",   "FSTAT",
    "FSYNC",       "FSYNCDIR", "GETACTIVELK", "GETXATTR", "INODELK",   "IPC",      "LEASE",    "LK",
    "LOOKUP",      "OPENDIR", "RCHECKSUM", "READ",      "READDIR",     "READDIRP", "READLINK", "RELEASE",
    "RELEASEDIR",  "SEEK",    "SETACTIVELK", "STAT",    "STATFS",      "stack",
};

void fence_dump_done(struct fence_dump *d)
{
    free(d->ops);
    strv_done(&d->conns);
    *d = (struct fence_dump){0};
}

void fence_drain_state_done(struct fence_drain_state *s)
{
    free(s->waits);
    *s = (struct fence_drain_state){0};
}

static bool op_is_harmless(const char *name)
{
    for (size_t i = 0; i < ELEMENTS(harmless); i++) {
        if (str_eq(name, harmless[i])) {
            return true;
        }
    }
    return false;
}

struct reader {
    struct fence_dump *d;
    size_t cap;
    bool is_in_stack; /* in a section of one stack, not of a frame in it */
    bool has_unique;
    bool has_op;
    struct fence_op op;
    bool has_callpool;
    bool is_locked;
    bool has_end;
};

/* Return: 0, or the error for what a stack lacked */
static int end_section(struct reader *r, struct err *e)
{
    bool was_in_stack = r->is_in_stack;
    r->is_in_stack = false;
    if (!was_in_stack) {
        return 0;
    }
    if (!r->has_unique || !r->has_op) {
        return ERR_SET(e, PARSE, "an operation without number or name");
    }
    if (op_is_harmless(r->op.name)) {
        return 0;
    }
    if (r->d->n_ops == FENCE_DUMP_OPS_MAX) {
        return ERR_SET(e, LIMIT, "more than %d operations", FENCE_DUMP_OPS_MAX);
    }
    if (r->d->n_ops == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        struct fence_op *more = realloc(r->d->ops, cap * sizeof(*more));
        if (!more) {
            return ERR_SET(e, LIMIT, "no memory for %zu operations", cap);
        }
        r->d->ops = more;
        r->cap = cap;
    }
    r->d->ops[r->d->n_ops++] = r->op;
    return 0;
}

static void begin_section(struct reader *r, const char *line)
{
    const char *name = line + 1;
    size_t digits = 0;
    if (str_starts(name, "global.callpool]")) {
        r->has_callpool = true;
    }
    if (!str_starts(name, STACK_SECTION)) {
        return;
    }
    name += strlen(STACK_SECTION);
    digits = strspn(name, "0123456789");
    if (digits > 0 && name[digits] == ']') {
        r->is_in_stack = true;
        r->has_unique = r->has_op = false;
    }
}

static int take_key(struct reader *r, const char *line, struct err *e)
{
    unsigned number = 0;
    int at = 0;
    if (r->is_in_stack && str_starts(line, "unique=")) {
        r->has_unique = str_parse_u64(line + 7, UINT64_MAX, &r->op.unique, NULL) == 0;
    } else if (r->is_in_stack && str_starts(line, "op=")) {
        int n = snprintf(r->op.name, sizeof(r->op.name), "%s", line + 3);
        r->has_op = n > 0; /* one that is too long is unknown, and so waited for */
    } else if (str_starts(line, "conn.") && sscanf(line, "conn.%9u.id=%n", &number, &at) == 1 && at > 0) {
        if (r->d->conns.n == FENCE_DUMP_CONNS_MAX) {
            return ERR_SET(e, LIMIT, "more than %d connections", FENCE_DUMP_CONNS_MAX);
        }
        strv_add(&r->d->conns, line + at);
    } else if (str_starts(line, "Unable to dump the callpool")) {
        r->is_locked = true;
    } else if (str_starts(line, "DUMP-END-TIME:")) {
        r->has_end = true;
    }
    return 0;
}

static int take_line(struct reader *r, const char *line, struct err *e)
{
    if (line[0] != '[') {
        return take_key(r, line, e);
    }
    int result = end_section(r, e);
    begin_section(r, line);
    return result;
}

int parse_fence_dump(const char *text, size_t len, struct fence_dump *ret, struct err *e)
{
    _cleanup_fence_dump_ struct fence_dump d = {0};
    struct reader reader = {.d = &d};
    int r = 0;
    if (len > FENCE_DUMP_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "a statedump of %zu bytes", len);
    }
    for (size_t at = 0; r == 0 && at < len;) {
        char line[LINE_MAX_BYTES];
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        size_t kept = n < sizeof(line) ? n : sizeof(line) - 1;
        memcpy(line, text + at, kept);
        line[kept] = '\0';
        r = take_line(&reader, line, e);
        at += n + 1;
    }
    r = r < 0 ? r : end_section(&reader, e);
    if (r == 0 && !reader.has_end) {
        r = ERR_SET(e, PARSE, "the end is missing");
    }
    if (r < 0) {
        err_prepend(e, "cannot read the statedump");
        return r;
    }
    d.has_ops = reader.has_callpool && !reader.is_locked;
    *ret = d;
    d = (struct fence_dump){0};
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void begin(struct fence_drain_state *s, const struct fence_dump *d)
{
    s->has_first = true;
    s->n_waits = d->n_ops;
    s->waits = xcalloc(d->n_ops, sizeof(*s->waits));
    for (size_t i = 0; i < d->n_ops; i++) {
        s->waits[i] = d->ops[i].unique;
    }
    if (d->n_ops > 0) {
        qsort(s->waits, s->n_waits, sizeof(*s->waits), compare_numbers);
    }
}

/* One more of what is left, while there is room. */
static void say(struct fence_drain_state *s, const char *what)
{
    size_t len = strlen(s->examples);
    size_t room = sizeof(s->examples) - len;
    if (room > strlen(what) + strlen(", ")) {
        (void)snprintf(s->examples + len, room, "%s%s", len > 0 ? ", " : "", what); /* it fits */
    }
}

void fence_drain_step(struct fence_drain_state *s, const struct fence_dump *d, const char *client_host)
{
    s->left = s->conns = 0;
    s->examples[0] = '\0';
    if (!d->has_ops || (client_host && d->conns.n == 0)) {
        /* The heal daemon of this host is always connected: no connection at all is a list that the
         * brick could not lock. */
        say(s, d->has_ops ? "a list of connections" : "a list of operations");
        return;
    }
    if (!s->has_first) {
        begin(s, d);
    }
    for (size_t i = 0; s->n_waits > 0 && i < d->n_ops; i++) {
        const struct fence_op *op = &d->ops[i];
        if (bsearch(&op->unique, s->waits, s->n_waits, sizeof(*s->waits), compare_numbers)) {
            s->left++;
            say(s, op->name);
        }
    }
    for (size_t i = 0; client_host && i < d->conns.n; i++) {
        if (fence_conn_is_of(d->conns.v[i], client_host)) {
            s->conns++;
            say(s, d->conns.v[i]);
        }
    }
    s->is_proven = s->left == 0 && s->conns == 0;
}

bool fence_conn_is_of(const char *id, const char *name)
{
    const char *host = strstr(id, "-HOST:");
    size_t len = strlen(name);
    if (!host || len == 0) {
        return false;
    }
    host += strlen("-HOST:");
    return strncmp(host, name, len) == 0 && (host[len] == '.' || str_starts(host + len, "-PC_NAME:"));
}

bool fence_cmdline_is_brick(const char *cmdline, size_t len, const char *volume, const char *brick)
{
    const char *previous = "";
    bool is_brick = false;
    bool is_volume = false;
    size_t n = strlen(volume);
    for (size_t at = 0; at < len; at += strlen(cmdline + at) + 1) {
        const char *word = cmdline + at;
        if (at == 0 && !str_eq(word, "glusterfsd") && !str_ends(word, "/glusterfsd")) {
            return false;
        }
        is_brick = is_brick || (str_eq(previous, "--brick-name") && str_eq(word, brick));
        is_volume = is_volume || (str_eq(previous, "--volfile-id") && strncmp(word, volume, n) == 0 &&
                                  word[n] == '.');
        previous = word;
    }
    return is_brick && is_volume;
}

static uint64_t mask_of(const char *status, const char *key)
{
    const char *at = strstr(status, key);
    unsigned long long mask = 0;
    return at && sscanf(at + strlen(key), " %llx", &mask) == 1 ? mask : 0;
}

bool fence_status_takes(const char *status, int signal)
{
    assert(signal > 0 && signal <= 64);
    uint64_t bit = (uint64_t)1 << (signal - 1);
    return ((mask_of(status, "\nSigBlk:") | mask_of(status, "\nSigIgn:") | mask_of(status, "\nSigCgt:")) &
            bit) != 0;
}
