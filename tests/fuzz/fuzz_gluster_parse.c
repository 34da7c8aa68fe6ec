/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the words of glusterd. The corpus is tests/golden/gluster. */
#include <string.h>

#include "adapters/gluster/gluster_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = str_printf("%.*s", (int)size, (const char *)data);
    _cleanup_free_ char *note = NULL;
    _cleanup_gluster_peers_ struct gluster_peers peers = {0};
    _cleanup_gluster_volumes_ struct gluster_volumes volumes = {0};
    _cleanup_gluster_state_ struct gluster_state state = {0};
    struct gluster_quorum quorum;
    (void)check_gluster_reply((const char *)data, size, &note, NULL); /* refusing is fine, too */
    (void)parse_gluster_peers((const char *)data, size, &peers, NULL);
    if (parse_gluster_volumes((const char *)data, size, &volumes, NULL) == 0 && volumes.n > 0) {
        (void)parse_gluster_status((const char *)data, size, &volumes.v[0], NULL);
    }
    (void)parse_gluster_state(text, &state, NULL);
    (void)parse_gluster_quorum(text, &quorum, NULL);
    return 0;
}
