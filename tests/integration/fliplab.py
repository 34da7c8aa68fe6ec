# SPDX-License-Identifier: Apache-2.0
"""A replica with writes of a dead owner in it, for test_flip.py and docs/evidence/flip.md.

Three hosts, each with a brick and a mount: g1 and g2 hold data, g3 is the arbiter. One image of
several shards. Guests are small processes that read and write it with O_DIRECT.
"""
import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import time

import glusterns
from glusterns import wait_for

VOLUME = "vms"
SHARD_DIR = "be318638-e8a0-4c6d-977d-7a937aa84806"  # fixed in glusterfs: SHARD_ROOT_GFID
BRICK = f"/srv/{VOLUME}"
MOUNT = f"/mnt/{VOLUME}"
BLOCK = 4096
DATA = (0, 1)
ARBITER = 2

GUEST = r"""
import mmap, os, sys
fd, buf = -1, mmap.mmap(-1, 1 << 20)
def move(call, offset, length):
    while length:
        n = call(fd, [memoryview(buf)[:min(length, len(buf))]], offset)
        yield buf[:n]
        offset, length = offset + n, length - n
def read(offset, length):
    seen = []
    for piece in move(os.preadv, int(offset), int(length)):
        c = piece[:1]
        if piece != c * len(piece):
            return "mixed"
        seen.append(c)
    return repr(seen[0])[2:-1] if len(set(seen)) == 1 else "mixed"
def write(offset, length, char):
    buf[:] = char.encode() * len(buf)
    for _ in move(os.pwritev, int(offset), int(length)):
        pass
    return "done"
def launder(offset, length):
    offset, end = int(offset), int(offset) + int(length)
    while offset < end:
        piece = memoryview(buf)[:min(end - offset, len(buf))]
        n = os.preadv(fd, [piece], offset)
        os.pwritev(fd, [piece[:n]], offset)
        offset += n
    os.fsync(fd)
    return "done"
def data(offset):
    return os.lseek(fd, int(offset), os.SEEK_DATA)
def spin(offset, length):
    at, n = int(offset), 0
    while True:
        os.pwritev(fd, [memoryview(buf)[:4096]], at + n % (int(length) // 4096) * 4096)
        n += 1
        buf[:4096] = bytes([97 + n * 7 % 26]) * 4096
def sync():
    os.fsync(fd)
    return "done"
print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.split()
    try:
        if fd < 0:
            fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT | os.O_CREAT)
        print(globals()[verb](*words), flush=True)
    except OSError as e:
        print("error", e.strerror, flush=True)
"""


class Guest:
    def __init__(self, host, image):
        self.process = subprocess.Popen(host.enter("python3", "-c", GUEST, image),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = self.process.stdout.readline()
        assert answer == "ready\n", answer

    def ask(self, *words):
        """Send a request without waiting for its answer."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        assert select.select([self.process.stdout], [], [], 120)[0], "guest hangs"
        return self.process.stdout.readline().strip()

    def call(self, *words):
        self.ask(*words)
        return self.answer()

    def end(self):
        self.process.kill()  # nsenter; the child ends with its input or with its mount
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


class Lab:
    def __init__(self, tool, shard):
        self.tool = tool
        self.shard = shard
        self.guests = []
        self.dead = {}  # host → command lines of its daemons
        self.cluster = glusterns.Cluster(3)
        self.hosts = self.cluster.hosts
        try:
            self._make_volume()
        except BaseException:
            self.end()
            raise

    def end(self):
        for g in self.guests:
            g.end()
        self.cluster.end()

    def _make_volume(self):
        addresses = [h.address for h in self.hosts]
        run = self.hosts[0].run
        for a in addresses[1:]:
            run(self.tool, "probe", a)
        run(self.tool, "create", VOLUME, "arbiter", *[f"{a}:{BRICK}" for a in addresses])
        run(self.tool, "profile", VOLUME, *addresses)
        # With the product's "server" a host alone stops its brick after a while; here that would
        # only blur which step did what.
        self.set("features.shard-block-size", str(self.shard), "cluster.server-quorum-type", "none")
        run(self.tool, "start", VOLUME)
        for h in self.hosts:
            self.mount(h)
        wait_for("all bricks", lambda: all(self.up(h) == 7 for h in self.hosts))

    def set(self, *pairs):
        self.hosts[0].run("gluster", "--mode=script", "volume", "set", VOLUME, *pairs)

    # -- mounts and guests

    def mount(self, host):
        servers = sorted(self.hosts, key=lambda h: h is not host)  # a dead one first costs seconds
        text = host.run(self.tool, "unit", VOLUME, *[h.address for h in servers]).stdout
        start = [x.split("=", 1)[1] for x in text.splitlines() if x.startswith("ExecStart=")][0]
        host.run("umount", "-l", MOUNT, check=False)
        host.run("mkdir", "-p", MOUNT)
        host.run(*shlex.split(start))

    def up(self, host):
        """Bit mask of the bricks that @host's mount is connected to."""
        done = host.run(self.tool, "quorum", MOUNT, VOLUME, check=False)
        return int(done.stdout.split()[2], 16) if done.returncode == 0 else 0

    def guest(self, host, image):
        g = Guest(host, f"{MOUNT}/{image}")
        self.guests.append(g)
        return g

    def mounts(self, host):
        """Its mount processes that are not dead or dying."""
        found = []
        for pid in host.pids("glusterfs"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if "--process-name=fuse" in glusterns.command_line(pid):
                    found.append(pid)
        return found

    def kill_mount(self, host):
        for pid in self.mounts(host):
            os.kill(pid, signal.SIGKILL)

    # -- power and cables

    def destroy_sockets(self, host, peer):
        """What the product's cut does on @host after its filter is in place."""
        host.run("ss", "-K", "dst", peer.address)

    def cut(self, host):
        """Pull @host's cable; the others notice at once, as with the product's cut."""
        self.cluster.cut(host)

    def noticed(self, dead):
        for h in self.hosts:
            if h is not dead:
                self.destroy_sockets(h, dead)

    def power_off(self, host):
        """Brick, heal daemon and mount of @host die in the middle of what they did, its cable is
        out. Its page cache survives, and glusterd, which has no part in the data path."""
        self.cluster.cut(host)
        self.kill_mount(host)
        wait_for("mount dead", lambda: not self.mounts(host))
        daemons = host.pids("glusterfsd") + host.pids("glusterfs")
        self.dead[host] = [glusterns.command_line(p)[:-1] for p in daemons]
        for pid in daemons:
            os.kill(pid, signal.SIGKILL)
        wait_for("power off", lambda: not (host.pids("glusterfsd") or host.pids("glusterfs")))
        host.run("umount", "-l", MOUNT, check=False)

    def power_on(self, host):
        self.cluster.cut(host, down=False)
        for argv in self.dead.pop(host):  # glusterd may have been quicker with the heal daemon
            done = host.run(*argv, check=False)
            name = os.path.basename(argv[0])
            wait_for(f"{name}: {done.stderr}", lambda: host.pids(name))

    def filter(self, host, *peers):
        """@host drops everything of @peers, both ways."""
        text = ["table inet flip {"]
        for hook, way in (("input", "saddr"), ("output", "daddr")):
            text += [f"chain {hook} {{ type filter hook {hook} priority raw;"]
            text += [f"ip {way} {p.address} drop;" for p in peers] + ["}"]
        host.run("nft", "-f", "-", input="\n".join(text + ["}"]))

    def unfilter(self, host):
        host.run("nft", "delete", "table", "inet", "flip")

    def signal_heal(self, number):
        for h in self.hosts:
            for pid in h.pids("glusterfs"):
                if any("glustershd" in w for w in glusterns.command_line(pid)):
                    os.kill(pid, number)

    # -- what is on a brick

    def brick(self, host, *path):
        return os.path.join(f"/proc/{host.pid}/root{BRICK}", *path)

    def gfid(self, image):
        raw = os.getxattr(self.brick(self.hosts[2], image), "trusted.gfid").hex()
        return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))

    def shard_path(self, host, image, n):
        if n == 0:
            return self.brick(host, image)
        return self.brick(host, ".shard", f"{self.gfid(image)}.{n}")

    def on_disk(self, host, image, n, offset=0):
        """The first character of a block of shard @n on @host's brick; '' where there is none."""
        try:
            with open(self.shard_path(host, image, n), "rb") as f:
                f.seek(offset)
                return f.read(1).decode("latin1")
        except FileNotFoundError:
            return ""

    def same(self, image, n):
        a, b = (open(self.shard_path(self.hosts[i], image, n), "rb") for i in DATA)
        with a, b:
            return a.read() == b.read()

    def marks(self, host, image, n):
        """{'dirty' or the blamed brick: (data, metadata, entry)} of shard @n, without zeros."""
        found = {}
        path = self.shard_path(host, image, n)
        for name in os.listxattr(path):
            if name.startswith("trusted.afr."):
                raw = os.getxattr(path, name)
                counts = tuple(int.from_bytes(raw[i:i + 4], "big") for i in (0, 4, 8))
                if any(counts):
                    key = name[len("trusted.afr."):]
                    found[key if key == "dirty" else int(key.split("-")[-1])] = counts
        return found

    def ctime(self, host, image, n):
        """Seconds and nanoseconds that the ctime translator stored."""
        raw = os.getxattr(self.shard_path(host, image, n), "trusted.glusterfs.mdata")
        return int.from_bytes(raw[9:17], "big"), int.from_bytes(raw[17:25], "big")

    def index(self, host, *kinds):
        """gfids in the indices of @host's brick."""
        found = set()
        for kind in kinds or ("dirty", "xattrop"):
            try:
                names = os.listdir(self.brick(host, ".glusterfs/indices", kind))
            except FileNotFoundError:
                continue
            found.update(n for n in names if not n.startswith(kind + "-"))
        return found

    def name_of(self, host, gfid):
        """('' or parent's gfid, name) of a gfid on a brick."""
        path = self.brick(host, ".glusterfs", gfid[:2], gfid[2:4], gfid)
        try:
            for name in os.listxattr(path):
                if name.startswith("trusted.gfid2path."):
                    return tuple(os.getxattr(path, name).decode().split("/", 1))
        except FileNotFoundError:
            pass
        return ("", gfid)

    def listed(self, image, hosts, *kinds):
        """Numbers of the image's shards in the indices of @hosts."""
        base = self.gfid(image)
        found = set()
        for h in hosts:
            for g in self.index(h, *kinds):
                parent, name = self.name_of(h, g)
                if g == base:
                    found.add(0)
                elif parent == SHARD_DIR and name.startswith(base + "."):
                    found.add(int(name.rsplit(".", 1)[1]))
        return found

    def clean(self):
        return not any(self.index(h, "dirty", "xattrop", "entry-changes") for h in self.hosts)

    def images(self, names, shards):
        """New images as `qemu-img -o preallocation=falloc` makes them, without marks."""
        self.hosts[2].run("sh", "-c", 'for f; do fallocate -l "$0" "$f" || exit; done',
                          str(shards * self.shard), *[f"{MOUNT}/{n}" for n in names])
        wait_for("marks gone", self.clean)

    def heal(self, host=None):
        (host or self.hosts[1]).run("gluster", "volume", "heal", VOLUME, check=False)

    # -- the cure

    def launder(self, guest, image, hosts, length=None):
        """Rewrite what the indices of the reachable @hosts list; returns the shards."""
        shards = sorted(self.listed(image, hosts))
        for n in shards:
            answer = guest.call("launder", n * self.shard, length or self.shard)
            assert answer == "done", answer
        return shards


def until_fraction(part):
    """Wait for that part of the clock's second: AFR compares ctimes in whole seconds."""
    time.sleep((part - time.time()) % 1)


def missing_reason():
    """Why this machine cannot run it, or None."""
    if not hasattr(os, "O_DIRECT"):
        return "no O_DIRECT"
    for tool in ("nft", "ss"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return glusterns.missing_reason() or kernel_lacks()


def kernel_lacks():
    """Tries nft and the destruction of sockets in a network namespace of their own."""
    script = ("import socket, subprocess; s = socket.socket();"
              "s.bind(('127.0.0.1', 0)); s.listen();"
              "a = socket.create_connection(s.getsockname());"
              "subprocess.run(['ss', '-K', 'dst', '127.0.0.1'], stdout=subprocess.DEVNULL);"
              "a.send(b'x')")
    for what, argv in (("nftables", ["nft", "add table inet flip"]),
                       ("CONFIG_INET_DIAG_DESTROY", ["python3", "-c", script])):
        done = subprocess.run(["unshare", "-n", "sh", "-c", "ip link set lo up; exec \"$@\"", "-",
                               *argv], capture_output=True, text=True)
        refused = done.returncode == 0
        if refused != (what == "nftables"):
            return f"the kernel has no {what}"
    return None
