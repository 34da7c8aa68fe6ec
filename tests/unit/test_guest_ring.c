/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, judge and options of the demo guest: a disk in memory, damaged in each way it must notice. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bootopts.h"
#include "ringcheck.h"

#define RING RING_BLOCKS_MIN
#define DISK_BLOCKS (RING_START_BLOCK + RING)

struct disk {
    uint8_t blocks[DISK_BLOCKS][BLOCK_BYTES];
    struct ring_super super;
    struct ring_report report;
    struct epoch_key key;
};

static int read_memory(void *ctx, uint64_t block, void *ret_block)
{
    struct disk *d = ctx;

    assert_true(block < DISK_BLOCKS);
    memcpy(ret_block, d->blocks[block], BLOCK_BYTES);
    return 0;
}

static void judge_expecting(struct disk *d, const struct ring_expect *expect)
{
    assert_int_equal(
        ring_check(&(struct ring_source){read_memory, d, DISK_BLOCKS}, expect, &d->report), 0);
}

static void judge(struct disk *d)
{
    judge_expecting(d, &(struct ring_expect){0});
}

static void assert_ok(struct disk *d)
{
    judge(d);
    if (d->report.violation_count > 0) {
        fail_msg("%s: %s", d->report.violations[0].kind, d->report.violations[0].text);
    }
}

static void assert_violation(struct disk *d, const char *kind)
{
    assert_true(d->report.violation_count > 0);
    assert_string_equal(d->report.violations[0].kind, kind);
}

static void put_super(struct disk *d)
{
    super_seal(&d->super, &d->key);
    memcpy(d->blocks[d->super.generation % SUPER_SLOTS], &d->super, BLOCK_BYTES);
}

static void flush(struct disk *d, uint64_t seq, bool clean)
{
    d->super.generation++;
    d->super.flushed_seq = seq;
    d->super.clean = clean;
    put_super(d);
}

static void put_record(struct disk *d, uint64_t seq, uint64_t epoch, uint64_t flushed)
{
    uint64_t block = RING_START_BLOCK + ring_slot(seq, RING);
    struct block_record r = {
        .epoch = epoch,
        .seq = seq,
        .block = block,
        .flushed_seq = flushed,
        .mono_ns = seq * 1000,
        .vm = "demo",
    };

    record_seal(&r, &d->key);
    memcpy(d->blocks[block], &r, BLOCK_BYTES);
}

static void put_records(struct disk *d, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        put_record(d, seq, d->super.epoch, d->super.flushed_seq);
    }
}

static void start_epoch(struct disk *d)
{
    assert_ok(d);
    plan_next_epoch(&d->report, 0, RING, 0, &d->super);
    (void)snprintf(d->super.vm, sizeof(d->super.vm), "demo");
    put_super(d);
}

static uint8_t *slot_of(struct disk *d, uint64_t seq)
{
    return d->blocks[RING_START_BLOCK + ring_slot(seq, RING)];
}

/** Started once, @last records written and flushed. */
static struct disk *disk_with(uint64_t last)
{
    struct disk *d = calloc(1, sizeof(*d));

    assert_non_null(d);
    super_format(&d->super);
    memcpy(d->blocks[d->super.generation % SUPER_SLOTS], &d->super, BLOCK_BYTES);
    start_epoch(d);
    for (uint64_t done = 0; done < last;) {
        uint64_t next = done + 16 < last ? done + 16 : last;

        put_records(d, done + 1, next);
        flush(d, next, false);
        done = next;
    }
    return d;
}

static void sha256_and_hmac_match_published_vectors(void **state)
{
    static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};     /* FIPS 180-4 example "abc" */
    static const uint8_t empty[4] = {0xe3, 0xb0, 0xc4, 0x42};
    static const uint8_t rfc4231_2[4] = {0x5b, 0xdc, 0xc1, 0x46};
    uint8_t digest[SHA256_BYTES];

    sha256_of("abc", 3, digest);
    assert_memory_equal(digest, abc, 4);
    sha256_of("", 0, digest);
    assert_memory_equal(digest, empty, 4);
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, digest);
    assert_memory_equal(digest, rfc4231_2, 4);
}

static void fresh_disk_and_each_length_of_ring_are_ok(void **state)
{
    static const uint64_t lengths[] = {0, 1, 17, RING - 1, RING, RING + 1, 3 * RING + 5};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct disk *d = disk_with(lengths[i]);

        assert_ok(d);
        assert_int_equal(d->report.last_seq, lengths[i]);
        assert_int_equal(d->report.checked_blocks, lengths[i] < RING ? lengths[i] : RING);
        free(d);
    }
}

static void flushed_block_is_missed_wherever_it_is_lost(void **state)
{
    struct disk *d = disk_with(RING + 40);

    for (uint64_t seq = 41; seq <= RING + 40; seq += 5) {
        uint8_t saved[BLOCK_BYTES];

        memcpy(saved, slot_of(d, seq), BLOCK_BYTES);
        memset(slot_of(d, seq), 0, BLOCK_BYTES);
        judge(d);
        assert_int_equal(d->report.violation_count, 1);
        assert_violation(d, "lost");
        memcpy(slot_of(d, seq), saved, BLOCK_BYTES);
    }
    assert_ok(d);
    free(d);
}

static void older_record_in_place_of_a_flushed_one_is_lost(void **state)
{
    struct disk *d = disk_with(RING + 40);

    put_record(d, 10, 1, 0); /* slot of RING + 10 */
    judge(d);
    assert_violation(d, "lost");
    free(d);
}

static void damaged_bit_is_torn(void **state)
{
    struct disk *d = disk_with(RING + 200);

    slot_of(d, RING + 100)[2000] ^= 1;
    judge(d);
    assert_violation(d, "torn");
    free(d);
}

static void swapped_blocks_are_misplaced(void **state)
{
    struct disk *d = disk_with(100);
    uint8_t saved[BLOCK_BYTES];

    memcpy(saved, slot_of(d, 20), BLOCK_BYTES);
    memcpy(slot_of(d, 20), slot_of(d, 21), BLOCK_BYTES);
    memcpy(slot_of(d, 21), saved, BLOCK_BYTES);
    judge(d);
    assert_violation(d, "misplaced");
    assert_true(d->report.violation_count >= 2);
    free(d);
}

static void clock_that_runs_against_the_numbers_is_reordered(void **state)
{
    struct disk *d = disk_with(100);
    struct block_record *r = (struct block_record *)slot_of(d, 50);

    r->mono_ns = 1;
    record_seal(r, NULL);
    judge(d);
    assert_violation(d, "reordered");
    free(d);
}

static void unflushed_writes_may_be_lost_and_then_stay_excused(void **state)
{
    struct disk *d = disk_with(100);

    put_record(d, 102, 1, 100);
    put_record(d, 105, 1, 100);
    memset(slot_of(d, 106), 0x5a, BLOCK_BYTES); /* torn in flight */
    start_epoch(d);
    assert_int_equal(d->super.epochs[1].first_seq, 106);
    assert_int_equal(d->super.epochs[1].seen_mask, 1 << 1 | 1 << 4);
    put_records(d, 106, 200);
    flush(d, 200, true);
    assert_ok(d);
    memset(slot_of(d, 102), 0, BLOCK_BYTES); /* it was seen once: it has to stay */
    judge(d);
    assert_violation(d, "lost");
    free(d);
}

static void write_of_an_old_epoch_is_stale(void **state)
{
    struct disk *d = disk_with(100);

    start_epoch(d);
    put_records(d, 101, 140);
    flush(d, 140, false);
    assert_ok(d);
    put_record(d, 120, 1, 100); /* the first instance writes on, with the same number */
    judge(d);
    assert_violation(d, "stale-epoch");
    free(d);
}

static void superblock_of_an_old_epoch_written_later_is_stale(void **state)
{
    struct disk *d = disk_with(100);
    struct ring_super old = d->super;

    start_epoch(d);
    flush(d, 100, false);
    old.generation = d->super.generation + 1;
    super_seal(&old, NULL);
    memcpy(d->blocks[old.generation % SUPER_SLOTS], &old, BLOCK_BYTES);
    judge(d);
    assert_violation(d, "stale-epoch");
    free(d);
}

static void disk_thrown_back_in_time_is_noticed(void **state)
{
    struct disk *d = disk_with(100);
    uint8_t supers[SUPER_SLOTS][BLOCK_BYTES];

    memcpy(supers, d->blocks, sizeof(supers));
    start_epoch(d);
    flush(d, 100, false);
    put_records(d, 101, 110);
    memcpy(d->blocks, supers, sizeof(supers));
    judge(d);
    assert_violation(d, "rolled-back");
    judge_expecting(d, &(struct ring_expect){.flushed_seq = 120, .epoch = 2});
    assert_int_equal(d->report.violation_count, 10 + 2);
    free(d);
}

static void record_beyond_the_window_is_impossible(void **state)
{
    struct disk *d = disk_with(100);

    put_record(d, 100 + WRITE_WINDOW, 1, 100);
    assert_ok(d);
    put_record(d, 100 + WRITE_WINDOW + 1, 1, 100);
    judge(d);
    assert_violation(d, "impossible");
    free(d);
}

static void wrong_key_is_forged_and_other_vm_is_foreign(void **state)
{
    struct disk *d = disk_with(0);
    struct epoch_key other = {0};

    assert_true(parse_key("00ff", 1, &d->key));
    assert_true(parse_key("00fe", 1, &other));
    flush(d, 0, false);
    put_records(d, 1, 20);
    flush(d, 20, true);
    judge_expecting(d, &(struct ring_expect){.keys = &d->key, .key_count = 1, .vm = "demo"});
    assert_int_equal(d->report.violation_count, 0);
    judge_expecting(d, &(struct ring_expect){.keys = &other, .key_count = 1});
    assert_violation(d, "forged");
    judge_expecting(d, &(struct ring_expect){.vm = "other"});
    assert_violation(d, "foreign");
    free(d);
}

/** Two starts with keys of their own: 1 to 20 of epoch 1, 21 to 40 of epoch 2. */
static struct disk *disk_of_two_keys(struct epoch_key keys[2])
{
    struct disk *d = disk_with(0);

    assert_true(parse_key("00ff", 1, &keys[0]));
    assert_true(parse_key("00fe", 2, &keys[1]));
    d->key = keys[0];
    put_records(d, 1, 20);
    flush(d, 20, true);
    d->key = keys[1];
    start_epoch(d);
    put_records(d, 21, 40);
    flush(d, 40, false);
    flush(d, 40, true);
    return d;
}

static void block_tagged_with_the_key_of_another_epoch_is_its_own_violation(void **state)
{
    struct epoch_key keys[2] = {0};
    struct disk *d = disk_of_two_keys(keys);
    const struct ring_expect expect = {.keys = keys, .key_count = 2};
    struct ring_super good;

    judge_expecting(d, &expect);
    assert_int_equal(d->report.violation_count, 0);
    d->key = keys[0]; /* the guest of epoch 1 writes as if it were that of epoch 2, in all else right */
    put_record(d, 30, 2, 20);
    judge_expecting(d, &expect);
    assert_int_equal(d->report.violation_count, 1 + 1); /* the flushed record is gone, too */
    assert_violation(d, "other-key");
    assert_non_null(strstr(d->report.violations[0].text, "seq 30 of epoch 2 has a tag made with the key of epoch 1"));
    judge(d); /* who knows no key sees nothing */
    assert_int_equal(d->report.violation_count, 0);
    d->key = keys[1];
    put_record(d, 30, 2, 20);
    good = d->super;
    d->key = keys[0];
    flush(d, 40, true);
    judge_expecting(d, &expect);
    assert_violation(d, "other-key");
    assert_non_null(strstr(d->report.violations[0].text, "superblock"));
    d->key = keys[1];
    d->super = good;
    flush(d, 40, true);
    judge_expecting(d, &expect);
    assert_int_equal(d->report.violation_count, 0);
    free(d);
}

static void block_of_an_epoch_without_a_known_key_is_judged_by_the_keys_of_others(void **state)
{
    struct epoch_key keys[2] = {0};
    struct disk *d = disk_of_two_keys(keys);

    judge_expecting(d, &(struct ring_expect){.keys = keys, .key_count = 1});
    assert_int_equal(d->report.violation_count, 0);
    d->key = keys[0];
    put_record(d, 30, 2, 20);
    judge_expecting(d, &(struct ring_expect){.keys = keys, .key_count = 1});
    assert_violation(d, "other-key");
    free(d);
}

static void many_epochs_keep_the_last_ones(void **state)
{
    struct disk *d = disk_with(10);

    for (uint64_t i = 0; i < 2 * EPOCH_HISTORY; i++) {
        uint64_t next = 0;

        start_epoch(d);
        next = d->super.flushed_seq + 1;
        put_record(d, next, d->super.epoch, next - 1);
        put_record(d, next + 2, d->super.epoch, next - 1);
    }
    assert_ok(d);
    assert_int_equal(d->report.super.epochs_used, EPOCH_HISTORY);
    free(d);
}

static void disk_without_header_is_refused(void **state)
{
    struct disk *d = calloc(1, sizeof(*d));

    assert_non_null(d);
    assert_int_equal(ring_check(&(struct ring_source){read_memory, d, DISK_BLOCKS},
                                &(struct ring_expect){0}, &d->report), -EMEDIUMTYPE);
    free(d);
}

static void hostile_superblock_is_not_believed(void **state)
{
    struct disk *d = disk_with(20);

    d->super.ring_blocks = UINT64_MAX;
    super_seal(&d->super, NULL);
    assert_int_equal(super_state(&d->super), BLOCK_BROKEN);
    d->super.ring_blocks = RING;
    d->super.epochs_used = EPOCH_HISTORY + 1;
    super_seal(&d->super, NULL);
    assert_int_equal(super_state(&d->super), BLOCK_BROKEN);
    d->super.epochs_used = 1;
    d->super.flushed_seq = UINT64_MAX;
    super_seal(&d->super, NULL);
    assert_int_equal(super_state(&d->super), BLOCK_BROKEN);
    free(d);
}

static void epoch_gets_the_number_it_is_given(void **state)
{
    struct disk *d = disk_with(10);

    assert_ok(d);
    plan_next_epoch(&d->report, 7, RING, 0, &d->super);
    assert_int_equal(d->super.epoch, 7);
    assert_int_equal(d->super.epochs[1].epoch, 7);
    (void)snprintf(d->super.vm, sizeof(d->super.vm), "demo");
    put_super(d);
    put_records(d, 11, 20);
    flush(d, 20, true);
    assert_ok(d);
    free(d);
}

static void only_the_answer_to_this_boot_with_a_newer_epoch_is_a_key(void **state)
{
    static const char *const refused[] = {
        "key boot=000102030405060708090a0b0c0d0e0f epoch=4 0aff", /* the disk has it already */
        "key boot=000102030405060708090a0b0c0d0e0f epoch=3 0aff",
        "key boot=000102030405060708090a0b0c0d0e00 epoch=5 0aff", /* another boot's */
        "key boot=000102030405060708090a0b0c0d0e0f epoch=5 0af",
        "key boot=000102030405060708090a0b0c0d0e0f epoch=5 ",
        "key boot=000102030405060708090a0b0c0d0e0f epoch=5",
        "key boot=000102030405060708090a0b0c0d0e0f epoch= 0aff",
        "key boot=000102030405060708090a0b0c0d0e0f epoch=55555555555555555555555555 0aff",
        "key? boot=000102030405060708090a0b0c0d0e0f epoch=5 0aff",
        "",
    };
    uint8_t boot_id[BOOT_ID_BYTES];
    struct epoch_key key = {0};
    char line[128];

    for (uint8_t i = 0; i < BOOT_ID_BYTES; i++) {
        boot_id[i] = i;
    }
    int length = format_key_question(boot_id, 4, line, sizeof(line));
    assert_int_equal(length, strlen(line));
    assert_string_equal(line, "key? boot=000102030405060708090a0b0c0d0e0f epoch=4\n");
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_false(parse_key_answer(refused[i], boot_id, 4, &key));
    }
    assert_int_equal(key.bytes, 0);
    assert_true(parse_key_answer("key boot=000102030405060708090a0b0c0d0e0f epoch=6 0aff", boot_id, 4, &key));
    assert_int_equal(key.epoch, 6);
    assert_int_equal(key.bytes, 2);
    assert_int_equal(key.data[0], 0x0a);
}

static void options_are_read_and_bad_ones_named(void **state)
{
    struct boot_options o;
    char bad[64];

    parse_boot_options("quiet mortar.vm=db1 mortar.write=80K mortar.region=512 mortar.depth=2 mortar.tick=50 "
                       "mortar.ip=10.1.2.3/20 mortar.gw=10.1.2.1 mortar.key=0aff\n",
                       &o, bad, sizeof(bad));
    assert_string_equal(bad, "");
    assert_string_equal(o.vm, "db1");
    assert_int_equal(o.writes_per_s, 20);
    assert_int_equal(o.ring_blocks, 512);
    assert_int_equal(o.depth, 2);
    assert_int_equal(o.tick_ms, 50);
    assert_int_equal(o.address, 0x0a010203);
    assert_int_equal(o.netmask, 0xfffff000);
    assert_int_equal(o.gateway, 0x0a010201);
    assert_int_equal(o.key.bytes, 2);
    assert_int_equal(o.key.data[1], 0xff);
    assert_false(o.asks_key);
    parse_boot_options("mortar.key=ask", &o, bad, sizeof(bad));
    assert_true(o.asks_key && o.key.bytes == 0 && bad[0] == 0);
    parse_boot_options("mortar.write=0 mortar.region=7 mortar.depht=3", &o, bad, sizeof(bad));
    assert_string_equal(bad, "mortar.region=7");
    assert_int_equal(o.writes_per_s, 0);
    assert_int_equal(o.ring_blocks, RING_BLOCKS_DEFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_and_hmac_match_published_vectors),
        cmocka_unit_test(fresh_disk_and_each_length_of_ring_are_ok),
        cmocka_unit_test(flushed_block_is_missed_wherever_it_is_lost),
        cmocka_unit_test(older_record_in_place_of_a_flushed_one_is_lost),
        cmocka_unit_test(damaged_bit_is_torn),
        cmocka_unit_test(swapped_blocks_are_misplaced),
        cmocka_unit_test(clock_that_runs_against_the_numbers_is_reordered),
        cmocka_unit_test(unflushed_writes_may_be_lost_and_then_stay_excused),
        cmocka_unit_test(write_of_an_old_epoch_is_stale),
        cmocka_unit_test(superblock_of_an_old_epoch_written_later_is_stale),
        cmocka_unit_test(disk_thrown_back_in_time_is_noticed),
        cmocka_unit_test(record_beyond_the_window_is_impossible),
        cmocka_unit_test(wrong_key_is_forged_and_other_vm_is_foreign),
        cmocka_unit_test(block_tagged_with_the_key_of_another_epoch_is_its_own_violation),
        cmocka_unit_test(block_of_an_epoch_without_a_known_key_is_judged_by_the_keys_of_others),
        cmocka_unit_test(many_epochs_keep_the_last_ones),
        cmocka_unit_test(disk_without_header_is_refused),
        cmocka_unit_test(hostile_superblock_is_not_believed),
        cmocka_unit_test(epoch_gets_the_number_it_is_given),
        cmocka_unit_test(only_the_answer_to_this_boot_with_a_newer_epoch_is_a_key),
        cmocka_unit_test(options_are_read_and_bad_ones_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
