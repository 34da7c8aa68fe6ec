# SPDX-License-Identifier: Apache-2.0
"""The lab keeps its promises: it is real enough, it hurts as told, and it leaves nothing."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from mortarlab import LabError, cgroup, disk, image, net, state
from reports import has_failed

from mortarcluster.faults import mend_all

TREE = pathlib.Path(__file__).resolve().parents[2]
TOOL = TREE / "lab/mortar-lab"
# Kernel settings of the machine that a booting Debian would change if it could.
SHARED_SETTINGS = ("fs/file-max", "fs/nr_open", "kernel/pid_max", "kernel/core_pattern",
                   "kernel/printk", "kernel/sysrq", "fs/protected_hardlinks")


@pytest.fixture(scope="module")
def shared(make_lab):
    """Three hosts shared by the tests of this file; each leaves them running and healed."""
    return make_lab(hosts=3, disk_size="1G", small_roots=["host3"])


@pytest.fixture
def lab(request, shared):
    """The shared hosts; running and healed again also after a test that failed."""
    yield shared
    if has_failed(request.node):
        mend_all(shared)
        shared.up()


def tool(*argv, **options):
    """Run mortar-lab as a user does."""
    return subprocess.run([TOOL, *argv], capture_output=True, text=True, timeout=180, **options)


def reaches(lab, host, other):
    """Does one ping from host to a name get through?"""
    argv = ["ping", "-c1", "-W1", other]
    return lab.exec(host, argv, check=False).returncode == 0


def shared_settings():
    """The machine's values of SHARED_SETTINGS, as far as its kernel has them."""
    files = {name: pathlib.Path("/proc/sys", name) for name in SHARED_SETTINGS}
    return {name: file.read_text() for name, file in files.items() if file.exists()}


def comes_to_reach(lab, host, other):
    """As reaches(), with time for ARP to ask again after a cut."""
    return wait_until(lambda: reaches(lab, host, other))


def wait_until(condition, deadline_s=60):
    """Poll a condition; False when the deadline passed first."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def traces(name):
    """Everything on the machine that bears a lab's name."""
    found = [ns for ns in net.list_ns() if ns.split(".")[1:2] == [name]]
    found += [str(path) for path in cgroup.host_paths_of_lab(name)]
    found += [str(d) for d in disk.attached_below(state.lab_dir(name)).values()]
    found += [str(p) for p in (state.lab_dir(name), state.lock_path(name)) if p.exists()]
    words = [f"mlab-{name}-", f"/{name}/hosts/", f"mlab.{name}"]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_text() + (process / "mountinfo").read_text()
        except OSError:
            continue  # ended, or a kernel thread
        found += [f"{process.name}: {word}" for word in words if word in text]
    return found


def test_three_hosts_run_with_systemd_and_no_failed_unit(lab):
    assert [host.state() for host in lab.hosts()] == ["running"] * 3
    for host in lab.hosts():
        assert host.exec(["ps", "-p1", "-ocomm="]).stdout.strip() == "systemd"
        assert host.exec(["hostname"]).stdout.strip() == host.name


def test_status_names_hosts_with_state_and_address(lab):
    status = json.loads(tool("status", "--json", "--name", lab.name).stdout)
    for index, host in enumerate(status["hosts"], 1):
        assert host["name"] == f"host{index}"
        assert host["state"] == "running"
        shown = lab.exec(host["name"], ["ip", "-brief", "address", "show", "mgmt0"]).stdout
        assert f" {host['address']}/24 " in shown
    assert [host["role"] for host in status["hosts"]] == ["data", "data", "witness"]


def test_hosts_find_each_other_by_name_in_both_networks(lab):
    assert comes_to_reach(lab, "host1", "host3")
    assert comes_to_reach(lab, "host1", "host3-stor")


def test_hosts_see_their_own_links_only(lab):
    assert set(os.listdir("/sys/class/net")) != {"lo", "mgmt0", "stor0"}
    assert lab.exec("host1", ["ls", "/sys/class/net"]).stdout.split() == ["lo", "mgmt0", "stor0"]


def test_hosts_differ_in_identity(lab):
    script = "cat /etc/machine-id; virsh -c qemu:///system capabilities | grep -m1 '<uuid>'"
    words = [lab.exec(h.name, ["sh", "-c", script]).stdout for h in lab.hosts()]
    assert len(set(words)) == 3 and all("<uuid>" in word for word in words)


def test_a_controller_is_delegated_so_that_libvirt_uses_cgroups(lab):
    assert lab.exec("host1", ["cat", "/sys/fs/cgroup/cgroup.controllers"]).stdout.split()


def test_machine_settings_are_out_of_reach(lab):
    before = shared_settings()
    assert lab.exec("host1", ["sysctl", "-w", "vm.swappiness=1"], check=False).returncode != 0
    lab.exec("host1", ["systemctl", "restart", "systemd-sysctl"])
    lab.exec("host1", ["systemctl", "daemon-reexec"])
    assert shared_settings() == before


def test_exec_passes_exit_code_stdin_and_output(lab):
    assert tool("exec", "--name", lab.name, "host1", "--", "sh", "-c", "exit 7").returncode == 7
    killed = tool("exec", "--name", lab.name, "host1", "--", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 128 + signal.SIGKILL
    echoed = tool("exec", "--name", lab.name, "host2", "--", "cat", input="words\n")
    assert (echoed.returncode, echoed.stdout) == (0, "words\n")
    assert tool("exec", "--name", lab.name, "host9", "--", "true").returncode == 1


def test_exec_past_its_timeout_kills_what_it_started(lab):
    with pytest.raises(LabError, match="no end within"):
        lab.exec("host1", ["sh", "-c", "sleep 4321 & wait"], timeout=0.5)
    assert lab.exec("host1", ["pgrep", "-f", "^sleep 4321"], check=False).returncode == 1


def test_put_copies_a_file_whole(lab, tmp_path):
    data = os.urandom(300_000)
    (tmp_path / "data").write_bytes(data)
    lab.put("host1", tmp_path / "data", "/root/data", mode="600")
    seen = lab.exec("host1", ["stat", "-c", "%s %a", "/root/data"]).stdout
    assert seen.split() == ["300000", "600"]


def test_up_again_changes_nothing_and_another_shape_is_refused(lab):
    leader = cgroup.leader(lab.host("host1").cgroup)
    lab.up(hosts=3)
    assert cgroup.leader(lab.host("host1").cgroup) == leader
    with pytest.raises(LabError, match="another shape"):
        lab.up(hosts=2)


def test_a_mounted_disk_comes_back_after_cut_and_boot(lab):
    script = """
        mkfs.xfs -q /dev/mortar-data && mkdir -p /brick
        echo "UUID=$(blkid -s UUID -o value /dev/mortar-data) /brick xfs defaults 0 0" > /etc/fstab
        systemctl daemon-reload && mount /brick && echo kept > /brick/file && sync
    """
    lab.exec("host1", ["sh", "-ec", script])
    lab.cut("host1")
    assert lab.host("host1").state() == "off"
    lab.boot("host1")
    assert lab.exec("host1", ["cat", "/brick/file"]).stdout == "kept\n"
    assert lab.host("host1").state() == "running"


def test_a_full_disk_is_full_and_can_be_freed(lab):
    script = "mountpoint -q /brick || { mkfs.xfs -qf $1 && mount -m $1 /brick; }"
    lab.exec("host1", ["sh", "-c", script, "mount", "/dev/mortar-data"])
    write = ["dd", "if=/dev/zero", "of=/brick/more", "bs=1M", "count=1", "status=none"]
    lab.disk("host1", "fill")
    assert "No space left" in lab.exec("host1", write, check=False).stderr
    lab.disk("host1", "free")
    lab.exec("host1", write)


def test_a_small_root_can_be_filled_and_outlives_a_cut_and_no_other_root_can(lab):
    write = ["dd", "if=/dev/zero", "of=/var/lib/more", "bs=1M", "count=1", "conv=fsync"]
    with pytest.raises(LabError, match="this machine's own disk"):
        lab.disk("host1", "fill-root")
    lab.exec("host3", ["sh", "-c", "echo kept > /var/lib/kept && sync"])
    lab.disk("host3", "fill-root")
    assert "No space left" in lab.exec("host3", write, check=False).stderr
    lab.disk("host3", "free")
    lab.exec("host3", write)
    lab.cut("host3")
    lab.boot("host3")
    assert lab.exec("host3", ["cat", "/var/lib/kept"]).stdout == "kept\n"


def test_a_slow_disk_is_slow_until_freed(lab, capabilities):
    if not capabilities["slow_disk"]["value"]:
        pytest.skip("this machine cannot slow a disk")
    write = ["dd", "if=/dev/zero", "of=/dev/mortar-data", "bs=4k", "count=30", "oflag=direct"]
    lab.disk("host2", "slow")
    def seconds():
        started = time.monotonic()
        lab.exec("host2", write)
        return time.monotonic() - started
    assert seconds() > 0.7
    lab.disk("host2", "free")
    assert wait_until(lambda: seconds() < 0.7), "no write is quick, however idle the machine is for a moment"


def test_a_broken_disk_fails_every_call_until_the_host_is_booted(lab):
    lab.exec("host2", ["sh", "-ec", "mkfs.xfs -qf $1; mount -m $1 /dead", "sh", "/dev/mortar-data"])
    lab.exec("host2", ["sh", "-c", "echo kept > /dead/file && sync"])
    lab.disk("host2", "error")
    read = ["cat", "/dead/file"]
    assert "Input/output error" in lab.exec("host2", read, check=False).stderr
    lab.cut("host2")
    lab.boot("host2")
    lab.exec("host2", ["mount", "/dev/mortar-data", "/dead"])
    assert lab.exec("host2", read).stdout == "kept\n"
    lab.exec("host2", ["umount", "/dead"])


def test_a_cut_host_says_no_last_word(lab):
    listener = lab.popen("host2", ["socat", "-u", "TCP-LISTEN:7000,reuseaddr", "STDOUT"])
    assert wait_until(lambda: "7000" in lab.exec("host2", ["ss", "-Htln", "sport", "7000"]).stdout)
    talker = lab.popen("host1", ["socat", "-u", "EXEC:sleep 600", "TCP:host2:7000"])
    established = ["ss", "-Htn", "state", "established", "dport", "7000"]
    assert wait_until(lambda: lab.exec("host1", established).stdout)
    lab.cut("host2")
    time.sleep(0.3)
    assert lab.exec("host1", established).stdout, "the peer learned of the power cut at once"
    talker.kill()
    lab.boot("host2")
    assert listener.wait(60) != 0
    talker.wait(60)


def test_power_takes_everything_with_it(lab):
    sleeper = lab.popen("host2", ["sleep", "600"])
    pids = cgroup.processes(lab.host("host2").cgroup)
    assert len(pids) > 10
    lab.cut("host2")
    assert sleeper.wait(60) != 0
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}/exe")]
    lab.boot("host2")


def test_a_hung_host_stands_still_and_goes_on(lab):
    counter = ["sh", "-c", "echo $(($(cat /run/n 2>/dev/null) + 1)) > /run/n"]
    lab.exec("host2", counter)
    loop = lab.popen("host2", ["sh", "-c", f"while :; do {counter[2]}; sleep 0.02; done"])
    leader = cgroup.leader(lab.host("host2").cgroup)
    count = pathlib.Path(f"/proc/{leader}/root/run/n")
    lab.hang("host2")
    assert lab.host("host2").state() == "hung"
    with pytest.raises(LabError, match="hangs"):
        lab.exec("host2", ["true"])
    before = count.read_text()
    time.sleep(0.3)
    assert count.read_text() == before
    assert comes_to_reach(lab, "host1", "host2"), "a hung host's kernel answers, as long as it has links"
    lab.resume("host2")
    assert wait_until(lambda: count.read_text() not in ("", before))
    loop.kill()
    loop.wait(60)


def test_a_hang_with_cut_links_is_silent_until_resume(lab):
    lab.hang("host2", cut_links=True)
    assert not reaches(lab, "host1", "host2")
    lab.resume("host2")
    assert comes_to_reach(lab, "host1", "host2")


def test_a_partition_drops_what_it_names_and_nothing_else(lab):
    lab.partition("host1", "host2", network="storage")
    assert not reaches(lab, "host1", "host2-stor")
    assert comes_to_reach(lab, "host1", "host2")
    assert comes_to_reach(lab, "host1", "host3-stor")
    lab.partition("host3")
    assert not reaches(lab, "host1", "host3")
    lab.heal()
    assert comes_to_reach(lab, "host1", "host2-stor")
    assert comes_to_reach(lab, "host1", "host3")


def make_deb(directory, version):
    """A package that does nothing but say its version; the only one in directory."""
    for old in directory.glob("*.deb"):
        old.unlink()
    tree = directory / "tree"
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: lab-trial\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: nobody <nobody@localhost>\nDescription: trial\n"
    )
    argv = ["dpkg-deb", "--build", "--root-owner-group", tree, directory / f"trial_{version}.deb"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def test_packages_are_installed_in_each_host_and_upgraded_in_place(make_lab, tmp_path):
    query = ["dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "lab-trial"]
    make_deb(tmp_path, "1.0")
    lab = make_lab(hosts=2, disk_size="1G", debs=tmp_path)
    assert [h.exec(query).stdout for h in lab.hosts()] == ["1.0 installed"] * 2
    leader = cgroup.leader(lab.host("host1").cgroup)
    make_deb(tmp_path, "2.0")
    lab.up(debs=tmp_path)
    assert [h.exec(query).stdout for h in lab.hosts()] == ["2.0 installed"] * 2
    assert cgroup.leader(lab.host("host1").cgroup) == leader
    lab.down()


def test_two_labs_side_by_side_do_not_meet(lab, make_lab):
    other = make_lab(hosts=1, disk_size="1G")
    theirs = other.host("host1")
    assert {h.address() for h in lab.hosts()}.isdisjoint({theirs.address()})
    assert lab.host("host1").disk_file != theirs.disk_file
    for network in net.NETS:
        assert not reaches(lab, "host1", theirs.address(network))
    leader = cgroup.leader(theirs.cgroup)
    lab.cut("host1")
    lab.partition("host2")
    assert theirs.state() == "running" and cgroup.leader(theirs.cgroup) == leader
    lab.heal()
    lab.boot("host1")
    other.down()
    assert traces(other.name) == []
    assert [h.state() for h in lab.hosts()] == ["running"] * 3


def test_down_leaves_nothing(make_lab):
    gone = make_lab(hosts=2, disk_size="1G")
    gone.exec("host1", ["sh", "-c", "mkfs.xfs -q /dev/mortar-data && mount /dev/mortar-data /mnt"])
    gone.hang("host1")
    assert traces(gone.name) != []
    gone.down()
    assert traces(gone.name) == []
    with pytest.raises(LabError, match="there is no lab"):
        gone.status()


def seed_of_run():
    """A seed for random moments, printed so that a failure can be run again."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SEED={seed}", file=sys.stderr)
    return seed


def kill_up_after(lab, seconds):
    """Start `up` of two hosts as a user does, and kill -9 it."""
    argv = [TOOL, "up", "--name", lab.name, "--hosts", "2", "--disk-size", "1G"]
    up = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    up.kill()
    up.wait()


def test_the_lock_of_a_killed_up_is_free_when_its_last_command_ends(tmp_path):
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    words = ["sh", "-c", f"touch {begun}; sleep 1; touch {ended}"]
    script = f"""if True:
        from mortarlab import command, state
        with state.locked("test-orphan"):
            command.run({words!r})
    """
    up = subprocess.Popen([sys.executable, "-c", script], env={"PYTHONPATH": str(TREE / "lab")})
    assert wait_until(begun.exists)
    up.kill()
    up.wait()
    with state.locked("test-orphan"):
        assert ended.exists()
        state.lock_path("test-orphan").unlink()


def test_down_after_a_crash_half_way_leaves_nothing(make_lab):
    image.ensure_base()
    moments = random.Random(seed_of_run())
    for _round in range(4):
        lab = make_lab()
        kill_up_after(lab, moments.uniform(0.1, 1.6))
        lab.down()
        assert traces(lab.name) == []


def test_up_after_a_crash_half_way_goes_on(make_lab):
    """Kill `up` early, where the plan and the switches are made, and late; then run it again."""
    moments = random.Random(seed_of_run())
    for latest in (0.4, 1.2):
        lab = make_lab()
        kill_up_after(lab, moments.uniform(0.1, latest))
        lab.up(hosts=2, disk_size="1G")
        assert [h.state() for h in lab.hosts()] == ["running"] * 2
        assert comes_to_reach(lab, "host1", "host2-stor")
        lab.down()


def test_down_works_without_the_plan(make_lab):
    lab = make_lab(hosts=1, disk_size="1G")
    (state.lab_dir(lab.name) / "state.json").unlink()
    lab.down()
    assert traces(lab.name) == []
