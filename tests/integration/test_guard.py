# SPDX-License-Identifier: Apache-2.0
"""Three real guards in network namespaces with two networks, each with a control group of its own in which
something ticks. Times are a tenth of the product's. test_guard.py PROGRAM [LIBRARY_TO_PRELOAD…]"""
import json
import mmap
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lab/mortarcluster"))

from history import Beat, History  # noqa: E402  (the path must come first)
from strangers import Stalls  # noqa: E402

PROGRAM = ""
PRELOADED = []  # libraries; none with a sanitizer
PATIENCE_S = 30
PORT = 18844
NETS = (1, 2)
HOSTS = ("a", "b", "c")
BEAT_S, SILENT_S, FREEZE_S, WATCHDOG_S, PROMISE_S = 0.05, 0.4, 0.5, 0.8, 1.2
VERIFY_S = 0.2
SUSPEND_S = 0.1  # shorter than any of the others: it is the suspend that ends the promises, not its length
TAKE_OVERS = 5
TAKE_OVERS_MAX = 30  # within so many the judge must find two instances at once: they are there for 0.1 s
STALL_S = 0.1  # who gets no processor for so long keeps no times that are a tenth of the product's
TRIES = 10
# Writes the moment of each tick (CLOCK_MONOTONIC, ns); busy, as a virtual CPU is.
TICKER = """
import mmap, sys, time
f = open(sys.argv[1], "r+b")
m = memoryview(mmap.mmap(f.fileno(), 8)).cast("q")
while True:
    m[0] = time.monotonic_ns()  # in one piece; struct.pack_into() would write zeros first
    if sys.argv[2] == "idle":
        time.sleep(0.001)
"""

REACH = "import socket, sys\nsocket.create_connection((sys.argv[1], 1), 5)"


def run(*argv):
    """A command that must succeed; its output."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout


def find_unified():
    """Where control groups of version 2 are, or None."""
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(f"{path}/cgroup.procs") and os.path.exists(f"{path}/cgroup.controllers"):
            return pathlib.Path(path)
    return None


def wait_for(what, said, patience_s=PATIENCE_S):
    """Until what() is true. Return: its value."""
    end = time.monotonic() + patience_s
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{said}: not within {patience_s} s")
        time.sleep(0.002)  # between two looks


class Host:
    """A namespace, a slice with something that ticks in it, and a guard."""

    def __init__(self, case, name, number):
        self.case, self.name, self.number = case, name, number
        self.netns = f"mg{os.getpid()}{name}"
        self.folder = pathlib.Path(case.folder) / name
        self.folder.mkdir()
        self.slice = case.cgroup / name / "mortar-vms-ha.slice"
        self.process = self.agent = None
        self.boot_shift = self.folder / "boot-shift"
        self.inc = 1
        self.generation = 1
        self.denied = []
        self.ready_mallocs = 0

    def add_network(self, net):
        """A veth to the switch's bridge of this network."""
        run("ip", "-n", self.netns, "link", "add", f"n{net}", "type", "veth", "peer", "name",
            f"{self.name}{net}", "netns", self.case.switch)
        run("ip", "-n", self.netns, "addr", "add", f"10.99.{net}.{self.number}/24", "dev", f"n{net}")
        run("ip", "-n", self.netns, "link", "set", f"n{net}", "up")
        run("ip", "-n", self.case.switch, "link", "set", f"{self.name}{net}", "master", f"br{net}", "up")

    def set_link(self, net, state):
        """Plug or unplug."""
        run("ip", "-n", self.case.switch, "link", "set", f"{self.name}{net}", state)

    def cut(self):
        """All links. Return: when, before the first went; .cut_over_at is when the last had gone."""
        at = time.monotonic()
        for net in NETS:
            self.set_link(net, "down")
        self.cut_over_at = time.monotonic()
        return at

    def heal(self):
        """All links."""
        for net in NETS:
            self.set_link(net, "up")

    def make_slice(self, mode="idle"):
        """The slice, and the ticker in a group some levels below it, as libvirt has them."""
        group = self.slice / "machine-qemu.scope" / "libvirt"
        group.mkdir(parents=True)
        ticks = self.folder / "ticks"
        ticks.write_bytes(bytes(8))
        with open(ticks, "r+b") as file:
            self.ticks = mmap.mmap(file.fileno(), 8)
        ticker = subprocess.Popen([sys.executable, "-c", TICKER, ticks, mode])
        self.case.addCleanup(self.end_ticker, ticker)
        (group / "cgroup.procs").write_text(str(ticker.pid))
        if mode != "frozen":
            wait_for(self.last_tick, "a first tick")

    def end_ticker(self, ticker):
        """Also out of a frozen slice."""
        (self.slice / "cgroup.freeze").write_text("0")
        ticker.kill()
        ticker.wait()

    def last_tick(self):
        """Seconds of CLOCK_MONOTONIC."""
        return struct.unpack("=q", self.ticks[:8])[0] / 1e9

    def stands_still(self):
        """Did nothing tick for two beats?"""
        before = self.last_tick()
        time.sleep(2 * BEAT_S)  # the time that is looked at
        return self.last_tick() == before

    def config_text(self):
        """What the agent would write."""
        times = " ".join(str(int(s * 1e6)) for s in (BEAT_S, SILENT_S, FREEZE_S, WATCHDOG_S, PROMISE_S))
        lines = ["mortar-guard 1", f"generation {self.generation}", f"self {self.name} {self.inc}", "enforce 1",
                 f"times {times}", f"slice {self.slice}"]
        lines += [f"host {h} fencer 10.99.1.{i} 10.99.2.{i}" for i, h in enumerate(HOSTS, 1)]
        lines += [f"deny {name} {inc}" for name, inc in self.denied]
        return "\n".join(lines) + "\n"

    def start(self, configured=True):
        """Run the guard until it is ready, and connect as the agent."""
        config, counter = self.folder / "config", self.folder / "mallocs"
        if configured:
            config.write_text(self.config_text())
        counter.write_bytes(bytes(8))
        self.boot_shift.write_bytes(bytes(8))
        notify_path = self.folder / "notify"
        notify_path.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(notify_path))
        notify.settimeout(PATIENCE_S)
        # nsenter, because 'ip netns exec' hides the control groups behind a new /sys
        preload = [f"LD_PRELOAD={':'.join(PRELOADED)}", f"MALLOC_COUNT={counter}", f"BOOT_SHIFT={self.boot_shift}"]
        with open(self.folder / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.netns}", "env", f"NOTIFY_SOCKET={notify_path}",
                 *(preload if PRELOADED else []), PROGRAM, "--config", config, "--socket", self.folder / "guard.sock", "--key", self.case.key,
                 "--port", str(PORT)], stderr=log)
        self.case.addCleanup(self.kill)
        try:
            assert notify.recv(100) == b"READY=1"
        except TimeoutError:
            self.case.fail("not ready: " + (self.folder / "log").read_text())
        self.ready_mallocs = self.mallocs()
        self.notify = notify
        self.agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.agent.connect(str(self.folder / "guard.sock"))
        self.agent.settimeout(PATIENCE_S)

    def kill(self, how=signal.SIGKILL):
        """End the guard. Return: its exit code."""
        if self.agent:
            self.agent.close()
            self.agent = None
            self.notify.close()
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def suspend(self, for_s):
        """What its guard sees after a suspend: BOOTTIME went on, and no other clock. Return: when."""
        at = time.monotonic()
        with open(self.boot_shift, "r+b") as file:
            file.write(struct.pack("=q", int(for_s * 1e6)))
        return at

    def mallocs(self):
        """Calls of the allocator so far."""
        return struct.unpack("=Q", (self.folder / "mallocs").read_bytes())[0]

    def tell(self, text):
        """A command. Return: the status that answers it."""
        self.agent.setblocking(False)
        try:
            while self.agent.recv(65536):
                pass
        except BlockingIOError:
            pass
        self.agent.settimeout(PATIENCE_S)
        self.agent.send(text.encode())
        return json.loads(self.agent.recv(65536))

    def answer(self, text, is_it):
        """The status that answers a command. What the guard said of itself meanwhile is passed over."""
        said = self.tell(text)
        end = time.monotonic() + PATIENCE_S
        while not (is_it(said) or said["refused"]) and time.monotonic() < end:
            said = json.loads(self.agent.recv(65536))
        return said

    def refusal(self, text):
        """Why a command is refused."""
        return self.answer(text, lambda said: said["refused"])["refused"]

    def configure(self):
        """Its next generation, from the agent; what it says then."""
        return self.answer(f"config {self.generation}\n{self.config_text()}",
                           lambda said: said["generation"] == self.generation)

    def status(self):
        """Asked for."""
        return self.tell("status")

    def wait_status(self, is_it, said, patience_s=PATIENCE_S):
        """Until a status is as wanted. Return: it."""
        def look():
            status = self.status()
            return status if is_it(status) else None
        try:
            return wait_for(look, f"{self.name}: {said}", patience_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.status()}\n{(self.folder / 'log').read_text()}") from None

    def cut_set(self):
        """Addresses that the packet filter drops now; None without the table."""
        done = subprocess.run(["ip", "netns", "exec", self.netns, "nft", "-j", "list", "set", "inet", "mortar_guard",
                               "bricks"], capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode:
            return None
        return set(json.loads(done.stdout)["nftables"][1]["set"].get("elem", []))


class Guards(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mortar-guard-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.key = pathlib.Path(self.folder) / "key"
        self.key.write_bytes(os.urandom(32))
        self.cgroup = find_unified() / f"mortar-guard-test-{os.getpid()}"
        self.addCleanup(self.remove_cgroups)
        self.switch = f"mg{os.getpid()}sw"
        self.add_netns(self.switch)
        for net in NETS:
            run("ip", "-n", self.switch, "link", "add", f"br{net}", "up", "type", "bridge")
        self.hosts = {}
        for number, name in enumerate(HOSTS, 1):
            host = self.hosts[name] = Host(self, name, number)
            self.add_netns(host.netns)
            run("ip", "-n", host.netns, "link", "set", "lo", "up")
            for net in NETS:
                host.add_network(net)

    def add_netns(self, name):
        run("ip", "netns", "add", name)
        self.addCleanup(run, "ip", "netns", "del", name)

    def remove_cgroups(self):
        for folder, _, _ in sorted(os.walk(self.cgroup), reverse=True):
            wait_for(lambda folder=folder: self.try_rmdir(folder), f"{folder} is empty")

    @staticmethod
    def try_rmdir(folder):
        try:
            os.rmdir(folder)
        except OSError:
            return False
        return True

    def start_all(self, mode="idle"):
        """Everything, until each host may run."""
        for host in self.hosts.values():
            host.make_slice(mode if host.name == "a" else "idle")
            host.start()
        for host in self.hosts.values():
            host.wait_status(lambda s: s["run_right"] and not s["frozen"], "may run")
            wait_for(lambda host=host: not host.stands_still(), "runs")
        return self.hosts["a"], self.hosts["b"], self.hosts["c"]

    def check_frozen(self, host, cut_at):
        """Return: did the last tick come within freeze and verification of the cut?"""
        host.wait_status(lambda s: s["frozen"] and s["verified"], "is frozen and verified")
        self.assertTrue(host.stands_still())
        print(f"# last tick {host.last_tick() - cut_at:.3f} s after the cut began")
        self.assertGreater(host.last_tick(), cut_at)
        return host.last_tick() < host.cut_over_at + FREEZE_S + VERIFY_S + BEAT_S

    def on_time(self, what):
        """what() gives something true; when not, it is tried again if the machine stood still meanwhile."""
        for _ in range(TRIES):
            with Stalls() as stalls:
                value = what()
            if value or stalls.longest_s < STALL_S:
                break
            print(f"# the machine stood still for {stalls.longest_s:.3f} s")
        self.assertTrue(value)

    def test_host_that_is_cut_off_freezes_in_time_and_thaws_when_healed(self):
        a, b, c = self.start_all("busy")
        self.assertEqual(a.cut_set(), set())

        def freezes_in_time():
            a.heal()
            a.wait_status(lambda s: s["run_right"] and not s["frozen"], "runs")
            for fencer in (b, c):
                fencer.wait_status(lambda s: s["run_right"] and not s["peers"]["a"]["silent"], "hears a")
            wait_for(lambda: not a.stands_still(), "ticks")
            cut_at = a.cut()
            for fencer in (b, c):
                fencer.wait_status(lambda s: s["peers"]["a"]["silent"], "hears nothing of a")
                self.assertGreater(time.monotonic(), cut_at + SILENT_S - BEAT_S)
            is_frozen = self.check_frozen(a, cut_at)
            return is_frozen and all(fencer.status()["run_right"] and not fencer.cut_set() for fencer in (b, c))
        self.on_time(freezes_in_time)
        self.assertEqual(a.cut_set(), {f"10.99.{n}.{i}" for n in NETS for i in (2, 3)})
        # what the cut's maker did not expect: somebody loads other rules
        run("ip", "netns", "exec", a.netns, "nft", "flush", "ruleset")
        wait_for(a.cut_set, "the cut is made anew")
        # what the freezer did not expect: somebody thaws by hand
        (a.slice / "cgroup.freeze").write_text("0")
        wait_for(lambda: (a.slice / "cgroup.freeze").read_text() == "1\n", "it is frozen anew")
        a.wait_status(lambda s: s["verified"], "is verified anew")
        a.heal()
        status = a.wait_status(lambda s: s["run_right"] and not s["frozen"], "thaws")
        self.assertGreaterEqual(status["freezes"], 1)
        wait_for(lambda: not a.stands_still(), "ticks")
        wait_for(lambda: a.cut_set() == set(), "nothing is cut off")
        for fencer in (b, c):
            fencer.wait_status(lambda s: not s["peers"]["a"]["silent"], "hears a again")
        for host in (a, b, c):
            self.assertIsNone(host.process.poll())
            if PRELOADED:
                self.assertGreater(host.ready_mallocs, 0)
                self.assertEqual(host.mallocs(), host.ready_mallocs)

    def test_host_that_was_suspended_stands_still_at_once_until_it_has_new_promises(self):
        if not PRELOADED:
            self.skipTest("a sanitizer lets nothing be preloaded: no clock can be changed")
        a, b, c = self.start_all("busy")
        slept_s = 0

        def freezes_at_once():
            nonlocal slept_s
            a.wait_status(lambda s: s["run_right"] and not s["frozen"], "runs")
            wait_for(lambda: not a.stands_still(), "ticks")
            slept_s += SUSPEND_S
            for fencer in (b, c):
                fencer.process.send_signal(signal.SIGSTOP)  # what they promised before would hold for some beats
            at = a.suspend(slept_s)
            status = a.wait_status(lambda s: s["verified"], "is frozen and verified")
            self.assertFalse(status["run_right"])
            last = a.last_tick()
            print(f"# last tick {last - at:.3f} s after the suspend ended")
            for fencer in (b, c):
                fencer.process.send_signal(signal.SIGCONT)
            return last < at + FREEZE_S / 2
        self.on_time(freezes_at_once)
        self.assertIn("this host was suspended: all promises are void", (a.folder / "log").read_text())
        a.wait_status(lambda s: s["run_right"] and not s["frozen"], "thaws with a quorum of new promises")
        wait_for(lambda: not a.stands_still(), "ticks")
        self.assertEqual(a.mallocs(), a.ready_mallocs)

    def make_spare(self):
        """An instance that starts within a millisecond: a process that stands still until it is woken."""
        ticks = pathlib.Path(self.folder) / "spare"
        ticks.write_bytes(bytes(8))
        with open(ticks, "r+b") as file:
            self.spare_ticks = mmap.mmap(file.fileno(), 8)
        self.spare = subprocess.Popen([sys.executable, "-c", TICKER, ticks, "idle"])
        self.addCleanup(lambda: (self.spare.kill(), self.spare.wait()))
        wait_for(lambda: any(self.spare_ticks[:8]), "the spare's first tick")
        self.spare.send_signal(signal.SIGSTOP)

    def take_over(self, waits):
        """a is cut off; b and c deny it and, when waits, their promises run out; then the next instance starts.
        Return: what the judge of histories finds."""
        a, b, c = self.hosts.values()
        beats = [Beat(a.cut(), "a", 1, 0, 0)]
        for fencer in (b, c):
            fencer.wait_status(lambda s: s["peers"]["a"]["silent"], "hears nothing of a")
        for fencer in (b, c):
            fencer.tell(f"deny a {a.inc}\n")
        for fencer in (b, c) if waits else ():
            fencer.wait_status(lambda s: s["peers"]["a"]["denial_over"], "has no promise to a left")
        before = self.spare_ticks[:8]
        self.spare.send_signal(signal.SIGCONT)
        wait_for(lambda: self.spare_ticks[:8] != before, "the next instance runs")
        beats.append(Beat(struct.unpack("=q", self.spare_ticks[:8])[0] / 1e9, "b", 2, 0, 0))
        a.wait_status(lambda s: s["frozen"] and s["verified"], "is frozen and verified")
        beats.append(Beat(a.last_tick(), "a", 1, 0, 0))
        self.spare.send_signal(signal.SIGSTOP)
        a.inc += 1
        a.generation += 1
        a.heal()
        a.configure()
        a.wait_status(lambda s: s["run_right"] and not s["frozen"], "runs again as the next incarnation")
        for fencer in (b, c):
            fencer.wait_status(lambda s: not s["peers"]["a"]["silent"], "hears a again")
        found = History(beats, []).judge()
        print(f"# the old instance ended {beats[1].at - beats[2].at:+.3f} s before the next one began: {len(found)}")
        return found

    def test_no_two_instances_execute_at_once(self):
        self.start_all()
        self.make_spare()
        for _ in range(TAKE_OVERS):
            self.on_time(lambda: not self.take_over(waits=True))

    def test_without_the_wait_for_promises_two_instances_execute_at_once(self):
        self.start_all()
        self.make_spare()
        found = []
        for _ in range(TAKE_OVERS_MAX):
            found = found or self.take_over(waits=False)
        self.assertEqual([violation.check for violation in found], ["C6"])

    def test_one_of_two_networks_is_enough(self):
        a, b, _ = self.start_all()

        def goes_on(net):
            freezes = a.status()["freezes"]
            a.set_link(net, "down")
            end, is_well = time.monotonic() + 2 * FREEZE_S, True
            while is_well and time.monotonic() < end:
                is_well = a.status()["run_right"] and not b.status()["peers"]["a"]["silent"]
            a.set_link(net, "up")
            a.wait_status(lambda s: s["run_right"] and not s["frozen"], "runs")
            # the other network carries again before it is the only one: a port may need a moment
            reach = ["ip", "netns", "exec", a.netns, sys.executable, "-c", REACH, f"10.99.{net}.2"]
            wait_for(lambda: "ConnectionRefused" in subprocess.run(reach, capture_output=True, text=True).stderr,
                     f"network {net} carries again")
            return is_well and a.status()["freezes"] == freezes
        for net in NETS:
            self.on_time(lambda net=net: goes_on(net))

    def test_restarted_guard_leaves_a_frozen_slice_frozen_until_quorum(self):
        a, b, _ = self.start_all()
        a.cut()
        a.wait_status(lambda s: s["verified"], "is frozen")
        tick = a.last_tick()
        self.assertEqual(a.kill(), -signal.SIGKILL)
        a.start()
        status = a.wait_status(lambda s: s["verified"], "is still frozen")
        self.assertFalse(status["run_right"])
        self.assertTrue(a.cut_set())
        self.assertEqual(a.kill(signal.SIGTERM), 0)
        self.assertEqual((a.slice / "cgroup.freeze").read_text(), "1\n")
        self.assertTrue(a.cut_set())
        a.start()
        b.wait_status(lambda s: s["peers"]["a"]["silent"], "does not hear a")
        self.assertEqual(a.last_tick(), tick)
        a.heal()
        a.wait_status(lambda s: s["run_right"] and not s["frozen"], "thaws")
        wait_for(lambda: a.last_tick() > tick, "ticks")
        wait_for(lambda: a.cut_set() == set(), "nothing is cut off")

    def test_guard_restarted_in_peace_stops_its_vms_for_a_moment_only(self):
        a, _, _ = self.start_all("busy")
        self.assertEqual(a.kill(signal.SIGTERM), 0)
        self.assertIn("ends; frozen=0 stays so; vms=1 ", (a.folder / "log").read_text())
        wait_for(lambda: not a.stands_still(), "ticks on without a guard")
        at = time.monotonic()
        a.start()
        a.wait_status(lambda s: s["run_right"] and not s["frozen"], "runs")
        wait_for(lambda: a.last_tick() > at, "ticks")
        print(f"# restart: {time.monotonic() - at:.3f} s until it ran again; "
              + (a.folder / "log").read_text().strip().rsplit("\n", 1)[-1])

    def test_a_guard_that_ends_last_knows_that_no_vm_is_left(self):
        a, _, _ = self.start_all()
        a.wait_status(lambda s: s["run_right"], "runs")
        (a.slice / "cgroup.kill").write_text("1")
        wait_for(lambda: "populated 0" in (a.slice / "cgroup.events").read_text(), "its VMs are gone")
        self.assertEqual(a.kill(signal.SIGTERM), 0)
        self.assertIn("ends; frozen=0 stays so; vms=0 ", (a.folder / "log").read_text())

    def test_denied_host_freezes_and_its_denial_is_over_after_the_promise(self):
        a, b, c = self.start_all()
        for fencer in (b, c):
            at = time.monotonic()
            fencer.tell("deny a 1\n")
            status = fencer.wait_status(lambda s: s["peers"]["a"]["denied_inc"] == 1, "it denies")
            self.assertEqual(status["refused"], "")
            if time.monotonic() - at < PROMISE_S - BEAT_S - 0.01:
                self.assertFalse(status["peers"]["a"]["denial_over"])
            fencer.wait_status(lambda s: s["peers"]["a"]["denial_over"], "its denial is over")
            # the last promise was given at most a beat before the denial (docs/adr/0006)
            self.assertGreaterEqual(time.monotonic() - at, PROMISE_S - BEAT_S - 0.01)
        a.wait_status(lambda s: s["verified"] and not s["run_right"], "is frozen, although it is heard")
        b.wait_status(lambda s: not s["peers"]["a"]["silent"], "hears a")
        self.check_egress(a, b)
        # a restarted fencer reads it from its configuration, and waits for what it may have promised
        b.denied = [("a", 1)]
        b.kill()
        at = time.monotonic()
        b.start()
        b.wait_status(lambda s: s["peers"]["a"]["denial_over"], "its denial is over again")
        self.assertGreaterEqual(time.monotonic() - at, PROMISE_S - 0.01)
        self.assertFalse(a.status()["run_right"])
        # the next incarnation is promised to again
        a.inc, a.generation = 2, 2
        self.assertEqual(a.configure()["generation"], 2)
        a.wait_status(lambda s: s["run_right"] and not s["frozen"], "runs as incarnation 2")
        self.assertTrue(b.status()["peers"]["a"]["denial_over"])

    def check_egress(self, a, b):
        """From a frozen host a brick cannot be reached, all else can."""
        server = ("import socket, sys\nl = [socket.create_server(('', p)) for p in (24007, 49160, 2379)]\n"
                  "print('up', flush=True)\nsys.stdin.read()")
        client = ("import socket, sys\n"
                  "s = socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))")
        with subprocess.Popen(["ip", "netns", "exec", b.netns, sys.executable, "-c", server], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as listening:
            self.assertEqual(listening.stdout.readline(), b"up\n")
            for port, is_open in ((2379, True), (24007, False), (49160, False)):
                done = subprocess.run(["ip", "netns", "exec", a.netns, sys.executable, "-c", client, "10.99.2.2",
                                       str(port), "10" if is_open else "0.3"], capture_output=True,
                                      timeout=PATIENCE_S)
                self.assertEqual(done.returncode == 0, is_open, port)
            listening.stdin.close()

    def test_slice_that_appears_without_right_to_run_is_frozen(self):
        a = self.hosts["a"]
        a.start()  # nobody else is there
        status = a.wait_status(lambda s: s["verified"], "has nothing to freeze")
        self.assertFalse(status["run_right"])
        a.slice.mkdir(parents=True)
        wait_for(lambda: (a.slice / "cgroup.freeze").read_text() == "1\n", "it is frozen")
        a.slice.rmdir()
        a.make_slice("frozen")
        wait_for(a.stands_still, "what is in it is frozen")
        self.hosts["b"].start()
        a.wait_status(lambda s: s["run_right"] and not s["frozen"], "thaws with own and b's promise")
        wait_for(lambda: not a.stands_still(), "ticks")

    def test_commands(self):
        a = self.hosts["a"]
        a.start(configured=False)
        status = a.status()
        self.assertEqual((status["generation"], status["enforce"], status["peers"]), (0, False, {}))
        self.assertIn("refused", status)
        bad = a.config_text().replace("host b fencer", "host b judge")
        self.assertIn("line 8: 'judge' is neither", a.refusal("config 1\n" + bad))
        self.assertIn("another generation", a.refusal("config 2\n" + a.config_text()))
        self.assertIn("no command", a.refusal("reboot"))
        self.assertIn("more than", a.refusal("x" * 17000))
        self.assertEqual(a.status()["generation"], 0)
        status = a.configure()
        self.assertEqual((status["generation"], status["enforce"], status["refused"]), (1, True, ""))
        self.assertEqual(status["watchdog"]["kind"], "none" if not os.path.exists("/dev/watchdog") else
                         status["watchdog"]["kind"])
        self.assertTrue(status["can_cut"])
        self.assertIn("no host 'nobody'", a.refusal("deny nobody 1"))
        a.tell("deny b 1\ndeny c 2")
        a.wait_status(lambda s: s["peers"]["c"]["denied_inc"] == 2, "it denies both")
        # unasked, each second, to everyone
        others = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        for other in others:
            other.connect(str(a.folder / "guard.sock"))
            other.settimeout(PATIENCE_S)
        for other in others:
            self.assertEqual(json.loads(other.recv(65536))["generation"], 1)
            other.close()
        done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c",
                               "import socket, sys\nsocket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)"
                               ".connect(sys.argv[1])", a.folder / "guard.sock"], capture_output=True, text=True)
        self.assertIn("PermissionError", done.stderr)

    def test_rights_and_size(self):
        a, _, _ = self.start_all()
        status = pathlib.Path(f"/proc/{a.process.pid}/status").read_text()
        self.assertIn("Threads:\t1\n", status)
        locked = int(status.split("VmLck:")[1].split()[0])
        self.assertIn("rights; locked=yes", (a.folder / "log").read_text())
        ticks = sum(int(n) for n in pathlib.Path(f"/proc/{a.process.pid}/stat").read_text().split()[13:15])
        print(f"# locked {locked} kB; CPU {ticks / os.sysconf('SC_CLK_TCK')} s so far")
        self.assertIn("NO WATCHDOG", (a.folder / "log").read_text()) if not os.path.exists("/dev/watchdog") else None

    def test_help_and_version_are_told(self):
        self.assertIn("--config PATH", run(PROGRAM, "--help"))
        self.assertIn("mortar-guard ", run(PROGRAM, "--version"))
        for wrong in (["--port", "0"], ["--bogus"], ["extra"]):
            self.assertEqual(subprocess.run([PROGRAM, *wrong], capture_output=True, timeout=PATIENCE_S).returncode, 2)
        done = subprocess.run([PROGRAM, "--key", "/nonexistent"], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertIn("cannot read '/nonexistent'", done.stderr)
        self.assertNotEqual(done.returncode, 0)


def why_not():
    """Why it cannot run here, or None."""
    if os.geteuid() != 0:
        return "not root"
    for tool in ("ip", "nft", "setpriv", "nsenter"):
        if not shutil.which(tool):
            return f"no {tool}"
    unified = find_unified()
    if not unified:
        return "no control groups of version 2"
    probe = f"mg{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return "no network namespaces"
    has_nft = subprocess.run(["ip", "netns", "exec", probe, "nft", "add", "table", "inet", "probe"],
                             capture_output=True).returncode == 0
    run("ip", "netns", "del", probe)
    if not has_nft:
        return "no nftables"
    try:
        os.mkdir(unified / probe)
        has_freeze = (unified / probe / "cgroup.freeze").exists()
        os.rmdir(unified / probe)
    except OSError as e:
        return f"no control group can be made: {e}"
    return None if has_freeze else "no cgroup.freeze"


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    PRELOADED = [a for a in sys.argv[2:] if a.endswith(".so")]
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], "-v", *[a for a in sys.argv[2:] if not a.endswith(".so")]])
