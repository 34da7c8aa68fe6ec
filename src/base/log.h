/* SPDX-License-Identifier: Apache-2.0
 * Log calls: fixed text, data in fields. Exactly one layer logs a failure: the one that stops
 * passing it up. Sinks: stderr (with journald's <n> priority prefix when it reads us), or a test. */
#pragma once

#include "base/err.h"

enum log_level { LOG_LV_ERROR = 3, LOG_LV_WARNING = 4, LOG_LV_NOTICE = 5, LOG_LV_INFO = 6, LOG_LV_DEBUG = 7 };

/** log_setup - process name and lowest level shown; call once at start */
void log_setup(const char *program, enum log_level max_level);

/**
 * log_write - one line: text, then fields
 * @fields: "key=value key=value", printf; may be NULL. Secrets never go here.
 */
void log_write(enum log_level level, const char *text, const char *fields, ...) _printf_(3, 4);

#define log_error(text, ...) log_write(LOG_LV_ERROR, text, __VA_ARGS__)
#define log_warning(text, ...) log_write(LOG_LV_WARNING, text, __VA_ARGS__)
#define log_notice(text, ...) log_write(LOG_LV_NOTICE, text, __VA_ARGS__)
#define log_info(text, ...) log_write(LOG_LV_INFO, text, __VA_ARGS__)
#define log_debug(text, ...) log_write(LOG_LV_DEBUG, text, __VA_ARGS__)
/** log_err - a failure that goes no further up */
#define log_err(level, text, e) \
    log_write(level, text, "error=%s where=%s message=\"%s\"", err_name((e)->code), (e)->where, (e)->msg)
