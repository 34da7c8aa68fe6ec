/* SPDX-License-Identifier: Apache-2.0
 * Has anybody used this etcd? Debian's etcd-server starts a single member by itself, so a data
 * directory proves nothing, and its size neither (files are preallocated). The write-ahead log does:
 * an unused member has written one membership entry, its own name and the cluster version, and
 * nothing else. Pure. Format: etcd 3.4.23 wal/encoder.go, raftpb/raft.proto, etcdserverpb (read
 * 2026-11-22); compared with a log made by Debian's binary. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * etcd_wal_is_unused - does this log hold only what etcd writes by itself?
 * @data, @len: a whole .wal file. What is damaged or not understood counts as used.
 */
bool etcd_wal_is_unused(const unsigned char *data, size_t len);
