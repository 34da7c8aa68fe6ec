/* SPDX-License-Identifier: Apache-2.0
 * The virt adapter on the command line, for tests that need a real libvirtd: run inside the host
 * whose libvirtd is meant. Prints one line per fact; exit code 1 and a sentence on failure. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/virt/virt_host.h"
#include "adapters/virt/virt_migrate.h"
#include "io/clock.h"
#include "io/file.h"
#include "io/pki.h"

#define WAIT_US (120 * USEC_PER_SEC)

static int fail(const struct err *e)
{
    (void)fprintf(stderr, "%s: %s\n", err_name(e->code), e->msg);
    return 1;
}

static struct dom_meta meta_of(const char *uuid, const char *owner, uint64_t n)
{
    struct dom_meta m = {.restore_gen = 1, .n = n, .inc = 1};
    (void)snprintf(m.uuid, sizeof(m.uuid), "%s", uuid);
    (void)snprintf(m.owner, sizeof(m.owner), "%s", owner);
    return m;
}

/* create NAME UUID OWNER KERNEL INITRD CMDLINE [DISK] */
static int do_create(struct virt *v, char **a, int n, struct err *e)
{
    struct dom_disk disk = {.format = DOM_FORMAT_QCOW2, .target = "vda"};
    struct dom_spec s = {
        .name = a[0],
        .meta = meta_of(a[1], a[2], 1),
        .cpus = 1,
        .memory_bytes = 128 * MIB,
        .emulate = true,
        .kernel = a[3],
        .initrd = a[4],
        .cmdline = a[5],
        .demo_channel = true,
    };
    _cleanup_free_ char *xml = NULL;
    if (n > 6) {
        disk.path = a[6];
        s.disks = &disk;
        s.disk_count = 1;
    }
    int r = virt_host_dirs(e);
    r = r < 0 ? r : dom_xml_format(&s, &xml, e);
    r = r < 0 ? r : virt_create(v, xml, false, e);
    return r;
}

static int do_list(struct virt *v, char **a, int n, struct err *e)
{
    static const char *const states[] = {"running", "paused", "stopping", "off", "crashed", "other"};
    static const char *const ours[] = {"others", "ours", "unclear"};
    _cleanup_virt_list_ struct virt_list l = {0};
    int r = virt_observe(v, &l, e);
    for (size_t i = 0; r == 0 && i < l.n; i++) {
        const struct virt_domain *d = &l.v[i];
        _cleanup_close_ int fd = -1;
        pid_t pid = 0;
        bool in_slice = false;
        if (virt_pidfd(d->info.name, &pid, &fd, NULL) == 0) {
            (void)virt_in_slice(pid, DOM_SLICE_VMS, &in_slice, NULL, NULL);
        }
        printf("%s %s %s %s owner=%s epoch=%" PRIu64 "-%" PRIu64 " pid=%d slice=%d\n", d->info.name,
               states[d->state], d->reason, ours[d->info.ours], d->info.meta.owner,
               d->info.meta.restore_gen, d->info.meta.n, pid, in_slice);
    }
    return r;
}

static int do_caps(struct virt *v, char **a, int n, struct err *e)
{
    _cleanup_virt_caps_ struct virt_caps c = {0};
    int r = virt_capabilities(v, true, &c, e);
    if (r == 0) {
        printf("kvm=%d emulation=%d emulator=%s machines=%zu models=%zu qemu64=%d q35=%d qemu=%" PRIu64
               "\n",
               c.kvm, c.emulation, c.emulator, c.machines.n, c.cpu_models.n,
               strv_has(&c.cpu_models, "qemu64"), strv_has(&c.machines, DOM_MACHINE_DEFAULT),
               c.qemu_version);
    }
    return r;
}

static int do_destroy(struct virt *v, char **a, int n, struct err *e)
{
    return virt_destroy(v, a[0], false, e);
}

static int do_resume(struct virt *v, char **a, int n, struct err *e)
{
    return virt_resume(v, a[0], NULL, e);
}

static int do_suspend(struct virt *v, char **a, int n, struct err *e)
{
    return virt_suspend(v, a[0], e);
}

static int do_shutdown(struct virt *v, char **a, int n, struct err *e)
{
    return virt_shutdown(v, a[0], e);
}

static int do_abort(struct virt *v, char **a, int n, struct err *e)
{
    return virt_migrate_abort(v, a[0], e);
}

static int do_outcome(struct virt *v, char **a, int n, struct err *e)
{
    enum virt_outcome o;
    virt_migration_outcome(v, a[0], &o);
    printf("%s\n", virt_outcome_name(o));
    return 0;
}

/* apply STORAGE_ADDR CA CERT KEY (paths of PEM files) */
static int do_apply(struct virt *v, char **a, int n, struct err *e)
{
    _cleanup_free_ char *ca = NULL;
    _cleanup_free_ char *cert = NULL;
    _cleanup_free_ char *key = NULL;
    bool changed = false;
    int r = file_read(a[1], PKI_PEM_LIMIT_BYTES, &ca, NULL, e);
    r = r < 0 ? r : file_read(a[2], PKI_PEM_LIMIT_BYTES, &cert, NULL, e);
    r = r < 0 ? r : file_read(a[3], PKI_PEM_LIMIT_BYTES, &key, NULL, e);
    struct virt_host_args args = {
        .storage_addr = a[0], .ca_pem = ca, .cert_pem = cert, .key_pem = key};
    r = r < 0 ? r : virt_host_apply(&args, &changed, e);
    printf("%s\n", changed ? "changed" : "same");
    return r;
}

static int do_remove(struct virt *v, char **a, int n, struct err *e)
{
    bool changed = false;
    int r = virt_host_remove(&changed, e);
    printf("%s\n", changed ? "changed" : "same");
    return r;
}

/* pki DIR HOST IP…: a CA in DIR when there is none, and DIR/HOST.crt, DIR/HOST.key */
static int do_pki(struct virt *v, char **a, int n, struct err *e)
{
    _cleanup_free_ char *key = str_printf("%s/%s.key", a[0], a[1]);
    _cleanup_free_ char *crt = str_printf("%s/%s.crt", a[0], a[1]);
    _cleanup_free_ char *csr = NULL;
    _cleanup_free_ char *pem = NULL;
    struct pki_names names = {.host = a[1], .ips = (const char *const *)a + 2, .days = 30};
    int r = pki_make_ca(a[0], "test", e);
    r = r < 0 ? r : pki_make_key(key, e);
    r = r < 0 ? r : pki_make_csr(key, &csr, e);
    r = r < 0 ? r : pki_sign_csr(a[0], csr, &names, &pem, e);
    return r < 0 ? r : file_replace(crt, pem, strlen(pem), 0644, e);
}

/* A migration with everything that the agent watches, on one clock. */
struct watch {
    struct loop *loop;
    struct virt *v;
    struct virt_migrate_args args;
    uint64_t start_us;
    pid_t pid;
    bool ended;     /* QEMU */
    bool stopped;   /* libvirt's event that says so, which may come after all else */
    bool returned;  /* virt_migrate() */
    int result;
    struct err said;
    struct mailbox *results;
};

static void tell(const struct watch *w, const char *what, const char *detail)
{
    printf("%8.1f %s %s\n", (double)(clock_boottime_us() - w->start_us) / 1000, what, detail);
    (void)fflush(stdout);
}

static void maybe_done(struct watch *w)
{
    if (w->returned && ((w->ended && w->stopped) || w->result < 0)) {
        loop_quit(w->loop);
    }
}

static void on_event(void *arg, void *msg)
{
    static const char *const kinds[] = {"started", "suspended", "resumed",     "stopped",
                                        "crashed", "job-done",  "disconnected", "connected"};
    struct watch *w = arg;
    struct virt_event *ev = msg;
    _cleanup_free_ char *detail =
        str_printf("%s at=%.1f downtime_ms=%" PRIu64 " bytes=%" PRIu64, ev->detail,
                   (double)(ev->at_us - w->start_us) / 1000, ev->job.downtime_ms, ev->job.done_bytes);
    tell(w, kinds[ev->kind], detail);
    w->stopped = w->stopped || ev->kind == VIRT_EVENT_STOPPED;
    free(ev);
    maybe_done(w);
}

static void on_exit_of_qemu(void *arg, int fd, uint32_t events)
{
    struct watch *w = arg;
    w->ended = true;
    tell(w, "qemu-ended", virt_migration_is_confirmed(w->args.name, w->pid) ? "confirmed" : "not-known");
    maybe_done(w);
}

static void on_result(void *arg, void *msg)
{
    struct watch *w = arg;
    w->returned = true;
    tell(w, "returned", w->result == 0 ? "ok" : w->said.msg);
    maybe_done(w);
}

static void migrate_job(void *arg)
{
    struct watch *w = arg;
    w->result = virt_migrate(w->v, &w->args, &w->said);
    mailbox_post(w->results, w);
}

static void poll_job(void *arg)
{
    struct watch *w = arg;
    struct virt_job job = {0};
    uint64_t until = clock_boottime_us() + WAIT_US;
    while (clock_boottime_us() < until && !__atomic_load_n(&w->returned, __ATOMIC_ACQUIRE)) {
        if (virt_job(w->v, w->args.name, &job, NULL) == 0 && job.active) {
            _cleanup_free_ char *text = str_printf(
                "done=%" PRIu64 " total=%" PRIu64 " remaining=%" PRIu64 " dirty/s=%" PRIu64
                " downtime=%" PRIu64, job.done_bytes, job.total_bytes, job.remaining_bytes,
                job.dirty_bytes_per_s, job.downtime_ms);
            tell(w, "progress", text);
        }
        (void)usleep(200000);
    }
}

/* migrate NAME UUID DEST_ADDR STORAGE_ADDR NEW_OWNER NEW_EPOCH [MIB/S] */
static int do_migrate(struct virt *unused, char **a, int n, struct err *e)
{
    _cleanup_(loop_freep) struct loop *l = NULL;
    _cleanup_(mailbox_freep) struct mailbox *events = NULL;
    _cleanup_(mailbox_freep) struct mailbox *results = NULL;
    _cleanup_close_ int fd = -1;
    uint64_t epoch = 0;
    uint64_t limit = 0;
    int r = str_parse_u64(a[5], UINT64_MAX, &epoch, e);
    r = r < 0 || n < 7 ? r : str_parse_u64(a[6], UINT64_MAX, &limit, e);
    struct dom_meta meta = meta_of(a[1], a[4], epoch);
    struct watch w = {
        .start_us = clock_boottime_us(),
        .args = {.name = a[0], .dest_addr = a[2], .storage_addr = a[3], .dest_meta = &meta,
                 .bandwidth_mib_per_s = limit},
    };
    r = r < 0 ? r : loop_new(&l, e);
    r = r < 0 ? r : mailbox_new(l, on_event, &w, &events, e);
    r = r < 0 ? r : mailbox_new(l, on_result, &w, &results, e);
    r = r < 0 ? r : virt_pidfd(a[0], &w.pid, &fd, e);
    if (r < 0) {
        return r;
    }
    w.loop = l;
    w.results = results;
    _cleanup_(virt_closep) struct virt *v = virt_open(VIRT_URI_SYSTEM, events);
    w.v = v;
    _cleanup_(loop_source_freep) struct loop_source *s = loop_pidfd(l, fd, on_exit_of_qemu, &w);
    _cleanup_(lane_freep) struct lane *lane = lane_new("migrate", 1, 1);
    _cleanup_(lane_freep) struct lane *look = lane_new("progress", 1, 1);
    r = virt_connect(v, e);
    r = r < 0 ? r : lane_run(lane, migrate_job, &w, e);
    r = r < 0 ? r : lane_run(look, poll_job, &w, e);
    r = r < 0 ? r : loop_run(l, e);
    return r < 0 || w.result == 0 ? r : err_copy(e, &w.said);
}

static const struct {
    const char *verb;
    int args_min;
    int (*fn)(struct virt *v, char **a, int n, struct err *e);
} verbs[] = {
    {"create", 6, do_create},   {"list", 0, do_list},         {"caps", 0, do_caps},
    {"destroy", 1, do_destroy}, {"resume", 1, do_resume},     {"suspend", 1, do_suspend},
    {"shutdown", 1, do_shutdown}, {"abort", 1, do_abort},     {"outcome", 1, do_outcome},
    {"apply", 4, do_apply},     {"remove", 0, do_remove},     {"pki", 3, do_pki},
    {"migrate", 6, do_migrate},
};

int main(int argc, char **argv)
{
    _cleanup_(virt_closep) struct virt *v = virt_open(VIRT_URI_SYSTEM, NULL);
    struct err e = {0};
    for (size_t i = 0; i < ELEMENTS(verbs); i++) {
        if (argc > 1 && str_eq(argv[1], verbs[i].verb) && argc - 2 >= verbs[i].args_min) {
            return verbs[i].fn(v, argv + 2, argc - 2, &e) < 0 ? fail(&e) : 0;
        }
    }
    (void)fprintf(stderr, "usage: test_virt_tool VERB ARGS (see the source)\n");
    return 2;
}
