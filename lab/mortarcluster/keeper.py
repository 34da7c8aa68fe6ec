# SPDX-License-Identifier: Apache-2.0
"""Keeps the history of one guest's disk: what it said was acknowledged, and what its blocks were seen to hold.

Blocks are read through the hosts' mounts, and straight from the bricks: pieces of the image are put together as
GlusterFS's shard translator would, from one brick alone, past AFR. Judged by history.py.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

from mortarlab import cgroup

from . import guest as guest_module
from .faults import DATA_HOSTS
from .guest import Guest
from .history import MOUNT, History, parse_view
from .recorder import Recorder

KEY = "4d6f72746172206b6565707320697421"
# As much at once as the guest can: 16 writes in flight, 32 between two flushes.
OPTIONS = f"mortar.depth=16 mortar.flush=32 mortar.key={KEY}"
WRITES_PER_S = 100
SHARD_BYTES = 64 << 20  # features.shard-block-size of src/adapters/gluster/gluster_profile.c
PIECE = 1 << 20
BRICK = "/brick"  # brick_dir_of() in src/agent


def make_guest(cluster, name="demo"):
    """The guest whose history is kept; not created yet."""
    return Guest(cluster, name, writes_per_s=WRITES_PER_S, emit_ms=20, options=OPTIONS)


def gfid_of(path):
    """The name that shards of a file on a brick go by."""
    raw = os.getxattr(path, "trusted.gfid").hex()
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def put_together(brick, image, out):
    """The image as one brick alone has it; a digest of its pieces. brick: Path; image: below it."""
    digest = hashlib.sha256()
    base = brick / image
    gfid = gfid_of(base)
    shards = {0: base}
    for path in (brick / ".shard").glob(f"{gfid}.*"):
        shards[int(path.suffix[1:])] = path
    for number, path in sorted(shards.items()):
        with open(path, "rb") as source:
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            at = number * SHARD_BYTES
            while piece := source.read(PIECE):
                digest.update(f"{at}\0".encode() + piece)
                if piece.strip(b"\0"):
                    out.seek(at)
                    out.write(piece)
                at += len(piece)
    out.truncate(max(out.tell(), (max(shards) + 1) * SHARD_BYTES))
    out.flush()
    return digest.hexdigest()


class Keeper:
    """with Keeper(cluster, guest) as keeper: …; keeper.look("host2"); keeper.rest("host3"); keeper.judge()"""

    def __init__(self, cluster, guest, pool="vms"):
        self.cluster, self.lab, self.guest, self.pool = cluster, cluster.lab, guest, pool
        self.check = guest_module.build() / "check"
        self.heart = Recorder(self.lab, guest.name)
        self.views = []
        self.quiet = 0

    def __enter__(self):
        self.heart.__enter__()
        return self

    def __exit__(self, *what):
        self.heart.__exit__(*what)

    # -- looking

    def image_on(self, host):
        """The host's brick, for a process of the machine, and the guest's disk below it."""
        pool = self.cluster.show("host3", "pool", "show", self.pool)
        disk = self.guest.seen("host3")["disks"][0]["path"]
        path = next(brick["path"] for brick in pool["bricks"] if brick["host"] == host)
        root = f"/proc/{cgroup.leader(self.lab.host(host).cgroup)}/root"
        return pathlib.Path(root + path + BRICK), disk.removeprefix(pool["mount"] + "/")

    def look(self, host, **more):
        """A view of the raw blocks on a host's brick."""
        brick, image = self.image_on(host)
        with tempfile.NamedTemporaryFile(prefix="mortar-view-") as out:
            at = time.monotonic()
            digest = put_together(brick, image, out)
            done = subprocess.run([self.check, "--dump", "--key", f"0:{KEY}", out.name], check=True,
                                  capture_output=True, text=True)
        self.views.append(parse_view(json.loads(done.stdout), at, host, digest=digest, **more))
        return self.views[-1]

    def look_through(self, host, **more):
        """A view through a host's mount, as a guest there would see it."""
        at = time.monotonic()
        done = self.lab.exec(host, [f"{guest_module.IN_HOST}/check", "--dump", "--key", f"0:{KEY}",
                                    self.guest.seen("host3")["disks"][0]["path"]], timeout=120)
        self.views.append(parse_view(json.loads(done.stdout), at, MOUNT, **more))
        return self.views[-1]

    def look_at_rest(self, through="host3", healed=True):
        """Stop the guest and look at everything: twice through the mounts, and at each brick."""
        self.cluster.mortar(through, "vm", "stop", self.guest.name)
        self.quiet += 1
        for host in DATA_HOSTS:
            self.look_through(host, quiet=self.quiet)
        for host in DATA_HOSTS:
            self.look(host, quiet=self.quiet, healed=healed)

    # -- judging

    def judge(self, leave_out=()):
        """Violations of the whole history so far."""
        return History(self.heart.beats(), self.views).judge(leave_out)
