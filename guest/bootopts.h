/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's options, from the kernel command line; pure. The list for users is in docs/guest.md. */
#pragma once

#include "blockrec.h"

struct boot_options {
    char vm[VM_NAME_BYTES];        /* mortar.vm=NAME */
    uint64_t writes_per_s;         /* mortar.write=N, or BYTES with suffix K or M; 0 = off */
    uint64_t ring_blocks;          /* mortar.region=BLOCKS, for a disk never started */
    uint64_t depth;                /* mortar.depth=N writes in flight */
    uint64_t flush_every;          /* mortar.flush=N writes between two flushes */
    uint64_t tick_ms;              /* mortar.tick=MS between two wake-ups of the heartbeat */
    uint64_t emit_ms;              /* mortar.emit=MS between two lines on the channel; 0 = off */
    struct epoch_key key;          /* mortar.key=HEX, the same for each start */
    bool asks_key;                 /* mortar.key=ask: number and key of this start's epoch come by the channel */
    uint32_t address;              /* mortar.ip=ADDR/LEN, host byte order; 0 = none */
    uint32_t netmask;
    uint32_t gateway;              /* mortar.gw=ADDR */
};

/**
 * parse_u64 - a decimal number and nothing else
 * @s: text    @max: largest value accepted
 * @ret_value: set on success
 * Return: true on success
 */
bool parse_u64(const char *s, uint64_t max, uint64_t *ret_value);

/**
 * parse_write_rate - "20" (blocks per second) or "80K", "1M" (bytes per second)
 * @s: text
 * @ret_per_s: blocks per second, 0 … 10000
 * Return: true on success
 */
bool parse_write_rate(const char *s, uint64_t *ret_per_s);

/**
 * parse_key - an epoch's key in hex
 * @hex: even number of digits, 2 … 128    @epoch: the epoch it belongs to
 * @ret_key: set on success
 * Return: true on success
 */
bool parse_key(const char *hex, uint64_t epoch, struct epoch_key *ret_key);

/**
 * format_key_question - the line that asks for this start's epoch and its key
 * @boot_id: of this boot    @disk_epoch: newest epoch on the disk
 * @ret_line: set, with newline    @bytes: room in it, at least 80
 * Return: its length
 */
int format_key_question(const uint8_t boot_id[BOOT_ID_BYTES], uint64_t disk_epoch, char *ret_line, size_t bytes);

/**
 * parse_key_answer - "key boot=HEX epoch=N HEX"
 * @line: without newline
 * @boot_id, @disk_epoch: as in the question; another boot's answer, or an epoch that is not higher, is none
 * @ret_key: set on success
 * Return: true on success
 */
bool parse_key_answer(const char *line, const uint8_t boot_id[BOOT_ID_BYTES], uint64_t disk_epoch,
                      struct epoch_key *ret_key);

/**
 * parse_boot_options - defaults, overridden by what the command line says
 * @cmdline: contents of /proc/cmdline; words not ours are ignored
 * @ret_opts: always set
 * @ret_bad: first word of ours that was not understood (its option keeps the default), or ""
 * @bad_bytes: room in @ret_bad
 */
void parse_boot_options(const char *cmdline, struct boot_options *ret_opts, char *ret_bad,
                        size_t bad_bytes);
