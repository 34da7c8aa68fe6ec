/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_conf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "base/str.h"

#define WORDS_MAX (3 + GUARD_ADDRS_MAX)
#define TIME_MIN_US (5 * USEC_PER_MSEC)
#define TIME_MAX_US (600 * USEC_PER_SEC)

/* One row per keyword; `seen` has a bit for each row, so that none comes twice or not at all. */
struct conf_row {
    const char *keyword;
    unsigned words_min;
    unsigned words_max;
    bool is_list; /* any number of lines */
    int (*take)(struct guard_conf *c, char **w, unsigned n, struct err *e);
};

unsigned guard_words(const char *line, size_t len, char *buf, size_t size, char **words,
                     unsigned max)
{
    unsigned n = 0;
    if (len == 0 || len >= size || line[0] == ' ' || line[len - 1] == ' ') {
        return 0;
    }
    for (size_t i = 0; i <= len; i++) {
        buf[i] = i == len || line[i] == ' ' ? '\0' : line[i];
        if (i < len && (line[i] < ' ' || line[i] > '~' || (line[i] == ' ' && line[i + 1] == ' '))) {
            return 0;
        }
        if (i == 0 || (i < len && line[i - 1] == ' ')) {
            if (n == max) {
                return 0;
            }
            words[n++] = buf + i;
        }
    }
    return n;
}

static int take_number(const char *word, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
    int r = str_parse_u64(word, max, ret, e);
    return r < 0 || *ret >= min ? r : ERR_SET(e, INVALID, "%s is too small", word);
}

static int take_name(const char *word, char *ret, struct err *e)
{
    if (!str_is_name(word)) {
        return ERR_SET(e, INVALID, "'%.64s' is not a host name", word);
    }
    memcpy(ret, word, strlen(word) + 1);
    return 0;
}

static int take_version(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    return str_eq(w[1], "1") ? 0 : ERR_SET(e, INVALID, "version '%.20s' is not known", w[1]);
}

static int take_generation(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    return take_number(w[1], 0, INT64_MAX, &c->generation, e);
}

static int take_self(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    int r = take_name(w[1], c->self, e);
    return r < 0 ? r : take_number(w[2], 1, INT64_MAX, &c->inc, e);
}

static int take_enforce(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    uint64_t value = 0;
    int r = take_number(w[1], 0, 1, &value, e);
    c->enforce = value == 1;
    return r;
}

static int take_times(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    uint64_t *const to[] = {&c->times.beat_us, &c->times.silent_us, &c->times.freeze_us,
                            &c->times.watchdog_us, &c->times.promise_us};
    int r = 0;
    for (unsigned i = 0; i < ELEMENTS(to) && r == 0; i++) {
        r = take_number(w[1 + i], TIME_MIN_US, TIME_MAX_US, to[i], e);
    }
    return r < 0 ? r : guard_times_check(&c->times, c->times.watchdog_us, e);
}

static int take_slice(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    size_t len = strlen(w[1]);
    if (!str_starts(w[1], "/sys/fs/cgroup/") || strstr(w[1], "..") || len >= sizeof(c->slice)) {
        return ERR_SET(e, INVALID, "'%.100s' is not a control group", w[1]);
    }
    memcpy(c->slice, w[1], len + 1);
    return 0;
}

static int take_host(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    if (c->hosts_n == GUARD_HOSTS_MAX) {
        return ERR_SET(e, INVALID, "more than %d hosts", GUARD_HOSTS_MAX);
    }
    struct guard_host *h = &c->hosts[c->hosts_n];
    int r = take_name(w[1], h->name, e);
    h->is_fencer = str_eq(w[2], "fencer");
    if (r == 0 && !h->is_fencer && !str_eq(w[2], "member")) {
        r = ERR_SET(e, INVALID, "'%.20s' is neither fencer nor member", w[2]);
    }
    for (unsigned i = 0; i < c->hosts_n && r == 0; i++) {
        r = str_eq(c->hosts[i].name, h->name) ? ERR_SET(e, INVALID, "a host comes twice") : 0;
    }
    for (unsigned i = 3; i < n && r == 0; i++) {
        if (inet_pton(AF_INET, w[i], &h->addrs[i - 3]) != 1) {
            r = ERR_SET(e, INVALID, "'%.40s' is not an IPv4 address", w[i]);
        }
    }
    h->addrs_n = n - 3;
    c->hosts_n++;
    return r;
}

static int take_deny(struct guard_conf *c, char **w, unsigned n, struct err *e)
{
    if (c->denials_n == GUARD_DENIALS_MAX) {
        return ERR_SET(e, INVALID, "more than %d denials", GUARD_DENIALS_MAX);
    }
    struct guard_denial *d = &c->denials[c->denials_n++];
    int r = take_name(w[1], d->name, e);
    return r < 0 ? r : take_number(w[2], 1, INT64_MAX, &d->inc, e);
}

static const struct conf_row rows[] = {
    {"mortar-guard", 2, 2, false, take_version}, /* the first row is the first line */
    {"generation", 2, 2, false, take_generation},
    {"self", 3, 3, false, take_self},
    {"enforce", 2, 2, false, take_enforce},
    {"times", 6, 6, false, take_times},
    {"slice", 2, 2, false, take_slice},
    {"host", 4, WORDS_MAX, true, take_host},
    {"deny", 3, 3, true, take_deny},
};

static int take_line(struct guard_conf *c, const char *line, size_t len, unsigned *seen,
                     struct err *e)
{
    char buf[512];
    char *w[WORDS_MAX];
    unsigned n = guard_words(line, len, buf, sizeof(buf), w, WORDS_MAX);
    unsigned i = 0;
    if (n == 0) {
        return ERR_SET(e, INVALID, "not words with one space between them");
    }
    while (i < ELEMENTS(rows) && !str_eq(rows[i].keyword, w[0])) {
        i++;
    }
    if (i == ELEMENTS(rows) || (i > 0 && !*seen)) {
        return ERR_SET(e, INVALID, "'%.20s' is not expected here", w[0]);
    }
    if (n < rows[i].words_min || n > rows[i].words_max || (!rows[i].is_list && *seen & 1U << i)) {
        return ERR_SET(e, INVALID, "'%s' comes twice, or has too many or too few words", w[0]);
    }
    *seen |= 1U << i;
    return rows[i].take(c, w, n, e);
}

/* What no line can say alone. */
static int check_whole(const struct guard_conf *c, unsigned seen, struct err *e)
{
    unsigned fencers = 0;
    bool has_self = false;
    for (unsigned i = 0; i < ELEMENTS(rows); i++) {
        if (!rows[i].is_list && !(seen & 1U << i)) {
            return ERR_SET(e, PARSE, "the line '%s' is missing", rows[i].keyword);
        }
    }
    for (unsigned i = 0; i < c->hosts_n; i++) {
        fencers += c->hosts[i].is_fencer ? 1 : 0;
        has_self = has_self || str_eq(c->hosts[i].name, c->self);
    }
    if (!has_self) {
        return ERR_SET(e, PARSE, "'%s' itself is not among the hosts", c->self);
    }
    if (fencers > GUARD_FENCERS || (c->enforce && fencers < GUARD_FENCERS)) {
        return ERR_SET(e, PARSE, "there are %u fencers, not %d", fencers, GUARD_FENCERS);
    }
    return 0;
}

int guard_times_check(const struct guard_times *t, uint64_t watchdog_us, struct err *e)
{
    if (t->silent_us < 2 * t->beat_us || t->freeze_us < 2 * t->beat_us) {
        return ERR_SET(e, INVALID, "silence and freeze must be at least two beats");
    }
    if (t->freeze_us + GUARD_VERIFY_US > watchdog_us) {
        return ERR_SET(e, INVALID, "the watchdog (%llu us) would fire before a freeze is verified",
                       (unsigned long long)watchdog_us);
    }
    /* What is left is how long an answer may take, see promise.h: a fifth of a beat is the least.
     * */
    if (watchdog_us + t->beat_us / 5 > t->promise_us / 100 * 85) {
        return ERR_SET(e, INVALID, "the watchdog (%llu us) would fire after promises have ended",
                       (unsigned long long)watchdog_us);
    }
    return 0;
}

int guard_conf_parse(const char *text, size_t len, struct guard_conf *ret, struct err *e)
{
    unsigned seen = 0;
    unsigned number = 0;
    memset(ret, 0, sizeof(*ret));
    if (len > GUARD_CONF_MAX_BYTES) {
        return ERR_SET(e, LIMIT, "more than %u bytes", (unsigned)GUARD_CONF_MAX_BYTES);
    }
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        struct err why = {0};
        number++;
        if (!end) {
            return ERR_SET(e, PARSE, "line %u: it does not end", number);
        }
        if (take_line(ret, text + at, (size_t)(end - text) - at, &seen, &why) < 0) {
            return ERR_SET(e, PARSE, "line %u: %s", number, why.msg);
        }
        at = (size_t)(end - text) + 1;
    }
    int r = check_whole(ret, seen, e);
    assert(r < 0 || (ret->hosts_n > 0 && ret->inc > 0));
    return r;
}
