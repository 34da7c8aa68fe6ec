/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 of what comes in pieces. GnuTLS is behind it. */
#pragma once

#include <stddef.h>

#include "base/util.h"

#define DIGEST_HEX_LEN 64

struct digest;

/** digest_new - of nothing yet; freed with digest_free() */
struct digest *digest_new(void);
void digest_free(struct digest *d);
DEFINE_FREEP(struct digest, digest_free)

/** digest_add - the next @len bytes */
void digest_add(struct digest *d, const void *data, size_t len);

/** digest_finish - lower-case hex of all that was added; @d is that of nothing again */
void digest_finish(struct digest *d, char ret[static DIGEST_HEX_LEN + 1]);
