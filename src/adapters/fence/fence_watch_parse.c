/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_watch_parse.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>

#include "adapters/fence/fence_table_format.h"

/* The table's name is attribute 1 of tables, chains, rules, sets and elements alike (NFTA_*_TABLE). */
static bool names_our_table(const char *attrs, size_t len)
{
    while (len >= sizeof(struct nlattr)) {
        struct nlattr a;
        memcpy(&a, attrs, sizeof(a));
        if (a.nla_len < sizeof(a) || a.nla_len > len) {
            return false;
        }
        size_t n = a.nla_len - sizeof(a);
        if ((a.nla_type & NLA_TYPE_MASK) == NFTA_TABLE_NAME) {
            return n == sizeof(FENCE_TABLE) && memcmp(attrs + sizeof(a), FENCE_TABLE, n) == 0;
        }
        size_t step = NLA_ALIGN(a.nla_len);
        attrs += step < len ? step : len;
        len -= step < len ? step : len;
    }
    return false;
}

bool parse_fence_watch(const void *buf, size_t len)
{
    const char *p = buf;
    while (len >= sizeof(struct nlmsghdr)) {
        struct nlmsghdr h;
        memcpy(&h, p, sizeof(h));
        if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len) {
            return true; /* cut, or not what we know: to look once more is harmless */
        }
        size_t body = NLMSG_ALIGN(sizeof(struct nfgenmsg));
        size_t n = h.nlmsg_len - sizeof(h);
        if (h.nlmsg_type >> 8 == NFNL_SUBSYS_NFTABLES && n > body && names_our_table(p + sizeof(h) + body, n - body)) {
            return true;
        }
        size_t step = NLMSG_ALIGN(h.nlmsg_len);
        p += step < len ? step : len;
        len -= step < len ? step : len;
    }
    return false;
}
