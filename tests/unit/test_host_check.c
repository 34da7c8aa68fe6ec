/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "adapters/host/etcd_wal_parse.h"
#include "adapters/host/host_check.h"
#include "adapters/host/net_plan.h"
#include "adapters/virt/virt_conf.h"
#include "golden.h"
#include "guard/guard.h"
#include "io/cmd.h"
#include "wire/names.h"

static char *read_binary(const char *name, size_t *ret_len)
{
    _cleanup_free_ char *path = golden_path(name);
    char *data = NULL;
    assert_int_equal(file_read(path, MIB, &data, ret_len, NULL), 0);
    return data;
}

static bool is_unused(const char *name)
{
    size_t len = 0;
    _cleanup_free_ char *data = read_binary(name, &len);
    return etcd_wal_is_unused((const unsigned char *)data, len);
}

/* Heads of logs written by Debian's etcd 3.4.23: as started, started twice, and after one put. */
static void etcd_is_used_after_one_put(void **state)
{
    assert_true(is_unused("host/etcd-unused.wal"));
    assert_true(is_unused("host/etcd-restarted.wal"));
    assert_false(is_unused("host/etcd-used.wal"));
}

static void damaged_etcd_log_counts_as_used(void **state)
{
    size_t len = 0;
    _cleanup_free_ char *data = read_binary("host/etcd-unused.wal", &len);
    assert_false(etcd_wal_is_unused((const unsigned char *)data, 300));
    assert_false(etcd_wal_is_unused((const unsigned char *)"\xff\xff\xff\xff\xff\xff\xff\xff", 8));
    /* No flipped byte may crash it or make it read outside: run under the address sanitizer. */
    for (size_t i = 0; i < 600; i++) {
        data[i] = (char)(data[i] ^ 0x5a);
        (void)etcd_wal_is_unused((const unsigned char *)data, len);
        data[i] = (char)(data[i] ^ 0x5a);
    }
}

static void good_host(struct check_seen *s)
{
    *s = (struct check_seen){.fuse = true, .tun = true, .nft = true, .fsync_p99_us = 400,
                             .clock_synced = true, .kvm_module = true,
                             .kvm = {.failed_at = KVM_STEP_DONE}};
    s->facts = (struct host_facts){
        .name = str_dup("node1"), .machine_id = str_dup("0123456789abcdef0123456789abcdef"),
        .boot_id = str_dup("x"), .memory_bytes = 64 * GIB, .memory_available_bytes = 60 * GIB,
        .cpu = {.count = 8, .model = str_dup("X"), .flags = str_dup("vmx"), .virt = "vmx"},
        .can = {.kvm = true, .kvm_device = true, .watchdog = true, .cgroup_unified = true,
                .cgroup_delegated = true, .systemd = true}};
    s->packages = str_dup("etcd-server install ok installed 1\nglusterfs-server install ok installed 1\n"
                          "libvirt-daemon-system install ok installed 1\n"
                          "qemu-system-x86 install ok installed 1\nxfsprogs install ok installed 1\n");
    s->ports[s->ports_n++] = (struct check_port){.need = &check_ports[0], .owner = str_dup("etcd")};
    s->etcd = CHECK_ETCD_UNUSED;
}

/* Severity of the only finding @id that is not ok, CHECK_OK when there is none. */
static enum check_severity judge(const struct check_seen *s, const char *id)
{
    struct check_list l = {0};
    enum check_severity found = CHECK_OK;
    check_judge(s, &l);
    for (size_t i = 0; i < l.n; i++) {
        if (l.v[i].severity > CHECK_OK) {
            assert_string_equal(l.v[i].id, id);
            assert_true(l.v[i].meaning[0] && l.v[i].action[0]);
            found = l.v[i].severity;
        }
    }
    assert_int_equal(check_worst(&l), found);
    _cleanup_json_ json_t *j = check_list_to_json(&l);
    assert_non_null(j);
    check_list_done(&l);
    return found;
}

static void good_host_has_no_finding(void **state)
{
    _cleanup_check_seen_ struct check_seen s;
    good_host(&s);
    assert_int_equal(judge(&s, "none"), CHECK_OK);
}

static void each_defect_is_named(void **state)
{
    _cleanup_check_seen_ struct check_seen s;
    good_host(&s);
    s.fsync_p99_us = 60000;
    assert_int_equal(judge(&s, "disk.fsync"), CHECK_WARNING);
    s.fsync_p99_us = 400;
    s.facts.can.cgroup_delegated = false;
    assert_int_equal(judge(&s, "kernel.cgroup"), CHECK_WARNING);
    s.facts.can.cgroup_delegated = true;
    s.stays_down = true;
    assert_int_equal(judge(&s, "kernel.panic"), CHECK_NOTE);
    s.stays_down = false;
    s.facts.can.kvm_device = false;
    assert_int_equal(judge(&s, "cpu.kvm"), CHECK_WARNING);
    s.facts.can.kvm_device = true;
    s.etcd = CHECK_ETCD_USED;
    assert_int_equal(judge(&s, "foreign.etcd"), CHECK_REFUSE);
    s.in_cluster = true;
    assert_int_equal(judge(&s, "none"), CHECK_OK);
    s.in_cluster = false;
    s.etcd = CHECK_ETCD_NONE;
    strv_add(&s.gluster_volumes, "old");
    assert_int_equal(judge(&s, "foreign.gluster-volumes"), CHECK_REFUSE);
    strv_done(&s.gluster_volumes);
    strv_add(&s.domains, "win2019");
    assert_int_equal(judge(&s, "foreign.domains"), CHECK_NOTE);
    strv_done(&s.domains);
    s.facts.memory_bytes = 512 * MIB;
    assert_int_equal(judge(&s, "memory.size"), CHECK_REFUSE);
}

static const struct check_port_need *need_of(unsigned first, unsigned last, bool udp)
{
    for (size_t i = 0; i < ELEMENTS(check_ports); i++) {
        const struct host_ports *p = &check_ports[i].ports;
        if (p->first == first && p->last == last && p->udp == udp) {
            return &check_ports[i];
        }
    }
    fail_msg("port %u to %u is not looked at", first, last);
    return NULL;
}

static enum check_severity judge_taken(unsigned first, unsigned last, bool udp, const char *owner)
{
    _cleanup_check_seen_ struct check_seen s;
    good_host(&s);
    s.ports[s.ports_n++] = (struct check_port){.need = need_of(first, last, udp), .owner = str_dup(owner)};
    return judge(&s, "port.free");
}

/* By the owners' own constants. etcd's and glusterd's are those of their packages. */
static void each_port_is_refused_to_others_only(void **state)
{
    static const struct {
        unsigned port;
        bool udp;
        const char *owner;
    } alone[] = {{2379, false, "etcd"},
                 {2380, false, "etcd"},
                 {WIRE_API_PORT, false, "mortar-api"},
                 {24007, false, "glusterd"},
                 {VIRT_TLS_PORT, false, "libvirtd"},
                 {VIRT_TLS_PORT, false, "systemd"},
                 {GUARD_PORT, true, "mortar-guard"}};
    for (size_t i = 0; i < ELEMENTS(alone); i++) {
        assert_int_equal(judge_taken(alone[i].port, alone[i].port, alone[i].udp, alone[i].owner), CHECK_OK);
        assert_int_equal(judge_taken(alone[i].port, alone[i].port, alone[i].udp, "nginx"), CHECK_REFUSE);
        assert_int_equal(judge_taken(alone[i].port, alone[i].port, alone[i].udp, "?"), CHECK_REFUSE);
    }
}

/* A second VXLAN on a kernel comes up beside a first one with a number (Linux 6.1), not beside one that is 'external', or a program. */
static void a_vxlan_of_others_is_warned_of_a_program_refused(void **state)
{
    assert_int_equal(judge_taken(NET_VXLAN_PORT, NET_VXLAN_PORT, true, "?"), CHECK_WARNING);
    assert_int_equal(judge_taken(NET_VXLAN_PORT, NET_VXLAN_PORT, true, "netcat"), CHECK_REFUSE);
}

static void a_port_of_moves_that_is_taken_is_warned_of(void **state)
{
    assert_int_equal(judge_taken(VIRT_MIGRATE_PORT_MIN, VIRT_MIGRATE_PORT_MAX, false, "nginx"), CHECK_WARNING);
}

/* Return: a socket that has @port of this machine's loopback, or -1 */
static int take(int type, unsigned port)
{
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    bool is_mine = bind(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 && (type == SOCK_DGRAM || listen(fd, 1) == 0);
    int mine = is_mine ? fd : -1;
    fd = is_mine ? -1 : fd;
    return mine;
}

static void a_taken_port_is_seen_with_its_owner(void **state)
{
    _cleanup_close_ int move = take(SOCK_STREAM, VIRT_MIGRATE_PORT_MAX);
    _cleanup_close_ int guard = take(SOCK_DGRAM, GUARD_PORT);
    _cleanup_check_seen_ struct check_seen s = {0};
    if (move < 0 || guard < 0) {
        skip(); /* somebody else has it */
    }
    host_check_ports(&s);
    assert_int_equal(s.ports_n, CHECK_PORTS);
    for (size_t i = 0; i < s.ports_n; i++) {
        if (s.ports[i].need == need_of(VIRT_MIGRATE_PORT_MIN, VIRT_MIGRATE_PORT_MAX, false) ||
            s.ports[i].need == need_of(GUARD_PORT, GUARD_PORT, true)) {
            assert_string_equal(s.ports[i].owner, "test_host_check");
        }
    }
}

/* What the finding of KVM says, for each way in which it can be missing. */
static void kvm_is_told_apart(void **state)
{
    static const struct {
        const char *virt;
        bool device;
        bool module;
        struct kvm_seen kvm;
        const char *says;
    } cases[] = {
        {"vmx", false, false, {0}, "module not loaded"},
        {"svm", false, true, {0}, "no /dev/kvm"},
        {"", false, false, {0}, "none"},
        {"vmx", true, true, {KVM_STEP_OPEN, EACCES, false}, "may not be opened"},
        {"vmx", true, false, {KVM_STEP_OPEN, ENODEV, false}, "does not open"},
        {"vmx", true, true, {KVM_STEP_VM, EBUSY, false}, "another hypervisor"},
        {"vmx", true, true, {KVM_STEP_CPU, EINVAL, false}, "the probe failed"},
        {"vmx", true, true, {KVM_STEP_NONE, 0, true}, "hung"},
        {"", true, true, {KVM_STEP_DONE, 0, false}, "without vmx or svm"},
        {"svm", true, true, {KVM_STEP_DONE, 0, false}, "ran"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_check_seen_ struct check_seen s;
        _cleanup_check_list_ struct check_list l = {0};
        good_host(&s);
        s.facts.cpu.virt = cases[i].virt;
        s.facts.can.kvm_device = cases[i].device;
        s.kvm_module = cases[i].module;
        s.kvm = cases[i].kvm;
        check_judge(&s, &l);
        const struct check_finding *f = l.v;
        for (; !str_eq(f->id, "cpu.kvm"); f++) {
            assert_true(f + 1 < l.v + l.n);
        }
        if (!strstr(f->value, cases[i].says)) {
            fail_msg("case %zu says '%s'", i, f->value);
        }
        bool ok = cases[i].virt[0] && cases[i].kvm.failed_at == KVM_STEP_DONE;
        assert_int_equal(f->severity, ok ? CHECK_OK : CHECK_WARNING);
        assert_true(ok || (f->meaning[0] && f->action[0]));
    }
}

static void nested_is_told_from_bare(void **state)
{
    for (int nested = 0; nested < 2; nested++) {
        _cleanup_check_seen_ struct check_seen s;
        _cleanup_check_list_ struct check_list l = {0};
        good_host(&s);
        free(s.facts.cpu.flags);
        s.facts.cpu.flags = str_dup(nested ? "fpu hypervisor lm" : "fpu lm");
        s.facts.cpu.virt = "";
        check_judge(&s, &l);
        assert_string_equal(l.v[3].id, "cpu.virtualisation");
        assert_non_null(strstr(l.v[3].action, nested ? "nested" : "firmware"));
    }
}

static void an_answer_of_the_probe_is_read_back(void **state)
{
    for (int step = KVM_STEP_OPEN; step <= KVM_STEP_DONE; step++) {
        const struct kvm_seen k = {.failed_at = (enum kvm_step)step, .sys = 16};
        _cleanup_free_ char *text = kvm_format_answer(&k);
        const struct kvm_seen back = kvm_parse_answer(text);
        assert_int_equal(back.failed_at, step);
        assert_int_equal(back.sys, 16);
    }
    assert_int_equal(kvm_parse_answer("").failed_at, KVM_STEP_NONE);
    assert_int_equal(kvm_parse_answer("done").failed_at, KVM_STEP_NONE);
    assert_int_equal(kvm_parse_answer("done -1").failed_at, KVM_STEP_NONE);
    assert_int_equal(kvm_parse_answer("fly 0").failed_at, KVM_STEP_NONE);
}

static void a_probe_fails_where_it_fails(void **state)
{
    struct kvm_seen k = kvm_probe_here("/nowhere");
    assert_int_equal(k.failed_at, KVM_STEP_OPEN);
    assert_int_equal(k.sys, ENOENT);
    k = kvm_probe_here("/dev/null"); /* opens, and is no KVM */
    assert_int_equal(k.failed_at, KVM_STEP_API);
    k = kvm_probe(CMD("echo", "done 0"));
    assert_int_equal(k.failed_at, KVM_STEP_DONE);
    k = kvm_probe(CMD("/nowhere/at/all"));
    assert_int_equal(k.failed_at, KVM_STEP_NONE);
    assert_false(k.timed_out);
}

static void findings_carry_numbers(void **state)
{
    _cleanup_check_seen_ struct check_seen s;
    _cleanup_check_list_ struct check_list l = {0};
    good_host(&s);
    check_judge(&s, &l);
    _cleanup_json_ json_t *j = check_list_to_json(&l);
    size_t i = 0;
    const json_t *f = NULL;
    json_int_t p99_us = 0;
    assert_string_equal(json_text_of(j, "verdict"), "ok");
    json_array_foreach(json_object_get(j, "findings"), i, f) {
        if (str_eq(json_text_of(f, "id"), "disk.fsync")) {
            p99_us = json_integer_value(json_object_get(json_object_get(f, "measured"), "p99_us"));
        }
    }
    assert_int_equal(p99_us, 400);
}

static void p99_is_the_nearest_rank(void **state)
{
    uint64_t v[200];
    for (size_t i = 0; i < ELEMENTS(v); i++) {
        v[i] = ELEMENTS(v) - i;
    }
    assert_int_equal(check_p99(v, ELEMENTS(v)), 198);
    uint64_t one[] = {7};
    assert_int_equal(check_p99(one, 1), 7);
}

static void only_settings_of_the_user_are_listed(void **state)
{
    _cleanup_strv_ struct strv keys = {0};
    check_parse_settings("# user = \"x\"\n#group = 1\nuser = \"root\"\n"
                         "# BEGIN mortar qemu: do not edit up to END\nmigration_port_min = 61152\n"
                         "# END mortar qemu\n  max_clients=5\n\n[section]\nnonsense\n", &keys);
    assert_int_equal(keys.n, 2);
    assert_string_equal(keys.v[0], "user");
    assert_string_equal(keys.v[1], "max_clients");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(etcd_is_used_after_one_put),
        cmocka_unit_test(damaged_etcd_log_counts_as_used),
        cmocka_unit_test(good_host_has_no_finding),
        cmocka_unit_test(each_defect_is_named),
        cmocka_unit_test(each_port_is_refused_to_others_only),
        cmocka_unit_test(a_vxlan_of_others_is_warned_of_a_program_refused),
        cmocka_unit_test(a_port_of_moves_that_is_taken_is_warned_of),
        cmocka_unit_test(a_taken_port_is_seen_with_its_owner),
        cmocka_unit_test(kvm_is_told_apart),
        cmocka_unit_test(nested_is_told_from_bare),
        cmocka_unit_test(an_answer_of_the_probe_is_read_back),
        cmocka_unit_test(a_probe_fails_where_it_fails),
        cmocka_unit_test(findings_carry_numbers),
        cmocka_unit_test(p99_is_the_nearest_rank),
        cmocka_unit_test(only_settings_of_the_user_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
