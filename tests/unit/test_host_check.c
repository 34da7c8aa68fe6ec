/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>

#include "adapters/host/check_judge.h"
#include "adapters/host/etcd_wal_parse.h"
#include "golden.h"
#include "io/cmd.h"

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
    s->ports[s->ports_n++] = (struct check_port){.port = 2379, .owner = str_dup("etcd")};
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
    s.ports[0].port = 8843;
    assert_int_equal(judge(&s, "port.free"), CHECK_REFUSE);
    s.ports_n = 0;
    free(s.ports[0].owner);
    s.facts.memory_bytes = 512 * MIB;
    assert_int_equal(judge(&s, "memory.size"), CHECK_REFUSE);
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
