/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_record.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>

#include "adapters/fence/fence_dir.h"
#include "io/file.h"

#define RECORD_LIMIT_BYTES (16 * KIB)

void fence_records_done(struct fence_records *r)
{
    for (size_t i = 0; i < r->n; i++) {
        fence_record_done(&r->v[i]);
    }
    free(r->v);
    *r = (struct fence_records){0};
}

int fence_record_save(const char *dir, const struct fence_record *rec, struct err *e)
{
    assert(rec->host && str_is_name(rec->host));
    _cleanup_free_ char *path = str_printf("%s/%s", dir, rec->host);
    _cleanup_free_ char *text = format_fence_record(rec);
    int r = fence_dir_write(path, text, e);
    if (r < 0) {
        err_prepend(e, "cannot record the fence of '%s'", rec->host);
    }
    return r;
}

static int load_one(const char *dir, const char *name, struct fence_records *all, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    _cleanup_free_ char *text = NULL;
    struct fence_record rec = {0};
    size_t len = 0;
    int r = file_read(path, RECORD_LIMIT_BYTES, &text, &len, e);
    if (r == -ERR_NOT_FOUND) {
        return ERR_SET(e, IO, "%s went while it was read", path);
    }
    r = r < 0 ? r : parse_fence_record(text, len, &rec, e);
    if (r == 0 && !str_eq(rec.host, name)) {
        r = ERR_SET(e, INVALID, "it speaks of '%s'", rec.host);
        fence_record_done(&rec);
    }
    if (r < 0) {
        err_prepend(e, "cannot read the fence record %s", path);
        err_hint(e, "No host is let in while this file cannot be read.");
        return r;
    }
    struct fence_record *more = realloc(all->v, (all->n + 1) * sizeof(*more));
    if (!more) {
        abort();
    }
    all->v = more;
    all->v[all->n++] = rec;
    return 0;
}

/* Only names of hosts: leaves out boot.nft and what a crash within file_replace() left behind. */
static int is_record(const struct dirent *d)
{
    return str_is_name(d->d_name);
}

int fence_record_load_all(const char *dir, struct fence_records *ret, struct err *e)
{
    _cleanup_fence_records_ struct fence_records all = {0};
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_record, alphasort);
    int r = 0;
    if (n < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot list %s", dir);
    }
    if (n > FENCE_RECORDS_MAX) {
        r = ERR_SET(e, LIMIT, "%s has more than %d files", dir, FENCE_RECORDS_MAX);
    }
    for (int i = 0; i < n; i++) {
        r = r < 0 ? r : load_one(dir, names[i]->d_name, &all, e);
        free(names[i]);
    }
    free(names);
    if (r == 0) {
        *ret = all;
        all = (struct fence_records){0};
    }
    return r;
}

int fence_record_remove(const char *dir, const char *host, struct err *e)
{
    assert(str_is_name(host));
    _cleanup_free_ char *path = str_printf("%s/%s", dir, host);
    return fence_dir_remove(path, e);
}
