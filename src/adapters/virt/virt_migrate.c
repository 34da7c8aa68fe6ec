/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/virt_migrate.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "adapters/virt/virt_conf.h"
#include "adapters/virt/virt_conn.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define CONVERGE_INITIAL_PERCENT 20 /* QEMU's own defaults, stated so that they stay */
#define CONVERGE_STEP_PERCENT 10
#define VIRT_LOG_DIR "/var/log/libvirt/qemu" /* libvirt 9.0.0, logDir */
#define STAT_LIMIT_BYTES 4096
#define KERNEL_PF_EXITING 0x4
#define LOG_LIMIT_BYTES (8 * MIB)            /* virtlogd begins a new one at 2 MiB */

static const unsigned migrate_flags =
    VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_PAUSED | VIR_MIGRATE_TLS |
    VIR_MIGRATE_AUTO_CONVERGE | VIR_MIGRATE_ABORT_ON_ERROR | VIR_MIGRATE_CHANGE_PROTECTION;

struct params {
    virTypedParameterPtr v;
    int n;
    int max;
};

static void params_done(struct params *p)
{
    virTypedParamsFree(p->v, p->n);
}

char *virt_migrate_uri(const char *addr)
{
    const char *open = strchr(addr, ':') ? "[" : "";
    const char *close_ = strchr(addr, ':') ? "]" : "";
    return str_printf("qemu+tls://%s%s%s/system?pkipath=%s", open, addr, close_, VIRT_PKI_DIR);
}

static int add_params(struct params *p, const struct virt_migrate_args *a, const char *xml,
                      struct err *e)
{
    const char *open = strchr(a->storage_addr, ':') ? "[" : "";
    const char *close_ = strchr(a->storage_addr, ':') ? "]" : "";
    _cleanup_free_ char *uri = str_printf("tcp://%s%s%s", open, a->storage_addr, close_);
    if (virTypedParamsAddString(&p->v, &p->n, &p->max, VIR_MIGRATE_PARAM_URI, uri) < 0 ||
        virTypedParamsAddString(&p->v, &p->n, &p->max, VIR_MIGRATE_PARAM_DEST_XML, xml) < 0 ||
        virTypedParamsAddInt(&p->v, &p->n, &p->max, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL,
                             CONVERGE_INITIAL_PERCENT) < 0 ||
        virTypedParamsAddInt(&p->v, &p->n, &p->max, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT,
                             CONVERGE_STEP_PERCENT) < 0) {
        return virt_err(e, "cannot set up the migration of '%s'", a->name);
    }
    if (a->bandwidth_mib_per_s &&
        virTypedParamsAddULLong(&p->v, &p->n, &p->max, VIR_MIGRATE_PARAM_BANDWIDTH,
                                a->bandwidth_mib_per_s) < 0) {
        return virt_err(e, "cannot limit the bandwidth of the migration of '%s'", a->name);
    }
    return 0;
}

int virt_migrate(struct virt *v, const struct virt_migrate_args *args, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    _cleanup_(params_done) struct params p = {0};
    _cleanup_free_ char *dest_xml = NULL;
    assert(args->name && args->storage_addr && args->dest_meta);
    assert(args->dest_addr || args->dest_uri);
    int r = virt_dom_get(v, args->name, &dom, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *live = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_MIGRATABLE |
                                                             VIR_DOMAIN_XML_SECURE);
    if (!live) {
        return virt_err(e, "cannot read domain '%s'", args->name);
    }
    r = dom_xml_reown(live, strlen(live), args->dest_meta, &dest_xml, e);
    r = r < 0 ? r : add_params(&p, args, dest_xml, e);
    if (r < 0) {
        return r;
    }
    uint64_t downtime = args->downtime_ms ? args->downtime_ms : VIRT_MIGRATE_DOWNTIME_MS;
    if (virDomainMigrateSetMaxDowntime(dom, downtime, 0) < 0) {
        return virt_err(e, "cannot limit the downtime of the migration of '%s'", args->name);
    }
    _cleanup_free_ char *uri =
        args->dest_uri ? str_dup(args->dest_uri) : virt_migrate_uri(args->dest_addr);
    uint64_t since_us = clock_boottime_us();
    while (virDomainMigrateToURI3(dom, uri, p.v, (unsigned)p.n, migrate_flags) < 0) {
        struct err said = {0};
        (void)virt_err(&said, "the migration of '%s' failed", args->name);
        if (!virt_wait_if_occupied(&said, since_us)) { /* on the target: the guest runs here all the time */
            return err_copy(e, &said);
        }
    }
    return 0;
}

int virt_job(struct virt *v, const char *name, struct virt_job *ret, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    struct params p = {0};
    int type = VIR_DOMAIN_JOB_NONE;
    int r = virt_dom_get(v, name, &dom, e);
    if (r < 0) {
        return r;
    }
    if (virDomainGetJobStats(dom, &type, &p.v, &p.n, 0) < 0) {
        return virt_err(e, "cannot read the progress of '%s'", name);
    }
    virt_job_of(p.v, p.n, ret);
    ret->active = type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED;
    params_done(&p);
    return 0;
}

int virt_migrate_abort(struct virt *v, const char *name, struct err *e)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    struct err said = {0};
    int r = virt_dom_get(v, name, &dom, &said);
    if (r == 0 && virDomainAbortJob(dom) < 0) {
        r = virt_err(&said, "cannot cancel the migration of '%s'", name);
    }
    /* STATE: there is no job to abort. */
    return r == 0 || r == -ERR_NOT_FOUND || r == -ERR_STATE ? 0 : err_copy(e, &said);
}

int virt_migrate_hang_up(const char *addr, struct err *e)
{
    _cleanup_free_ char *to = strchr(addr, ':') ? str_printf("[%s]", addr) : str_dup(addr);
    _cleanup_free_ char *filter =
        str_printf("dst %s and ( dport = :%d or ( dport >= :%d and dport <= :%d ) )", to, VIRT_TLS_PORT,
                   VIRT_MIGRATE_PORT_MIN, VIRT_MIGRATE_PORT_MAX);
    /* SOCK_DESTROY: the kernel ends them also while they connect, and wakes whoever waits. */
    return cmd_check(CMD("ss", "-K", "-H", "-n", "-t", "-a", filter), NULL, NULL, e);
}

bool virt_migration_is_confirmed(const char *name, pid_t pid)
{
    _cleanup_free_ char *path = str_printf(VIRT_RUN_DIR "/%s.xml", name);
    _cleanup_free_ char *text = NULL;
    struct dom_status st = {0};
    size_t len = 0;
    if (file_read(path, DOM_XML_LIMIT_BYTES, &text, &len, NULL) < 0 ||
        dom_status_parse(text, len, &st, NULL) < 0) {
        return false; /* gone already, or of a shape that we do not know: the event decides */
    }
    return st.phase == DOM_JOB_CONFIRMED && st.pid == pid;
}

bool virt_stat_is_ending(const char *text)
{
    char state = 0;
    unsigned flags = 0;
    const char *after_name = strrchr(text, ')'); /* a name may hold anything */
    if (!after_name || sscanf(after_name + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2) {
        return false;
    }
    return state == 'Z' || state == 'X' || (flags & KERNEL_PF_EXITING);
}

/* A thread that has gone while we looked is no reason to wait. */
static bool thread_is_ending(const char *dir, const char *tid)
{
    _cleanup_free_ char *path = str_printf("%s/%s/stat", dir, tid);
    _cleanup_free_ char *text = NULL;
    struct err why = {0};
    size_t len = 0;
    int r = file_read(path, STAT_LIMIT_BYTES, &text, &len, &why);
    return r < 0 ? why.sys == ENOENT || why.sys == ESRCH : virt_stat_is_ending(text);
}

bool virt_is_ending(pid_t pid)
{
    _cleanup_free_ char *path = str_printf("/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir) {
        return errno == ENOENT;
    }
    bool is_ending = true;
    for (const struct dirent *d; is_ending && (d = readdir(dir));) {
        is_ending = d->d_name[0] == '.' || thread_is_ending(path, d->d_name);
    }
    (void)closedir(dir); /* only read */
    return is_ending;
}

int virt_status_watch(int *ret_fd, struct err *e)
{
    _cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    /* libvirt writes NAME.xml.new and renames it (virFileRewrite). */
    if (fd < 0 || inotify_add_watch(fd, VIRT_RUN_DIR, IN_MOVED_TO) < 0) {
        return ERR_SYS(e, IO, errno, "cannot watch " VIRT_RUN_DIR ": %s", strerror(errno));
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

void virt_status_drain(int fd)
{
    char events[4096];
    while (read(fd, events, sizeof(events)) > 0) {
    }
}

/* Return: the last place of @what in @text, or NULL */
static const char *find_last(const char *text, const char *what)
{
    const char *found = NULL;
    for (const char *p = text; (p = strstr(p, what)); p++) {
        found = p;
    }
    return found;
}

enum virt_end virt_log_end(const char *text, size_t len)
{
    static const char *const told = ": shutting down, reason=";
    _cleanup_free_ char *copy = str_printf("%.*s", (int)len, text); /* ends at a NUL within */
    const char *start = find_last(copy, ": starting up libvirt version: ");
    const char *end = start ? strstr(start, told) : NULL;
    if (!end) {
        return VIRT_END_UNTOLD;
    }
    return str_starts(end + strlen(told), "migrated\n") ? VIRT_END_MIGRATED : VIRT_END_OTHER;
}

enum virt_end virt_last_end(const char *name)
{
    _cleanup_free_ char *path = str_printf(VIRT_LOG_DIR "/%s.log", name);
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    return file_read(path, LOG_LIMIT_BYTES, &text, &len, NULL) < 0 ? VIRT_END_UNTOLD
                                                                   : virt_log_end(text, len);
}

const char *virt_outcome_name(enum virt_outcome o)
{
    static const char *const names[] = {"gone", "running", "paused", "held", "busy", "unknown"};
    assert((size_t)o < ELEMENTS(names));
    return names[o];
}

void virt_migration_outcome(struct virt *v, const char *name, enum virt_outcome *ret)
{
    _cleanup_close_ int fd = -1;
    struct virt_domain d = {0};
    struct virt_job job = {0};
    *ret = VIRT_LEFT_UNKNOWN;
    if (virt_pidfd(name, NULL, &fd, NULL) == -ERR_NOT_FOUND) {
        *ret = VIRT_LEFT_GONE;
        return;
    }
    if (virt_job(v, name, &job, NULL) < 0 || virt_find(v, name, &d, NULL) < 0) {
        return;
    }
    if (job.active) {
        *ret = VIRT_LEFT_BUSY;
    } else if (d.state == VIRT_RUNNING) {
        *ret = VIRT_LEFT_RUNNING;
    } else if (d.state == VIRT_PAUSED) {
        *ret = str_eq(d.reason, "migration") ? VIRT_LEFT_PAUSED : VIRT_LEFT_HELD;
    }
    dom_info_done(&d.info);
}
