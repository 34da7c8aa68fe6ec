/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <errno.h>
#include <string.h>

#include "io/file.h"

#define FILE_LIMIT_BYTES MIB

int json_file_load(const char *path, json_t **ret, struct err *e)
{
    struct err why = {0};
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int r = file_read(path, FILE_LIMIT_BYTES, &text, &len, &why);
    if (r == -ERR_NOT_FOUND) {
        *ret = NULL;
        return 0;
    }
    if (r < 0) {
        return err_copy(e, &why);
    }
    r = json_parse(text, len, ret, e);
    err_prepend(e, "%s", path);
    return r;
}

int json_file_save(const char *path, const json_t *j, unsigned mode, struct err *e)
{
    _cleanup_free_ char *text = json_format(j);
    return file_replace(path, text, strlen(text), (mode_t)mode, e);
}

int config_load(json_t **ret, struct err *e)
{
    return json_file_load(PATH_HOST, ret, e);
}

int config_save(const json_t *config, struct err *e)
{
    int r = file_mkdirs(PATH_ETC, 0755, e);
    return r < 0 ? r : json_file_save(PATH_HOST, config, 0644, e);
}

int config_remove(struct err *e)
{
    if (unlink(PATH_HOST) < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", PATH_HOST);
    }
    return 0;
}

int local_task_load(json_t **ret, struct err *e)
{
    return json_file_load(PATH_TASK, ret, e);
}

int local_task_save(const json_t *task, struct err *e)
{
    int r = file_mkdirs(PATH_STATE, 0700, e);
    return r < 0 ? r : json_file_save(PATH_TASK, task, 0600, e);
}
