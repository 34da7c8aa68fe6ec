/* SPDX-License-Identifier: Apache-2.0
 * The enumerations of libvirt 9.0 (libvirt/libvirt-domain.h) as constant words. The tables are
 * indexed by libvirt's numbers; a number that a newer libvirt sends is "unknown". */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapters/virt/virt_conn.h"
#include "io/clock.h"

#define SAID_MAX 320 /* of struct err's message */
#define OCCUPIED_US (5 * USEC_PER_SEC) /* longer than libvirtd takes to end a QEMU that has gone */
#define OCCUPIED_POLL_MS 100

static const char *const running_reasons[] = {
    "unknown", "booted", "migrated", "restored", "snapshot", "unpaused", "migration-cancelled",
    "save-cancelled", "wakeup", "crashed", "postcopy", "postcopy-failed",
};
static const char *const paused_reasons[] = {
    "unknown", "user", "migration", "save", "dump", "io-error", "watchdog", "snapshot",
    "shutting-down", "snapshot", "crashed", "starting-up", "postcopy", "postcopy-failed",
};
static const char *const off_reasons[] = {
    "unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "snapshot",
    "daemon",
};
static const char *const started_details[] = {"booted", "migrated", "restored", "snapshot", "wakeup"};
static const char *const suspended_details[] = {
    "user", "migrated", "io-error", "watchdog", "restored", "snapshot", "api-error", "postcopy",
    "postcopy-failed",
};
static const char *const resumed_details[] = {"user", "migration", "snapshot", "postcopy",
                                              "postcopy-failed"};
static const char *const stopped_details[] = {
    "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "snapshot",
};

static const char *word_at(const char *const *words, size_t n, int i)
{
    return i >= 0 && (size_t)i < n ? words[i] : "unknown";
}
#define WORD(table, i) word_at(table, ELEMENTS(table), i)

enum virt_state virt_state_of(int state, int reason, const char **ret_reason)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        *ret_reason = WORD(running_reasons, reason);
        return VIRT_RUNNING;
    case VIR_DOMAIN_PAUSED:
        *ret_reason = WORD(paused_reasons, reason);
        return VIRT_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
        *ret_reason = "shutdown";
        return VIRT_STOPPING;
    case VIR_DOMAIN_SHUTOFF:
        *ret_reason = WORD(off_reasons, reason);
        return VIRT_OFF;
    case VIR_DOMAIN_CRASHED:
        *ret_reason = "crashed";
        return VIRT_CRASHED;
    default: /* numbers from another process */
        *ret_reason = "unknown";
        return VIRT_OTHER;
    }
}

bool virt_event_of(int event, int detail, struct virt_event *ret)
{
    switch (event) {
    case VIR_DOMAIN_EVENT_STARTED:
        ret->kind = VIRT_EVENT_STARTED;
        ret->detail = WORD(started_details, detail);
        return true;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        ret->kind = VIRT_EVENT_SUSPENDED;
        ret->detail = WORD(suspended_details, detail);
        return true;
    case VIR_DOMAIN_EVENT_RESUMED:
        ret->kind = VIRT_EVENT_RESUMED;
        ret->detail = WORD(resumed_details, detail);
        return true;
    case VIR_DOMAIN_EVENT_STOPPED:
        ret->kind = VIRT_EVENT_STOPPED;
        ret->detail = WORD(stopped_details, detail);
        return true;
    case VIR_DOMAIN_EVENT_CRASHED:
        ret->kind = VIRT_EVENT_CRASHED;
        ret->detail = "crashed";
        return true;
    default: /* defined, undefined, shutdown announced, suspended to memory */
        return false;
    }
}

/* Which job field goes where. */
static const struct {
    const char *name;
    size_t offset;
} job_fields[] = {
    {VIR_DOMAIN_JOB_MEMORY_TOTAL, offsetof(struct virt_job, total_bytes)},
    {VIR_DOMAIN_JOB_MEMORY_PROCESSED, offsetof(struct virt_job, done_bytes)},
    {VIR_DOMAIN_JOB_MEMORY_REMAINING, offsetof(struct virt_job, remaining_bytes)},
    {VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, offsetof(struct virt_job, dirty_bytes_per_s)},
    {VIR_DOMAIN_JOB_MEMORY_BPS, offsetof(struct virt_job, speed_bytes_per_s)},
    {VIR_DOMAIN_JOB_MEMORY_ITERATION, offsetof(struct virt_job, iteration)},
    {VIR_DOMAIN_JOB_TIME_ELAPSED, offsetof(struct virt_job, elapsed_ms)},
    {VIR_DOMAIN_JOB_DOWNTIME, offsetof(struct virt_job, downtime_ms)},
    {VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, offsetof(struct virt_job, throttle_percent)},
};

static uint64_t param_u64(const virTypedParameter *p)
{
    switch (p->type) {
    case VIR_TYPED_PARAM_ULLONG:
        return p->value.ul;
    case VIR_TYPED_PARAM_UINT:
        return p->value.ui;
    case VIR_TYPED_PARAM_INT:
        return p->value.i > 0 ? (uint64_t)p->value.i : 0;
    default: /* text and such: no job field that we read */
        return 0;
    }
}

void virt_job_of(virTypedParameterPtr params, int count, struct virt_job *ret)
{
    uint64_t page_bytes = 4 * KIB;
    *ret = (struct virt_job){0};
    for (int i = 0; i < count; i++) {
        if (str_eq(params[i].field, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE) && param_u64(&params[i])) {
            page_bytes = param_u64(&params[i]);
        }
        for (size_t f = 0; f < ELEMENTS(job_fields); f++) {
            if (str_eq(params[i].field, job_fields[f].name)) {
                uint64_t value = param_u64(&params[i]);
                memcpy((char *)ret + job_fields[f].offset, &value, sizeof(value));
            }
        }
    }
    ret->dirty_bytes_per_s *= page_bytes; /* libvirt counts pages */
}

static int err_code_of(const virError *ve)
{
    if (!ve) {
        return ERR_VIRT;
    }
    if (ve->domain == VIR_FROM_RPC || ve->code == VIR_ERR_RPC) {
        return ERR_TIMEOUT; /* the connection broke in the middle: it may have happened */
    }
    switch (ve->code) {
    case VIR_ERR_NO_DOMAIN:
        return ERR_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
        return ERR_EXISTS;
    case VIR_ERR_OPERATION_TIMEOUT:
        return ERR_TIMEOUT;
    case VIR_ERR_OPERATION_ABORTED:
        return ERR_CANCELLED;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_MIGRATE_UNSAFE:
        return ERR_STATE;
    default: /* a hundred codes, all of them "refused or failed" */
        return ERR_VIRT;
    }
}

/* One line of at most SAID_MAX bytes; of longer ones both ends, since QEMU's reason comes last. */
static void copy_message(char said[SAID_MAX], const char *message)
{
    size_t len = strlen(message);
    if (len < SAID_MAX) {
        (void)snprintf(said, SAID_MAX, "%s", message);
    } else {
        (void)snprintf(said, SAID_MAX, "%.60s … %s", message, message + len - (SAID_MAX - 80));
    }
    for (char *p = said; *p; p++) {
        *p = *p == '\n' ? ' ' : *p; /* QEMU's own words come in lines */
    }
}

int virt_err(struct err *e, const char *what, ...)
{
    char context[128];
    char said[SAID_MAX];
    virErrorPtr ve = virGetLastError();
    va_list ap;
    va_start(ap, what);
    (void)vsnprintf(context, sizeof(context), what, ap); /* cut when too long */
    va_end(ap);
    copy_message(said, ve && ve->message ? ve->message : "no reason given");
    int code = err_code_of(ve);
    virResetLastError();
    return err_set(e, code, 0, __FILE__ ":" ERR_STR(__LINE__), "%s: %s", context, said);
}

/* virDomainObjListAddLocked() of libvirt 9.0: words, since it gives them codes that it gives to much else. The last is
 * also said of a domain that simply runs, which the callers know apart. */
static bool is_occupied(const char *said)
{
    static const char *const words[] = {"is already being removed", "is already being started", "is already active"};
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        if (strstr(said, words[i])) {
            return true;
        }
    }
    return false;
}

bool virt_wait_if_occupied(const struct err *said, uint64_t since_us)
{
    if (!is_occupied(said->msg) || clock_boottime_us() - since_us >= OCCUPIED_US) {
        return false;
    }
    clock_sleep_ms(OCCUPIED_POLL_MS);
    return true;
}
