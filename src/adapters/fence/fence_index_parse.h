/* SPDX-License-Identifier: Apache-2.0
 * Entries of a brick's heal indices and what the marks of their files mean. Pure.
 * Source: GlusterFS 10.3 features/index, storage/posix (gfid2path), features/shard, cluster/afr. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define FENCE_GFID_LEN 36
#define FENCE_SHARD_DIR_GFID "be318638-e8a0-4c6d-977d-7a937aa84806" /* SHARD_ROOT_GFID, shard.h */
#define FENCE_CLIENTS_MAX 32

enum fence_kind {
    FENCE_KIND_FILE,
    FENCE_KIND_DIR,
    FENCE_KIND_GONE, /* the index names it, but this brick has no such file (any more) */
};

struct fence_entry {
    char gfid[FENCE_GFID_LEN + 1];
    bool dirty;      /* in the index `dirty`: an operation on it was begun, and its end is not known */
    bool blamed;     /* in the index `xattrop`: another copy lacks something */
    uint32_t blames; /* bit N: this brick's marks accuse VOLUME-client-N */
    enum fence_kind kind;
    char base_gfid[FENCE_GFID_LEN + 1]; /* of the image; equal to @gfid when this is no shard */
    uint64_t shard;                     /* 0: the image's own file, its first piece */
};

struct fence_index {
    struct fence_entry *v; /* ordered by gfid */
    size_t n;
    bool truncated; /* there is more, or something that we do not understand: never clean then */
};
void fence_index_done(struct fence_index *i);
#define _cleanup_fence_index_ _cleanup_(fence_index_done)

/** fence_is_gfid - 36 characters, lower-case hex and dashes in their places, and nothing after? */
bool fence_is_gfid(const char *text);

/**
 * parse_fence_shard_name - "GFID.N" of the directory /.shard
 * @ret_base: FENCE_GFID_LEN + 1 bytes        Return: whether @name is that; else nothing is set
 */
bool parse_fence_shard_name(const char *name, char *ret_base, uint64_t *ret_shard);

/**
 * parse_fence_gfid2path - value of a trusted.gfid2path.* attribute: "PARENTGFID/NAME"
 * Sets base and shard of @entry when that is a shard. Return: 0 or -ERR_PARSE
 */
int parse_fence_gfid2path(const char *value, size_t len, struct fence_entry *entry, struct err *e);

/**
 * parse_fence_blame - one attribute of a file into @entry
 * @name: "trusted.afr.VOLUME-client-N" counts, others are passed over        @value: its bytes
 * Return: 0 or -ERR_PARSE
 */
int parse_fence_blame(const char *name, const void *value, size_t len, struct fence_entry *entry,
                      struct err *e);

/**
 * fence_index_sort - order by gfid; two entries of one gfid (found in both indices) become one
 */
void fence_index_sort(struct fence_index *i);

/**
 * format_fence_index - {"entries":[{"base_gfid":G,"blamed":B,"blames":[N],"dirty":B,"gfid":G,
 * "kind":"file"|"dir"|"gone","shard":N}],"truncated":B}. Caller frees.
 */
char *format_fence_index(const struct fence_index *i);
