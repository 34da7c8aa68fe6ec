/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_table_format.h"

#include <assert.h>
#include <string.h>

#define PRIORITY_RAW -300 /* NF_IP_PRI_RAW, linux/netfilter_ipv4.h: before connection tracking */

/* etcd's clients and peers, mortar-api, SSH; UDP: mortar-guard. 22 stands apart: see the filter. */
#define SERVICES "2379, 2380, 8843"
#define GUARD "8844"

struct chain {
    const char *name;
    const char *hook; /* NULL: only reached by goto */
};
static const struct chain chains[] = {
    {"input", "input"},
    {"output", "output"},
    {"closed", NULL},
};

struct rule {
    const char *chain;
    const char *mark; /* its comment, by which it is known again; unique in its chain */
    const char *text;
    bool is_single_only;
};
/* A connection is never opened from a service's port: without the condition on the flags a host
 * that is closed could reach a brick by binding such a port. */
#define NO_OPENING " tcp flags & (syn | ack) != syn"
static const struct rule rules[] = {
    {"input", "own", "iif lo accept", false},
    {"input", "closed4", "ip saddr @cluster4 ip saddr != @open4 goto closed", false},
    {"input", "closed6", "ip6 saddr @cluster6 ip6 saddr != @open6 goto closed", false},
    {"output", "own", "oif lo accept", false},
    {"output", "closed4", "ip daddr @cluster4 ip daddr != @open4 goto closed", false},
    {"output", "closed6", "ip6 daddr @cluster6 ip6 daddr != @open6 goto closed", false},
    {"closed", "to-service", "tcp dport { 22, " SERVICES " } accept", true},
    {"closed", "from-service", "tcp sport { 22, " SERVICES " }" NO_OPENING " accept", true},
    {"closed", "to-guard", "udp dport " GUARD " accept", true},
    {"closed", "from-guard", "udp sport " GUARD " accept", true},
    {"closed", "icmp", "meta l4proto { icmp, ipv6-icmp } accept", true},
    {"closed", "drop", "counter drop", false},
};

void fence_table_done(struct fence_table *t)
{
    strv_done(&t->cluster);
    strv_done(&t->own);
    strv_done(&t->open);
}

void fence_sets_done(struct fence_sets *s)
{
    strv_done(&s->cluster);
    strv_done(&s->open);
    strv_done(&s->marks);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_unique(struct strv *v)
{
    size_t kept = 0;
    if (v->n == 0) {
        return;
    }
    qsort(v->v, v->n, sizeof(v->v[0]), compare_text);
    for (size_t i = 0; i < v->n; i++) {
        if (kept > 0 && str_eq(v->v[kept - 1], v->v[i])) {
            free(v->v[i]);
        } else {
            v->v[kept++] = v->v[i];
        }
    }
    v->n = kept;
    v->v[kept] = NULL;
}

void fence_sets_sort(struct fence_sets *s)
{
    sort_unique(&s->cluster);
    sort_unique(&s->open);
    sort_unique(&s->marks);
}

static int add_canonical(const struct strv *from, struct strv *ret, struct err *e)
{
    if (from->n > FENCE_TABLE_ADDRS_MAX) {
        return ERR_SET(e, LIMIT, "more than %d addresses", FENCE_TABLE_ADDRS_MAX);
    }
    for (size_t i = 0; i < from->n; i++) {
        _cleanup_free_ char *addr = NULL;
        int r = fence_addr_parse(from->v[i], &addr, NULL, e);
        if (r < 0) {
            return r;
        }
        strv_add(ret, addr);
    }
    return 0;
}

static void add_marks(bool single_network, struct strv *ret)
{
    for (size_t i = 0; i < ELEMENTS(chains); i++) {
        const struct chain *c = &chains[i];
        unsigned place = 0;
        if (c->hook) {
            strv_addf(ret, "%s filter %s %d accept", c->name, c->hook, PRIORITY_RAW);
        } else {
            strv_add(ret, c->name);
        }
        for (size_t k = 0; k < ELEMENTS(rules); k++) {
            if (str_eq(rules[k].chain, c->name) && (single_network || !rules[k].is_single_only)) {
                strv_addf(ret, "%s#%u %s", c->name, place++, rules[k].mark);
            }
        }
    }
}

int fence_sets_of(const struct fence_table *t, struct fence_sets *ret, struct err *e)
{
    _cleanup_strv_ struct strv cluster = {0};
    _cleanup_strv_ struct strv own = {0};
    _cleanup_strv_ struct strv open = {0};
    int r = add_canonical(&t->cluster, &cluster, e);
    r = r < 0 ? r : add_canonical(&t->own, &own, e);
    r = r < 0 ? r : add_canonical(&t->open, &open, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < cluster.n; i++) {
        if (strv_has(&own, cluster.v[i])) {
            continue;
        }
        strv_add(&ret->cluster, cluster.v[i]);
        if (strv_has(&open, cluster.v[i])) {
            strv_add(&ret->open, cluster.v[i]);
        }
    }
    add_marks(t->single_network, &ret->marks);
    fence_sets_sort(ret);
    return 0;
}

static int compare_lists(const char *what, const struct strv *want, const struct strv *seen,
                         struct err *e)
{
    for (size_t i = 0; i < want->n; i++) {
        if (!strv_has(seen, want->v[i])) {
            return ERR_SET(e, STATE, "the fence's %s lacks '%s'", what, want->v[i]);
        }
    }
    for (size_t i = 0; i < seen->n; i++) {
        if (!strv_has(want, seen->v[i])) {
            return ERR_SET(e, STATE, "the fence's %s has '%.80s', which is not ours", what, seen->v[i]);
        }
    }
    return 0;
}

int fence_sets_compare(const struct fence_sets *want, const struct fence_sets *seen, struct err *e)
{
    int r = compare_lists("set of the cluster", &want->cluster, &seen->cluster, e);
    r = r < 0 ? r : compare_lists("set of open addresses", &want->open, &seen->open, e);
    return r < 0 ? r : compare_lists("rules", &want->marks, &seen->marks, e);
}

static void add_set(struct sbuf *b, const char *name, bool is_v6, const struct strv *addrs)
{
    const char *separator = "";
    sbuf_printf(b, "    set %s%c {\n        type %s\n", name, is_v6 ? '6' : '4',
                is_v6 ? "ipv6_addr" : "ipv4_addr");
    for (size_t i = 0; i < addrs->n; i++) {
        if ((strchr(addrs->v[i], ':') != NULL) == is_v6) {
            sbuf_printf(b, "%s%s", separator[0] ? separator : "        elements = { ", addrs->v[i]);
            separator = ", ";
        }
    }
    sbuf_printf(b, "%s    }\n", separator[0] ? " }\n" : "");
}

static void add_chain(struct sbuf *b, const struct chain *c, bool single_network)
{
    sbuf_printf(b, "    chain %s {\n", c->name);
    if (c->hook) {
        sbuf_printf(b, "        type filter hook %s priority %d; policy accept;\n", c->hook, PRIORITY_RAW);
    }
    for (size_t i = 0; i < ELEMENTS(rules); i++) {
        const struct rule *rule = &rules[i];
        if (str_eq(rule->chain, c->name) && (single_network || !rule->is_single_only)) {
            sbuf_printf(b, "        %s comment \"%s\"\n", rule->text, rule->mark);
        }
    }
    sbuf_printf(b, "    }\n");
}

char *format_fence_ruleset(const struct fence_sets *s, bool single_network)
{
    struct sbuf b = {0};
    /* A table is there after `add`, so that `delete` finds one; all in one transaction. */
    sbuf_printf(&b, "# Written by Mortar; changes are overwritten.\n"
                    "add table inet " FENCE_TABLE "\n"
                    "delete table inet " FENCE_TABLE "\n"
                    "table inet " FENCE_TABLE " {\n");
    add_set(&b, "cluster", false, &s->cluster);
    add_set(&b, "cluster", true, &s->cluster);
    add_set(&b, "open", false, &s->open);
    add_set(&b, "open", true, &s->open);
    /* A chain stands before those that go to it. */
    for (size_t i = ELEMENTS(chains); i-- > 0;) {
        add_chain(&b, &chains[i], single_network);
    }
    sbuf_printf(&b, "}\n");
    return sbuf_take(&b);
}

char *format_fence_closing(const struct strv *addrs)
{
    struct sbuf b = {0};
    for (size_t i = 0; i < addrs->n; i++) {
        char kind = strchr(addrs->v[i], ':') ? '6' : '4';
        for (int is_delete = 0; is_delete <= 1; is_delete++) {
            sbuf_printf(&b, "%s element inet " FENCE_TABLE " open%c { %s }\n",
                        is_delete ? "delete" : "add", kind, addrs->v[i]);
        }
    }
    return sbuf_take(&b);
}

char *format_fence_filter(const struct strv *addrs, bool single_network)
{
    struct sbuf b = {0};
    assert(addrs->n > 0);
    sbuf_printf(&b, "( ");
    for (size_t i = 0; i < addrs->n; i++) {
        const char *open = strchr(addrs->v[i], ':') ? "[" : "";
        const char *close_ = strchr(addrs->v[i], ':') ? "]" : "";
        sbuf_printf(&b, "%sdst %s%s%s or src %s%s%s", i ? " or " : "", open, addrs->v[i], close_, open,
                    addrs->v[i], close_);
    }
    sbuf_printf(&b, " )");
    if (single_network) {
        sbuf_printf(&b, " and not ( sport = :22 or sport = :2379 or dport = :2379 or sport = :2380"
                        " or dport = :2380 or sport = :8843 or dport = :8843 )");
    }
    return sbuf_take(&b);
}
