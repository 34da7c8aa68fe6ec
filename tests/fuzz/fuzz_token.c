/* SPDX-License-Identifier: Apache-2.0
 * Any text as a join token; what is accepted must survive being written and read again. */
#include <assert.h>
#include <string.h>

#include "wire/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = str_printf("%.*s", (int)size, (const char *)data);
    _cleanup_free_ char *again = NULL;
    _cleanup_token_ struct token t = {0};
    _cleanup_token_ struct token same = {0};
    if (token_parse(text, &t, NULL) == 0 && token_format(&t, &again, NULL) == 0) {
        int r = token_parse(again, &same, NULL);
        assert(r == 0);
        assert(str_eq(t.secret, same.secret) && t.addresses.n == same.addresses.n);
    }
    return 0;
}
