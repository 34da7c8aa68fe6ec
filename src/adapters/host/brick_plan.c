/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/brick_plan.h"

#include <string.h>

#include "base/str.h"

#define XFS_INPROGRESS_AT 126 /* sb_inprogress of struct xfs_dsb, fs/xfs/libxfs/xfs_format.h, Linux 6.1 */

void brick_seen_done(struct brick_seen *s)
{
    free(s->mounted_at);
    free(s->fs_type);
    free(s->fs_uuid);
    free(s->partition_table);
    *s = (struct brick_seen){0};
}

static void take_value(const char *line, const char *key, char **ret)
{
    if (str_starts(line, key) && !*ret) {
        *ret = str_dup(line + strlen(key));
    }
}

void brick_parse_blkid(const char *text, struct brick_seen *ret)
{
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        take_value(lines.v[i], "TYPE=", &ret->fs_type);
        take_value(lines.v[i], "UUID=", &ret->fs_uuid);
        take_value(lines.v[i], "PTTYPE=", &ret->partition_table);
    }
}

bool brick_parse_xfs_head(const unsigned char *sector, size_t len)
{
    return len > XFS_INPROGRESS_AT && memcmp(sector, "XFSB", 4) == 0 && sector[XFS_INPROGRESS_AT];
}

/* The kernel writes space, tab, newline and backslash as three octal digits (proc(5)). */
static char *unescape(const char *s)
{
    char *out = str_dup(s);
    char *w = out;
    for (const char *p = s; *p; p++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
            p[3] >= '0' && p[3] <= '7') {
            *w++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 3;
        } else {
            *w++ = *p;
        }
    }
    *w = '\0';
    return out;
}

bool brick_find_mount(const char *mountinfo, const char *devno, const char *path, char **ret_devno,
                      char **ret_path)
{
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, mountinfo, "\n");
    for (size_t i = lines.n; i-- > 0;) {
        _cleanup_strv_ struct strv w = {0};
        strv_split(&w, lines.v[i], " "); /* id parent devno root path … */
        _cleanup_free_ char *at = w.n > 5 ? unescape(w.v[4]) : NULL;
        if (!at || (devno && !str_eq(w.v[2], devno)) || (path && !str_eq(at, path))) {
            continue;
        }
        if (ret_devno) {
            *ret_devno = str_dup(w.v[2]);
        }
        if (ret_path) {
            *ret_path = TAKE(at);
        }
        return true;
    }
    return false;
}

static int refuse_content(const struct brick_seen *seen, const char *device, struct err *e)
{
    const char *what = seen->fs_type ? seen->fs_type : seen->partition_table;
    int r = what ? ERR_SET(e, DISK_NOT_EMPTY, "%s holds '%s'", device, what)
                 : ERR_SET(e, DISK_NOT_EMPTY, "%s holds data of an unknown kind", device);
    err_hint(e, "look at it with: wipefs %s; --wipe destroys everything on it", device);
    return r;
}

int brick_plan(const struct brick_seen *seen, const char *device, const char *path,
               const char *uuid, bool wipe, enum brick_action *ret, struct err *e)
{
    bool ours = str_eq(seen->fs_type, "xfs") && str_eq(seen->fs_uuid, uuid);
    if (seen->mounted_at) {
        if (ours && str_eq(seen->mounted_at, path)) {
            *ret = BRICK_KEEP;
            return 0;
        }
        return ERR_SET(e, STATE, "%s is mounted at %s", device, seen->mounted_at);
    }
    if (seen->busy) {
        int r = ERR_SET(e, STATE, "%s is in use: a mount, LVM, RAID or swap", device);
        err_hint(e, "see: lsblk %s", device);
        return r;
    }
    if (seen->size_bytes < BRICK_DISK_MIN_BYTES) {
        return ERR_SET(e, INVALID, "%s is smaller than 300 MiB", device);
    }
    if (ours && !seen->unfinished) {
        *ret = BRICK_MOUNT;
        return 0;
    }
    /* A format that was killed leaves either our unfinished superblock, or bytes without any
     * signature and our record. A foreign signature is foreign in spite of the record. */
    bool foreign = !ours && (seen->fs_type || seen->partition_table ||
                             (seen->has_bytes && !seen->intent));
    if (foreign && !wipe) {
        return refuse_content(seen, device, e);
    }
    *ret = BRICK_FORMAT;
    return 0;
}
