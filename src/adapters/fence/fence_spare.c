/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_spare.h"

#include "base/str.h"

static bool blames_another(const json_t *entry, unsigned own)
{
    size_t i;
    json_t *n;
    json_array_foreach(json_object_get(entry, "blames"), i, n) {
        if (json_integer_value(n) != (json_int_t)own) {
            return true;
        }
    }
    return false;
}

static int check_blames(const struct fence_look *look, unsigned own, struct err *e)
{
    size_t i;
    json_t *entry;
    if (json_bool_of(look->index, "truncated", true)) {
        return ERR_SET(e, BUSY, "the brick on %s has more to heal than can be looked through", look->host);
    }
    json_array_foreach(json_object_get(look->index, "entries"), i, entry) {
        if (blames_another(entry, own)) {
            return ERR_SET(e, BUSY, "the brick on %s says that another copy of %s has to be healed", look->host,
                           json_text_of(entry, "gfid"));
        }
    }
    return 0;
}

/* {gfid: entry}, borrowed entries. */
static json_t *by_gfid(const json_t *index)
{
    json_t *all = json_object();
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(index, "entries"), i, entry) {
        json_object_set(all, json_text_of(entry, "gfid"), entry);
    }
    return all;
}

/* An operation that another brick knows of and the data brick does not has not reached that one. */
static int check_lists_all(const struct fence_look *data, const struct fence_look *other, struct err *e)
{
    _cleanup_json_ json_t *listed = by_gfid(data->index);
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(other->index, "entries"), i, entry) {
        const char *gfid = json_text_of(entry, "gfid");
        const json_t *its = json_object_get(listed, gfid);
        bool is_dirty = json_bool_of(entry, "dirty", true); /* unsaid: of a version that did not say it */
        bool is_gone = str_eq(json_text_of(entry, "kind"), "gone");
        if (!is_gone && (!its || (is_dirty && !json_bool_of(its, "dirty", false)))) {
            return ERR_SET(e, BUSY, "the brick on %s lists %s for heal, which %s does not", other->host, gfid, data->host);
        }
    }
    return 0;
}

int fence_spare(const struct fence_look *looks, size_t n, unsigned own, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = check_blames(&looks[i], own, e);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n && r == 0; k++) {
            r = i != k && !looks[k].is_arbiter ? check_lists_all(&looks[k], &looks[i], e) : 0;
        }
    }
    return r;
}
