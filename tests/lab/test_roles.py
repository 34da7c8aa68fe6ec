# SPDX-License-Identifier: Apache-2.0
"""Other shapes of a cluster than the demo's: roles of hosts, kinds of pools, and the way out.

Each lab has a class of its own; the tests of a class build on each other, in the order written.
"""

import re

import pytest

from mortarcluster import Cluster, Guest, Recorder
from mortarcluster import guest as guest_module

REFUSED = 4  # exit code, mortar(1)
DISK = ["--device", "/dev/mortar-data"]


def refused(cluster, host, *words, says):
    """The command is refused, says why, and says what to do."""
    done = cluster.answer(host, *words)
    assert done.returncode == REFUSED, (words, done.returncode, done.stdout, done.stderr)
    assert re.search(says, done.stderr), (words, done.stderr)
    assert "\nhint: " in done.stderr, (words, done.stderr)
    return done.stderr


def form(cluster, **roles):
    """form(host2="storage", …): host1 is a converged host unless named."""
    if not cluster.is_member("host1"):
        role = roles.pop("host1", "converged")
        cluster.change("host1", "init", "shapes", *cluster.addresses("host1"), "--allow-emulation",
                       "--role", role)
    for host, role in roles.items():
        cluster.join(host, role=role)
    cluster.wait_told(sorted({*cluster.names("host1", "host"), *roles}))


def sh(cluster, host, script, check=True):
    """What a shell in a host prints."""
    return cluster.lab.exec(host, ["sh", "-c", script], check=check).stdout.strip()


def is_mounted(cluster, host, path):
    """Is something mounted at path in a host?"""
    return cluster.lab.exec(host, ["mountpoint", "-q", path], check=False).returncode == 0


class TestStorageAndCompute:
    """Three storage hosts and two that only run VMs."""

    @pytest.fixture(scope="class")
    def cluster(self, make_lab, debs_dir):
        lab = make_lab(hosts=5, disk_size="2G", debs=debs_dir)
        yield Cluster(lab)
        lab.down()

    @pytest.fixture(scope="class")
    def guest(self, cluster):
        guest = Guest(cluster)
        guest.put_files(guest_module.build(), "host4")
        return guest

    def test_hosts_take_their_roles(self, cluster):
        form(cluster, host1="storage", host2="storage", host3="storage", host4="compute",
             host5="compute")
        roles = {h["name"]: h["role"] for h in cluster.show("host5", "host", "ls")["items"]}
        assert list(roles.values()) == ["storage"] * 3 + ["compute"] * 2
        for host in ("host4", "host5"):
            assert sh(cluster, host, "systemctl is-active glusterd", check=False) == "inactive"

    def test_five_hosts_have_five_members_of_the_store(self, cluster):
        def members():
            etcd = cluster.show("host5", "status")["cluster"]["etcd"]
            return etcd["members"], etcd["healthy"]
        cluster.wait_until("five members", lambda: members() == (5, 5), 120)
        def listed():
            files = "--cacert ca.crt --cert host.crt --key host.key"
            lines = sh(cluster, "host4", "cd /etc/mortar/pki && ETCDCTL_API=3 etcdctl "
                       f"{files} --endpoints https://127.0.0.1:2379 member list")
            return [line.split(", ") for line in lines.splitlines()]
        # The last is counted while it still learns, and has no name before it has started.
        cluster.wait_until("all five vote", lambda: (
            sorted(f[2] for f in listed()) == [f"host{n}" for n in range(1, 6)]
            and all(f[1] == "started" and f[5] == "false" for f in listed())))

    def test_compute_hosts_mount_what_storage_hosts_hold(self, cluster):
        cluster.create_pool()
        pool = cluster.show("host4", "pool", "show", "vms")
        assert [b["host"] for b in pool["bricks"]] == ["host1", "host2", "host3"]
        mounted = [is_mounted(cluster, f"host{n}", "/mnt/vms") for n in range(1, 6)]
        assert mounted == [False] * 3 + [True] * 2

    def test_a_storage_host_says_where_images_can_be_read(self, cluster):
        said = refused(cluster, "host1", "image", "import", "/etc/hostname", "--name", "x",
                       says="storage host")
        assert "VM host" in said

    def test_a_guest_lives_and_moves_on_compute_hosts_only(self, cluster, guest):
        guest.create("vms", "host4")
        first = guest.seen("host4")["host"]
        assert first in ("host4", "host5")
        cluster.wait_heard("host1", guest.name)
        cluster.mortar("host1", "vm", "migrate", guest.name)
        second = guest.seen("host1")["host"]
        assert {first, second} == {"host4", "host5"}
        cluster.wait_heard("host4", guest.name)
        for storage in ("host1", "host2", "host3"):
            refused(cluster, "host4", "vm", "migrate", guest.name, "--to", storage,
                    says="does not run virtual machines")
        assert guest.seen("host4")["state"] == "running"


class TestPools:
    """Three equal hosts: what a pool may be, what it may not, and that it goes without a trace."""

    @pytest.fixture(scope="class")
    def cluster(self, make_lab, debs_dir):
        lab = make_lab(hosts=3, disk_size="2G", witness=False, debs=debs_dir)
        yield Cluster(lab)
        lab.down()

    def test_two_copies_of_two_hosts_need_consent(self, cluster):
        form(cluster, host2="converged")
        refused(cluster, "host1", "pool", "create", "pair", *DISK, says="arbiter")
        refused(cluster, "host1", "pool", "create", "three", "--copies", "3", *DISK,
                says="3 copies need 3 storage hosts")
        refused(cluster, "host1", "pool", "create", "root", "--no-ha", says="root file system")
        cluster.mortar("host1", "pool", "rm", "root")

    def test_two_hosts_with_consent(self, cluster):
        cluster.mortar("host1", "pool", "create", "pair", "--no-ha", *DISK)
        cluster.wait_quorum("host1", "pair")
        cluster.wait_quorum("host2", "pair")
        pool = cluster.show("host2", "pool", "show", "pair")
        assert pool["copies"] == 2 and pool["arbiter"] is False
        assert [b["role"] for b in pool["bricks"]] == ["data", "data"]
        quorum = sh(cluster, "host1", "gluster --mode=script volume get pair cluster.quorum-type")
        assert quorum.split()[-1] == "auto"
        assert is_mounted(cluster, "host1", "/mnt/pair") and is_mounted(cluster, "host2", "/mnt/pair")

    def test_a_removed_pool_leaves_nothing(self, cluster):
        cluster.mortar("host2", "pool", "rm", "pair")
        assert cluster.names("host2", "pool") == []
        cluster.wait_until("host1 has heard of it", lambda: cluster.names("host1", "pool") == [])
        for host in ("host1", "host2"):
            assert sh(cluster, host, "ls -A /data/gluster /mnt /var/lib/mortar/brick") == (
                "/data/gluster:\n\n/mnt:\n\n/var/lib/mortar/brick:")
            assert sh(cluster, host, "systemctl list-unit-files | grep pair", check=False) == ""
            assert "fs" not in sh(cluster, host, "blkid -p /dev/mortar-data", check=False)

    def test_three_copies_on_the_freed_disks(self, cluster):
        form(cluster, host3="converged")
        cluster.mortar("host1", "pool", "create", "pair", "--copies", "3", *DISK)
        pool = cluster.show("host3", "pool", "show", "pair")
        assert pool["copies"] == 3 and pool["arbiter"] is False
        assert [b["role"] for b in pool["bricks"]] == ["data"] * 3
        cluster.mortar("host1", "pool", "rm", "pair")

    def test_a_disk_with_data_is_left_alone(self, cluster):
        sh(cluster, "host2", "wipefs -qa /dev/mortar-data; mkfs.ext4 -qFL precious /dev/mortar-data")
        refused(cluster, "host1", "pool", "create", "vms", *DISK, says="host2.*holds 'ext4'")
        assert "precious" in sh(cluster, "host2", "blkid -p /dev/mortar-data")
        cluster.mortar("host1", "pool", "create", "vms", "--wipe", *DISK)
        cluster.mortar("host1", "pool", "rm", "vms")

    def test_a_guest_on_a_local_pool_stays_where_it_is(self, cluster):
        guest = Guest(cluster)
        guest.put_files(guest_module.build(), "host2")
        cluster.mortar("host2", "pool", "create", "local", "--type", "dir", "--hosts", "host2")
        guest.create("local", "host2")
        assert guest.seen("host2")["host"] == "host2" and guest.seen("host2")["state"] == "running"
        cluster.wait_heard("host1", guest.name)
        refused(cluster, "host1", "vm", "migrate", guest.name, says="local")
        refused(cluster, "host1", "vm", "migrate", guest.name, "--to", "host1", says="local")
        refused(cluster, "host2", "leave", says="pool 'local' has a brick here")
        cluster.mortar("host1", "vm", "stop", guest.name, "--force")
        cluster.mortar("host1", "vm", "rm", guest.name)
        cluster.wait_until("host2 has heard of it", lambda: cluster.names("host2", "vm") == [])
        cluster.mortar("host2", "image", "rm", guest_module.IMAGE)
        cluster.mortar("host2", "pool", "rm", "local")
        assert sh(cluster, "host2", "ls -A /var/lib/mortar/pools", check=False) == ""


class TestLeave:
    """Hosts come and go."""

    @pytest.fixture(scope="class")
    def cluster(self, make_lab, debs_dir):
        lab = make_lab(hosts=3, disk_size="2G", witness=False, debs=debs_dir)
        yield Cluster(lab)
        lab.down()

    def members(self, cluster, host="host1"):
        """(members, healthy members) of the store."""
        etcd = cluster.show(host, "status")["cluster"]["etcd"]
        return etcd["members"], etcd["healthy"]

    def is_bare(self, cluster, host):
        """Has a host Debian's own settings again, and a systemd without complaints?"""
        assert not cluster.is_member(host)
        assert sh(cluster, host, "systemctl is-active mortar-api", check=False).strip() == "inactive"
        units = ["inactive"] * 2 + ["active"] * 3
        cluster.wait_until("daemons are as Debian has them", lambda: sh(
            cluster, host, "systemctl is-active glusterd mortar-api etcd libvirtd mortard", check=False).split() == units)
        assert sh(cluster, host, "systemctl --failed --no-legend") == ""
        files = "/etc/default/etcd /etc/libvirt/qemu.conf /etc/libvirt/libvirtd.conf"
        assert sh(cluster, host, f"grep -li mortar {files}", check=False) == ""
        assert sh(cluster, host, "find /etc/systemd -name mortar.conf; ls -A /etc/mortar") == ""
        assert sh(cluster, host, "ls /sys/class/net").split() == ["lo", "mgmt0", "stor0"]
        assert sh(cluster, host, "ls -A /var/lib/etcd").split() == ["default"]

    def test_a_host_with_a_brick_or_the_ca_must_stay(self, cluster):
        form(cluster, host2="converged", host3="converged")
        cluster.wait_until("three members", lambda: self.members(cluster) == (3, 3), 90)
        cluster.mortar("host1", "pool", "create", "vms", "--hosts", "host1,host2", "--no-ha", *DISK)
        refused(cluster, "host2", "leave", says="pool 'vms' has a brick here")
        cluster.mortar("host1", "pool", "create", "local", "--type", "dir", "--hosts", "host1")
        cluster.mortar("host1", "pool", "rm", "local")
        refused(cluster, "host1", "leave", says="cannot leave")

    def test_a_host_leaves_and_the_others_go_on(self, cluster):
        assert is_mounted(cluster, "host3", "/mnt/vms")
        cluster.mortar("host3", "leave")
        self.is_bare(cluster, "host3")
        cluster.wait_until("host1 has heard of it", lambda: cluster.names("host1", "host") == ["host1", "host2"])
        peers = sh(cluster, "host1", "gluster --mode=script pool list")
        assert cluster.lab.host("host3").address("stor") not in peers and "host3" not in peers
        cluster.wait_until("the store is whole", lambda: len(set(self.members(cluster))) == 1)

    def test_it_can_join_again(self, cluster):
        cluster.join("host3")
        cluster.wait_told(["host1", "host2", "host3"])
        cluster.wait_until("three members", lambda: self.members(cluster) == (3, 3), 90)
        assert cluster.wait_until("mounted", lambda: is_mounted(cluster, "host3", "/mnt/vms"))

    def test_used_tokens_do_not_pile_up(self, cluster):
        script = ("ETCDCTL_API=3 etcdctl --cacert /etc/mortar/pki/ca.crt --cert "
                  "/etc/mortar/pki/host.crt --key /etc/mortar/pki/host.key --endpoints "
                  f"https://{cluster.lab.host('host1').address()}:2379 "
                  "get --prefix --keys-only /mortar/v1/token/")
        cluster.wait_until("tokens go", lambda: sh(cluster, "host1", script) == "", 90)

    def test_the_package_can_be_purged_after_a_leave(self, cluster):
        cluster.mortar("host3", "leave")
        sh(cluster, "host3", "dpkg --purge mortar")
        assert sh(cluster, "host3", "systemctl --failed --no-legend") == ""
        assert sh(cluster, "host3", "ls -d /etc/mortar /var/lib/mortar /run/mortar", check=False) == ""

    def test_the_last_host_ends_the_cluster(self, cluster):
        cluster.mortar("host1", "pool", "rm", "vms")
        cluster.wait_until("host2 has heard that it needs it no more", lambda: cluster.names("host2", "pool") == [])
        cluster.mortar("host2", "leave")
        self.is_bare(cluster, "host2")
        cluster.wait_until("host1 has heard that it is the last", lambda: cluster.names("host1", "host") == ["host1"])
        cluster.mortar("host1", "leave")
        self.is_bare(cluster, "host1")
        form(cluster)
        assert cluster.names("host1", "host") == ["host1"]


class TestSectors:
    """Disks whose logical sectors have 4096 bytes ("4Kn"), alone and beside ordinary ones."""

    @pytest.fixture(scope="class")
    def cluster(self, make_lab, debs_dir):
        lab = make_lab(hosts=4, disk_size="2G", witness=False, disks_4kn=["host1", "host2"],
                       debs=debs_dir)
        yield Cluster(lab)
        lab.down()

    def test_check_tells_the_sector_size(self, cluster):
        form(cluster, host2="converged", host3="converged", host4="storage")
        for host, size in (("host1", 4096), ("host3", 512)):
            found = cluster.show(host, "check")["findings"]
            disks = [f["measured"]["sector_bytes"] for f in found if f["id"] == "disk.device"]
            assert disks == [size]
        note = next(f for f in cluster.show("host1", "check")["findings"]
                    if f["id"] == "disk.sector")
        assert "4096" in note["value"] and "same sector size" in note["meaning"]

    def test_mixed_sectors_are_refused_and_leave_nothing(self, cluster):
        said = refused(cluster, "host1", "pool", "create", "mixed", "--hosts", "host1,host3",
                       "--no-ha", *DISK, says="host3 has sectors of 512 bytes.*host1 of 4096")
        assert "hint:" in said and "--hosts" in said
        cluster.mortar("host1", "pool", "rm", "mixed")
        for host in ("host1", "host3"):
            assert sh(cluster, host, "ls -A /data/gluster") == ""
        refused(cluster, "host1", "pool", "create", "mixed", "--hosts", "host1,host2,host3",
                "--copies", "3", *DISK, says="sectors of 512 bytes")
        cluster.mortar("host1", "pool", "rm", "mixed")

    def test_a_guest_lives_and_moves_on_large_sectors(self, cluster):
        """The arbiter (host4, 512 bytes) stores no data, so its sectors do not matter."""
        cluster.mortar("host1", "pool", "create", "vms", "--hosts", "host1,host2", "--arbiter",
                       "host4", *DISK)
        guest = Guest(cluster)
        guest.put_files(guest_module.build(), "host1")
        with Recorder(cluster.lab, guest.name, hosts=["host1", "host2", "host3"]) as heart:
            guest.create("vms", "host1", "--host", "host1")
            heart.wait_for(lambda line: line[3]["flushed"] > 200, 120)
            guest.migrate("host2")
            guest.migrate("host3")  # no brick of this pool there
            moved = heart.wait_for(lambda line: line[1] == "host3")
            last = heart.wait_for(lambda line: line[3]["flushed"] > moved[3]["flushed"] + 50)
        cluster.mortar("host1", "vm", "stop", guest.name)
        verdict = guest.judge("host1", last[3]["flushed"])
        assert verdict["ok"], verdict["violations"]
        cluster.wait_until("nothing is left to heal", cluster.is_healed)

    def test_what_a_guest_writes_in_512_bytes_arrives(self, cluster):
        """QEMU finds out that the mount wants 4096 and reads, changes and writes."""
        work = "cd /mnt/vms && qemu-img create -q -f qcow2 -o preallocation=falloc t.qcow2 8M"
        sh(cluster, "host1", work)
        commands = "-c 'write -P 7 512 512' -c 'write -P 8 1536 512' -c flush"
        sh(cluster, "host1", f"qemu-io -f qcow2 -t none -i native {commands} /mnt/vms/t.qcow2")
        reads = "-c 'read -P 0 0 512' -c 'read -P 7 512 512' -c 'read -P 8 1536 512'"
        said = sh(cluster, "host2", f"qemu-io -r -f qcow2 -t none -i native {reads} /mnt/vms/t.qcow2")
        assert "failed" not in said, said
        sh(cluster, "host1", "rm /mnt/vms/t.qcow2")
        assert "EINVAL" not in sh(cluster, "host1", "grep -h 'Invalid argument' "
                                  "/var/log/glusterfs/bricks/*.log | tail -3", check=False)


class TestForeign:
    """A host that already serves somebody is not taken over: init says whom, and harms nothing."""

    @pytest.fixture(scope="class")
    def cluster(self, make_lab, debs_dir):
        lab = make_lab(hosts=1, disk_size="1G", witness=False, debs=debs_dir)
        yield Cluster(lab)
        lab.down()

    def refuse_init(self, cluster, says):
        """init refuses with a reason and a next step; `check` finds the same."""
        words = ["init", "mine", *cluster.addresses("host1"), "--allow-emulation"]
        said = refused(cluster, "host1", *words, says=says)
        assert not cluster.is_member("host1")
        found = cluster.mortar("host1", "check", "--json", check=False)
        assert found.returncode == REFUSED and '"refuse"' in found.stdout
        return said

    def test_data_in_etcd(self, cluster):
        sh(cluster, "host1", "ETCDCTL_API=3 etcdctl put precious 1")
        try:
            self.refuse_init(cluster, "etcd")
            assert "precious" in sh(cluster, "host1", "ETCDCTL_API=3 etcdctl get precious")
        finally:
            sh(cluster, "host1", "systemctl stop etcd; rm -rf /var/lib/etcd/default; systemctl start etcd")

    def test_a_volume_of_glusterfs(self, cluster):
        sh(cluster, "host1", "systemctl start glusterd; mkdir -p /srv/old; "
           "gluster --mode=script volume create old host1:/srv/old force")
        try:
            self.refuse_init(cluster, "GlusterFS volumes|volumes")
            assert sh(cluster, "host1", "gluster volume list") == "old"
        finally:
            sh(cluster, "host1", "gluster --mode=script volume delete old")

    def test_a_peer_of_glusterfs(self, cluster):
        peer = "/var/lib/glusterd/peers/11111111-2222-3333-4444-555555555555"
        sh(cluster, "host1", f"systemctl stop glusterd; echo state=3 > {peer}")
        try:
            self.refuse_init(cluster, "GlusterFS peers|trusted pool")
            sh(cluster, "host1", f"test -e {peer}")
        finally:
            sh(cluster, "host1", f"rm -f {peer}")

    def test_a_port_in_use(self, cluster):
        sh(cluster, "host1", "systemd-run -q --unit=squatter "
           "/usr/bin/systemd-socket-activate -l 8843 /bin/cat")
        try:
            cluster.wait_until("it listens", lambda: "8843" in sh(cluster, "host1", "ss -Hltn"))
            said = self.refuse_init(cluster, "port")
            assert "8843" in said, said
        finally:
            sh(cluster, "host1", "systemctl stop squatter")

    def test_a_contrary_setting_of_libvirt(self, cluster):
        line = "migration_port_min = 50000"
        sh(cluster, "host1", f"cp -a /etc/libvirt/qemu.conf /root; echo '{line}' >> /etc/libvirt/qemu.conf")
        try:
            done = cluster.answer("host1", "init", "mine", *cluster.addresses("host1"))
            assert done.returncode == REFUSED and "qemu.conf" in done.stderr, done
            assert line in sh(cluster, "host1", "cat /etc/libvirt/qemu.conf")
        finally:
            sh(cluster, "host1", "cp -a /root/qemu.conf /etc/libvirt/")

    def test_a_virtual_machine_is_left_alone(self, cluster):
        xml = ("<domain type=\"qemu\"><name>theirs</name><memory>65536</memory><os><type>hvm</type>"
               "</os></domain>")
        sh(cluster, "host1", f"echo '{xml}' > /root/t.xml; virsh define /root/t.xml")
        form(cluster)
        assert cluster.is_member("host1")
        assert "theirs" in sh(cluster, "host1", "virsh list --all --name")
        assert cluster.names("host1", "vm") == []
