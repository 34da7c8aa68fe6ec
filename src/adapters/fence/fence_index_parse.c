/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_index_parse.h"

#include <assert.h>
#include <string.h>

#include "base/json.h"

#define AFR_VALUE_BYTES 12 /* three big-endian counters: data, metadata, entries (afr.h) */

void fence_index_done(struct fence_index *i)
{
    free(i->v);
    *i = (struct fence_index){0};
}

static bool starts_with_gfid(const char *text)
{
    for (size_t i = 0; i < FENCE_GFID_LEN; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (text[i] == '\0' || !strchr(is_dash ? "-" : "0123456789abcdef", text[i])) {
            return false;
        }
    }
    return true;
}

bool fence_is_gfid(const char *text)
{
    return starts_with_gfid(text) && text[FENCE_GFID_LEN] == '\0';
}

bool parse_fence_shard_name(const char *name, char *ret_base, uint64_t *ret_shard)
{
    uint64_t shard = 0;
    if (!starts_with_gfid(name) || name[FENCE_GFID_LEN] != '.' ||
        str_parse_u64(name + FENCE_GFID_LEN + 1, INT64_MAX, &shard, NULL) < 0 || shard == 0) {
        return false;
    }
    memcpy(ret_base, name, FENCE_GFID_LEN);
    ret_base[FENCE_GFID_LEN] = '\0';
    *ret_shard = shard;
    return true;
}

int parse_fence_gfid2path(const char *value, size_t len, struct fence_entry *entry, struct err *e)
{
    _cleanup_free_ char *text = str_printf("%.*s", (int)(len < 1024 ? len : 1024), value);
    if (!starts_with_gfid(text) || text[FENCE_GFID_LEN] != '/' || text[FENCE_GFID_LEN + 1] == '\0') {
        return ERR_SET(e, PARSE, "'%.80s' is no parent and name", text);
    }
    if (!str_starts(text, FENCE_SHARD_DIR_GFID)) {
        return 0;
    }
    if (!parse_fence_shard_name(text + FENCE_GFID_LEN + 1, entry->base_gfid, &entry->shard)) {
        return ERR_SET(e, PARSE, "'%.80s' is no shard", text);
    }
    return 0;
}

int parse_fence_blame(const char *name, const void *value, size_t len, struct fence_entry *entry,
                      struct err *e)
{
    static const char nothing[AFR_VALUE_BYTES] = {0};
    const char *client = NULL;
    uint64_t number = 0;
    if (!str_starts(name, "trusted.afr.")) {
        return 0;
    }
    for (const char *p = name; (p = strstr(p, "-client-")); p++) {
        client = p; /* the last: a volume may be called so, too */
    }
    if (!client) {
        return 0; /* trusted.afr.dirty: the index says it */
    }
    if (str_parse_u64(client + strlen("-client-"), FENCE_CLIENTS_MAX - 1, &number, NULL) < 0 ||
        len != AFR_VALUE_BYTES) {
        return ERR_SET(e, PARSE, "%.80s has another shape", name);
    }
    if (memcmp(value, nothing, AFR_VALUE_BYTES) != 0) {
        entry->blames |= (uint32_t)1 << number;
    }
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fence_entry *)a)->gfid, ((const struct fence_entry *)b)->gfid);
}

void fence_index_sort(struct fence_index *i)
{
    size_t kept = 0;
    if (i->n == 0) {
        return;
    }
    qsort(i->v, i->n, sizeof(i->v[0]), compare_entries);
    for (size_t k = 0; k < i->n; k++) {
        struct fence_entry *last = kept > 0 ? &i->v[kept - 1] : NULL;
        if (last && str_eq(last->gfid, i->v[k].gfid)) {
            last->dirty = last->dirty || i->v[k].dirty;
            last->blamed = last->blamed || i->v[k].blamed;
        } else {
            i->v[kept++] = i->v[k];
        }
    }
    i->n = kept;
}

static json_t *entry_to_json(const struct fence_entry *entry)
{
    static const char *const kinds[] = {"file", "dir", "gone"};
    json_t *blames = json_array();
    assert((size_t)entry->kind < ELEMENTS(kinds));
    for (int n = 0; n < FENCE_CLIENTS_MAX; n++) {
        if (entry->blames & ((uint32_t)1 << n)) {
            json_array_append_new(blames, json_integer(n));
        }
    }
    return json_pack("{s:s, s:b, s:b, s:o, s:s, s:s, s:I}", "gfid", entry->gfid, "dirty", entry->dirty,
                     "blamed", entry->blamed, "blames", blames, "kind", kinds[entry->kind], "base_gfid",
                     entry->base_gfid, "shard", (json_int_t)entry->shard);
}

char *format_fence_index(const struct fence_index *i)
{
    json_t *entries = json_array();
    for (size_t k = 0; k < i->n; k++) {
        json_array_append_new(entries, entry_to_json(&i->v[k]));
    }
    _cleanup_json_ json_t *j = json_pack("{s:o, s:b}", "entries", entries, "truncated", i->truncated);
    return json_format(j);
}
