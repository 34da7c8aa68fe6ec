/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "adapters/host/host_facts.h"
#include "adapters/host/hosts_parse.h"
#include "base/str.h"
#include "golden.h"

static void cpu_without_flags_has_no_virtualisation(void **state)
{
    struct host_cpu c = {0};
    host_parse_cpuinfo("processor\t: 0\nmodel name\t: X 1\nflags\t\t: fpu svm_lock\n"
                       "processor\t: 1\nflags\t\t: fpu svm\n", &c);
    assert_int_equal(c.count, 2);
    assert_string_equal(c.model, "X 1");
    assert_string_equal(c.virt, "");
    host_cpu_done(&c);
    host_parse_cpuinfo("processor\t: 0\nflags\t\t: fpu svm sse\n", &c);
    assert_string_equal(c.virt, "svm");
    host_cpu_done(&c);
    host_parse_cpuinfo("", &c);
    assert_int_equal(c.count, 0);
    assert_string_equal(c.model, "");
    host_cpu_done(&c);
}

static void memory_needs_both_lines(void **state)
{
    uint64_t total = 0;
    uint64_t available = 0;
    assert_int_equal(host_parse_meminfo("MemTotal:  2048 kB\nMemAvailable: 1024 kB\n", &total,
                                        &available, NULL), 0);
    assert_true(total == 2 * MIB && available == MIB);
    assert_int_equal(host_parse_meminfo("MemTotal: 2048 kB\n", &total, &available, NULL),
                     -ERR_PARSE);
    assert_int_equal(host_parse_meminfo("MemTotal: x kB\nMemAvailable: 1 kB\n", &total, &available,
                                        NULL), -ERR_PARSE);
}

static void links_are_read_from_ip(void **state)
{
    _cleanup_free_ char *text = golden_read("host/links.in");
    struct host_links l = {0};
    assert_int_equal(host_parse_links(text, &l, NULL), 0);
    const struct host_link *eth0 = host_find_link_of(&l, "192.0.2.2");
    assert_non_null(eth0);
    assert_string_equal(eth0->name, "eth0");
    assert_string_equal(eth0->addrs.v[0], "192.0.2.2/24");
    assert_int_equal(eth0->mtu, 1400);
    assert_true(eth0->up && !eth0->loopback);
    assert_true(host_find_link(&l, "lo")->loopback);
    assert_null(host_find_link_of(&l, "192.0.2."));
    assert_null(host_find_link(&l, "eth7"));
    host_links_done(&l);
    assert_int_equal(host_parse_links("{}", &l, NULL), -ERR_PARSE);
    assert_int_equal(host_parse_links("[{},{\"ifname\":\"a\"}]", &l, NULL), 0);
    assert_int_equal(l.n, 1);
    host_links_done(&l);
}

static void qemu_version_gives_machine_type(void **state)
{
    _cleanup_free_ char *version = NULL;
    _cleanup_free_ char *machine = NULL;
    assert_int_equal(host_parse_qemu_version("QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopy",
                                             &version, &machine, NULL), 0);
    assert_string_equal(version, "7.2.22");
    assert_string_equal(machine, "pc-q35-7.2");
    assert_int_equal(host_parse_qemu_version("KVM", &version, &machine, NULL), -ERR_PARSE);
}

static void removed_package_is_not_installed(void **state)
{
    const char *text = "etcd-server install ok installed 3.4.23-4+b4\n"
                       "xfsprogs deinstall ok config-files 6.1.0-1\n";
    _cleanup_free_ char *v = host_find_package(text, "etcd-server");
    assert_string_equal(v, "3.4.23-4+b4");
    assert_null(host_find_package(text, "xfsprogs"));
    assert_null(host_find_package(text, "etcd"));
}

static void listener_is_told_from_connection(void **state)
{
    const char *text =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4711 1 0 100 0\n"
        "   1: 0100007F:5DC8 0100007F:094B 01 00000000:00000000 00:00000000 00000000   101        0 4712 1 0 100 0\n";
    uint64_t inode = 0;
    assert_true(host_find_socket(text, &(struct host_ports){2379, 2379, false}, &inode));
    assert_int_equal(inode, 4711);
    assert_false(host_find_socket(text, &(struct host_ports){24008, 24008, false}, &inode));
    assert_false(host_find_socket(text, &(struct host_ports){80, 80, false}, &inode));
}

static void udp_socket_is_found_in_any_state(void **state)
{
    const char *text =
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n"
        " 1081: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 2\n"
        " 1082: 0100007F:12B7 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 4714 2\n";
    uint64_t inode = 0;
    assert_true(host_find_socket(text, &(struct host_ports){4789, 4789, true}, &inode));
    assert_int_equal(inode, 4713);
    assert_true(host_find_socket(text, &(struct host_ports){4791, 4791, true}, &inode));
    assert_int_equal(inode, 4714);
    assert_false(host_find_socket(text, &(struct host_ports){4790, 4790, true}, &inode));
}

static void one_port_of_a_range_is_found(void **state)
{
    const char *text =
        "   0: 0100007F:EEDF 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1 1 0 100 0\n"
        "   1: 0100007F:EF20 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 2 1 0 100 0\n"
        "   2: 00000000000000000000000001000000:EF1F 00000000000000000000000000000000:0000 0A 00000000:00000000 "
        "00:00000000 00000000   101        0 3 1 0 100 0\n";
    uint64_t inode = 0;
    assert_true(host_find_socket(text, &(struct host_ports){61152, 61215, false}, &inode));
    assert_int_equal(inode, 3); /* 61151 and 61216 are not of it */
}

static void facts_of_this_machine_make_json(void **state)
{
    _cleanup_host_facts_ struct host_facts f = {0};
    struct err e = {0};
    if (host_observe_facts("", &f, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    assert_true(f.cpu.count > 0 && f.memory_bytes > 0);
    assert_int_equal(strlen(f.boot_id), 36);
    _cleanup_json_ json_t *j = host_facts_to_json(&f);
    assert_non_null(j);
    assert_string_equal(json_text_of(j, "boot_id"), f.boot_id);
}

static void names_are_found_in_a_hosts_file_and_nowhere_else(void **state)
{
    static const char text[] = "# 10.0.0.9 host2\n127.0.0.1\tlocalhost\n  10.0.0.2 HOST2.example host2 # x\n"
                               "10.0.0.3 host2\nnonsense host4\nfd00::5 host5\n10.0.0.6\n";
    static const struct {
        const char *name;
        const char *address;
    } rows[] = {{"host2", "10.0.0.2"}, {"host2.EXAMPLE", "10.0.0.2"}, {"host5", "fd00::5"},
                {"host4", NULL},       {"host", NULL},                {"10.0.0.6", NULL},
                {"x", NULL},           {"", NULL}};
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_free_ char *found = hosts_find_address(text, rows[i].name);
        assert_true(str_eq(found, rows[i].address));
    }
    assert_true(hosts_is_address("10.0.0.1") && hosts_is_address("fd00::1"));
    assert_false(hosts_is_address("10.0.0") || hosts_is_address("host1") || hosts_is_address(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_without_flags_has_no_virtualisation),
        cmocka_unit_test(memory_needs_both_lines),
        cmocka_unit_test(links_are_read_from_ip),
        cmocka_unit_test(qemu_version_gives_machine_type),
        cmocka_unit_test(removed_package_is_not_installed),
        cmocka_unit_test(listener_is_told_from_connection),
        cmocka_unit_test(udp_socket_is_found_in_any_state),
        cmocka_unit_test(one_port_of_a_range_is_found),
        cmocka_unit_test(facts_of_this_machine_make_json),
        cmocka_unit_test(names_are_found_in_a_hosts_file_and_nowhere_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
