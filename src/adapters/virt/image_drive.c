/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/image_drive.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "adapters/virt/image_fetch.h"
#include "base/json.h"
#include "base/str.h"
#include "io/cmd.h"
#include "io/file.h"

/* qemu-img keeps a check's reference counts in memory: 2 bytes for each 64 KiB of the file, so this
 * is enough for 64 TiB. Hostile tables cannot take the host's memory. */
#define QEMU_IMG_MEMORY_BYTES (4 * GIB)
#define QEMU_IMG_QUICK_US (60 * USEC_PER_SEC)
#define QEMU_IMG_LEAST_US (600 * USEC_PER_SEC)
#define QEMU_IMG_LEAST_RATE_BYTES (2 * MIB) /* per second: a slow disk is not a hanging one */
#define OBTAINED_PERCENT 40 /* of an import: the source is here and hashed */
#define READ_CHUNK_BYTES (1 * MIB)

static char *image_path(const char *dir, const char *name)
{
    return str_printf("%s/%s.qcow2", dir, name);
}

void image_file_done(struct image_file *f)
{
    free(f->path);
    *f = (struct image_file){0};
}

/* --- qemu-img ------------------------------------------------------------------------------ */

/* Progress of one call: percent from @from to @to of the whole. */
struct stage {
    const struct image_env *env;
    unsigned from;
    unsigned to;
    uint64_t bytes; /* that it reads, as the guest sees them; 0: what is told is bytes */
    struct image_progress_text text;
};

static void tell(const struct stage *s, uint64_t done, uint64_t total)
{
    if (!s->env->on_progress || !total) {
        return;
    }
    done = done < total ? done : total;
    uint64_t part = done * (s->to - s->from) / total;
    uint64_t bytes = s->bytes ? (uint64_t)((double)s->bytes * (double)done / (double)total) : done;
    s->env->on_progress(s->env->on_progress_arg, s->from + (unsigned)part, bytes,
                        s->bytes ? s->bytes : total);
}

static void on_qemu_img_output(void *arg, const char *piece, size_t len)
{
    struct stage *s = arg;
    unsigned bp = 0;
    if (image_parse_progress(&s->text, piece, len, &bp)) {
        tell(s, bp, 10000);
    }
}

static uint64_t budget_us(uint64_t bytes)
{
    return QEMU_IMG_LEAST_US + bytes / QEMU_IMG_LEAST_RATE_BYTES * USEC_PER_SEC;
}

struct qemu_img {
    const char *const *argv; /* from the subcommand on */
    uint64_t timeout_us;
    struct stage *stage;   /* NULL: no progress */
    const char *source;    /* what people call it, in place of @source_fd_path; may be NULL */
    const char *fd_path;
};

/* The last line that was said, with the name that the user knows. */
static char *said(const struct qemu_img *q, const struct cmd_result *res)
{
    const char *text = res->errout[0] ? res->errout : res->out;
    const char *nl = strrchr(text, '\n');
    const char *line = nl && nl[1] ? nl + 1 : text;
    line = str_starts(line, "qemu-img: ") ? line + strlen("qemu-img: ") : line;
    const char *at = q->fd_path ? strstr(line, q->fd_path) : NULL;
    return at ? str_printf("%.*s%s%s", (int)(at - line), line, q->source, at + strlen(q->fd_path))
              : str_dup(line);
}

static int run_qemu_img(const struct qemu_img *q, struct cmd_result *ret, struct err *e)
{
    _cleanup_strv_ struct strv argv = {0};
    struct cmd_opts opts = {.timeout_us = q->timeout_us};
    strv_add(&argv, "prlimit");
    strv_addf(&argv, "--as=%llu", (unsigned long long)QEMU_IMG_MEMORY_BYTES);
    strv_add(&argv, "--core=0");
    strv_add(&argv, "qemu-img");
    for (const char *const *p = q->argv; *p; p++) {
        strv_add(&argv, *p);
    }
    if (q->stage) {
        opts.on_output = on_qemu_img_output;
        opts.on_output_arg = q->stage;
    }
    return cmd_run((const char *const *)argv.v, &opts, ret, e);
}

static int check_qemu_img(const struct qemu_img *q, char **ret_out, struct err *e)
{
    _cleanup_cmd_ struct cmd_result res = {0};
    int r = run_qemu_img(q, &res, e);
    if (r < 0) {
        return r;
    }
    if (res.signal) {
        return ERR_SET(e, COMMAND, "'qemu-img %s' was ended by signal %d", q->argv[0], res.signal);
    }
    if (res.exit_code != 0) {
        _cleanup_free_ char *why = said(q, &res);
        bool is_full = strstr(why, "No space left") || strstr(why, "Disk quota exceeded");
        (void)(is_full ? ERR_SET(e, POOL_FULL, "%.300s", why)
                       : ERR_SET(e, COMMAND, "'qemu-img %s' failed: %.300s", q->argv[0], why));
        if (is_full) {
            err_hint(e, "remove images or virtual machines that are not needed");
        }
        return is_full ? -ERR_POOL_FULL : -ERR_COMMAND;
    }
    if (ret_out) {
        *ret_out = TAKE(res.out);
    }
    return 0;
}

/* Past the page cache, which costs a factor of two on a Gluster mount (docs/images.md); tmpfs, for
 * one, does not know that. @path is made when absent: qemu-img writes over it. */
static const char *cache_mode(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 ? "none" : "writeback";
}

/* --- import -------------------------------------------------------------------------------- */

struct source {
    struct image_source file;
    const char *name; /* for people */
    struct image_head head;
    char sha256[DIGEST_HEX_LEN + 1];
};

static void source_done(struct source *s)
{
    image_source_done(&s->file);
}

static int read_head(struct source *s, const enum image_format *want, struct err *e)
{
    _cleanup_free_ char *head = xcalloc(1, IMAGE_HEAD_BYTES);
    size_t got = 0;
    while (got < IMAGE_HEAD_BYTES) {
        ssize_t n = pread(s->file.fd, head + got, IMAGE_HEAD_BYTES - got, (off_t)got);
        if (n < 0) {
            return ERR_SYS(e, IO, errno, "cannot read %s", s->name);
        }
        if (n == 0) {
            break;
        }
        got += (size_t)n;
    }
    return image_parse_head(head, got, (uint64_t)s->file.stat.st_size, want, &s->head, e);
}

static int hash_source(struct source *s, const struct stage *stage, struct err *e)
{
    _cleanup_free_ char *chunk = xcalloc(1, READ_CHUNK_BYTES);
    _cleanup_(digest_freep) struct digest *d = digest_new();
    for (off_t at = 0;;) {
        ssize_t n = pread(s->file.fd, chunk, READ_CHUNK_BYTES, at);
        if (n < 0) {
            return ERR_SYS(e, IO, errno, "cannot read %s", s->name);
        }
        if (n == 0) {
            break;
        }
        digest_add(d, chunk, (size_t)n);
        at += n;
        tell(stage, (uint64_t)at, (uint64_t)s->file.stat.st_size);
    }
    digest_finish(d, s->sha256);
    return 0;
}

static int compare_checksum(const char *checksum, const char *sha256, struct err *e)
{
    if (checksum && !str_eq(checksum + strlen("sha256:"), sha256)) {
        (void)ERR_SET(e, IMAGE_BAD, "the source's checksum is not the one given but sha256:%s",
                      sha256);
        err_hint(e, "it is damaged or is not what you think it is");
        return -ERR_IMAGE_BAD;
    }
    return 0;
}

/* qemu-img refusing to read is a verdict on the image; a missing qemu-img is not. */
static int verdict(int r, struct err *e, struct err *why)
{
    if (r == -ERR_COMMAND) {
        return ERR_SET(e, IMAGE_BAD, "%s", why->msg);
    }
    return r < 0 ? err_copy(e, why) : 0;
}

static struct qemu_img about(const struct source *s, const char *const *argv, uint64_t timeout_us)
{
    return (struct qemu_img){
        .argv = argv, .timeout_us = timeout_us, .source = s->name, .fd_path = s->file.fd_path};
}

static int inspect(struct source *s, struct err *e)
{
    const char *format = image_format_name(s->head.format);
    struct err why = {0};
    _cleanup_free_ char *text = NULL;
    struct qemu_img info = about(
        s, CMD("info", "--output=json", "-f", format, s->file.fd_path), QEMU_IMG_QUICK_US);
    int r = verdict(check_qemu_img(&info, &text, &why), e, &why);
    r = r < 0 ? r : image_parse_info(text, strlen(text), &s->head.virtual_bytes, e);
    if (r < 0 || s->head.format != IMAGE_QCOW2) {
        return r;
    }
    _cleanup_cmd_ struct cmd_result res = {0};
    struct qemu_img check = about(s, CMD("check", "-q", "-f", format, s->file.fd_path),
                                  budget_us((uint64_t)s->file.stat.st_size));
    r = run_qemu_img(&check, &res, e);
    if (r < 0 || res.exit_code == 0 || res.exit_code == 3) { /* 3: leaked clusters harm nobody */
        return r;
    }
    _cleanup_free_ char *line = said(&check, &res);
    (void)ERR_SET(e, IMAGE_BAD, "qemu-img check finds the image damaged: %.200s",
                  line[0] ? line : "no reason given");
    err_hint(e, "copy or download it again, or try 'qemu-img check -r all' on a copy");
    return -ERR_IMAGE_BAD;
}

static int measure(const struct source *s, uint64_t *ret_bytes, struct err *e)
{
    struct err why = {0};
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_t *j = NULL;
    struct qemu_img q = about(s, CMD("measure", "--output=json", "-f",
                                     image_format_name(s->head.format), "-O", "qcow2",
                                     s->file.fd_path),
                              budget_us((uint64_t)s->file.stat.st_size));
    int r = verdict(check_qemu_img(&q, &text, &why), e, &why);
    r = r < 0 ? r : json_parse(text, strlen(text), &j, e);
    if (r == 0) {
        *ret_bytes = json_u64_of(j, "required", 0);
    }
    return r;
}

/* Whoever can write to the source may have put other content under our eyes. A write changes ctime,
 * which only root can set back. */
static int check_unchanged(const struct source *s, struct err *e)
{
    const struct stat *was = &s->file.stat;
    struct stat now;
    if (fstat(s->file.fd, &now) < 0) {
        return ERR_SYS(e, IO, errno, "cannot read %s", s->name);
    }
    if (now.st_size == was->st_size && now.st_ctim.tv_sec == was->st_ctim.tv_sec &&
        now.st_ctim.tv_nsec == was->st_ctim.tv_nsec) {
        return 0;
    }
    (void)ERR_SET(e, IMAGE_BAD, "%s was changed while it was read", s->name);
    err_hint(e, "wait until nobody writes to it");
    return -ERR_IMAGE_BAD;
}

static int convert_source(const struct image_env *env, const struct source *s, const char *path,
                          struct err *e)
{
    _cleanup_unlink_ char *tmp = image_hidden_name(path, "new");
    struct stage stage = {
        .env = env, .from = OBTAINED_PERCENT, .to = 99, .bytes = s->head.virtual_bytes};
    uint64_t need = 0;
    int r = image_remove_stale(tmp, e);
    r = r < 0 ? r : measure(s, &need, e);
    r = r < 0 ? r : image_need_room(path, need, e);
    if (r < 0) {
        return r;
    }
    struct qemu_img q = about(s, CMD("convert", "-p", "-t", cache_mode(tmp), "-f",
                                     image_format_name(s->head.format), "-O", "qcow2",
                                     s->file.fd_path, tmp),
                              budget_us(s->head.virtual_bytes));
    q.stage = &stage;
    r = check_qemu_img(&q, NULL, e);
    r = r < 0 ? r : check_unchanged(s, e);
    return r < 0 ? r : image_publish(env, &tmp, path, e);
}

static void on_fetched(void *arg, uint64_t done, uint64_t total)
{
    tell(arg, done, total);
}

/* Opens the source, after downloading it to @fetched if it is elsewhere. */
static int obtain(const struct image_env *env, const char *source, const enum image_format *want,
                  const char *fetched, struct source *s, struct err *e)
{
    struct stage stage = {.env = env, .from = 0, .to = OBTAINED_PERCENT};
    const struct image_fetch f = {
        .url = source,
        .path = fetched,
        .want = want,
        .on_bytes = on_fetched,
        .on_bytes_arg = &stage,
    };
    bool is_url = image_is_url(source);
    int r = image_remove_stale(fetched, e);
    r = r < 0 || !is_url ? r : image_fetch(&f, s->sha256, e);
    r = r < 0 ? r : image_source_open(is_url ? fetched : source, &s->file, e);
    r = r < 0 ? r : read_head(s, want, e);
    return r < 0 || is_url ? r : hash_source(s, &stage, e);
}

static int check_import_args(const struct image_import_args *a, struct err *e)
{
    enum image_format f;
    unsigned char raw[DIGEST_HEX_LEN / 2];
    if (a->format && !str_eq(a->format, "auto") && !image_format_by_name(a->format, &f)) {
        return ERR_SET(e, INVALID, "'%.20s' is no format; there are qcow2, raw and vmdk",
                       a->format);
    }
    if (a->checksum && !(str_starts(a->checksum, "sha256:") &&
                         hex_parse(a->checksum + strlen("sha256:"), raw, sizeof(raw)))) {
        return ERR_SET(e, INVALID, "a checksum is 'sha256:' and 64 lower-case hex digits");
    }
    if (a->source[0] != '/' && !image_is_url(a->source)) {
        return ERR_SET(e, INVALID, "'%.100s' is no absolute path and no http address", a->source);
    }
    if (!file_exists(a->dir)) {
        return ERR_SET(e, STATE, "%s is not there: is the pool mounted?", a->dir);
    }
    return 0;
}

static int import(const struct image_env *env, const struct image_import_args *a,
                  struct image_file *ret, struct err *e)
{
    enum image_format want = IMAGE_RAW;
    const enum image_format *said_format = image_format_by_name(a->format, &want) ? &want : NULL;
    _cleanup_free_ char *name = image_source_public(a->source);
    _cleanup_(source_done) struct source s = {.file.fd = -1, .name = name};
    _cleanup_image_file_ struct image_file f = {.path = image_path(a->dir, a->name)};
    _cleanup_unlink_ char *fetched = image_hidden_name(f.path, "source");
    int r = check_import_args(a, e);
    r = r < 0 ? r : obtain(env, a->source, said_format, fetched, &s, e);
    r = r < 0 ? r : compare_checksum(a->checksum, s.sha256, e);
    r = r < 0 ? r : inspect(&s, e);
    r = r < 0 ? r : convert_source(env, &s, f.path, e);
    if (r == 0) {
        f.virtual_bytes = s.head.virtual_bytes;
        f.source_format = s.head.format;
        memcpy(f.sha256, s.sha256, sizeof(f.sha256));
        *ret = f;
        f.path = NULL;
    }
    return r;
}

int image_import(const struct image_env *env, const struct image_import_args *args,
                 struct image_file *ret, struct err *e)
{
    assert(str_is_name(args->name));
    int r = import(env, args, ret, e);
    if (r < 0) {
        err_prepend(e, "cannot import image '%s'", args->name);
    }
    return r;
}

int image_remove(const char *dir, const char *name, struct err *e)
{
    static const char *const leftovers[] = {"new", "source"};
    _cleanup_free_ char *path = image_path(dir, name);
    for (size_t i = 0; i < ELEMENTS(leftovers); i++) {
        _cleanup_free_ char *tmp = image_hidden_name(path, leftovers[i]);
        int r = image_remove_stale(tmp, e);
        if (r < 0) {
            return r;
        }
    }
    return image_remove_stale(path, e);
}

/* --- export -------------------------------------------------------------------------------- */

static int remove_stale_dir(const char *dir, const char *file, struct err *e)
{
    int r = image_remove_stale(file, e);
    if (r == 0 && rmdir(dir) < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", dir);
    }
    return r;
}

/* Never over a file that appeared meanwhile, where the file system can promise that (FUSE: not). */
static int publish_new(const struct image_env *env, const char *file, const char *path,
                       struct err *e)
{
    int r = image_settle(env, file, e);
    if (r < 0) {
        return r;
    }
    r = renameat2(AT_FDCWD, file, AT_FDCWD, path, RENAME_NOREPLACE);
    if (r < 0 && (errno == EINVAL || errno == ENOSYS) && !file_exists(path)) {
        r = rename(file, path);
    }
    if (r < 0) {
        return errno == EEXIST ? ERR_SET(e, EXISTS, "%s exists already", path)
                               : image_fail_write(path, errno, e);
    }
    return image_sync_dir_of(path, e);
}

/* streamOptimized is what OVF tools and our own import take. */
static int export_to(const struct image_env *env, const char *image, const char *file,
                     enum image_format format, struct err *e)
{
    struct stage stage = {.env = env, .from = 0, .to = 99};
    struct stat st;
    if (stat(image, &st) < 0) {
        return ERR_SYS(e, NOT_FOUND, errno, "cannot read %s", image);
    }
    stage.bytes = (uint64_t)st.st_size;
    struct qemu_img q = {
        .argv = format == IMAGE_VMDK
                    ? CMD("convert", "-p", "-f", "qcow2", "-O", "vmdk", "-o",
                          "subformat=streamOptimized", image, file)
                    : CMD("convert", "-p", "-f", "qcow2", "-O", image_format_name(format), image,
                          file),
        .timeout_us = budget_us((uint64_t)st.st_size),
        .stage = &stage,
    };
    return check_qemu_img(&q, NULL, e);
}

int image_export(const struct image_env *env, const char *image, const char *path,
                 enum image_format format, struct err *e)
{
    /* In a directory of its own, because a vmdk has its own name inside. */
    _cleanup_free_ char *dir = image_hidden_name(path, "new");
    _cleanup_free_ char *file = str_printf("%s%s", dir, strrchr(path, '/'));
    if (file_exists(path)) {
        return ERR_SET(e, EXISTS, "%s exists already", path);
    }
    int r = remove_stale_dir(dir, file, e);
    if (r < 0) {
        return r;
    }
    if (mkdir(dir, 0700) < 0) {
        return image_fail_write(path, errno, e);
    }
    r = export_to(env, image, file, format, e);
    r = r < 0 ? r : publish_new(env, file, path, e);
    int cleaned = remove_stale_dir(dir, file, r < 0 ? NULL : e);
    return r < 0 ? r : cleaned;
}

/* --- disks --------------------------------------------------------------------------------- */

static int create_disk(const char *path, uint64_t size_bytes, struct err *e)
{
    _cleanup_free_ char *size = str_printf("%llu", (unsigned long long)size_bytes);
    struct qemu_img q = {
        .argv = CMD("create", "-q", "-f", "qcow2", "-o", "preallocation=falloc", path, size),
        .timeout_us = budget_us(size_bytes),
    };
    return check_qemu_img(&q, NULL, e);
}

/* Into clusters that have their place and read as zeros: only data is written, in any order. */
static int fill_disk(const struct image_env *env, const char *image, const char *path,
                     uint64_t size_bytes, struct err *e)
{
    struct stage stage = {.env = env, .from = 10, .to = 99, .bytes = size_bytes};
    struct qemu_img q = {
        .argv = CMD("convert", "-p", "-n", "--target-is-zero", "-W", "-t", cache_mode(path), "-f",
                    "qcow2", "-O", "qcow2", image, path),
        .timeout_us = budget_us(size_bytes),
        .stage = &stage,
    };
    return check_qemu_img(&q, NULL, e);
}

int image_make_disk(const struct image_env *env, const char *path, uint64_t size_bytes,
                    const char *image, struct err *e)
{
    _cleanup_unlink_ char *tmp = image_hidden_name(path, "new");
    assert(size_bytes && size_bytes % 512 == 0);
    int r = image_remove_stale(tmp, e);
    if (r < 0 || file_exists(path)) {
        return r;
    }
    if (image && !file_exists(image)) {
        return ERR_SET(e, NOT_FOUND, "the image's file %s is gone", image);
    }
    r = image_need_room(path, size_bytes, e);
    r = r < 0 ? r : create_disk(tmp, size_bytes, e);
    r = r < 0 || !image ? r : fill_disk(env, image, tmp, size_bytes, e);
    return r < 0 ? r : image_publish(env, &tmp, path, e);
}

