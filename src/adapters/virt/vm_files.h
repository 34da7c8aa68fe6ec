/* SPDX-License-Identifier: Apache-2.0
 * The directory of a VM on its pool: MOUNT/vms/NAME with disk0.qcow2 and, as asked for, vmlinuz,
 * initrd and seed.iso. The file "uuid" says whose it is: a directory of another VM, or of a person,
 * is neither filled nor deleted. Calls may be killed at any point and run again. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "adapters/virt/image_drive.h"

#define VM_FILE_DISK "disk0.qcow2"
#define VM_FILE_KERNEL "vmlinuz"
#define VM_FILE_INITRD "initrd"
#define VM_FILE_SEED "seed.iso"
#define VM_FILE_OWNER "uuid" /* of the VM, written before any other file */

struct vm_files_args {
    const char *dir;     /* its parent must exist: it does not while the pool is not mounted */
    const char *uuid;    /* of the VM */
    uint64_t disk_bytes; /* rounded up to 512 */
    const char *image;   /* a qcow2 of ours to copy, or NULL: an empty disk */
    const char *kernel;  /* files of this host to copy, or NULL */
    const char *initrd;
    const void *seed; /* the ISO, or NULL */
    size_t seed_len;
};

/**
 * vm_files_make - make what is not there yet
 * Return: 0; -ERR_FOREIGN; -ERR_STATE (not mounted); -ERR_NOT_FOUND, -ERR_INVALID (kernel, initrd,
 *         image); -ERR_POOL_FULL; -ERR_IO, -ERR_COMMAND, -ERR_TIMEOUT
 */
int vm_files_make(const struct image_env *env, const struct vm_files_args *args, struct err *e);

/**
 * vm_files_remove - delete the directory and the files in it; symbolic links are deleted, not
 * followed. When it is absent or another VM's, there is nothing to do.
 * Return: 0; -ERR_FOREIGN when it holds a directory; -ERR_IO
 */
int vm_files_remove(const char *dir, const char *uuid, struct err *e);
