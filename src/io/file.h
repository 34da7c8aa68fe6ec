/* SPDX-License-Identifier: Apache-2.0
 * Whole files: read with a limit, replace so that a crash leaves the old or the new one. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/**
 * file_read - the whole file
 * @limit_bytes: larger files are refused        @ret: set on success, terminated; caller frees
 * @ret_len: may be NULL
 * Return: 0, -ERR_NOT_FOUND, -ERR_LIMIT or -ERR_IO
 */
int file_read(const char *path, size_t limit_bytes, char **ret, size_t *ret_len, struct err *e);

/**
 * file_replace - write beside it, fsync, rename over it, fsync the directory
 * @mode: permissions of the new file, whatever the umask
 * Return: 0 or -ERR_IO; on failure the old file is untouched
 */
int file_replace(const char *path, const void *data, size_t len, mode_t mode, struct err *e);

/**
 * file_edit_block - file_replace() with the marked block @name set to @body (base/block.h)
 * @path: a missing file counts as empty; an existing one keeps its permissions and owner
 * @body: NULL takes the block out        @ret_changed: may be NULL; false when nothing was written
 * Return: 0, -ERR_IO, -ERR_LIMIT or -ERR_PARSE
 */
int file_edit_block(const char *path, const char *name, const char *body, bool *ret_changed,
                    struct err *e);

/** file_mkdirs - make @path and its parents; those that exist are left alone. Return: 0 or -ERR_IO */
int file_mkdirs(const char *path, mode_t mode, struct err *e);
/** file_exists - does lstat() see anything there? */
bool file_exists(const char *path);
