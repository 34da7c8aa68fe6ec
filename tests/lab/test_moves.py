# SPDX-License-Identifier: Apache-2.0
"""Moves and what is done with machines and images besides, with real engines, and power that fails.

A lab of its own, in the order written: power cuts leave hosts that boot again. Of the power cuts and kills
two are drawn from MORTAR_SEED; MORTAR_FULL=1 tries all.
"""

import contextlib
import hashlib
import os
import pathlib
import pty
import random
import re
import select
import signal
import subprocess
import time

import pytest
from moving import (OTHER, POLL_S, SETTLE_S, HurtMove, hurt_in, judge, last_task, qemu_pids,
                    wait_healed, wait_more, wait_no_task, wait_qemu, wait_runs_on)

from mortarcluster import Cluster, Guest, Recorder
from mortarcluster import guest as guest_module

from mortarlab import net

IS_FULL = os.environ.get("MORTAR_FULL") == "1"
SEED = int(os.environ.get("MORTAR_SEED", "1"))
NOT_FOUND, REFUSED = 3, 4  # exit codes: mortar(1)
DATA_HOSTS = ("host1", "host2")
WORK = guest_module.IN_HOST
# What is hurt, and in which phase of the move.
CUTS = [("target", "copy"), ("source", "copy"), ("source", "switch-over"), ("source", "handover")]
KILLS = [("source", "copy"), ("target", "copy")]
HURTS = [("power", *cut) for cut in CUTS] + [("qemu", *kill) for kill in KILLS]
SAMPLED = HURTS if IS_FULL else random.Random(SEED).sample(HURTS, 2)


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Three hosts, a mirrored pool."""
    print(f"\nMORTAR_SEED={SEED}: {SAMPLED}")
    cluster = Cluster(make_lab(hosts=3, disk_size="4G", debs=debs_dir))
    cluster.form()
    cluster.create_pool()
    return cluster


@pytest.fixture(scope="module")
def files(cluster):
    """The demo guest's files in both data hosts."""
    built = guest_module.build()
    for host in DATA_HOSTS:
        Guest(cluster).put_files(built, host)
    return built


@pytest.fixture
def guest(cluster, files):
    """The demo guest, running under write load, on a whole pool."""
    guest = Guest(cluster, writes_per_s=50, emit_ms=10)
    wait_healed(cluster)
    if guest.name not in cluster.names("host1", "vm"):
        guest.create()
    elif guest.seen()["state"] != "running":
        cluster.mortar("host1", "vm", "start", guest.name)
    cluster.wait_heard("host3", guest.name)
    return guest


# -- images, there and back


def make_sources(cluster):
    """A raw image whose every block is known, and the same as qcow2 and vmdk, in host1."""
    script = f"""cd {WORK} && test -e known.raw || {{
        head -c 3M /dev/urandom > known.raw && truncate -s 16M known.raw &&
        head -c 1M /dev/urandom | dd of=known.raw bs=1M seek=15 conv=notrunc status=none &&
        qemu-img convert -O qcow2 known.raw known.qcow2 &&
        qemu-img convert -O vmdk -o subformat=streamOptimized known.raw known.vmdk; }}"""
    cluster.lab.exec("host1", ["sh", "-c", script])


def assert_same_content(cluster, image, fmt):
    """The image, exported in a format, has the content of the source."""
    out = f"{WORK}/{image}.out.{fmt}"
    cluster.mortar("host1", "image", "export", image, out, "--format", fmt)
    info = cluster.lab.exec("host1", ["qemu-img", "info", out]).stdout
    assert f"file format: {fmt}" in info, info
    cluster.lab.exec("host1", ["qemu-img", "compare", "-F", fmt, f"{WORK}/known.raw", out])
    cluster.lab.exec("host1", ["rm", out])


@pytest.mark.parametrize("fmt", ["qcow2", "raw", "vmdk"])
def test_an_image_keeps_its_content_through_import_and_export(cluster, files, fmt):
    make_sources(cluster)
    cluster.mortar("host1", "image", "import", f"{WORK}/known.{fmt}", "--name", f"from-{fmt}")
    assert cluster.show("host1", "image", "show", f"from-{fmt}")["size_bytes"] == 16 << 20
    for out in ("qcow2", "raw", "vmdk"):
        assert_same_content(cluster, f"from-{fmt}", out)
    cluster.mortar("host1", "image", "rm", f"from-{fmt}")


def test_an_export_overwrites_nothing(cluster, files):
    make_sources(cluster)
    cluster.mortar("host1", "image", "import", f"{WORK}/known.raw", "--name", "kept")
    taken = f"{WORK}/taken"
    cluster.lab.exec("host1", ["sh", "-c", f"echo precious > {taken}"])
    done = cluster.mortar("host1", "image", "export", "kept", taken, check=False)
    assert done.returncode == REFUSED and "exists" in done.stderr, done
    assert cluster.lab.exec("host1", ["cat", taken]).stdout == "precious\n"
    cluster.mortar("host1", "image", "rm", "kept")


@contextlib.contextmanager
def http_server(lab, host, directory):
    """A web server of this machine's files in a host's network; its base URL."""
    port = 8000
    argv = ["nsenter", f"--net=/run/netns/{net.host_ns(lab.name, host)}", "python3", "-m", "http.server",
            str(port), "--directory", str(directory)]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://{lab.host(host).address()}:{port}"
    finally:
        child.kill()
        child.wait()


def test_an_image_comes_from_a_web_server(cluster, files, tmp_path):
    make_sources(cluster)
    (tmp_path / "known.qcow2").write_bytes(files.joinpath("demo.qcow2").read_bytes())
    digest = hashlib.sha256((tmp_path / "known.qcow2").read_bytes()).hexdigest()
    with http_server(cluster.lab, "host3", tmp_path) as url:
        cluster.wait_until("it serves", lambda: cluster.mortar(
            "host1", "image", "import", f"{url}/nowhere.qcow2", check=False).returncode == NOT_FOUND)
        done = cluster.mortar("host1", "image", "import", f"{url}/known.qcow2", "--name", "wrong",
                              "--checksum", f"sha256:{'0' * 64}", check=False)
        assert done.returncode == REFUSED and digest in done.stderr, done
        assert "wrong" not in cluster.names("host1", "image")
        cluster.mortar("host1", "image", "import", f"{url}/known.qcow2?x=secret", "--name", "fetched",
                       "--checksum", f"sha256:{digest}")
    seen = cluster.show("host1", "image", "show", "fetched")
    assert seen["checksum"] == f"sha256:{digest}" and seen["source"] == f"{url}/known.qcow2"
    out = f"{WORK}/fetched.raw"
    cluster.mortar("host1", "image", "export", "fetched", out, "--format", "raw")
    cluster.lab.exec("host1", ["qemu-img", "compare", f"{WORK}/demo.qcow2", out])
    cluster.lab.exec("host1", ["rm", out])
    cluster.mortar("host1", "image", "rm", "fetched")


# -- a machine that runs


def memory_kib(cluster, guest):
    """What libvirt says that the running machine has."""
    done = cluster.lab.exec(guest.seen()["host"], ["virsh", "dominfo", guest.name])
    return int(re.search(r"Max memory:\s+(\d+) KiB", done.stdout)[1])


def test_a_change_of_a_running_vm_waits_for_its_next_start(cluster, guest):
    before = guest.seen()
    cluster.mortar("host1", "vm", "set", guest.name, "--memory", "128M", "--cpus", "2")
    seen = guest.seen()
    assert (seen["memory_bytes"], seen["cpus"]) == (before["memory_bytes"], before["cpus"])
    assert seen["next"] == {"memory_bytes": 128 << 20, "cpus": 2}
    assert memory_kib(cluster, guest) == before["memory_bytes"] >> 10
    guest.migrate(OTHER[before["host"]])
    assert guest.seen()["next"] == seen["next"], "a move is no start"
    assert memory_kib(cluster, guest) == before["memory_bytes"] >> 10
    cluster.mortar("host1", "vm", "stop", guest.name)
    cluster.mortar("host1", "vm", "start", guest.name)
    seen = guest.seen()
    assert (seen["memory_bytes"], seen["cpus"], seen["next"]) == (128 << 20, 2, None)
    assert memory_kib(cluster, guest) == 128 << 10
    cluster.mortar("host1", "vm", "stop", guest.name)
    cluster.mortar("host1", "vm", "set", guest.name, "--memory", guest_module.MEMORY, "--cpus", "1")
    seen = guest.seen()
    assert (seen["cpus"], seen["next"]) == (1, None), "what is stopped changes at once"


def test_a_reset_begins_the_guest_anew_in_the_same_qemu(cluster, guest):
    before = guest.seen()
    pids = qemu_pids(cluster.lab, before["host"], guest.name)
    with Recorder(cluster.lab, guest.name) as heart:
        first = heart.wait_for(lambda line: line[2] > 100)
        start = heart.mark()
        cluster.mortar("host1", "vm", "reset", guest.name)
        # Of all lines: it counts past the first one within a second.
        heart.wait_for(lambda line: any(one[2] < first[2] for one in heart.lines[start:]))
        heart.wait_for(lambda line: line[3]["flushed"] > 20)
    after = guest.seen()
    assert qemu_pids(cluster.lab, before["host"], guest.name) == pids
    assert (after["state"], after["host"], after["epoch"]) == ("running", before["host"], before["epoch"])


def test_hosts_tell_the_speed_of_their_storage_link(cluster):
    for host in DATA_HOSTS:
        cluster.wait_until(f"{host} has looked at itself", lambda host=host: cluster.show(
            "host1", "host", "show", host).get("storage_mbit") == 10000)  # of a veth


class Terminal:
    """`mortar vm console` on a pseudo terminal of a host."""

    def __init__(self, cluster, host, name):
        self.ours, theirs = pty.openpty()
        self.child = cluster.lab.popen(host, ["mortar", "vm", "console", name], stdin=theirs, stdout=theirs,
                                       stderr=theirs)
        os.close(theirs)
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.child.drop_group()
        os.close(self.ours)

    def wait_for(self, pattern, start=0, say=None, within_s=120):
        """The first match after character `start`; `say` is typed now and, since a guest that starts or
        moves may miss keys, every few seconds."""
        end = time.monotonic() + within_s
        next_try = 0
        while time.monotonic() < end:
            if say and time.monotonic() > next_try:
                os.write(self.ours, say.encode() + b"\n")
                next_try = time.monotonic() + 5
            if select.select([self.ours], [], [], 0.2)[0]:
                self.text += os.read(self.ours, 4096).decode(errors="replace")
            found = re.search(pattern, self.text[start:])
            if found:
                return found
        raise AssertionError(f"no {pattern!r} on the console: {self.text[start:][-500:]!r}")


def test_a_console_on_a_third_host_survives_moves(cluster, guest):
    answer = r"history[= ]ok\b"
    with Terminal(cluster, "host3", guest.name) as terminal:
        terminal.wait_for(answer, say="status")
        for _ in range(2):
            here = guest.seen()["host"]
            start = len(terminal.text)
            guest.migrate(OTHER[here])
            terminal.wait_for(rf"connected again, the machine is on {OTHER[here]}\]", start)
            start = len(terminal.text)
            terminal.wait_for(answer, start, say="status")
        os.write(terminal.ours, b"\x1d")
        assert terminal.child.wait(timeout=60) == 0


def test_a_host_that_was_booted_can_receive_a_guest_first(cluster, guest):
    """Sockets' directories go with each boot (/run); no guest was started there that made them anew."""
    target = OTHER[guest.seen()["host"]]
    script = "rm -r /run/mortar/console /run/mortar/channel && systemctl restart mortard"
    cluster.lab.exec(target, ["sh", "-c", script])
    cluster.wait_until("its agent answers", lambda: cluster.mortar(
        target, "status", check=False).returncode == 0)
    guest.migrate(target, "host3")


# -- power and processes that fail in the middle of a move


def sampled(how, end, phase):
    """Skip, with the reason, what MORTAR_SEED did not draw."""
    if (how, end, phase) not in SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")


def test_power_cut_of_the_target_while_memory_is_copied(cluster, guest):
    sampled("power", "target", "copy")
    with HurtMove(cluster, guest, "copy", lambda move: cluster.lab.cut(move.target)) as move:
        code, said = move.outcome()
        assert code != 0 and "hint:" in said
        move.failed()
        move.goes_on_at_the_source()
        cluster.lab.boot(move.target)
        wait_healed(cluster)
        assert qemu_pids(cluster.lab, move.target, guest.name) == [], "nothing half-made"
        cluster.wait_until(f"{move.target} has its pool mounted and can be moved to", lambda: cluster.mortar(
            "host3", "vm", "migrate", guest.name, "--to", move.target, check=False).returncode == 0)
        assert guest.seen("host3")["host"] == move.target
        flushed = move.heart.last()[3]["flushed"]
    judge(cluster, guest, flushed)


@pytest.mark.parametrize("phase", ["copy", "switch-over", "handover"])
def test_power_cut_of_the_source(cluster, guest, phase):
    """Without failover the guest is lost with its host until that has power again, unless the target had
    become its owner before. Never do two run."""
    sampled("power", "source", phase)
    with HurtMove(cluster, guest, *hurt_in(phase, lambda move: cluster.lab.cut(move.source))) as move:
        cluster.wait_until("the source is seen as silent, or the guest as moved", lambda: (
            cluster.vm(guest.name, "host3")["host"] == move.target or [
                h for h in cluster.show("host3", "host", "ls")["items"]
                if h["name"] == move.source and h["state"] == "silent"]), SETTLE_S)
        owner = cluster.vm(guest.name, "host3")["host"]
        ran_there = [line for line in move.heart.lines[move.start:] if line[1] == move.target]
        assert owner == move.target or not ran_there, "a copy ran that the cluster does not own"
        if phase == "copy" and owner == move.target:
            print("the copy was over before the power was gone")
        cluster.lab.boot(move.source)
        seen = wait_runs_on(cluster, guest.name)
        assert seen["host"] == owner and seen["epoch"] > move.epoch
        start = move.heart.mark()
        wait_more(move.heart, start)
        flushed = max(move.flushed, move.heart.last()[3]["flushed"])
    wait_no_task(cluster)
    judge(cluster, guest, flushed)


def test_the_qemu_of_the_source_is_killed_while_memory_is_copied(cluster, guest):
    sampled("qemu", "source", "copy")
    (pid,) = qemu_pids(cluster.lab, guest.seen()["host"], guest.name)
    with HurtMove(cluster, guest, "copy", lambda move: os.kill(pid, signal.SIGKILL)) as move:
        code, said = move.outcome()
        assert code != 0 and "QEMU ended" in said, said
        assert "QEMU ended" in move.failed()
        seen = wait_runs_on(cluster, guest.name)
        assert seen["host"] == move.source and seen["epoch"] > move.epoch
        wait_more(move.heart, move.heart.mark())
    judge(cluster, guest, move.flushed)


def test_the_qemu_of_the_target_is_killed_while_memory_is_copied(cluster, guest):
    sampled("qemu", "target", "copy")
    with HurtMove(cluster, guest, "copy", lambda move: os.kill(
            wait_qemu(cluster.lab, move.target, guest.name), signal.SIGKILL)) as move:
        code, said = move.outcome()
        assert code != 0 and "hint:" in said, said
        move.failed()
        move.goes_on_at_the_source()
        guest.migrate(move.target, "host3")
        flushed = move.heart.last()[3]["flushed"]
    judge(cluster, guest, flushed)


def test_a_host_that_boots_again_starts_its_guest_by_itself(cluster, guest):
    """T10: what ran there is lost with the power, and started with a higher epoch."""
    before = guest.seen("host3")
    with Recorder(cluster.lab, guest.name) as heart:
        flushed = heart.wait_for(lambda line: line[3]["flushed"] > 50)[3]["flushed"]
        cluster.lab.cut(before["host"])
        start = heart.mark()
        cluster.lab.boot(before["host"])
        seen = wait_runs_on(cluster, guest.name)
        assert seen["host"] == before["host"] and seen["epoch"] > before["epoch"]
        wait_more(heart, start)
    judge(cluster, guest, flushed)


def test_a_copy_without_end_is_given_up(cluster, guest):
    """The storage link carries 1 Mbit/s: five times the memory takes too long (docs/virt.md)."""
    if not IS_FULL:
        pytest.skip("takes more than two minutes; MORTAR_FULL=1 tries it")
    source = guest.seen()["host"]
    shape = ["tc", "qdisc", "replace", "dev", "stor0", "root", "tbf", "rate", "1mbit", "burst", "16kb",
             "latency", "400ms"]
    inside = ["nsenter", f"--net=/run/netns/{net.host_ns(cluster.lab.name, source)}"]
    progress = []
    subprocess.run([*inside, *shape], check=True)
    try:
        task = cluster.mortar("host3", "vm", "migrate", guest.name, "--no-wait").stdout.split()[-1]
        def is_over():
            seen = cluster.show("host3", "task", "show", task)
            progress.append(seen["progress"])
            return seen["state"] != "running" and seen
        ended = cluster.wait_until("it is given up", is_over, 240)
    finally:
        subprocess.run([*inside, "tc", "qdisc", "del", "dev", "stor0", "root"], check=True)
    assert ended["state"] == "failed" and "given up" in ended["error"]["message"], ended
    assert ended["error"]["hint"]
    told = [p for p in progress if p and p["done"]]
    assert any(p.get("rate") for p in told) and any("dirty_rate" in p for p in told), told[-1:]
    seen = wait_runs_on(cluster, guest.name)
    assert seen["host"] == source
