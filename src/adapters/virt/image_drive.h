/* SPDX-License-Identifier: Apache-2.0
 * Images and disks as files: made by qemu-img under a memory limit and a deadline, under a hidden
 * name first, so that what carries its final name is whole and on stable storage. Every call may be
 * killed at any point and run again; it begins by removing what the killed one left.
 *
 * Blocking, up to hours. Each works on one name; two calls for one name must not run at once. */
#pragma once

#include <stdint.h>

#include "adapters/virt/image_file.h"
#include "adapters/virt/image_parse.h"
#include "io/digest.h"

struct image_import_args {
    const char *dir;      /* where images lie; absent while its pool is not mounted */
    const char *name;     /* str_is_name() */
    const char *source;   /* absolute path of a regular file, or http(s)://… */
    const char *format;   /* image_format_name(), or NULL or "auto" to recognise it */
    const char *checksum; /* "sha256:HEX" of the source, or NULL */
};

struct image_file {
    char *path; /* DIR/NAME.qcow2 */
    uint64_t virtual_bytes;
    enum image_format source_format;
    char sha256[DIGEST_HEX_LEN + 1]; /* of the source's bytes */
};
void image_file_done(struct image_file *f);
#define _cleanup_image_file_ _cleanup_(image_file_done)

/**
 * image_import - check a foreign image and convert it to DIR/NAME.qcow2
 * @ret: zero-initialise; set on success
 * Return: 0; -ERR_IMAGE_BAD; -ERR_NOT_FOUND; -ERR_STATE (not mounted); -ERR_POOL_FULL;
 *         -ERR_INVALID; as image_fetch(); -ERR_IO, -ERR_COMMAND, -ERR_TIMEOUT. No failure leaves a file behind.
 */
int image_import(const struct image_env *env, const struct image_import_args *args,
                 struct image_file *ret, struct err *e);

/** image_remove - delete DIR/NAME.qcow2 and leftovers; absent is fine. Return: 0 or -ERR_IO */
int image_remove(const char *dir, const char *name, struct err *e);

/**
 * image_export - write an image of ours as a new file that belongs to the caller
 * @path: absolute; must not exist
 * Return: 0; -ERR_EXISTS; -ERR_NOT_FOUND; -ERR_POOL_FULL; -ERR_IO, -ERR_COMMAND, -ERR_TIMEOUT
 */
int image_export(const struct image_env *env, const char *image, const char *path,
                 enum image_format format, struct err *e);

/**
 * image_make_disk - a qcow2 whose every cluster has its place already (facts/datapath.md 2)
 * @path: made unless it exists: then it is whole        @size_bytes: multiple of 512
 * @image: a qcow2 of ours to copy, at most as large; NULL for an empty disk
 * Return: 0; -ERR_INVALID; -ERR_NOT_FOUND; -ERR_POOL_FULL; -ERR_IO, -ERR_COMMAND, -ERR_TIMEOUT
 */
int image_make_disk(const struct image_env *env, const char *path, uint64_t size_bytes,
                    const char *image, struct err *e);
