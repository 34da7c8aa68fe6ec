/* SPDX-License-Identifier: Apache-2.0
 * Disk images from outside, judged by their first bytes before any other program opens them: which
 * format, how large, and whether they refer to other files. Pure. A header that passes is still
 * foreign data; qemu-img judges the rest (image_drive.c), under limits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_HEAD_BYTES (256 * KIB) /* what image_parse_head() wants to see */
#define IMAGE_VIRTUAL_MAX_BYTES (64 * TIB)

enum image_format { IMAGE_RAW, IMAGE_QCOW2, IMAGE_VMDK };

struct image_head {
    enum image_format format;
    uint64_t virtual_bytes; /* the guest's disk; a multiple of 512 */
};

/** image_format_name - as qemu-img spells it */
const char *image_format_name(enum image_format f);
/** image_format_by_name - Return: whether @name is one of ours; "auto" and NULL are not */
bool image_format_by_name(const char *name, enum image_format *ret);

/**
 * image_parse_head - what is this file?
 * @data: its first @len bytes: the whole file, or IMAGE_HEAD_BYTES        @file_bytes: its length;
 * UINT64_MAX when not known yet (then nothing is called truncated)
 * @want: what the user says it is, or NULL to recognise it. A file said to be raw is raw.
 * @ret: set on success
 * Return: 0, or -ERR_IMAGE_BAD: another format, damaged, too large, or it refers to other files
 * Source: QEMU docs/interop/qcow2.txt; VMware Virtual Disk Format 5.0
 */
int image_parse_head(const void *data, size_t len, uint64_t file_bytes,
                     const enum image_format *want, struct image_head *ret, struct err *e);

/**
 * image_parse_info - what `qemu-img info --output=json` said; the same questions, QEMU's answers
 * @ret_virtual_bytes: set on success
 * Return: 0, -ERR_IMAGE_BAD when it refers to other files or is too large, -ERR_PARSE
 */
int image_parse_info(const char *text, size_t len, uint64_t *ret_virtual_bytes, struct err *e);

/* Reads the progress that `qemu-img convert -p` writes. Zero-initialise. */
struct image_progress_text {
    char held[16]; /* the number so far */
    size_t n;
};

/**
 * image_parse_progress - take the next piece of output: "    (12.34/100%)\r"
 * @ret_bp: last number seen, in hundredths of a percent, 0–10000
 * Return: whether there was one
 */
bool image_parse_progress(struct image_progress_text *p, const char *piece, size_t len,
                          unsigned *ret_bp);
