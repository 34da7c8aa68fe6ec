/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static bool is_due(int dir, const char *file, uint64_t before_us)
{
    struct stat st;
    return fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_mtim.tv_sec * USEC_PER_SEC < before_us;
}

void host_sweep(const char *dir, const struct smap *keep, char end, uint64_t before_us)
{
    DIR *d = opendir(dir);
    const struct dirent *x;
    while (d && (x = readdir(d))) {
        const char *stop = strchrnul(x->d_name, end);
        _cleanup_free_ char *owner = str_printf("%.*s", (int)(stop - x->d_name), x->d_name);
        if (*owner && !smap_get(keep, owner) && is_due(dirfd(d), x->d_name, before_us)) {
            (void)unlinkat(dirfd(d), x->d_name, 0); /* looked at again later */
        }
    }
    if (d) {
        (void)closedir(d); /* it was only read */
    }
}
