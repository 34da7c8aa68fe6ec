/* SPDX-License-Identifier: Apache-2.0
 * Downloads of images. Certificates are judged by the system's authorities. */
#pragma once

#include "adapters/virt/image_parse.h"
#include "io/digest.h"

#define IMAGE_SOURCE_MAX_BYTES TIB

struct image_fetch {
    const char *url;
    const char *path;               /* file to make; must not exist */
    const enum image_format *want;  /* as image_parse_head(); a bad image ends the download early */
    void (*on_bytes)(void *arg, uint64_t done, uint64_t total); /* total 0: unknown */
    void *on_bytes_arg;
};

/** image_is_url - is this for image_fetch()? */
bool image_is_url(const char *source);

/** image_source_public - an address without its query, which may hold secrets. Caller frees. */
char *image_source_public(const char *source);

/**
 * image_fetch - download, over at most five redirections
 * @ret_sha256: of all bytes
 * Return: 0; -ERR_INVALID (address); -ERR_NOT_FOUND; -ERR_IMAGE_BAD; -ERR_LIMIT; -ERR_POOL_FULL;
 *         -ERR_REMOTE, -ERR_TLS, -ERR_IO. On failure the caller removes what is at @f->path.
 */
int image_fetch(const struct image_fetch *f, char ret_sha256[static DIGEST_HEX_LEN + 1],
                struct err *e);
