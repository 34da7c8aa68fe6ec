/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as an answer of etcd. */
#include <assert.h>
#include <string.h>

#include "adapters/etcd/etcd_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const struct store_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        assert(l->kvs[i].key[0] && l->kvs[i].mod_revision > 0);
        assert(l->kvs[i].value[l->kvs[i].value_len] == '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct store_op ops[] = {{.key = (char *)"/a"}};
    static const char *const looks[] = {"/a", "/b"};
    const struct store_raw_txn asked = {.ops = ops, .ops_n = 1, .looks = looks, .looks_n = 2};
    const char *text = (const char *)data;
    _cleanup_store_list_ struct store_list list = {0};
    _cleanup_store_members_ struct store_members members = {0};
    struct store_raw_result res = {0};
    struct etcd_watch_line line = {0};
    struct store_status st = {0};
    struct etcd_error error;
    bool more = false;
    (void)etcd_parse_range(text, size, &list, &more, NULL); /* refusing is fine, here and below */
    check_list(&list);
    (void)etcd_parse_txn(text, size, &asked, &res, NULL);
    assert(!res.succeeded || res.revision > 0);
    check_list(&res.seen);
    store_list_done(&res.seen);
    (void)etcd_parse_members(text, size, &members, NULL);
    (void)etcd_parse_status(text, size, &st, NULL);
    assert(memchr(st.version, '\0', sizeof(st.version)));
    etcd_parse_error(text, size, &error);
    assert(memchr(error.message, '\0', sizeof(error.message)));
    (void)etcd_parse_watch_line(text, size, &line, NULL);
    etcd_watch_line_done(&line);
    return 0;
}
