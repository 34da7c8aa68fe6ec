/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks outside, over the channel, for the number and the key of this start's epoch (docs/guest.md).
 *
 * Who answers gives each number once, so the guest of an epoch has never known the key of another one.
 */
#pragma once

#include "blockrec.h"

/**
 * keyask_wait - ask until there is an answer
 * @port: open non-blocking port
 * @boot_id: of this boot; an answer to another one does not count
 * @disk_epoch: newest epoch on the disk; the answer's must be higher
 * @ret_key: set
 */
void keyask_wait(int port, const uint8_t boot_id[BOOT_ID_BYTES], uint64_t disk_epoch, struct epoch_key *ret_key);
