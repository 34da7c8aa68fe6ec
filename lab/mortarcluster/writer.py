# SPDX-License-Identifier: Apache-2.0
"""Writes through a host's mount, one block after the other, and knows when each was acknowledged."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time

from mortarlab import cgroup

# Past all caches; a line per acknowledged write: when. Errors are told and tried over again, as a
# guest's kernel would.
SCRIPT = """
import mmap, os, sys, time
path, size, pause_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
block, n, fd = mmap.mmap(-1, 4096), 0, None
while True:
    block[:] = n.to_bytes(8, "little") * 512
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT) if fd is None else fd
        os.pwrite(fd, block, n * 4096 % size)
        print(time.monotonic(), flush=True)
        n += 1
        time.sleep(pause_s)
    except OSError as error:
        print("error", error.errno, flush=True)
        time.sleep(0.05)
        if fd is not None:
            try:
                os.close(fd)
            except OSError:
                pass
            fd = None
"""


class Writer:
    """with Writer(lab, "host2", path) as writer: …; writer.stall(since)

    path is as the host sees it. The process belongs to the machine, not to the host, whose Python cannot
    do it; it goes through the host's own mount all the same.
    """

    def __init__(self, lab, host, path, size=16 << 20, pause_s=0.01):
        leader = cgroup.leader(lab.host(host).cgroup)
        self.argv = [sys.executable, "-c", SCRIPT, f"/proc/{leader}/root{path}", str(size), str(pause_s)]
        self.path = pathlib.Path(self.argv[3])
        self.log = None
        self.process = None

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile(prefix="mortar-writer-")
        self.process = subprocess.Popen(self.argv, stdout=self.log, stdin=subprocess.DEVNULL)
        self.wait_for(20)
        return self

    def __exit__(self, *_):
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in a dead mount
            self.process.wait(5)
        self.log.close()

    def times(self):
        """When each write was acknowledged, CLOCK_MONOTONIC."""
        lines = pathlib.Path(self.log.name).read_text(encoding="ascii").splitlines()
        return [float(line) for line in lines[:-1] if line[:1].isdigit()]  # the last may be a part

    def errors(self):
        """How many writes failed."""
        return pathlib.Path(self.log.name).read_text(encoding="ascii").count("error")

    def wait_for(self, count, within_s=120):
        """Until so many more writes were acknowledged."""
        goal, end = len(self.times()) + count, time.monotonic() + within_s
        while len(self.times()) < goal:
            if time.monotonic() > end:
                raise TimeoutError(f"no {count} writes to {self.path} within {within_s} s")
            time.sleep(0.1)

    def stall(self, since):
        """Seconds of the longest time between two acknowledged writes that ended after `since`."""
        times = self.times()
        return max((b - a for a, b in zip(times, times[1:]) if b >= since), default=None)
