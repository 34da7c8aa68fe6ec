/* SPDX-License-Identifier: Apache-2.0
 * The only thread of this adapter runs libvirt's default event loop; it is needed for keepalive and
 * events, belongs to the process like libvirt's event loop itself, and only copies events into the
 * mailbox (style §7: sd-event objects must not be touched from it). */
#include "adapters/virt/virt_drive.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "adapters/virt/virt_conn.h"
#include "io/clock.h"
#include "io/file.h"

#define PROC_FILE_LIMIT_BYTES (256 * KIB)

struct virt {
    pthread_mutex_t lock; /* guards conn, is_warm and the callback ids */
    char *uri;
    struct mailbox *events;
    virConnectPtr conn; /* NULL until needed */
    bool is_warm;       /* virt_warm() was there since conn was opened */
    int lifecycle_id;
    int job_id;
};

static void *run_event_loop(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "libvirt-events");
    for (;;) {
        if (virEventRunDefaultImpl() < 0) {
            (void)poll(NULL, 0, 100); /* poll() itself failed; without a pause this would spin */
        }
    }
    return arg;
}

static void start_event_loop(void)
{
    pthread_t thread;
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all); /* signals belong to the loop's thread */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0 ||
        pthread_create(&thread, NULL, run_event_loop, NULL) != 0) {
        abort(); /* out of memory or threads at start */
    }
    (void)pthread_detach(thread);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* libvirt prints errors on stderr unless told otherwise; ours travel in struct err. */
static void drop_error(void *arg, virErrorPtr error)
{
    (void)arg;
    (void)error;
}

struct virt *virt_open(const char *uri, struct mailbox *events)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* libvirt's event loop is one per process */
    struct virt *v = xcalloc(1, sizeof(*v));
    (void)pthread_once(&once, start_event_loop);
    virSetErrorFunc(NULL, drop_error);
    (void)pthread_mutex_init(&v->lock, NULL);
    v->uri = str_dup(uri);
    v->events = events;
    v->lifecycle_id = v->job_id = -1;
    return v;
}

static void post(struct mailbox *events, virDomainPtr dom, struct virt_event *ev)
{
    struct virt_event *copy = xcalloc(1, sizeof(*copy));
    ev->at_us = clock_boottime_us();
    if (dom) {
        (void)snprintf(ev->name, sizeof(ev->name), "%s", virDomainGetName(dom));
        (void)virDomainGetUUIDString(dom, ev->uuid); /* fails for an invalid pointer only */
    }
    *copy = *ev;
    mailbox_post(events, copy);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
    struct virt_event ev = {0};
    if (virt_event_of(event, detail, &ev)) {
        post(arg, dom, &ev);
    }
    return 0;
}

static void on_job_completed(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params,
                             int count, void *arg)
{
    struct virt_event ev = {.kind = VIRT_EVENT_JOB_DONE, .detail = "done"};
    virt_job_of(params, count, &ev.job);
    post(arg, dom, &ev);
}

static void on_close(virConnectPtr conn, int reason, void *arg)
{
    struct virt_event ev = {
        .kind = VIRT_EVENT_DISCONNECTED,
        .detail = reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE ? "keepalive" : "closed",
    };
    post(arg, NULL, &ev);
}

static void drop_conn(struct virt *v)
{
    if (!v->conn) {
        return;
    }
    /* On a dead connection these fail at the remote end, which is gone; the local end is cleared. */
    if (v->lifecycle_id >= 0) {
        (void)virConnectDomainEventDeregisterAny(v->conn, v->lifecycle_id);
    }
    if (v->job_id >= 0) {
        (void)virConnectDomainEventDeregisterAny(v->conn, v->job_id);
    }
    if (v->events) {
        (void)virConnectUnregisterCloseCallback(v->conn, on_close);
    }
    v->lifecycle_id = v->job_id = -1;
    (void)virConnectClose(v->conn);
    v->conn = NULL;
    v->is_warm = false;
}

/* Return: 0, or -ERR_VIRT when the events that we rely on cannot be had */
static int register_events(struct virt *v, struct err *e)
{
    if (!v->events) {
        return 0;
    }
    v->lifecycle_id = virConnectDomainEventRegisterAny(
        v->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle),
        v->events, NULL);
    if (v->lifecycle_id < 0) {
        return virt_err(e, "cannot watch the domains");
    }
    /* The test driver knows neither of these, and nothing rests on them. */
    v->job_id = virConnectDomainEventRegisterAny(
        v->conn, NULL, VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
        VIR_DOMAIN_EVENT_CALLBACK(on_job_completed), v->events, NULL);
    (void)virConnectRegisterCloseCallback(v->conn, on_close, v->events, NULL);
    virResetLastError();
    struct virt_event ev = {.kind = VIRT_EVENT_CONNECTED, .detail = "connected"};
    post(v->events, NULL, &ev);
    return 0;
}

static int connect_locked(struct virt *v, struct err *e)
{
    if (v->conn && virConnectIsAlive(v->conn) == 1) {
        return 0;
    }
    drop_conn(v);
    v->conn = virConnectOpen(v->uri);
    if (!v->conn) {
        virErrorPtr ve = virGetLastError();
        int r = ERR_SET(e, VIRT, "cannot reach libvirtd: %.300s",
                        ve && ve->message ? ve->message : "no reason given");
        err_hint(e, "see 'systemctl status libvirtd'");
        virResetLastError();
        return r;
    }
    /* Drivers inside our own process (test:///) have no keepalive, and need none. */
    (void)virConnectSetKeepAlive(v->conn, VIRT_KEEPALIVE_S, VIRT_KEEPALIVE_COUNT);
    int r = register_events(v, e);
    if (r < 0) {
        drop_conn(v);
    }
    return r;
}

int virt_conn_get(struct virt *v, virConnectPtr *ret, struct err *e)
{
    (void)pthread_mutex_lock(&v->lock);
    int r = connect_locked(v, e);
    if (r == 0 && virConnectRef(v->conn) == 0) {
        *ret = v->conn;
    }
    (void)pthread_mutex_unlock(&v->lock);
    return r;
}

int virt_connect(struct virt *v, struct err *e)
{
    _cleanup_conn_ virConnectPtr conn = NULL;
    return virt_conn_get(v, &conn, e);
}

void virt_warm(struct virt *v)
{
    _cleanup_conn_ virConnectPtr conn = NULL;
    (void)pthread_mutex_lock(&v->lock);
    bool is_due = v->conn && !v->is_warm;
    v->is_warm = v->is_warm || is_due;
    (void)pthread_mutex_unlock(&v->lock);
    if (is_due && virt_conn_get(v, &conn, NULL) == 0) {
        free(virConnectGetDomainCapabilities(conn, NULL, "x86_64", NULL, NULL, 0));
        virResetLastError(); /* the first start will tell what is wrong */
    }
}

void virt_close(struct virt *v)
{
    if (!v) {
        return;
    }
    drop_conn(v);
    (void)pthread_mutex_destroy(&v->lock);
    free(v->uri);
    free(v);
}

int virt_dom_get(struct virt *v, const char *name, virDomainPtr *ret, struct err *e)
{
    _cleanup_conn_ virConnectPtr conn = NULL;
    int r = virt_conn_get(v, &conn, e);
    if (r < 0) {
        return r;
    }
    virDomainPtr dom = virDomainLookupByName(conn, name);
    if (!dom) {
        return virt_err(e, "cannot find domain '%s'", name);
    }
    *ret = dom; /* it holds its own reference to the connection */
    return 0;
}

static int observe_dom(virDomainPtr dom, struct virt_domain *ret, struct err *e)
{
    struct virt_domain d = {.id = -1};
    const char *name = virDomainGetName(dom); /* asked for later, it would wipe out libvirt's last error */
    int state = 0;
    int reason = 0;
    if (virDomainGetState(dom, &state, &reason, 0) < 0) {
        return virt_err(e, "cannot read the state of domain '%s'", name);
    }
    _cleanup_free_ char *xml = virDomainGetXMLDesc(dom, 0);
    if (!xml) {
        return virt_err(e, "cannot read domain '%s'", name);
    }
    d.state = virt_state_of(state, reason, &d.reason);
    if (state != VIR_DOMAIN_SHUTOFF) {
        d.id = (int)virDomainGetID(dom);
    }
    if (dom_xml_parse(xml, strlen(xml), &d.info, NULL) < 0) {
        d.info.name = str_dup(name); /* listed all the same, and not touched */
        d.info.ours = DOM_OURS_UNCLEAR;
        (void)virDomainGetUUIDString(dom, d.info.uuid);
    }
    *ret = d;
    return 0;
}

void virt_list_done(struct virt_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        dom_info_done(&l->v[i].info);
    }
    free(l->v);
    *l = (struct virt_list){0};
}

static int by_name(const void *a, const void *b)
{
    const struct virt_domain *x = a;
    const struct virt_domain *y = b;
    return strcmp(x->info.name, y->info.name);
}

int virt_observe(struct virt *v, struct virt_list *ret, struct err *e)
{
    _cleanup_conn_ virConnectPtr conn = NULL;
    _cleanup_virt_list_ struct virt_list list = {0};
    virDomainPtr *doms = NULL;
    int r = virt_conn_get(v, &conn, e);
    if (r < 0) {
        return r;
    }
    int n = virConnectListAllDomains(conn, &doms, 0);
    if (n < 0) {
        return virt_err(e, "cannot list the domains");
    }
    list.v = xcalloc((size_t)n, sizeof(*list.v));
    for (int i = 0; i < n; i++) {
        struct err one = {0};
        int got = r < 0 ? r : observe_dom(doms[i], &list.v[list.n], &one);
        list.n += got == 0;
        if (r == 0 && got < 0 && got != -ERR_NOT_FOUND) {
            r = err_copy(e, &one);
        }
        (void)virDomainFree(doms[i]); /* a reference */
    }
    free(doms);
    if (r < 0) {
        return r;
    }
    qsort(list.v, list.n, sizeof(*list.v), by_name);
    *ret = list;
    list = (struct virt_list){0};
    return 0;
}

int virt_find(struct virt *v, const char *name, struct virt_domain *ret, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    int r = virt_dom_get(v, name, &dom, e);
    return r < 0 ? r : observe_dom(dom, ret, e);
}

/* Was the reason of the refusal that the domain runs already? libvirt's codes do not tell. */
static bool is_active(virConnectPtr conn, const struct dom_info *info)
{
    _cleanup_dom_ virDomainPtr by_its_name = virDomainLookupByName(conn, info->name);
    _cleanup_dom_ virDomainPtr by_uuid = virDomainLookupByUUIDString(conn, info->uuid);
    virResetLastError();
    return (by_its_name && virDomainIsActive(by_its_name) == 1) ||
           (by_uuid && virDomainIsActive(by_uuid) == 1);
}

static bool has_qemu(const char *name)
{
    _cleanup_close_ int fd = -1;
    return virt_pidfd(name, NULL, &fd, NULL) == 0;
}

int virt_create(struct virt *v, const char *xml, bool paused, struct err *e)
{
    _cleanup_conn_ virConnectPtr conn = NULL;
    _cleanup_dom_info_ struct dom_info info = {0};
    struct err said = {0};
    int r = dom_xml_parse(xml, strlen(xml), &info, e);
    r = r < 0 ? r : virt_conn_get(v, &conn, e);
    if (r < 0) {
        return r;
    }
    uint64_t since_us = clock_boottime_us();
    do {
        _cleanup_dom_ virDomainPtr dom = virDomainCreateXML(conn, xml, paused ? VIR_DOMAIN_START_PAUSED : 0);
        if (dom) {
            return 0;
        }
        said = (struct err){0}; /* of a try before, which is kept otherwise */
        r = virt_err(&said, "cannot start domain '%s'", info.name);
    } while (r != -ERR_TIMEOUT && !has_qemu(info.name) && virt_wait_if_occupied(&said, since_us));
    if (r != -ERR_TIMEOUT && is_active(conn, &info)) {
        return ERR_SET(e, EXISTS, "domain '%s' or its uuid runs on this host already", info.name);
    }
    return err_copy(e, &said);
}

int virt_destroy(struct virt *v, const char *name, bool graceful, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    struct err said = {0};
    int r = virt_dom_get(v, name, &dom, &said);
    if (r == 0 && virDomainDestroyFlags(dom, graceful ? VIR_DOMAIN_DESTROY_GRACEFUL : 0) < 0) {
        r = virt_err(&said, "cannot end domain '%s'", name);
        if (r == -ERR_STATE && virDomainIsActive(dom) != 1) {
            r = -ERR_NOT_FOUND; /* it ended by itself meanwhile */
        }
    }
    return r == 0 || r == -ERR_NOT_FOUND ? 0 : err_copy(e, &said);
}

int virt_shutdown(struct virt *v, const char *name, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    int r = virt_dom_get(v, name, &dom, e);
    if (r == 0 && virDomainShutdown(dom) < 0) {
        r = virt_err(e, "cannot press the power button of '%s'", name);
    }
    return r;
}

int virt_reset(struct virt *v, const char *name, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    int r = virt_dom_get(v, name, &dom, e);
    if (r == 0 && virDomainReset(dom, 0) < 0) {
        r = virt_err(e, "cannot reset '%s'", name);
    }
    return r;
}

int virt_suspend(struct virt *v, const char *name, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    int r = virt_dom_get(v, name, &dom, e);
    if (r == 0 && virDomainSuspend(dom) < 0) {
        r = virt_err(e, "cannot pause '%s'", name);
    }
    return r;
}

/* The mark alone: all of its XML, and its state, would cost the guest that waits some milliseconds. */
static int check_meant(virDomainPtr dom, const struct dom_meta *meant, struct err *e)
{
    struct dom_meta m = {0};
    _cleanup_free_ char *mark = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, DOM_META_NS, 0);
    bool is_ours = mark && dom_meta_parse(mark, strlen(mark), &m, NULL) == 0;
    if (!is_ours || !str_eq(m.uuid, meant->uuid) || m.restore_gen != meant->restore_gen || m.n != meant->n) {
        return ERR_SET(e, STATE, "the domain '%s' is not the instance that is meant", virDomainGetName(dom));
    }
    return 0;
}

int virt_resume(struct virt *v, const char *name, const struct dom_meta *meant, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    int state = 0;
    int r = virt_dom_get(v, name, &dom, e);
    r = r < 0 || !meant ? r : check_meant(dom, meant, e);
    if (r < 0 || virDomainResume(dom) == 0) {
        return r;
    }
    struct err said = {0};
    r = virt_err(&said, "cannot resume '%s'", name);
    if (virDomainGetState(dom, &state, NULL, 0) == 0 && state == VIR_DOMAIN_RUNNING) {
        return 0;
    }
    return r < 0 ? err_copy(e, &said) : 0;
}

void virt_caps_done(struct virt_caps *c)
{
    free(c->emulator);
    strv_done(&c->machines);
    strv_done(&c->cpu_models);
    *c = (struct virt_caps){0};
}

static int observe_cpu_models(virConnectPtr conn, bool emulate, struct virt_caps *c, struct err *e)
{
    const char *type = emulate ? "qemu" : "kvm";
    _cleanup_free_ char *xml = virConnectGetDomainCapabilities(conn, NULL, "x86_64", NULL, type, 0);
    if (!xml) {
        return virt_err(e, "cannot ask what guests can be run with %s", type);
    }
    return dom_caps_parse_models(xml, strlen(xml), &c->cpu_models, e);
}

int virt_capabilities(struct virt *v, bool emulate, struct virt_caps *ret, struct err *e)
{
    _cleanup_conn_ virConnectPtr conn = NULL;
    _cleanup_virt_caps_ struct virt_caps c = {0};
    unsigned long libvirt = 0;
    unsigned long qemu = 0;
    int r = virt_conn_get(v, &conn, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *xml = virConnectGetCapabilities(conn);
    if (!xml) {
        return virt_err(e, "cannot ask for the capabilities of this host");
    }
    r = dom_caps_parse_host(xml, strlen(xml), &c.emulator, &c.machines, &c.emulation, &c.kvm, e);
    if (r == 0 && (emulate ? c.emulation : c.kvm)) {
        r = observe_cpu_models(conn, emulate, &c, e);
    }
    if (r < 0) {
        return r;
    }
    (void)virConnectGetLibVersion(conn, &libvirt); /* 0 = unknown, for display */
    (void)virConnectGetVersion(conn, &qemu);
    c.libvirt_version = libvirt;
    c.qemu_version = qemu;
    *ret = c;
    c = (struct virt_caps){0};
    return 0;
}

/* libvirt starts every QEMU with "-name guest=NAME,debug-threads=on". */
static bool is_qemu_of(pid_t pid, const char *name)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/cmdline", pid);
    _cleanup_free_ char *want = str_printf("guest=%s,", name);
    _cleanup_free_ char *args = NULL;
    size_t len = 0;
    if (file_read(path, PROC_FILE_LIMIT_BYTES, &args, &len, NULL) < 0) {
        return false;
    }
    bool after_name = false;
    for (size_t at = 0; at < len; at += strlen(args + at) + 1) {
        if (after_name && str_starts(args + at, want)) {
            return true;
        }
        after_name = str_eq(args + at, "-name");
    }
    return false;
}

static pid_t pid_from_file(const char *name)
{
    _cleanup_free_ char *path = str_printf(VIRT_RUN_DIR "/%s.pid", name);
    _cleanup_free_ char *text = NULL;
    uint64_t pid = 0;
    if (file_read(path, 64, &text, NULL, NULL) < 0) {
        return 0;
    }
    text[strcspn(text, "\n")] = '\0';
    return str_parse_u64(text, INT32_MAX, &pid, NULL) == 0 ? (pid_t)pid : 0;
}

/* For a pid file that was lost: saying "gone" while QEMU runs would be the worst of errors. */
static pid_t pid_from_proc(const char *name)
{
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    for (struct dirent *d = proc ? readdir(proc) : NULL; d && !found; d = readdir(proc)) {
        uint64_t pid = 0;
        if (str_parse_u64(d->d_name, INT32_MAX, &pid, NULL) == 0 && is_qemu_of((pid_t)pid, name)) {
            found = (pid_t)pid;
        }
    }
    if (proc) {
        (void)closedir(proc);
    }
    return found;
}

int virt_pidfd(const char *name, pid_t *ret_pid, int *ret_fd, struct err *e)
{
    pid_t pid = pid_from_file(name);
    pid = pid > 0 && is_qemu_of(pid, name) ? pid : pid_from_proc(name);
    _cleanup_close_ int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    /* Looked at once more: now what the descriptor holds is that QEMU, or it has ended. */
    if (fd < 0 || !is_qemu_of(pid, name)) {
        return ERR_SET(e, NOT_FOUND, "no QEMU of '%s' runs on this host", name);
    }
    if (ret_pid) {
        *ret_pid = pid;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int virt_in_slice(pid_t pid, const char *slice, bool *ret, char **ret_cgroup, struct err *e)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/cgroup", pid);
    _cleanup_free_ char *text = NULL;
    int r = file_read(path, PROC_FILE_LIMIT_BYTES, &text, NULL, e);
    if (r < 0) {
        return r;
    }
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, text, "\n");
    const char *v2 = "";
    for (size_t i = 0; i < lines.n; i++) {
        if (str_starts(lines.v[i], "0::")) {
            v2 = lines.v[i] + 3;
        }
    }
    _cleanup_strv_ struct strv parts = {0};
    strv_split(&parts, v2, "/");
    *ret = strv_has(&parts, slice);
    if (ret_cgroup) {
        *ret_cgroup = str_dup(v2);
    }
    return 0;
}

int virt_console_connect(const char *path, uint64_t deadline_us, int *ret_fd, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        return ERR_SET(e, IO, "the console's path %s is too long", path);
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return ERR_SYS(e, IO, errno, "cannot make a socket");
    }
    while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED) {
            return ERR_SYS(e, NOT_FOUND, errno, "there is no console at %s", path);
        }
        if (errno != EAGAIN && errno != EINTR) {
            return ERR_SYS(e, IO, errno, "cannot open the console at %s", path);
        }
        if (clock_left_ms(deadline_us) == 0) {
            return ERR_SET(e, BUSY, "somebody else uses the console at %s", path);
        }
        (void)poll(NULL, 0, 20); /* a full backlog of a unix socket cannot be waited for */
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}
