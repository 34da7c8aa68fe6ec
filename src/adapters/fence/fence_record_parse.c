/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_record_parse.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "base/json.h"

void fence_record_done(struct fence_record *r)
{
    free(r->host);
    strv_done(&r->addrs);
    *r = (struct fence_record){0};
}

static bool v4_is_a_host(const struct in_addr *a)
{
    uint32_t n = ntohl(a->s_addr);
    return n >> 24 != 0 && n >> 24 != 127 && n >> 28 < 14 && n >> 16 != 0xa9fe;
}

static bool v6_is_a_host(const struct in6_addr *a)
{
    return !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_MULTICAST(a) &&
           !IN6_IS_ADDR_LINKLOCAL(a) && !IN6_IS_ADDR_V4MAPPED(a) && !IN6_IS_ADDR_V4COMPAT(a);
}

int fence_addr_parse(const char *text, char **ret, bool *ret_is_v6, struct err *e)
{
    char canonical[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    bool is_v6 = false;
    if (inet_pton(AF_INET, text, &v4) == 1 && v4_is_a_host(&v4)) {
        (void)inet_ntop(AF_INET, &v4, canonical, sizeof(canonical)); /* the room suffices */
    } else if (inet_pton(AF_INET6, text, &v6) == 1 && v6_is_a_host(&v6)) {
        (void)inet_ntop(AF_INET6, &v6, canonical, sizeof(canonical));
        is_v6 = true;
    } else {
        return ERR_SET(e, INVALID, "'%.80s' is no address of a host", text);
    }
    *ret = str_dup(canonical);
    if (ret_is_v6) {
        *ret_is_v6 = is_v6;
    }
    return 0;
}

static const char *const phase_names[] = {
    [FENCE_PHASE_CUT] = "cut",
    [FENCE_PHASE_DRAINED] = "drained",
};

const char *fence_phase_name(enum fence_phase p)
{
    assert((size_t)p < ELEMENTS(phase_names));
    return phase_names[p];
}

char *format_fence_record(const struct fence_record *r)
{
    _cleanup_json_ json_t *addrs = json_array();
    assert(r->host && r->addrs.n > 0);
    for (size_t i = 0; i < r->addrs.n; i++) {
        json_array_append_new(addrs, json_string(r->addrs.v[i]));
    }
    _cleanup_json_ json_t *j = json_pack("{s:s, s:I, s:O, s:s}", "host", r->host, "inc",
                                         (json_int_t)r->inc, "addrs", addrs, "phase",
                                         fence_phase_name(r->phase));
    return json_format(j);
}

static int parse_addrs(const json_t *list, struct strv *ret, struct err *e)
{
    size_t n = json_array_size(list); /* 0 for what is no array */
    if (n == 0 || n > FENCE_ADDRS_MAX) {
        return ERR_SET(e, INVALID, "'addrs' is no list of 1 to %d addresses", FENCE_ADDRS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        _cleanup_free_ char *addr = NULL;
        if (fence_addr_parse(text ? text : "", &addr, NULL, e) < 0) {
            return -ERR_INVALID;
        }
        strv_add(ret, addr);
    }
    return 0;
}

static int parse_fields(const json_t *j, struct fence_record *ret, struct err *e)
{
    const char *host = json_text_of(j, "host");
    const char *phase = json_text_of(j, "phase");
    if (!host || !str_is_name(host)) {
        return ERR_SET(e, INVALID, "'host' is no name");
    }
    ret->host = str_dup(host);
    ret->inc = json_u64_of(j, "inc", UINT64_MAX);
    if (ret->inc > INT64_MAX) {
        return ERR_SET(e, INVALID, "'inc' is no number");
    }
    if (str_eq(phase, phase_names[FENCE_PHASE_DRAINED])) {
        ret->phase = FENCE_PHASE_DRAINED;
    } else if (!str_eq(phase, phase_names[FENCE_PHASE_CUT])) {
        return ERR_SET(e, INVALID, "'phase' is neither 'cut' nor 'drained'");
    }
    return parse_addrs(json_object_get(j, "addrs"), &ret->addrs, e);
}

int parse_fence_record(const char *text, size_t len, struct fence_record *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    _cleanup_fence_record_ struct fence_record rec = {0};
    int r = json_parse(text, len, &j, e);
    r = r < 0 ? r : parse_fields(j, &rec, e);
    if (r == 0) {
        *ret = rec;
        rec = (struct fence_record){0};
    }
    return r;
}
