/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/egress.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"

#define SET_NAME "bricks"
#define PRIORITY_RAW (-300)
#define TYPE_IPV4 7 /* how nft(8) shows the keys of the set */

static void *grow(struct egress_batch *b, size_t len)
{
    void *p = b->data + b->len;
    size_t room = NLMSG_ALIGN(len);
    assert(b->len + room <=
           sizeof(b->data)); /* 12 addresses at most; everything else is constant */
    memset(p, 0, room);
    b->len += room;
    return p;
}

static struct nlmsghdr *msg_begin(struct egress_batch *b, unsigned type, unsigned flags)
{
    bool is_mark = type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END;
    struct nlmsghdr *h = grow(b, sizeof(*h));
    struct nfgenmsg *g = grow(b, sizeof(*g));
    h->nlmsg_type = (uint16_t)(is_mark ? type : NFNL_SUBSYS_NFTABLES << 8 | type);
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    g->nfgen_family = is_mark ? AF_UNSPEC : NFPROTO_INET;
    g->res_id = is_mark ? htons(NFNL_SUBSYS_NFTABLES) : 0;
    return h;
}

static void msg_end(struct egress_batch *b, struct nlmsghdr *h)
{
    h->nlmsg_len = (uint32_t)(b->data + b->len - (uint8_t *)h);
}

static void put(struct egress_batch *b, unsigned type, const void *data, size_t len)
{
    struct nlattr *a = grow(b, sizeof(struct nlattr) + len);
    a->nla_type = (uint16_t)type;
    a->nla_len = (uint16_t)(sizeof(struct nlattr) + len);
    memcpy((uint8_t *)a + sizeof(struct nlattr), data, len);
}

static void put_text(struct egress_batch *b, unsigned type, const char *s)
{
    put(b, type, s, strlen(s) + 1);
}

static void put_u32(struct egress_batch *b, unsigned type, uint32_t v)
{
    v = htonl(v);
    put(b, type, &v, sizeof(v));
}

static struct nlattr *nest_begin(struct egress_batch *b, unsigned type)
{
    struct nlattr *a = grow(b, sizeof(struct nlattr));
    a->nla_type = (uint16_t)(type | NLA_F_NESTED);
    return a;
}

static void nest_end(struct egress_batch *b, struct nlattr *a)
{
    a->nla_len = (uint16_t)(b->data + b->len - (uint8_t *)a);
}

/* An expression of a rule; expr_end() closes both nests. */
struct expr {
    struct nlattr *element;
    struct nlattr *data;
};

static struct expr expr_begin(struct egress_batch *b, const char *name)
{
    struct expr x = {.element = nest_begin(b, NFTA_LIST_ELEM)};
    put_text(b, NFTA_EXPR_NAME, name);
    x.data = nest_begin(b, NFTA_EXPR_DATA);
    return x;
}

static void expr_end(struct egress_batch *b, struct expr x)
{
    nest_end(b, x.data);
    nest_end(b, x.element);
}

static void put_cmp(struct egress_batch *b, enum nft_cmp_ops op, const void *data, size_t len)
{
    struct expr x = expr_begin(b, "cmp");
    put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
    put_u32(b, NFTA_CMP_OP, op);
    struct nlattr *value = nest_begin(b, NFTA_CMP_DATA);
    put(b, NFTA_DATA_VALUE, data, len);
    nest_end(b, value);
    expr_end(b, x);
}

static void put_meta_is(struct egress_batch *b, enum nft_meta_keys key, uint8_t value)
{
    struct expr x = expr_begin(b, "meta");
    put_u32(b, NFTA_META_DREG, NFT_REG_1);
    put_u32(b, NFTA_META_KEY, key);
    expr_end(b, x);
    put_cmp(b, NFT_CMP_EQ, &value, sizeof(value));
}

static void put_payload(struct egress_batch *b, enum nft_payload_bases base, uint32_t offset,
                        uint32_t len)
{
    struct expr x = expr_begin(b, "payload");
    put_u32(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_u32(b, NFTA_PAYLOAD_BASE, base);
    put_u32(b, NFTA_PAYLOAD_OFFSET, offset);
    put_u32(b, NFTA_PAYLOAD_LEN, len);
    expr_end(b, x);
}

/* ip daddr @bricks tcp dport FIRST-LAST drop; for input saddr and sport */
static void put_rule(struct egress_batch *b, bool is_output, uint16_t first, uint16_t last)
{
    const uint16_t from = htons(first);
    const uint16_t to = htons(last);
    struct nlmsghdr *h = msg_begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    put_text(b, NFTA_RULE_TABLE, EGRESS_TABLE);
    put_text(b, NFTA_RULE_CHAIN, is_output ? "output" : "input");
    struct nlattr *all = nest_begin(b, NFTA_RULE_EXPRESSIONS);
    put_meta_is(b, NFT_META_NFPROTO, NFPROTO_IPV4);
    put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, is_output ? 16 : 12, 4);
    struct expr x = expr_begin(b, "lookup");
    put_text(b, NFTA_LOOKUP_SET, SET_NAME);
    put_u32(b, NFTA_LOOKUP_SREG, NFT_REG_1);
    expr_end(b, x);
    put_meta_is(b, NFT_META_L4PROTO, IPPROTO_TCP);
    put_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, is_output ? 2 : 0, 2);
    put_cmp(b, NFT_CMP_GTE, &from, sizeof(from));
    put_cmp(b, NFT_CMP_LTE, &to, sizeof(to));
    x = expr_begin(b, "immediate");
    put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    struct nlattr *data = nest_begin(b, NFTA_IMMEDIATE_DATA);
    struct nlattr *verdict = nest_begin(b, NFTA_DATA_VERDICT);
    put_u32(b, NFTA_VERDICT_CODE, NF_DROP);
    nest_end(b, verdict);
    nest_end(b, data);
    expr_end(b, x);
    nest_end(b, all);
    msg_end(b, h);
}

static void put_chain(struct egress_batch *b, const char *name, uint32_t hook)
{
    struct nlmsghdr *h = msg_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    put_text(b, NFTA_CHAIN_TABLE, EGRESS_TABLE);
    put_text(b, NFTA_CHAIN_NAME, name);
    put_text(b, NFTA_CHAIN_TYPE, "filter");
    struct nlattr *nest = nest_begin(b, NFTA_CHAIN_HOOK);
    put_u32(b, NFTA_HOOK_HOOKNUM, hook);
    put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY_RAW);
    nest_end(b, nest);
    put_u32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
    msg_end(b, h);
}

static void put_table(struct egress_batch *b, unsigned type, unsigned flags)
{
    struct nlmsghdr *h = msg_begin(b, type, flags);
    put_text(b, NFTA_TABLE_NAME, EGRESS_TABLE);
    msg_end(b, h);
}

static void batch_begin(struct egress_batch *b)
{
    b->len = 0;
    msg_end(b, msg_begin(b, NFNL_MSG_BATCH_BEGIN, 0));
}

static void batch_end(struct egress_batch *b)
{
    msg_end(b, msg_begin(b, NFNL_MSG_BATCH_END, 0));
}

static void build_table(struct egress_batch *b)
{
    batch_begin(b);
    put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE); /* so that the next line finds one */
    put_table(b, NFT_MSG_DELTABLE, 0);
    put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    struct nlmsghdr *h = msg_begin(b, NFT_MSG_NEWSET, NLM_F_CREATE);
    put_text(b, NFTA_SET_TABLE, EGRESS_TABLE);
    put_text(b, NFTA_SET_NAME, SET_NAME);
    put_u32(b, NFTA_SET_ID, 1);
    put_u32(b, NFTA_SET_KEY_TYPE, TYPE_IPV4);
    put_u32(b, NFTA_SET_KEY_LEN, 4);
    msg_end(b, h);
    put_chain(b, "output", NF_INET_LOCAL_OUT);
    put_chain(b, "input", NF_INET_LOCAL_IN);
    for (int is_output = 0; is_output <= 1; is_output++) {
        put_rule(b, is_output, 24007, 24007);
        put_rule(b, is_output, 49152, 60999);
    }
    ((struct nlmsghdr *)b->data)->nlmsg_flags |= NLM_F_ACK;
    batch_end(b);
}

/* All elements of the set; without addresses all of them are meant. Return: how many addresses
 * there are */
static unsigned build_elements(struct egress_batch *b, const struct guard_conf *c, unsigned type,
                               unsigned flags)
{
    unsigned n = 0;
    batch_begin(b);
    struct nlmsghdr *h = msg_begin(b, type, flags | NLM_F_ACK);
    put_text(b, NFTA_SET_ELEM_LIST_TABLE, EGRESS_TABLE);
    put_text(b, NFTA_SET_ELEM_LIST_SET, SET_NAME);
    struct nlattr *list = c ? nest_begin(b, NFTA_SET_ELEM_LIST_ELEMENTS) : NULL;
    for (unsigned i = 0; c && i < c->hosts_n; i++) {
        const struct guard_host *host = &c->hosts[i];
        bool is_cut = host->is_fencer && !str_eq(host->name, c->self);
        for (unsigned k = 0; is_cut && k < host->addrs_n; k++, n++) {
            struct nlattr *element = nest_begin(b, NFTA_LIST_ELEM);
            struct nlattr *key = nest_begin(b, NFTA_SET_ELEM_KEY);
            put(b, NFTA_DATA_VALUE, &host->addrs[k], 4);
            nest_end(b, key);
            nest_end(b, element);
        }
    }
    if (list) {
        nest_end(b, list);
    }
    msg_end(b, h);
    batch_end(b);
    return n;
}

/* Return: 0 when the kernel confirmed the batch, else -errno. It answers before sendmsg() returns.
 * */
static int transact(struct egress *g, const struct egress_batch *b)
{
    _Alignas(8) char answer[8192];
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int r = -ENODATA;
    while (recv(g->fd, answer, sizeof(answer), MSG_DONTWAIT) > 0) {
        /* what an earlier failure left */
    }
    if (sendto(g->fd, b->data, b->len, MSG_DONTWAIT, (const void *)&kernel, sizeof(kernel)) < 0) {
        return -errno;
    }
    for (ssize_t n; (n = recv(g->fd, answer, sizeof(answer), MSG_DONTWAIT)) > 0;) {
        uint32_t left = (uint32_t)n;
        for (const struct nlmsghdr *h = (const void *)answer; NLMSG_OK(h, left);
             h = NLMSG_NEXT(h, left)) {
            const struct nlmsgerr *said = NLMSG_DATA(h);
            bool is_answer = h->nlmsg_type == NLMSG_ERROR &&
                             h->nlmsg_len >= NLMSG_LENGTH(sizeof(*said));
            r = is_answer && (r == -ENODATA || r == 0) ? said->error : r;
        }
    }
    return r;
}

int egress_init(struct egress *g, struct err *e)
{
    memset(g, 0, sizeof(*g));
    g->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    return g->fd < 0 ? ERR_SYS(e, IO, errno, "cannot open netlink") : 0;
}

void egress_done(struct egress *g)
{
    close_fdp(&g->fd);
    g->fd = -1;
}

int egress_configure(struct egress *g, const struct guard_conf *c, bool is_cut, struct err *e)
{
    build_table(&g->table);
    g->addrs_n = build_elements(&g->cut, c, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
    (void)build_elements(&g->open, NULL, NFT_MSG_DELSETELEM, 0);
    if (is_cut) {
        return egress_apply(g, true,
                            e); /* no moment without the cut, also when the last guard made it */
    }
    int r = transact(g, &g->table);
    return r < 0 ? ERR_SYS(e, IO, -r, "cannot make the table of the egress cut") : 0;
}

int egress_apply(struct egress *g, bool cut, struct err *e)
{
    if (g->addrs_n == 0) {
        return 0;
    }
    int r = transact(g, cut ? &g->cut : &g->open);
    if (r == -ENOENT && !cut) {
        return 0; /* flushed by somebody: nothing is cut */
    }
    if (r == -ENOENT) {
        r = transact(g, &g->table);
        r = r < 0 ? r : transact(g, &g->cut);
    }
    return r < 0 ? ERR_SYS(e, IO, -r, "cannot %s the way to the bricks", cut ? "cut" : "open") : 0;
}
