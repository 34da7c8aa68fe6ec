/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/etcd/etcd_parse.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

/* ---- requests ---- */

static void set_new(json_t *obj, const char *field, json_t *value)
{
    if (!value || json_object_set_new(obj, field, value) < 0) {
        abort(); /* no memory: all our texts are ASCII */
    }
}

static void set_text(json_t *obj, const char *field, const char *text)
{
    set_new(obj, field, json_string(text));
}

static void set_bytes(json_t *obj, const char *field, const void *data, size_t len)
{
    _cleanup_free_ char *b64 = base64_encode(data, len);
    set_text(obj, field, b64);
}

static void set_number(json_t *obj, const char *field, uint64_t n)
{
    _cleanup_free_ char *text = str_printf("%llu", (unsigned long long)n);
    set_text(obj, field, text);
}

/* The first key behind all that start with @prefix; a single zero byte means "to the end". */
static void set_prefix_end(json_t *obj, const char *prefix)
{
    _cleanup_free_ char *end = str_dup(prefix);
    size_t len = strlen(end);
    while (len && (unsigned char)end[len - 1] == 0xff) {
        len--;
    }
    if (len) {
        end[len - 1]++;
        set_bytes(obj, "range_end", end, len);
    } else {
        set_bytes(obj, "range_end", "", 1);
    }
}

char *etcd_format_range(const char *prefix, const char *after, uint64_t revision, uint64_t limit)
{
    _cleanup_json_ json_t *j = json_object();
    assert(limit > 0);
    if (after) {
        set_bytes(j, "key", after, strlen(after) + 1); /* with the zero byte: the next key */
    } else {
        set_bytes(j, "key", prefix, strlen(prefix));
    }
    set_prefix_end(j, prefix);
    set_number(j, "limit", limit);
    if (revision) {
        set_number(j, "revision", revision);
    }
    return json_format(j);
}

static json_t *compare_json(const struct store_compare *c)
{
    static const char *const relations[] = {[STORE_EQUAL] = "EQUAL",
                                            [STORE_NOT_EQUAL] = "NOT_EQUAL",
                                            [STORE_GREATER] = "GREATER",
                                            [STORE_LESS] = "LESS"};
    static const struct {
        const char *target;
        const char *field;
    } targets[] = {[STORE_MOD] = {"MOD", "mod_revision"},
                   [STORE_CREATE] = {"CREATE", "create_revision"},
                   [STORE_VERSION] = {"VERSION", "version"},
                   [STORE_VALUE] = {"VALUE", "value"}};
    assert(c->target < ELEMENTS(targets) && c->relation < ELEMENTS(relations));
    json_t *j = json_object();
    set_bytes(j, "key", c->key, strlen(c->key));
    set_text(j, "target", targets[c->target].target);
    set_text(j, "result", relations[c->relation]);
    if (c->target == STORE_VALUE) {
        set_bytes(j, targets[c->target].field, c->value, c->value_len);
    } else {
        set_number(j, targets[c->target].field, c->number);
    }
    return j;
}

static json_t *op_json(const struct store_op *op)
{
    json_t *wrapped = json_object();
    json_t *j = json_object();
    set_bytes(j, "key", op->key, strlen(op->key));
    if (!op->is_delete) {
        set_bytes(j, "value", op->value, op->value_len);
    }
    set_new(wrapped, op->is_delete ? "request_delete_range" : "request_put", j);
    return wrapped;
}

static json_t *look_json(const char *key)
{
    json_t *wrapped = json_object();
    json_t *j = json_object();
    set_bytes(j, "key", key, strlen(key));
    set_new(wrapped, "request_range", j);
    return wrapped;
}

static void append_new(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0) {
        abort();
    }
}

char *etcd_format_txn(const struct store_raw_txn *t)
{
    _cleanup_json_ json_t *j = json_object();
    json_t *compare = json_array();
    json_t *success = json_array();
    json_t *failure = json_array();
    assert(t->ops_n > 0);
    for (size_t i = 0; i < t->compares_n; i++) {
        append_new(compare, compare_json(&t->compares[i]));
    }
    for (size_t i = 0; i < t->ops_n; i++) {
        append_new(success, op_json(&t->ops[i]));
    }
    for (size_t i = 0; i < t->looks_n; i++) {
        append_new(failure, look_json(t->looks[i]));
    }
    set_new(j, "compare", compare);
    set_new(j, "success", success);
    set_new(j, "failure", failure);
    return json_format(j);
}

char *etcd_format_compact(uint64_t revision)
{
    _cleanup_json_ json_t *j = json_object();
    assert(revision > 0);
    set_number(j, "revision", revision);
    return json_format(j);
}

char *etcd_format_watch(const char *prefix, uint64_t from_revision)
{
    _cleanup_json_ json_t *j = json_object();
    json_t *create = json_object();
    set_bytes(create, "key", prefix, strlen(prefix));
    set_prefix_end(create, prefix);
    set_number(create, "start_revision", from_revision);
    set_new(j, "create_request", create);
    return json_format(j);
}

char *etcd_format_member_change(const struct store_member_change *c, const char **ret_path)
{
    _cleanup_json_ json_t *j = json_object();
    if (c->verb == STORE_MEMBER_ADD_LEARNER) {
        json_t *urls = json_array();
        append_new(urls, json_string(c->peer_url));
        set_new(j, "peerURLs", urls);
        set_new(j, "isLearner", json_true());
        *ret_path = "/v3/cluster/member/add";
    } else {
        set_number(j, "ID", c->id);
        *ret_path = c->verb == STORE_MEMBER_PROMOTE ? "/v3/cluster/member/promote"
                                                    : "/v3/cluster/member/remove";
    }
    return json_format(j);
}

/* ---- answers ---- */

static int parse_object(const char *text, size_t len, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    int r = json_parse(text, len, &j, e);
    if (r < 0) {
        return r;
    }
    if (!json_is_object(j)) {
        return ERR_SET(e, PARSE, "the answer of etcd is not an object");
    }
    *ret = TAKE(j);
    return 0;
}

/* A 64-bit number: a string or an integer; left out when 0. */
static int read_number(const json_t *obj, const char *field, uint64_t max, uint64_t *ret,
                       struct err *e)
{
    const json_t *v = json_object_get(obj, field);
    if (!v) {
        *ret = 0;
        return 0;
    }
    if (json_is_string(v) && str_parse_u64(json_string_value(v), max, ret, NULL) == 0) {
        return 0;
    }
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *ret = (uint64_t)json_integer_value(v);
        return 0;
    }
    return ERR_SET(e, PARSE, "etcd's field '%s' is not a number", field);
}

static int read_bytes(const json_t *obj, const char *field, char **ret, size_t *ret_len,
                      struct err *e)
{
    const json_t *v = json_object_get(obj, field);
    if (v && !json_is_string(v)) {
        return ERR_SET(e, PARSE, "etcd's field '%s' is not text", field);
    }
    return base64_decode(v ? json_string_value(v) : "", ret, ret_len, e);
}

/* Left out when false. */
static int read_flag(const json_t *obj, const char *field, bool *ret, struct err *e)
{
    const json_t *v = json_object_get(obj, field);
    if (v && !json_is_boolean(v)) {
        return ERR_SET(e, PARSE, "etcd's field '%s' is not true or false", field);
    }
    *ret = json_is_true(v);
    return 0;
}

/* Left out when empty: then NULL, which json_array_size() counts as 0. */
static int read_array(const json_t *obj, const char *field, const json_t **ret, struct err *e)
{
    const json_t *v = json_object_get(obj, field);
    if (v && !json_is_array(v)) {
        return ERR_SET(e, PARSE, "etcd's field '%s' is not a list", field);
    }
    *ret = v;
    return 0;
}

/* @needed: an answer without a revision is not one */
static int read_revision(const json_t *obj, bool needed, uint64_t *ret, struct err *e)
{
    int r = read_number(json_object_get(obj, "header"), "revision", INT64_MAX, ret, e);
    if (r == 0 && needed && *ret == 0) {
        return ERR_SET(e, PARSE, "the answer of etcd has no revision");
    }
    return r;
}

/* Return: 0 with an entry that the caller owns */
static int read_kv(const json_t *j, struct store_kv *ret, struct err *e)
{
    struct store_kv kv = {0};
    size_t key_len = 0;
    int r = read_bytes(j, "key", &kv.key, &key_len, e);
    if (r == 0 && (key_len == 0 || strlen(kv.key) != key_len)) {
        r = ERR_SET(e, PARSE, "a key is empty or has a zero byte");
    }
    r = r ? r : read_bytes(j, "value", &kv.value, &kv.value_len, e);
    r = r ? r : read_number(j, "mod_revision", INT64_MAX, &kv.mod_revision, e);
    r = r ? r : read_number(j, "create_revision", INT64_MAX, &kv.create_revision, e);
    r = r ? r : read_number(j, "version", INT64_MAX, &kv.version, e);
    if (r == 0 && kv.mod_revision == 0) {
        r = ERR_SET(e, PARSE, "a key has no revision");
    }
    if (r < 0) {
        store_kv_done(&kv);
        return r;
    }
    *ret = kv;
    return 0;
}

static int read_kvs(const json_t *obj, struct store_list *list, struct err *e)
{
    const json_t *kvs = NULL;
    int r = read_array(obj, "kvs", &kvs, e);
    for (size_t i = 0; r == 0 && i < json_array_size(kvs); i++) {
        struct store_kv kv = {0};
        r = read_kv(json_array_get(kvs, i), &kv, e);
        if (r == 0) {
            store_list_add(list, kv);
        }
    }
    return r;
}

int etcd_parse_range(const char *text, size_t len, struct store_list *list, bool *ret_more,
                     struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    size_t before = list->n;
    bool more = false;
    int r = parse_object(text, len, &j, e);
    r = r ? r : read_revision(j, true, &list->revision, e);
    r = r ? r : read_kvs(j, list, e);
    r = r ? r : read_flag(j, "more", &more, e);
    if (r == 0 && more && list->n == before) {
        return ERR_SET(e, PARSE, "etcd gave an empty page and says that more follow");
    }
    *ret_more = more;
    return r;
}

/* Each response must be of the kind that was asked for at its place. */
static int read_responses(const json_t *j, const struct store_raw_txn *asked,
                          struct store_raw_result *res, struct err *e)
{
    const json_t *responses = NULL;
    int r = read_array(j, "responses", &responses, e);
    size_t expected = res->succeeded ? asked->ops_n : asked->looks_n;
    if (r == 0 && json_array_size(responses) != expected) {
        return ERR_SET(e, PARSE, "etcd answered %zu of %zu operations", json_array_size(responses),
                       expected);
    }
    for (size_t i = 0; r == 0 && i < expected; i++) {
        const char *kind = !res->succeeded            ? "response_range"
                           : asked->ops[i].is_delete ? "response_delete_range"
                                                     : "response_put";
        const json_t *inner = json_object_get(json_array_get(responses, i), kind);
        if (!inner) {
            return ERR_SET(e, PARSE, "operation %zu has no '%s' in etcd's answer", i, kind);
        }
        r = res->succeeded ? 0 : read_kvs(inner, &res->seen, e);
    }
    return r;
}

int etcd_parse_txn(const char *text, size_t len, const struct store_raw_txn *asked,
                   struct store_raw_result *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    struct store_raw_result res = {0};
    int r = parse_object(text, len, &j, e);
    r = r ? r : read_revision(j, true, &res.revision, e);
    r = r ? r : read_flag(j, "succeeded", &res.succeeded, e);
    r = r ? r : read_responses(j, asked, &res, e);
    if (r < 0) {
        store_list_done(&res.seen);
        return r;
    }
    *ret = res;
    return 0;
}

static int read_first_url(const json_t *j, const char *field, char **ret, struct err *e)
{
    const json_t *urls = NULL;
    int r = read_array(j, field, &urls, e);
    const json_t *first = json_array_get(urls, 0);
    if (r == 0 && first && !json_is_string(first)) {
        return ERR_SET(e, PARSE, "etcd's field '%s' is not a list of texts", field);
    }
    if (r == 0) {
        *ret = str_dup(first ? json_string_value(first) : "");
    }
    return r;
}

static int read_member(const json_t *j, struct store_members *list, struct err *e)
{
    struct store_member m = {0};
    const char *name = json_text_of(j, "name");
    int r = read_number(j, "ID", UINT64_MAX, &m.id, e);
    r = r ? r : read_flag(j, "isLearner", &m.learner, e);
    r = r ? r : read_first_url(j, "peerURLs", &m.peer_url, e);
    r = r ? r : read_first_url(j, "clientURLs", &m.client_url, e);
    if (r == 0 && (m.id == 0 || !m.peer_url[0])) {
        r = ERR_SET(e, PARSE, "a member of etcd has no id or no peer URL");
    }
    if (r < 0) {
        free(m.peer_url);
        free(m.client_url);
        return r;
    }
    m.name = str_dup(name ? name : "");
    store_members_add(list, m);
    return 0;
}

int etcd_parse_members(const char *text, size_t len, struct store_members *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    const json_t *members = NULL;
    struct store_members list = {0};
    int r = parse_object(text, len, &j, e);
    r = r ? r : read_array(j, "members", &members, e);
    for (size_t i = 0; r == 0 && i < json_array_size(members); i++) {
        r = read_member(json_array_get(members, i), &list, e);
    }
    if (r == 0 && list.n == 0) {
        r = ERR_SET(e, PARSE, "the answer of etcd has no members");
    }
    if (r < 0) {
        store_members_done(&list);
        return r;
    }
    *ret = list;
    return 0;
}

int etcd_parse_status(const char *text, size_t len, struct store_status *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    const json_t *errors = NULL;
    struct store_status s = {0};
    int r = parse_object(text, len, &j, e);
    const char *version = json_text_of(j, "version");
    r = r ? r : read_revision(j, true, &s.revision, e);
    r = r ? r : read_number(json_object_get(j, "header"), "member_id", UINT64_MAX, &s.member_id, e);
    r = r ? r : read_number(j, "leader", UINT64_MAX, &s.leader_id, e);
    r = r ? r : read_number(j, "dbSize", INT64_MAX, &s.db_size_bytes, e);
    r = r ? r : read_number(j, "dbSizeInUse", INT64_MAX, &s.db_used_bytes, e);
    r = r ? r : read_number(j, "raftIndex", UINT64_MAX, &s.raft_index, e);
    r = r ? r : read_number(j, "raftTerm", UINT64_MAX, &s.raft_term, e);
    r = r ? r : read_flag(j, "isLearner", &s.learner, e);
    r = r ? r : read_array(j, "errors", &errors, e);
    if (r < 0) {
        return r;
    }
    s.has_errors = json_array_size(errors) > 0;
    (void)snprintf(s.version, sizeof(s.version), "%s", version ? version : ""); /* may be cut */
    *ret = s;
    return 0;
}

void etcd_parse_error(const char *text, size_t len, struct etcd_error *ret)
{
    _cleanup_json_ json_t *j = NULL;
    uint64_t code = 0;
    *ret = (struct etcd_error){.message = "an answer that is not etcd's"};
    if (json_parse(text, len, &j, NULL) < 0 || read_number(j, "code", 99, &code, NULL) < 0) {
        return;
    }
    const char *message = json_text_of(j, "message");
    message = message ? message : json_text_of(j, "error");
    if (message) {
        ret->code = code <= 99 ? (int)code : 0;
        (void)snprintf(ret->message, sizeof(ret->message), "%s", message); /* may be cut */
        ret->no_leader = code == ETCD_UNAVAILABLE && str_eq(message, "etcdserver: no leader");
        ret->compacted = code == ETCD_OUT_OF_RANGE && strstr(message, "compacted");
    }
}

void etcd_watch_line_done(struct etcd_watch_line *l)
{
    for (size_t i = 0; i < l->n; i++) {
        store_kv_done(&l->events[i].kv);
    }
    free(l->events);
    *l = (struct etcd_watch_line){0};
}

static int read_events(const json_t *result, struct etcd_watch_line *l, struct err *e)
{
    const json_t *events = NULL;
    int r = read_array(result, "events", &events, e);
    l->events = xcalloc(json_array_size(events), sizeof(*l->events));
    for (size_t i = 0; r == 0 && i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        const char *type = json_text_of(event, "type");
        r = read_kv(json_object_get(event, "kv"), &l->events[i].kv, e);
        if (r == 0) {
            l->events[i].deleted = str_eq(type, "DELETE");
            l->n++;
        }
    }
    return r;
}

/* The stream's own errors have other shapes than those of calls: {"error":{"message":…}}. */
static void read_stream_error(const json_t *error, struct etcd_watch_line *l)
{
    const char *message = json_text_of(error, "message");
    l->ended = true;
    (void)snprintf(l->why, sizeof(l->why), "%s", message ? message : "an error without text");
}

int etcd_parse_watch_line(const char *text, size_t len, struct etcd_watch_line *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    struct etcd_watch_line l = {0};
    uint64_t compacted = 0;
    bool cancelled = false;
    int r = parse_object(text, len, &j, e);
    const json_t *result = json_object_get(j, "result");
    const json_t *error = json_object_get(j, "error");
    if (r == 0 && error) {
        read_stream_error(error, &l);
        *ret = l;
        return 0;
    }
    if (r == 0 && !json_is_object(result)) {
        r = ERR_SET(e, PARSE, "a line of etcd's watch has neither result nor error");
    }
    r = r ? r : read_revision(result, false, &l.revision, e);
    r = r ? r : read_flag(result, "created", &l.created, e);
    r = r ? r : read_flag(result, "canceled", &cancelled, e);
    r = r ? r : read_number(result, "compact_revision", INT64_MAX, &compacted, e);
    r = r ? r : read_events(result, &l, e);
    if (r < 0) {
        etcd_watch_line_done(&l);
        return r;
    }
    l.ended = cancelled || compacted > 0;
    if (l.ended) {
        const char *reason = json_text_of(result, "cancel_reason");
        (void)snprintf(l.why, sizeof(l.why), "%s",
                       compacted ? "the wanted revision has been compacted"
                       : reason  ? reason
                                 : "cancelled by etcd");
    }
    *ret = l;
    return 0;
}
