/* SPDX-License-Identifier: Apache-2.0
 * The seed's texts, and its ISO as a reader walks through it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/virt/seed_format.h"

#define UUID "6f0e5f5e-0a4e-4a52-9d0c-3a8a1a2b3c4d"
#define SECTOR ((size_t)2048)

static const char *const two_cards[] = {"52:54:00:00:00:01", "52:54:00:00:00:02", NULL};

static uint32_t le32(const struct sbuf *b, size_t at)
{
    const uint8_t *p = (const uint8_t *)b->data + at;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Finds a file by its Rock Ridge name. Return: its text, NULL when there is none */
static char *read_file(const struct sbuf *b, const char *name)
{
    size_t root = le32(b, 16 * SECTOR + 156 + 2) * SECTOR;
    size_t want = strlen(name);
    for (size_t at = root; b->data[at]; at += (uint8_t)b->data[at]) {
        size_t record = (uint8_t)b->data[at];
        size_t id = (uint8_t)b->data[at + 32];
        assert_true(record % 2 == 0 && at + record <= root + SECTOR);
        for (size_t su = at + 33 + id + (id % 2 == 0); su + 4 <= at + record;) {
            size_t len = (uint8_t)b->data[su + 2];
            assert_true(len >= 4 && su + len <= at + record);
            if (memcmp(b->data + su, "NM", 2) == 0 && len == want + 5 &&
                memcmp(b->data + su + 5, name, want) == 0) {
                size_t start = le32(b, at + 2) * SECTOR;
                size_t bytes = le32(b, at + 10);
                assert_true(start + bytes <= b->len);
                return str_printf("%.*s", (int)bytes, b->data + start);
            }
            su += len;
        }
    }
    return NULL;
}

static void keys_and_names_are_quoted(void **state)
{
    _cleanup_json_ json_t *keys = json_pack("[s,s]", "ssh-ed25519 AAAA a@b", "x\"\nruncmd: [boom]");
    struct seed_spec s = {
        .uuid = UUID, .hostname = "demo", .ssh_keys = keys, .macs = two_cards};
    _cleanup_free_ char *meta = seed_format_meta(&s);
    _cleanup_free_ char *network = seed_format_network(&s);
    assert_string_equal(meta, "{\"instance-id\":\"" UUID "\",\"local-hostname\":\"demo\","
                              "\"public-keys\":[\"ssh-ed25519 AAAA a@b\","
                              "\"x\\\"\\nruncmd: [boom]\"]}");
    assert_string_equal(network,
                        "{\"ethernets\":{\"eth0\":{\"dhcp4\":true,\"match\":{\"macaddress\":"
                        "\"52:54:00:00:00:01\"},\"set-name\":\"eth0\"},"
                        "\"eth1\":{\"dhcp4\":true,\"match\":{\"macaddress\":"
                        "\"52:54:00:00:00:02\"},\"set-name\":\"eth1\"}},\"version\":2}");
}

static void a_reader_finds_the_three_files(void **state)
{
    static char user[10000];
    memset(user, '#', sizeof(user) - 1);
    struct seed_spec s = {.uuid = UUID, .hostname = "demo", .user_data = user, .macs = two_cards};
    _cleanup_sbuf_ struct sbuf iso = {0};
    seed_format(&s, &iso);
    assert_int_equal(iso.len % SECTOR, 0);
    assert_int_equal(le32(&iso, 16 * SECTOR + 80), iso.len / SECTOR);
    assert_memory_equal(iso.data + 16 * SECTOR + 1, "CD001", 5);
    assert_memory_equal(iso.data + 16 * SECTOR + 40, "CIDATA   ", 9);
    assert_memory_equal(iso.data + 17 * SECTOR, "\xff" "CD001", 6);
    _cleanup_free_ char *user_read = read_file(&iso, "user-data");
    _cleanup_free_ char *meta_read = read_file(&iso, "meta-data");
    _cleanup_free_ char *net_read = read_file(&iso, "network-config");
    _cleanup_free_ char *meta = seed_format_meta(&s);
    _cleanup_free_ char *net = seed_format_network(&s);
    assert_string_equal(user_read, user);
    assert_string_equal(meta_read, meta);
    assert_string_equal(net_read, net);
    assert_null(read_file(&iso, "vendor-data"));
}

static void the_same_vm_gets_the_same_seed(void **state)
{
    struct seed_spec s = {.uuid = UUID, .hostname = "demo", .macs = two_cards};
    _cleanup_sbuf_ struct sbuf a = {0};
    _cleanup_sbuf_ struct sbuf b = {0};
    seed_format(&s, &a);
    seed_format(&s, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    _cleanup_free_ char *user = read_file(&a, "user-data");
    assert_string_equal(user, "#cloud-config\n{}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_names_are_quoted),
        cmocka_unit_test(a_reader_finds_the_three_files),
        cmocka_unit_test(the_same_vm_gets_the_same_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
