# SPDX-License-Identifier: Apache-2.0
"""Keeps the history of one guest's disk: what it said was acknowledged, and what its blocks were seen to hold.

Blocks are read through the hosts' mounts, and straight from the bricks: pieces of the image are put together as
GlusterFS's shard translator would, from one brick alone, past AFR. Judged by history.py.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

from mortarlab import cgroup

from . import guest as guest_module
from .console import Console
from .faults import DATA_HOSTS
from .guest import Guest
from .history import MOUNT, History, parse_view
from .keys import KeyGiver
from .recorder import Recorder

# As much at once as the guest can: 16 writes in flight, 32 between two flushes.
OPTIONS = "mortar.depth=16 mortar.flush=32 mortar.key=ask"
WRITES_PER_S = 100
SHARD_BYTES = 64 << 20  # features.shard-block-size of src/adapters/gluster/gluster_profile.c
PIECE = 1 << 20
STILL_LINES = 20  # of the heartbeat, 0.4 s: 40 writes would have been made
SAY_AGAIN_S = 3
BRICK = "/brick"  # brick_dir_of() in src/agent


def make_guest(cluster, name="demo", writes_per_s=WRITES_PER_S, options=OPTIONS):
    """The guest whose history is kept; not created yet. It writes nothing before a Keeper has given it a key."""
    return Guest(cluster, name, writes_per_s=writes_per_s, emit_ms=20, options=options)


def gfid_of(path):
    """The name that shards of a file on a brick go by."""
    raw = os.getxattr(path, "trusted.gfid").hex()
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def next_data(fd, at):
    """Where data begin at or after a place, in whole pieces; None: nowhere. A mount of GlusterFS cannot say."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA) // PIECE * PIECE
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno == errno.EOPNOTSUPP:
            return at
        raise


def data_of(fd):
    """(at, piece) of a file's data; pieces of nothing but zeroes are left out, as holes are."""
    at, end = 0, os.fstat(fd).st_size
    while at < end and (at := next_data(fd, at)) is not None:
        piece = os.pread(fd, PIECE, at)
        if piece.strip(b"\0"):
            yield at, piece
        at += PIECE


def copy_data(path, out, base=0):
    """A file's data into another one at the same place behind base; (at, piece) of each."""
    with open(path, "rb") as source:
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # a mount keeps what it read before
        for at, piece in data_of(source.fileno()):
            os.pwrite(out.fileno(), piece, base + at)
            yield base + at, piece
        size = base + os.fstat(source.fileno()).st_size
        os.ftruncate(out.fileno(), max(size, os.fstat(out.fileno()).st_size))


def shards_of(brick, image):
    """{number: path} of the pieces of an image. brick: Path; image: below it."""
    base = brick / image
    shards = {0: base}
    for path in (brick / ".shard").glob(f"{gfid_of(base)}.*"):
        shards[int(path.suffix[1:])] = path
    return shards


def put_together(brick, image, out):
    """The image as one brick alone has it; a digest of its pieces."""
    digest = hashlib.sha256()
    shards = shards_of(brick, image)
    for number, path in sorted(shards.items()):
        for at, piece in copy_data(path, out, number * SHARD_BYTES):
            digest.update(f"{at}\0".encode() + piece)
    os.ftruncate(out.fileno(), (max(shards) + 1) * SHARD_BYTES)
    return digest.hexdigest()


def is_settled(brick, image):
    """Does this brick neither blame another one for a piece of the image nor call one dirty? AFR's own counters."""
    for path in shards_of(brick, image).values():
        marks = [name for name in os.listxattr(path) if name.startswith("trusted.afr.")]
        if any(os.getxattr(path, name).strip(b"\0") for name in marks):
            return False
    return True


class Keeper:
    """with Keeper(cluster, guest) as keeper: …; keeper.look("host2"); keeper.look_at_rest(); keeper.judge()"""

    def __init__(self, cluster, guest, pool="vms"):
        self.cluster, self.lab, self.guest, self.pool = cluster, cluster.lab, guest, pool
        self.check = guest_module.build() / "check"
        self.keys = KeyGiver()
        self.heart = Recorder(self.lab, guest.name, keys=self.keys)
        self.views = []
        self.quiet = 0
        self.through = "host3"  # the host that is asked
        self.places = None

    def __enter__(self):
        self.heart.__enter__()
        return self

    def __exit__(self, *what):
        self.heart.__exit__(*what)

    def begin_anew(self):
        """Keep of the history only its end: the newest view of each source and the newest line."""
        newest = {view.source: view for view in self.views if view.counts}
        self.views = [dataclasses.replace(view, quiet=0, healed=False) for view in newest.values()]
        self.heart.keep_last()

    # -- where things are

    def root(self, host):
        """The host's root, for a process of the machine."""
        return f"/proc/{cgroup.leader(self.lab.host(host).cgroup)}/root"

    def find_places(self):
        """({host: its brick}, the disk in a mount, the disk below a brick); asked once."""
        if not self.places:
            pool = self.cluster.show(self.through, "pool", "show", self.pool)
            disk = self.guest.seen(self.through)["disks"][0]["path"]
            bricks = {brick["host"]: brick["path"] + BRICK for brick in pool["bricks"]}
            self.places = bricks, disk, disk.removeprefix(pool["mount"] + "/")
        return self.places

    def image_on(self, host):
        """The host's brick, for a process of the machine, and the guest's disk below it."""
        bricks, _, image = self.find_places()
        return pathlib.Path(self.root(host) + bricks[host]), image

    # -- looking

    def dump(self, at, source, image, **more):
        """A view of what a raw file or a qcow2 of the machine holds."""
        done = subprocess.run([self.check, "--dump", *self.keys.words(), image.name], check=True,
                              capture_output=True, text=True)
        self.views.append(parse_view(json.loads(done.stdout), at, source, **more))
        return self.views[-1]

    def look(self, host, **more):
        """A view of the raw blocks on a host's brick."""
        brick, image = self.image_on(host)
        with tempfile.NamedTemporaryFile(prefix="mortar-view-") as out:
            at = time.monotonic()
            digest = put_together(brick, image, out)
            return self.dump(at, host, out, digest=digest, **more)

    def look_through(self, host, **more):
        """A view through a host's mount, as a guest there would see it."""
        _, disk, _ = self.find_places()
        with tempfile.NamedTemporaryFile(prefix="mortar-view-") as out:
            at = time.monotonic()
            for _ in copy_data(self.root(host) + disk, out):
                pass
            return self.dump(at, MOUNT, out, **more)

    def look_at_all(self, healed=True):
        """While nobody writes: through the mounts, and at each brick."""
        self.quiet += 1
        for host in DATA_HOSTS:
            self.look_through(host, quiet=self.quiet)
        for host in DATA_HOSTS:
            self.look(host, quiet=self.quiet, healed=healed)

    def look_at_rest(self, healed=True):
        """Stop the guest and look at everything."""
        self.cluster.mortar(self.through, "vm", "stop", self.guest.name)
        self.look_at_all(healed)

    def look_in_peace(self, within_s=120):
        """The same while the guest goes on, but its writer stands still."""
        with Console(self.cluster, self.heart.last()[1], self.guest.name) as console:
            try:
                still = self.wait_still(console, within_s)
                self.wait_settled(within_s)
                self.look_at_all()
                if self.heart.last()[3]["issued"] != still:
                    raise AssertionError("the guest wrote while all was to be at rest")
            finally:
                self.wait_going(console)

    def wait_still(self, console, within_s):
        """Until the guest says that it has written nothing for a while, and all is acknowledged; its last number."""
        def is_still():
            said = [(words["issued"], words["acked"]) for *_, words in self.heart.lines[start:][-STILL_LINES:]]
            issued, acked = said[-1] if said else (0, -1)
            return len(said) == STILL_LINES and issued == acked and set(said) == {(issued, acked)}
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            console.say("write off")
            start, again = self.heart.mark(), time.monotonic() + SAY_AGAIN_S
            while time.monotonic() < again:
                if is_still():
                    return self.heart.last()[3]["issued"]
                time.sleep(0.02)
        raise TimeoutError(f"the guest's writer did not stand still within {within_s} s: {self.heart.last()}")

    def wait_going(self, console, within_s=120):
        """Until it writes again."""
        still, end = self.heart.last()[3]["issued"], time.monotonic() + within_s
        while self.heart.last()[3]["issued"] == still:
            if time.monotonic() > end:
                raise TimeoutError(f"the guest's writer did not go on within {within_s} s")
            console.say("write on")
            with contextlib.suppress(TimeoutError):
                self.heart.wait_for(lambda line: line[3]["issued"] != still, SAY_AGAIN_S)

    def wait_settled(self, within_s=120):
        """Until no brick blames another one for the guest's disk."""
        def settled():
            with contextlib.suppress(FileNotFoundError):  # the heal of a piece, just now
                return all(is_settled(*self.image_on(host)) for host in self.find_places()[0])
        self.cluster.wait_until("no brick blames another for the guest's disk", settled, within_s)

    # -- judging

    def judge(self, leave_out=()):
        """Violations of the whole history so far."""
        return History(self.heart.beats(), self.views).judge(leave_out)
