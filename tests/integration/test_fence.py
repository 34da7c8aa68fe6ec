# SPDX-License-Identifier: Apache-2.0
"""adapters/fence against three real glusterds: test_fence.py FENCE_TOOL GLUSTER_TOOL MORTAR_LAUNDER.

g1 and g2 hold the data, g3 is the arbiter. g1 is the host that is fenced; g2 and g3 survive.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import glusterns
from glusterns import wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lab/mortarcluster"))

from history import History, Slot, Start, View  # noqa: E402  (the path must come first)
from strangers import Stalls  # noqa: E402

TOOL = GLUSTER_TOOL = LAUNDER = ""
VOLUME = "vms"
SLOW = "slow"
START = time.monotonic()
BRICK = f"/srv/{VOLUME}"
MOUNT = f"/mnt/{VOLUME}"
SHARD = 64 << 20
IMAGE_MIB = 100  # two pieces

# One block after the other, past all caches; a line per acknowledged write: number, when it ended.
# Errors are told and tried over again, as a guest's kernel would.
WRITER = """
import mmap, os, sys, time
path, first, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
log = open(sys.argv[4], "w", buffering=1)
block, n, fd = mmap.mmap(-1, 4096), 0, None
while True:
    n += 1
    block[:] = n.to_bytes(8, "little") * 512
    try:
        fd = os.open(path, os.O_RDWR | os.O_DIRECT) if fd is None else fd
        os.pwrite(fd, block, first + n * 7919 * 4096 % size)
        log.write(f"{n} {time.monotonic()}\\n")
        time.sleep(0.003)
    except OSError as e:
        log.write(f"error {e.errno}\\n")
        time.sleep(0.1)
        if fd is not None:
            try:
                os.close(fd)
            except OSError:
                pass
            fd = None
"""
ONE_WRITE = """
import mmap, os, sys
block = mmap.mmap(-1, 4096)
block[:] = b"L" * 4096
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
os.pwrite(fd, block, 8192)
"""
SERVER = """
import socket, sys
s = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"x")
"""
# Connects from a port, if one is given, and reads one byte
CLIENT = """
import socket, sys
s = socket.socket()
s.settimeout(float(sys.argv[3]))
if len(sys.argv) > 4:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", int(sys.argv[4])))
s.connect((sys.argv[1], int(sys.argv[2])))
sys.exit(s.recv(1) != b"x")
"""

# Stops threads one by one, as a busy machine might, until its standard input ends
HOLD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
for tid in map(int, sys.argv[1:]):
    if libc.ptrace(SEIZE, tid, 0, 0) or libc.ptrace(INTERRUPT, tid, 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
    os.waitpid(tid, WALL)
print("held", flush=True)
sys.stdin.read()
"""


def missing_reason():
    """Why this machine cannot run it, or None."""
    for tool in ("nft", "ss"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return glusterns.missing_reason()


def stamp(what):
    """A line with the time, to see where it goes."""
    print(f"# {time.monotonic() - START:.1f} s  {what}", file=sys.stderr)


class Writer:
    """WRITER on a host, until end()."""

    def __init__(self, host, name, first=0, size=IMAGE_MIB << 20):
        self.log = f"/run/{name}.log"
        self.host = host
        host.run("rm", "-f", self.log)  # of a writer before us, which would pass for ours
        self.process = subprocess.Popen(host.enter(
            "python3", "-c", WRITER, f"{MOUNT}/{name}", str(first), str(size), self.log))
        wait_for("first writes", lambda: self.count() > 20)

    def times(self):
        text = self.host.run("cat", self.log, check=False).stdout
        return [float(line.split()[1]) for line in text.splitlines() if line[0].isdigit()]

    def count(self):
        return len(self.times())

    def last(self):
        """Number of the last acknowledged write."""
        text = self.host.run("cat", self.log).stdout
        return int([line for line in text.splitlines() if line[0].isdigit()][-1].split()[0])

    def stalls(self):
        """The longest time between two acknowledged writes."""
        times = self.times()
        return max(b - a for a, b in zip(times, times[1:]))

    def end(self):
        """It may hang in a dead mount: killed it is, waited for it is not."""
        for pid in self.host.pids("python3"):
            if self.log in glusterns.command_line(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.poll()


class Fence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = glusterns.Cluster(3)
        stamp("three glusterds")
        cls.addClassCleanup(cls.cluster.end)
        cls.h1, cls.h2, cls.h3 = cls.cluster.hosts
        cls.all = ",".join(h.address for h in cls.cluster.hosts)
        cls.children = []
        cls.addClassCleanup(lambda: [c.kill() or c.wait() for c in cls.children])
        addresses = cls.all.split(",")

        def gluster(*words):
            cls.h1.run(GLUSTER_TOOL, *words)
        for address in addresses[1:]:
            gluster("probe", address)
        for volume in (VOLUME, SLOW):
            gluster("create", volume, "arbiter", *[f"{a}:/srv/{volume}" for a in addresses])
        gluster("profile", VOLUME, *addresses)
        # Below everything on its bricks: each write waits as if the disk were slow. 10.3 reads these
        # options only when a brick starts.
        cls.h1.run("gluster", "--mode=script", "volume", "set", SLOW, "debug.delay-gen", "posix",
                   "delay-gen.enable", "write", "delay-gen.delay-percentage", "100",
                   "delay-gen.delay-duration", "20000000")
        stamp("options")
        for volume in (VOLUME, SLOW):
            gluster("start", volume)
        stamp("started")
        for host, volume in ((cls.h1, VOLUME), (cls.h2, VOLUME), (cls.h1, SLOW)):
            path = f"/mnt/{volume}"
            host.run("mkdir", "-p", path)
            host.run("glusterfs", "--process-name=fuse", f"--volfile-server={host.address}",
                     f"--volfile-id=/{volume}", "--attribute-timeout=1", "--entry-timeout=1", path)
            wait_for("mount", lambda h=host, p=path: h.run("mountpoint", "-q", p, check=False).returncode == 0)

    def setUp(self):
        stamp("begins")

    def tool(self, host, *words, fails=None):
        start = time.monotonic()
        done = host.run(TOOL, *words, check=False)
        said = (done.stdout or done.stderr).strip()
        print(f"# {time.monotonic() - start:.3f} s  {host.name} {words[0]}: {said[:180]}", file=sys.stderr)
        if fails:
            self.assertEqual((done.returncode, done.stderr.split(":")[0]), (1, fails), done.stderr)
            return done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def bricks_of_mount(self, host, volume):
        """Bit mask of the bricks that host's mount is connected to."""
        done = host.run(GLUSTER_TOOL, "quorum", f"/mnt/{volume}", volume, check=False)
        return int(done.stdout.split()[2], 16) if done.returncode == 0 else 0

    def table(self, host, opened=None, form="split"):
        return [self.all, host.address, self.all if opened is None else opened, form]

    def cut(self, host, *rest, form="split"):
        return self.tool(host, "cut", *self.table(host, form=form), self.h1.address, "15000", *rest)

    def open(self, host, form="split"):
        rest = ",".join(h.address for h in (self.h2, self.h3))
        self.tool(host, "open", *self.table(host, rest, form), self.h1.address)

    def open_all(self):
        for host in (self.h3, self.h2):
            self.open(host)
        # What g1 tried while it was cut off waits longer and longer between its SYNs.
        self.h1.run("ss", "-K", "-H", "-n", "-t", "state", "syn-sent")

    def serve(self, host, port):
        child = subprocess.Popen(host.enter("python3", "-c", SERVER, str(port)), stdout=subprocess.PIPE)
        self.children.append(child)
        child.stdout.readline()

    def assert_reaches(self, host, to, port, said=None):
        """A server on a busy machine may need more than one look."""
        wait_for(said or f"{host.name} reaches {to.name}:{port}", lambda: self.reaches(host, to, port))

    def reaches(self, host, to, port, source=None):
        words = [to.address, str(port), "0.4"] + ([str(source)] if source else [])
        return host.run("python3", "-c", CLIENT, *words, check=False).returncode == 0

    def index(self, host, limit=None):
        words = [BRICK] + ([str(limit)] if limit is not None else [])
        return json.loads(self.tool(host, "index", *words))

    def gfid(self, name):
        return self.tool(self.h2, "gfid", "20000", LAUNDER, f"{MOUNT}/{name}").strip()

    def launder(self, name, *numbers, ms=40000, length=SHARD, fails=None):
        return self.tool(self.h2, "launder", str(ms), LAUNDER, f"{MOUNT}/{name}", str(SHARD), str(length),
                         *map(str, numbers), fails=fails)

    def pieces(self, host, base):
        """{number of a piece of image base: its entry in the indices of host's brick}"""
        return {e["shard"]: e for e in self.index(host)["entries"] if e["base_gfid"] == base}

    # numbered, because each step stands on the one before and bringing up a cluster takes seconds

    def test_1_table_is_applied_once_and_read_back(self):
        h = self.h2
        for form in ("split", "single"):
            self.assertEqual(self.tool(h, "apply", *self.table(h, form=form)), "changed\n")
            self.assertEqual(self.tool(h, "apply", *self.table(h, form=form)), "same\n")
        self.tool(h, "check", *self.table(h, self.h3.address, "single"), fails="object.state")
        h.run("nft", "add", "element", "inet", "mortar_fence", "open4", "{ 10.99.7.99 }")
        self.tool(h, "check", *self.table(h, form="single"), fails="object.state")
        h.run("nft", "flush", "chain", "inet", "mortar_fence", "input")
        self.assertEqual(self.tool(h, "apply", *self.table(h, form="single")), "changed\n")
        self.tool(h, "remove")
        self.tool(h, "remove")

    def test_1b_a_change_of_the_table_is_told_and_one_of_others_is_told_apart(self):
        h = self.h2
        for change in (("flush", "ruleset"), ("delete", "element", "inet", "mortar_fence", "open4", f"{{ {self.h1.address} }}")):
            self.tool(h, "apply", *self.table(h))
            watcher = subprocess.Popen(h.enter(TOOL, "watch", "20000"), stdout=subprocess.PIPE, text=True)
            self.children.append(watcher)
            self.assertEqual(watcher.stdout.readline(), "watching\n")
            h.run("nft", "add", "table", "inet", "somebodys")
            self.assertEqual(watcher.stdout.readline(), "another table\n")
            h.run("nft", *change)
            self.assertEqual(watcher.stdout.readline(), "the fence\n")
            self.assertEqual(watcher.wait(), 0)
        h.run("nft", "delete", "table", "inet", "somebodys")
        self.tool(h, "remove")

    def test_2_closed_host_reaches_services_only_and_strangers_all(self):
        h = self.h3
        for port in (5000, 8843):
            self.serve(h, port)
            self.serve(self.h1, port)
        self.tool(h, "apply", *self.table(h, self.h2.address, "single"))
        for one, to in ((self.h1, h), (h, self.h1)):
            self.assertFalse(self.reaches(one, to, 5000))
            self.assert_reaches(one, to, 8843)
        self.assertFalse(self.reaches(self.h1, h, 5000, source=2379), "a service's port opens others")
        self.assert_reaches(h, h, 5000, "own address")
        self.assert_reaches(self.h2, h, 5000, "open host")
        self.tool(h, "apply", self.h2.address, h.address, self.h2.address, "single")
        self.assert_reaches(self.h1, h, 5000, "a stranger")
        self.tool(h, "apply", *self.table(h, self.h2.address))
        self.assertEqual([self.reaches(self.h1, h, p) for p in (5000, 8843)], [False, False])
        self.tool(h, "boot", *self.table(h), "/run/boot.nft")
        h.run("nft", "-f", "/run/boot.nft")
        self.tool(h, "check", *self.table(h, ""))
        self.assertFalse(self.reaches(self.h2, h, 5000), "booted open")
        self.assert_reaches(h, h, 5000, "own address")
        self.tool(h, "apply", *self.table(h))
        self.tool(self.h2, "apply", *self.table(self.h2))

    def test_3_laundering_keeps_bytes_and_fills_holes(self):
        h, path = self.h2, f"{MOUNT}/holes"
        h.run("sh", "-c", f"truncate -s {SHARD + 5000} {path} && printf abc | "
                          f"dd of={path} bs=1 seek={SHARD + 4997} conv=notrunc status=none")
        before = h.run("sha256sum", path).stdout
        self.assertIn("left 0\ngone\n", self.launder("holes", 0, 1, 7))
        self.assertEqual(h.run("sha256sum", path).stdout, before)
        base = self.gfid("holes")
        for name in (f"{BRICK}/holes", f"{BRICK}/.shard/{base}.1"):
            size, blocks = map(int, h.run("stat", "-c", "%s %b", name).stdout.split())
            self.assertGreaterEqual(blocks * 512, size, f"{name} still has holes")
        h.run("ln", "-s", "holes", f"{MOUNT}/link")
        self.assertIn("symbolic link", self.launder("link", 0, fails="host.io"))
        self.launder("nothing", 0, fails="object.not-found")
        self.launder("holes", 0, length=8192, fails="request.invalid")
        h.run("touch", "/run/local")
        self.tool(h, "gfid", "5000", LAUNDER, "/run/local", fails="host.io")

    def test_4_hung_mount_holds_the_child_and_not_us(self):
        # The bricks, not the mount: it takes the request, and then even SIGKILL waits for its answer.
        bricks = [h.pid_of("glusterfsd", BRICK) for h in self.cluster.hosts]
        for pid in bricks:
            os.kill(pid, signal.SIGSTOP)
        try:
            child = subprocess.Popen(self.h2.enter(
                TOOL, "launder", "5000", LAUNDER, f"{MOUNT}/holes", str(SHARD), str(SHARD), "0"),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            start = time.monotonic()
            left = child.stdout.readline().split()
            took = time.monotonic() - start
            print(f"# {took:.3f} s  hung launder given up after 5 s, process {left[1]} left", file=sys.stderr)
            self.assertLess(took, 60)  # it hangs until SIGCONT
            self.assertNotIn(left[1], ("0", "-1"))
            self.assertIsNone(child.poll(), "gone while the mount hangs")
        finally:
            for pid in bricks:
                os.kill(pid, signal.SIGCONT)
        out, err = child.communicate(timeout=60)
        self.assertEqual((out, err.split(":")[0]), ("gone\n", "call.timeout"))

    def test_5_cut_ends_sockets_and_the_survivors_go_on(self):
        for name in ("stale", "alive"):
            self.h2.run("dd", "if=/dev/zero", f"of={MOUNT}/{name}", "bs=1M", f"count={IMAGE_MIB}",
                        "oflag=direct", "status=none")
        stale, alive = Writer(self.h1, "stale"), Writer(self.h2, "alive")
        Fence.stale, Fence.alive = stale, alive
        stalls = Stalls()
        stalls.__enter__()
        self.cluster.cut(self.h1)  # silently: nobody is told
        start = time.monotonic()
        for host in (self.h3, self.h2):  # the arbiter first (A8)
            self.cut(host)
            left = host.run("ss", "-H", "-n", "-t", "-a", f"dst {self.h1.address}").stdout
            # A mount begins again each 3 s; that does not get through.
            self.assertEqual([s for s in left.splitlines() if not s.startswith(("TIME-WAIT", "SYN-SENT"))], [])
        for host in (self.h3, self.h2):
            proof = json.loads(self.tool(host, "drain", "15000", VOLUME, BRICK, "g1"))
            self.assertGreaterEqual(proof["polls"], 2)
        done = alive.count()
        wait_for("survivor writes", lambda: alive.count() > done + 50)
        stalls.__exit__()
        print(f"# {time.monotonic() - start:.3f} s  cut, drained, survivor has written 50 times; its longest "
              f"stall {alive.stalls():.3f} s", file=sys.stderr)
        self.assertLess(alive.stalls(), 8 + stalls.longest_s)  # less than network.ping-timeout
        alive.end()
        self.assertEqual(self.h2.run("sh", "-c", "ls /run/gluster | grep -c dump", check=False).stdout, "0\n")

    def test_6_stale_host_cannot_write_although_its_link_is_back(self):
        done = self.stale.count()
        self.cluster.cut(self.h1, down=False)
        wait_for("link", lambda: self.reaches(self.h1, self.h1, 5000))
        end = time.monotonic() + 5  # a mount tries again each 3 s
        while time.monotonic() < end:
            self.assertEqual(self.stale.count(), done)
            self.assertFalse(self.reaches(self.h1, self.h3, 24007))
            self.assertFalse(self.reaches(self.h2, self.h1, 5000), "its own brick is cut off, too")

    def test_7_index_names_what_was_open_and_laundering_accuses_the_absent(self):
        base = self.gfid("stale")
        before = self.pieces(self.h2, base)
        self.assertEqual(set(before), {0, 1})
        self.assertTrue(all(e["dirty"] and e["kind"] == "file" for e in before.values()))
        self.assertEqual(set(self.pieces(self.h3, base)), {0, 1})
        self.assertTrue(self.index(self.h2, 1)["truncated"])
        content = self.h2.run("sha256sum", f"{BRICK}/stale", f"{BRICK}/.shard/{base}.1").stdout
        self.launder("stale", *before, length=4096)  # one data brick is reachable: blame is per file
        self.assertEqual(self.h2.run("sha256sum", f"{BRICK}/stale", f"{BRICK}/.shard/{base}.1").stdout, content)
        for host in (self.h2, self.h3):
            wait_for("blame", lambda h=host: all(
                e["blamed"] and e["blames"] == [0] for e in self.pieces(h, base).values()))
            # AFR counts: the mark of the dead writer is taken away by a heal of all copies alone.
            self.assertTrue(all(e["dirty"] for e in self.pieces(host, base).values()))

    def test_8_opened_host_writes_again_and_all_heals(self):
        done = self.stale.count()
        self.open_all()
        for host in (self.h3, self.h2):
            self.tool(host, "check", *self.table(host))
        start = time.monotonic()
        wait_for("writes", lambda: self.stale.count() > done)
        print(f"# {time.monotonic() - start:.3f} s  until the opened host wrote again", file=sys.stderr)
        self.stale.end()

    def test_8a_request_that_no_dump_lists_is_waited_for(self):
        # Requests wait for these threads after they were read, and before they have a frame.
        brick = self.h2.pid_of("glusterfsd", BRICK)
        tids = []
        for tid in os.listdir(f"/proc/{brick}/task"):
            with open(f"/proc/{brick}/task/{tid}/comm") as f:
                if f.read().startswith("glfs_rpcrqhnd"):
                    tids.append(tid)
        self.assertTrue(tids)

        # One piece, so that its lock and marks are held and writes alone are on their way. Not the first:
        # its writes name a descriptor, which is closed with the connection; those of others name a gfid.
        size = (IMAGE_MIB << 20) - SHARD
        writer = Writer(self.h1, "stale", SHARD, size)
        piece = f"{BRICK}/.shard/{self.gfid('stale')}.1"

        def is_stuck():
            before = writer.count()
            time.sleep(0.3)  # not a wait for something, but the observation itself
            return writer.count() == before

        def landed(host, number):
            with open(f"/proc/{host.pid_of('glusterfsd', BRICK)}/root{piece}", "rb") as f:
                f.seek(number * 7919 * 4096 % size)
                return int.from_bytes(f.read(8), "little") == number

        def held():
            """
            (holder, number of the write it holds), once it has stopped all those threads while they
            were idle and what waits for them is a write: the brick of g1 has it. Else None.
            """
            hold = subprocess.Popen(["python3", "-c", HOLD, *tids], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
            self.children.append(hold)
            self.assertEqual(hold.stdout.readline(), "held\n")
            wait_for("write without answer", is_stuck)
            number = writer.last() + 1
            is_idle = self.h2.run(TOOL, "drain", "200", VOLUME, BRICK, check=False).returncode == 0
            if is_idle and landed(self.h1, number) and not landed(self.h2, number):
                return hold, number
            # Stopped in the midst of a request, which has its frame; or a lock or mark waits, not a write.
            hold.communicate("")
            return None
        hold, number = wait_for("idle threads and a write", held, 180)
        self.cut(self.h3)
        self.cut(self.h2)
        self.assertFalse(landed(self.h2, number))
        self.tool(self.h2, "drain", "15000", VOLUME, BRICK)  # without the host's name: believes it
        said = self.tool(self.h2, "drain", "1000", VOLUME, BRICK, "g1", fails="call.timeout")
        # How many is not promised: a connection of before may be kept by a stopped thread, too.
        self.assertRegex(said, r"still 0 operations and [1-9][0-9]* connections")
        self.assertFalse(landed(self.h2, number))
        hold.communicate("")
        self.tool(self.h2, "drain", "15000", VOLUME, BRICK, "g1")
        self.assertTrue(landed(self.h2, number), "the write that was in no dump")
        writer.end()
        self.open_all()

    def keep_dump(self, volume):
        """Record a golden, when asked for."""
        to = os.environ.get("MORTAR_KEEP_DUMP")
        if to:
            outside = self.h2.pid_of("glusterfsd", f"/srv/{volume}")
            with open(f"/proc/{outside}/status") as f:
                pid = next(line.split()[-1] for line in f if line.startswith("NSpid:"))
            self.h2.run("sh", "-c", "mkdir -p /run/gluster/keep; cd /run/gluster; "
                        f"printf 'path=/run/gluster/keep\\ncallpool=yes\\nfd=yes\\n' > glusterdump.{pid}.options")
            os.kill(outside, signal.SIGUSR1)
            wait_for("dump", lambda: self.h2.run("sh", "-c", f"cp /run/gluster/keep/*.dump.* {to}",
                                                 check=False).returncode == 0)

    def look(self, host, path):
        """The first blocks of a file on a brick, past all clients: {number of the block: what it holds}."""
        with open(f"/proc/{host.pid}/root{path}", "rb") as f:
            data = f.read(3 * 4096)
        blocks = [data[i:i + 4096] for i in range(0, 3 * 4096, 4096)]
        return {n: Slot("whole", 1, n + 1) if block.strip(b"\0") else Slot("zero") for n, block in enumerate(blocks)}

    def judge_start(self, at_start, later):
        """What the judge of histories finds if an instance had begun when the brick held at_start."""
        seen = sum(1 << n for n, slot in at_start.items() if slot.state == "whole")
        starts = (Start(2, 4, 1, seen),)
        views = [View(at, "g2", 0, 256, 0, slots, starts) for at, slots in enumerate((at_start, later))]
        return [violation.check for violation in History([], views).judge()]

    def test_9_drain_waits_for_a_write_that_the_brick_still_has(self):
        brick = f"/srv/{SLOW}"
        wait_for("mount of g1 is back", lambda: self.h1.run(
            "timeout", "5", "touch", f"/mnt/{SLOW}/image", check=False).returncode == 0, 90)
        self.children.append(subprocess.Popen(
            self.h1.enter("python3", "-c", ONE_WRITE, f"/mnt/{SLOW}/image"), stderr=subprocess.DEVNULL))
        wait_for("a write in the brick", lambda: "WRITE" in self.h2.run(
            TOOL, "drain", "600", SLOW, brick, check=False).stderr)
        self.assertEqual(self.h2.run("stat", "-c", "%s", f"{brick}/image").stdout, "0\n")
        self.cut(self.h3)
        self.cut(self.h2)
        self.keep_dump(SLOW)
        said = self.tool(self.h2, "drain", "1000", SLOW, brick, "g1", fails="call.timeout")
        # Two: the brick flushes what the host had open, by an operation called NULL. A connection of the mount
        # from before test_8a may not have ended yet.
        self.assertRegex(said, f"brick {brick}: still [12] operations and [12] connections")
        undrained = self.look(self.h2, f"{brick}/image")
        proof = json.loads(self.tool(self.h2, "drain", "60000", SLOW, brick, "g1"))
        drained = self.look(self.h2, f"{brick}/image")
        self.assertIn(proof["waited_for"], (1, 2))
        self.assertGreater(proof["waited_us"], 500000)
        # The late write did land, after the cut: without the proof it would be behind our back.
        self.assertEqual(self.h2.run("stat", "-c", "%s", f"{brick}/image").stdout, "12288\n")
        # Nobody read it back. An instance begun at the cut has it behind its back; one after the proof has not.
        self.assertEqual(self.judge_start(undrained, drained), ["C4", "C4"])
        self.assertEqual(self.judge_start(drained, self.look(self.h2, f"{brick}/image")), [])

    def test_9a_brick_is_killed_and_gone(self):
        self.tool(self.h2, "drain", "300", VOLUME, "/srv/other", fails="object.not-found")
        # Beside it one that looks the same: glusterd starts another while an old one does not end.
        words = f"exec -a glusterfsd sh -c 'read x' --volfile-id {SLOW}.g2 --brick-name /srv/{SLOW}"
        self.children.append(subprocess.Popen(self.h2.enter("bash", "-c", words), stdin=subprocess.PIPE))
        wait_for("a second process", lambda: len(self.h2.pids("glusterfsd")) == 3)
        self.assertEqual(self.tool(self.h2, "kill", "15000", SLOW, f"/srv/{SLOW}"), "killed 2\n")
        self.assertEqual(self.tool(self.h2, "kill", "15000", SLOW, f"/srv/{SLOW}"), "killed 0\n")
        self.assertEqual(len(self.h2.pids("glusterfsd")), 1)
        self.tool(self.h2, "drain", "300", SLOW, f"/srv/{SLOW}", "g1", fails="object.not-found")

    def test_9b_write_left_in_the_own_brick_ends_with_it_and_glusterd_starts_another(self):
        # What a host does that was fenced and comes back without a boot: act_host_end_bricks().
        brick, image = f"/srv/{SLOW}", f"/srv/{SLOW}/own"
        self.open_all()
        wait_for("the brick of test_9a runs again", lambda: self.h1.run(
            "gluster", "--mode=script", "volume", "start", SLOW, "force", check=False).returncode == 0
            and len(self.h2.pids("glusterfsd")) == 2, 60)
        wait_for("mount of g1 is back", lambda: self.h1.run(
            "timeout", "5", "touch", f"/mnt/{SLOW}/own", check=False).returncode == 0, 90)
        # It writes with one data brick and the arbiter, too, while it tries to reach the one that was started anew.
        wait_for("mount of g1 has all bricks", lambda: self.bricks_of_mount(self.h1, SLOW) == 7, 90)
        wait_for("both have the file", lambda: all(
            h.run("test", "-e", image, check=False).returncode == 0 for h in (self.h1, self.h2)))
        self.children.append(subprocess.Popen(
            self.h1.enter("python3", "-c", ONE_WRITE, f"/mnt/{SLOW}/own"), stderr=subprocess.DEVNULL))
        wait_for("a write in both bricks", lambda: all("WRITE" in h.run(
            TOOL, "drain", "300", SLOW, brick, check=False).stderr for h in (self.h1, self.h2)))
        self.cut(self.h3)
        self.cut(self.h2)
        def own_bricks():
            """{volume: pid}, when each has one process; a brick that starts has two for a moment."""
            pids = {v: [p for p in self.h1.pids("glusterfsd") if f"/srv/{v}" in glusterns.command_line(p)]
                    for v in (VOLUME, SLOW)}
            return all(len(p) == 1 for p in pids.values()) and {v: p[0] for v, p in pids.items()}
        before = wait_for("both bricks of g1", own_bricks)
        os.kill(self.h1.pid_of("glusterd"), signal.SIGKILL)
        for volume in before:
            self.assertEqual(self.tool(self.h1, "kill", "15000", volume, f"/srv/{volume}"), "killed 1\n")
        self.assertEqual(self.h1.run("stat", "-c", "%s", image).stdout, "0\n", "it landed before")
        self.tool(self.h2, "drain", "60000", SLOW, brick, "g1")
        self.assertEqual(self.h2.run("stat", "-c", "%s", image).stdout, "12288\n", "the other copy got it")
        self.assertEqual(self.h1.run("stat", "-c", "%s", image).stdout, "0\n", "it landed after its brick's end")
        self.h1.start_glusterd()
        self.open_all()
        after = wait_for("both bricks of g1 again", own_bricks, 60)
        self.assertFalse(set(before.values()) & set(after.values()))


if __name__ == "__main__":
    reason = missing_reason()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    TOOL, GLUSTER_TOOL, LAUNDER = (os.path.abspath(sys.argv.pop(1)) for _ in range(3))
    unittest.main(verbosity=2, failfast=True)
