/* SPDX-License-Identifier: Apache-2.0
 * Inside the adapter: the connection that virt_drive.c and virt_migrate.c share, and the words and
 * errors of libvirt. */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "adapters/virt/virt_drive.h"

/**
 * virt_conn_get - the living connection, made when there is none
 * @ret: one reference, given back with virConnectClose()
 * Return: 0 or -ERR_VIRT
 */
int virt_conn_get(struct virt *v, virConnectPtr *ret, struct err *e);

/** virt_dom_get - domain @name. Return: 0, -ERR_NOT_FOUND, -ERR_VIRT or -ERR_TIMEOUT */
int virt_dom_get(struct virt *v, const char *name, virDomainPtr *ret, struct err *e);

static inline void virt_dom_freep(virDomainPtr *d)
{
    if (*d) {
        (void)virDomainFree(*d); /* gives up a reference: cannot fail for a valid one */
    }
}
#define _cleanup_dom_ _cleanup_(virt_dom_freep)

static inline void virt_conn_freep(virConnectPtr *c)
{
    if (*c) {
        (void)virConnectClose(*c); /* gives up a reference */
    }
}
#define _cleanup_conn_ _cleanup_(virt_conn_freep)

/**
 * virt_err - this thread's last error of libvirt becomes ours; call it on the line after
 * @what: phrase without full stop, printf
 * Return: -ERR_NOT_FOUND, -ERR_EXISTS, -ERR_TIMEOUT, -ERR_CANCELLED, -ERR_STATE or -ERR_VIRT
 */
int virt_err(struct err *e, const char *what, ...) _printf_(2, 3);

/**
 * virt_wait_if_occupied - a name or uuid is refused while libvirtd still ends the domain that had it: wait a little
 * @said: by libvirt, of virt_err(); it has refused, so nothing was begun
 * @since_us: of clock_boottime_us(), when the first try began; nobody waits longer than 5 s in all
 * Return: true when it waited and the caller may try again; false when the refusal is another one or lasts
 */
bool virt_wait_if_occupied(const struct err *said, uint64_t since_us);

/** virt_state_of - libvirt's state and reason as ours. @ret_reason: a constant word */
enum virt_state virt_state_of(int state, int reason, const char **ret_reason);

/** virt_job_of - libvirt's list of job fields as ours; unknown fields are passed over */
void virt_job_of(virTypedParameterPtr params, int count, struct virt_job *ret);

/** virt_event_of - lifecycle event as ours. Return: false for kinds that nobody asks for */
bool virt_event_of(int event, int detail, struct virt_event *ret);
