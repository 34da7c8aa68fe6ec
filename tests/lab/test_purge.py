# SPDX-License-Identifier: Apache-2.0
"""Purging the package of a member that has not left: the host is usable again, the data stays.

The tests build on each other, in the order written. What needs no more than this lab has stands here
too: the mount's supervision by systemd, and requests that are sent twice.
"""

import http.client
import json
import socket

import pytest

from mortarcluster import Cluster, Guest
from mortarcluster import guest as guest_module
from mortarlab import cgroup, image

MOUNT = "mortar-mount-vms.service"


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Two members; a mirrored pool, and a pool of host1's own with a guest."""
    cluster = Cluster(make_lab(hosts=2, disk_size="2G", witness=False, debs=debs_dir))
    for entry in cluster.lab.hosts():
        sh(cluster, entry.name, f"tar -cf /root/before.tar {SETTINGS}")
    cluster.form()
    cluster.create_pool("vms", "host1", "--no-ha")
    return cluster


@pytest.fixture(scope="module")
def guest(cluster):
    """The demo guest on host1's local pool."""
    guest = Guest(cluster)
    guest.put_files(guest_module.build(), "host1")
    cluster.mortar("host1", "pool", "create", "local", "--type", "dir", "--hosts", "host1")
    guest.create("local", "host1")
    return guest


SETTINGS = "/etc/default/etcd /etc/libvirt/qemu.conf /etc/libvirt/libvirtd.conf"


def sh(cluster, host, script, check=True):
    """What a shell in a host prints."""
    return cluster.lab.exec(host, ["sh", "-c", script], check=check, timeout=120).stdout.strip()


def ask(cluster, host, method, path, body, request_id):
    """(status, answer) of the agent of a host, over its socket."""
    pid = cgroup.leader(cluster.lab.host(host).cgroup)
    http_to = http.client.HTTPConnection("localhost")
    http_to.sock = socket.socket(socket.AF_UNIX)
    http_to.sock.settimeout(60)
    http_to.sock.connect(f"/proc/{pid}/root/run/mortar/agent.sock")
    http_to.request(method, path, json.dumps(body), {"Mortar-Request-Id": request_id})
    reply = http_to.getresponse()
    answer = json.loads(reply.read())
    http_to.close()
    return reply.status, answer


def assert_usable(cluster, host):
    """Everything is as Debian left it, and works."""
    assert sh(cluster, host, "systemctl --failed --no-legend") == ""
    different = sh(cluster, host, "tar -C / -df /root/before.tar 2>&1", check=False).splitlines()
    assert [line for line in different if "time" not in line and "Removing" not in line] == []
    found = ("find /etc /lib/systemd /var/lib/mortar /run -name '*mortar*' ! -name 'mortar-data' "
             "! -name '*mortar-lab*'")
    assert sh(cluster, host, found, check=False) in ("", "/var/lib/mortar")
    assert sh(cluster, host, "ls -A /var/lib/mortar", check=False) in ("", "pools")
    assert sh(cluster, host, "grep -rl --exclude='mortar-lab*' mortar /etc/libvirt /etc/default "
              "/etc/systemd", check=False) == ""
    assert sh(cluster, host, "ls /sys/class/net").split() == ["lo", "mgmt0", "stor0"]
    assert sh(cluster, host, "systemctl is-active glusterd", check=False) == "inactive"
    assert sh(cluster, host, "systemctl is-active etcd libvirtd").split() == ["active", "active"]
    sh(cluster, host, "systemctl restart libvirtd && virsh list --all")
    assert sh(cluster, host, "grep -l gluster /proc/[0-9]*/comm", check=False) == ""
    assert sh(cluster, host, "grep -E ' /mnt/| /data/gluster/|gluster' /proc/mounts", check=False) == ""


def test_systemd_mounts_again_when_the_mount_process_is_killed(cluster):
    """By the unit alone: the agent looks away meanwhile."""
    sh(cluster, "host2", "systemctl stop mortard")
    try:
        pid = sh(cluster, "host2", f"systemctl show -P MainPID {MOUNT}")
        before = sh(cluster, "host2", "touch /mnt/vms/there; stat -c %i /mnt/vms/there")
        sh(cluster, "host2", f"kill -9 {pid}")
        there_again = f"systemctl is-active -q {MOUNT} && mountpoint -q /mnt/vms && stat -c %i /mnt/vms/there"
        cluster.wait_until("the file is there again",
                           lambda: sh(cluster, "host2", there_again, check=False) == before)
        assert sh(cluster, "host2", f"systemctl show -P MainPID {MOUNT}") not in (pid, "0")
        assert sh(cluster, "host2", f"systemctl show -P NRestarts {MOUNT}") != "0"
        assert sh(cluster, "host2", "grep -c ' /mnt/vms ' /proc/mounts") == "1", "the dead one is gone"
        sh(cluster, "host2", "rm /mnt/vms/there")
    finally:
        sh(cluster, "host2", "systemctl start mortard")
    assert cluster.is_member("host2")  # what comes next asks it without patience


def test_a_vm_is_created_once_by_a_request_sent_twice(cluster, guest):
    body = {"name": "twin", "image": guest_module.IMAGE, "pool": "local", "cpus": 1,
            "memory_bytes": 64 << 20, "host": "host1", "start": False}
    cluster.wait_heard("host2", guest.name)  # and of its image and pool
    said = [ask(cluster, host, "POST", "/v1/vms", body, "0123456789abcdef")
            for host in ("host1", "host1", "host2")]
    assert [status for status, _ in said] == [202] * 3, said
    assert len({answer["task"] for _, answer in said}) == 1, said
    state = lambda: cluster.show("host1", "task", "show", said[0][1]["task"])["state"]  # noqa: E731
    cluster.wait_until("it is made", lambda: state() != "running")
    assert state() == "done" and "twin" in cluster.names("host1", "vm")
    cluster.wait_until("host2 has heard of it", lambda: "twin" in cluster.names("host2", "vm"))
    assert ask(cluster, "host1", "POST", "/v1/vms", body, "0123456789abcdef") == said[0]
    status, answer = ask(cluster, "host1", "POST", "/v1/vms", body, "another-request")
    assert status == 409 and answer["error"]["name"] == "object.exists", answer


def test_an_answer_without_a_task_is_given_again(cluster):
    first = ask(cluster, "host1", "POST", "/v1/tokens", {}, "token-please")
    assert first[0] == 200 and first[1]["token"]
    assert ask(cluster, "host1", "POST", "/v1/tokens", {}, "token-please") == first
    assert ask(cluster, "host1", "POST", "/v1/tokens", {}, "token-please2") != first


def test_a_member_with_a_brick_is_purged(cluster):
    sh(cluster, "host2", "echo precious > /mnt/vms/precious")
    done = cluster.lab.exec("host2", ["dpkg", "--purge", "mortar"], timeout=120)
    assert "mortar leave" in done.stdout + done.stderr, "it says what would have been better"
    assert_usable(cluster, "host2")


def test_the_data_of_the_brick_is_still_there(cluster):
    script = "mount -o ro /dev/mortar-data /mnt && cat /mnt/brick/precious; umount /mnt"
    assert sh(cluster, "host2", script) == "precious"
    assert "vms" in sh(cluster, "host2", "ls /var/backups/mortar/glusterd/vols")


def test_a_removed_package_leaves_running_guests_alone(cluster, guest):
    sh(cluster, "host1", "dpkg --remove mortar")
    assert guest.name in sh(cluster, "host1", "virsh list --name")
    assert sh(cluster, "host1", "systemctl is-active glusterd etcd libvirtd").split() == ["active"] * 3


def test_a_purge_waits_for_guests_to_end(cluster, guest):
    done = cluster.lab.exec("host1", ["dpkg", "--purge", "mortar"], check=False)
    assert done.returncode != 0 and "virsh shutdown" in done.stderr, done
    assert guest.name in sh(cluster, "host1", "virsh list --name")
    assert sh(cluster, "host1", "test -e /etc/mortar/pki/libvirt/cacert.pem && echo whole") == "whole"
    sh(cluster, "host1", f"virsh destroy {guest.name}")
    sh(cluster, "host1", "dpkg --purge mortar")
    assert_usable(cluster, "host1")
    assert "qcow2" in sh(cluster, "host1", "find /var/lib/mortar/pools"), "images are the user's"


def test_a_new_cluster_can_be_made_of_them(cluster, debs_dir):
    for entry in cluster.lab.hosts():
        for deb in image.list_debs(debs_dir):
            cluster.lab.put(entry.name, deb, f"/root/{deb.name}")
        sh(cluster, entry.name, "dpkg -i /root/*.deb")
    cluster.form()
    assert cluster.names("host2", "host") == ["host1", "host2"]
    assert cluster.names("host1", "vm") == []
    cluster.create_pool("vms", "host1", "--no-ha", "--wipe")
    cluster.wait_quorum("host1", "vms")
    cluster.wait_quorum("host2", "vms")
