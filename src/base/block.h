/* SPDX-License-Identifier: Apache-2.0
 * Marked blocks in text files that belong to somebody else (/etc/hosts, qemu.conf). What is between
 * our two marker lines is ours; every other byte is kept. Pure; io/file.h has the edit of a file. */
#pragma once

#include "base/err.h"

/**
 * block_set - put @body between the markers of block @name, in the place where it was or at the end
 * @text: the whole file        @name: letters, digits, '-'; a file may hold several blocks
 * @body: lines, each ended by a newline; NULL takes the block and its markers out
 * @ret: the new text, equal to @text when nothing changes; caller frees
 * Return: 0, or -ERR_PARSE when a begin marker has no end: then nobody knows what is ours
 */
int block_set(const char *text, const char *name, const char *body, char **ret, struct err *e);
