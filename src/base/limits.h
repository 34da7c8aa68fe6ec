/* SPDX-License-Identifier: Apache-2.0
 * Sizes of a virtual machine: what the command offers is what the core takes. */
#pragma once

#include "base/util.h"

#define LIMIT_VM_CPUS 128
#define LIMIT_VM_MEMORY_MIN_BYTES (64 * MIB)
#define LIMIT_VM_MEMORY_MAX_BYTES (4 * TIB)
#define LIMIT_VM_DISK_MIN_BYTES (1 * MIB)
#define LIMIT_VM_DISK_MAX_BYTES (64 * TIB)
