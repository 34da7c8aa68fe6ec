/* SPDX-License-Identifier: Apache-2.0
 * Where things go: pure choices over the world, always with the reason in words. */
#pragma once

#include "core/core.h"

struct place_need {
    const char *vm;         /* name, for messages */
    const char *pool;       /* must be usable on the host */
    uint64_t memory_bytes;
    uint64_t cpus;
    const char *exclude;    /* host that must not be chosen, or NULL */
    const char *only;       /* the one host that may be chosen, or NULL */
    const char *cpu_as;     /* CPU model and machine must be as on this host (migration), or NULL */
    const json_t *rooms;    /* of place_rooms(), or NULL: for many choices in one step */
};

/**
 * place_rooms - {host: bytes} of memory that each host which may take machines can still give away
 * @but: machine that is not counted, or NULL
 *
 * The lesser of what is free now, without what is promised to machines that do not run yet, and of what the
 * host has, without all that it has promised: guests take their memory late, and hosts are looked at now and
 * then. New reference.
 */
json_t *place_rooms(const struct core *c, const char *but);

/**
 * place_vm - the online VM host with the most room for memory that can take it
 * @ret_host: borrowed from the world        @ret_why: one phrase, buffer of @why_size bytes
 * Return: 0 or -ERR_NO_ROOM, whose message says for each host what is in the way
 */
int place_vm(const struct core *c, const struct place_need *need, const char **ret_host,
             char *ret_why, size_t why_size, struct err *e);

/**
 * place_move - where the running @vm can go on: place_vm(), and CPU, machine type and QEMU fit
 * @to: the one host that may be chosen, or NULL
 */
int place_move(const struct core *c, const char *vm, const char *to, const char **ret_host,
               char *ret_why, size_t why_size, struct err *e);

/**
 * place_device_of - the device of @host
 * @devices: "/dev/sdb": of each host, or "HOST=/dev/disk/by-id/A,HOST=…"; NULL: none
 * Return: new string, or NULL when none is named for it
 */
char *place_device_of(const char *devices, const char *host);

/**
 * place_bricks - hosts, roles and paths of the bricks of a new pool
 * @args: {name, copies, hosts[], arbiter, no_ha, device (as place_device_of()), path, kind}
 * Where devices are named for hosts, no other host is chosen for data
 * @ret: array of {host, role, path, device}; one reference owned by the caller
 * Return: 0, -ERR_POOL_POLICY, -ERR_NOT_FOUND or -ERR_INVALID
 */
int place_bricks(const struct core *c, const json_t *args, json_t **ret, struct err *e);
