/* SPDX-License-Identifier: Apache-2.0
 * Files that must be there, or gone, after a power cut: what the fence keeps on disk. */
#pragma once

#include "base/err.h"

/**
 * fence_dir_write - file_replace() of mode 0600 in a directory that is made when absent, durably
 * @text: terminated        Return: 0 or -ERR_IO
 */
int fence_dir_write(const char *path, const char *text, struct err *e);

/** fence_dir_remove - remove a file, durably. Not there: success. Return: 0 or -ERR_IO */
int fence_dir_remove(const char *path, struct err *e);
