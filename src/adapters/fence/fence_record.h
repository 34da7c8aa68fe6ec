/* SPDX-License-Identifier: Apache-2.0
 * Records of hosts cut off here, one file each below a directory: written and durable before
 * anything else is done to the host (facts/ha.md 3.4 a), so that a restart of this host goes on
 * where it was. mortar-guard reads the same through its configuration (A3). */
#pragma once

#include "adapters/fence/fence_record_parse.h"

#define FENCE_DIR "/var/lib/mortar/fence"
#define FENCE_RECORDS_MAX 1024 /* files looked at; a cluster has a few hosts */

struct fence_records {
    struct fence_record *v;
    size_t n;
};
void fence_records_done(struct fence_records *r);
#define _cleanup_fence_records_ _cleanup_(fence_records_done)

/**
 * fence_record_save - make @rec durable: file and directory are fsynced when it returns
 * @dir: FENCE_DIR; made when absent
 * Return: 0, or -ERR_IO: then nothing may be done on the ground of the record
 */
int fence_record_save(const char *dir, const struct fence_record *rec, struct err *e);

/**
 * fence_record_load_all - all records, ordered by host. No directory: none.
 * @ret: zero-initialised; fence_records_done() frees
 * Return: 0, -ERR_IO, -ERR_LIMIT, -ERR_PARSE or -ERR_INVALID. One bad file fails the whole, naming
 *         it: whom it means is unknown, so every host must stay out
 */
int fence_record_load_all(const char *dir, struct fence_records *ret, struct err *e);

/** fence_record_remove - forget @host, durably. Not there: success. Return: 0 or -ERR_IO */
int fence_record_remove(const char *dir, const char *host, struct err *e);
