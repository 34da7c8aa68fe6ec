/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define TIME_SIZE 32

/* Local time as "DAY TIME"; "? ?" when @ms is none. */
static void format_local(uint64_t ms, char *ret_day, char *ret_time, size_t size)
{
    struct tm tm;
    time_t s = (time_t)(ms / 1000);
    bool is_time = localtime_r(&s, &tm) != NULL;
    if (!is_time || !strftime(ret_day, size, "%F", &tm) || !strftime(ret_time, size, "%T", &tm)) {
        (void)snprintf(ret_day, size, "?");
        (void)snprintf(ret_time, size, "?");
    }
}

static void add_line(const json_t *item, char *day, bool color, struct sbuf *out)
{
    char today[TIME_SIZE];
    char clock[TIME_SIZE];
    uint64_t at_ms = json_u64_of(item, "at", 0);
    uint64_t after_ms = json_u64_of(item, "after_ms", 0);
    const char *text = json_text_of(item, "text");
    _cleanup_free_ char *clean = text_clean(text ? text : "?");
    _cleanup_free_ char *after =
        after_ms ? str_printf("+%" PRIu64 ".%03u s", after_ms / 1000, (unsigned)(after_ms % 1000)) : str_dup("");
    format_local(at_ms, today, clock, TIME_SIZE);
    if (!str_eq(day, today)) {
        (void)snprintf(day, TIME_SIZE, "%s", today);
        text_styled(out, today, STYLE_BOLD, color);
        sbuf_printf(out, "\n");
    }
    sbuf_printf(out, "%s.%03u %12s  %s\n", clock, (unsigned)(at_ms % 1000), after, clean);
}

static void add_missing(const json_t *missing, bool color, struct sbuf *out)
{
    size_t i = 0;
    const json_t *m = NULL;
    json_array_foreach(missing, i, m)
    {
        char day[TIME_SIZE] = "";
        char clock[TIME_SIZE] = "";
        uint64_t from_ms = json_u64_of(m, "from_ms", 0);
        const char *said = json_text_of(m, "text");
        if (from_ms) {
            format_local(from_ms, day, clock, TIME_SIZE);
        }
        _cleanup_free_ char *text = str_printf("%s%s%s%s%s", said ? said : "?", from_ms ? " " : "", day,
                                              from_ms ? " " : "", clock);
        text_styled(out, text, STYLE_WARN, color);
        sbuf_printf(out, "\n");
    }
}

void view_why(const json_t *why, bool color, struct sbuf *out)
{
    char day[TIME_SIZE] = "";
    size_t i = 0;
    const json_t *item = NULL;
    const json_t *items = json_object_get(why, "items");
    json_array_foreach(items, i, item)
    {
        add_line(item, day, color, out);
    }
    if (json_array_size(items) == 0) {
        sbuf_printf(out, "nothing is known of this time\n");
    }
    add_missing(json_object_get(why, "missing"), color, out);
}
