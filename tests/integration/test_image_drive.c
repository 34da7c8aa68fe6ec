/* SPDX-License-Identifier: Apache-2.0
 * Images and disks with the real qemu-img, in a directory of the test's own. Skips with 77 where
 * there is no qemu-img. */
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "adapters/virt/image_drive.h"
#include "adapters/virt/seed_format.h"
#include "adapters/virt/vm_files.h"
#include "base/json.h"
#include "base/prng.h"
#include "base/str.h"
#include "io/cmd.h"
#include "io/file.h"
#include "io/worker.h"

#define UUID "6f0e5f5e-0a4e-4a52-9d0c-3a8a1a2b3c4d"
#define DISK_BYTES (8 * MIB)
#define SKIPPED 77

struct fixture {
    char *root;
    char *images; /* ROOT/pool/images */
    char *vm;     /* ROOT/pool/vms/demo */
    unsigned percent;
    struct image_env env;
};

static void on_progress(void *arg, unsigned percent, uint64_t bytes, uint64_t of_bytes)
{
    struct fixture *f = arg;
    assert_true(percent >= f->percent && percent <= 100);
    assert_true(of_bytes > 100 && bytes <= of_bytes); /* bytes, not percent */
    f->percent = percent;
}

static int setup(void **state)
{
    const char *where = getenv("MORTAR_IMAGE_TEST_DIR"); /* a Gluster mount, to try it there */
    char *root = str_printf("%s/mortar-image-XXXXXX", where ? where : "/var/tmp");
    struct fixture *f = xcalloc(1, sizeof(*f));
    assert_non_null(mkdtemp(root));
    f->root = root;
    f->images = str_printf("%s/pool/images", root);
    f->vm = str_printf("%s/pool/vms/demo", root);
    _cleanup_free_ char *vms = str_printf("%s/pool/vms", root);
    assert_int_equal(file_mkdirs(f->images, 0711, NULL), 0);
    assert_int_equal(file_mkdirs(vms, 0711, NULL), 0);
    f->env = (struct image_env){
        .uid = 12345, .gid = 12346, .on_progress = on_progress, .on_progress_arg = f};
    if (geteuid() != 0) {
        f->env.uid = (uid_t)-1;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int r = cmd_check(CMD("rm", "-rf", f->root), NULL, NULL, NULL);
    free(f->root);
    free(f->images);
    free(f->vm);
    free(f);
    return r;
}

static void run(const char *const *argv)
{
    struct err e = {0};
    if (cmd_check(argv, NULL, NULL, &e) < 0) {
        fail_msg("%s", e.msg);
    }
}

static char *in(const struct fixture *f, const char *name)
{
    return str_printf("%s/%s", f->root, name);
}

/* A disk with something at its begin and near its end, in the format asked for. */
static char *make_source(const struct fixture *f, const char *format, const char *options)
{
    char *path = str_printf("%s/source.%s", f->root, format);
    _cleanup_free_ char *raw = in(f, "source.raw");
    FILE *out = fopen(raw, "we");
    assert_non_null(out);
    assert_true(fprintf(out, "begin of the disk") > 0);
    assert_int_equal(fseek(out, (long)(DISK_BYTES - 512), SEEK_SET), 0);
    assert_true(fprintf(out, "%-512s", "end of the disk") == 512);
    assert_int_equal(fclose(out), 0);
    if (!str_eq(format, "raw")) {
        run(CMD("qemu-img", "convert", "-f", "raw", "-O", format, "-o", options, raw, path));
    }
    return path;
}

static int import_as(struct fixture *f, const char *source, const char *format,
                     const char *checksum, struct image_file *ret, struct err *e)
{
    const struct image_import_args a = {.dir = f->images, .name = "debian", .source = source,
                                        .format = format, .checksum = checksum};
    f->percent = 0;
    return image_import(&f->env, &a, ret, e);
}

/* Nothing but what is named lies in @dir. */
static void assert_only(const char *dir, const char *names)
{
    _cleanup_free_ char *out = NULL;
    assert_int_equal(cmd_check(CMD("ls", "-A", dir), NULL, &out, NULL), 0);
    assert_string_equal(out, names);
}

static void assert_refused(struct fixture *f, const char *source, const char *format, int code,
                           const char *why)
{
    _cleanup_image_file_ struct image_file made = {0};
    struct err e = {0};
    int r = import_as(f, source, format, NULL, &made, &e);
    if (r != -code || !strstr(e.msg, why)) {
        fail_msg("%d (%s) is not %d (%s)", r, e.msg, -code, why);
    }
    assert_only(f->images, "");
}

static void assert_same_disk(const char *a, const char *b, const char *format_b)
{
    run(CMD("qemu-img", "compare", "-q", "-f", "qcow2", "-F", format_b, a, b));
}

/* --- downloads ----------------------------------------------------------------------------- */

/* Gives each connection the next of its answers, then closes it. */
struct server {
    int fd;
    unsigned port;
    struct lane *lane;
    struct {
        char *head;
        const char *file;  /* sent after the head */
        size_t file_bytes; /* so much of it */
    } answers[8];
    size_t n;
};

static void send_file(int fd, const char *path, size_t bytes)
{
    _cleanup_free_ char *data = NULL;
    size_t len = 0;
    assert_int_equal(file_read(path, GIB, &data, &len, NULL), 0);
    for (size_t at = 0; at < bytes && at < len;) {
        ssize_t n = send(fd, data + at, (bytes < len ? bytes : len) - at, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* the client has seen enough */
        }
        at += (size_t)n;
    }
}

static void serve(void *arg)
{
    struct server *s = arg;
    for (size_t i = 0; i < s->n; i++) {
        char request[4096];
        _cleanup_close_ int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || read(fd, request, sizeof(request)) <= 0) {
            return;
        }
        (void)send(fd, s->answers[i].head, strlen(s->answers[i].head), MSG_NOSIGNAL);
        if (s->answers[i].file) {
            send_file(fd, s->answers[i].file, s->answers[i].file_bytes);
        }
    }
}

static void server_listen(struct server *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
    s->port = ntohs(addr.sin_port);
}

/* @head: takes ownership */
static void server_answer(struct server *s, char *head, const char *file, size_t file_bytes)
{
    s->answers[s->n].head = head;
    s->answers[s->n].file = file;
    s->answers[s->n++].file_bytes = file_bytes;
}

static char *ok_head(uint64_t bytes)
{
    return str_printf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %llu\r\n\r\n",
                      (unsigned long long)bytes);
}

static char *redirect_head(const char *to, unsigned port)
{
    return str_printf("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: %s:%u/there\r\n"
                      "Content-Length: 0\r\n\r\n",
                      to, port);
}

static int import_from(struct fixture *f, struct server *s, struct image_file *ret, struct err *e)
{
    _cleanup_free_ char *url = str_printf("http://127.0.0.1:%u/image.qcow2?key=secret", s->port);
    s->lane = lane_new("server", 1, 4);
    assert_int_equal(lane_run(s->lane, serve, s, NULL), 0);
    int r = import_as(f, url, NULL, NULL, ret, e);
    (void)shutdown(s->fd, SHUT_RDWR);
    lane_free(s->lane);
    close_fdp(&s->fd);
    for (size_t i = 0; i < s->n; i++) {
        free(s->answers[i].head);
    }
    return r;
}

static uint64_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void a_download_is_followed_and_hashed(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "qcow2", "compat=v3");
    _cleanup_free_ char *raw = in(f, "source.raw");
    _cleanup_free_ char *sum = NULL;
    _cleanup_image_file_ struct image_file made = {0};
    struct server s = {0};
    struct err e = {0};
    server_listen(&s);
    server_answer(&s, redirect_head("http://127.0.0.1", s.port), NULL, 0);
    server_answer(&s, ok_head(size_of(source)), source, SIZE_MAX);
    if (import_from(f, &s, &made, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_same_disk(made.path, raw, "raw");
    assert_only(f->images, "debian.qcow2\n");
    assert_int_equal(cmd_check(CMD("sha256sum", source), NULL, &sum, NULL), 0);
    assert_memory_equal(made.sha256, sum, 64);
}

static void assert_download_fails(struct fixture *f, struct server *s, int code, const char *why)
{
    _cleanup_image_file_ struct image_file made = {0};
    struct err e = {0};
    int r = import_from(f, s, &made, &e);
    if (r != -code || !strstr(e.msg, why) || strstr(e.msg, "secret")) {
        fail_msg("%d (%s) is not %d (%s)", r, e.msg, -code, why);
    }
    assert_only(f->images, "");
}

static void a_failed_download_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "raw", "");
    struct server missing = {0};
    server_listen(&missing);
    server_answer(&missing, str_dup("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), NULL, 0);
    assert_download_fails(f, &missing, ERR_NOT_FOUND, "no such file");
    struct server cut = {0};
    server_listen(&cut);
    server_answer(&cut, ok_head(DISK_BYTES), source, DISK_BYTES / 2);
    assert_download_fails(f, &cut, ERR_REMOTE, "no whole answer");
    struct server round = {0};
    server_listen(&round);
    for (int i = 0; i < 6; i++) {
        server_answer(&round, redirect_head("http://127.0.0.1", round.port), NULL, 0);
    }
    assert_download_fails(f, &round, ERR_REMOTE, "address to address");
    struct server file = {0};
    server_listen(&file);
    server_answer(&file, redirect_head("file://", 0), NULL, 0);
    assert_download_fails(f, &file, ERR_REMOTE, "not secure");
    struct server huge = {0};
    server_listen(&huge);
    server_answer(&huge, ok_head(TIB + 1), source, DISK_BYTES);
    assert_download_fails(f, &huge, ERR_LIMIT, "larger than 1 TiB");
    struct server full = {0};
    server_listen(&full);
    server_answer(&full, ok_head(TIB), source, DISK_BYTES);
    assert_download_fails(f, &full, ERR_POOL_FULL, "needed");
}

static void a_hostile_download_is_ended_early(void **state)
{
    struct fixture *f = *state;
    struct server s = {0};
    _cleanup_free_ char *bad = in(f, "bad.qcow2");
    run(CMD("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-u", "-b", "/etc/passwd", bad,
            "8M"));
    run(CMD("truncate", "-s", "64M", bad));
    server_listen(&s);
    server_answer(&s, ok_head(64 * MIB), bad, IMAGE_HEAD_BYTES); /* no more will ever come */
    assert_download_fails(f, &s, ERR_IMAGE_BAD, "backing file");
}

static void addresses_hold_no_passwords(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "http://me:secret@localhost/x", NULL, ERR_INVALID, "password");
    assert_refused(f, "http:///x", NULL, ERR_INVALID, "host");
    assert_refused(f, "https://localhost/a b", NULL, ERR_INVALID, "%XX");
    assert_refused(f, "ftp://localhost/x", NULL, ERR_INVALID, "http address");
}

/* --- files --------------------------------------------------------------------------------- */

static void every_format_becomes_a_qcow2_of_qemus_user(void **state)
{
    static const struct {
        const char *format;
        const char *options;
    } cases[] = {
        {"raw", ""},
        {"qcow2", "compat=v3"},
        {"qcow2", "compat=0.10"},
        {"qcow2", "extended_l2=on,compression_type=zstd"},
        {"vmdk", "subformat=monolithicSparse"},
        {"vmdk", "subformat=streamOptimized"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *source = make_source(f, cases[i].format, cases[i].options);
        _cleanup_free_ char *raw = in(f, "source.raw");
        _cleanup_image_file_ struct image_file made = {0};
        struct err e = {0};
        struct stat st;
        if (import_as(f, source, i % 2 ? cases[i].format : NULL, NULL, &made, &e) < 0) {
            fail_msg("%s %s: %s", cases[i].format, cases[i].options, e.msg);
        }
        assert_int_equal(made.virtual_bytes, DISK_BYTES);
        assert_string_equal(image_format_name(made.source_format), cases[i].format);
        assert_same_disk(made.path, raw, "raw");
        assert_only(f->images, "debian.qcow2\n");
        assert_int_equal(stat(made.path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_true(f->env.uid == (uid_t)-1 || (st.st_uid == 12345 && st.st_gid == 12346));
        assert_int_equal(f->percent, 99);
    }
    assert_int_equal(image_remove(f->images, "debian", NULL), 0);
    assert_int_equal(image_remove(f->images, "debian", NULL), 0);
    assert_only(f->images, "");
}

static void a_wrong_checksum_is_refused(void **state)
{
    static const char none[] = "sha256:"
                               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "raw", "");
    _cleanup_free_ char *sum = NULL;
    _cleanup_image_file_ struct image_file made = {0};
    assert_int_equal(import_as(f, source, NULL, none, &made, NULL), -ERR_IMAGE_BAD);
    assert_int_equal(import_as(f, source, NULL, "sha256:abc", &made, NULL), -ERR_INVALID);
    assert_only(f->images, "");
    assert_int_equal(cmd_check(CMD("sha256sum", source), NULL, &sum, NULL), 0);
    _cleanup_free_ char *right = str_printf("sha256:%.64s", sum);
    assert_int_equal(import_as(f, source, NULL, right, &made, NULL), 0);
    assert_memory_equal(made.sha256, sum, 64);
}

static void hostile_images_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *bad = in(f, "bad.qcow2");
    _cleanup_free_ char *bad_vmdk = in(f, "bad.vmdk");
    _cleanup_free_ char *data = in(f, "data.raw");
    _cleanup_free_ char *data_option = str_printf("data_file=%s", data);
    _cleanup_free_ char *fifo = in(f, "fifo");
    run(CMD("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-u", "-b", "/etc/passwd", bad,
            "8M"));
    assert_refused(f, bad, NULL, ERR_IMAGE_BAD, "backing file");
    assert_refused(f, bad, "qcow2", ERR_IMAGE_BAD, "backing file");
    run(CMD("qemu-img", "create", "-q", "-f", "qcow2", "-o", data_option, bad, "8M"));
    assert_refused(f, bad, NULL, ERR_IMAGE_BAD, "data file");
    run(CMD("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", bad, "1P"));
    assert_refused(f, bad, NULL, ERR_IMAGE_BAD, "1024 TiB");
    run(CMD("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", bad_vmdk,
            "8M"));
    assert_refused(f, bad_vmdk, NULL, ERR_IMAGE_BAD, "descriptor");
    assert_refused(f, bad_vmdk, "vmdk", ERR_IMAGE_BAD, "descriptor");
    run(CMD("mkfifo", fifo));
    assert_refused(f, fifo, NULL, ERR_IMAGE_BAD, "regular file");
    assert_refused(f, "/dev/zero", NULL, ERR_IMAGE_BAD, "regular file");
    assert_refused(f, f->root, NULL, ERR_IMAGE_BAD, "regular file");
    assert_refused(f, "/proc/version", NULL, ERR_IMAGE_BAD, "empty");
    assert_refused(f, "json:{\"driver\":\"nbd\"}", NULL, ERR_INVALID, "absolute");
    assert_refused(f, "nbd:localhost:10809", NULL, ERR_INVALID, "absolute");
    assert_refused(f, "/var/tmp/mortar-no-such-file", NULL, ERR_NOT_FOUND, "no file");
}

static void damaged_tables_are_found(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "qcow2", "compat=v3");
    FILE *out = fopen(source, "r+e");
    assert_non_null(out);
    assert_int_equal(fseek(out, 3 * 65536, SEEK_SET), 0); /* the L1 table points at itself */
    assert_int_equal(fwrite("\x80\0\0\0\0\x03\0\0", 1, 8, out), 8);
    assert_int_equal(fclose(out), 0);
    assert_refused(f, source, NULL, ERR_IMAGE_BAD, "damaged");
}

static void an_unmounted_pool_is_not_written_to(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "raw", "");
    _cleanup_free_ char *away = in(f, "away/images");
    _cleanup_free_ char *away_vm = in(f, "away/vms/demo");
    const struct image_import_args a = {.dir = away, .name = "debian", .source = source};
    const struct vm_files_args v = {.dir = away_vm, .uuid = UUID, .disk_bytes = DISK_BYTES};
    struct image_file made = {0};
    assert_int_equal(image_import(&f->env, &a, &made, NULL), -ERR_STATE);
    assert_int_equal(vm_files_make(&f->env, &v, NULL), -ERR_STATE);
    _cleanup_free_ char *top = in(f, "away");
    assert_false(file_exists(top));
}

static void a_killed_import_is_finished_by_the_next(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "qcow2", "compat=v3");
    _cleanup_free_ char *stale = str_printf("%s/.debian.qcow2.new", f->images);
    _cleanup_image_file_ struct image_file made = {0};
    assert_int_equal(file_replace(stale, "half", 4, 0600, NULL), 0);
    assert_int_equal(import_as(f, source, NULL, NULL, &made, NULL), 0);
    assert_only(f->images, "debian.qcow2\n");
}

/* Makes the image and the VM's files; the child's whole work. */
static int make_all(struct fixture *f, const char *source)
{
    _cleanup_image_file_ struct image_file made = {0};
    int r = import_as(f, source, NULL, NULL, &made, NULL);
    const struct vm_files_args a = {.dir = f->vm, .uuid = UUID, .disk_bytes = 2 * DISK_BYTES,
                                    .image = made.path, .kernel = source};
    f->percent = 0;
    return r < 0 ? r : vm_files_make(&f->env, &a, NULL);
}

static void whoever_is_killed_is_followed_by_one_who_finishes(void **state)
{
    struct fixture *f = *state;
    struct prng random = {.state = (uint64_t)getpid()};
    _cleanup_free_ char *source = make_source(f, "qcow2", "compat=v3");
    _cleanup_free_ char *raw = in(f, "source.raw");
    _cleanup_free_ char *disk = str_printf("%s/" VM_FILE_DISK, f->vm);
    for (int i = 0; i < 12; i++) {
        unsigned delay_us = (unsigned)prng_below(&random, 400 * USEC_PER_MSEC);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            _exit(make_all(f, source) < 0);
        }
        (void)usleep(delay_us);
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (i % 3) {
            continue; /* several are killed in a row */
        }
        print_message("killed after %u us\n", delay_us);
        assert_int_equal(make_all(f, source), 0);
        assert_only(f->images, "debian.qcow2\n");
        assert_only(f->vm, "disk0.qcow2\nuuid\nvmlinuz\n");
        assert_same_disk(disk, raw, "raw");
        assert_int_equal(vm_files_remove(f->vm, UUID, NULL), 0);
        assert_int_equal(image_remove(f->images, "debian", NULL), 0);
        assert_only(f->images, "");
    }
}

static void exports_come_back_the_same(void **state)
{
    static const char *const formats[] = {"raw", "qcow2", "vmdk"};
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "qcow2", "compat=v3");
    _cleanup_image_file_ struct image_file made = {0};
    assert_int_equal(import_as(f, source, NULL, NULL, &made, NULL), 0);
    for (size_t i = 0; i < ELEMENTS(formats); i++) {
        enum image_format format = IMAGE_RAW;
        _cleanup_free_ char *out = str_printf("%s/out/exported.%s", f->root, formats[i]);
        _cleanup_free_ char *dir = in(f, "out");
        _cleanup_image_file_ struct image_file again = {0};
        struct err e = {0};
        assert_int_equal(file_mkdirs(dir, 0755, NULL), 0);
        assert_true(image_format_by_name(formats[i], &format));
        f->percent = 0;
        if (image_export(&f->env, made.path, out, format, &e) < 0) {
            fail_msg("%s: %s", formats[i], e.msg);
        }
        assert_same_disk(made.path, out, formats[i]);
        assert_int_equal(image_export(&f->env, made.path, out, format, NULL), -ERR_EXISTS);
        assert_int_equal(import_as(f, out, formats[i], NULL, &again, &e), 0);
        run(CMD("rm", out));
        assert_only(dir, "");
    }
}

static void a_vm_gets_its_files_and_loses_them(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *source = make_source(f, "qcow2", "compat=v3");
    _cleanup_free_ char *kernel = in(f, "a-kernel");
    _cleanup_free_ char *disk = str_printf("%s/" VM_FILE_DISK, f->vm);
    _cleanup_free_ char *raw = in(f, "source.raw");
    _cleanup_image_file_ struct image_file image = {0};
    struct stat st;
    struct err e = {0};
    assert_int_equal(file_replace(kernel, "kernel", 6, 0600, NULL), 0);
    assert_int_equal(import_as(f, source, NULL, NULL, &image, NULL), 0);
    const struct vm_files_args a = {.dir = f->vm, .uuid = UUID, .disk_bytes = 4 * DISK_BYTES,
                                    .image = image.path, .kernel = kernel, .initrd = kernel,
                                    .seed = "seed", .seed_len = 4};
    f->percent = 0;
    for (int i = 0; i < 2; i++) { /* the second time nothing is left to do */
        if (vm_files_make(&f->env, &a, &e) < 0) {
            fail_msg("%s", e.msg);
        }
        assert_only(f->vm, "disk0.qcow2\ninitrd\nseed.iso\nuuid\nvmlinuz\n");
    }
    assert_int_equal(stat(disk, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 >= 4 * DISK_BYTES); /* every cluster has its place */
    assert_int_equal(st.st_mode & 07777, 0640);
    run(CMD("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", disk, raw)); /* tail: zeros */
    run(CMD("qemu-img", "check", "-q", "-f", "qcow2", disk));
    assert_int_equal(vm_files_remove(f->vm, UUID, NULL), 0);
    assert_false(file_exists(f->vm));
    assert_int_equal(vm_files_remove(f->vm, UUID, NULL), 0);
}

static void an_empty_disk_needs_no_image(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *disk = str_printf("%s/" VM_FILE_DISK, f->vm);
    _cleanup_free_ char *out = NULL;
    const struct vm_files_args a = {.dir = f->vm, .uuid = UUID, .disk_bytes = DISK_BYTES - 1};
    assert_int_equal(vm_files_make(&f->env, &a, NULL), 0);
    assert_int_equal(
        cmd_check(CMD("qemu-img", "info", "--output=json", disk), NULL, &out, NULL), 0);
    uint64_t bytes = 0;
    assert_int_equal(image_parse_info(out, strlen(out), &bytes, NULL), 0);
    assert_int_equal(bytes, DISK_BYTES);
}

static void a_directory_of_somebody_else_is_left_alone(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *theirs = str_printf("%s/disk0.qcow2", f->vm);
    const struct vm_files_args a = {.dir = f->vm, .uuid = UUID, .disk_bytes = DISK_BYTES};
    assert_int_equal(file_mkdirs(f->vm, 0711, NULL), 0);
    assert_int_equal(file_replace(theirs, "precious", 8, 0600, NULL), 0);
    assert_int_equal(vm_files_make(&f->env, &a, NULL), -ERR_FOREIGN);
    assert_int_equal(vm_files_remove(f->vm, UUID, NULL), 0);
    assert_only(f->vm, "disk0.qcow2\n");
    _cleanup_free_ char *mark = str_printf("%s/uuid", f->vm);
    assert_int_equal(file_replace(mark, "another", 7, 0600, NULL), 0);
    assert_int_equal(vm_files_make(&f->env, &a, NULL), -ERR_FOREIGN);
    assert_int_equal(vm_files_remove(f->vm, UUID, NULL), 0);
    assert_only(f->vm, "disk0.qcow2\nuuid\n");
}

static void removal_follows_no_link(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *kept = in(f, "kept");
    _cleanup_free_ char *link = str_printf("%s/link", f->vm);
    const struct vm_files_args a = {.dir = f->vm, .uuid = UUID, .disk_bytes = DISK_BYTES};
    assert_int_equal(file_replace(kept, "kept", 4, 0600, NULL), 0);
    assert_int_equal(vm_files_make(&f->env, &a, NULL), 0);
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(vm_files_remove(f->vm, UUID, NULL), 0);
    assert_true(file_exists(kept));
    assert_int_equal(symlink(f->root, f->vm), 0); /* nor in place of the directory */
    assert_int_equal(vm_files_remove(f->vm, UUID, NULL), -ERR_IO);
    assert_true(file_exists(kept));
}

static void a_full_pool_is_said_clearly(void **state)
{
    struct fixture *f = *state;
    const struct vm_files_args a = {.dir = f->vm, .uuid = UUID, .disk_bytes = 1000 * TIB};
    struct err e = {0};
    assert_int_equal(vm_files_make(&f->env, &a, &e), -ERR_POOL_FULL);
    assert_non_null(strstr(e.msg, "free"));
    assert_false(file_exists(f->vm)); /* nothing to undo: in a full pool that may fail */
}

/* No room for the directory; for the mark in it; for the kernel. */
static void a_pool_that_takes_no_file_more_is_full_too(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *small = in(f, "small");
    _cleanup_free_ char *dir = in(f, "small/demo");
    _cleanup_free_ char *source = make_source(f, "raw", "");
    const struct vm_files_args a = {.dir = dir, .uuid = UUID, .disk_bytes = DISK_BYTES, .kernel = source};
    assert_int_equal(mkdir(small, 0755), 0);
    for (unsigned files = 1; files <= 3; files++) {
        _cleanup_free_ char *limits = str_printf("nr_inodes=%u", files); /* one is its own */
        struct err e = {0};
        if (mount("mortar-test", small, "tmpfs", 0, limits) < 0) {
            skip(); /* not root, or not allowed to */
        }
        int made = vm_files_make(&f->env, &a, &e);
        int removed = vm_files_remove(dir, UUID, NULL);
        bool is_left = file_exists(dir);
        assert_int_equal(umount(small), 0);
        assert_int_equal(made, -ERR_POOL_FULL);
        assert_true(e.hint[0]);
        assert_int_equal(removed, 0);
        assert_false(is_left);
    }
}

static void blkid_sees_the_label_of_the_seed(void **state)
{
    static const char *const macs[] = {"52:54:00:00:00:01", NULL};
    struct fixture *f = *state;
    struct seed_spec s = {.uuid = UUID, .hostname = "demo", .macs = macs};
    _cleanup_sbuf_ struct sbuf iso = {0};
    _cleanup_free_ char *path = in(f, "seed.iso");
    _cleanup_free_ char *out = NULL;
    seed_format(&s, &iso);
    assert_int_equal(image_write_file(&f->env, path, iso.data, iso.len, NULL), 0);
    assert_int_equal(cmd_check(CMD("blkid", "-p", "-o", "export", path), NULL, &out, NULL), 0);
    assert_non_null(strstr(out, "LABEL=CIDATA\n"));
    assert_non_null(strstr(out, "TYPE=iso9660\n"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_download_is_followed_and_hashed),
        TEST(a_failed_download_leaves_nothing_behind),
        TEST(a_hostile_download_is_ended_early),
        TEST(addresses_hold_no_passwords),
        TEST(every_format_becomes_a_qcow2_of_qemus_user),
        TEST(a_wrong_checksum_is_refused),
        TEST(hostile_images_leave_nothing_behind),
        TEST(damaged_tables_are_found),
        TEST(an_unmounted_pool_is_not_written_to),
        TEST(a_killed_import_is_finished_by_the_next),
        TEST(whoever_is_killed_is_followed_by_one_who_finishes),
        TEST(exports_come_back_the_same),
        TEST(a_vm_gets_its_files_and_loses_them),
        TEST(an_empty_disk_needs_no_image),
        TEST(a_directory_of_somebody_else_is_left_alone),
        TEST(removal_follows_no_link),
        TEST(a_full_pool_is_said_clearly),
        TEST(a_pool_that_takes_no_file_more_is_full_too),
        TEST(blkid_sees_the_label_of_the_seed),
    };
    if (cmd_check(CMD("qemu-img", "--version"), NULL, NULL, NULL) < 0) {
        (void)printf("skipped: qemu-img is not installed (qemu-utils)\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
