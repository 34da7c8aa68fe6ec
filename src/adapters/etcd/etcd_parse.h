/* SPDX-License-Identifier: Apache-2.0
 * The only codec for etcd's JSON gateway (pure). etcd ignores misspelt fields, so that a wrong
 * request silently writes an empty value: requests are made here and nowhere else, and are held by
 * golden tests. Answers leave out zero values and give 64-bit numbers as strings; bytes are base64
 * of the standard alphabet. Sources: facts/probes.md 1.2 and 1.3, etcd 3.4.23 rpc.proto. */
#pragma once

#include "adapters/etcd/store_impl.h"

/* gRPC codes that etcd answers with; only these are told apart. */
enum etcd_code {
    ETCD_UNKNOWN = 2,
    ETCD_INVALID = 3,
    ETCD_NOT_FOUND = 5,
    ETCD_EXHAUSTED = 8, /* also when the quota was passed by what it has just applied */
    ETCD_PRECONDITION = 9,
    ETCD_OUT_OF_RANGE = 11, /* revision compacted or in the future */
    ETCD_UNAVAILABLE = 14,
};

struct etcd_error {
    int code;
    char message[256];
    bool no_leader; /* refused before it was proposed; all other kinds of 14 may have happened */
    bool compacted;
};

/**
 * etcd_format_range - body of kv/range: keys from @prefix on
 * @after: the last key of the page before, or NULL    @revision: of the first page, or 0
 * @limit: keys per page, > 0
 * Return: text, the caller frees
 */
char *etcd_format_range(const char *prefix, const char *after, uint64_t revision, uint64_t limit);
/** etcd_format_txn - body of kv/txn. Caller frees. */
char *etcd_format_txn(const struct store_raw_txn *t);
/** etcd_format_compact - body of kv/compaction; @revision > 0. Caller frees. */
char *etcd_format_compact(uint64_t revision);
/** etcd_format_watch - body of watch: changes below @prefix since @from_revision. Caller frees. */
char *etcd_format_watch(const char *prefix, uint64_t from_revision);
/**
 * etcd_format_member_change - body of the call behind a change
 * @ret_path: set to the call's path. Return: text, the caller frees
 */
char *etcd_format_member_change(const struct store_member_change *c, const char **ret_path);

/**
 * etcd_parse_range - answer of kv/range
 * @list: its entries are appended; @list->revision is set to the header's
 * @ret_more: set on success: more keys follow
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int etcd_parse_range(const char *text, size_t len, struct store_list *list, bool *ret_more,
                     struct err *e);
/**
 * etcd_parse_txn - answer of kv/txn to @asked; one that does not fit it is refused
 * @ret: zero-initialised; set on success, the caller ends @ret->seen
 * Return: 0, -ERR_PARSE or -ERR_LIMIT
 */
int etcd_parse_txn(const char *text, size_t len, const struct store_raw_txn *asked,
                   struct store_raw_result *ret, struct err *e);
/** etcd_parse_members - answer of cluster/member/...; @ret: zero-initialised, set on success */
int etcd_parse_members(const char *text, size_t len, struct store_members *ret, struct err *e);
/** etcd_parse_status - answer of maintenance/status. Return: 0, -ERR_PARSE or -ERR_LIMIT */
int etcd_parse_status(const char *text, size_t len, struct store_status *ret, struct err *e);
/** etcd_parse_error - an answer with a status other than 200; shapes unknown to us give code 0 */
void etcd_parse_error(const char *text, size_t len, struct etcd_error *ret);

/* One line of a watch stream. */
struct etcd_watch_line {
    bool created;
    bool ended; /* cancelled by etcd, or the stream's error */
    char why[256];
    uint64_t revision;
    struct store_event *events;
    size_t n;
};
void etcd_watch_line_done(struct etcd_watch_line *l);
/** etcd_parse_watch_line - @ret: set on success. Return: 0, -ERR_PARSE or -ERR_LIMIT */
int etcd_parse_watch_line(const char *text, size_t len, struct etcd_watch_line *ret, struct err *e);
