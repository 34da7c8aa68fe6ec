# SPDX-License-Identifier: Apache-2.0
"""The Debian guest (docs/guest.md): its image, and what cloud-init, SSH and a move make of it."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from mortarcluster import Cluster, Console, DebianGuest, debian

TREE = pathlib.Path(__file__).resolve().parents[2]


def wait_until(what, condition, within_s):
    """Poll condition() until it gives something true."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.1)


def traces(directory):
    """Mounts, loop devices and processes of the machine that have to do with a directory."""
    found = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
             if str(directory) in line]
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    found += [line for line in loops.splitlines() if str(directory) in line]
    for path in pathlib.Path("/proc").glob("[0-9]*/root"):
        try:
            found += [str(path)] if os.readlink(path).startswith(str(directory)) else []
        except OSError:
            continue  # it has ended
    return found


ADDRESS = "10.99.0.9"
TICK = r"tick (\d+) on"  # of guest/debian-user-data


class TestImage:
    """What guest/build-debian leaves behind."""

    def test_a_killed_build_leaves_no_mount_and_no_image(self, tmp_path):
        env = {**os.environ, "MORTAR_GUEST_CACHE": str(tmp_path)}
        child = subprocess.Popen([debian.BUILD], env=env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:  # until Debian's programs run in the tree, which is when it has its mounts
            wait_until("packages are installed", lambda: any("/root" in t for t in traces(tmp_path)),
                       300)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        wait_until("all of it is gone", lambda: not traces(tmp_path), 60)
        assert not list(tmp_path.glob("debian-*"))
        assert subprocess.run([debian.BUILD, "--is-cached"], env=env, check=False).returncode == 1

    def test_the_second_build_finds_the_first(self):
        image = debian.build()
        assert debian.is_built()
        before = image.stat().st_mtime_ns
        assert debian.build() == image and image.stat().st_mtime_ns == before
        subprocess.run(["qemu-img", "check", "-q", image], check=True)


class TestBoot:
    """One boot, emulated: minutes. The tests build on each other."""

    @pytest.fixture(scope="class")
    def guest(self, make_lab, debs_dir, tmp_path_factory):
        """Created, with a key and user-data that gives it an address; the network has no DHCP."""
        cluster = Cluster(make_lab(hosts=2, disk_size="8G", witness=False, debs=debs_dir))
        cluster.form()
        cluster.create_pool("vms", "host1", "--no-ha")
        data = tmp_path_factory.mktemp("debian") / "user-data"
        data.write_text(debian.USER_DATA.read_text() + "- [sh, -c, 'ip address add "
                        f"{ADDRESS}/24 dev $(ls /sys/class/net | grep -m1 ^e)']\n")
        guest = DebianGuest(cluster, user_data=data)
        guest.put_files(debian.build(), "host1")
        guest.create("vms", "host1", "--host", "host1")
        return guest

    def ssh(self, guest, command):
        """What a command in the guest prints; from host1's end of the VM network, with its key."""
        words = ["ssh", "-i", debian.KEY, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-o",
                 "ConnectTimeout=20", f"debian@{ADDRESS}", command]
        return guest.cluster.lab.exec("host1", words, timeout=120).stdout.strip()

    def test_cloud_init_runs_to_its_end(self, guest):
        log = guest.wait_booted()
        assert "DataSourceNoCloud" in log
        assert f"{guest.name} login:" in log, "it has the machine's name"

    def test_the_key_opens_it(self, guest):
        bridge = ["ip", "address", "replace", "10.99.0.1/24", "dev", "mortar0"]
        guest.cluster.lab.exec("host1", bridge)
        assert self.ssh(guest, "id -un; sudo id -un; uname -n").split() == ["debian", "root", guest.name]

    def test_it_moves_and_counts_on(self, guest):
        boot_id = self.ssh(guest, "cat /proc/sys/kernel/random/boot_id")
        with Console(guest.cluster, "host2", guest.name, lambda line: None) as console:
            mark = len(console.lines)
            tick = int(console.wait_for(TICK, 120, mark)[1])
            guest.migrate("host2")
            console.wait_for(f"tick {tick + 8} on {guest.name}", 120, mark)
            ticks = [int(m[1]) for line in console.lines if (m := re.search(TICK, line))]
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks))), "none is missing, none twice"
        assert self.ssh(guest, "cat /proc/sys/kernel/random/boot_id") == boot_id
