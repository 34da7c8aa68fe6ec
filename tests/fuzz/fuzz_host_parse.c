/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as what Linux, iproute2, dpkg, blkid and the files of a host say. */
#include <assert.h>
#include <string.h>

#include "adapters/host/brick_plan.h"
#include "adapters/host/check_judge.h"
#include "adapters/host/host_facts_parse.h"
#include "adapters/host/hosts_parse.h"
#include "adapters/host/net_plan.h"
#include "base/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct net_spec net = {.bridge = "mortar0", .vni = 1, .local_addr = "10.0.0.1"};

static void try_facts(const char *text)
{
    struct host_cpu cpu = {0};
    struct host_links links = {0};
    _cleanup_free_ char *version = NULL;
    _cleanup_free_ char *machine = NULL;
    uint64_t total = 0;
    uint64_t available = 0;
    uint64_t inode = 0;
    host_parse_cpuinfo(text, &cpu);
    host_cpu_done(&cpu);
    (void)host_parse_meminfo(text, &total, &available, NULL); /* refusing is fine, here and below */
    if (host_parse_links(text, &links, NULL) == 0) {
        for (size_t i = 0; i < links.n; i++) {
            assert(host_find_link(&links, links.v[i].name));
        }
    }
    host_links_done(&links);
    (void)host_parse_qemu_version(text, &version, &machine, NULL);
    free(host_find_package(text, "mortar"));
    (void)host_find_socket(text, &(struct host_ports){8843, 8843, false}, &inode);
    (void)host_find_socket(text, &(struct host_ports){61152, 61215, true}, &inode);
    free(hosts_find_address(text, "host1"));
    (void)hosts_is_address(text);
}

static void try_net(const char *text)
{
    _cleanup_net_seen_ struct net_seen seen = {0};
    _cleanup_net_seen_ struct net_seen flood = {0};
    struct net_plan plan = {0};
    uint64_t mtu = 0;
    if (net_parse_links(text, &net, &seen, NULL) == 0 &&
        net_make_plan(&net, &seen, &plan, &mtu, NULL) == 0) {
        assert(plan.n <= ELEMENTS(plan.cmds));
    }
    net_plan_done(&plan);
    (void)net_parse_fdb(text, &flood, NULL);
}

static void try_files(const char *text, const uint8_t *data, size_t size)
{
    _cleanup_brick_seen_ struct brick_seen brick = {0};
    _cleanup_free_ char *devno = NULL;
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ char *with = NULL;
    _cleanup_free_ char *twice = NULL;
    _cleanup_free_ char *without = NULL;
    struct strv keys = {0};
    brick_parse_blkid(text, &brick);
    (void)brick_parse_xfs_head(data, size);
    (void)brick_find_mount(text, "8:17", NULL, &devno, &path);
    check_parse_settings(text, &keys);
    strv_done(&keys);
    if (block_set(text, "hosts", "a\n", &with, NULL) == 0) {
        assert(block_set(with, "hosts", "a\n", &twice, NULL) == 0 && str_eq(with, twice));
        assert(block_set(with, "hosts", NULL, &without, NULL) == 0);
        assert(!strstr(without, "\n# BEGIN mortar hosts: do not edit up to END\n"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = str_printf("%.*s", (int)size, (const char *)data);
    try_facts(text);
    try_net(text);
    try_files(text, data, size);
    return 0;
}
