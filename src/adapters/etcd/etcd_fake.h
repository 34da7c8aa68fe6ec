/* SPDX-License-Identifier: Apache-2.0
 * The store in memory: linearizable, with etcd's revisions, history and compaction, and with faults
 * on demand. For unit tests and the simulator. */
#pragma once

#include "adapters/etcd/store.h"

struct etcd_fake;

/** etcd_fake_new - an empty cluster of one member; freed after all its handles */
struct etcd_fake *etcd_fake_new(void);
void etcd_fake_free(struct etcd_fake *f);
DEFINE_FREEP(struct etcd_fake, etcd_fake_free)

/**
 * etcd_fake_open - a handle on the fake, as store_etcd_new() gives on etcd
 * @writer: legal name        @instance: text that is new for every handle
 */
struct store *etcd_fake_open(struct etcd_fake *f, const char *writer, const char *instance);

enum etcd_fake_fault {
    ETCD_FAKE_OK,
    ETCD_FAKE_REFUSE,      /* nothing was sent: no member reachable */
    ETCD_FAKE_LOSE_BEFORE, /* the request never arrives; the sender cannot know */
    ETCD_FAKE_LOSE_AFTER,  /* it is applied; the answer is lost */
    ETCD_FAKE_DELAY,       /* no answer; it arrives only with etcd_fake_deliver() */
};

/**
 * etcd_fake_plan - the fates of the next transactions, first to last; after them all is well
 * @n: at most 64
 */
void etcd_fake_plan(struct etcd_fake *f, const enum etcd_fake_fault *faults, size_t n);
/** etcd_fake_deliver - apply the delayed requests, in order. Return: how many had an effect */
size_t etcd_fake_deliver(struct etcd_fake *f);
