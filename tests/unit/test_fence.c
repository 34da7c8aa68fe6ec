/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/fence/fence_dump_parse.h"
#include "adapters/fence/fence_index.h"
#include "adapters/fence/fence_launder.h"
#include "adapters/fence/fence_pieces.h"
#include "adapters/fence/fence_spare.h"
#include "adapters/fence/fence_record.h"
#include "adapters/fence/fence_table_parse.h"
#include "adapters/fence/fence_watch_parse.h"
#include "io/file.h"

#include "golden.h"

/* ---- records ---- */

static void record_survives_the_way_to_disk_and_back(void **state)
{
    char dir[] = "/tmp/mortar-fence-XXXXXX";
    _cleanup_fence_records_ struct fence_records all = {0};
    _cleanup_fence_record_ struct fence_record rec = {.host = str_dup("host2"), .inc = 7};
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *sub = str_printf("%s/fence", dir);
    assert_int_equal(fence_record_load_all(sub, &all, NULL), 0); /* no directory: none */
    assert_int_equal(all.n, 0);
    strv_add(&rec.addrs, "10.0.0.2");
    strv_add(&rec.addrs, "fd00::2");
    assert_int_equal(fence_record_save(sub, &rec, NULL), 0);
    rec.phase = FENCE_PHASE_DRAINED;
    assert_int_equal(fence_record_save(sub, &rec, NULL), 0);
    _cleanup_free_ char *boot = str_printf("%s/boot.nft", sub);
    assert_int_equal(file_replace(boot, "", 0, 0600, NULL), 0);
    assert_int_equal(fence_record_load_all(sub, &all, NULL), 0);
    assert_int_equal(all.n, 1);
    assert_string_equal(all.v[0].host, "host2");
    assert_int_equal(all.v[0].inc, 7);
    assert_int_equal(all.v[0].phase, FENCE_PHASE_DRAINED);
    assert_string_equal(all.v[0].addrs.v[1], "fd00::2");
    assert_int_equal(fence_record_remove(sub, "host2", NULL), 0);
    assert_int_equal(fence_record_remove(sub, "host2", NULL), 0);
    fence_records_done(&all);
    assert_int_equal(fence_record_load_all(sub, &all, NULL), 0);
    assert_int_equal(all.n, 0);
    assert_int_equal(unlink(boot), 0);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void one_bad_record_fails_the_whole(void **state)
{
    char dir[] = "/tmp/mortar-fence-XXXXXX";
    struct fence_records all = {0};
    struct err e = {0};
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *path = str_printf("%s/host3", dir);
    static const char *const wrong[] = {
        "", "{", "{\"host\":\"host4\",\"inc\":1,\"addrs\":[\"10.0.0.3\"],\"phase\":\"cut\"}"};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        e = (struct err){0};
        assert_int_equal(file_replace(path, wrong[i], strlen(wrong[i]), 0600, NULL), 0);
        assert_true(fence_record_load_all(dir, &all, &e) < 0);
        assert_non_null(strstr(e.msg, path));
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void record_that_could_be_misread_is_refused(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "{\"inc\":1,\"addrs\":[\"10.0.0.3\"],\"phase\":\"cut\"}",
        "{\"host\":\"a/b\",\"inc\":1,\"addrs\":[\"10.0.0.3\"],\"phase\":\"cut\"}",
        "{\"host\":\"h\",\"inc\":-1,\"addrs\":[\"10.0.0.3\"],\"phase\":\"cut\"}",
        "{\"host\":\"h\",\"inc\":1,\"addrs\":[],\"phase\":\"cut\"}",
        "{\"host\":\"h\",\"inc\":1,\"addrs\":[\"10.0.0.0/8\"],\"phase\":\"cut\"}",
        "{\"host\":\"h\",\"inc\":1,\"addrs\":[1],\"phase\":\"cut\"}",
        "{\"host\":\"h\",\"inc\":1,\"addrs\":[\"10.0.0.3\"],\"phase\":\"done\"}",
    };
    struct fence_record rec = {0};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        assert_true(parse_fence_record(wrong[i], strlen(wrong[i]), &rec, NULL) < 0);
    }
}

static void address_has_one_spelling_and_is_a_host(void **state)
{
    static const char *const nobody[] = {"", "x", "0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "::",
                                         "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1", "10.0.0.1 ",
                                         "10.0.0.1/24", "10.0.0.1 }", "255.255.255.255"};
    _cleanup_free_ char *addr = NULL;
    bool is_v6 = false;
    assert_int_equal(fence_addr_parse("FD00:0:0::1", &addr, &is_v6, NULL), 0);
    assert_string_equal(addr, "fd00::1");
    assert_true(is_v6);
    for (size_t i = 0; i < ELEMENTS(nobody); i++) {
        char *none = NULL;
        assert_int_equal(fence_addr_parse(nobody[i], &none, NULL, NULL), -ERR_INVALID);
    }
}

/* ---- table ---- */

static void fill_table(struct fence_table *t, const char *open, bool single)
{
    strv_split(&t->cluster, "10.99.7.3 10.99.7.1 10.99.7.2 FD00:7::1 10.99.7.1", " ");
    strv_split(&t->own, "10.99.7.2 192.168.1.1", " ");
    strv_split(&t->open, open, " ");
    t->single_network = single;
}

static void check_ruleset(const char *golden, const char *open, bool single)
{
    _cleanup_fence_table_ struct fence_table t = {0};
    _cleanup_fence_sets_ struct fence_sets s = {0};
    fill_table(&t, open, single);
    assert_int_equal(fence_sets_of(&t, &s, NULL), 0);
    _cleanup_free_ char *text = format_fence_ruleset(&s, single);
    golden_check(golden, text);
}

static void ruleset_is_the_recorded_one(void **state)
{
    check_ruleset("fence/ruleset-split.nft", "10.99.7.1 fd00:7::1 10.99.7.99", false);
    check_ruleset("fence/ruleset-single.nft", "10.99.7.3", true);
    check_ruleset("fence/ruleset-closed.nft", "", false);
}

static void what_nft_says_is_compared_exactly(void **state)
{
    _cleanup_free_ char *text = golden_read("fence/nft-single.json");
    _cleanup_fence_sets_ struct fence_sets seen = {0};
    _cleanup_fence_sets_ struct fence_sets want = {0};
    _cleanup_fence_sets_ struct fence_sets other = {0};
    _cleanup_fence_table_ struct fence_table t = {0};
    _cleanup_fence_table_ struct fence_table closed = {0};
    struct err e = {0};
    fill_table(&t, "10.99.7.1 10.99.7.3", true);
    fill_table(&closed, "10.99.7.1", true);
    assert_int_equal(parse_fence_table(text, strlen(text), &seen, NULL), 0);
    assert_int_equal(fence_sets_of(&t, &want, NULL), 0);
    assert_int_equal(fence_sets_compare(&want, &seen, &e), 0);
    assert_int_equal(fence_sets_of(&closed, &other, NULL), 0);
    assert_int_equal(fence_sets_compare(&other, &seen, &e), -ERR_STATE);
    assert_non_null(strstr(e.msg, "10.99.7.3"));
    assert_int_equal(fence_sets_compare(&seen, &other, NULL), -ERR_STATE);
    strv_add(&seen.marks, "input#3 (without comment)"); /* a rule that somebody added */
    assert_int_equal(fence_sets_compare(&want, &seen, NULL), -ERR_STATE);
}

static void table_of_another_form_differs(void **state)
{
    _cleanup_free_ char *text = golden_read("fence/nft-split.json");
    _cleanup_fence_sets_ struct fence_sets seen = {0};
    _cleanup_fence_sets_ struct fence_sets want = {0};
    _cleanup_fence_table_ struct fence_table t = {.single_network = true};
    strv_split(&t.cluster, "10.99.7.1 10.99.7.3", " ");
    strv_split(&t.open, "10.99.7.1 10.99.7.3", " ");
    assert_int_equal(parse_fence_table(text, strlen(text), &seen, NULL), 0);
    assert_int_equal(fence_sets_of(&t, &want, NULL), 0);
    assert_int_equal(fence_sets_compare(&want, &seen, NULL), -ERR_STATE);
    fence_sets_done(&want);
    want = (struct fence_sets){0};
    t.single_network = false;
    assert_int_equal(fence_sets_of(&t, &want, NULL), 0);
    assert_int_equal(fence_sets_compare(&want, &seen, NULL), 0);
}

static void strange_words_of_nft_are_refused(void **state)
{
    static const char *const wrong[] = {
        "", "{}", "{\"nftables\":{}}", "{\"nftables\":[1]}", "{\"nftables\":[{\"map\":{}}]}",
        "{\"nftables\":[{\"set\":{\"name\":\"more\",\"type\":\"ipv4_addr\"}}]}",
        "{\"nftables\":[{\"set\":{\"name\":\"open4\",\"type\":\"ipv6_addr\"}}]}",
        "{\"nftables\":[{\"set\":{\"name\":\"open4\",\"type\":\"ipv4_addr\",\"elem\":[{\"prefix\":1}]}}]}",
        "{\"nftables\":[{\"rule\":{}}]}", "{\"nftables\":[{\"chain\":{\"name\":\"x\",\"hook\":\"input\"}}]}"};
    struct fence_sets seen = {0};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        assert_true(parse_fence_table(wrong[i], strlen(wrong[i]), &seen, NULL) < 0);
    }
}

static void filter_names_both_directions_and_spares_services(void **state)
{
    struct strv addrs = {.v = (char *[]){(char *)"10.0.0.1", (char *)"fd00::1", NULL}, .n = 2};
    _cleanup_free_ char *split = format_fence_filter(&addrs, false);
    _cleanup_free_ char *single = format_fence_filter(&addrs, true);
    _cleanup_free_ char *closing = format_fence_closing(&addrs);
    assert_string_equal(split, "( dst 10.0.0.1 or src 10.0.0.1 or dst [fd00::1] or src [fd00::1] )");
    assert_non_null(strstr(single, "and not ( sport = :22 or sport = :2379 or dport = :2379"));
    assert_null(strstr(single, "dport = :22 "));
    assert_string_equal(closing, "add element inet mortar_fence open4 { 10.0.0.1 }\n"
                                 "delete element inet mortar_fence open4 { 10.0.0.1 }\n"
                                 "add element inet mortar_fence open6 { fd00::1 }\n"
                                 "delete element inet mortar_fence open6 { fd00::1 }\n");
}

static void only_sockets_that_are_over_do_not_count(void **state)
{
    _cleanup_free_ char *first = NULL;
    _cleanup_free_ char *real = golden_read("fence/sockets.txt");
    assert_int_equal(count_fence_sockets(real, NULL), 3);
    assert_int_equal(count_fence_sockets("", NULL), 0);
    assert_int_equal(count_fence_sockets("TIME-WAIT 0      0      10.99.7.2:49126 10.99.7.1:24007\n", NULL), 0);
    assert_int_equal(count_fence_sockets("TIME-WAIT 0 0 10.99.7.2:1 10.99.7.1:2\n"
                                         "SYN-SENT  0      1      10.99.7.1:49146 10.99.7.2:24007 \n"
                                         "something else\n", &first), 2);
    assert_string_equal(first, "SYN-SENT 10.99.7.1:49146 10.99.7.2:24007");
}

/* ---- drain ---- */

static void parse_dump(const char *name, struct fence_dump *ret)
{
    _cleanup_free_ char *text = golden_read(name);
    assert_int_equal(parse_fence_dump(text, strlen(text), ret, NULL), 0);
}

static void idle_brick_is_proven_at_once(void **state)
{
    _cleanup_fence_dump_ struct fence_dump d = {0};
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    _cleanup_fence_drain_state_ struct fence_drain_state with = {0};
    parse_dump("fence/statedump-idle.txt", &d);
    assert_true(d.has_ops);
    assert_int_equal(d.n_ops, 0);
    assert_int_equal(d.conns.n, 4);
    fence_drain_step(&s, &d, "g4");
    assert_true(s.is_proven);
    fence_drain_step(&with, &d, "g1");
    assert_false(with.is_proven);
    assert_int_equal(with.conns, 1);
}

static void waiting_write_of_a_real_dump_is_seen(void **state)
{
    _cleanup_fence_dump_ struct fence_dump busy = {0};
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    parse_dump("fence/statedump-write.txt", &busy);
    assert_int_equal(busy.n_ops, 1);
    assert_string_equal(busy.ops[0].name, "WRITE");
    fence_drain_step(&s, &busy, "g1");
    assert_false(s.is_proven);
    assert_int_equal(s.left, 1);
    assert_int_equal(s.conns, 1);
    assert_int_equal(strncmp(s.examples, "WRITE, CTX_ID:", 14), 0);
}

#define HEAD "[global.callpool]\ncallpool.cnt=1\n\n"
#define STACK(n, unique, op) \
    "[global.callpool.stack." n "]\nstack=0x1\nunique=" unique "\nop=" op "\ntype=1\n\n" \
    "[global.callpool.stack." n ".frame.1]\nframe=0x2\nop=READ\n\n"
#define CONN(n, host) "conn." n ".id=CTX_ID:f4-GRAPH_ID:0-PID:79-HOST:" host "-PC_NAME:vms-client-0-RECON_NO:-0\n"
#define TAIL "\nDUMP-END-TIME: 2026-11-27 09:05:06.991013 +0000"

static void step(struct fence_drain_state *s, const char *text, const char *host)
{
    _cleanup_fence_dump_ struct fence_dump d = {0};
    assert_int_equal(parse_fence_dump(text, strlen(text), &d, NULL), 0);
    fence_drain_step(s, &d, host);
}

static void later_operations_are_not_waited_for(void **state)
{
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    step(&s, HEAD STACK("1", "7", "WRITE") STACK("2", "5", "FXATTROP") STACK("3", "6", "LOOKUP") TAIL, NULL);
    assert_int_equal(s.n_waits, 2);
    step(&s, HEAD STACK("1", "9", "WRITE") STACK("2", "7", "WRITE") TAIL, NULL);
    assert_false(s.is_proven);
    assert_int_equal(s.left, 1);
    step(&s, HEAD STACK("1", "9", "WRITE") STACK("2", "6", "LOOKUP") TAIL, NULL);
    assert_true(s.is_proven);
}

static void what_is_not_known_to_be_harmless_is_waited_for(void **state)
{
    static const char *const texts[] = {
        HEAD STACK("1", "1", "COPY_FILE_RANGE") TAIL, HEAD STACK("1", "1", "OPEN") TAIL,
        HEAD STACK("1", "1", "A_NAME_OF_A_LATER_VERSION_THAT_IS_LONG") TAIL};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
        step(&s, texts[i], NULL);
        assert_false(s.is_proven);
    }
}

static void locked_list_proves_nothing(void **state)
{
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    step(&s, "[global.callpool]\nUnable to dump the callpool=(Lock acquisition failed) 0x1\n" TAIL, NULL);
    assert_false(s.is_proven || s.has_first);
    step(&s, "[dict]\n" TAIL, NULL); /* not in it at all */
    assert_false(s.is_proven || s.has_first);
    step(&s, HEAD TAIL, "g1"); /* no list of connections */
    assert_false(s.is_proven || s.has_first);
    step(&s, HEAD CONN("1", "g2") TAIL, "g1");
    assert_true(s.is_proven);
}

static void connection_of_the_host_keeps_the_proof_back(void **state)
{
    _cleanup_fence_drain_state_ struct fence_drain_state s = {0};
    step(&s, HEAD CONN("1", "g2") CONN("2", "g1") TAIL, "g1");
    assert_false(s.is_proven);
    assert_int_equal(s.conns, 1);
    step(&s, HEAD CONN("1", "g2") CONN("2", "g11") CONN("3", "x.g1") TAIL, "g1");
    assert_true(s.is_proven);
    assert_true(fence_conn_is_of("CTX_ID:1-HOST:g1.lan-PC_NAME:v-client-0", "g1"));
    assert_false(fence_conn_is_of("CTX_ID:1-HOST:g1-x-PC_NAME:v-client-0", "g1"));
    assert_false(fence_conn_is_of("CTX_ID:1", "g1"));
}

static void broken_dump_is_refused(void **state)
{
    static const char *const wrong[] = {
        "", HEAD, HEAD "[global.callpool.stack.1]\nunique=1\n" TAIL,
        HEAD "[global.callpool.stack.1]\nop=WRITE\n" TAIL, HEAD "[global.callpool.stack.1]\nunique=x\nop=WRITE\n" TAIL};
    struct fence_dump d = {0};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        assert_int_equal(parse_fence_dump(wrong[i], strlen(wrong[i]), &d, NULL), -ERR_PARSE);
    }
}

static void brick_is_known_by_its_command_line(void **state)
{
    static const char line[] = "/usr/sbin/glusterfsd\0-s\0" "10.99.7.1\0--volfile-id\0vms.10.99.7.1.srv-vms\0"
                               "--brick-name\0/srv/vms\0";
    assert_true(fence_cmdline_is_brick(line, sizeof(line) - 1, "vms", "/srv/vms"));
    assert_false(fence_cmdline_is_brick(line, sizeof(line) - 1, "vm", "/srv/vms"));
    assert_false(fence_cmdline_is_brick(line, sizeof(line) - 1, "vms", "/srv/vm"));
    assert_false(fence_cmdline_is_brick("x\0--brick-name\0/srv/vms\0--volfile-id\0vms.x", 44, "vms", "/srv/vms"));
    assert_false(fence_cmdline_is_brick("", 0, "vms", "/srv/vms"));
}

static void signal_is_taken_only_when_somebody_waits_for_it(void **state)
{
    const char *text = "Name:\tglusterfsd\nSigBlk:\t0000000000000200\nSigIgn:\t0000000000001000\n";
    assert_true(fence_status_takes(text, SIGUSR1));
    assert_true(fence_status_takes(text, SIGPIPE));
    assert_false(fence_status_takes(text, SIGUSR2));
    assert_false(fence_status_takes("", SIGUSR1));
}

/* ---- index ---- */

#define BASE "c8c2e0ab-787f-4622-a0c0-7f4c6ed15c2d"

static void shard_names_are_exact(void **state)
{
    char base[FENCE_GFID_LEN + 1] = "";
    uint64_t shard = 0;
    assert_true(parse_fence_shard_name(BASE ".12", base, &shard));
    assert_string_equal(base, BASE);
    assert_int_equal(shard, 12);
    static const char *const wrong[] = {"", BASE, BASE ".", BASE ".0", BASE ".1x", BASE ".-1", "x" BASE ".1",
                                        "C8c2e0ab-787f-4622-a0c0-7f4c6ed15c2d.1"};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        assert_false(parse_fence_shard_name(wrong[i], base, &shard));
    }
}

static void path_attribute_tells_shards_from_files(void **state)
{
    struct fence_entry shard = {.base_gfid = "x"};
    struct fence_entry file = {.base_gfid = "x"};
    const char *value = FENCE_SHARD_DIR_GFID "/" BASE ".2";
    assert_int_equal(parse_fence_gfid2path(value, strlen(value), &shard, NULL), 0);
    assert_string_equal(shard.base_gfid, BASE);
    assert_int_equal(shard.shard, 2);
    value = "00000000-0000-0000-0000-000000000001/" BASE ".2"; /* a file may be called so */
    assert_int_equal(parse_fence_gfid2path(value, strlen(value), &file, NULL), 0);
    assert_string_equal(file.base_gfid, "x");
    value = FENCE_SHARD_DIR_GFID "/.remove_me";
    assert_int_equal(parse_fence_gfid2path(value, strlen(value), &file, NULL), -ERR_PARSE);
    assert_int_equal(parse_fence_gfid2path("x", 1, &file, NULL), -ERR_PARSE);
}

static void blame_is_a_counter_that_is_not_zero(void **state)
{
    static const char none[12] = {0};
    static const char data[12] = {0, 0, 0, 1};
    struct fence_entry entry = {0};
    assert_int_equal(parse_fence_blame("trusted.afr.dirty", data, 12, &entry, NULL), 0);
    assert_int_equal(parse_fence_blame("trusted.afr.a-client-9-client-1", none, 12, &entry, NULL), 0);
    assert_int_equal(entry.blames, 0);
    assert_int_equal(parse_fence_blame("trusted.afr.a-client-9-client-1", data, 12, &entry, NULL), 0);
    assert_int_equal(entry.blames, 2);
    assert_int_equal(parse_fence_blame("trusted.afr.v-client-1", data, 11, &entry, NULL), -ERR_PARSE);
    assert_int_equal(parse_fence_blame("trusted.afr.v-client-32", data, 12, &entry, NULL), -ERR_PARSE);
}

static void index_without_attributes_is_resolved_by_names(void **state)
{
    char brick[] = "/tmp/mortar-brick-XXXXXX";
    _cleanup_fence_index_ struct fence_index index = {0};
    assert_non_null(mkdtemp(brick));
    assert_int_equal(fence_index_list(brick, 10, &index, NULL), -ERR_NOT_FOUND);
    _cleanup_free_ char *script = str_printf(
        "%s/.glusterfs/6f/93 %s/.glusterfs/indices/dirty %s/.glusterfs/indices/xattrop %s/.shard", brick, brick,
        brick, brick);
    _cleanup_strv_ struct strv dirs = {0};
    strv_split(&dirs, script, " ");
    for (size_t i = 0; i < dirs.n; i++) {
        assert_int_equal(file_mkdirs(dirs.v[i], 0755, NULL), 0);
    }
    static const char *const gfid = "6f938e1a-8e26-407b-8982-0bef64a2329c";
    _cleanup_free_ char *file = str_printf("%s/.glusterfs/6f/93/%s", brick, gfid);
    _cleanup_free_ char *name = str_printf("%s/.shard/" BASE ".4", brick);
    _cleanup_free_ char *dirty = str_printf("%s/%s", dirs.v[1], gfid);
    _cleanup_free_ char *blamed = str_printf("%s/%s", dirs.v[2], gfid);
    _cleanup_free_ char *gone = str_printf("%s/" BASE, dirs.v[2]);
    _cleanup_free_ char *base = str_printf("%s/dirty-" BASE, dirs.v[1]);
    assert_int_equal(file_replace(file, "x", 1, 0644, NULL), 0);
    assert_int_equal(link(file, name), 0);
    assert_int_equal(link(file, dirty), 0);
    assert_int_equal(link(file, blamed), 0);
    assert_int_equal(link(file, gone), 0);
    assert_int_equal(link(file, base), 0);
    assert_int_equal(fence_index_list(brick, 10, &index, NULL), 0);
    _cleanup_free_ char *text = format_fence_index(&index);
    assert_string_equal(
        text, "{\"entries\":[{\"base_gfid\":\"" BASE "\",\"blamed\":true,\"blames\":[],\"dirty\":true,"
              "\"gfid\":\"6f938e1a-8e26-407b-8982-0bef64a2329c\",\"kind\":\"file\",\"shard\":4},"
              "{\"base_gfid\":\"" BASE "\",\"blamed\":true,\"blames\":[],\"dirty\":false,\"gfid\":\"" BASE
              "\",\"kind\":\"gone\",\"shard\":0}],\"truncated\":false}");
    fence_index_done(&index);
    assert_int_equal(fence_index_list(brick, 1, &index, NULL), 0);
    assert_true(index.truncated);
    const char *const files[] = {file, name, dirty, blamed, gone, base};
    for (size_t i = 0; i < ELEMENTS(files); i++) {
        assert_int_equal(unlink(files[i]), 0);
    }
    static const char *const made[] = {".shard", ".glusterfs/indices/xattrop", ".glusterfs/indices/dirty",
                                       ".glusterfs/indices", ".glusterfs/6f/93", ".glusterfs/6f", ".glusterfs", ""};
    for (size_t i = 0; i < ELEMENTS(made); i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", brick, made[i]);
        assert_int_equal(rmdir(path), 0);
    }
}

/* ---- pieces of an image ---- */

#define ENTRY(gfid, shard, dirty, blames)                                                          \
    "{\"base_gfid\":\"" gfid "\",\"kind\":\"file\",\"shard\":" shard ",\"dirty\":" dirty ",\"blames\":[" blames "]}"

/* What the bricks 1 and 2 list, while brick 0 is cut off. */
static struct fence_pieces *pieces_of(const char *entries)
{
    struct fence_pieces *p = xcalloc(1, sizeof(*p));
    _cleanup_free_ char *text = str_printf("{\"entries\":[%s],\"truncated\":false}", entries);
    _cleanup_json_ json_t *index = json_loads(text, 0, NULL);
    assert_non_null(index);
    fence_pieces_add(p, index, "g", 6, "host2");
    fence_pieces_add(p, index, "g", 6, "host3");
    return p;
}

static void each_piece_that_is_listed_counts_once_and_says_what_it_lacks(void **state)
{
    static const struct {
        const char *entries;
        size_t n;
        bool is_open;
        bool is_healing;
    } cases[] = {
        {"", 0, false, false},
        {ENTRY("g", "3", "false", "0"), 1, false, false}, /* only the brick that is cut off lacks it */
        {ENTRY("g", "3", "false", "0,2"), 1, false, true},
        {ENTRY("g", "3", "true", "0") "," ENTRY("g", "4", "false", "0"), 2, true, false},
        {"{\"base_gfid\":\"g\",\"kind\":\"file\",\"shard\":3,\"blames\":[]}", 1, true, false}, /* it does not say */
        {ENTRY("another", "3", "true", "2"), 0, false, false},
        {"{\"base_gfid\":\"g\",\"kind\":\"gone\",\"shard\":3,\"dirty\":true,\"blames\":[2]}", 0, false, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct fence_pieces *p = pieces_of(cases[i].entries);
        _cleanup_free_ void *held = p;
        if (p->n != cases[i].n || !!p->open[0] != cases[i].is_open || !!p->healing[0] != cases[i].is_healing) {
            fail_msg("case %zu: %zu, '%s', '%s'", i, p->n, p->open, p->healing);
        }
    }
}

/* A piece that was left out would not be laundered, and its machine would start all the same. */
static void more_pieces_than_fit_are_never_taken_for_all(void **state)
{
    struct fence_pieces *p = xcalloc(1, sizeof(*p));
    _cleanup_free_ void *held = p;
    _cleanup_json_ json_t *entries = json_array();
    _cleanup_json_ json_t *index = json_pack("{s:O}", "entries", entries);
    for (json_int_t shard = 0; shard < FENCE_LAUNDER_SHARDS_MAX; shard++) {
        json_array_append_new(entries, json_pack("{s:s,s:s,s:I,s:b,s:[]}", "base_gfid", "g", "kind", "file", "shard", shard,
                                                 "dirty", 0, "blames"));
    }
    fence_pieces_add(p, index, "g", 6, "host2");
    fence_pieces_add(p, index, "g", 6, "host3"); /* the same ones */
    assert_int_equal(p->n, FENCE_LAUNDER_SHARDS_MAX);
    assert_false(p->is_cut);
    json_array_append_new(entries, json_pack("{s:s,s:s,s:I}", "base_gfid", "g", "kind", "file", "shard",
                                             (json_int_t)FENCE_LAUNDER_SHARDS_MAX));
    fence_pieces_add(p, index, "g", 6, "host3");
    assert_true(p->is_cut);
}

/* ---- launderings of before ---- */

#define LONG_WORD_BYTES (100 * KIB)

/* A process that is called mortar-launder and was given @verb; it waits for its standard input. */
static pid_t launder_like(const char *dir, const char *verb, bool is_long, int *ret_input)
{
    int ends[2];
    _cleanup_free_ char *program = str_printf("%s/mortar-launder", dir);
    _cleanup_free_ char *script = str_printf("%s/%s", dir, verb);
    FILE *f = fopen(script, "we");
    assert_non_null(f);
    assert_true(fputs("echo; read x", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_true(symlink("/bin/sh", program) == 0 || errno == EEXIST);
    int out[2];
    _cleanup_free_ char *numbers = xcalloc(1, LONG_WORD_BYTES + 1); /* a long list of pieces is longer than what is read */
    memset(numbers, '1', LONG_WORD_BYTES);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(dir) == 0 && dup2(ends[0], 0) == 0 && dup2(out[1], 1) == 1) {
            (void)execl(program, program, verb, "/some/image", is_long ? numbers : (char *)NULL, numbers, numbers, (char *)NULL);
        }
        _exit(1);
    }
    char newline = 0;
    assert_true(pid > 0);
    (void)close(ends[0]);
    (void)close(out[1]);
    assert_int_equal(read(out[0], &newline, 1), 1); /* it has become what it is to be */
    (void)close(out[0]);
    *ret_input = ends[1];
    return pid;
}

/* Other launderings may run on this machine, in labs: only what is said of this one counts. */
static void a_laundering_of_before_is_found_until_it_has_ended_and_a_reader_is_none(void **state)
{
    char dir[] = "/tmp/mortar-left-XXXXXX";
    struct err e = {0};
    pid_t found = 0;
    assert_non_null(mkdtemp(dir));
    for (int is_long = 0; is_long < 2; is_long++) {
        int writing = -1;
        int reading = -1;
        pid_t reader = launder_like(dir, "gfid", false, &reading);
        assert_int_equal(fence_launder_find(&found, &e), 0);
        assert_int_not_equal(found, reader);
        pid_t writer = launder_like(dir, "rewrite", is_long, &writing);
        assert_int_equal(fence_launder_find(&found, &e), 0);
        assert_true(found > 0 && found != reader);
        (void)close(writing);
        (void)close(reading);
        assert_int_equal(waitpid(writer, NULL, 0), writer);
        assert_int_equal(waitpid(reader, NULL, 0), reader);
        assert_int_equal(fence_launder_find(&found, &e), 0);
        assert_int_not_equal(found, writer);
    }
    static const char *const names[] = {"mortar-launder", "rewrite", "gfid", ""};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", dir, names[i]);
        assert_int_equal(remove(path), 0);
    }
}

/* ---- may a brick end? ---- */

#define LISTED(gfid, kind, dirty, blames)                                                          \
    "{\"gfid\":\"" gfid "\",\"kind\":\"" kind "\",\"dirty\":" dirty ",\"blamed\":false,\"blames\":[" blames "]}"
#define ALL(entries) "{\"entries\":[" entries "],\"truncated\":false}"

/* Brick 0 is to end; brick 1 has the other copy, brick 2 is the arbiter. */
static int spare(const char *data, const char *arbiter, struct err *e)
{
    _cleanup_json_ json_t *first = json_loads(data, 0, NULL);
    _cleanup_json_ json_t *second = json_loads(arbiter, 0, NULL);
    const struct fence_look looks[] = {{"host3", true, second}, {"host2", false, first}};
    return fence_spare(looks, ELEMENTS(looks), 0, e);
}

static void a_brick_may_end_when_the_others_have_all_that_it_has(void **state)
{
    static const struct {
        const char *data;
        const char *arbiter;
        const char *why; /* NULL: it may */
    } cases[] = {
        {ALL(""), ALL(""), NULL},
        {ALL(LISTED("a", "file", "true", "")), ALL(LISTED("a", "file", "true", "")), NULL}, /* its guest waits for brick 0 */
        {ALL(LISTED("a", "file", "true", "0")), ALL(LISTED("a", "file", "true", "0")), NULL},
        {ALL(LISTED("a", "file", "true", "")), ALL(""), NULL}, /* more than the arbiter */
        {ALL(""), ALL(LISTED("a", "gone", "true", "")), NULL},
        {ALL(""), ALL(LISTED("a", "file", "true", "")), "host3 lists a for heal, which host2 does not"},
        {ALL(LISTED("b", "file", "true", "")), ALL(LISTED("a", "file", "true", "")), "which host2 does not"},
        {ALL(LISTED("a", "file", "false", "0")), ALL(LISTED("a", "file", "true", "")), "which host2 does not"},
        {ALL(""), ALL(LISTED("a", "file", "false", "0")), "which host2 does not"},
        {ALL(LISTED("a", "file", "false", "0")), ALL(LISTED("a", "file", "false", "0")), NULL},
        {ALL(""), "{\"entries\":[{\"gfid\":\"a\",\"blames\":[]}],\"truncated\":false}", "which host2 does not"}, /* it does not say */
        {ALL(""), ALL(LISTED("a", "file", "false", "1")), "host3 says that another copy of a has to be healed"},
        {ALL(LISTED("a", "file", "false", "2")), ALL(""), "host2 says that another copy of a has to be healed"},
        {ALL(LISTED("a", "dir", "false", "0,2")), ALL(LISTED("a", "dir", "false", "0")), "host2 says that another copy of a"},
        {"{\"entries\":[],\"truncated\":true}", ALL(""), "host2 has more to heal than can be looked through"},
        {ALL(""), "{}", "host3 has more to heal than can be looked through"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        int r = spare(cases[i].data, cases[i].arbiter, &e);
        if (r != (cases[i].why ? -ERR_BUSY : 0) || (cases[i].why && !strstr(e.msg, cases[i].why))) {
            fail_msg("case %zu: %d, '%s'", i, r, e.msg);
        }
    }
}

/* The arbiter is to end, or there is none: what one data brick has in flight has to be on its way at the other, too. */
static void neither_of_two_copies_lacks_what_the_other_has_in_flight(void **state)
{
    _cleanup_json_ json_t *dirty = json_loads(ALL(LISTED("a", "file", "true", "")), 0, NULL);
    _cleanup_json_ json_t *same = json_deep_copy(dirty);
    _cleanup_json_ json_t *none = json_loads(ALL(""), 0, NULL);
    const struct fence_look both[] = {{"host1", false, dirty}, {"host2", false, same}};
    const struct fence_look one[] = {{"host1", false, dirty}, {"host2", false, none}};
    struct err e = {0};
    assert_int_equal(fence_spare(both, 2, 2, &e), 0);
    assert_int_equal(fence_spare(one, 2, 2, &e), -ERR_BUSY);
    assert_non_null(strstr(e.msg, "host1 lists a for heal, which host2 does not"));
}

/* ---- what the kernel tells of changes ---- */

/* nlmsghdr, nfgenmsg, and one attribute: "table 'mortar_fence' is deleted", as Linux 6.1 sends it on a little-endian machine. */
#define TOLD_BYTES 44
static void told_of(const char *table, unsigned char subsystem, unsigned char *msg)
{
    uint32_t len = TOLD_BYTES;
    uint16_t attr_len = (uint16_t)(4 + strlen(table) + 1);
    memset(msg, 0, TOLD_BYTES);
    memcpy(msg, &len, sizeof(len));
    msg[4] = 2; /* NFT_MSG_DELTABLE */
    msg[5] = subsystem;
    memcpy(msg + 20, &attr_len, sizeof(attr_len));
    msg[22] = 1; /* NFTA_TABLE_NAME */
    memcpy(msg + 24, table, strlen(table) + 1);
}

static void a_change_of_our_table_is_found_among_others_and_what_is_cut_counts_as_one(void **state)
{
    enum { NFTABLES = 10, CTNETLINK = 1 };
    unsigned char msgs[2 * TOLD_BYTES];
    told_of("mortar_fences", NFTABLES, msgs);
    assert_false(parse_fence_watch(msgs, TOLD_BYTES));
    told_of("mortar_fence", CTNETLINK, msgs);
    assert_false(parse_fence_watch(msgs, TOLD_BYTES));
    told_of("mortar_fence", NFTABLES, msgs + TOLD_BYTES);
    assert_true(parse_fence_watch(msgs, 2 * TOLD_BYTES));
    told_of("filter", NFTABLES, msgs);
    assert_true(parse_fence_watch(msgs, TOLD_BYTES - 1));
    assert_false(parse_fence_watch(msgs, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_pieces_than_fit_are_never_taken_for_all),
        cmocka_unit_test(a_brick_may_end_when_the_others_have_all_that_it_has),
        cmocka_unit_test(neither_of_two_copies_lacks_what_the_other_has_in_flight),
        cmocka_unit_test(each_piece_that_is_listed_counts_once_and_says_what_it_lacks),
        cmocka_unit_test(record_survives_the_way_to_disk_and_back),
        cmocka_unit_test(one_bad_record_fails_the_whole),
        cmocka_unit_test(record_that_could_be_misread_is_refused),
        cmocka_unit_test(address_has_one_spelling_and_is_a_host),
        cmocka_unit_test(ruleset_is_the_recorded_one),
        cmocka_unit_test(what_nft_says_is_compared_exactly),
        cmocka_unit_test(table_of_another_form_differs),
        cmocka_unit_test(strange_words_of_nft_are_refused),
        cmocka_unit_test(filter_names_both_directions_and_spares_services),
        cmocka_unit_test(only_sockets_that_are_over_do_not_count),
        cmocka_unit_test(idle_brick_is_proven_at_once),
        cmocka_unit_test(waiting_write_of_a_real_dump_is_seen),
        cmocka_unit_test(later_operations_are_not_waited_for),
        cmocka_unit_test(what_is_not_known_to_be_harmless_is_waited_for),
        cmocka_unit_test(locked_list_proves_nothing),
        cmocka_unit_test(connection_of_the_host_keeps_the_proof_back),
        cmocka_unit_test(broken_dump_is_refused),
        cmocka_unit_test(brick_is_known_by_its_command_line),
        cmocka_unit_test(signal_is_taken_only_when_somebody_waits_for_it),
        cmocka_unit_test(shard_names_are_exact),
        cmocka_unit_test(path_attribute_tells_shards_from_files),
        cmocka_unit_test(blame_is_a_counter_that_is_not_zero),
        cmocka_unit_test(a_laundering_of_before_is_found_until_it_has_ended_and_a_reader_is_none),
        cmocka_unit_test(a_change_of_our_table_is_found_among_others_and_what_is_cut_counts_as_one),
        cmocka_unit_test(index_without_attributes_is_resolved_by_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
