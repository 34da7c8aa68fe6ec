/* SPDX-License-Identifier: Apache-2.0 */
#include "io/digest.h"

#include <gnutls/crypto.h>

#include "base/str.h"

struct digest {
    gnutls_hash_hd_t hash;
};

struct digest *digest_new(void)
{
    struct digest *d = xcalloc(1, sizeof(*d));
    /* It can only fail for lack of memory: SHA-256 is in every build, in FIPS mode, too. */
    if (gnutls_hash_init(&d->hash, GNUTLS_DIG_SHA256) < 0) {
        abort();
    }
    return d;
}

void digest_free(struct digest *d)
{
    if (d) {
        gnutls_hash_deinit(d->hash, NULL);
        free(d);
    }
}

void digest_add(struct digest *d, const void *data, size_t len)
{
    if (gnutls_hash(d->hash, data, len) < 0) {
        abort();
    }
}

void digest_finish(struct digest *d, char ret[static DIGEST_HEX_LEN + 1])
{
    unsigned char raw[DIGEST_HEX_LEN / 2];
    gnutls_hash_output(d->hash, raw); /* and starts anew */
    hex_format(raw, sizeof(raw), ret);
}
