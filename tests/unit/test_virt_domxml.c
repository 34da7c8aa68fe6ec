/* SPDX-License-Identifier: Apache-2.0
 * Goldens in tests/golden/virt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/virt/domxml_parse.h"
#include "golden.h"

#define VM_UUID "0d5b1f8e-2a51-4d0c-9d5e-6f1f5c3d7a10"

static struct dom_meta meta_of(const char *owner, uint64_t n)
{
    struct dom_meta m = {.restore_gen = 1, .n = n, .inc = 3};
    memcpy(m.uuid, VM_UUID, sizeof(m.uuid));
    memcpy(m.owner, owner, strlen(owner) + 1);
    return m;
}

static const struct dom_disk two_disks[] = {
    {"/mnt/vms/disks/db1/vda.qcow2", DOM_FORMAT_QCOW2, "vda", "db1-vda"},
    {"/mnt/vms/disks/a & b <'\">/vdb.raw", DOM_FORMAT_RAW, "vdb", NULL},
};
static const struct dom_nic one_nic[] = {{"mortar0", "52:54:00:12:34:56", 1450}};

static struct dom_spec full_spec(void)
{
    return (struct dom_spec){
        .name = "db1",
        .meta = meta_of("host1", 7),
        .cpus = 2,
        .memory_bytes = 2 * GIB,
        .disks = two_disks,
        .disk_count = 2,
        .nics = one_nic,
        .nic_count = 1,
        .seed_path = "/mnt/vms/disks/db1/seed.iso",
        .ha = true,
    };
}

static struct dom_spec tiny_spec(void)
{
    return (struct dom_spec){
        .name = "demo",
        .meta = meta_of("host2", 1),
        .cpus = 1,
        .memory_bytes = 128 * MIB,
        .emulate = true,
        .disks = two_disks,
        .disk_count = 1,
        .kernel = "/usr/lib/mortar/guest/vmlinuz",
        .initrd = "/usr/lib/mortar/guest/initrd",
        .cmdline = "console=ttyS0 quiet text=<\"a\"&'b'>",
        .demo_channel = true,
    };
}

static void the_xml_of_a_full_vm_is_as_agreed(void **state)
{
    _cleanup_free_ char *xml = NULL;
    struct dom_spec s = full_spec();
    assert_int_equal(dom_xml_format(&s, &xml, NULL), 0);
    golden_check("virt/kvm-disks-nic-seed.xml", xml);
}

static void the_xml_of_an_emulated_vm_is_as_agreed(void **state)
{
    _cleanup_free_ char *xml = NULL;
    struct dom_spec s = tiny_spec();
    assert_int_equal(dom_xml_format(&s, &xml, NULL), 0);
    golden_check("virt/tcg-direct-boot.xml", xml);
}

static void what_is_written_is_read_back(void **state)
{
    _cleanup_free_ char *xml = NULL;
    _cleanup_dom_info_ struct dom_info d = {0};
    struct dom_spec s = full_spec();
    assert_int_equal(dom_xml_format(&s, &xml, NULL), 0);
    assert_int_equal(dom_xml_parse(xml, strlen(xml), &d, NULL), 0);
    assert_string_equal(d.name, "db1");
    assert_string_equal(d.uuid, VM_UUID);
    assert_int_equal(d.ours, DOM_OURS_YES);
    assert_memory_equal(&d.meta, &s.meta, sizeof(d.meta));
    assert_int_equal(d.memory_bytes, 2 * GIB);
    assert_int_equal(d.cpus, 2);
    assert_int_equal(d.disks.n, 3);
    assert_string_equal(d.disks.v[1], two_disks[1].path);
    assert_string_equal(d.console, "/run/mortar/console/db1.sock");
    assert_string_equal(d.partition, DOM_PARTITION_HA);
    assert_string_equal(d.machine, DOM_MACHINE_DEFAULT);
    assert_string_equal(d.cpu_model, DOM_CPU_KVM);
    assert_false(d.emulated);
}

static void wrong_specs_are_refused(void **state)
{
    static const struct dom_disk wrong_target[] = {{"/a", DOM_FORMAT_RAW, "vdb", NULL}};
    static const struct dom_disk relative[] = {{"a", DOM_FORMAT_RAW, "vda", NULL}};
    static const struct dom_nic multicast[] = {{"br0", "53:00:00:00:00:01", 0}};
    static const struct dom_nic huge_mtu[] = {{"br0", "52:54:00:12:34:56", 65536}};
    struct dom_spec bad[13];
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        bad[i] = tiny_spec();
    }
    bad[0].name = "a/b";
    bad[1].cpus = 0;
    bad[2].memory_bytes = 128 * MIB + 1;
    bad[3].memory_bytes = 1 * MIB;
    bad[4].meta.uuid[0] = 'X';
    bad[5].meta.owner[0] = '\0';
    bad[6].disks = wrong_target;
    bad[7].disks = relative;
    bad[8].nics = multicast;
    bad[8].nic_count = 1;
    bad[12].nics = huge_mtu;
    bad[12].nic_count = 1;
    bad[9].cmdline = "a\nb";
    bad[10].kernel = NULL;
    bad[11].machine = "pc'/>";
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        char *xml = NULL;
        struct err e = {0};
        assert_int_equal(dom_xml_format(&bad[i], &xml, &e), -ERR_INVALID);
        assert_null(xml);
        assert_true(e.msg[0]);
    }
}

static void a_mac_is_always_the_same_and_ours_alone(void **state)
{
    char a[18];
    char b[18];
    dom_mac_of(VM_UUID, 0, a);
    dom_mac_of(VM_UUID, 0, b);
    assert_string_equal(a, b);
    dom_mac_of(VM_UUID, 1, b);
    assert_string_not_equal(a, b);
    assert_memory_equal(a, "52:", 3);
    assert_int_equal(strlen(a), 17);
}

static void domains_of_others_are_not_ours(void **state)
{
    static const char foreign[] =
        "<domain type='kvm'><name>x</name><uuid>" VM_UUID "</uuid>"
        "<metadata><o:vm xmlns:o='urn:other' uuid='" VM_UUID "'/></metadata></domain>";
    static const char broken[] =
        "<domain type='kvm'><name>x</name><uuid>" VM_UUID "</uuid><metadata><m:vm "
        "xmlns:m='urn:mortar:vm:1' uuid='" VM_UUID "' epoch='-1' owner='h'/></metadata></domain>";
    _cleanup_dom_info_ struct dom_info d = {0};
    _cleanup_dom_info_ struct dom_info u = {0};
    assert_int_equal(dom_xml_parse(foreign, strlen(foreign), &d, NULL), 0);
    assert_int_equal(d.ours, DOM_OURS_NO);
    assert_int_equal(dom_xml_parse(broken, strlen(broken), &u, NULL), 0);
    assert_int_equal(u.ours, DOM_OURS_UNCLEAR);
}

static void text_that_is_no_domain_is_refused(void **state)
{
    static const char *const texts[] = {"", "<a/>", "<domain/>", "<domain><name>x</name></domain>",
                                        "<!DOCTYPE a []><domain/>"};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct dom_info d = {0};
        assert_int_equal(dom_xml_parse(texts[i], strlen(texts[i]), &d, NULL), -ERR_PARSE);
    }
    _cleanup_free_ char *huge = xcalloc(1, DOM_XML_LIMIT_BYTES + 1);
    struct dom_info d = {0};
    assert_int_equal(dom_xml_parse(huge, DOM_XML_LIMIT_BYTES + 1, &d, NULL), -ERR_LIMIT);
}

static void a_migration_changes_owner_epoch_and_log_only(void **state)
{
    _cleanup_free_ char *live = golden_read("virt/libvirt-migratable.xml");
    _cleanup_free_ char *xml = NULL;
    struct dom_meta m = meta_of("host3", 9);
    assert_int_equal(dom_xml_reown(live, strlen(live), &m, &xml, NULL), 0);
    golden_check("virt/libvirt-migratable-reowned.xml", xml);
    m.uuid[0] = '1';
    char *none = NULL;
    assert_int_equal(dom_xml_reown(live, strlen(live), &m, &none, NULL), -ERR_STATE);
}

static void the_phase_of_a_migration_is_read_from_the_status_file(void **state)
{
    static const struct {
        const char *job;
        enum dom_job_phase want;
    } rows[] = {
        {"", DOM_JOB_OTHER},
        {"<job type='none' async='migration out' phase='perform3'/>", DOM_JOB_OTHER},
        {"<job type='none' async='migration out' phase='perform3_done'/>", DOM_JOB_OTHER},
        {"<job type='none' async='migration out' phase='confirm3'/>", DOM_JOB_CONFIRMED},
        {"<job type='none' async='migration out' phase='confirm3_cancelled'/>", DOM_JOB_CANCELLED},
        {"<job type='none' async='migration in' phase='confirm3'/>", DOM_JOB_OTHER},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_free_ char *text = str_printf("<domstatus pid='3'>%s</domstatus>", rows[i].job);
        struct dom_status got = {.phase = DOM_JOB_CANCELLED};
        assert_int_equal(dom_status_parse(text, strlen(text), &got, NULL), 0);
        assert_int_equal(got.phase, rows[i].want);
        assert_int_equal(got.pid, 3);
    }
}

static void capabilities_of_a_host_are_read(void **state)
{
    static const char host[] =
        "<capabilities><guest><os_type>hvm</os_type><arch name='i686'/></guest><guest>"
        "<arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator>"
        "<machine canonical='pc-q35-7.2'>q35</machine><machine>pc-q35-7.2</machine>"
        "<domain type='qemu'/></arch></guest></capabilities>";
    static const char dom[] =
        "<domainCapabilities><cpu><mode name='custom' supported='yes'>"
        "<model usable='yes'>qemu64</model><model usable='no'>Denverton</model></mode></cpu>"
        "</domainCapabilities>";
    _cleanup_free_ char *emulator = NULL;
    _cleanup_strv_ struct strv machines = {0};
    _cleanup_strv_ struct strv models = {0};
    bool emulation = false;
    bool kvm = true;
    assert_int_equal(dom_caps_parse_host(host, strlen(host), &emulator, &machines, &emulation, &kvm,
                                         NULL), 0);
    assert_string_equal(emulator, "/usr/bin/qemu-system-x86_64");
    assert_int_equal(machines.n, 1);
    assert_true(emulation);
    assert_false(kvm);
    assert_int_equal(dom_caps_parse_models(dom, strlen(dom), &models, NULL), 0);
    assert_int_equal(models.n, 1);
    assert_string_equal(models.v[0], "qemu64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_xml_of_a_full_vm_is_as_agreed),
        cmocka_unit_test(the_xml_of_an_emulated_vm_is_as_agreed),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(wrong_specs_are_refused),
        cmocka_unit_test(a_mac_is_always_the_same_and_ours_alone),
        cmocka_unit_test(domains_of_others_are_not_ours),
        cmocka_unit_test(text_that_is_no_domain_is_refused),
        cmocka_unit_test(a_migration_changes_owner_epoch_and_log_only),
        cmocka_unit_test(the_phase_of_a_migration_is_read_from_the_status_file),
        cmocka_unit_test(capabilities_of_a_host_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
