# SPDX-License-Identifier: Apache-2.0
"""Which instance of a guest executes when, by the processor time of QEMU's virtual CPUs, read from outside all hosts.

A guest under emulation boots longer than two instances may overlap, so its first beat would come too late to show it.
"""

import contextlib
import pathlib
import time

from moving import qemu_pids
from phase_kill import Watcher

from mortarcluster.faults import DATA_HOSTS
from mortarcluster.history import Beat

POLL_S = 0.01
LOOK_UP_S = 0.1
# So much of a processor in all: what a virtual CPU that stands still takes to be made, or asked something, is less.
RAN_NS = 5_000_000


def cpu_time_ns(pid):
    """Of all virtual CPUs of a QEMU; None when it is gone."""
    total = None
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                if (task / "comm").read_text().startswith("CPU "):
                    total = (total or 0) + int((task / "schedstat").read_text().split()[0])
    return total


class Executions(Watcher):
    """with Executions(lab, "demo") as executions: …; executions.beats()"""

    def __init__(self, lab, name):
        super().__init__()
        self.lab, self.name = lab, name
        self.seen = []  # (at, host, pid), each time that it had executed
        self.order = []  # pids, as they began to

    def _watch(self):
        counted, looked_at = {}, -LOOK_UP_S
        hosts = {}
        while not self.stopping.is_set():
            if time.monotonic() - looked_at >= LOOK_UP_S:
                hosts = {pid: host for host in DATA_HOSTS for pid in qemu_pids(self.lab, host, self.name)}
                looked_at = time.monotonic()
            for pid, host in hosts.items():
                used = cpu_time_ns(pid)
                if used is not None and used - counted.setdefault(pid, 0) >= RAN_NS:
                    counted[pid] = used
                    self._note(pid, host)
            self.stopping.wait(POLL_S)

    def _note(self, pid, host):
        if pid not in self.order:
            self.order.append(pid)
        self.seen.append((time.monotonic(), host, pid))

    def on(self, host):
        """When an instance on a host was seen to have executed."""
        return [at for at, where, _ in list(self.seen) if where == host]

    def beats(self):
        """For the judge of histories; the number of an instance is its epoch."""
        return [Beat(at, host, self.order.index(pid) + 1, 0, 0) for at, host, pid in list(self.seen)]
