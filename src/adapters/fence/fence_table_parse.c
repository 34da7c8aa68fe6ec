/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_table_parse.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define OBJECTS_MAX 1024 /* in the table; ours has about twenty */

struct places {
    struct strv chains; /* seen so far, in the order of their rules' counters */
    unsigned next[8];   /* place of the next rule in each of them */
};

static int bad(struct err *e, const char *what)
{
    return ERR_SET(e, PARSE, "nft's words about the fence have %s", what);
}

static int take_set(const json_t *set, struct fence_sets *ret, struct err *e)
{
    const char *name = json_text_of(set, "name");
    const char *type = json_text_of(set, "type");
    const json_t *elems = json_object_get(set, "elem"); /* absent when the set is empty */
    bool is_open = str_eq(name, "open4") || str_eq(name, "open6");
    if (!is_open && !str_eq(name, "cluster4") && !str_eq(name, "cluster6")) {
        return bad(e, "a set that is not ours");
    }
    if (!str_eq(type, name[strlen(name) - 1] == '6' ? "ipv6_addr" : "ipv4_addr") ||
        (elems && !json_is_array(elems)) || json_array_size(elems) > FENCE_TABLE_ADDRS_MAX) {
        return bad(e, "a set of another kind");
    }
    for (size_t i = 0; i < json_array_size(elems); i++) {
        const char *text = json_string_value(json_array_get(elems, i));
        _cleanup_free_ char *addr = NULL;
        if (fence_addr_parse(text ? text : "", &addr, NULL, NULL) < 0) {
            return bad(e, "an element that is no address");
        }
        strv_add(is_open ? &ret->open : &ret->cluster, addr);
    }
    return 0;
}

static int take_chain(const json_t *chain, struct fence_sets *ret, struct err *e)
{
    const char *name = json_text_of(chain, "name");
    const char *hook = json_text_of(chain, "hook");
    const char *type = json_text_of(chain, "type");
    const char *policy = json_text_of(chain, "policy");
    const json_t *prio = json_object_get(chain, "prio");
    if (!name || (hook && (!type || !policy || !json_is_integer(prio)))) {
        return bad(e, "a chain without its marks");
    }
    if (hook) {
        strv_addf(&ret->marks, "%s %s %s %lld %s", name, type, hook,
                  (long long)json_integer_value(prio), policy);
    } else {
        strv_add(&ret->marks, name);
    }
    return 0;
}

static int take_rule(const json_t *rule, struct places *p, struct fence_sets *ret, struct err *e)
{
    const char *chain = json_text_of(rule, "chain");
    const char *mark = json_text_of(rule, "comment");
    size_t i = 0;
    if (!chain) {
        return bad(e, "a rule without chain");
    }
    while (i < p->chains.n && !str_eq(p->chains.v[i], chain)) {
        i++;
    }
    if (i == ELEMENTS(p->next)) {
        return bad(e, "too many chains");
    }
    if (i == p->chains.n) {
        strv_add(&p->chains, chain);
    }
    strv_addf(&ret->marks, "%s#%u %s", chain, p->next[i]++, mark ? mark : "(without comment)");
    return 0;
}

static int take_object(const json_t *item, struct places *p, struct fence_sets *ret, struct err *e)
{
    const json_t *what = NULL;
    if ((what = json_object_get(item, "set"))) {
        return take_set(what, ret, e);
    }
    if ((what = json_object_get(item, "chain"))) {
        return take_chain(what, ret, e);
    }
    if ((what = json_object_get(item, "rule"))) {
        return take_rule(what, p, ret, e);
    }
    if (json_object_get(item, "metainfo") || json_object_get(item, "table")) {
        return 0;
    }
    return bad(e, "an object that is not ours");
}

int parse_fence_table(const char *text, size_t len, struct fence_sets *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    _cleanup_fence_sets_ struct fence_sets seen = {0};
    struct places places = {0};
    if (len > FENCE_NFT_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "nft says %zu bytes about the fence", len);
    }
    int r = json_parse(text, len, &j, e);
    const json_t *list = r < 0 ? NULL : json_object_get(j, "nftables");
    if (r == 0 && (!json_is_array(list) || json_array_size(list) > OBJECTS_MAX)) {
        r = bad(e, "no list of objects");
    }
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        r = take_object(json_array_get(list, i), &places, &seen, e);
    }
    strv_done(&places.chains);
    if (r == 0) {
        fence_sets_sort(&seen);
        *ret = seen;
        seen = (struct fence_sets){0};
    }
    return r;
}

size_t count_fence_sockets(const char *text, char **ret_first)
{
    size_t n = 0;
    for (const char *line = text; line[0];) {
        size_t len = strcspn(line, "\n");
        char state[32] = "";
        char local[80] = "";
        char peer[80] = "";
        _cleanup_free_ char *copy = str_printf("%.*s", (int)(len < 400 ? len : 400), line);
        int got = sscanf(copy, "%31s %*u %*u %79s %79s", state, local, peer);
        /* What has another shape is counted: to know nothing is no proof. */
        if (state[0] && !(got == 3 && str_eq(state, "TIME-WAIT")) && n++ == 0 && ret_first) {
            *ret_first = str_printf("%s %s %s", state, local, peer);
        }
        line += len + (line[len] == '\n');
    }
    return n;
}
