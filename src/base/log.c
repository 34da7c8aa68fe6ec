/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The log sink is one of the listed exceptions from "no static state" (style §4). */
static const char *log_program = "mortar";
static enum log_level log_max = LOG_LV_INFO;

void log_setup(const char *program, enum log_level max_level)
{
    log_program = program;
    log_max = max_level;
}

void log_write(enum log_level level, const char *text, const char *fields, ...)
{
    char data[1024] = "";
    if (level > log_max) {
        return;
    }
    if (fields) {
        va_list ap;
        va_start(ap, fields);
        (void)vsnprintf(data, sizeof(data), fields, ap); /* long fields are cut */
        va_end(ap);
    }
    for (char *p = data; *p; p++) {
        *p = *p == '\n' || *p == '\r' ? ' ' : *p;
    }
    const char *prefix = getenv("JOURNAL_STREAM") ? "" : log_program;
    if (*prefix) {
        (void)fprintf(stderr, "%s: %s%s%s\n", prefix, text, *data ? " " : "", data);
    } else {
        (void)fprintf(stderr, "<%d>%s%s%s\n", (int)level, text, *data ? " " : "", data);
    }
}
